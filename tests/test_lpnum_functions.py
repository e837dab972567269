"""NumPy's functions and methods on LPArrays: rearranging keeps every grid, reductions are wide, the rest refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lpnum
from lpnum import testing

SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=4)

REARRANGEMENTS = {
    "transpose": np.transpose,
    "swapaxes": lambda a: np.swapaxes(a, 0, 1),
    "moveaxis": lambda a: np.moveaxis(a, 0, -1),
    "rollaxis": lambda a: np.rollaxis(a, 1),
    "expand_dims": lambda a: np.expand_dims(a, 1),
    "squeeze": np.squeeze,
    "ravel": np.ravel,
    "ravel F": lambda a: np.ravel(a, order="F"),
    "reshape": lambda a: np.reshape(a, (-1, a.shape[0])),
    "flip": np.flip,
    "fliplr": np.fliplr,
    "flipud": np.flipud,
    "rot90": np.rot90,
    "roll": lambda a: np.roll(a, 2, axis=1),
    "repeat": lambda a: np.repeat(a, 2, axis=0),
    "tile": lambda a: np.tile(a, (2, 1, 3)),
    "take": lambda a: np.take(a, [0, -1, 0], axis=1),
    "take_along_axis": lambda a: np.take_along_axis(a, np.zeros(a.shape, int), 1),
    "compress": lambda a: np.compress([True], a, axis=1),
    "delete": lambda a: np.delete(a, 0, axis=1),
    "diagonal": np.diagonal,
    "broadcast_to": lambda a: np.broadcast_to(a, (3, *a.shape)),
    "atleast_1d": np.atleast_1d,
    "atleast_2d": np.atleast_2d,
    "atleast_3d": np.atleast_3d,
    "method T": lambda a: a.T,
    "method transpose": lambda a: a.transpose(),
    "method swapaxes": lambda a: a.swapaxes(-1, 0),
    "method reshape": lambda a: a.reshape(-1),
    "method ravel": lambda a: a.ravel(),
    "method flatten": lambda a: a.flatten(),
    "method squeeze": lambda a: a.squeeze(),
}


@pytest.mark.parametrize("name", REARRANGEMENTS)
@given(x=testing.lp_arrays(shape=SHAPES))
def test_rearranging_moves_values_and_keeps_the_format(name, x):
    function = REARRANGEMENTS[name]
    result = function(x)
    assert isinstance(result, lpnum.LPArray)
    assert result.format == x.format
    np.testing.assert_array_equal(result.dequantize(np.float64), function(x.dequantize(np.float64)))


def test_a_scale_per_channel_stays_compact():
    x = lpnum.array(np.random.default_rng(0).normal(size=(100, 3)), axis=1)
    assert x.scale.shape == (1, 3)
    assert x.T.scale.shape == (3, 1)
    assert x[10:20].scale.shape == (1, 3)
    assert np.shape(x[:, 1].scale) == ()
    assert np.concatenate([x, x]).scale.shape == (1, 3)
    assert np.concatenate([x, x], axis=1).scale.shape == (1, 6)


@given(x=testing.lp_arrays(shape=SHAPES), data=st.data())
def test_joined_arrays_keep_their_values(x, data):
    y = data.draw(testing.lp_arrays(x.format, shape=x.shape))
    for function in (np.concatenate, np.stack, np.vstack, np.hstack, np.dstack, lambda a: np.concatenate(a, axis=-1)):
        result = function([x, y])
        assert result.format == x.format
        np.testing.assert_array_equal(
            result.dequantize(np.float64), function([x.dequantize(np.float64), y.dequantize(np.float64)])
        )


def test_a_plain_part_takes_the_grid_of_the_first_array_if_that_holds_it():
    x = lpnum.array([0.5, -1.0], scale=0.5)
    y = np.concatenate([[1.2], x])
    assert (y.scale, y.offset, np.asarray(y).tolist()) == (0.5, 0.0, [1.0, 0.5, -1.0])
    z = np.concatenate([x, [1270.0]])  # 127 * 0.5 is less
    assert np.asarray(z).tolist() == [0.5, -1.0, 1270.0]
    assert z.scale.tolist() == [0.5, 0.5, 10.0]


# ---- reductions and products ---------------------------------------------------------------------------------------


@given(x=testing.lp_arrays(shape=hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5)), data=st.data())
def test_reductions_equal_those_of_the_values(x, data):
    axis = data.draw(st.none() | st.integers(0, x.ndim - 1))
    keepdims = data.draw(st.booleans())
    v = x.dequantize(np.float64)
    close = {"rtol": 1e-12, "atol": 1e-9 * np.abs(v).sum()}
    np.testing.assert_allclose(x.sum(axis=axis, keepdims=keepdims), v.sum(axis=axis, keepdims=keepdims), **close)
    np.testing.assert_allclose(np.mean(x, axis=axis), v.mean(axis=axis), **close)
    for function in (np.max, np.min, np.argmax, np.argmin, np.median):
        np.testing.assert_array_equal(function(x, axis=axis), function(v, axis=axis))
    assert isinstance(x.max(), np.float64)


def test_a_sum_does_not_saturate_and_is_exact(simd_level):
    n = 1_000_001
    x = lpnum.full(n, 1.0, scale=1.0)
    assert x.sum() == n
    assert np.sum(x) == n
    assert x.mean() == 1.0
    rng = np.random.default_rng(0)
    for fmt in (lpnum.fixed8, lpnum.ufixed8, lpnum.fixed16, lpnum.ufixed16, lpnum.fixed4):
        a = lpnum.from_codes(rng.integers(fmt.code_min, fmt.code_max + 1, n).astype(fmt.storage), fmt, 0.5, 3.0)
        b = lpnum.from_codes(rng.integers(fmt.code_min, fmt.code_max + 1, n).astype(fmt.storage), fmt, 0.25, -1.0)
        ca, cb = a.codes.astype(object), b.codes.astype(np.int64)
        assert a.sum() == 0.5 * int(ca.sum()) + 3.0 * n
        exact = float((a.codes.astype(np.int64) * 2 + 12) @ (cb - 4)) / 16
        assert np.dot(a, b) == pytest.approx(exact, rel=1e-14)
        assert a.dot(b) == np.dot(a, b)


@pytest.mark.parametrize("fmt", [lpnum.fixed8, lpnum.ufixed8, lpnum.fixed16], ids=repr)
def test_dot_of_extreme_codes_does_not_overflow(fmt, simd_level):
    n = 70_001
    for other in (lpnum.fixed8, lpnum.ufixed8, lpnum.fixed16):
        for a in (fmt.code_min, fmt.code_max):
            for b in (other.code_min, other.code_max):
                x = lpnum.from_codes(np.full(n, a, fmt.storage), fmt)
                y = lpnum.from_codes(np.full(n, b, other.storage), other)
                assert np.dot(x, y) == float(n * a * b)


def test_products_are_plain_arrays_of_the_value_dtype():
    rng = np.random.default_rng(0)
    x = lpnum.array(rng.normal(size=(4, 5)).astype(np.float32))
    v = rng.normal(size=5).astype(np.float32)
    for result, expected in [
        (x @ v, x.dequantize(np.float64) @ v),
        (x @ x.T, x.dequantize(np.float64) @ x.dequantize(np.float64).T),
        (np.dot(x, v), x.dequantize(np.float64) @ v),
        (np.einsum("ij,kj->ik", x, x), x.dequantize(np.float64) @ x.dequantize(np.float64).T),
        (np.outer(v, v), np.outer(v, v)),
    ]:
        assert isinstance(result, np.ndarray)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="not aligned"):
        np.dot(x[0], x[:, 0])


def test_out_and_dtype_of_reductions():
    x = lpnum.array(np.arange(6.0).reshape(2, 3), scale=1.0)
    out = np.empty(3)
    assert np.sum(x, axis=0, out=out) is out
    assert out.tolist() == [3, 5, 7]
    assert x.sum(dtype=np.float32).dtype == np.float32
    y = lpnum.zeros(3, scale=2.0)
    np.add.reduce(x, axis=0, out=y)
    assert np.asarray(y).tolist() == [4, 4, 8]  # nearest even codes 2, 2, 4


# ---- own implementations -------------------------------------------------------------------------------------------


@given(
    x=testing.lp_arrays(testing.formats().filter(lambda f: f.signed or isinstance(f, lpnum.FixedFormat))),
    low=st.floats(-1e4, 1e4),
    width=st.floats(0, 1e4),
)
def test_clip_keeps_the_grid_and_leaves_values_inside_alone(x, low, width):
    y = np.clip(x, low, low + width)
    v, w = x.dequantize(np.float64), y.dequantize(np.float64)
    inside = (v >= low) & (v <= low + width)
    np.testing.assert_array_equal(w[inside], v[inside])
    assert x.same_grid(y)
    testing.assert_same(x.clip(low, low + width), y)


def test_where_copy_copyto_and_shape_functions():
    x = lpnum.array([1.0, 2.0, 3.0], scale=1.0)
    assert np.asarray(np.where(x > 1, x, x[::-1])).tolist() == [3, 2, 3]
    assert np.asarray(np.where(x > 1, x, 0.0)).tolist() == [0, 2, 3]
    y = np.copy(x)
    np.copyto(y, 9.0, where=[True, False, False])
    assert np.asarray(y).tolist() == [9, 2, 3]
    plain = np.zeros(3)
    np.copyto(plain, x)
    assert plain.tolist() == [1, 2, 3]
    assert (np.shape(x), np.ndim(x), np.size(x)) == ((3,), 1, 3)
    assert np.result_type(x, np.float32) == np.float64


REFUSED = [
    lambda x: np.bitwise_and(x, x),
    lambda x: np.invert(x),
    lambda x: np.gcd.reduce(x),
    lambda x: np.equal.at(x, [0], 1.0),
    lambda x: np.unravel_index(x, (3, 3)),
    lambda x: np.packbits(x),
]


@pytest.mark.parametrize("call", REFUSED)
def test_what_is_not_supported_names_the_way_out(call):
    with pytest.raises(TypeError, match=r"use x\.dequantize\(\)"):
        call(lpnum.ones(3))
