"""Stochastic rounding to floats: probabilities counted out over all words, one result for every layout and level."""

from __future__ import annotations

from fractions import Fraction

import float_cases as cases
import numpy as np
import pytest

import lpnum
from lpnum import _reference
from lpnum._core import kernels
from lpnum.random import CounterRNG

FORMATS = [*cases.EIGHT_BIT, lpnum.bfloat16, lpnum.p3109(8, 3), lpnum.p3109(6, 1, signed=False), lpnum.minifloat(6, 9)]


@pytest.mark.parametrize("random_bits", range(1, 33))
@pytest.mark.parametrize("fmt", [lpnum.float8_e4m3fn, lpnum.float8_e5m2fnuz], ids=repr)
def test_any_number_of_random_bits_gives_the_codes_of_the_oracle(fmt, random_bits):
    before = kernels.SIMD_LEVELS[kernels.simd_level()]
    x = np.random.default_rng(random_bits).normal(0, fmt.max / 4, 1500)
    x = np.concatenate([x, x * fmt.smallest_normal, cases.points(fmt)])
    try:
        for dtype in (np.float32, np.float64):
            with np.errstate(over="ignore", under="ignore"):
                cases.assert_encode_is_exact(fmt, x.astype(dtype), ["stochastic"], random_bits=random_bits)
    finally:
        kernels.set_simd_level(before)


@pytest.mark.parametrize("random_bits", [1, 3, 8, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 4, 5, 6, 10))])
@pytest.mark.parametrize("fmt", [f for f in FORMATS if f.bits <= 8], ids=repr)
def test_probability_of_rounding_up_is_the_fraction_to_the_stated_bits(fmt, random_bits):
    """Of the 2^k equally likely words, as many round up as the fraction has units of 2^-k, ties of it upwards."""
    rng = np.random.default_rng(random_bits)
    words = np.arange(1 << random_bits)
    thresholds = [1 - Fraction(2 * int(w) + 1, 2 << random_bits) for w in words]
    some = np.abs(np.concatenate([fmt.code_values[:3], rng.choice(fmt.code_values, 8)]))
    for low in some[np.isfinite(some) & (some < fmt.max)]:
        code = int(lpnum.encode(low, fmt))
        gap = fmt.magnitude(code + 1) - low
        for fraction in (*rng.integers(1, 1 << 20, 3) / 2.0**20, 0.0, 2.0 ** -(random_bits + 1), 1 - 2.0**-20):
            value = float(low + gap * fraction)
            exact = (Fraction(value) - Fraction(float(low))) / Fraction(float(gap))
            ups = int(exact * (1 << random_bits) + Fraction(1, 2))  # to the nearest, ties up
            for signed, count in ((value, ups), (-value, _complement(exact, random_bits))):
                if signed < 0 and not fmt.signed:
                    continue
                found = _reference.FloatSearch(fmt, np.full(words.size, signed))
                codes = found.codes("stochastic", "clamp", np.array([float(t) for t in thresholds]))
                moved = np.count_nonzero(fmt.code_values[codes] != np.copysign(low, signed))
                assert moved == count, (fmt, signed, random_bits)


def _complement(fraction, random_bits):
    """How many words take a negative value away from 0: it goes up, towards 0, with the rest of the probability."""
    if fraction == 0:
        return 0
    return (1 << random_bits) - int((1 - fraction) * (1 << random_bits) + Fraction(1, 2))


@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_a_value_of_the_format_never_moves(fmt):
    x = np.repeat(fmt.code_values[np.isfinite(fmt.code_values)][:2000], 50)
    for random_bits in (1, 16, 32):
        for dtype in (np.float32, np.float64):
            codes = lpnum.encode(x.astype(dtype), fmt, rounding="stochastic", rng=1, random_bits=random_bits)
            np.testing.assert_array_equal(fmt.code_values[codes], x)


@pytest.mark.parametrize("fmt", [lpnum.float8_e4m3fn, lpnum.float8_e5m2, lpnum.float16], ids=repr)
@pytest.mark.parametrize("random_bits", [16, 24])
def test_codes_depend_on_seed_stream_and_place_alone(fmt, random_bits):
    """Word i of the stream rounds element i in C order, at every level and in every layout of memory."""
    before = kernels.SIMD_LEVELS[kernels.simd_level()]
    x = np.random.default_rng(0).normal(0, 3, (97, 61)).astype(np.float32)
    layouts = {
        "C": x,
        "Fortran": np.asfortranarray(x),
        "strided": np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
        "reversed": np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
        "float64": x.astype(np.float64),
        "big-endian": x.astype(">f4"),
        "three axes": x.reshape(97, 61, 1),
        "list": x.tolist(),
    }
    arguments = {"rounding": "stochastic", "random_bits": random_bits}
    thresholds = cases.stochastic_thresholds(CounterRNG(9, 5), x.size, random_bits)
    wide = x.ravel().astype(np.float64)
    expected = _reference.FloatSearch(fmt, wide).codes("stochastic", "clamp", thresholds)
    try:
        for level in kernels.simd_levels():
            kernels.set_simd_level(level)
            for name, y in layouts.items():
                codes = lpnum.encode(y, fmt, rng=CounterRNG(9, 5), **arguments)
                cases.assert_codes(codes.ravel(), expected, wide, f"{fmt!r}, {level}, {name}")
    finally:
        kernels.set_simd_level(before)
    other = lpnum.encode(x, fmt, rng=CounterRNG(9, 6), **arguments)
    assert not np.array_equal(other.ravel(), expected)


def test_each_operation_takes_the_next_stream():
    rng = CounterRNG(1)
    x = np.full(500, 1.05, np.float32)
    first, second = (lpnum.encode(x, lpnum.float8_e4m3fn, rounding="stochastic", rng=rng) for _ in range(2))
    assert rng.stream == 2
    assert not np.array_equal(first, second)
    again = lpnum.encode(x, lpnum.float8_e4m3fn, rounding="stochastic", rng=CounterRNG(1, 1))
    np.testing.assert_array_equal(again, second)
