"""Rounding through codes in one pass: what `lpnum.encode` and `lpnum.decode` give, at every SIMD level that has it."""

from __future__ import annotations

import numpy as np
import pytest

import lpnum
from lpnum._core import kernels
from lpnum.float_formats import FloatFormat
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES

PLAIN = [lpnum.minifloat(4, 3, 11, "none"), lpnum.minifloat(5, 2, 15, "none"), lpnum.minifloat(6, 9, 31, "none")]
NAMED = [fmt for fmt in lpnum.formats.named().values() if isinstance(fmt, FloatFormat) and fmt.signed]
SHIFTED = [lpnum.minifloat(4, 3, bias, "none") for bias in (-60, 70)]
FORMATS = NAMED + PLAIN + SHIFTED


def values_for(fmt, seed, n):
    rng = np.random.default_rng(seed)
    largest = min(fmt.max, 1e30)
    grid = np.unique(lpnum.decode(fmt.all_codes(), fmt, np.float64))
    grid = grid[np.isfinite(grid) & (np.abs(grid) <= largest)]
    middles = (grid[1:] + grid[:-1]) / 2
    x = np.concatenate(
        [
            rng.normal(size=n) * largest * 0.5, rng.normal(size=n) * fmt.smallest_normal * 4, rng.choice(grid, n),
            rng.choice(middles, n), rng.choice(middles, n) * (1 + 2.0**-23), [0.0, -0.0, largest, -2 * largest],
        ]
    )  # fmt: skip
    return x.astype(np.float32)


def address(array):
    return array.ctypes.data


def threshold(fmt):
    return float(np.float32(fmt.max + 0.5 * 2.0 ** (fmt.max_exponent - fmt.mantissa_bits)))


def call(x, fmt, *, mode="nearest-even", codes=True, values=True, bfloat16=False, rng=None, nan=0):
    """The kernel's result: rounded values, codes, counts; None if it does not serve this."""
    out = np.full_like(x, 7) if values else None
    q = np.empty(x.shape, fmt.storage) if codes else None
    seed, stream = (0, 0) if rng is None else (rng.seed, rng.next_stream())
    counts = kernels.round_floats(
        address(x), 0 if out is None else address(out), 0 if q is None else address(q), bfloat16, x.size, fmt.kernel,
        threshold(fmt), ROUNDING_MODES.index(mode), 16, seed, stream, nan,
    )  # fmt: skip
    return None if counts is None else (out, q, counts)


@pytest.mark.parametrize("mode", ROUNDING_MODES)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_values_codes_and_counts_are_those_of_two_passes(fmt, mode, seed, simd_level):
    served = 0
    for n in (1, 15, 64, 1000):  # ends within a vector, and over several blocks
        x = values_for(fmt, seed, n)
        rngs = [CounterRNG(seed + 3) if mode == "stochastic" else None for _ in range(2)]
        found = call(x, fmt, mode=mode, rng=rngs[0])
        if found is None:
            continue
        served += 1
        values, codes, (beyond, nans) = found
        expected = lpnum.encode(x, fmt, rounding=mode, rng=rngs[1])
        np.testing.assert_array_equal(codes, expected)
        np.testing.assert_array_equal(values.view(np.uint32), lpnum.decode(expected, fmt).view(np.uint32))
        assert beyond == np.count_nonzero(np.abs(x) >= np.float32(threshold(fmt)))
        assert nans == 0
    if simd_level == "baseline":
        assert served == 0
    elif fmt in PLAIN or fmt.name in ("float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"):
        assert served == 4


@pytest.mark.parametrize("fmt", PLAIN, ids=repr)
def test_values_may_be_the_source_and_either_output_may_be_left_out(fmt, simd_level):
    if simd_level == "baseline":
        pytest.skip("not served")
    x = values_for(fmt, 0, 700)
    values, codes, counts = call(x, fmt)
    assert np.array_equal(call(x, fmt, codes=False)[0], values)
    assert np.array_equal(call(x, fmt, values=False)[1], codes)
    kernels.round_floats(address(x), address(x), 0, False, x.size, fmt.kernel, threshold(fmt))
    np.testing.assert_array_equal(x, values)
    assert counts[0] > 0
    decoded = np.empty_like(values)
    assert kernels.decode_floats(address(codes), address(decoded), False, codes.size, fmt.kernel)
    np.testing.assert_array_equal(decoded.view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize("fmt", [*PLAIN, lpnum.float8_e5m2, lpnum.float8_e4m3fn], ids=repr)
def test_bfloat16_is_widened_rounded_and_narrowed(fmt, simd_level):
    if simd_level == "baseline":
        pytest.skip("not served")
    narrow = lpnum.encode(values_for(fmt, 1, 700), lpnum.bfloat16)
    values, codes, counts = call(narrow, fmt, bfloat16=True)
    wide = lpnum.decode(narrow, lpnum.bfloat16)
    expected = lpnum.encode(wide, fmt)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(values, lpnum.encode(lpnum.decode(expected, fmt), lpnum.bfloat16))
    assert counts[0] == np.count_nonzero(np.abs(wide) >= threshold(fmt))
    decoded = np.empty_like(values)
    assert kernels.decode_floats(address(codes), address(decoded), True, codes.size, fmt.kernel)
    np.testing.assert_array_equal(decoded, values)


@pytest.mark.parametrize("where", [0, 63, 2047, 2048, 5000])
def test_nan_takes_the_code_given_for_it_and_is_counted(where, simd_level):
    if simd_level == "baseline":
        pytest.skip("not served")
    fmt = PLAIN[0]
    x = np.linspace(-40, 40, 5001, dtype=np.float32)
    clean = call(x, fmt)
    x[where] = np.nan
    values, codes, (beyond, nans) = call(x, fmt, nan=127)
    assert (values[where], codes[where], nans) == (30.0, 127, 1)
    assert beyond == clean[2][0] + (abs(np.linspace(-40, 40, 5001)[where]) < 31)
    rest = np.arange(x.size) != where
    np.testing.assert_array_equal(codes[rest], clean[1][rest])
    x[where] = np.inf
    values, codes, (_, nans) = call(x, fmt)
    assert (values[where], nans) == (30.0, 0)


def test_a_nan_of_the_format_stays_one(simd_level):
    if simd_level == "baseline":
        pytest.skip("not served")
    x = np.array([1.0, np.nan, -np.nan, 3.0], np.float32)
    values, codes, counts = call(x, lpnum.float8_e4m3fn)
    assert np.isnan(values).tolist() == [False, True, True, False]
    assert codes[1] == codes[2] == lpnum.float8_e4m3fn.nan_code
    assert counts == (2, 2)


def test_formats_without_a_sign_and_fixed_point_are_left_to_the_general_path(simd_level):
    x = np.ones(8, np.float32)
    assert kernels.round_floats(address(x), 0, 0, False, 8, lpnum.fixed8.kernel, 1.0) is None
    assert kernels.round_floats(address(x), 0, 0, False, 8, lpnum.float8_e8m0fnu.kernel, 1.0) is None
    assert not kernels.decode_floats(address(x), address(x), False, 0, lpnum.fixed8.kernel)


@pytest.mark.parametrize("n", [0, 1, 7, 1000])
def test_the_largest_magnitude_is_that_of_numpy(n, simd_level):
    x = np.random.default_rng(n).normal(size=n).astype(np.float32)
    expected = np.abs(x).max(initial=0.0)
    assert kernels.largest_magnitude(address(x), False, n) == expected
    narrow = lpnum.encode(x, lpnum.bfloat16)
    wide = lpnum.decode(narrow, lpnum.bfloat16)
    assert kernels.largest_magnitude(address(narrow), True, n) == np.abs(wide).max(initial=0.0)
    if n > 1:
        x[n // 2] = -np.inf
        assert kernels.largest_magnitude(address(x), False, n) == np.inf
        x[0] = np.nan
        assert np.isnan(kernels.largest_magnitude(address(x), False, n))
