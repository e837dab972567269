"""LPArrays with operands, targets and arguments of every kind: mixed, empty, overlapping, read-only, wrong."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from array_checks import any_array, assert_rounded, values_of
from hypothesis import given

import lpnum
from lpnum import LPArray, testing

# ---- mixed operands ------------------------------------------------------------------------------------------------

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.lt, operator.ge, operator.eq]
OTHERS = {
    "float": 2.0, "int": 2, "bool": True, "float32": np.float32(2), "int8": np.int8(2), "0-d": np.array(2.0),
    "row": np.array([1.0, 2.0, 4.0]), "column": np.array([[1.0], [2.0]]), "integers": np.array([1, 2, 4], np.int16),
    "list": [1.0, 2.0, 4.0], "float16": np.array([1, 2, 4], np.float16), "big-endian": np.array([1.0, 2, 4], ">f8"),
    "strided": np.arange(1.0, 13.0)[::4], "read-only": np.broadcast_to(2.0, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("fmt", ["fixed8", "float8_e4m3fn"])
def test_operands_of_every_kind_meet_an_lparray_from_both_sides(op, name, fmt):
    other = OTHERS[name]
    x = lpnum.array([[1.0, 2.0, -3.0], [0.5, 4.0, 8.0]], fmt, scale=0.0625)
    v = values_of(x)
    right, left = op(x, other), op(other, x)
    for result, expected in [(right, op(v, np.asarray(other))), (left, op(np.asarray(other), v))]:
        assert result.shape == expected.shape
        if expected.dtype == bool:
            assert isinstance(result, np.ndarray)
            np.testing.assert_array_equal(result, expected)
        else:
            assert result.format == x.format
            step = np.asarray(result.scale) * (1 if fmt == "fixed8" else np.abs(expected / result.scale) / 8)
            assert (np.abs(values_of(result) - expected) <= np.abs(step) / 2 + 1e-12).all()


@pytest.mark.parametrize("bad", ["text", 1j, None, print, np.array([1j]), np.array(["a"])], ids=repr)
def test_what_is_no_real_number_is_a_type_error(bad):
    x = lpnum.ones(3)
    for op in (operator.add, operator.mul, np.maximum, np.add.outer):
        with pytest.raises(TypeError):
            op(x, bad)
        with pytest.raises(TypeError):
            op(bad, x)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (1, 1)])
@pytest.mark.parametrize("fmt", ["fixed8", "ufixed4", "float8_e4m3fn", "bfloat16"])
def test_empty_and_0d_arrays_behave_as_in_numpy(shape, fmt):
    x = lpnum.ones(shape, fmt)
    v = values_of(x)
    calls = [
        lambda a: a + a, lambda a: a * 2, lambda a: np.sqrt(a), lambda a: a.sum(), lambda a: a[...], lambda a: a.prod(),
        lambda a: np.sort(a, axis=None), lambda a: np.where(a > 0, a, a), lambda a: np.unique(a), lambda a: a == a,
        lambda a: np.concatenate([a.reshape(-1), a.reshape(-1)]), lambda a: np.clip(a, 0, 1), lambda a: np.ravel(a),
        lambda a: np.modf(a)[0], lambda a: np.add(a, a, where=True), lambda a: np.multiply.outer(a, a),
        lambda a: np.pad(a, 1), lambda a: np.stack([a, a]), lambda a: a.tolist(), lambda a: np.any(a), lambda a: a.T,
        lambda a: np.argsort(a, axis=None), lambda a: np.isin(a, a),
    ]  # fmt: skip
    for call in calls:
        expected = call(v)
        result = call(x)
        assert np.shape(result) == np.shape(expected)
        if isinstance(result, LPArray):
            assert_rounded(result, expected)
        else:
            np.testing.assert_array_equal(result, expected)
    for reduction in (np.max, np.argmin, np.median):
        if x.size:
            assert reduction(x) == reduction(v)
        elif reduction is not np.median:
            with pytest.raises(ValueError, match=r"zero-size|empty"):
                reduction(x)


# ---- out= ----------------------------------------------------------------------------------------------------------

OVERLAPS = {
    "itself": lambda t: (t, t),
    "shifted forwards": lambda t: (t[:-1], t[1:]),
    "shifted backwards": lambda t: (t[1:], t[:-1]),
    "reversed": lambda t: (t[::-1], t),
    "every second": lambda t: (t[:4], t[::2]),
}


@pytest.mark.parametrize("name", OVERLAPS)
@pytest.mark.parametrize("ufunc", [np.add, np.subtract, np.multiply, np.maximum, np.hypot], ids=lambda u: u.__name__)
@pytest.mark.parametrize("fmt", ["fixed8", "float8_e5m2", "ufixed8"])
def test_out_may_overlap_the_inputs(ufunc, name, fmt):
    start = np.array([1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 4.0, 1.0])
    x = lpnum.array(start, fmt, scale=1.0)
    inputs, out = OVERLAPS[name](x)
    target = out.copy()
    ufunc(inputs.copy(), 2.0, out=target)
    outside = np.ones(8, bool)
    OVERLAPS[name](outside)[1][...] = False
    ufunc(inputs, 2.0, out=out)
    np.testing.assert_array_equal(OVERLAPS[name](x)[1].codes, target.codes)
    np.testing.assert_array_equal(values_of(x)[outside], start[outside])
    with_array = x.copy()
    inputs, out = OVERLAPS[name](with_array)
    other, target = inputs.copy(), out.copy()
    ufunc(other, other, out=target)
    ufunc(inputs, inputs, out=out)
    np.testing.assert_array_equal(out.codes, target.codes)


def test_out_may_be_given_by_position():
    x = lpnum.array([[1.0, 2.0], [3.0, 4.0]], scale=0.5)
    for call, expected in [
        (lambda o: np.take(x, [0, 3], None, o), [1.0, 4.0]),
        (lambda o: x.take([0, 3], out=o), [1.0, 4.0]),
        (lambda o: np.compress([False, True], x, 1, o.reshape(2, 1)), [2.0, 4.0]),
        (lambda o: np.median(x, 0, o), [2.0, 3.0]),
        (lambda o: np.cumsum(x[0], 0, None, o), [1.0, 3.0]),
        (lambda o: np.clip(x[1], 0, 3.5, o), [3.0, 3.5]),
        (lambda o: np.concatenate([x[0, :1], x[1, 1:]], 0, o), [1.0, 4.0]),
        (lambda o: np.mean(x, 0, None, o), [2.0, 3.0]),
    ]:
        for out in (np.zeros(2), lpnum.zeros(2, scale=0.25)):
            result = call(out)
            assert result is out or np.shares_memory(getattr(result, "codes", result), getattr(out, "codes", out))
            np.testing.assert_array_equal(values_of(out), expected)


def test_out_that_is_read_only_or_of_the_wrong_shape_is_an_error_and_nothing_is_written():
    x = lpnum.array([1.0, 2.0, 3.0])
    fixed = lpnum.zeros(3)
    fixed.codes.setflags(write=False)
    for call in (np.add, np.maximum, np.hypot):
        with pytest.raises(ValueError, match="read-only"):
            call(x, x, out=fixed)
        with pytest.raises(ValueError, match="shape"):
            call(x, x, out=lpnum.zeros(2))
        with pytest.raises(ValueError, match="shape"):
            call(x, x, out=np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        np.broadcast_to(x, (2, 3))[0, 0] = 1.0
    for call in (lambda o: np.sum(x, out=o), lambda o: np.take(x, [0], out=o), lambda o: np.cumsum(x, out=o)):
        with pytest.raises(ValueError, match=r"shape|dimension"):
            call(lpnum.zeros(2))
    assert not fixed.codes.any()


def test_memory_of_any_layout_can_be_read_and_written():
    base = np.zeros((4, 6), np.int8)
    for codes in (base[::2, ::3], base.T[1:5, :2], base[::-1, ::-1][:2], np.asfortranarray(base)):
        x = LPArray(codes, "fixed8", 0.5)
        x += np.arange(x.size).reshape(x.shape) / 2
        np.testing.assert_array_equal(x.codes, np.arange(x.size).reshape(x.shape))
        np.testing.assert_array_equal(values_of(np.sort(x, axis=0)), np.sort(values_of(x), axis=0))
        assert x.sum() == x.codes.sum() / 2
        np.testing.assert_array_equal(values_of(x + x), 2 * values_of(x).round(6))
        codes[...] = 0


@given(x=any_array())
def test_operator_ufunc_and_method_are_one(x):
    for function, method in [
        (np.sum, "sum"), (np.max, "max"), (np.min, "min"), (np.argmax, "argmax"), (np.any, "any"), (np.ravel, "ravel"),
        (np.cumsum, "cumsum"), (np.transpose, "transpose"), (np.argsort, "argsort"), (np.mean, "mean"),
    ]:  # fmt: skip
        with np.errstate(all="ignore"):
            a, b = function(x), getattr(x, method)()
        np.testing.assert_array_equal(values_of(a), values_of(b))
    for op, ufunc in [(operator.neg, np.negative), (operator.pos, np.positive)]:
        testing.assert_same(op(x), ufunc(x))
    if np.isfinite(values_of(x)).all():
        testing.assert_same(abs(x), np.absolute(x))


def test_where_looks_at_plain_arrays_only_where_they_are_chosen():
    x = lpnum.array([1.0, 2.0, 3.0], scale=0.5)
    v = np.array([np.nan, 9.0, np.inf])
    assert np.asarray(np.where([True, False, True], x, v)).tolist() == [1.0, 9.0, 3.0]
    assert np.asarray(np.where(x > 0, x, np.nan)).tolist() == [1.0, 2.0, 3.0]
    assert np.asarray(np.select([x > 2, x < 2], [v, x], 0.0)).tolist() == [1.0, 0.0, 63.5]
    with pytest.raises(ValueError, match=r"np\.where: 1 of 3 values are not numbers \(first at index 0\)"):
        np.where(x > 1, x, v)
    f = lpnum.array([1.0, 2.0], "float8_e4m3fn")
    np.testing.assert_array_equal(values_of(np.where(f > 1, f, np.nan)), [np.nan, 2.0])
    channels = lpnum.array([[1.0, 20.0], [3.0, 40.0]], axis=1)
    mixed = np.where([[True, False], [False, True]], channels, np.array([[np.nan, 2.0], [1.5, np.nan]]))
    assert mixed.scale.shape == (1, 2)
    assert_rounded(mixed, np.where([[True, False], [False, True]], values_of(channels), [[0, 2.0], [1.5, 0]]))


# Calls that NumPy refuses for the values of a (2, 3) array.
WRONG = {
    "sum axis": lambda a: np.sum(a, axis=5),
    "sum of one axis": lambda a: np.sum(a[0], axis=1),
    "sum duplicate axis": lambda a: np.sum(a, axis=(0, 0)),
    "max axis": lambda a: a.max(axis=-3),
    "mean axis": lambda a: np.mean(a, axis=2),
    "sum axis type": lambda a: np.sum(a, axis="x"),
    "max of nothing": lambda a: np.max(a[:0]),
    "argmin of nothing": lambda a: np.argmin(a[:, :0]),
    "argmax axis": lambda a: np.argmax(a, axis=2),
    "sort axis": lambda a: np.sort(a, axis=2),
    "sort of 0-d": lambda a: np.sort(a[0, :1].reshape(())),
    "sort fields": lambda a: np.sort(a, order="f"),
    "sort method": lambda a: a.copy().sort(axis=3),
    "partition": lambda a: np.partition(a, 7),
    "argsort axis": lambda a: np.argsort(a, axis=-4),
    "take": lambda a: np.take(a, 7, axis=1),
    "take axis": lambda a: np.take(a, 0, axis=4),
    "index": lambda a: a[2],
    "index count": lambda a: a[0, 0, 0],
    "index type": lambda a: a["x"],
    "index floats": lambda a: a[1.5],
    "mask shape": lambda a: a[np.array([True, False, True])],
    "reshape": lambda a: a.reshape(4, 2),
    "reshape unknown": lambda a: np.reshape(a, (-1, -1)),
    "transpose": lambda a: a.transpose(0, 0),
    "swapaxes": lambda a: np.swapaxes(a, 0, 2),
    "squeeze": lambda a: np.squeeze(a, 0),
    "concatenate": lambda a: np.concatenate([a, a[0]]),
    "concatenate shapes": lambda a: np.concatenate([a, a[:, :1]]),
    "concatenate axis": lambda a: np.concatenate([a, a], axis=2),
    "concatenate of 0-d": lambda a: np.concatenate(a[0]),
    "stack": lambda a: np.stack([a, a[:1]]),
    "split": lambda a: np.split(a, 2, axis=1),
    "broadcast_to": lambda a: np.broadcast_to(a, (3, 3)),
    "add": lambda a: a + a[:, :2],
    "add array": lambda a: a + np.ones(4),
    "where": lambda a: np.where([True, False], a, a),
    "choose": lambda a: np.choose([5, 0, 0], [a, a]),
    "clip": lambda a: np.clip(a, np.zeros(5), None),
    "pad": lambda a: np.pad(a, -1),
    "pad mode": lambda a: np.pad(a, 1, mode="away"),
    "repeat": lambda a: np.repeat(a, [1, 2], axis=1),
    "put": lambda a: np.put(a.copy(), 99, 1.0),
    "put mode": lambda a: np.put(a.copy(), 0, 1.0, mode="x"),
    "assign shape": lambda a: a.copy().__setitem__(0, np.ones(5)),
    "assign index": lambda a: a.copy().__setitem__(9, 1.0),
    "fill_diagonal": lambda a: np.fill_diagonal(a[0].copy(), 1.0),
    "item": lambda a: a.item(),
    "item index": lambda a: a.item(99),
    "item count": lambda a: a.item(0, 0, 0),
    "flat": lambda a: a.flat[99],
    "float": lambda a: float(a[:, 0]),
    "bool": lambda a: bool(a),
    "len": lambda a: len(a[0, :1].reshape(())),
    "iter": lambda a: iter(a[0, :1].reshape(())),
    "dot": lambda a: np.dot(a, a),
    "matmul": lambda a: a @ a,
    "diagonal": lambda a: np.diagonal(a[0]),
    "diff": lambda a: np.diff(a, n=-1),
    "diff axis": lambda a: np.diff(a, axis=5),
    "mT": lambda a: a[0].mT,
    "reduceat": lambda a: np.add.reduceat(a, [9]),
    "accumulate": lambda a: np.add.accumulate(a, axis=4),
    "at": lambda a: np.add.at(a.copy(), [9], 1.0),
    "piecewise": lambda a: np.piecewise(a, [a > 0], [1, 2, 3, 4]),
    "linalg": lambda a: np.linalg.inv(a),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("scale", [0.5, [0.5, 1.0, 2.0]], ids=["one scale", "per channel"])
@pytest.mark.parametrize("fmt", ["fixed8", "float8_e5m2"])
def test_what_numpy_refuses_is_refused_with_the_same_kind_of_error(name, fmt, scale):
    x = lpnum.array(np.arange(6.0).reshape(2, 3), fmt, scale=scale)
    with pytest.raises(Exception) as plain:  # noqa: PT011 - whatever NumPy raises
        WRONG[name](values_of(x))
    before = x.codes.copy()
    with pytest.raises(plain.type):
        WRONG[name](x)
    np.testing.assert_array_equal(x.codes, before)


# ---- grids that hold every result ----------------------------------------------------------------------------------

EXACT = {
    "abs": np.abs, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint, "sign": np.sign,
    "round": np.round, "relu": lambda a: np.maximum(a, 0), "minimum": lambda a: np.minimum(a, -3.0),
    "modf": lambda a: np.modf(a)[0], "heaviside": lambda a: np.heaviside(a, 0.5),
    "where": lambda a: np.where(a > 0, a, 0),
    "remainder": lambda a: np.remainder(a, 4.0),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("grid", [(0.5, 0.0), (0.25, 3.0), (1.0, 0.0), (0.5, 0.25), (-0.5, 0.0)], ids=repr)
@pytest.mark.parametrize("fmt", ["fixed8", "ufixed8", "fixed4"])
def test_results_are_exact_where_one_grid_holds_all_that_the_function_can_give(name, fmt, grid):
    x = lpnum.from_codes(lpnum.format(fmt).all_codes(), fmt, *grid)
    if name == "where" and grid[1]:
        pytest.skip("the grid of x is kept, and 0 rounded to it")
    result = EXACT[name](x)
    assert result.format == x.format
    np.testing.assert_array_equal(values_of(result), EXACT[name](values_of(x)))


def test_a_scale_without_exact_multiples_in_float64_is_recognized():
    x = lpnum.from_codes(lpnum.fixed8.all_codes(), scale=0.1)
    np.testing.assert_allclose(values_of(np.abs(x)), np.abs(values_of(x)), rtol=1e-14, atol=1e-13)
    testing.assert_same(np.maximum(x, 0), lpnum.from_codes(np.maximum(x.codes, 0), scale=np.maximum(x, 0).scale))
    np.testing.assert_allclose(np.maximum(x, 0).scale, 0.1, rtol=1e-15)


@pytest.mark.parametrize("name", [*EXACT, "exp"])
def test_cover_holds_for_formats_with_a_binary_point_too(name):
    function = EXACT.get(name, np.exp)
    x = lpnum.from_codes(np.arange(-128, 128), lpnum.fixed(8, frac=4))
    with lpnum.context(result="cover"):
        result = function(x)
    assert_rounded(result, function(values_of(x)))


def test_functions_with_results_of_any_magnitude_have_a_grid():
    x = lpnum.from_codes(lpnum.fixed16.all_codes(), scale=2.0**-6, dtype=lpnum.fixed16)
    for function in (np.exp, np.exp2, np.tanh, np.cosh, np.cbrt):
        assert_rounded(function(x), function(values_of(x)))
    tiny = lpnum.from_codes(lpnum.fixed8.all_codes(), scale=1e-300)
    assert_rounded(np.square(tiny), np.square(values_of(tiny)))
    assert_rounded(np.abs(tiny), np.abs(values_of(tiny)))
