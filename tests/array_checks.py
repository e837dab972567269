"""What several tests ask of an LPArray's values."""

from __future__ import annotations

import numpy as np

import lpnum


def values_of(x):
    """float64 values of an LPArray; anything else as it is."""
    return x.dequantize(np.float64) if isinstance(x, lpnum.LPArray) else x


def half_step(x, values):
    """Half the distance of the grid's values around the given ones: nothing was clamped if results are that near."""
    if isinstance(x.format, lpnum.FixedFormat):
        return np.broadcast_to(0.5 * np.abs(x.scale) * x.format.unit, x.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.floor(np.log2(np.abs((values - x.offset) / x.scale)))
    step = 2.0 ** (np.maximum(exponent, x.format.min_exponent) - x.format.mantissa_bits)
    return 0.5 * np.abs(x.scale) * step


def assert_rounded(result, expected, *, clamped=False):
    """Every value is the expected one rounded once onto the grid of the result, and within half a step of it."""
    expected = np.asarray(expected, np.float64)
    assert result.shape == expected.shape
    again = result.copy()
    again[...] = expected
    values = values_of(result)
    np.testing.assert_array_equal(values, values_of(again))
    inside = np.isfinite(expected)
    distance, allowed = np.abs(values - expected)[inside], half_step(result, expected)[inside]
    assert clamped or (distance <= allowed * (1 + 1e-9) + 1e-12).all()
