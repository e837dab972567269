"""Updates of int8 codes by pairs of steps: what they mean, and the same codes at every level for all factors."""

import math

import numpy as np
import pytest
from test_epochs import LOGISTIC, SQUARED, assert_as_specified, lowbit_case, run

from lpnum_optim import _reference
from lpnum_optim._core import epochs


@pytest.fixture(autouse=True)
def keep_level():
    level = epochs.simd_level()
    yield
    epochs.set_simd_level(level)


@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_the_mean_of_an_update_is_two_exact_steps(l2):
    """Squared loss, whose steps are linear, from 4000 streams: the means of 40 coordinates are those of two steps of
    SVRG in float64, to 5.5 sigma of a rounding of at most one code: 1.5e-6 false alarms."""
    d, streams, rng = 40, 4000, np.random.default_rng(1)
    args, _ = lowbit_case(1, d, np.int8, 8, SQUARED, l2, steps=2, direction=rng.normal(size=d), step_size=0.004)
    codes = rng.integers(-60, 60, d).astype(np.int8)
    z, x = codes * args["z_step"], args["x"] * args["x_step"]
    for i in args["samples"]:
        slope = args["margins"][i] + x[i] @ z - args["targets"][i] - args["anchors"][i]
        z = z - args["step_size"] * (slope * x[i] + args["direction"] + l2 * z)
    assert np.max(np.abs(z / args["z_step"] - codes)) > 2.0  # the steps move the codes
    total = np.zeros(d)
    for stream in range(streams):
        got, (_, _, clipped) = run(epochs.lowbit_epoch, {**args, "stream": stream}, codes)
        assert clipped == 0.0
        total += got
    assert np.max(np.abs(total / streams - z / args["z_step"])) < 5.5 * 0.7 / math.sqrt(streams)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("bits", [5, 8])
def test_factors_of_all_sizes(dtype, bits):
    """Together below 128, where one multiply-add takes both, above it, and clipped at 127; h small and beyond 2^14."""
    for d in (64, 100, 200):
        for scale in (1.0, 60.0, 250.0):
            args, codes = lowbit_case(d, d, dtype, bits, SQUARED, steps=61)
            unit = args["step_size"] * args["x_step"] / args["z_step"] * 256
            rng = np.random.default_rng(d)
            args["x"][:] = rng.choice([args["x"].min(), 0, 1, args["x"].max()], args["x"].shape)
            slopes = args["margins"] - args["targets"]
            args["anchors"] = slopes + rng.uniform(-scale, scale, len(slopes)) / unit
            args["direction"] = rng.choice([1.0, 300.0]) * rng.normal(size=d)
            _, (_, _, clipped) = assert_as_specified(args, codes)
            assert clipped > 0.2 or scale < 250.0


@pytest.mark.parametrize("step_size", [1e-3, 0.05, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_centered_logistic_steps_of_all_sizes(step_size, weighted):
    """Second steps that continue the polynomial of the first margin, and those that start anew."""
    for d in (30, 128, 250):
        args, codes = lowbit_case(d, d, np.int8, 8, LOGISTIC, steps=101, step_size=step_size, centered=True)
        args["anchors"] = np.array(
            [_reference.loss_slope(m, y, LOGISTIC) for m, y in zip(args["margins"], args["targets"], strict=True)]
        )
        if weighted:
            args["weights"] = np.linspace(0.5, 2.0, len(args["targets"]))
        assert_as_specified(args, codes // 3)


def test_a_continued_difference_is_that_at_the_later_product():
    """To the third power of the change."""
    rng = np.random.default_rng(2)
    for _ in range(500):
        m, y, t = float(rng.normal() * 2), float(rng.choice([-1.0, 1.0])), float(rng.uniform(-2.9, 2.9))
        rate, amount = float(rng.uniform(-0.05, 0.05)), float(rng.integers(-1, 2))
        anchor = _reference.loss_slope(m, y, LOGISTIC)
        got = _reference.continued_difference(anchor, t, rate, amount, unit=1.0, weight=1.0, factor=1.0)
        assert got is not None
        exact = _reference.loss_slope(m + t + rate * amount, y, LOGISTIC) - anchor
        assert abs(got - exact) < abs(rate * amount) ** 3 / 6 + 1e-9
    assert _reference.continued_difference(0.3, 0.1, 1.0, 1.0, unit=1.0, weight=1.0, factor=1.0) is None


@pytest.mark.parametrize("steps", [1, 2, 3, 256, 257, 258, 513])
def test_any_number_of_steps_with_and_without_a_partner(steps):
    args, codes = lowbit_case(7, 90, np.int8, 8, steps=steps)
    assert_as_specified(args, codes)


@pytest.mark.slow
def test_long_epochs_refresh_h_rarely():
    args, codes = lowbit_case(5, 40, np.int8, 8, steps=33_001)
    assert _reference.refresh_steps(args["step_size"], 0.0, 33_001) == 256
    assert_as_specified(args, codes)
