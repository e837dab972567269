"""Small floats as formats and in arrays. Encode and decode code by code are in test_lpnum_exact_codec.py."""

from __future__ import annotations

import float_cases as cases
import numpy as np
import pytest

import lpnum
from lpnum import _reference, testing
from lpnum.formats import minifloat, p3109

FORMATS = [*cases.NAMED.values(), *cases.MINIFLOATS, *cases.p3109_formats(4), *cases.p3109_formats(8)]
EIGHT_BIT = [f for f in cases.EIGHT_BIT if f.zero]


def exact(values, fmt, rounding="nearest-even", overflow="clamp"):
    """Values rounded by the oracle."""
    return fmt.code_values[_reference.FloatSearch(fmt, values).codes(rounding, overflow)]


@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_repr_of_a_format_evaluates_to_it(fmt):
    assert eval(repr(fmt)) == fmt


def test_scales_of_powers_of_two_round_to_the_even_code():
    e8m0 = lpnum.float8_e8m0fnu
    x = 2.0 ** np.arange(-127, 128)
    np.testing.assert_array_equal(lpnum.encode(x, e8m0), np.arange(255))
    middle = 1.5 * x[:-1]
    np.testing.assert_array_equal(lpnum.encode(middle, e8m0) % 2, 0)
    np.testing.assert_array_equal(lpnum.encode(np.nextafter(middle, 0), e8m0), np.arange(254))
    np.testing.assert_array_equal(lpnum.encode(np.nextafter(middle, np.inf), e8m0), np.arange(1, 255))
    assert lpnum.encode([0.0, np.nan], e8m0).tolist() == [0, 255]


def test_not_a_number_and_negative_values():
    for fmt in FORMATS:
        if fmt.nan_code is None:
            with pytest.raises(ValueError, match=r"1 of 2 values are (negative or )?not numbers"):
                lpnum.encode([1.0, np.nan], fmt)
        else:
            for dtype in (np.float32, np.float64):
                code = lpnum.encode(np.array([np.nan] * 40, dtype), fmt)[3]
                assert np.isnan(fmt.code_values[code])
                replaced = lpnum.encode(np.array([np.nan] * 80, dtype), fmt, nan=1.0)
                np.testing.assert_array_equal(replaced, lpnum.encode([1.0], fmt)[0])
        if not fmt.signed:
            with pytest.raises(ValueError, match="1 of 2 values are negative"):
                lpnum.encode([1.0, -1.0], fmt)
    with pytest.raises(ValueError, match="'wrap' is for fixed point"):
        lpnum.encode([1.0], lpnum.float8_e5m2, overflow="wrap")
    with pytest.raises(ValueError, match="'ieee' is for floats"):
        lpnum.encode([1.0], lpnum.fixed8, overflow="ieee")
    with pytest.raises(OverflowError):
        lpnum.encode([1.0, 1e9], lpnum.float8_e4m3fn, overflow="error")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: minifloat(9, 9), "3 to 16 are allowed"),
        (lambda: minifloat(1, 0), "3 to 16"),
        (lambda: minifloat(4, 3, specials="nan"), "specials must be one of"),
        (lambda: minifloat(4, 3, bias=2000), "leave the range of float64"),
        (lambda: p3109(8, 8), "precision must be from 1 to 7"),
    ],
)
def test_impossible_formats_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# ---- arrays of floats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", EIGHT_BIT, ids=repr)
@pytest.mark.parametrize("ufunc", [np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.hypot])
def test_all_pairs_are_rounded_once(fmt, ufunc):
    finite = fmt.all_codes()[np.isfinite(fmt.code_values)]
    a, b = lpnum.from_codes(finite, fmt).reshape(-1, 1), lpnum.from_codes(finite, fmt).reshape(1, -1)
    if ufunc is np.divide:
        b = b[:, (fmt.code_values[finite] != 0)]
    with np.errstate(all="ignore"):
        values = ufunc(a.dequantize(np.float64), b.dequantize(np.float64))
    result = ufunc(a, b)
    assert result.format == fmt
    expected = exact(values, fmt)
    np.testing.assert_array_equal(result.dequantize(np.float64), expected)


@pytest.mark.parametrize("fmt", EIGHT_BIT, ids=repr)
@pytest.mark.parametrize("ufunc", [np.exp, np.tanh, np.sqrt, np.log1p, np.abs, np.negative, np.square, np.rint])
def test_unary_functions_of_all_codes_are_rounded_once(fmt, ufunc):
    codes = fmt.all_codes()[np.isfinite(fmt.code_values) & (fmt.code_values >= 0)]
    x = lpnum.from_codes(codes, fmt)
    with np.errstate(all="ignore"):
        values = ufunc(x.dequantize(np.float64))
    np.testing.assert_array_equal(ufunc(x).dequantize(np.float64), exact(values, fmt))


def test_sums_are_wide_and_comparisons_are_those_of_values():
    x = lpnum.full(100_000, 1.0, lpnum.float8_e4m3fn)
    assert x.sum() == 100_000
    assert x.mean() == 1.0
    assert np.dot(x, x) == 100_000
    y = lpnum.from_codes(lpnum.float8_e4m3fn.all_codes(), lpnum.float8_e4m3fn)
    v = y.dequantize(np.float64)
    np.testing.assert_array_equal(y < y[::-1], v < v[::-1])
    np.testing.assert_array_equal(np.isnan(y), np.isnan(v))
    assert np.nanmax(y) == 448
    clipped = np.clip(y, -1.7, 300.0).dequantize(np.float64)
    np.testing.assert_array_equal(clipped[~np.isnan(v)], np.clip(v, -1.625, 288.0)[~np.isnan(v)])


@pytest.mark.parametrize("source", EIGHT_BIT, ids=repr)
def test_casts_between_formats_round_once(source):
    for target in (*EIGHT_BIT, lpnum.float16, lpnum.bfloat16):
        codes = source.all_codes()[np.isfinite(source.code_values)]
        x = lpnum.from_codes(np.tile(codes, 3), source)
        y = x.astype(target)
        assert y.format == target
        expected = exact(x.dequantize(np.float64), target)
        np.testing.assert_array_equal(y.dequantize(np.float64), expected)


def test_promotion_of_floats_holds_both():
    assert lpnum.formats.promote(lpnum.float8_e4m3fn, lpnum.float8_e5m2) == lpnum.float16
    a, b = lpnum.ones(2, lpnum.float8_e4m3fn), lpnum.ones(2, lpnum.float8_e5m2)
    assert (a + b).format == lpnum.float16
    with pytest.raises(TypeError, match="no format of up to 16 bits holds"):
        lpnum.ones(2, lpnum.float16) + lpnum.ones(2, lpnum.bfloat16)
    with pytest.raises(TypeError, match="convert one with"):
        a + lpnum.ones(2, lpnum.fixed8)


def test_scaled_floats_in_place_and_pickling():
    import pickle

    w = lpnum.array(np.linspace(-3, 3, 101), lpnum.float8_e4m3fn, scale=0.01, rounding="stochastic", rng=1)
    testing.assert_same(pickle.loads(pickle.dumps(w)), w)
    before = w.dequantize()
    w += 0.01
    assert w.scale == 0.01
    assert 0 < np.mean(w.dequantize() - before) < 0.02
    assert (2 * w).scale == 0.02
    w.recenter(scale=1e-4)
    assert not w.codes.any()
