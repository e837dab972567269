"""Products of matrices in block formats, on codes, against the float64 product of the decoded matrices."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lpnum
from lpnum import _block_products
from lpnum._core import kernels

WITH_AVX_VNNI = True
INTEGERS = (lpnum.mxint8, lpnum.mxfp4, lpnum.nvfp4, lpnum.mxfp6_e2m3)
FLOATS = (lpnum.mxfp6_e3m2, lpnum.mxfp8_e4m3, lpnum.mxfp8_e5m2)


def matrix(rng: np.random.Generator, fmt: Any, rows: int, length: int) -> lpnum.BlockArray:
    """Blocks of very different sizes along the second axis."""
    sizes = np.exp2(rng.integers(-12, 12, (rows, length // 16)).astype(float)).repeat(16, axis=1)
    return lpnum.array(rng.standard_normal((rows, length)) * sizes, fmt)


def exact_product(x: Any, y: Any) -> np.ndarray:
    """``x @ y.T`` in rational numbers, and the sum of the magnitudes, for matrices of few elements."""
    a, b = ([[Fraction(v) for v in row] for row in m.dequantize(np.float64).tolist()] for m in (x, y))
    return np.array(
        [[sum((p * q for p, q in zip(r, s, strict=True)), Fraction(0)) for s in b] for r in a], dtype=object
    )


def on_codes(a: Any, b: Any) -> np.ndarray:
    """The product, which must not have been decoded."""
    found = _block_products.product(a, b, np.dtype(np.float64))
    assert found is not None
    return found


@pytest.mark.parametrize("first", INTEGERS, ids=repr)
@pytest.mark.parametrize("second", INTEGERS, ids=repr)
def test_products_of_integer_blocks_are_rounded_once_for_each_block(simd_level: str, first: Any, second: Any) -> None:
    rng = np.random.default_rng(3)
    x, y = matrix(rng, first, 9, 160), matrix(rng, second, 7, 160)
    got, exact = on_codes(x, y.T), exact_product(x, y)
    sizes = np.abs(x.dequantize()) @ np.abs(y.dequantize()).T
    blocks = 160 // min(first.block, second.block)
    for index, value in np.ndenumerate(exact):
        assert abs(Fraction(got[index]) - value) <= Fraction(sizes[index]) * blocks / 2**53


@pytest.mark.parametrize("first", INTEGERS, ids=repr)
def test_products_of_integer_blocks_of_like_sizes_are_exact(simd_level: str, first: Any) -> None:
    rng = np.random.default_rng(4)
    for m, n, k in ((1, 1, 32), (5, 50, 64), (49, 17, 1056), (200, 3, 96)):
        x, y = (lpnum.array(rng.standard_normal((rows, k)), first) for rows in (m, n))
        got = on_codes(x, y.T)
        a, b = x.dequantize(np.float64), y.dequantize(np.float64)
        if not first.tensor_scale:  # all partial sums fit float64, so the decoded product is exact, too
            assert np.array_equal(got, a @ b.T)
        else:
            assert np.allclose(got, a @ b.T, rtol=0, atol=2.0**-48 * np.max(np.abs(a) @ np.abs(b).T))


@pytest.mark.parametrize("first", FLOATS, ids=repr)
@pytest.mark.parametrize("second", [*FLOATS, lpnum.mxint8, lpnum.nvfp4], ids=repr)
def test_products_of_float_blocks_are_right_to_float32(simd_level: str, first: Any, second: Any) -> None:
    rng = np.random.default_rng(5)
    x, y = matrix(rng, first, 37, 544), matrix(rng, second, 51, 544)
    for a, b in ((x, y), (y, x)):
        got = on_codes(a, b.T)
        p, q = a.dequantize(np.float64), b.dequantize(np.float64)
        assert (np.abs(got - p @ q.T) <= 32 * 2.0**-24 * (np.abs(p) @ np.abs(q).T)).all()


@given(data=st.data())
def test_block_products_of_any_shape_equal_the_decoded_ones(simd_level: str, data: st.DataObject) -> None:
    fmt = data.draw(st.sampled_from((lpnum.mxint8, lpnum.mxfp4, lpnum.BlockFormat(lpnum.fixed4, 8))))
    m, n, blocks = (data.draw(st.integers(0, high)) for high in (20, 55, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    x, y = (lpnum.array(rng.standard_normal((rows, blocks * fmt.block)), fmt) for rows in (m, n))
    assert np.array_equal(on_codes(x, y.T), x.dequantize(np.float64) @ y.dequantize(np.float64).T)


def test_all_codes_of_all_elements_multiply_exactly(simd_level: str) -> None:
    for fmt in (*INTEGERS, *FLOATS):
        values = fmt.stored_values[: 2 ** min(fmt.bits, 8) if fmt.bits <= 8 else 256]
        finite = np.flatnonzero(np.isfinite(values))[: 2**fmt.element.bits]
        codes = np.zeros((len(finite), fmt.block), np.uint8)
        codes[:, 3] = finite
        raw = lpnum.pack(codes) if fmt.packed else codes.view(fmt.element.storage)
        one = int(np.flatnonzero(fmt.scale_format.code_values == 1.0)[0])
        scales = np.full((len(finite), 1), one, np.uint8)
        x = lpnum.BlockArray(raw, scales, fmt)
        assert np.array_equal(on_codes(x, x.T), np.outer(values[finite], values[finite])), fmt


def test_bits_do_not_depend_on_the_level_or_the_threads() -> None:
    rng = np.random.default_rng(6)
    before = kernels.SIMD_LEVELS[kernels.simd_level()]
    for first, second in ((lpnum.mxint8, lpnum.nvfp4), (lpnum.mxfp8_e4m3, lpnum.mxfp4)):
        x, y = matrix(rng, first, 300, 1056), matrix(rng, second, 130, 1056).T
        found = []
        try:
            for level in kernels.simd_levels():
                for vnni in (False, True) if level == "avx2" else (True,):
                    kernels.set_simd_level(level, vnni)
                    found.append((x @ y).tobytes())
            lpnum.set_num_threads(2)
            found.append((x @ y).tobytes())
        finally:
            lpnum.set_num_threads(1)
            kernels.set_simd_level(before)
        assert len(set(found)) == 1


def test_matmul_dot_and_inner_take_the_codes_and_agree() -> None:
    rng = np.random.default_rng(7)
    x, y = matrix(rng, lpnum.mxfp8_e4m3, 20, 64), matrix(rng, lpnum.mxfp8_e4m3, 30, 64)
    expected = on_codes(x, y.T)
    assert not np.array_equal(expected, x.dequantize() @ y.dequantize().T)  # so that equality below says something
    for got in (x @ y.T, np.matmul(x, y.T), np.dot(x, y.T), x.dot(y.T), np.inner(x, y)):
        assert got.dtype == np.float64
        assert np.array_equal(got, expected)
    out = np.empty((20, 30), np.float32)
    assert np.matmul(x, y.T, out=out) is out
    assert np.array_equal(out, expected.astype(np.float32))
    asked = np.matmul(x, y.T, dtype=np.float64)  # float64 sums of float elements
    assert np.allclose(asked, x.dequantize() @ y.dequantize().T, rtol=1e-13, atol=0)
    single = lpnum.array(x.dequantize(np.float32), lpnum.mxfp8_e4m3)
    assert (single @ single.T).dtype == np.float32


def test_a_block_matrix_times_an_8_bit_matrix_uses_the_codes_of_both(simd_level: str) -> None:
    rng = np.random.default_rng(8)
    x = matrix(rng, lpnum.mxint8, 33, 96)
    rows = np.exp(rng.standard_normal((96, 40)))
    for y in (lpnum.array(rows, lpnum.fixed8), lpnum.array(rows, lpnum.fixed8, axis=1)):
        p, q = x.dequantize(np.float64), y.dequantize(np.float64)
        for got, expected in ((x @ y, p @ q), (y.T @ x.T, q.T @ p.T)):
            assert np.allclose(got, expected, rtol=0, atol=2.0**-50 * np.max(np.abs(p) @ np.abs(q)))
        assert on_codes(x, y).shape == (33, 40)


def test_what_blocks_along_other_axes_and_nan_scales_give_is_the_decoded_product() -> None:
    rng = np.random.default_rng(9)
    x, y = matrix(rng, lpnum.mxint8, 32, 64), matrix(rng, lpnum.mxint8, 64, 96)
    assert _block_products.product(x, y, np.dtype(np.float64)) is None  # the blocks of y run along its second axis
    assert np.array_equal(x @ y, x.dequantize() @ y.dequantize())
    scales = x.scale_codes.copy()
    scales[3, 1] = 255
    bad = lpnum.BlockArray(x.codes, scales, lpnum.mxint8)
    got = bad @ x.T
    assert np.isnan(got[3]).all()
    assert np.isfinite(np.delete(got, 3, axis=0)).all()
