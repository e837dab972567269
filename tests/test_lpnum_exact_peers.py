"""Float formats against the independent implementations ml_dtypes and gfloat: no mismatch in what they share."""

from __future__ import annotations

import float_cases as cases
import numpy as np
import pytest

import lpnum
from lpnum.formats import FloatFormat
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES


@pytest.fixture(autouse=True)
def _signaling_nan_is_welcome():
    """Random bit patterns hold it, and NumPy warns when it converts one."""
    with np.errstate(all="ignore"):
        yield


def ml_dtype(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return np.float16 if name == "float16" else getattr(ml_dtypes, name)


def assert_same_values(ours, theirs, x, what):
    """Equal numbers and signs of zeros, NaN in the same places."""
    same = (ours == theirs) & (np.signbit(ours) == np.signbit(theirs))
    wrong = np.flatnonzero(~(same | (np.isnan(ours) & np.isnan(theirs))))
    shown = [f"{float(x[i]).hex()} at {i}: {ours[i]!r} and not {theirs[i]!r}" for i in wrong[:5]]
    assert not wrong.size, f"{what}: {wrong.size} of {x.size} values differ:\n  " + "\n  ".join(shown)


# ---- ml_dtypes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases.NAMED)
def test_every_code_has_the_value_it_has_in_ml_dtypes(name, simd_level):
    fmt, theirs = cases.NAMED[name], ml_dtype(name)
    expected = fmt.all_codes().view(theirs).astype(np.float64)
    np.testing.assert_array_equal(lpnum.decode(fmt.all_codes(), fmt, np.float64), expected)
    np.testing.assert_array_equal(np.signbit(fmt.code_values), np.signbit(np.where(np.isnan(expected), 1.0, expected)))


def assert_cast_is_that_of_ml_dtypes(name, x):
    fmt, theirs = cases.NAMED[name], ml_dtype(name)
    if fmt.nan_code is None:
        x = x[~np.isnan(x)]  # ml_dtypes makes -0 of NaN there, lpnum an error
    if not fmt.zero:
        x = x[
            ~(x.astype(np.float64) < 2.0**-126)
        ]  # NaN of 0, and 2^-126 of subnormal float32, where lpnum gives the nearest value
    expected = x.astype(theirs).astype(np.float64)
    rounding = "nearest-even" if fmt.mantissa_bits else "nearest-away"  # ties of float8_e8m0fnu go up
    overflow = "clamp" if fmt.specials == "none" else "ieee"
    ours = fmt.code_values[lpnum.encode(x, fmt, rounding=rounding, overflow=overflow)]
    assert_same_values(ours, expected, x, repr(fmt))


@pytest.mark.parametrize("name", cases.NAMED)
def test_nearest_even_with_ieee_overflow_is_the_cast_of_ml_dtypes(name, seed, simd_level):
    assert_cast_is_that_of_ml_dtypes(name, cases.points(cases.NAMED[name], limit=2000).astype(np.float32))
    assert_cast_is_that_of_ml_dtypes(name, cases.float16_values()[:: 1 if cases.NAMED[name].bits <= 8 else 7])
    assert_cast_is_that_of_ml_dtypes(name, cases.bit_patterns(np.random.default_rng(seed), 5_000, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", cases.NAMED)
def test_ten_million_float32_are_cast_as_by_ml_dtypes(name):
    rng = np.random.default_rng(1)
    for _ in range(10):
        assert_cast_is_that_of_ml_dtypes(name, cases.bit_patterns(rng, 1_000_000, np.float32))


# ---- gfloat --------------------------------------------------------------------------------------------------------

MODES = {
    "nearest-even": "TiesToEven",
    "nearest-away": "TiesToAway",
    "towards-zero": "TowardZero",
    "towards-positive": "TowardPositive",
    "towards-negative": "TowardNegative",
}


def format_info(fmt: FloatFormat):
    """The format as gfloat describes it, from the fields."""
    gfloat = pytest.importorskip("gfloat")
    if fmt.specials.startswith("p3109"):
        from gfloat.formats import format_info_p3109

        signedness = gfloat.Signedness.Signed if fmt.signed else gfloat.Signedness.Unsigned
        domain = gfloat.Domain.Extended if fmt.specials == "p3109" else gfloat.Domain.Finite
        return format_info_p3109(fmt.bits, fmt.mantissa_bits + 1, signedness, domain)
    nans = {"ieee": (1 << fmt.mantissa_bits) - 1, "fn": 1, "fnuz": 0, "none": 0}
    return gfloat.FormatInfo(
        fmt.name,
        k=fmt.bits,
        precision=fmt.mantissa_bits + 1,
        bias=fmt.bias,
        is_signed=fmt.signed,
        domain=gfloat.Domain.Extended if fmt.specials == "ieee" else gfloat.Domain.Finite,
        has_nz=fmt.signed and fmt.specials != "fnuz",
        num_high_nans=nans[fmt.specials],
        has_subnormals=fmt.zero,
        is_twos_complement=False,
    )


GFLOAT = [*cases.NAMED.values(), *(f for f in cases.MINIFLOATS if f.exponent_bits and f.signed and f.mantissa_bits)]


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 7, 8, *(pytest.param(k, marks=pytest.mark.slow) for k in range(9, 17))])
def test_values_of_all_codes_of_p3109_are_those_of_gfloat(bits):
    gfloat = pytest.importorskip("gfloat")
    for fmt in cases.p3109_formats(bits):
        expected = gfloat.decode_ndarray(format_info(fmt), fmt.all_codes().astype(np.int64))
        np.testing.assert_array_equal(fmt.code_values, expected, err_msg=repr(fmt))


@pytest.mark.parametrize("fmt", GFLOAT, ids=repr)
def test_values_of_all_codes_are_those_of_gfloat(fmt):
    gfloat = pytest.importorskip("gfloat")
    expected = gfloat.decode_ndarray(format_info(fmt), fmt.all_codes().astype(np.int64))
    np.testing.assert_array_equal(fmt.code_values, expected)


def comparable(fmt, x):
    """Values that both libraries take, and that gfloat scales without underflow."""
    if fmt.nan_code is None:
        x = x[~np.isnan(x)]
    if not fmt.signed:
        x = np.abs(x)  # gfloat takes the sign off, lpnum refuses it
    if not fmt.zero:
        x = x[~(x < fmt.smallest_normal)]  # gfloat goes on below the smallest value
    scaled = np.ldexp(x.astype(np.float64), min(fmt.mantissa_bits - fmt.min_exponent, 0))
    return x[(scaled != 0) | (x == 0)]


def assert_rounds_as_gfloat(fmt, x):
    """All shared modes with and without saturation."""
    gfloat = pytest.importorskip("gfloat")
    info, x = format_info(fmt), comparable(fmt, x)
    for mode in MODES:
        for saturate in (True, False):
            policy = "clamp" if saturate or fmt.specials == "none" else "ieee"
            expected = gfloat.round_ndarray(
                info, x.astype(np.float64), gfloat.RoundMode[MODES[mode]], sat=policy == "clamp"
            )
            ours = fmt.code_values[lpnum.encode(x, fmt, rounding=mode, overflow=policy)]
            assert_same_values(ours, expected, x, f"{fmt!r}, {x.dtype}, {mode}, {policy}")


def test_gfloat_and_lpnum_share_all_modes_but_stochastic():
    assert set(MODES) | {"stochastic"} == set(ROUNDING_MODES)


@pytest.mark.parametrize("fmt", GFLOAT, ids=repr)
def test_all_deterministic_modes_round_as_gfloat(fmt, seed):
    rng = np.random.default_rng(seed)
    points = cases.points(fmt, limit=200, seed=seed)
    for dtype in (np.float64, np.float32):
        assert_rounds_as_gfloat(fmt, points.astype(dtype))
        assert_rounds_as_gfloat(fmt, cases.bit_patterns(rng, 500, dtype))


@pytest.mark.parametrize("random_bits", [1, 2, 5, 8, 12, 16, 24, 30])
@pytest.mark.parametrize("fmt", [f for f in GFLOAT if f.bits <= 8], ids=repr)
def test_stochastic_rounding_is_that_of_gfloat_with_the_same_bits(fmt, random_bits):
    """gfloat rounds the magnitude, lpnum the value: a negative value takes the complement of the word.

    "StochasticFast" (P3109's variant B) is lpnum's rule. The others differ from it only where the fraction, with one
    bit more than the words have, is a tie; random float64 have none.
    """
    gfloat = pytest.importorskip("gfloat")
    info = format_info(fmt)
    rng = np.random.default_rng(random_bits)
    x = comparable(fmt, np.concatenate([rng.normal(0, fmt.max / 3, 2000), rng.normal(0, fmt.smallest_normal, 500)]))
    width = 16 if random_bits <= 16 else 32
    words = (CounterRNG(5, 6).words(x.size, width) >> (width - random_bits)).astype(np.int64)
    words = np.where(x < 0, (1 << random_bits) - 1 - words, words)
    for saturate in (True, False):
        policy = "clamp" if saturate or fmt.specials == "none" else "ieee"
        arguments = {"rounding": "stochastic", "overflow": policy, "random_bits": random_bits}
        ours = fmt.code_values[lpnum.encode(x, fmt, rng=CounterRNG(5, 6), **arguments)]
        for mode in ("StochasticFast", "Stochastic", "StochasticOdd"):
            expected = gfloat.round_ndarray(
                info, x, gfloat.RoundMode[mode], sat=policy == "clamp", srbits=words, srnumbits=random_bits
            )
            assert_same_values(ours, expected, x, f"{fmt!r}, {mode}, {policy}")


@pytest.mark.slow
@pytest.mark.parametrize("fmt", [f for f in GFLOAT if f.bits <= 8], ids=repr)
def test_a_million_bit_patterns_and_all_points_are_rounded_as_by_gfloat(fmt):
    rng = np.random.default_rng(2)
    for dtype in (np.float64, np.float32):
        assert_rounds_as_gfloat(fmt, cases.points(fmt).astype(dtype))
        assert_rounds_as_gfloat(fmt, cases.bit_patterns(rng, 500_000, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("bits", range(3, 17))
def test_all_formats_of_p3109_round_as_in_gfloat(bits):
    for fmt in cases.p3109_formats(bits):
        assert_rounds_as_gfloat(fmt, cases.points(fmt, limit=256 if bits <= 8 else 64, seed=bits))
