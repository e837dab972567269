"""An LPArray among NumPy's own arrays: methods, indices, order, views, mixed operands, awkward memory."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from array_checks import FLOATS, any_array, float_arrays, values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lpnum
from lpnum import LPArray, testing

# ---- indices and views ---------------------------------------------------------------------------------------------


@given(x=any_array(), data=st.data())
def test_indexing_is_that_of_the_values(x, data):
    index = data.draw(
        hnp.basic_indices(x.shape, allow_newaxis=True)
        | hnp.integer_array_indices(x.shape)
        | hnp.arrays(bool, x.shape)
        | st.tuples(*[st.slices(n) for n in x.shape])
    )
    picked, expected = x[index], values_of(x)[index]
    np.testing.assert_array_equal(values_of(picked), expected)
    if isinstance(expected, np.ndarray):
        assert picked.format == x.format
        assert np.may_share_memory(picked.codes, x.codes) == np.may_share_memory(x.codes[index], x.codes)
    else:
        assert isinstance(picked, np.floating)


@given(x=any_array(), data=st.data())
def test_assignment_to_an_index_rounds_onto_the_grid_there_and_touches_nothing_else(x, data):
    index = data.draw(hnp.basic_indices(x.shape) | hnp.arrays(bool, x.shape))
    y = x.copy()
    source = data.draw(st.sampled_from(["scalar", "itself", "reversed"]))
    new = 1.0 if source == "scalar" else x[index] if source == "itself" else values_of(x)[index]
    if x.format.kernel.unsigned_float or (source == "reversed" and np.isnan(np.asarray(new)).any()):
        return
    y[index] = new
    outside = np.ones(x.shape, bool)
    outside[index] = False
    np.testing.assert_array_equal(y.codes[outside], x.codes[outside])
    if source == "itself":  # an infinity that comes as a value is out of range, and clamped
        kept = ~np.isinf(values_of(x))
        np.testing.assert_array_equal(values_of(y)[kept], values_of(x)[kept])


METADATA_ONLY = {
    "T": lambda a: a.T,
    "slice": lambda a: a[..., ::2],
    "reshape": lambda a: a.reshape(-1),
    "transpose": lambda a: np.transpose(a),
    "swapaxes": lambda a: np.swapaxes(a, 0, 1),
    "moveaxis": lambda a: np.moveaxis(a, 0, -1),
    "rollaxis": lambda a: np.rollaxis(a, 1),
    "mT": lambda a: a.mT,
    "expand_dims": lambda a: np.expand_dims(a, 0),
    "squeeze": lambda a: np.squeeze(a[:, None]),
    "ravel": lambda a: np.ravel(a),
    "flip": lambda a: np.flip(a),
    "rot90": lambda a: np.rot90(a),
    "diagonal": lambda a: np.diagonal(a),
    "diag": lambda a: np.diag(a),
    "broadcast_to": lambda a: np.broadcast_to(a, (2, 3, 4)),
    "broadcast_arrays": lambda a: np.broadcast_arrays(a, np.zeros((2, 3, 4)))[0],
    "split": lambda a: np.split(a, 2, axis=1)[1],
    "array_split": lambda a: np.array_split(a, 2)[0],
    "vsplit": lambda a: np.vsplit(a, 3)[0],
    "atleast_3d": lambda a: np.atleast_3d(a),
    "sliding_window_view": lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, axis=1),
    "view": lambda a: a.view(),
    "real": lambda a: a.real,
    "trim_zeros": lambda a: np.trim_zeros(a[0]),
}


@pytest.mark.parametrize("name", METADATA_ONLY)
@pytest.mark.parametrize("scale", [0.5, [0.5, 1.0, 2.0, 4.0]], ids=["one scale", "per channel"])
def test_what_is_a_view_in_numpy_is_a_view_of_the_codes(name, scale):
    x = lpnum.array(np.arange(1.0, 13.0).reshape(3, 4), scale=scale)
    view, plain = METADATA_ONLY[name](x), METADATA_ONLY[name](np.arange(1.0, 13.0).reshape(3, 4))
    assert np.shares_memory(view.codes, x.codes)
    assert view.shape == plain.shape
    assert name == "broadcast_arrays" or view.flags.writeable == plain.flags.writeable  # NumPy warns when asked
    assert view.strides == tuple(s // 8 for s in plain.strides)
    if name not in ("ravel", "reshape"):  # these have one axis for 3 x 4 scales
        assert view.metadata_nbytes <= 2 * x.metadata_nbytes
    x.codes[...] = 1  # seen through the view
    np.testing.assert_array_equal(view.codes, 1)


@pytest.mark.parametrize("name", METADATA_ONLY)
@settings(max_examples=15)
@given(x=testing.lp_arrays(shape=(3, 4)) | float_arrays(shape=(3, 4)))
def test_views_show_the_values_whatever_their_grids(name, x):
    np.testing.assert_array_equal(values_of(METADATA_ONLY[name](x)), METADATA_ONLY[name](values_of(x)))


# ---- order ---------------------------------------------------------------------------------------------------------


@given(x=any_array(), data=st.data())
def test_sorting_and_extremes_are_those_of_the_values(x, data):
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    v = values_of(x)
    ordered = np.sort(x, axis=axis)
    assert ordered.format == x.format
    np.testing.assert_array_equal(values_of(ordered), np.sort(v, axis=axis))
    stable = np.sort(x, axis=axis, kind="stable")
    expected = np.sort(v, axis=axis, kind="stable")
    np.testing.assert_array_equal(np.signbit(values_of(stable)), np.signbit(expected))  # the order of -0 and 0
    np.testing.assert_array_equal(np.argsort(x, axis=axis, kind="stable"), np.argsort(v, axis=axis, kind="stable"))
    for function in (np.argmax, np.argmin, np.max, np.min, np.ptp, np.fmax.reduce, np.fmin.reduce):
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(function(x, axis=axis), function(v, axis=axis))
    for function in (np.maximum.accumulate, np.minimum.accumulate):
        np.testing.assert_array_equal(function(x, axis=axis or 0), function(v, axis=axis or 0))


@given(x=any_array(), data=st.data())
def test_unique_and_its_parts_are_those_of_the_values(x, data):
    v = values_of(x)
    equal_nan = data.draw(st.booleans())
    results = np.unique(x, True, True, True, equal_nan=equal_nan)
    expected = np.unique(v, True, True, True, equal_nan=equal_nan)
    assert results[0].format == x.format
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(values_of(result), wanted)
    np.testing.assert_array_equal(values_of(np.unique(x)), np.unique(v))


@given(data=st.data())
def test_sets_of_two_arrays_are_those_of_the_values(data):
    x = data.draw(testing.lp_arrays(lpnum.fixed4, metadata=("scalar",)))
    y = LPArray(data.draw(hnp.arrays(np.int8, 5, elements=st.integers(-8, 7))), lpnum.fixed4, x.scale, x.offset)
    v, w = values_of(x), values_of(y)
    for function in (np.intersect1d, np.union1d, np.setdiff1d, np.setxor1d):
        result = function(x, y)
        assert result.same_grid(x)
        np.testing.assert_array_equal(values_of(result), function(v, w))
        np.testing.assert_array_equal(np.isin(x, y), np.isin(v, w))


@pytest.mark.parametrize("fmt", FLOATS)
def test_every_code_of_a_float_format_sorts_to_its_place(fmt):
    fmt = lpnum.format(fmt)
    codes = np.tile(np.random.default_rng(0).permutation(fmt.all_codes()), 1 if fmt.bits < 16 else 2)
    for scale in (1.0, -0.5):
        x = LPArray(codes, fmt, scale)
        np.testing.assert_array_equal(values_of(np.sort(x)), np.sort(values_of(x)))
        np.testing.assert_array_equal(np.sort(np.sort(x).codes), np.sort(x.codes))  # no code was lost
        y = x.copy()
        y.sort()
        np.testing.assert_array_equal(y.codes, np.sort(x).codes)


def test_sorting_in_place_keeps_grids_at_their_positions():
    x = lpnum.array([[3.0, 1.0, 2.0]], scale=[[0.5, 1.0, 2.0]])
    x.sort(axis=0)
    assert np.asarray(x).tolist() == [[3.0, 1.0, 2.0]]
    x.sort()
    assert np.asarray(x).tolist() == [[1.0, 2.0, 4.0]]  # 3 goes where only multiples of 2 are: nearest even code
    assert x.scale.tolist() == [[0.5, 1.0, 2.0]]


# ---- attributes and methods ----------------------------------------------------------------------------------------

ABSENT = {  # what an array of another kind cannot have
    "__array_finalize__", "__array_interface__", "__array_namespace__", "__array_struct__",
    "__array_wrap__", "__class_getitem__", "__delitem__", "__index__", "__setstate__", "data", "ctypes",
}  # fmt: skip


def test_every_attribute_of_ndarray_exists_or_is_listed():
    x, gone = lpnum.zeros((2, 2)), {"itemset", "newbyteorder", "tostring"}  # in NumPy 2
    assert {name for name in dir(np.zeros((2, 2))) if not hasattr(x, name)} - gone == ABSENT


METHODS = {
    "all": lambda a: a.all(axis=0),
    "any": lambda a: a.any(axis=1, keepdims=True),
    "argmax": lambda a: a.argmax(1),
    "argmin": lambda a: a.argmin(),
    "argpartition": lambda a: a.argpartition(1)[:, 1],
    "argsort": lambda a: a.argsort(axis=0),
    "clip": lambda a: a.clip(-1, 2),
    "compress": lambda a: a.compress([True, False], axis=0),
    "conj": lambda a: a.conj(),
    "conjugate": lambda a: a.conjugate(),
    "copy": lambda a: a.copy(),
    "cumprod": lambda a: a.cumprod(),
    "cumsum": lambda a: a.cumsum(axis=1),
    "diagonal": lambda a: a.diagonal(1),
    "dot": lambda a: a.dot(a.T),
    "fill": lambda a: a.copy().fill(1.0),
    "flatten": lambda a: a.flatten("F"),
    "imag": lambda a: a.imag,
    "item": lambda a: (a.item(2), a.item(1, 2), a.item((0, 1)), a[:1, :1].item(), a.item(-1)),
    "mT": lambda a: a.mT,
    "max": lambda a: a.max(axis=0),
    "mean": lambda a: a.mean(axis=1, keepdims=True),
    "min": lambda a: a.min(),
    "nonzero": lambda a: a.nonzero(),
    "prod": lambda a: a.prod(axis=0),
    "ravel": lambda a: a.ravel("F"),
    "real": lambda a: a.real,
    "repeat": lambda a: a.repeat(2, axis=1),
    "reshape": lambda a: (a.reshape(3, 2), a.reshape((6,)), a.reshape(-1, 1, order="F")),
    "searchsorted": lambda a: np.sort(a[0]).searchsorted(1.0),
    "squeeze": lambda a: a[:1].squeeze(),
    "std": lambda a: a.std(axis=0, ddof=1),
    "sum": lambda a: a.sum(axis=0, initial=1.0, where=np.array([True, False, True])),
    "swapaxes": lambda a: a.swapaxes(0, 1),
    "take": lambda a: a.take([0, 2], axis=1),
    "tolist": lambda a: a.tolist(),
    "trace": lambda a: a.trace(),
    "transpose": lambda a: (a.transpose(), a.transpose(1, 0), a.transpose((0, 1))),
    "var": lambda a: a.var(),
    "flat": lambda a: (list(a.flat), a.flat[4], a.flat[1:4], a.flat[[0, -1]], len(a.flat), np.asarray(a.T.flat)),
    "shape": lambda a: (a.shape, a.ndim, a.size, a.dtype, len(a), a.device, a.to_device("cpu").shape),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("fmt", ["fixed8", "float8_e5m2"])
def test_a_method_gives_what_it_gives_for_the_values(name, fmt):
    x = lpnum.array([[1.5, -2.0, 0.0], [4.0, 1.0, -0.5]], fmt, scale=0.5)
    _same(METHODS[name](x), METHODS[name](values_of(x)))


def _same(result, expected):
    if isinstance(expected, tuple | list):
        assert len(result) == len(expected)
        for r, e in zip(result, expected, strict=True):
            _same(r, e)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(values_of(result), expected)
    else:
        assert result == expected


def test_flat_assignments_and_iteration():
    x = lpnum.arange(6).reshape(2, 3)
    x.flat[1] = 9
    x.T.flat[[0, 1]] = [7, 8]
    x.flat[4:] = 5.0
    assert np.asarray(x).tolist() == [[7.0, 9.0, 2.0], [8.0, 5.0, 5.0]]
    x.flat = [1.0, 2.0]
    assert np.asarray(x).tolist() == [[1.0, 2.0, 1.0], [2.0, 1.0, 2.0]]
    flat = x.flat
    assert (next(flat), next(flat), flat.index, flat.coords, flat.base is x) == (1.0, 2.0, 2, (0, 2), True)
    assert list(flat) == [1.0, 2.0, 1.0, 2.0]
    with pytest.raises(IndexError, match="out of bounds"):
        flat[6]


def test_what_would_lose_scale_and_offset_is_refused_with_the_way_out():
    x = lpnum.ones(3)
    for call in (x.byteswap, x.tobytes, lambda: x.tofile("f"), lambda: x.resize(2), lambda: x.getfield(np.int8)):
        with pytest.raises(TypeError, match=r"use (x\.codes|np\.resize|lpnum\.save)"):
            call()
    with pytest.raises(AttributeError, match=r"use x\.codes\.data"):
        _ = x.data
    with pytest.raises(BufferError, match=r"x\.codes"):
        np.from_dlpack(x)
    with pytest.raises(TypeError, match="astype"):
        x.view(np.float32)
    with pytest.raises(TypeError, match=r"lpnum\.save"):
        np.save("file", x)
    with pytest.raises(ValueError, match="only device"):
        x.to_device("gpu")


def test_views_of_codes():
    x = lpnum.array([0.5, -1.0], scale=0.5)
    assert x.view(np.uint8).tolist() == [1, 254]
    y = x.view(lpnum.ufixed8)
    assert np.asarray(y).tolist() == [0.5, 127.0]
    y.codes[0] = 4
    assert float(x[0]) == 2.0
    x.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 1.0


def test_conversions_of_single_values_and_copies():
    x = lpnum.array(2.5, scale=0.5)
    assert (float(x), int(x), complex(x), bool(x), x.item(), float(round(x, 0))) == (
        2.5,
        2,
        2.5 + 0j,
        True,
        2.5,
        2.0,
    )
    with pytest.raises(TypeError, match="0-dimensional"):
        float(lpnum.ones(2))
    y = lpnum.array([1.0, 2.0], axis=0)
    for other in (copy.copy(y), copy.deepcopy(y), pickle.loads(y.dumps()), np.copy(y)):
        testing.assert_same(other, y)
        assert not np.shares_memory(other.codes, y.codes)


def test_dump_writes_a_pickle(tmp_path):
    x = lpnum.array([1.0, 2.0])
    x.dump(tmp_path / "x")
    with (tmp_path / "x").open("rb") as file:
        testing.assert_same(pickle.load(file), x)
