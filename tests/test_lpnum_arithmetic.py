"""What operations return: exact scalars, covering grids, one rounding, in-place on the target's grid."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from arithmetic_checks import all_pairs, rounded_onto, values_of
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lpnum
from lpnum import testing
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES

OPERATIONS = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
}
IN_PLACE = {
    np.add: operator.iadd,
    np.subtract: operator.isub,
    np.multiply: operator.imul,
    np.divide: operator.itruediv,
}


# ---- two arrays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ufunc", OPERATIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("ga", [(0.013, 0.0), (1.0, -3.0)])
@pytest.mark.parametrize(
    "formats", [("fixed8", "fixed8"), ("fixed8", "ufixed8"), ("ufixed4", "fixed4"), ("ufixed8", "ufixed8")]
)
def test_all_pairs_of_8_bit_codes_are_rounded_once_onto_a_covering_grid(ufunc, ga, formats, simd_level):
    fa, fb = map(lpnum.format, formats)
    gb = (0.4, 0.0) if ufunc is not np.divide else (0.4, 200.0)  # a divisor that keeps away from 0
    a, b = all_pairs(fa, fb, ga, gb)
    result = ufunc(a, b)
    exact = ufunc(values_of(a), values_of(b))
    assert result.format == lpnum.formats.promote(fa, fb)
    np.testing.assert_array_equal(result.codes, rounded_onto(exact, result))
    reach = np.abs(exact).max() + np.abs(result.offset)
    assert (np.abs(values_of(result) - exact) <= 0.5 * result.scale + 1e-13 * reach).all()  # nothing was clamped
    # and the grid is not wider than the range of results asks for, up to the code spent on keeping 0 representable
    levels = result.format.code_max - result.format.code_min
    assert result.scale * (levels - 2) <= np.ptp(exact) * (1 + 1e-12) + 2 * abs(result.scale)


@pytest.mark.parametrize("ufunc", OPERATIONS, ids=lambda f: f.__name__)
def test_cover_depends_on_grids_only(ufunc, seed):
    rng = np.random.default_rng(seed)
    a = lpnum.array(rng.normal(size=(20, 3)), axis=1)
    b = lpnum.array(rng.uniform(1, 2, size=(20, 3)), offset=3.0)
    whole = ufunc(a, b)
    for i in (0, slice(3, 9), np.array([1, 1, 7])):
        part = ufunc(a[i], b[i])
        np.testing.assert_array_equal(values_of(part), values_of(whole[i]))


@given(data=st.data(), ufunc=st.sampled_from([np.add, np.subtract, np.multiply]))
def test_operator_ufunc_and_oracle_agree_on_any_grids_and_shapes(data, ufunc):
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=4, max_dims=3))
    a, b = (data.draw(testing.lp_arrays(testing.fixed_formats(), s)) for s in shapes.input_shapes)
    result = ufunc(a, b)
    testing.assert_same(OPERATIONS[ufunc](a, b), result)
    assert result.shape == shapes.result_shape
    exact = ufunc(values_of(a), values_of(b))
    np.testing.assert_array_equal(result.codes, rounded_onto(exact, result))
    if not a.format.calibrated and not b.format.calibrated and a.same_grid(b):
        assert result.same_grid(a) or result.ndim > a.ndim  # this grid is kept, and clamps
        return
    reach = (
        np.abs(exact).max(initial=0)
        + np.abs(values_of(a)).max(initial=0)
        + np.abs(np.asarray(result.offset)).max(initial=0)
    )
    step = np.broadcast_to(np.asarray(result.scale) * result.format.unit, result.shape)
    assert (np.abs(values_of(result) - exact) <= 0.5 * step + 1e-12 * reach).all()


def test_zero_stays_zero():
    x = lpnum.array([1.0, -2.0, 0.3])
    for y in (x - x, x * lpnum.zeros(3), np.tanh(lpnum.zeros(3, scale=0.1)), np.abs(lpnum.zeros(3))):
        np.testing.assert_array_equal(values_of(y), 0)


def test_keep_is_the_default_for_a_binary_point_and_counts_overflow():
    q = lpnum.fixed(8, frac=4)
    a, b = lpnum.array([1.0, 7.0], q), lpnum.array([0.5, 3.0], q)
    with lpnum.count_events() as events:
        total = a + b
    assert total.same_grid(a)
    np.testing.assert_array_equal(values_of(total), [1.5, 7.9375])
    assert events.overflow == 1
    np.testing.assert_array_equal(values_of(np.exp(a)), [2.6875, 7.9375])
    with lpnum.context(result="keep"), pytest.raises(ValueError, match="equal format, scale and offset"):
        lpnum.array([1.0]) + lpnum.array([7.0])


@pytest.mark.parametrize("ufunc", [np.add, np.subtract, np.multiply], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "formats", [("fixed8", "fixed8"), ("fixed8", "ufixed4"), ("ufixed8", "ufixed8"), ("fixed4", "fixed4")]
)
def test_exact_rounds_nothing(ufunc, formats):
    fa, fb = map(lpnum.format, formats)
    a, b = all_pairs(fa, fb, (0.25, 0.0), (0.75, 0.0))
    with lpnum.context(result="exact"), lpnum.count_events() as events:
        result = ufunc(a, b)
    assert events.inexact == events.overflow == 0
    np.testing.assert_array_equal(values_of(result), ufunc(values_of(a), values_of(b)))


def test_exact_says_where_16_bits_do_not_hold_it():
    with lpnum.context(result="exact"):
        a, b = lpnum.ones(2, lpnum.fixed16), lpnum.ones(2, lpnum.fixed16)
        with pytest.raises(ValueError, match="more than 16 bits"):
            a * b
        with pytest.raises(ValueError, match="not multiples"):
            lpnum.array([1.0], scale=1.0) + lpnum.array([1.0], scale=0.7)
        with pytest.raises(ValueError, match="defined for"):
            a / b


def test_division_through_zero_is_fitted_to_the_values():
    a, b = lpnum.array([1.0, 2.0, 3.0]), lpnum.array([1.0, -1.0, 0.5])
    result = a / b
    np.testing.assert_allclose(values_of(result), values_of(a) / values_of(b), atol=0.5 * result.scale + 1e-15)
    with pytest.raises(ValueError, match="NaN or infinite"):
        a / lpnum.zeros(3)


def test_fit_calibrates_on_the_values():
    a, b = lpnum.array([1.0, -1.0]), lpnum.array([0.01, 1.0])
    with lpnum.context(result="fit"):
        result = a * b
    assert result.scale == np.abs(values_of(a) * values_of(b)).max() / 127


# ---- scalars and plain arrays --------------------------------------------------------------------------------------


@given(x=testing.lp_arrays(), c=st.floats(-1e6, 1e6).filter(lambda c: abs(c) > 1e-6))
def test_scalars_change_the_grid_and_no_code(x, c):
    assume(np.abs(values_of(x)).max(initial=0) < 1e290)  # the values are to stay in the range of float64
    for result, exact in [
        (x * c, values_of(x) * c),
        (c * x, values_of(x) * c),
        (x / c, values_of(x) / c),
        (x + c, values_of(x) + c),
        (c - x, c - values_of(x)),
        (x - np.float32(c), values_of(x) - np.float64(np.float32(c))),
        (-x, -values_of(x)),
        (+x, values_of(x)),
    ]:
        np.testing.assert_array_equal(result.codes, x.codes)
        assert not np.may_share_memory(result.codes, x.codes) or not x.size
        reach = np.abs(values_of(x)).max(initial=0) + np.abs(np.asarray(x.offset)).max(initial=0)
        scale = max(abs(c), 1 / abs(c), 1)
        np.testing.assert_allclose(values_of(result), exact, rtol=1e-12, atol=1e-12 * scale * (reach + 1))


@given(data=st.data())
def test_plain_arrays_scale_and_shift_exactly(data):
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=1, max_side=4, max_dims=3))
    x = data.draw(testing.lp_arrays(shape=shapes.input_shapes[0]))
    v = data.draw(hnp.arrays(np.float64, shapes.input_shapes[1], elements=st.floats(0.125, 8)))
    for ufunc in OPERATIONS:
        result = ufunc(x, v)
        assert isinstance(result, lpnum.LPArray)
        assert result.shape == shapes.result_shape
        reach = (np.abs(np.asarray(x.offset)).max() + np.abs(values_of(x)).max() + 1) * 10
        np.testing.assert_allclose(values_of(result), ufunc(values_of(x), v), rtol=1e-12, atol=1e-12 * reach)
        np.testing.assert_array_equal(result.codes, np.broadcast_to(x.codes, result.shape))
    np.testing.assert_allclose(values_of(v - x), v - values_of(x), rtol=1e-12, atol=1e-11 * reach)


def test_multiplying_by_zero_gives_zero_and_a_usable_grid():
    x = lpnum.array([1.0, 2.0, 3.0], offset=0.5)
    for y in (x * 0, 0.0 * x, x * np.zeros(3)):
        np.testing.assert_array_equal(values_of(y), 0)
        y += 1.0
        assert np.isfinite(values_of(y)).all()
    np.testing.assert_allclose(values_of(x * np.array([0.0, 1.0, 2.0])), [0, 2, 6], atol=0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_plain_operand_that_is_not_finite_is_an_error(bad):
    x = lpnum.ones(3)
    for operation in (lambda: x + bad, lambda: x * np.array([1, bad, 1]), lambda: x / 0, lambda: x - bad):
        with pytest.raises(ValueError, match="NaN or infinity"):
            operation()
    with pytest.raises(TypeError, match="real numbers"):
        x + np.ones(3, complex)
    for other in (1j, "a", None):
        with pytest.raises(TypeError):
            x + other


def test_reciprocal_of_an_array_covers_its_codes():
    x = lpnum.from_codes(lpnum.ufixed8.all_codes(), lpnum.ufixed8, 0.1, 1.0)
    y = 2.0 / x
    np.testing.assert_array_equal(y.codes, rounded_onto(2.0 / values_of(x), y))
    z = np.ones(256) / x
    np.testing.assert_allclose(values_of(z), 1 / values_of(x), atol=0.5 * z.scale)


# ---- in place ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ROUNDING_MODES)
@pytest.mark.parametrize("ufunc", OPERATIONS, ids=lambda f: f.__name__)
def test_in_place_keeps_the_grid_and_rounds_once(ufunc, mode, seed, simd_level):
    rng = np.random.default_rng(seed)
    for n in (1, 37, 1500):
        for offset in (0.0, rng.normal(size=n)):
            x = lpnum.from_codes(
                rng.integers(-128, 128, n), lpnum.fixed8, 0.03, offset, rounding=mode, rng=CounterRNG(9)
            )
            others = [
                rng.uniform(0.5, 2, n),
                rng.uniform(0.5, 2, n).astype(np.float32),
                1.7,
                lpnum.array(rng.uniform(1, 2, n)),
            ]
            for stream, other in enumerate(others):
                expected = rounded_onto(ufunc(values_of(x), values_of(other)), x, mode, 9, stream)
                y = IN_PLACE[ufunc](x, other)
                assert y is x
                np.testing.assert_array_equal(x.codes, expected)
                assert x.scale == 0.03


@given(data=st.data(), ufunc=st.sampled_from([np.add, np.subtract, np.multiply]))
def test_in_place_with_any_layout_equals_the_oracle(data, ufunc):
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=4, max_dims=3))
    target = data.draw(testing.lp_arrays(testing.fixed_formats(), shapes.result_shape))
    axes = data.draw(st.permutations(range(target.ndim)))
    target = target.transpose(axes)
    missing = target.ndim - len(shapes.input_shapes[1])
    assume(all(n in (1, m) for n, m in zip(shapes.input_shapes[1], target.shape[missing:], strict=True)))
    other = data.draw(
        testing.lp_arrays(shape=shapes.input_shapes[1])
        | hnp.arrays(
            st.sampled_from([np.float64, np.float32, np.int16]), shapes.input_shapes[1], elements=st.integers(-100, 100)
        )
    )
    for mode in ("nearest-even", "stochastic"):
        x = lpnum.LPArray(
            target.codes.copy(order="K"), target.format, target.scale, target.offset, rounding=mode, rng=CounterRNG(4)
        )
        expected = rounded_onto(ufunc(values_of(x), values_of(other)), x, mode, 4, 0)
        ufunc(x, other, out=x)
        np.testing.assert_array_equal(x.codes, expected)


@given(data=st.data())
def test_overlapping_operands_are_read_before_they_are_written(data):
    n = data.draw(st.integers(4, 2000))
    start, other = data.draw(st.integers(0, n // 2)), data.draw(st.integers(0, n // 2))
    length = n - max(start, other)
    step = data.draw(st.sampled_from([1, -1]))
    codes = np.random.default_rng(n).integers(-60, 60, n).astype(np.int8)
    x = lpnum.from_codes(codes.copy(), lpnum.fixed8, 0.5)
    a, b = x[start : start + length], x[other : other + length][::step]
    expected = rounded_onto(values_of(a) + values_of(b), a)
    np.add(a, b, out=a)
    np.testing.assert_array_equal(a.codes, expected)
    y = lpnum.from_codes(codes.copy(), lpnum.fixed8, 0.5)
    y[start : start + length] = y[other : other + length][::step]
    np.testing.assert_array_equal(y.codes[start : start + length], codes[other : other + length][::step])
    y += y
    np.testing.assert_array_equal(y.codes, np.clip(2 * _moved(codes, start, other, length, step), -128, 127))


def _moved(codes, start, other, length, step):
    moved = codes.astype(int)
    moved[start : start + length] = codes[other : other + length][::step]
    return moved


def test_failed_in_place_operations_leave_the_target_untouched(simd_level):
    x = lpnum.array(np.linspace(-1, 1, 3000))
    before = x.codes.copy()
    bad = np.zeros(3000)
    bad[2999] = np.nan
    with pytest.raises(ValueError, match="index 2999"):
        x += bad
    np.testing.assert_array_equal(x.codes, before)
    y = lpnum.LPArray(before.copy(), x.format, x.scale, overflow="error")
    with pytest.raises(OverflowError):
        y += np.where(np.arange(3000) == 2500, 1e6, 0.0)
    np.testing.assert_array_equal(y.codes, before)


def test_zero_divided_by_zero_is_an_error_before_anything_is_written():
    x = lpnum.array([1.0, 2.0, 0.0], scale=1.0)
    with pytest.raises(ValueError, match="1 of 3 values are not numbers"):
        x /= 0.0
    assert x.codes.tolist() == [1, 2, 0]
    x[:2] /= 0.0  # infinities are clamped
    assert x.codes.tolist() == [127, 127, 0]


def test_what_where_leaves_out_is_neither_computed_nor_changed():
    x = lpnum.array([4.0, -1.0, 9.0], scale=1.0)
    np.sqrt(x, out=x, where=x > 0)
    assert np.asarray(x).tolist() == [2, -1, 3]
    np.divide(x, [2.0, 0.0, 0.0], out=x, where=[True, False, False])
    assert np.asarray(x).tolist() == [1, -1, 3]


def test_overflow_errors_look_at_values_and_not_at_codes_that_do_not_occur():
    x = lpnum.array([0.0, 1.0], lpnum.fixed(8, frac=4), overflow="error")
    assert np.asarray(np.exp(x)).tolist() == [1, 2.6875]
    with pytest.raises(OverflowError, match="first at index 1"):
        np.exp(lpnum.array([0.0, 5.0], lpnum.fixed(8, frac=4), overflow="error"))


def test_dtype_asks_for_a_plain_result_of_that_dtype():
    x = lpnum.array([1.0, 2.0], scale=1.0)
    for dtype in (np.float32, "float32", np.dtype("f4")):
        result = np.multiply(x, x, dtype=dtype)
        assert type(result) is np.ndarray
        assert result.dtype == np.float32
        assert result.tolist() == [1, 4]


def test_out_may_be_a_plain_array_and_where_selects():
    x = lpnum.array([1.0, 2.0, 3.0], scale=1.0)
    out = np.zeros(3)
    assert np.add(x, 1.0, out=out) is out
    assert out.tolist() == [2, 3, 4]
    out += x
    assert out.tolist() == [3, 5, 7]
    np.add(x, 10.0, out=x, where=[True, False, True])
    assert np.asarray(x).tolist() == [11, 2, 13]
    np.sqrt(x, out=x)
    assert np.asarray(x).tolist() == [3, 1, 4]
    with pytest.raises(ValueError, match="non-broadcastable"):
        np.add(x, np.ones((2, 3)), out=x)
    with pytest.raises(TypeError, match="boolean"):
        np.less(x, 1.0, out=x)
