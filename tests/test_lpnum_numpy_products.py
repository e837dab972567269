"""NumPy's functions of products on codes: shapes, `out`, `dtype`, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lpnum
from lpnum import _contractions

WITH_AVX_VNNI = True
CODES = (np.int8, np.uint8, np.int16, np.uint16)
SIZES = (0, 1, 2, 3, 7, 8, 9, 16, 17, 33, 48, 49, 65)

# ---- NumPy's functions -----------------------------------------------------------------------------------------------


def integers(*shape: int, dtype: Any = lpnum.fixed8) -> lpnum.LPArray:
    """Small integers at scale 1: every product below is exact, whatever the order of the sums."""
    rng = np.random.default_rng(math.prod(shape) + len(shape))
    return lpnum.from_codes(rng.integers(-9, 10, shape).astype(np.int8), lpnum.fixed8, scale=1.0).astype(dtype)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
        ((4,), (2, 4, 5)), ((2, 3, 4), (4,)), ((3, 4), (2, 4, 5)), ((6, 1, 3, 4), (2, 4, 5)), ((0, 4), (4, 5)),
        ((3, 0), (0, 5)), ((2, 0, 4), (2, 4, 5)), ((0, 3, 4), (4, 5)), ((3, 40, 50), (3, 50, 60)), ((1, 4), (4, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [lpnum.fixed8, lpnum.fixed16, lpnum.float8_e5m2])
def test_matmul_has_numpys_shapes(a: tuple[int, ...], b: tuple[int, ...], dtype: Any) -> None:
    x, y = integers(*a, dtype=dtype), integers(*b, dtype=dtype)
    p, q = x.dequantize(), y.dequantize()
    for left, right in ((x, y), (x, q), (p, y)):
        got = left @ right
        assert isinstance(got, np.ndarray | np.generic)
        assert got.shape == (p @ q).shape
        assert got.dtype == (p @ q).dtype
        assert np.array_equal(got, p @ q)
        assert np.array_equal(np.matmul(left, right), p @ q)
        assert np.array_equal(np.dot(left, right), np.dot(p, q))


@given(data=st.data())
def test_tensordot_and_einsum_agree_with_numpy(data: st.DataObject) -> None:
    names = data.draw(st.permutations("abcdef"))
    n_batch, n_left, n_right, n_summed = (data.draw(st.integers(low, 2)) for low in (0, 0, 0, 1))
    cut = iter(names)
    batch, left, right, summed = (
        [next(cut) for _ in range(n)] for n in (n_batch, min(n_left, 1), min(n_right, 1), n_summed)
    )
    sizes = {c: data.draw(st.integers(1, 4)) for c in names}
    first, second = (
        data.draw(st.permutations(batch + left + summed)),
        data.draw(st.permutations(batch + right + summed)),
    )
    output = data.draw(st.permutations(batch + left + right))
    x, y = (integers(*(sizes[c] for c in own)) for own in (first, second))
    if data.draw(st.booleans()):
        x = x * np.arange(1.0, x.shape[0] + 1).reshape(-1, *[1] * (x.ndim - 1))
    text = f"{''.join(first)},{''.join(second)}->{''.join(output)}"
    expected = np.einsum(text, x.dequantize(), y.dequantize())
    got = np.einsum(text, x, y)
    assert got.shape == expected.shape
    assert np.array_equal(got, expected)
    if not batch:
        axes = [first.index(c) for c in summed], [second.index(c) for c in summed]
        assert np.array_equal(np.tensordot(x, y, axes=axes), np.tensordot(x.dequantize(), y.dequantize(), axes=axes))


@pytest.mark.parametrize(
    "text", ["ii,ij->j", "ij,jk", "i,j->ij", "ij,kl->ik", "...i,i->...", "ij,ij->ij", "ij,jk,kl->il", "ij->ji"]
)
def test_other_einsums_are_evaluated_too(text: str) -> None:
    operands = [integers(*(4,) * len(term.replace("...", "a"))) for term in text.split("->")[0].split(",")]
    expected = np.einsum(text, *(x.dequantize() for x in operands))
    assert np.array_equal(np.einsum(text, *operands), expected)


def test_scales_stay_compact_when_axes_are_joined() -> None:
    x = lpnum.array(np.random.default_rng(9).standard_normal((4, 3, 5, 6)), dtype=lpnum.fixed8, axis=1)
    y = integers(3, 5, 6, 7)
    joined = _contractions.as_matrix(x, [1], [0, 2, 3])
    assert joined._scale.shape == (3, 1)
    got = np.tensordot(x, y, axes=((1, 2, 3), (0, 1, 2)))
    assert np.allclose(got, np.tensordot(x.dequantize(), y.dequantize(), axes=((1, 2, 3), (0, 1, 2))), rtol=1e-13)


def test_inner_vecdot_matvec_and_vecmat_agree_with_numpy() -> None:
    x, y = integers(3, 4, 50), integers(5, 50)
    p, q = x.dequantize(), y.dequantize()
    assert np.array_equal(np.inner(x, y), np.inner(p, q))
    assert np.array_equal(np.vecdot(x, x), np.vecdot(p, p))
    assert np.array_equal(np.vecdot(x, y[0]), np.vecdot(p, q[0]))
    assert np.array_equal(np.vecdot(x[0, 0], y[0]), np.vecdot(p[0, 0], q[0]))
    if hasattr(np, "matvec"):
        assert np.array_equal(np.matvec(x, y[0]), np.matvec(p, q[0]))
        assert np.array_equal(np.matvec(x, y[:3]), np.matvec(p, q[:3]))
        assert np.array_equal(np.vecmat(y[0, :4], x), np.vecmat(q[0, :4], p))
        assert np.array_equal(np.vecmat(x[:, 0, :4], x), np.vecmat(p[:, 0, :4], p))


def test_vecdot_of_rows_is_exact_where_float32_is_not() -> None:
    x = lpnum.from_codes(np.full((3, 1_100_001), -128, np.int8), lpnum.fixed8, scale=1.0)
    assert np.vecdot(x, x).tolist() == [128.0 * 128 * 1_100_001] * 3


def test_out_and_dtype_are_honoured() -> None:
    x, y = integers(30, 40), integers(40, 20)
    expected = x.dequantize() @ y.dequantize()
    plain = np.empty((30, 20), np.float32)
    assert np.matmul(x, y, out=plain) is plain
    assert np.array_equal(plain, expected.astype(np.float32))
    low = lpnum.zeros((30, 20), dtype=lpnum.fixed16, scale=1.0)
    assert np.matmul(x, y, out=low) is low
    assert np.array_equal(np.asarray(low), expected)
    assert np.matmul(x, y, dtype=np.float32).dtype == np.float32
    assert np.array_equal(np.dot(x, y, out=np.empty((30, 20))), expected)
    assert np.array_equal(np.einsum("ij,jk->ik", x, y, out=np.empty((30, 20))), expected)
    with pytest.raises(ValueError, match="shape"):
        np.matmul(x, y, out=np.empty((20, 30)))
    with pytest.raises(TypeError):
        np.matmul(x, y, out=np.empty((30, 20), np.int8))
    with pytest.raises(TypeError):
        np.matmul(x, y, dtype=np.int32)


def test_shapes_that_do_not_fit_are_refused_as_numpy_does() -> None:
    x = integers(3, 4)
    for call in (
        lambda: x @ x, lambda: np.dot(x, x), lambda: np.inner(x, x.T), lambda: np.vecdot(x, x.T),
        lambda: np.tensordot(x, x.T), lambda: np.tensordot(x, x, axes=((0,), (1,))), lambda: x @ np.ones(3),
        lambda: np.tensordot(x, x, axes=((5,), (0,))), lambda: np.einsum("ij,jk->ik", x, x), lambda: x @ np.float64(3),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"shape|axes|dimension|Einstein|operand"):
            call()


def test_results_have_the_value_dtype() -> None:
    single = lpnum.array(np.ones((4, 4), np.float32), dtype=lpnum.fixed8)
    double = lpnum.array(np.ones((4, 4)), dtype=lpnum.fixed8)
    assert (single @ single).dtype == np.float32
    assert (single @ double).dtype == np.float64
    assert (single @ np.ones((4, 4))).dtype == np.float64
    assert (single @ np.ones(4, np.float32)).dtype == np.float32
    assert (double @ [1, 2, 3, 4]).dtype == np.float64


def test_a_product_does_not_decode_its_matrices() -> None:
    import tracemalloc

    x = lpnum.from_codes(np.ones((2000, 1000), np.int8), lpnum.fixed8, scale=1.0)
    v = np.ones(1000)
    x @ v, x.T @ x  # the workspace stays
    tracemalloc.start()
    x @ v
    v @ x.T
    np.einsum("ij,j->i", x, v)
    assert tracemalloc.get_traced_memory()[1] < x.codes.nbytes / 4
    tracemalloc.stop()


def test_products_do_not_change_their_operands() -> None:
    x = integers(40, 40)
    before = x.codes.copy()
    x @ x, x @ np.ones(40), np.einsum("ij,kj->ik", x, x), x.T @ x
    assert np.array_equal(x.codes, before)


def test_vectors_that_lie_across_word_boundaries():
    values = np.random.default_rng(0).standard_normal(300)
    v = np.frombuffer(b"x" + values.tobytes(), np.uint8)[1:].view(np.float64)
    assert not v.flags.aligned
    x = lpnum.array(np.random.default_rng(1).standard_normal((200, 300)), lpnum.fixed8)
    np.testing.assert_array_equal(x @ v, x @ values)
    np.testing.assert_array_equal(v[:200] @ x, values[:200] @ x)
    for fmt in (lpnum.mxfp8_e4m3, lpnum.float8_e4m3fn):
        np.testing.assert_array_equal(np.asarray(lpnum.array(v[:288], fmt)), np.asarray(lpnum.array(values[:288], fmt)))
    y = x.copy()
    y += v
    np.testing.assert_array_equal(y.codes, (x.copy().__iadd__(values)).codes)
