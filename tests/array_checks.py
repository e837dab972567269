"""What several tests ask of an LPArray's values."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lpnum
from lpnum import LPArray, testing


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


FLOATS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float6_e2m3fn", "float4_e2m1fn", "bfloat16")


@st.composite
def float_arrays(draw, shape=None):
    """Arrays of small floats with any codes, and a scale per array, axis or element; offset 0 or not."""
    fmt = lpnum.format(draw(st.sampled_from(FLOATS)))
    dims = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=5)) if shape is None else shape
    codes = draw(hnp.arrays(fmt.storage, dims, elements=st.integers(fmt.code_min, fmt.code_max)))
    layout = draw(st.sampled_from([(), tuple(1 for _ in dims[:-1]) + dims[-1:], dims]))
    scale = draw(hnp.arrays(np.float64, layout, elements=st.sampled_from([0.25, 1.0, 3.0, -2.0])))
    return LPArray(codes, fmt, scale, draw(st.sampled_from([0.0, 0.0, 1.5])))


def any_array(**shape):
    return testing.lp_arrays(shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=5), **shape) | float_arrays()
