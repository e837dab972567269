"""Compiled epochs with several outputs, weights, penalties by coordinate, intercepts and packed data: as specified."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from test_epochs import LEVELS, LOGISTIC, ONLY_LOWBIT, SQUARED, data

import lpnum
from lpnum_optim import _reference
from lpnum_optim._core import epochs
from lpnum_optim.data import DataMatrix
from lpnum_optim.grid_control import GridControl

SOFTMAX, HUBER = 2, 3
LENGTHS = [1, 2, 63, 64, 65, 127, 128, 129, 190, 255, 256, 257, 1100]


@pytest.fixture(autouse=True)
def keep_level():
    level = epochs.simd_level()
    yield
    epochs.set_simd_level(level)


def matrix(rng, n, d, kind):
    """Random data of a kind: a dtype, "int4" or "uint4"."""
    if kind in ("int4", "uint4"):
        codes = rng.integers(0, 16, (n, d)).astype(np.uint8) if kind == "uint4" else rng.integers(-8, 8, (n, d))
        packed = lpnum.pack(codes, 4 if kind == "uint4" else lpnum.fixed4)
        return DataMatrix(packed, 0.1, packed=kind, n_features=d)
    return DataMatrix(data(rng, n, d, kind), 0.01)


def values_of(x):
    """The values of all rows in float64."""
    codes, step = _reference.integer_rows(x) if x.rows.dtype.kind in "iu" else (x.rows, x.step)
    return codes.astype(np.float64) * step


def case(seed, d, kind, bits=8, outputs=1, loss=LOGISTIC, steps=70, n=12, **changes):
    """Arguments of lowbit_epoch by name, with all that is optional."""
    rng = np.random.default_rng([seed, d, bits, outputs])
    storage, top = (np.int8 if bits <= 8 else np.int16), 2 ** (bits - 1) - 1
    targets = rng.integers(0, outputs, n).astype(float) if loss == SOFTMAX else rng.choice([-1.0, 1.0], n)
    margins = rng.normal(size=(n, outputs))
    anchors = [_reference.loss_slopes(m, y, loss, 0.7) for m, y in zip(margins, targets, strict=True)]
    args: dict[str, Any] = {
        "x": matrix(rng, n, d, kind), "targets": targets, "margins": margins, "anchors": np.array(anchors),
        "direction": rng.normal(size=(outputs, d)), "z_step": 2.5 / 2**bits, "step_size": 0.01, "l2": 0.0,
        "loss": loss, "loss_parameter": 0.7, "samples": rng.integers(0, n, steps), "code_min": -top - 1,
        "code_max": top, "seed": seed, "stream": d,
        "z": rng.integers(-top - 1, top, size=(outputs, d), endpoint=True).astype(storage),
    }  # fmt: skip
    args.update(changes)
    return args


def options(rng, n, d, outputs, which):
    """Some of the optional arguments; `which` counts through the combinations."""
    chosen: dict[str, Any] = {}
    if which & 1:
        chosen["weights"] = rng.uniform(0, 3, n)
    if which & 2:
        chosen["shrink"] = rng.uniform(0, [1.0, 40.0, 2e5][which % 3], d)
    if which & 4:
        chosen |= {"intercept": rng.normal(size=outputs), "intercept_step": 0.05}
        chosen["intercept_direction"] = rng.normal(size=outputs)
    return chosen


def run(function, args):
    args = {k: v.copy() if k in ("z", "w", "intercept") else v for k, v in args.items()}
    report = function(**args)
    return args.get("z", args.get("w")), args.get("intercept"), report


def assert_as_specified(args):
    expected, intercept, expected_report = run(_reference.lowbit_epoch, args)
    for level in LEVELS:
        epochs.set_simd_level(level)
        got, moved, report = run(epochs.lowbit_epoch, args)
        np.testing.assert_array_equal(got, expected, err_msg=f"level {level}")
        np.testing.assert_array_equal(moved, intercept, err_msg=f"level {level}")
        assert report == expected_report, level
    return expected, intercept, expected_report


@pytest.mark.parametrize("kind", ["int8", "uint8", "int4", "uint4"])
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_every_combination_as_specified(kind, bits):
    for k, d in enumerate(LENGTHS):
        loss = [SQUARED, LOGISTIC, SOFTMAX, HUBER][(k + bits) % 4]
        outputs = 2 + k % 4 if loss == SOFTMAX else 1
        args = case(k, d, kind, bits, outputs, loss, steps=66 if d < 300 else 20)
        args |= options(np.random.default_rng(k), 12, d, outputs, k + bits) | {"centered": k % 2 == 0}
        expected, intercept, _ = assert_as_specified(args)
        assert np.any(expected != args["z"]) or d < 3 or bits == 4
        assert intercept is None or np.all(intercept != args["intercept"])


@pytest.mark.parametrize("outputs", [1, 2, 3, 10, 70])
def test_any_number_of_outputs_with_changes_of_the_grid(outputs):
    for k, kind in enumerate(("int8", "uint4", "int4")):
        args = case(outputs, 70, kind, 8, outputs, SOFTMAX if outputs > 1 else LOGISTIC, steps=41, step_size=1.0)
        args["z"] //= 8
        results = []
        for level in (None, *LEVELS):
            epochs.set_simd_level(level or 0)
            control = GridControl(segments=6, learning=True, wide=0.004, mean_runs=k)
            function = _reference.lowbit_epoch if level is None else epochs.lowbit_epoch
            results.append((*run(function, {**args, "control": control}), control.change, control.mean))
        for expected, *got in zip(*results, strict=True):
            for result in got:
                np.testing.assert_array_equal(result, expected)
        assert results[0][3] != 1.0


@pytest.mark.parametrize("kind", ["int4", "uint4"])
def test_a_stray_half_byte_beyond_the_row_counts_for_nothing(kind):
    for d in (1, 63, 127, 129, 255):
        args = case(1, d, kind)
        expected, _, _ = assert_as_specified(args)
        args["x"].rows[:, -1] |= 0xF0
        got, _, _ = assert_as_specified(args)
        np.testing.assert_array_equal(got, expected)


def test_codes_without_negative_values_in_packed_rows():
    """Padding is at an end of such a range, and must not be counted."""
    for d in (70, 129):
        args = case(2, d, "uint4", code_min=0, steps=40)
        args["z"] = np.abs(args["z"] // 2)
        records = []
        for function in (_reference.lowbit_epoch, epochs.lowbit_epoch):
            control = GridControl(segments=5, stuck=2, widen=1.5)
            got, _, report = run(function, {**args, "control": control})
            records.append((got.tolist(), report, control.held, control.change))
        assert records[0] == records[1]


@pytest.mark.parametrize("loss", [SQUARED, LOGISTIC])
def test_direct_differences_are_those_of_the_slopes(loss):
    """Where the anchors are the slopes at the margins both ways to the difference agree: up to their rounding, and the
    error of tanh, at most 4e-10, over 1 + (1 - 2 s) tanh, at least 0.09."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        m, y, t = float(rng.normal() * 5), float(rng.choice([-1.0, 1.0])), float(rng.uniform(-3, 3))
        anchor = _reference.loss_slope(m, y, loss)
        direct = _reference.centered_difference(anchor, t, loss)
        assert direct is not None
        assert abs(direct - (_reference.loss_slope(m + t, y, loss) - anchor)) < 4e-10 / 0.09 * abs(direct) + 1e-15
    small = _reference.centered_difference(_reference.loss_slope(0.3, 1.0, LOGISTIC), 1e-20, LOGISTIC)
    assert small == pytest.approx(1e-20 * math.exp(0.3) / (1 + math.exp(0.3)) ** 2, rel=1e-14)


def test_softmax_slopes_are_accurate():
    rng = np.random.default_rng(3)
    for spread in (0.1, 5.0, 200.0):
        m = rng.normal(size=7) * spread
        y = int(np.argmax(m))
        powers = [math.exp(v - m[y]) for v in m]
        total = math.fsum(powers)
        exact = np.array([p / total for p in powers])
        exact[y] = -math.fsum(p for c, p in enumerate(powers) if c != y) / total
        got = np.array(_reference.loss_slopes(m, float(y), SOFTMAX))
        kept = np.abs(exact) > 1e-290
        np.testing.assert_allclose(got[kept], exact[kept], rtol=2e-15)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int4", "uint4"])
@pytest.mark.parametrize("loss", [LOGISTIC, SOFTMAX, HUBER])
def test_sixteen_bits_follow_the_float64_epoch(kind, loss):
    """All options at once; the bound is that of the same test in test_epochs.py, for the codes of all outputs."""
    d, steps, outputs = 40, 300, 3 if loss == SOFTMAX else 1
    args = case(4, d, kind, 16, outputs, loss, steps)
    args["z"][:] = 0
    args["x"] = args["x"]._replace(step=1.0 / float(np.abs(values_of(args["x"]._replace(step=1.0))).max()))
    args |= {"z_step": 5e-4} | options(np.random.default_rng(1), 12, d, outputs, 5)
    codes, intercept, (saturated, _, beta_saturated) = run(epochs.lowbit_epoch, args)
    assert (saturated, beta_saturated) == (0.0, 0.0)
    floats = {k: v for k, v in args.items() if k not in ("z", *ONLY_LOWBIT)}
    floats |= {"x": DataMatrix(values_of(args["x"])), "w": np.zeros((outputs, d))}
    w, moved, _ = run(epochs.float_epoch, floats)
    assert np.linalg.norm(w) > 1000 * args["z_step"] * math.sqrt(w.size)
    assert np.linalg.norm(args["z_step"] * codes - w) < 0.6 * args["z_step"] * math.sqrt(steps * w.size)
    np.testing.assert_allclose(intercept, moved, rtol=0, atol=0.05 * np.abs(moved).max())


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["int8", "float32", "float64"])
def test_float_epoch_with_options_is_the_textbook_loop(real, kind):
    for k, d in enumerate(LENGTHS[:-1]):
        loss = [SOFTMAX, LOGISTIC, HUBER, SOFTMAX][k % 4]
        outputs = 2 + k if loss == SOFTMAX else 1
        args = case(k, d, kind, 8, outputs, loss, steps=40)
        args = {
            name: v for name, v in args.items() if name not in ("z", "z_step", "code_min", "code_max", "seed", "stream")
        }
        rng = np.random.default_rng(k)
        args |= options(rng, 12, d, outputs, 5 if k % 3 else 0) | {"w": rng.normal(size=(outputs, d)).astype(real)}
        args["l2"] = 0.4
        w, largest = args["w"].astype(float), float(np.abs(args["w"]).max())
        b = args.get("intercept", np.zeros(outputs)).copy()
        rows = values_of(args["x"])
        for i in args["samples"]:
            slopes = _reference.loss_slopes(args["margins"][i] + w @ rows[i] + b, args["targets"][i], loss, 0.7)
            g = (np.array(slopes) - args["anchors"][i]) * (args["weights"][i] if "weights" in args else 1.0)
            largest = max(largest, float(np.abs(w).max()))
            w = w - args["step_size"] * (np.outer(g, rows[i]) + args["direction"] + args["l2"] * w)
            if "intercept" in args:
                b -= args["intercept_step"] * (g + args["intercept_direction"])
        results = []
        for level in LEVELS:
            epochs.set_simd_level(level)
            got, moved, _ = run(epochs.float_epoch, args)
            results.append(got)
            np.testing.assert_array_equal(got, results[0], err_msg=f"level {level}")
            if "intercept" in args:
                np.testing.assert_allclose(moved, b, atol=1e-4 if real is np.float32 else 1e-12)
        np.testing.assert_allclose(results[0], w, rtol=0, atol=largest * (2e-5 if real is np.float32 else 1e-13))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": np.ones(11)}, ValueError, "weights: length 11; expected 12"),
        ({"weights": np.full(12, np.nan)}, ValueError, "weights: element 0 is nan"),
        ({"shrink": np.ones(8)}, ValueError, "shrink: length 8; expected 9"),
        ({"targets": np.full(12, 3.0)}, ValueError, r"targets\[0\] = 3.0; classes are numbered 0..2"),
        ({"targets": np.full(12, 0.5)}, ValueError, r"targets\[0\] = 0.5"),
        ({"loss": LOGISTIC}, ValueError, "loss 1 with 3 outputs"),
        ({"margins": np.ones((12, 2))}, ValueError, r"margins: shape \(12, 2\); expected \(12, 3\)"),
        ({"intercept": np.zeros(3)}, TypeError, "intercept_direction: got NoneType"),
        ({"batch": 0}, ValueError, "batch = 0"),
        ({"x": np.ones((12, 9), np.int8)}, TypeError, "x is a ndarray; pass a lpnum_optim.data.DataMatrix"),
        ({"x": DataMatrix(np.ones((12, 9), np.uint8), packed="int4", n_features=20)}, ValueError, "n_features = 20"),
        ({"x": DataMatrix(np.ones((12, 9), np.uint8), packed="int5", n_features=18)}, ValueError, "packed = 'int5'"),
    ],
)
def test_bad_options_are_named(change, error, message):
    args = case(5, 9, "int8", 8, 3, SOFTMAX)
    with pytest.raises(error, match=message):
        epochs.lowbit_epoch(**{**args, **change})
