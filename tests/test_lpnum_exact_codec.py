"""Encode and decode of float formats against the oracle, code by code. Start here after a change of the codecs.

The short tests take all points where a decision can change (values, midpoints, their neighbours) and every float16;
the slow ones add 10,000,000 random bit patterns of float32 and of float64 for each 8-bit format, in each rounding mode
and overflow policy, at every SIMD level, and all formats of P3109.
"""

from __future__ import annotations

import float_cases as cases
import numpy as np
import pytest

import lpnum
from lpnum import _reference
from lpnum._core import kernels
from lpnum.formats import p3109

CHUNK = 1 << 18
QUICK = [*cases.NAMED.values(), *cases.MINIFLOATS]
QUICK += [p3109(8, 4), p3109(8, 3, extended=False), p3109(8, 8, signed=False), p3109(8, 1, signed=False)]
QUICK += [p3109(4, 2), p3109(6, 3, signed=False, extended=False), p3109(3, 2), p3109(12, 2), p3109(16, 11)]


@pytest.fixture(autouse=True)
def _restore_simd_level():
    before = kernels.SIMD_LEVELS[kernels.simd_level()]
    yield
    kernels.set_simd_level(before)


@pytest.mark.parametrize("fmt", QUICK, ids=repr)
def test_encode_is_exact_where_decisions_change(fmt):
    x = cases.points(fmt, limit=256)
    for dtype in (np.float64, np.float32):
        with np.errstate(over="ignore", under="ignore"):
            cases.assert_encode_is_exact(fmt, x.astype(dtype))


@pytest.mark.parametrize("fmt", cases.EIGHT_BIT, ids=repr)
def test_every_float16_is_encoded_exactly(fmt):
    cases.assert_encode_is_exact(fmt, cases.float16_values())


@pytest.mark.parametrize("fmt", QUICK, ids=repr)
def test_random_bit_patterns_are_encoded_exactly(fmt, seed):
    rng = np.random.default_rng(seed)
    for dtype in (np.float32, np.float64):
        cases.assert_encode_is_exact(fmt, cases.bit_patterns(rng, 2_003, dtype), seed=seed)


@pytest.mark.parametrize("fmt", QUICK, ids=repr)
def test_decode_gives_the_rational_value_of_every_code(fmt):
    exact = np.array([float(_reference.float_value(fmt, code)) for code in range(1 << fmt.bits)])
    for level in kernels.simd_levels():
        kernels.set_simd_level(level)
        for dtype in (np.float64, np.float32, np.float16):
            with np.errstate(over="ignore", under="ignore"):
                expected = exact.astype(dtype)
                decoded = lpnum.decode(fmt.all_codes(), fmt, dtype)
            assert decoded.dtype == dtype
            np.testing.assert_array_equal(decoded, expected)
            numbers = ~np.isnan(expected)
            np.testing.assert_array_equal(np.signbit(decoded[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("fmt", QUICK, ids=repr)
def test_every_code_survives_decode_and_encode(fmt):
    codes = fmt.all_codes()
    numbers = ~np.isnan(fmt.code_values)
    for overflow in ("clamp", "ieee"):
        for dtype in (np.float32, np.float64):
            with np.errstate(over="ignore", under="ignore"):  # beyond float32
                values = fmt.code_values.astype(dtype)
            kept = values.astype(np.float64) == fmt.code_values
            back = lpnum.encode(values[kept], fmt, overflow=overflow)
            finite = np.isfinite(fmt.code_values[kept])
            np.testing.assert_array_equal(back[finite], codes[kept][finite])
            if overflow == "ieee":
                np.testing.assert_array_equal(back, codes[kept])
    if fmt.nan_code is not None:
        assert (lpnum.encode(fmt.code_values[~numbers], fmt) == fmt.nan_code).all()


# ---- at length -----------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fmt", cases.EIGHT_BIT, ids=repr)
def test_ten_million_bit_patterns_are_encoded_exactly(fmt, dtype):
    rng = np.random.default_rng(10_000_000 + fmt.bits)
    for first in range(0, 10_000_000, CHUNK):
        n = min(CHUNK, 10_000_000 - first)
        levels = kernels.simd_levels()
        one = levels[first // CHUNK % len(levels)]
        cases.assert_encode_is_exact(fmt, cases.bit_patterns(rng, n, dtype), seed=first, error_levels=[one])


@pytest.mark.long
@pytest.mark.parametrize("fmt", [*cases.SIXTEEN_BIT, *(f for f in cases.MINIFLOATS if f.bits == 16)], ids=repr)
def test_all_points_and_a_million_bit_patterns_of_16_bit_formats_are_encoded_exactly(fmt):
    rng = np.random.default_rng(16)
    x = cases.points(fmt)
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore", under="ignore"):
            cases.assert_encode_is_exact(fmt, x.astype(dtype))
        for _ in range(4):
            cases.assert_encode_is_exact(fmt, cases.bit_patterns(rng, CHUNK, dtype))


@pytest.mark.long
@pytest.mark.parametrize("bits", range(3, 17))
def test_all_formats_of_p3109_are_encoded_exactly(bits):
    """All points of all formats of up to 8 bits; 64 magnitudes with all their points of each wider one."""
    for fmt in cases.p3109_formats(bits):
        x = cases.points(fmt, limit=256 if bits <= 8 else 64, seed=bits)
        for dtype in (np.float32, np.float64):
            with np.errstate(over="ignore", under="ignore"):
                cases.assert_encode_is_exact(fmt, x.astype(dtype))
