"""The compiled epochs: equal to their NumPy specification bit for bit, unbiased, exact at the extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lpnum_optim import _reference
from lpnum_optim._core import epochs
from lpnum_optim.data import DataMatrix

SQUARED, LOGISTIC = 0, 1
ONLY_LOWBIT = ("z_step", "code_min", "code_max", "seed", "stream", "control")


def _levels():
    chosen, levels = epochs.simd_level(), []
    for level in range(len(epochs.LEVEL_NAMES)):
        try:
            epochs.set_simd_level(level)
        except ValueError:
            break
        levels.append(level)
    epochs.set_simd_level(chosen)
    return levels


LEVELS = _levels()
DIMS = [1, 2, 7, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 96, 97, 100, 127, 128, 129, 160, 191, 200]


@pytest.fixture(autouse=True)
def keep_level():
    level = epochs.simd_level()
    yield
    epochs.set_simd_level(level)


def data(rng, n, d, dtype):
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=(n, d)).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, size=(n, d), endpoint=True).astype(dtype)


def lowbit_case(seed, d, dtype, bits, loss=LOGISTIC, l2=0.0, steps=130, n=20, **changes):
    """Arguments of lowbit_epoch and the starting codes."""
    rng = np.random.default_rng([seed, d, bits])
    storage, top = (np.int8 if bits <= 8 else np.int16), 2 ** (bits - 1) - 1
    margins, targets = rng.normal(size=n), rng.choice([-1.0, 1.0], n)
    args: dict[str, Any] = {
        "x": data(rng, n, d, dtype),
        "x_step": 0.01,
        "targets": targets,
        "margins": margins,
        "anchors": np.array([_reference.loss_slope(m, y, loss) for m, y in zip(margins, targets, strict=True)]),
        "direction": rng.normal(size=d),
        "z_step": 2.5 / 2**bits,
        "step_size": 0.01,
        "l2": l2,
        "loss": loss,
        "samples": rng.integers(0, n, steps),
        "code_min": -top - 1,
        "code_max": top,
        "seed": int(rng.integers(2**63)) * 2 + 1,
        "stream": d,
    }
    codes = rng.integers(-top - 1, top, size=d, endpoint=True).astype(storage)
    args.update(changes)
    return args, codes


def run(function, args, codes):
    codes = codes.copy()
    arguments = dict(args)
    matrix = DataMatrix(arguments.pop("x"), arguments.pop("x_step"))
    positional = [arguments.pop(k) for k in ("targets", "margins", "anchors", "direction")]
    report = function(matrix, *positional, codes, arguments.pop("z_step"), **arguments)
    return codes, report


def float_epoch(w, x, x_step, **args):
    epochs.float_epoch(DataMatrix(x, x_step), w=w, **args)


def assert_as_specified(args, codes):
    expected, expected_report = run(_reference.lowbit_epoch, args, codes)
    for level in LEVELS:
        epochs.set_simd_level(level)
        got, report = run(epochs.lowbit_epoch, args, codes)
        np.testing.assert_array_equal(got, expected, err_msg=f"level {level}")
        assert report == expected_report, level
    return expected, expected_report


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("bits", [2, 3, 5, 8, 9, 12, 16])
def test_codes_as_specified_for_all_row_lengths(dtype, bits):
    for k, d in enumerate(DIMS):
        loss, l2 = k % 2, [0.0, 0.7, 40.0][k % 3]
        args, codes = lowbit_case(k, d, dtype, bits, loss, l2, steps=70)
        if k % 4 == 0:
            args["samples"] = args["samples"].astype(np.uint32)
        expected, _ = assert_as_specified(args, codes)
        if d > 10 and bits > 3:
            assert np.any(expected != codes)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("bits", [8, 7, 16])
def test_saturation_is_part_of_the_specification(dtype, bits):
    """Extreme data, beta beyond its range both ways, a direction beyond the fine grid, codes at their ends."""
    for d in (65, 131):
        args, codes = lowbit_case(1, d, dtype, bits, steps=80)
        info = np.iinfo(dtype)
        args["x"][::2], args["x"][1::2, ::2] = info.min, info.max
        args["anchors"] = np.tile([1e4, -1e4, 3.0, -3.0, 0.01], 4)
        args["direction"] = np.resize([1e3, -1e3, 1e9, -1e9, 1.27, -0.02, 0.0], d)
        codes[::3], codes[1::3] = args["code_min"], args["code_max"]
        _, (saturated, range_used, beta_saturated) = assert_as_specified(args, codes)
        assert saturated > 0.3
        assert range_used == 1.0
        assert 0.2 < beta_saturated < 1.0


@pytest.mark.parametrize("bits", [8, 16])
def test_margins_that_are_not_finite_do_the_same_everywhere(bits):
    args, codes = lowbit_case(2, 50, np.int8, bits, loss=SQUARED)
    args["margins"][:3] = np.nan, np.inf, -np.inf
    _, (_, _, beta_saturated) = assert_as_specified(args, codes)
    assert beta_saturated == np.isin(args["samples"], [0, 1, 2]).mean()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("d", [2048 + 33, 70_001])
def test_products_of_long_rows_are_exact(dtype, bits, d):
    """All partial sums at their extremes: 32-bit accumulators must be emptied in time."""
    for x_value in (np.iinfo(dtype).min, np.iinfo(dtype).max):
        for code in ("code_min", "code_max"):
            args, codes = lowbit_case(3, d, dtype, bits, loss=SQUARED, steps=3, n=2, direction=np.zeros(d))
            args["x"][:], codes[:] = x_value, args[code]
            args["x_step"] = 1e-6  # beta moves by one unit for a product that is off by a few parts in 2**16
            args["margins"] = -1e-6 * args["z_step"] * float(x_value) * args[code] * d + args["targets"]
            args["anchors"] = np.zeros(2)
            args["step_size"] = 1e7 * args["z_step"]
            assert_as_specified(args, codes)


def test_same_arguments_same_codes_and_other_streams_other_codes():
    args, codes = lowbit_case(4, 150, np.int8, 8)
    first, again = run(epochs.lowbit_epoch, args, codes)[0], run(epochs.lowbit_epoch, args, codes)[0]
    np.testing.assert_array_equal(first, again)
    for change in ({"stream": 151}, {"seed": 12}):
        other = run(epochs.lowbit_epoch, {**args, **change}, codes)[0]
        assert np.mean(other != first) > 0.2


@pytest.mark.parametrize("bits", [8, 16])
def test_codes_without_negative_values(bits):
    args, codes = lowbit_case(13, 77, np.uint8, bits, code_min=0)
    expected, (saturated, _, _) = assert_as_specified(args, np.abs(codes // 2))
    assert expected.min() == 0
    assert saturated > 0.1


def test_no_steps_change_nothing():
    args, codes = lowbit_case(5, 40, np.int8, 8, samples=np.empty(0, np.int64))
    got, report = run(epochs.lowbit_epoch, args, codes)
    np.testing.assert_array_equal(got, codes)
    assert report == (0.0, 0.0, 0.0)
    w = np.ones(40)
    float_epoch(w, **{k: v for k, v in args.items() if k not in ONLY_LOWBIT})
    assert np.all(w == 1.0)


def _dither(seed, steps, d):
    base = _reference.ars_blocks(seed, 7, 0, d // 16)
    words = _reference.ars_blocks(seed, 7, 1 << 62, 3 * steps).reshape(steps, 3, 16)
    return np.stack([_reference.aes_round(base ^ a, b).reshape(-1) for a, b, _ in words])


def test_dither_bytes_are_uniform_and_uncorrelated():
    """21 statistics, each beyond 5.3 sigma with probability 1.2e-7 for ideal bits: false alarms in 1 of 400,000."""
    limit, (steps, d) = 5.3, (4096, 64)
    r = _dither(99, steps, d)
    for sample in (r, r[:, 5], r[17], r[:, ::16]):  # all; one coordinate over time; one step; one place in the block
        counts = np.bincount(sample.reshape(-1), minlength=256)
        if sample.size >= 256 * 16:
            chi2 = np.sum((counts - sample.size / 256) ** 2) / (sample.size / 256)
            assert abs(chi2 - 255) < limit * math.sqrt(510)
    v = (r - 127.5) / math.sqrt((256**2 - 1) / 12)
    for lag in (1, 2, 4, 8, 16, 17, 32, 48):  # between coordinates
        assert abs(np.sum(v[:, lag:] * v[:, :-lag])) < limit * math.sqrt(v[:, lag:].size)
    for lag in (1, 2, 3, 4, 64):  # between steps
        assert abs(np.sum(v[lag:] * v[:-lag])) < limit * math.sqrt(v[lag:].size)
    for j, k in ((0, 16), (5, 37), (0, 1), (3, 51)):  # two coordinates over all steps: the xor of their bytes
        counts = np.bincount(r[:, j] ^ r[:, k], minlength=256)
        assert abs(np.sum((counts - steps / 256) ** 2) / (steps / 256) - 255) < limit * math.sqrt(510)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("move", [1 / 256, 0.1, 0.37, 0.5, 0.9, 1.3])
def test_update_is_unbiased(bits, move):
    """The mean over 2^17 coordinates of the distance gone equals steps * move; 5.3 sigma, false alarms 1.2e-7 each.

    The variance of a step is at most 1/4 (the rounding), that of h at most 1/4 of 2^-16 each for at most 64 steps.
    """
    d, steps = 1 << 17, 40
    args, _ = lowbit_case(6, d, np.int8, bits, steps=steps, n=1, x=np.zeros((1, d), np.int8), step_size=1.0)
    args["direction"] = np.full(d, -move * args["z_step"])
    codes, _ = run(epochs.lowbit_epoch, args, np.zeros(d, np.int8 if bits == 8 else np.int16))
    sigma = math.sqrt((steps / 4 + steps**2 / 4 / 2**16) / d)
    assert abs(np.mean(codes.astype(float)) - steps * move) < 5.3 * sigma


def test_rounding_of_beta_is_unbiased():
    """One step with beta_q between two integers: each coordinate goes -beta * x / 256 on average (5.3 sigma)."""
    d, runs, beta = 64, 4000, 20.3
    args, _ = lowbit_case(7, d, np.int8, 8, loss=SQUARED, steps=1, n=1, direction=np.zeros(d))
    args["x"][:] = 101
    args.update(margins=np.ones(1), targets=np.zeros(1), anchors=np.zeros(1), step_size=1.0)
    args.update(x_step=1.0, z_step=256 / beta)
    moves = [run(epochs.lowbit_epoch, {**args, "stream": s}, np.zeros(d, np.int8))[0].mean() for s in range(runs)]
    error = np.mean(moves) + beta * 101 / 256
    assert abs(error) < 5.3 * np.std(moves) / math.sqrt(runs)


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("loss", [SQUARED, LOGISTIC])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_sixteen_bits_follow_the_float64_epoch(dtype, loss, l2):
    """Rounding errors of at most z_step / 2 (root mean square) add up like a random walk of T steps in d dimensions, as
    both maps contract; with L2, z is up to K steps old in the constant part, a lag of K / 2 * step_size * l2 * z."""
    d, steps = 60, 400
    args, _ = lowbit_case(8, d, dtype, 16, loss, l2, steps=steps)
    args["x_step"] = 1.0 / np.iinfo(dtype).max
    args["z_step"] = 5e-4
    codes, (saturated, _, beta_saturated) = run(epochs.lowbit_epoch, args, np.zeros(d, np.int16))
    assert saturated == 0.0
    assert beta_saturated == 0.0
    z = np.zeros(d)
    names = ("x", "x_step", "targets", "margins", "anchors", "direction", "step_size", "l2", "loss", "samples")
    float_epoch(w=z, **{k: args[k] for k in names})
    shared = _reference.refresh_steps(args["step_size"], l2, len(args["samples"]))
    lag = shared / 2 * args["step_size"] * l2 * np.linalg.norm(z)
    assert np.linalg.norm(z) > 1000 * args["z_step"] * math.sqrt(d)
    assert np.linalg.norm(args["z_step"] * codes - z) < 0.6 * args["z_step"] * math.sqrt(steps * d) + lag


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float32, np.float64])
def test_float_epoch_is_the_textbook_loop(real, dtype):
    for k, d in enumerate(DIMS):
        rng = np.random.default_rng([9, d])
        n, loss, step, l2 = 13, k % 2, 0.005, 0.4
        x, x_step = data(rng, n, d, dtype), 1.0 if np.dtype(dtype).kind == "f" else 1.0 / np.iinfo(dtype).max
        targets, margins, anchors = rng.choice([-1.0, 1.0], n), 0.1 * rng.normal(size=n), 0.1 * rng.normal(size=n)
        direction, samples = rng.normal(size=d), rng.integers(0, n, 50)
        start = rng.normal(size=d).astype(real)
        w = start.astype(np.float64)
        for i in samples:
            row = x_step * x[i].astype(np.float64)
            slope = _reference.loss_slope(margins[i] + row @ w, targets[i], loss) - anchors[i]
            w = w - step * slope * row - step * (direction + l2 * w)
        results = []
        for level in LEVELS:
            epochs.set_simd_level(level)
            got = start.copy()
            epochs.float_epoch(DataMatrix(x, x_step), targets, margins, anchors, direction, got, step_size=step, l2=l2,
                               loss=loss, samples=samples)  # fmt: skip
            results.append(got)
            np.testing.assert_array_equal(got, results[0], err_msg=f"level {level}")
        scale = np.abs(w).max()
        np.testing.assert_allclose(results[0], w, rtol=0, atol=scale * (2e-5 if real is np.float32 else 1e-13))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float32, np.float64])
def test_products_have_the_stated_order_and_accuracy(dtype):
    for d in [*DIMS, 1000]:
        for n in (1, 3, 4, 8, 11):
            rng = np.random.default_rng([10, d, n])
            x, w, p = data(rng, n, d, dtype), rng.normal(size=d), rng.normal(size=n)
            for level in LEVELS:
                epochs.set_simd_level(level)
                rows, columns = epochs.row_products(x, 0.3, w), epochs.weighted_row_sum(x, 0.3, p)
                np.testing.assert_array_equal(rows, _reference.row_products(x, 0.3, w))
                np.testing.assert_array_equal(columns, _reference.weighted_row_sum(x, 0.3, p))
            exact = 0.3 * math.fsum(float(a) * b for a, b in zip(x[-1], w, strict=True))
            assert abs(rows[-1] - exact) < 1e-15 * (10 + d) * np.abs(x[-1].astype(float)) @ np.abs(w)
            exact = 0.3 * math.fsum(float(a) * b for a, b in zip(x[:, -1], p, strict=True))
            assert abs(columns[-1] - exact) < 1e-14 * np.abs(x[:, -1].astype(float)) @ np.abs(p)


def test_logistic_slope_is_accurate():
    for margin in np.linspace(-690, 690, 277):
        exact = -1 / (1 + math.exp(margin))
        assert abs(_reference.loss_slope(float(margin), 1.0, LOGISTIC) / exact - 1) < 1e-15
    assert -1e-300 < _reference.loss_slope(1e6, 1.0, LOGISTIC) < 0
    assert _reference.loss_slope(-1e6, 1.0, LOGISTIC) == -1


@pytest.mark.parametrize("problem", [0, 1, 2])
def test_bit_centering_with_the_integer_loop_reaches_full_accuracy(problem):
    """n = 1000, d = 100 least squares, scale = norm of the gradient / 2: below 1e-10 within 45 outer epochs."""
    rng = np.random.default_rng(problem)
    n, d = 1000, 100
    x = rng.normal(size=(n, d))
    x_step = np.abs(x).max() / 127
    codes = np.rint(x / x_step).astype(np.int8)
    y = x_step * codes @ rng.normal(size=d) + rng.normal(size=n)
    step_size = 0.5 / np.max(np.sum((x_step * codes) ** 2, axis=1))
    center, sampling, norms = np.zeros(d), np.random.default_rng(problem + 1), []
    for epoch in range(46):
        margins = epochs.row_products(codes, x_step, center)
        gradient = epochs.weighted_row_sum(codes, x_step, (margins - y) / n)
        norms.append(np.linalg.norm(gradient))
        z, z_step = np.zeros(d, np.int8), norms[-1] / 2 / 127
        epochs.lowbit_epoch(DataMatrix(codes, x_step), y, margins, margins - y, gradient, z, z_step,
                            step_size=step_size, l2=0.0, loss=SQUARED, samples=sampling.integers(0, n, 2 * n),
                            code_min=-128, code_max=127, seed=problem, stream=epoch)  # fmt: skip
        center += z_step * z
    assert norms[0] > 5
    assert min(norms) < 1e-10


BAD = [
    ({"x": [[1, 2]]}, TypeError, "x.rows: got list"),
    ({"x": np.zeros((20, 9), np.int32)}, TypeError, "element type int32"),
    ({"x": np.zeros(9, np.int8)}, ValueError, "1 dimensions; expected 2"),
    ({"x": np.zeros((20, 18), np.int8)[:, ::2]}, ValueError, "not C-contiguous"),
    ({"x": np.zeros((0, 9), np.int8)}, ValueError, "empty"),
    ({"x_step": 0.0}, ValueError, "x.step = 0.0"),
    ({"targets": np.zeros(19)}, ValueError, "targets: length 19; expected 20"),
    ({"targets": np.zeros(20, np.float32)}, TypeError, "targets: element type float32"),
    ({"margins": np.zeros(20, ">f8")}, TypeError, "margins: element type"),
    ({"anchors": np.zeros(21)}, ValueError, "anchors: length 21"),
    ({"direction": np.zeros(8)}, ValueError, "direction: length 8; expected 9"),
    ({"direction": np.full(9, np.nan)}, ValueError, "direction: element 0 is nan"),
    ({"samples": np.array([0, 20])}, IndexError, r"samples\[1\] = 20; allowed 0..19"),
    ({"samples": np.array([-1])}, IndexError, r"samples\[0\] = -1"),
    ({"samples": np.array([0.0])}, TypeError, "samples: element type float64"),
    ({"step_size": np.inf}, ValueError, "step_size = inf"),
    ({"l2": -1.0}, ValueError, "l2 = -1.0"),
    ({"loss": 2}, ValueError, "loss 2"),
    ({"loss": 4}, ValueError, "loss 4"),
    ({"z_step": -1.0}, ValueError, "z_step = -1.0"),
    ({"code_max": 128}, ValueError, "codes -128..128"),
    ({"code_min": -3, "code_max": 3}, ValueError, r"element \d of z is "),
    ({"seed": -1}, OverflowError, "negative"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_input_is_named(change, error, message):
    args, codes = lowbit_case(11, 9, np.int8, 8)
    with pytest.raises(error, match=message):
        run(epochs.lowbit_epoch, {**args, **change}, codes)


def test_bad_iterates_and_vectors_are_named():
    args, codes = lowbit_case(11, 9, np.int8, 8)
    with pytest.raises(ValueError, match="z: length 10; expected 9"):
        run(epochs.lowbit_epoch, args, np.zeros(10, np.int8))
    with pytest.raises(TypeError, match="z: element type uint8; allowed: int8, int16"):
        run(epochs.lowbit_epoch, args, np.zeros(9, np.uint8))
    codes.flags.writeable = False
    with pytest.raises(TypeError, match="writable"):
        float_epoch(codes, **{k: v for k, v in args.items() if k not in ONLY_LOWBIT})
    with pytest.raises(ValueError, match="w: length 8; expected 9"):
        epochs.row_products(args["x"], 1.0, np.zeros(8))
    with pytest.raises(ValueError, match="p: length 9; expected 20"):
        epochs.weighted_row_sum(args["x"], 1.0, np.zeros(9))
    with pytest.raises(ValueError, match="this machine runs"):
        epochs.set_simd_level(7)


def test_read_only_data_are_accepted():
    args, codes = lowbit_case(12, 9, np.int8, 8)
    for value in args.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    run(epochs.lowbit_epoch, args, codes)
