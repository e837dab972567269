"""Functions of one array, extrema, comparisons and predicates; each result rounded once."""

from __future__ import annotations

import numpy as np
import pytest
from arithmetic_checks import all_pairs, rounded_onto, values_of
from hypothesis import given
from hypothesis import strategies as st

import lpnum
from lpnum import testing

# ---- other ufuncs --------------------------------------------------------------------------------------------------

UNARY = [np.exp, np.sin, np.tanh, np.abs, np.square, np.sqrt, np.log, np.floor, np.rint, np.cbrt, np.sign, np.arctan]


@pytest.mark.parametrize("ufunc", UNARY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("fmt", [lpnum.fixed8, lpnum.ufixed8, lpnum.fixed4, lpnum.fixed16], ids=repr)
def test_unary_functions_of_every_code_are_rounded_once(ufunc, fmt, simd_level):
    offset = 11.0 if ufunc in (np.sqrt, np.log) else 0.1
    x = lpnum.from_codes(fmt.all_codes(), fmt, 9.0 / max(fmt.code_max, 1), offset)
    y = ufunc(x)
    exact = ufunc(values_of(x))
    np.testing.assert_array_equal(y.codes, rounded_onto(exact, y))
    assert (np.abs(values_of(y) - exact) <= 0.5 * y.scale * (1 + 1e-9) + 1e-13 * np.abs(exact).max()).all()
    testing.assert_same(ufunc(x[::2]), y[::2])  # the grid comes from the codes, not from the values
    per_element = lpnum.LPArray(x.codes, fmt, x.scale, np.full(x.shape, offset))
    assert isinstance(ufunc(per_element), lpnum.LPArray)


def test_scipys_ufuncs_keep_the_format_too():
    special = pytest.importorskip("scipy.special")
    x = lpnum.array(np.linspace(-3, 3, 50))
    for ufunc in (special.expit, special.erf, special.j0):
        y = ufunc(x)
        np.testing.assert_array_equal(y.codes, rounded_onto(ufunc(values_of(x)), y))


def test_relu_and_powers_with_scalars_go_through_the_table():
    x = lpnum.from_codes(lpnum.fixed8.all_codes(), scale=0.1)
    for y, exact in [
        (np.maximum(x, 0.0), np.maximum(values_of(x), 0)),
        (x**2, values_of(x) ** 2),
        (2.0 ** x[120:140], 2.0 ** values_of(x)[120:140]),
        (abs(x), np.abs(values_of(x))),
    ]:
        np.testing.assert_array_equal(y.codes, rounded_onto(exact, y))


def test_extrema_of_equal_grids_are_exact_and_keep_them():
    a, b = all_pairs(ga=(0.1, 0.0), gb=(0.1, 0.0))
    for ufunc in (np.maximum, np.minimum, np.fmax, np.fmin):
        y = ufunc(a, b)
        assert y.scale == 0.1
        np.testing.assert_array_equal(values_of(y), ufunc(values_of(a), values_of(b)))


@pytest.mark.parametrize("ufunc", [np.hypot, np.arctan2, np.maximum, np.copysign], ids=lambda f: f.__name__)
def test_functions_of_all_pairs_are_rounded_once(ufunc):
    a, b = all_pairs()
    y = ufunc(a, b)
    exact = ufunc(values_of(a), values_of(b))
    np.testing.assert_array_equal(y.codes, rounded_onto(exact, y))
    testing.assert_same(ufunc(a[3:9], b), y[3:9])


def test_stochastic_unary_functions_draw_for_every_element():
    x = lpnum.full(20_000, 0.5, scale=0.5)
    with lpnum.context(rounding="stochastic", rng=0):
        y = np.exp(x)
    low = np.floor(np.exp(0.5) / y.scale)
    p = np.exp(0.5) / y.scale - low
    # binomial with 20,000 draws: five standard deviations, false alarm 6e-7
    assert abs((y.codes == low + 1).mean() - p) < 5 * np.sqrt(p * (1 - p) / 20_000)


def test_a_function_without_finite_values_is_an_error():
    with pytest.raises(ValueError, match=r"NaN or infinite.*use x\.dequantize"):
        np.log(lpnum.array([1.0, -1.0]))
    x = lpnum.array([1.0, -1.0], lpnum.fixed(8, frac=2))
    with pytest.raises(ValueError, match="not numbers"):
        np.sqrt(x)


@given(
    data=st.data(),
    ufunc=st.sampled_from([np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal]),
)
def test_comparisons_are_those_of_the_values(data, ufunc):
    x = data.draw(testing.lp_arrays())
    y = data.draw(st.sampled_from(["same", "negated", "other", "scalar"]))
    other = {"same": x.copy(), "negated": -x, "other": x.astype(lpnum.fixed16), "scalar": 1.5}[y]
    result = ufunc(x, other)
    assert np.asarray(result).dtype == bool
    np.testing.assert_array_equal(result, ufunc(values_of(x), values_of(other)))
    np.testing.assert_array_equal(ufunc(-x, -x.copy()), ufunc(-values_of(x), -values_of(x)))


def test_predicates_are_boolean_arrays():
    x = lpnum.array([1.0, -1.0, 0.0])
    assert np.isfinite(x).all()
    assert not np.isnan(x).any()
    assert np.signbit(x).tolist() == [False, True, False]
    assert np.logical_not(x).tolist() == [False, False, True]


def test_context_is_nested_and_restored():
    x = lpnum.zeros(1, scale=1.0)
    with lpnum.context(rounding="towards-positive"):
        with lpnum.context(overflow="wrap"):
            x += 0.1
        assert x.codes[0] == 1
    x += 0.1
    assert x.codes[0] == 1
    with pytest.raises(ValueError, match="did you mean"), lpnum.context(rounding="stochastc"):
        pass
    with pytest.raises(ValueError, match="result"), lpnum.context(result="wide"):
        pass


def test_in_place_stochastic_updates_are_unbiased_where_nearest_freezes():
    """Mean of 100,000 coordinates after 10 steps of 0.1 of a grid step: standard error 0.003, bound at 5 of them."""
    n = 100_000
    frozen = lpnum.zeros(n, scale=1.0)
    moving = lpnum.zeros(n, scale=1.0, rounding="stochastic", rng=3)
    for _ in range(10):
        frozen += 0.1
        moving += 0.1
    assert not frozen.codes.any()
    assert abs(moving.mean() - 1.0) < 5 * np.sqrt(10 * 0.09 / n)


def test_a_float_divided_by_zero_is_what_the_format_has_for_it():
    x = lpnum.array([1.0, -2.0, 0.0], dtype=lpnum.float8_e5m2)
    with lpnum.context(overflow="ieee"):
        np.testing.assert_array_equal(np.asarray(x / 0.0), [np.inf, -np.inf, np.nan])
        np.testing.assert_array_equal(np.asarray(x * np.inf), [np.inf, -np.inf, np.nan])
        np.testing.assert_array_equal(np.asarray(x / [1.0, 0.0, 2.0]), [1.0, -np.inf, 0.0])
    np.testing.assert_array_equal(np.asarray(x / 0.0), [57344.0, -57344.0, np.nan])  # clamp
    with pytest.raises(ValueError, match="NaN or infinity"):
        lpnum.ones(2, dtype=lpnum.float4_e2m1fn) / 0.0
