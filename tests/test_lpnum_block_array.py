"""Block formats as data, and arrays of them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from block_checks import NAMED, OTHERS, RULES, at_every_level, decoded

import lpnum
from lpnum.block_formats import BlockFormat

# ---- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [*RULES, *OTHERS], ids=repr)
def test_representation_evaluates_back(fmt):
    assert eval(repr(fmt)) == fmt
    assert pickle.loads(pickle.dumps(fmt)) == fmt
    assert len({fmt, copy.deepcopy(fmt)}) == 1


def test_named_block_formats():
    assert lpnum.format("mxfp4") is lpnum.mxfp4
    assert all(getattr(lpnum, name) == fmt and fmt.name == name for name, fmt in NAMED.items())
    assert not set(NAMED) & set(lpnum.formats.named())
    assert lpnum.mxfp4.with_scale_rounding("up").name == "mxfp4_up"
    with pytest.raises(ValueError, match="did you mean mxfp4"):
        lpnum.format("mxfp5")
    for call in (
        lambda: lpnum.encode([1.0], "mxfp4"),
        lambda: lpnum.decode([1], lpnum.nvfp4),
        lambda: lpnum.from_codes([1], "mxfp4"),
    ):
        with pytest.raises(TypeError, match="is a block format, whose codes need their scales"):
            call()
    sizes = {name: fmt.bits_per_element for name, fmt in NAMED.items()}
    assert (sizes["mxfp4"], sizes["nvfp4"], sizes["mxint8"]) == (4.25, 4.5, 8.25)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: BlockFormat(lpnum.float16), "elements have 2 to 8 bits"),
        (lambda: BlockFormat(lpnum.float8_e8m0fnu), "elements have 2 to 8 bits and a zero"),
        (lambda: BlockFormat(lpnum.fixed8, scale_format=lpnum.fixed8), "scales are floats of at most 8 bits"),
        (lambda: BlockFormat(lpnum.fixed4, 15), "block must be even and from 1"),
        (lambda: BlockFormat(lpnum.fixed8, 0), "block must be from 1"),
        (lambda: BlockFormat(lpnum.fixed8, 2.0), "block must be an integer"),
        (lambda: BlockFormat(lpnum.mxfp4), "not lpnum.mxfp4"),
        (lambda: lpnum.mxfp4.with_scale_rounding("upp"), "did you mean 'up'"),
        (lambda: lpnum.nvfp4.with_scale_rounding("floor"), "use 'nearest-even' or 'up'"),
        (lambda: BlockFormat(lpnum.fixed8, tensor_scale=True), "a tensor scale is for scale formats with a mantissa"),
    ],
)
def test_impossible_block_formats_are_named(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


# ---- arrays --------------------------------------------------------------------------------------------------------


def sample(fmt=lpnum.mxfp4, shape=(3, 4, 96), seed=0, **settings):
    return lpnum.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32), fmt, **settings)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("fmt", NAMED.values(), ids=repr)
def test_arrays_have_the_true_sizes_and_survive_pickling(fmt, axis):
    shape = [2, 3, 4]
    shape[axis] = 96
    x = sample(fmt, shape, axis=axis)
    assert (x.shape, x.ndim, x.size, len(x)) == (tuple(shape), 3, x.unpacked.size, shape[0])
    assert x.nbytes == x.size * fmt.bits_per_element / 8 + 4 * fmt.tensor_scale
    assert x.codes.nbytes == (x.size // 2 if fmt.bits == 4 else x.size)
    assert x.dtype == np.float32
    if fmt.bits == 4:
        np.testing.assert_array_equal(lpnum.unpack(x.codes, 96, fmt.element, axis), x.unpacked)
    scales = np.repeat(x.scales, fmt.block, axis=axis) * x.tensor_scale
    np.testing.assert_array_equal(decoded(x) * scales, x.dequantize(np.float64))
    for y in (pickle.loads(pickle.dumps(x)), copy.copy(x), copy.deepcopy(x), x.copy()):
        np.testing.assert_array_equal(y.codes, x.codes)
        np.testing.assert_array_equal(y, x.dequantize())
        assert (y.format, y.axis, y.tensor_scale, y.dtype) == (x.format, x.axis, x.tensor_scale, x.dtype)
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    turned = lpnum.array(np.moveaxis(values, axis, -1), fmt)
    np.testing.assert_array_equal(np.moveaxis(turned.dequantize(), -1, axis), x.dequantize())


def test_blocks_that_do_not_divide_the_axis_say_how_far_to_pad():
    with pytest.raises(ValueError, match="pad axis 1 from 70 to 96"):
        lpnum.array(np.zeros((2, 70)), lpnum.mxfp8_e4m3)
    with pytest.raises(ValueError, match="pad axis 0 from 17 to 32"):
        lpnum.zeros((17, 2), "nvfp4", axis=0)
    with pytest.raises(ValueError, match="blocks run along an axis"):
        lpnum.array(1.0, lpnum.mxfp4)
    assert lpnum.array(np.zeros((0, 64)), lpnum.mxfp4).shape == (0, 64)
    assert lpnum.array(np.zeros((3, 0)), lpnum.nvfp4).dequantize().shape == (3, 0)


INDICES = [
    (0,),
    (slice(1, None),),
    (Ellipsis, slice(32, 96)),
    (slice(None), 2, slice(-64, None)),
    (-1, slice(None, None, -1), slice(64, 64)),
    (None, Ellipsis),
    (Ellipsis, None),
    (slice(None), slice(None, None, 2), None),
    ([2, 0, 0],),
    (np.array([True, False, True]), 1),
    (np.array([[0, 1], [2, 0]]), slice(1, 3)),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("fmt", [lpnum.mxfp4, lpnum.mxfp8_e5m2], ids=repr)
def test_indices_of_whole_blocks_are_those_of_the_values(fmt, index):
    x = sample(fmt)
    np.testing.assert_array_equal(x[index], x.dequantize()[index])
    moved = sample(fmt, (96, 4, 3), axis=0)
    if not any(isinstance(i, list | np.ndarray) for i in index):
        back = tuple(reversed(index)) if Ellipsis in index else (Ellipsis, *reversed(index))
        np.testing.assert_array_equal(moved[back], moved.dequantize()[back])


def test_one_element_is_a_scalar_and_cut_blocks_are_refused():
    x = sample(lpnum.nvfp4, (3, 64))
    for i, j in [(0, 0), (2, 63), (-1, -17), (1, 33)]:
        assert type(x[i, j]) is np.float32
        assert x[i, j] == x.dequantize()[i, j]
    for index in [(0, slice(1, None)), (slice(None), 3), (slice(None), slice(None, None, 2)), (slice(None), [1, 2])]:
        with pytest.raises(IndexError, match=r"cuts blocks: along axis 1 .* x.dequantize\(\)\[index\]"):
            x[index]
    for index in [(0, 64), (3, 0)]:
        with pytest.raises(IndexError, match="out of bounds"):
            x[index]
    with pytest.raises(IndexError, match="too many indices"):
        x[0, 0, 0]
    with pytest.raises(IndexError, match="only whole blocks can be written"):
        x[0, 0] = 1.0


def test_writing_keeps_the_tensor_scale_and_touches_whole_blocks_only():
    x = sample(lpnum.nvfp4, (3, 64))
    before, scale = x.dequantize(), x.tensor_scale
    x[1, 16:48] = np.linspace(0, 0.5, 32)
    changed = np.zeros((3, 64), bool)
    changed[1, 16:48] = True
    np.testing.assert_array_equal(x.dequantize()[~changed], before[~changed])
    expected = lpnum.array(np.linspace(0, 0.5, 32), lpnum.nvfp4, scale=scale)
    np.testing.assert_array_equal(x[1, 16:48], expected.dequantize(np.float32))
    assert x.tensor_scale == scale
    x[...] = x[::-1]  # overlapping memory
    np.testing.assert_array_equal(x[0], before[2])
    with pytest.raises(OverflowError), lpnum.context(overflow="error"):
        x[...] = 1e9
    np.testing.assert_array_equal(x[0], before[2])


@pytest.mark.parametrize("fmt", NAMED.values(), ids=repr)
def test_elementwise_results_are_the_float64_results_with_new_scales(fmt):
    x, y = sample(fmt), sample(fmt, (4, 96), seed=1)
    a, b = x.dequantize(np.float64), y.dequantize(np.float64)
    for result, values in [
        (x + y, a + b),
        (x * 3, a * 3),
        (2.5 - x, 2.5 - a),
        (np.exp(x), np.exp(a)),
        (x / np.full(96, 7.0), a / 7.0),
        (np.maximum(x, y), np.maximum(a, b)),
        (-x, -a),
        (x**2, a**2),
    ]:
        expected = lpnum.array(values, fmt)
        assert result.format == fmt
        np.testing.assert_array_equal(result.codes, expected.codes)
        np.testing.assert_array_equal(result.scale_codes, expected.scale_codes)
    assert (x + y).dtype == np.float32
    np.testing.assert_array_equal(x < y, a < b)
    np.testing.assert_array_equal(np.isfinite(x), True)
    target, plain = x.copy(), np.empty(a.shape)
    assert np.add(x, y, out=target) is target
    np.testing.assert_array_equal(target, lpnum.array(a + b, fmt, scale=x.tensor_scale).dequantize(np.float32))
    np.testing.assert_array_equal(np.add(x, y, out=plain), a + b)
    target = x.copy()
    target -= 0.25
    np.testing.assert_array_equal(target, lpnum.array(a - 0.25, fmt, scale=x.tensor_scale).dequantize(np.float32))


def test_reductions_products_and_arrangements():
    x, y = sample(), sample(lpnum.mxfp4, (96, 5), seed=2, axis=0)
    a, b = x.dequantize(np.float64), y.dequantize(np.float64)
    for result, expected in [
        (x.sum(), a.sum()),
        (x.sum(axis=1), a.sum(axis=1)),
        (x.mean(axis=-1, keepdims=True), a.mean(axis=-1, keepdims=True)),
        (x.max(), a.max()),
        (x.min(axis=0), a.min(axis=0)),
        (x @ y, a @ b),
        (np.dot(x, y), np.dot(a, b)),
        (np.linalg.norm(x), np.linalg.norm(a)),
        (np.std(x, axis=0), np.std(a, axis=0)),
    ]:
        assert not isinstance(result, lpnum.BlockArray)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, expected.astype(np.float32))
    assert x.sum(dtype=np.float64) == a.sum()
    np.testing.assert_array_equal(x.T, a.T)
    np.testing.assert_array_equal(np.transpose(x, (2, 0, 1)), a.transpose(2, 0, 1))
    np.testing.assert_array_equal(x.reshape(-1, 32), a.reshape(-1, 32))
    np.testing.assert_array_equal(np.concatenate([x, x[:1]]), np.concatenate([a, a[:1]]))
    np.testing.assert_array_equal(np.concatenate([x, x], axis=-1), np.concatenate([a, a], axis=-1))
    with pytest.raises(ValueError, match="cuts blocks of 32"):
        x.reshape(-1, 48)
    for call in (lambda: np.linalg.inv(x), lambda: np.sort(x), lambda: np.modf(x), lambda: np.add.accumulate(x)):
        with pytest.raises(TypeError, match=r"x.dequantize\(\)"):
            call()
    with pytest.raises(TypeError, match="the block formats differ"):
        x + x.astype(lpnum.mxfp8_e4m3)
    with pytest.raises(TypeError, match="different axes"):
        sample(shape=(32, 32)) + sample(shape=(32, 32), axis=0)


def test_conversions_between_block_formats_formats_and_plain_arrays():
    x = sample(lpnum.mxfp8_e4m3, (4, 64))
    values = x.dequantize(np.float64)
    for fmt in NAMED.values():
        y = x.astype(fmt)
        np.testing.assert_array_equal(y.codes, lpnum.array(values, fmt).codes)
        assert y.dtype == np.float32
    fixed = x.astype(lpnum.fixed8)
    assert isinstance(fixed, lpnum.LPArray)
    np.testing.assert_array_equal(fixed.codes, lpnum.array(values, lpnum.fixed8).codes)
    np.testing.assert_array_equal(
        lpnum.array(fixed, lpnum.mxfp4).codes, lpnum.array(fixed.dequantize(np.float64), lpnum.mxfp4).codes
    )
    np.testing.assert_array_equal(fixed.astype("mxfp4").codes, lpnum.array(fixed, lpnum.mxfp4).codes)
    np.testing.assert_array_equal(fixed + x, (x + fixed).dequantize())
    assert x.astype(np.float64).dtype == np.float64
    assert lpnum.asarray(x) is x
    assert lpnum.asarray(x, x.format) is x
    assert lpnum.quantize(values, lpnum.mxfp4).format == lpnum.mxfp4
    assert lpnum.quantize(values, out=x) is x
    for make in (lpnum.zeros, lpnum.ones, lpnum.empty):
        assert make((2, 32), "mxfp4").format == lpnum.mxfp4
    assert not lpnum.zeros(32, lpnum.nvfp4).dequantize().any()
    np.testing.assert_allclose(lpnum.ones((2, 32), lpnum.nvfp4), 1, rtol=2**-24)  # 1 / 2688 is rounded to float32
    np.testing.assert_array_equal(lpnum.zeros_like(x), 0)
    np.testing.assert_array_equal(lpnum.arange(32, dtype=lpnum.mxint8), np.arange(32))
    assert eval(repr(lpnum.mxfp4)) == lpnum.mxfp4
    with pytest.raises(ValueError, match="has a scale for each block"):
        lpnum.array(values, lpnum.mxfp4, scale=2.0)
    with pytest.raises(ValueError, match="has no offset"):
        lpnum.array(values, lpnum.mxfp4, offset=2.0)
    with pytest.raises(ValueError, match="positive float32"):
        lpnum.array(values, lpnum.nvfp4, scale=0.0)


def test_stochastic_rounding_is_right_on_average_and_the_same_for_every_level(seed):
    x = np.full((100, 960), 0.3, np.float32)
    x[:, ::32] = 1.75
    for fmt in (lpnum.mxfp4, lpnum.nvfp4, lpnum.mxint8, lpnum.mxfp8_e4m3):
        arrays = list(at_every_level(lambda f=fmt: lpnum.array(x, f, rounding="stochastic", rng=seed)))
        for y in arrays:
            np.testing.assert_array_equal(y.codes, arrays[0].codes)
        quantized = arrays[0].dequantize(np.float64)[:, 1::32]
        # 3000 independent draws within a step of at most 0.5: standard error below 0.005; 6 of them
        assert abs(quantized.mean() - 0.3) < 0.03
        assert len(np.unique(quantized)) <= 2


@pytest.mark.parametrize(
    ("codes", "scales", "words"),
    [
        (np.zeros(16, np.int8), np.zeros(1, np.uint8), "codes are uint8"),
        (np.zeros(16, np.uint8), np.zeros(2, np.uint8), "a scale belongs to 16 bytes"),
        (np.zeros((2, 16), np.uint8), np.zeros(2, np.uint8), "same number of dimensions"),
    ],
)
def test_wrapped_codes_are_checked(codes, scales, words):
    with pytest.raises((ValueError, TypeError), match=words):
        lpnum.BlockArray(codes, scales, lpnum.mxfp4)
    with pytest.raises(ValueError, match="codes from 64"):
        lpnum.BlockArray(np.full(32, 64, np.uint8), np.zeros(1, np.uint8), lpnum.mxfp6_e2m3)
