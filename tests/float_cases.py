"""Formats and values that the exactness tests share, and the comparison of `lpnum.encode` with the oracle."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

import lpnum
from lpnum._core import kernels
from lpnum._reference import FloatSearch
from lpnum.formats import FloatFormat, minifloat, named, p3109
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES

NAMED = {name: fmt for name, fmt in named().items() if isinstance(fmt, FloatFormat)}
EIGHT_BIT = [fmt for fmt in NAMED.values() if fmt.bits <= 8]
SIXTEEN_BIT = [fmt for fmt in NAMED.values() if fmt.bits > 8]
# each with something that no named format has: another bias, 16 bits, no exponent or mantissa field, no sign, 3 bits
MINIFLOATS = [minifloat(4, 3, 4), minifloat(6, 9), minifloat(2, 0, specials="none"), minifloat(0, 5, specials="none")]
MINIFLOATS += [minifloat(5, 3, specials=s, signed=False) for s in ("none", "fn", "ieee", "fnuz")]
MINIFLOATS += [minifloat(3, 3), minifloat(1, 1, specials="fnuz")]
MINIFLOATS += [minifloat(0, 2, 0, "fn"), minifloat(0, 3, 0, "fn", signed=False)]
MINIFLOATS += [minifloat(5, 2, 200), minifloat(5, 2, -200), minifloat(4, 3, -20)]
MINIFLOATS += [minifloat(7, 0), minifloat(5, 10, 0, "fnuz"), minifloat(8, 8, specials="fn", signed=False)]

POLICIES = ("clamp", "ieee", "error")


def p3109_formats(bits: int) -> list[FloatFormat]:
    """All formats of the family with so many bits whose values float64 holds: those of up to 10 exponent bits."""
    return [
        p3109(bits, precision, signed, extended)
        for signed in (True, False)
        for precision in range(1, bits + (not signed))
        for extended in (True, False)
        if bits - precision + (not signed) <= 10
    ]


def points(fmt: FloatFormat, limit: int = 1 << 17, seed: int = 0) -> np.ndarray:
    """Every magnitude, every midpoint, the float64 and float32 neighbours of all these, and the ends of float64.

    Of formats with more than `limit` codes as many magnitudes, drawn at random, among them the first and last ones.
    """
    values = np.unique(np.abs(fmt.code_values[np.isfinite(fmt.code_values)]))
    values = np.append(values, fmt.magnitude(fmt.finite_max_code + 1))
    chosen = np.arange(len(values) - 1)
    if len(chosen) > limit:
        middle = np.random.default_rng(seed).choice(chosen[4:-4], limit - 8, replace=False)
        chosen = np.concatenate([chosen[:4], middle, chosen[-4:]])
    lower, upper = values[chosen], values[chosen + 1]
    x = np.concatenate([lower, lower + (upper - lower) / 2, values[-1:], values[-1:] * 1.5])
    with np.errstate(over="ignore", under="ignore"):
        single = x.astype(np.float32)
        near = [np.nextafter(x, np.inf), np.nextafter(x, 0)]
        near += [np.nextafter(single, np.float32(end)).astype(np.float64) for end in (np.inf, 0)]
    ends = [5e-324, 2.2e-308, 1.4e-45, 1.2e-38, 3.4e38, 1.79e308, np.inf]
    x = np.concatenate([x, single, *near, ends])
    return np.concatenate([x, -x])


def float16_values() -> np.ndarray:
    """Every float16 bit pattern, NaN and infinity among them."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def bit_patterns(rng: np.random.Generator, n: int, dtype: type) -> np.ndarray:
    """Random bit patterns of float32 or float64: all exponents alike."""
    unsigned = np.uint32 if dtype is np.float32 else np.uint64
    return rng.integers(0, np.iinfo(unsigned).max, n, dtype=unsigned, endpoint=True).view(dtype)


def stochastic_thresholds(rng: CounterRNG, n: int, random_bits: int = 16) -> np.ndarray:
    """The thresholds that the words of a stream stand for: 1 - (word + 1/2) / 2^k."""
    width = 16 if random_bits <= 16 else 32
    words = rng.words(n, width) >> (width - random_bits)
    return 1 - (words + 0.5) / 2.0**random_bits


def assert_codes(actual: np.ndarray, expected: np.ndarray, x: np.ndarray, what: str) -> None:
    """Equal codes, or an error that shows the first values that went wrong."""
    if np.array_equal(actual, expected):
        return
    wrong = np.flatnonzero(actual != expected)
    shown = [f"{float(x[i]).hex()} at {i}: code {actual[i]}, exact {expected[i]}" for i in wrong[:5]]
    raise AssertionError(f"{what}: {wrong.size} of {x.size} codes are wrong:\n  " + "\n  ".join(shown))


def assert_encode_is_exact(
    fmt: FloatFormat,
    x: np.ndarray,
    modes: Iterable[str] = ROUNDING_MODES,
    policies: Iterable[str] = POLICIES,
    error_levels: Iterable[str] | None = None,
    random_bits: int = 16,
    seed: int = 3,
) -> None:
    """`lpnum.encode` gives the codes of the oracle, and refuses what it refuses, in each mode, policy and level.

    With `error_levels`, errors, which every level finds by the same scalar code, are only looked for at these levels.
    """
    with np.errstate(invalid="ignore"):  # signaling NaN among the bit patterns
        located = FloatSearch(fmt, x.astype(np.float64))
    for mode in modes:
        threshold = stochastic_thresholds(CounterRNG(seed, 8), x.size, random_bits) if mode == "stochastic" else None
        for policy in policies:
            expected = located.codes(mode, policy, threshold)
            refused = expected == FloatSearch.ERROR
            y = np.where(refused, x.dtype.type(0), x) if refused.any() else x  # 0 has code 0 in every format
            settled = np.where(refused, 0, expected)
            for level in kernels.simd_levels():
                errors = error_levels is None or level in error_levels
                if policy == "error" and not errors:
                    continue
                kernels.set_simd_level(level)
                what = f"{fmt!r}, {x.dtype}, {mode}, {policy}, {level}"
                arguments = {"rounding": mode, "overflow": policy, "random_bits": random_bits}
                codes = lpnum.encode(y, fmt, **arguments, rng=CounterRNG(seed, 8))
                assert_codes(codes, settled, y, what)
                if errors and refused.any():
                    assert_refused(fmt, x, refused, {**arguments, "rng": CounterRNG(seed, 8)})


def assert_refused(fmt: FloatFormat, x: np.ndarray, refused: np.ndarray, arguments: dict) -> None:
    """The error counts what cannot be stored and names the first; NaN and wrong signs come before overflow."""
    invalid = np.isnan(x) & (fmt.nan_code is None)
    if not fmt.signed and (fmt.nan_code is None or arguments["overflow"] != "ieee"):
        invalid |= x < 0
    bad, error = (invalid, ValueError) if invalid.any() else (refused, OverflowError)
    words = rf"{bad.sum()} of {x.size} values are .*first at index {np.flatnonzero(bad)[0]}\b"
    with pytest.raises(error, match=words):
        lpnum.encode(x, fmt, **arguments)
