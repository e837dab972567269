"""Small floats: values of codes against ml_dtypes and gfloat, rounding against exact search and ml_dtypes."""

from __future__ import annotations

import numpy as np
import pytest

import lpnum
from lpnum import _reference, testing
from lpnum.formats import FloatFormat, minifloat, named, p3109
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES

NAMED = {name: fmt for name, fmt in named().items() if isinstance(fmt, FloatFormat)}
OTHERS = [minifloat(4, 3, 4), minifloat(6, 9), minifloat(2, 0, specials="none"), minifloat(0, 5, specials="none")]
OTHERS += [minifloat(5, 3, specials=s, signed=False) for s in ("none", "fn", "ieee")]
P3109 = [
    p3109(k, p, signed, extended)
    for k in (4, 6, 8)
    for signed in (True, False)
    for p in range(1, k + (not signed))
    for extended in (True, False)
]
SLOW = [pytest.param(f, marks=pytest.mark.slow) for f in P3109 if f.bits == 6 or f.mantissa_bits in (1, 3, 4, 5)]
QUICK = [f for f in P3109 if not (f.bits == 6 or f.mantissa_bits in (1, 3, 4, 5))]
FORMATS = [*NAMED.values(), *OTHERS, *P3109]
EIGHT_BIT = [f for f in NAMED.values() if f.bits <= 8 and f.zero]


def trial_values(fmt, seed):
    """Every value, every midpoint, their float64 and float32 neighbours, random bit patterns, specials."""
    with np.errstate(all="ignore"):  # signaling NaN among the bit patterns, float32 overflow
        return _trial_values(fmt, np.random.default_rng(seed))


def _trial_values(fmt, rng):
    v = fmt.code_values[np.isfinite(fmt.code_values)]
    v = np.unique(np.abs(v if v.size <= 256 else rng.choice(v, 2000)))
    beyond = fmt.magnitude(fmt.finite_max_code + 1)
    points = np.concatenate([v, [beyond], (np.append(v, beyond)[1:] + np.append(v, beyond)[:-1]) / 2])
    near = [points, np.nextafter(points, np.inf), np.nextafter(points, 0)]
    near += [np.nextafter(points.astype(np.float32), np.float32(d)).astype(np.float64) for d in (np.inf, 0)]
    patterns = rng.integers(0, 2**32, 3000, dtype=np.uint32).view(np.float32).astype(np.float64)
    half = np.arange(0, 2**16, 7, dtype=np.uint16).view(np.float16).astype(np.float64)
    wide = rng.integers(0, 2**63, 1000, dtype=np.int64).view(np.float64)
    x = np.concatenate([*near, patterns, half, wide, [np.inf, 1e300, 5e-324]])
    x = x[~np.isnan(x)]
    return np.concatenate([x, -x]) if fmt.signed else np.abs(x)


def exact(x, fmt, mode, overflow, seed=0, stream=0, bits=16):
    threshold = None
    if mode == "stochastic":
        words = _reference.random_words(seed, stream, 0, x.size, 16 if bits <= 16 else 32)
        threshold = 1 - ((words >> ((16 if bits <= 16 else 32) - bits)) + 0.5) / 2.0**bits
    beyond = fmt.magnitude(fmt.finite_max_code + 1)
    return _reference.encode_float(x, fmt.code_values, beyond, mode, overflow, threshold)


@pytest.mark.parametrize("name", NAMED)
def test_every_code_has_the_value_it_has_in_ml_dtypes(name, simd_level):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    fmt = NAMED[name]
    theirs = np.float16 if name == "float16" else getattr(ml_dtypes, name)
    with np.errstate(invalid="ignore"):
        expected = fmt.all_codes().view(theirs).astype(np.float64)
    np.testing.assert_array_equal(lpnum.decode(fmt.all_codes(), fmt, np.float64), expected)
    np.testing.assert_array_equal(np.signbit(fmt.code_values), np.signbit(np.where(np.isnan(expected), 1.0, expected)))
    info = np.finfo(np.float16) if name == "float16" else ml_dtypes.finfo(theirs)
    assert (fmt.max, fmt.eps, fmt.smallest_normal) == tuple(map(float, (info.max, info.eps, info.smallest_normal)))
    if fmt.mantissa_bits:
        assert fmt.smallest_subnormal == float(info.smallest_subnormal)


@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_kernels_decode_every_code_as_the_format_defines_it(fmt, simd_level):
    np.testing.assert_array_equal(lpnum.decode(fmt.all_codes(), fmt, np.float64), fmt.code_values)
    np.testing.assert_array_equal(lpnum.decode(fmt.all_codes(), fmt), fmt.code_values.astype(np.float32))
    assert eval(repr(fmt)) == fmt


@pytest.mark.parametrize("overflow", ["clamp", "ieee"])
@pytest.mark.parametrize("mode", ROUNDING_MODES)
@pytest.mark.parametrize("fmt", [*(f for f in NAMED.values() if f.zero), *OTHERS, *QUICK, *SLOW], ids=repr)
def test_rounding_is_exact(fmt, mode, overflow, seed, simd_level):
    x = trial_values(fmt, seed)
    for dtype in (np.float64, np.float32):
        with np.errstate(over="ignore"):
            y = x.astype(dtype)
        codes = lpnum.encode(y, fmt, rounding=mode, overflow=overflow, rng=CounterRNG(3, 8))
        expected = exact(y.astype(np.float64), fmt, mode, overflow, 3, 8)
        np.testing.assert_array_equal(fmt.code_values[codes], expected)
        zero = (expected == 0) & fmt.has_negative_zero
        np.testing.assert_array_equal(codes[zero] != 0, np.signbit(y[zero]))


@pytest.mark.parametrize("name", [n for n, f in NAMED.items() if f.zero])
def test_nearest_even_with_ieee_overflow_is_the_cast_of_ml_dtypes(name, seed, simd_level):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    fmt = NAMED[name]
    theirs = np.float16 if name == "float16" else getattr(ml_dtypes, name)
    with np.errstate(all="ignore"):
        x = trial_values(fmt, seed).astype(np.float32)
        expected = x.astype(theirs).astype(np.float64)
    overflow = "clamp" if fmt.specials == "none" else "ieee"
    ours = fmt.code_values[lpnum.encode(x, fmt, overflow=overflow)]
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(np.signbit(ours)[ours == 0], np.signbit(expected)[ours == 0])


@pytest.mark.parametrize("fmt", [f for f in P3109 if f.bits >= 4], ids=repr)
def test_p3109_values_are_those_of_gfloat(fmt):
    gfloat = pytest.importorskip("gfloat")
    from gfloat.formats import format_info_p3109

    info = format_info_p3109(
        fmt.bits,
        fmt.mantissa_bits + 1,
        gfloat.Signedness.Signed if fmt.signed else gfloat.Signedness.Unsigned,
        gfloat.Domain.Extended if fmt.specials == "p3109" else gfloat.Domain.Finite,
    )
    expected = np.array([gfloat.decode_float(info, c).fval for c in range(1 << fmt.bits)])
    np.testing.assert_array_equal(fmt.code_values, expected)


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
                np.testing.assert_array_equal(fmt.code_values[replaced], 1.0)
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
    expected = exact(values.ravel(), fmt, "nearest-even", "clamp").reshape(values.shape)
    np.testing.assert_array_equal(result.dequantize(np.float64), expected)


@pytest.mark.parametrize("fmt", EIGHT_BIT, ids=repr)
@pytest.mark.parametrize("ufunc", [np.exp, np.tanh, np.sqrt, np.log1p, np.abs, np.negative, np.square, np.rint])
def test_unary_functions_of_all_codes_are_rounded_once(fmt, ufunc):
    codes = fmt.all_codes()[np.isfinite(fmt.code_values) & (fmt.code_values >= 0)]
    x = lpnum.from_codes(codes, fmt)
    with np.errstate(all="ignore"):
        values = ufunc(x.dequantize(np.float64))
    np.testing.assert_array_equal(ufunc(x).dequantize(np.float64), exact(values, fmt, "nearest-even", "clamp"))


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
        expected = exact(x.dequantize(np.float64), target, "nearest-even", "clamp")
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
