"""Changes of the grid within a compiled epoch: as specified bit for bit, unbiased, and harmless to the values."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from test_epochs import LEVELS, LOGISTIC, SQUARED, float_epoch, lowbit_case, run

from lpnum_optim import _reference, iterates, minimize
from lpnum_optim._core import epochs
from lpnum_optim.datasets import synthetic
from lpnum_optim.grid_control import GridControl, Report
from lpnum_optim.scale_rules import Automatic

ALWAYS = -1.0  # as `crowded`: every run counts as crowded

STEPS = {8: 2, 16: 1}  # steps of one update, which a run does not divide
SCALARS = [f.name for f in dataclasses.fields(GridControl) if f.name != "total"]

# The parameters of some rules, and which factors they lead to on random codes.
RULES: dict[str, tuple[dict[str, Any], Any]] = {
    "learning": ({"learning": True, "narrow": 0.3, "wide": 0.75}, lambda f: f != 1),
    "halve": ({"learning": True, "narrow": 1.0}, lambda f: f < 1),
    "double": ({"learning": True, "wide": 0.1}, lambda f: f > 1),
    "crowded": ({"crowded": 0.0, "widen": 1.5}, lambda f: f > 1),
    "stuck": ({"stuck": 2, "widen": 1.5}, lambda f: f > 1),
    "limit": ({"crowded": ALWAYS, "widen": 1.5, "limit": 4.0}, lambda f: f == 1.5**3),
}


@pytest.fixture(autouse=True)
def keep_level():
    level = epochs.simd_level()
    yield
    epochs.set_simd_level(level)


def assert_as_specified(args, codes, rule):
    record = GridControl(**rule)
    expected, expected_report = run(_reference.lowbit_epoch, {**args, "control": record}, codes)
    for level in LEVELS:
        epochs.set_simd_level(level)
        control = GridControl(**rule)
        got, report = run(epochs.lowbit_epoch, {**args, "control": control}, codes)
        np.testing.assert_array_equal(got, expected, err_msg=f"level {level}")
        assert report == expected_report, level
        np.testing.assert_array_equal(control.total, record.total, err_msg=f"level {level}")
        assert [getattr(control, name) for name in SCALARS] == [getattr(record, name) for name in SCALARS], level
    return expected, record


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("bits", [3, 8, 16])
def test_changes_as_specified_for_all_row_lengths(name, dtype, bits):
    rule, expected = RULES[name]
    changes = []
    for k, d in enumerate([1, 7, 16, 33, 64, 65, 100, 129, 200]):
        # Refreshes every 64 steps, every 8 and every step; runs of 70 / 6 steps end between them and on them.
        args, codes = lowbit_case(k, d, dtype, bits, k % 2, [0.0, 0.7, 40.0][k % 3], steps=70 + k % 3)
        if name in ("learning", "halve"):
            codes //= [64, 1, 8, 4][k % 4]
            args["direction"] /= 50
        elif name in ("crowded", "stuck"):
            args["direction"] *= 1e3
        _, record = assert_as_specified(args, codes, {"segments": [6, 5, 7][k % 3], "mean_runs": k % 4, **rule})
        changes.append(record.change)
        assert record.runs == [6, 5, 7][k % 3]
    assert np.mean([expected(change) for change in changes]) > 0.3  # the cases do what they are there for


@pytest.mark.parametrize("bits", [8, 16])
def test_changes_far_beyond_the_range_are_specified_too(bits):
    args, codes = lowbit_case(1, 70, np.int8, bits, steps=40)
    codes[:] = np.arange(70) % 3 - 1
    still = {"x": np.zeros_like(args["x"]), "direction": np.zeros(70)}
    got, record = assert_as_specified({**args, **still}, codes, {"segments": 2, "learning": True, "narrow": 1.0})
    assert record.change == 2.0 ** -(bits - 1)
    np.testing.assert_array_equal(got, np.clip(codes.astype(int) << (bits - 1), args["code_min"], args["code_max"]))
    got, _ = assert_as_specified({**args, **still}, codes, {"segments": 2, "crowded": ALWAYS, "widen": 1e300})
    np.testing.assert_array_equal(got, 0)
    got, _ = assert_as_specified(args, codes, {"segments": 40, "learning": True, "wide": 0.0})
    assert np.isin(got, [-1, 0, 1]).all()


@pytest.mark.parametrize("segments", [1, 3, 16, 130, 131, 10**9])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_grid_that_stays_gives_the_codes_of_a_plain_call(segments, bits):
    """Random bits depend on the step in the epoch alone, not on how it is divided."""
    args, codes = lowbit_case(2, 90, np.int8, bits, l2=0.7)
    plain, (_, _, beta_saturated) = run(epochs.lowbit_epoch, args, codes)
    control = GridControl(segments=segments)
    got, report = run(epochs.lowbit_epoch, {**args, "control": control}, codes)
    np.testing.assert_array_equal(got, plain)
    assert report[2] == beta_saturated
    assert report[0] == control.saturated
    assert control.change == 1.0
    assert control.runs == min(segments, 130 // STEPS[bits])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("mean_runs", [1, 3, 8, 100])
def test_the_mean_is_that_of_the_observed_values(bits, mean_runs):
    """Eight runs of one update each are eight points of observation, each of which an epoch cut short ends at."""
    args, codes = lowbit_case(6, 70, np.int8, bits, steps=8 * STEPS[bits])
    rule = {"segments": 8, "crowded": ALWAYS, "widen": 1.25}
    control = GridControl(mean_runs=mean_runs, **rule)
    run(epochs.lowbit_epoch, {**args, "control": control}, codes)
    ends = []
    for runs in range(1, 9):
        short, samples = GridControl(**{**rule, "segments": runs}), args["samples"][: runs * STEPS[bits]]
        got, _ = run(epochs.lowbit_epoch, {**args, "samples": samples, "control": short}, codes)
        assert short.mean is None
        ends.append(args["z_step"] * short.change * got)
    assert control.mean_terms == min(8, mean_runs)
    np.testing.assert_allclose(control.mean, np.mean(ends[-mean_runs:], axis=0), rtol=1e-14)


def test_no_steps_are_no_runs():
    args, codes = lowbit_case(3, 40, np.int8, 8, samples=np.empty(0, np.int64))
    _, record = assert_as_specified(args, codes, {"segments": 4, "crowded": ALWAYS, "widen": 2.0})
    assert (record.change, record.runs, record.saturated) == (1.0, 0, 0.0)


def changed(codes, bits, rule):
    """The codes after one change of the grid, by steps that do not move them."""
    d = len(codes)
    args, _ = lowbit_case(4, d, np.int8, bits, steps=4, n=1, x=np.zeros((1, d), np.int8), direction=np.zeros(d))
    control = GridControl(segments=2, **rule)
    got, _ = run(epochs.lowbit_epoch, {**args, "control": control}, codes)
    return got.astype(np.int64), control.change


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("widen", [1.0, 1.5, 2.0, 3.3, 4.0])
def test_rounding_to_a_wider_grid_is_stochastic_and_unbiased(bits, widen):
    """To one of the two neighbors; the mean of 2^16 equal codes is exact to 5.3 sigma: 1.2e-7 false alarms each."""
    storage = np.int8 if bits == 8 else np.int16
    for code in (-128, -77, -1, 1, 2, 100, 127):
        start = np.full(1 << 16, code, storage)
        got, change = changed(start, bits, {"crowded": ALWAYS, "widen": widen})
        assert change == widen
        exact = code / widen
        assert set(np.unique(got)) <= {math.floor(exact), math.ceil(exact)}
        up = exact - math.floor(exact)
        assert abs(got.mean() - exact) <= 5.3 * math.sqrt(up * (1 - up) / len(got)) + 2.0**-16


@pytest.mark.parametrize("bits", [8, 16])
def test_powers_of_two_are_shifts(bits):
    storage, top = (np.int8, 127) if bits == 8 else (np.int16, 32767)
    codes = np.arange(-(top // 4), top // 4 + 1, dtype=storage)
    got, change = changed(codes, bits, {"learning": True, "narrow": 0.4})
    assert change == 0.5
    np.testing.assert_array_equal(got, 2 * codes.astype(np.int64))  # exact
    got, change = changed(codes, bits, {"learning": True, "wide": 0.1})
    assert change == 2.0
    assert (got >= codes >> 1).all()
    assert (got <= (codes >> 1) + (codes & 1)).all()
    assert 0.3 < np.mean((got > codes >> 1)[codes & 1 == 1]) < 0.7  # 5 bits of 32 coordinates: 2.3 sigma at least
    np.testing.assert_array_equal(got[codes & 1 == 0], codes[codes & 1 == 0] // 2)


@pytest.mark.parametrize("rule", [{"learning": True, "narrow": 0.25, "wide": 0.75}, {"crowded": ALWAYS, "widen": 1.1}])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("loss", [SQUARED, LOGISTIC])
def test_sixteen_bits_follow_the_float64_epoch_through_changes(loss, l2, rule):
    """As without changes (test_epochs.py), with the coarsest grid on the way: all that depends on the step follows."""
    d, steps, segments = 60, 400, 16
    args, _ = lowbit_case(8, d, np.int8, 16, loss, l2, steps=steps)
    args["x_step"], widest = 1.0 / 127, 1e-3
    args["z_step"] = widest if "learning" in rule else widest / 1.1 ** (segments - 1)
    control = GridControl(segments=segments, **rule)
    codes, (_, _, beta_saturated) = run(epochs.lowbit_epoch, {**args, "control": control}, np.zeros(d, np.int16))
    assert control.change <= 0.5 if "learning" in rule else control.change > 4
    assert control.saturated == 0.0
    assert beta_saturated == 0.0
    z = np.zeros(d)
    names = ("x", "x_step", "targets", "margins", "anchors", "direction", "step_size", "l2", "loss", "samples")
    float_epoch(w=z, **{k: args[k] for k in names})
    shared = _reference.refresh_steps(args["step_size"], l2, len(args["samples"]))
    lag = shared / 2 * args["step_size"] * l2 * np.linalg.norm(z)
    assert np.linalg.norm(z) > 1000 * widest * math.sqrt(d)
    error = np.linalg.norm(args["z_step"] * control.change * codes - z)
    assert error < 0.6 * widest * math.sqrt((steps + segments) * d) + lag


@pytest.mark.parametrize(
    ("rule", "saturated", "used", "factor"),
    [
        ({"learning": True, "narrow": 0.3, "wide": 0.75}, 0.0, 0.76, 2.0),
        ({"learning": True, "narrow": 0.3, "wide": 0.75}, 0.0, 0.75, 1.0),
        ({"learning": True, "narrow": 0.3, "wide": 0.75}, 0.0, 0.3, 1.0),
        ({"learning": True, "narrow": 0.3, "wide": 0.75}, 0.0, 0.29, 0.5),
        ({"learning": True, "narrow": 0.3, "wide": 0.75}, 0.0, 0.15, 0.5),
        ({"learning": True, "narrow": 0.3, "wide": 0.75}, 0.0, 0.14, 0.25),
        ({"learning": True, "narrow": 0.3, "wide": 0.75}, 0.0, 0.0, 1.0),
        ({"learning": True, "wide": 0.75, "limit": 1.9}, 0.0, 0.9, 1.0),
        ({"crowded": 0.01, "widen": 1.5}, 0.02, 1.0, 1.5),
        ({"crowded": 0.01, "widen": 1.5}, 0.01, 1.0, 1.0),
        ({"crowded": 0.01, "widen": 1.5, "narrow": 0.3, "wide": 0.75}, 0.0, 0.1, 1.0),
    ],
)
def test_the_rule_between_two_runs(rule, saturated, used, factor):
    control = GridControl(segments=4, **rule)
    control.observe(Report(saturated, used, np.zeros(3, bool)))
    assert control.next_factor() == control.change == factor


def test_a_coordinate_is_stuck_when_it_is_held_in_runs_in_a_row():
    control = GridControl(segments=16, stuck=3, widen=1.5)
    first, second = np.array([True, False]), np.array([False, True])
    factors = []
    for at_end in (first, first, second, second, first | second, second, second, second):
        control.observe(Report(0.0, 1.0, at_end))
        factors.append(control.next_factor())
    assert factors == [1, 1, 1, 1, 1.5, 1, 1, 1.5]


@pytest.mark.parametrize("bits", [8, 16])
def test_an_epoch_of_minimize_is_one_compiled_call(bits, monkeypatch):
    """With the default scale, whose rule changes the grid on the way, and with the values it ends at."""
    calls, changes = [], []

    def counted(*args, control, **options):
        report = epochs.lowbit_epoch(*args, control=control, **options)
        calls.append(len(options["samples"]))
        changes.append((args[6], control.change))
        return report

    monkeypatch.setattr(iterates, "lowbit_epoch", counted)
    r = minimize(synthetic(0, n=200, d=20).problem(), "halp", bits=bits, epochs=12)
    assert calls == [200] * 12
    assert changes[0][1] != 1.0
    np.testing.assert_array_equal(r.history["scale"][1:], [step * change for step, change in changes])


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_the_automatic_rule_is_the_same_in_c(bits, monkeypatch):
    """Epoch after epoch, the compiled call and its specification, which asks GridControl, take the same decisions."""
    problem = synthetic(1, n=60, d=10).problem()
    compiled = minimize(problem, "halp", bits=bits, epochs=8)
    monkeypatch.setattr(iterates, "lowbit_epoch", _reference.lowbit_epoch)
    specified = minimize(problem, "halp", bits=bits, epochs=8)
    np.testing.assert_array_equal(compiled.x, specified.x)
    for column in ("scale", "saturated", "range_used"):
        np.testing.assert_array_equal(compiled.history[column], specified.history[column])


def test_the_constants_of_the_rule_reach_the_kernel(monkeypatch):
    problem = synthetic(1, n=200, d=20).problem()
    default = minimize(problem, "halp", epochs=1)
    monkeypatch.setattr(Automatic, "NARROW", 0.0)
    monkeypatch.setattr(Automatic, "WIDE", math.inf)
    unchanged = minimize(problem, "halp", epochs=1)
    assert unchanged.history["scale"][1] == unchanged.history["scale"][0] == default.history["scale"][0]
    assert default.history["scale"][1] != default.history["scale"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segments": 0}, "segments = 0; allowed: an integer of at least 1"),
        ({"narrow": 1.5}, "narrow = 1.5; allowed: 0 .. 1"),
        ({"narrow": math.nan}, "narrow = nan"),
        ({"stuck": 0}, "stuck = 0"),
        ({"mean_runs": -1}, "mean_runs = -1"),
        ({"widen": 0.5}, "widen = 0.5"),
        ({"widen": math.inf}, "widen = inf"),
    ],
)
def test_bad_rules_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        GridControl(**change)


def test_bad_controls_are_named():
    args, codes = lowbit_case(5, 9, np.int8, 8)
    with pytest.raises(TypeError, match="control is a dict; pass a GridControl or None"):
        run(epochs.lowbit_epoch, {**args, "control": {"segments": 3}}, codes)
    control = GridControl(segments=3)
    run(epochs.lowbit_epoch, {**args, "control": control}, codes)
    with pytest.raises(ValueError, match="control has recorded 3 runs; every epoch needs a new GridControl"):
        run(epochs.lowbit_epoch, {**args, "control": control}, codes)
