"""lpnum.testing: what the strategies draw is valid, and they reach the cases for which they were made."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import lpnum
from lpnum import testing
from lpnum.formats import FixedFormat, FloatFormat, Format
from lpnum.rounding import ROUNDING_MODES

NAMED = sorted(lpnum.formats.named().values(), key=repr)
QUICK = settings(derandomize=True, database=None, max_examples=5000)


@given(fmt=testing.formats(max_bits=10), data=st.data())
def test_drawn_arrays_are_arrays_of_the_format_and_finite_unless_asked(fmt: Format, data: Any) -> None:
    x = data.draw(testing.lp_arrays(fmt))
    assert isinstance(x, lpnum.LPArray)
    assert x.format == fmt
    assert np.isfinite(x.dequantize()).all()
    assert x.codes.size == 0 or fmt.code_min <= int(x.codes.min()) <= int(x.codes.max()) <= fmt.code_max


@given(fmt=testing.formats(), data=st.data())
def test_drawn_codes_are_codes_of_the_format(fmt: Format, data: Any) -> None:
    drawn = data.draw(testing.codes(fmt))
    assert drawn.dtype == fmt.storage
    lpnum.LPArray(drawn, fmt)  # refuses codes that the format does not have
    assert data.draw(testing.codes(fmt, (2, 3))).shape == (2, 3)


@pytest.mark.parametrize("bits", [3, 7, 12])
@given(data=st.data())
def test_formats_have_at_most_the_bits_asked_for(bits: int, data: Any) -> None:
    assert data.draw(testing.formats(max_bits=bits)).bits <= bits


def test_formats_of_every_kind_are_drawn() -> None:
    for kind in (FixedFormat, FloatFormat):
        assert isinstance(find(testing.formats(), lambda f, k=kind: isinstance(f, k), settings=QUICK), kind)
    assert isinstance(find(testing.fixed_formats(), lambda f: not f.signed, settings=QUICK), FixedFormat)
    assert isinstance(find(testing.float_formats(), lambda f: f.bits < 8, settings=QUICK), FloatFormat)


@pytest.mark.parametrize("metadata", ["scalar", "axis", "element"])
def test_metadata_lie_as_asked(metadata: str) -> None:
    x = find(
        testing.lp_arrays(lpnum.fixed8, (3, 4), metadata=(metadata,)),
        lambda x: np.ndim(x.scale) > 0 or metadata == "scalar",
        settings=settings(QUICK, max_examples=200),
    )
    assert np.shape(x.scale) in {"scalar": [()], "axis": [(3, 1), (1, 4)], "element": [(3, 4)]}[metadata]


@pytest.mark.parametrize("width", [32, 64])
@given(fmt=st.sampled_from(NAMED), data=st.data())
def test_values_near_are_finite_numbers_of_the_width(width: int, fmt: Format, data: Any) -> None:
    value = data.draw(testing.values_near(fmt, 2.0 ** data.draw(st.integers(-9, 9)), width=width))
    assert isinstance(value, float)
    assert math.isfinite(value)
    assert width == 64 or float(np.float32(value)) == value


@pytest.mark.parametrize("fmt", [lpnum.fixed4, lpnum.fixed(4, frac=2), lpnum.float4_e2m1fn], ids=repr)
def test_values_near_reach_ties_their_neighbours_and_the_end_of_the_range(fmt: Format) -> None:
    strategy, unit = testing.values_near(fmt, 0.5, 3.0), 0.5
    grid = np.unique(3.0 + unit * fmt.code_values[np.isfinite(fmt.code_values)])
    middles = (grid[1:] + grid[:-1]) / 2
    threshold = grid[-1] + (grid[-1] - grid[-2]) / 2
    for place in (middles[5], np.nextafter(middles[5], np.inf), np.nextafter(middles[5], -np.inf), threshold):
        assert find(strategy, lambda value, p=place: value == p, settings=QUICK) == place
    assert find(strategy, lambda value: value > threshold, settings=QUICK) > threshold


@pytest.mark.parametrize("rounding", ROUNDING_MODES[:5])
@given(fmt=st.sampled_from(NAMED), data=st.data())
def test_encoding_of_values_near_is_by_the_definition(rounding: str, fmt: Format, data: Any) -> None:
    values = np.array(data.draw(st.lists(testing.values_near(fmt), max_size=8)), np.float64)
    values = values if fmt.min < 0 else np.abs(values)
    rounded = lpnum.round_to(values, fmt, rounding=rounding)
    grid = np.unique(fmt.code_values[np.isfinite(fmt.code_values)])
    inside = np.clip(values, grid[0], grid[-1])
    below, above = grid[np.searchsorted(grid, inside, "right") - 1], grid[np.searchsorted(grid, inside)]
    assert ((rounded == below) | (rounded == above)).all()
    expected = {
        "towards-positive": above,
        "towards-negative": below,
        "towards-zero": np.where(inside > 0, below, above),
    }.get(rounding)
    if expected is not None:
        np.testing.assert_array_equal(rounded, expected)
    else:  # the differences are exact: the neighbours are within a factor of two, or one is 0
        np.testing.assert_array_equal(np.abs(rounded - inside), np.minimum(inside - below, above - inside))


def test_widths_other_than_those_of_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="width must be 32 or 64, not 16"):
        testing.values_near(lpnum.fixed8, width=16)


def test_assert_same_tells_codes_grids_and_formats_apart() -> None:
    x = lpnum.array([1.0, 2.0], scale=0.5)
    testing.assert_same(x, x.copy())
    testing.assert_same(x, lpnum.LPArray(x.codes, x.format, np.full(2, 0.5)))  # the same grid, written out
    for other in (x.astype(lpnum.fixed16), x + 1, 2 * x, lpnum.array([1.0, 2.5], scale=0.5), x.dequantize()):
        with pytest.raises(AssertionError):
            testing.assert_same(other, x)
