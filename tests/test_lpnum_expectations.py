"""What a NumPy user expects: values are not lost where the format could hold them, nor formats by accident."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lpnum

FIXED = ["fixed8", "ufixed8", "fixed4", "fixed16", lpnum.fixed(8, frac=4), lpnum.fixed(6, frac=2)]
FLOATS = ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "bfloat16"]


@pytest.mark.parametrize(("function", "value"), [(np.ones_like, 1.0), (lambda x: np.full_like(x, 5.0), 5.0)])
def test_arrays_like_another_hold_their_value_when_its_grid_does_not(function, value):
    x = lpnum.array([0.001, 0.002], rounding="stochastic", rng=3)
    y = function(x)
    assert (y.format, y.rounding, y.dtype) == (x.format, x.rounding, x.dtype)
    assert y.tolist() == [value, value]
    assert np.zeros_like(x).same_grid(x)
    assert np.full_like(x, 0.002).same_grid(x)


def test_a_numpy_dtype_makes_plain_arrays_like_an_array_even_its_own():
    x = lpnum.array([1.0, 2.0])
    for function in (np.zeros_like, np.ones_like, np.empty_like, lpnum.zeros_like):
        assert type(function(x, dtype=x.dtype)) is np.ndarray
        assert type(function(x, dtype=float)) is np.ndarray
        assert function(x, dtype="fixed8").same_grid(x)


def test_dask_keeps_formats_of_arrays_like_chunks_and_values_of_running_sums():
    da = pytest.importorskip("dask.array", reason="needs dask")
    x = lpnum.array(np.arange(1, 97.0).reshape(8, 12) / 8)
    d = da.from_array(x, chunks=(4, 6), asarray=False)
    zeros = d.map_blocks(np.zeros_like)
    assert zeros._meta.format == x.format
    assert zeros.compute(scheduler="sync").same_grid(x)
    # the accumulator is np.full_like(chunk, 0, x.dtype): on the chunk's grid it would clamp
    np.testing.assert_allclose(da.cumsum(d, 0).compute(scheduler="sync"), np.cumsum(np.asarray(x), 0), rtol=1e-12)


@pytest.mark.parametrize("function", [np.degrees, np.rad2deg, np.radians, np.deg2rad])
@pytest.mark.parametrize("fmt", [lpnum.fixed8, lpnum.fixed(8, frac=4), lpnum.float8_e4m3fn], ids=repr)
def test_units_of_angles_are_a_matter_of_the_scale(function, fmt):
    x = lpnum.array([1.0, -3.0, 7.5], fmt) / 8
    y = function(x)
    np.testing.assert_array_equal(y.codes, x.codes)
    np.testing.assert_allclose(y.dequantize(), function(x.dequantize()), rtol=1e-15)


@pytest.mark.parametrize("scale", [1e-4, 0.01, 0.125, 8.0])
@pytest.mark.parametrize("function", [np.exp, np.sqrt, np.cbrt, np.cos, np.square, np.abs, np.arctan, np.exp2])
@pytest.mark.parametrize("name", ["float8_e4m3fn", "float6_e3m2fn", "float8_e3m4"])
def test_functions_of_scaled_floats_clamp_nothing_that_the_format_holds(name, function, scale):
    fmt = lpnum.format(name)
    codes = fmt.all_codes()
    codes = codes[np.isfinite(fmt.code_values[codes]) & (fmt.code_values[codes] >= 0)]
    x = lpnum.LPArray(codes, fmt, scale)
    with np.errstate(over="ignore"):
        exact = function(x.dequantize())
    within = np.abs(exact) <= fmt.max
    with lpnum.count_events() as events:
        result = function(x)
    values = result.dequantize()
    assert events.overflow <= np.count_nonzero(~within), "results beyond the format are counted, no others are clamped"
    near = np.abs(values - exact)[within]
    step = 2.0**-fmt.mantissa_bits * np.maximum(np.abs(exact[within]), result.scale * fmt.smallest_normal)
    assert (near <= 0.5 * step * (1 + 1e-12)).all()


@pytest.mark.parametrize("formats", [FIXED, FLOATS], ids=["fixed", "floats"])
def test_arrays_of_several_formats_are_joined_in_the_promoted_one(formats):
    for a, b in itertools.product(formats, repeat=2):
        x, y = lpnum.array([0.0, 0.25, 1.5], a), lpnum.array([0.0, 3.0, 2.5, 0.125], b) * 3
        for joined in (np.concatenate([x, y]), np.append(x, y), np.hstack((x, y))):
            assert joined.format == lpnum.formats.promote(x.format, y.format)
            expected = np.concatenate([x.dequantize(), y.dequantize()])
            if x.format.min * y.format.min == 0 and x.format != y.format:  # signed and unsigned: a bit less
                np.testing.assert_allclose(joined, expected, atol=np.max(joined.scale))
            else:
                np.testing.assert_allclose(joined, expected, rtol=1e-15)


def test_infinities_and_nan_are_joined_as_what_they_are():
    x = lpnum.array([np.inf, -np.inf, np.nan, 2.0], lpnum.float8_e5m2, overflow="ieee")
    joined = np.concatenate([x, lpnum.array([3.0], lpnum.bfloat16)])
    np.testing.assert_array_equal(joined, [np.inf, -np.inf, np.nan, 2.0, 3.0])


def test_formats_without_a_common_one_are_joined_by_nobody_silently():
    with pytest.raises(TypeError, match=r"np\.concatenate: no format .* convert one with x\.astype\(format\)"):
        np.concatenate([lpnum.ones(2), lpnum.ones(2, lpnum.float8_e4m3fn)])


def test_codes_that_do_not_occur_may_lie_beyond_float64() -> None:
    fmt = lpnum.minifloat(5, 1, -987, "fn", signed=False)
    x = lpnum.LPArray(np.zeros(1, np.uint8), fmt, scale=64.0)
    assert np.unique(x).tolist() == [0.0]
