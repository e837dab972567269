"""Packing of 4-bit codes: the layout, every shape and axis, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lpnum

FORMATS = [4, "ufixed4", "fixed4", "float4_e2m1fn", lpnum.minifloat(3, 0, specials="none")]


def codes_of(fmt, shape, seed=0):
    low, high, dtype = (-8, 7, np.int8) if fmt == "fixed4" else (0, 15, np.uint8)
    return np.random.default_rng(seed).integers(low, high, shape, dtype, endpoint=True)


def plainly_packed(codes, axis):
    """The layout, by its definition."""
    rows = np.moveaxis(codes, axis, -1)
    rows = (
        np.concatenate([rows, np.zeros((*rows.shape[:-1], rows.shape[-1] % 2), rows.dtype)], -1).astype(np.int64) & 15
    )
    return np.moveaxis((rows[..., ::2] + 16 * rows[..., 1::2]).astype(np.uint8), -1, axis)


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_even_elements_are_low_halves_for_every_length(fmt, simd_level):
    for n in [*range(70), 127, 128, 129, 255, 256, 300, 9001]:
        codes = codes_of(fmt, n, n)
        packed = lpnum.pack(codes, fmt)
        assert packed.dtype == np.uint8
        np.testing.assert_array_equal(packed, plainly_packed(codes, 0))
        unpacked = lpnum.unpack(packed, n, fmt)
        assert unpacked.dtype == codes.dtype
        np.testing.assert_array_equal(unpacked, codes)


@given(data=st.data())
def test_any_shape_axis_and_layout_comes_back(data, simd_level):
    fmt = data.draw(st.sampled_from(FORMATS))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    codes = codes_of(fmt, shape).transpose(data.draw(st.permutations(range(len(shape)))))
    codes = codes[tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1]))) for _ in shape)]
    packed = lpnum.pack(codes, fmt, axis)
    np.testing.assert_array_equal(packed, plainly_packed(codes, axis))
    np.testing.assert_array_equal(lpnum.unpack(packed, codes.shape[axis], fmt, axis), codes)


def test_layout_is_that_of_torch():
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, "float4_e2m1fn_x2", None)
    if dtype is None:
        pytest.skip("this torch has no float4_e2m1fn_x2")
    packed = lpnum.pack(np.arange(16, dtype=np.uint8), lpnum.float4_e2m1fn)
    tensor = torch.from_numpy(packed).view(dtype)  # shell dtype: bytes of two elements, the first in the low half
    np.testing.assert_array_equal(tensor.view(torch.uint8).numpy(), [16 * (2 * k + 1) + 2 * k for k in range(8)])


@pytest.mark.parametrize(("fmt", "dtype", "bad"), [(4, np.uint8, 16), ("fixed4", np.int8, 8), ("fixed4", np.int8, -9)])
@pytest.mark.parametrize("position", [0, 5, 63, 127, 128, 200, 256])
def test_a_code_beyond_four_bits_is_named_wherever_it_is(fmt, dtype, bad, position, simd_level):
    codes = np.zeros(257, dtype)
    codes[position] = bad
    with pytest.raises(ValueError, match=rf"1 of 257 codes are not within .* \(first {bad} at index {position}\)"):
        lpnum.pack(codes, fmt)


def test_wide_integers_are_not_cut_to_four_bits():
    assert lpnum.pack([1, 2]).tolist() == [33]
    for fmt, bad in ((4, 256), (4, -1), ("fixed4", 264), ("ufixed4", -256)):
        with pytest.raises(ValueError, match=f"first {bad} at index 1"):
            lpnum.pack([0, bad], fmt)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lpnum.pack([1.5]), "codes must be integers"),
        (lambda: lpnum.pack(3), "at least one dimension"),
        (lambda: lpnum.pack([1], 6), "codes of 4 bits are packed, not of 6"),
        (lambda: lpnum.pack([1], "fixed8"), r"lpnum.fixed8 has 8"),
        (lambda: lpnum.pack([1], "mxfp4"), r"lpnum.mxfp4"),
        (lambda: lpnum.pack([1], axis=1), "axis 1 is out of bounds"),
        (lambda: lpnum.unpack([1, 2], 4), "packed codes are uint8, not int64"),
        (lambda: lpnum.unpack(np.zeros(3, np.uint8), 7), "3 bytes hold 5 or 6 codes, not length=7"),
        (lambda: lpnum.unpack(np.zeros(3, np.uint8), 4), "3 bytes hold 5 or 6 codes, not length=4"),
    ],
)
def test_what_cannot_be_packed_is_said(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()
