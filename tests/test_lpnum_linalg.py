"""Products of codes: exact against Python integers, at every SIMD level, in every layout, scaled as the grids say."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lpnum
from lpnum import _products
from lpnum._core import kernels, products

WITH_AVX_VNNI = True
CODES = (np.int8, np.uint8, np.int16, np.uint16)
SIZES = (0, 1, 2, 3, 7, 8, 9, 16, 17, 33, 48, 49, 65)


def random_codes(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Codes over the whole range, the extremes among them."""
    info = np.iinfo(dtype)
    codes = rng.integers(info.min, info.max + 1, shape).astype(dtype)
    codes[rng.random(shape) < 0.1] = info.min
    codes[rng.random(shape) < 0.1] = info.max
    return codes


def layouts(codes: np.ndarray) -> list[np.ndarray]:
    """The same matrix in several layouts of memory."""
    wide = np.zeros((codes.shape[0], 2 * codes.shape[1] + 1), codes.dtype)
    wide[:, 1::2] = codes
    tall = np.zeros((3 * codes.shape[0] + 1, codes.shape[1] + 5), codes.dtype)
    tall[1::3, 2:-3] = codes
    backwards = np.ascontiguousarray(codes[::-1, ::-1])[::-1, ::-1]
    return [codes, np.asfortranarray(codes), wide[:, 1::2], tall[1::3, 2:-3], backwards]


# ---- integers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("a_type", CODES)
@pytest.mark.parametrize("b_type", CODES)
def test_integer_products_are_exact_for_all_types(simd_level: str, a_type: Any, b_type: Any) -> None:
    rng = np.random.default_rng(1)
    for m, k, n in ((5, 70, 9), (17, 3, 65), (1, 1, 1), (49, 1030, 50)):
        a, b = random_codes(rng, a_type, (m, k)), random_codes(rng, b_type, (k, n))
        expected = a.astype(np.int64) @ b.astype(np.int64)
        got = lpnum.linalg.matmul_codes(a, b)
        assert np.array_equal(got, expected)
        largest = math.prod(max(map(abs, (int(np.iinfo(t).min), int(np.iinfo(t).max)))) for t in (a_type, b_type))
        assert got.dtype == (np.int32 if largest * k < 2**31 else np.int64)


@given(data=st.data())
def test_integer_products_of_any_shape_and_layout_are_exact(simd_level: str, data: st.DataObject) -> None:
    m, n = (data.draw(st.sampled_from(SIZES)) for _ in range(2))
    k = data.draw(st.sampled_from((*SIZES, 511, 1023, 1025)))
    a_type, b_type = (data.draw(st.sampled_from((np.int8, np.uint8))) for _ in range(2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    a, b = random_codes(rng, a_type, (m, k)), random_codes(rng, b_type, (k, n))
    expected = a.astype(np.int64) @ b.astype(np.int64)
    p, q = data.draw(st.sampled_from(layouts(a))), data.draw(st.sampled_from(layouts(b)))
    assert np.array_equal(lpnum.linalg.matmul_codes(p, q), expected)


def test_products_larger_than_a_tile_are_exact(simd_level: str) -> None:
    rng = np.random.default_rng(2)
    a, b = random_codes(rng, np.int8, (1030, 40)), random_codes(rng, np.uint8, (40, 2050))
    assert np.array_equal(lpnum.linalg.matmul_codes(a, b), a.astype(np.int64) @ b.astype(np.int64))


@pytest.mark.parametrize(("a_type", "b_type"), [(np.int8, np.int8), (np.uint8, np.uint8), (np.int16, np.uint8)])
def test_sums_beyond_int32_are_exact(simd_level: str, a_type: Any, b_type: Any) -> None:
    k = 131_072 + 77  # 128 * 128 * 131,072 = 2**31
    a, b = (np.full((2, k), max(np.iinfo(t).min, np.iinfo(t).max, key=abs), t) for t in (a_type, b_type))
    b[1, ::3] = 1
    got = lpnum.linalg.matmul_codes(a, b.T)
    expected = [[sum(int(p) * int(q) for p, q in zip(r, s, strict=True)) for s in b] for r in a[:1]] * 2
    assert got.dtype == np.int64
    assert got.tolist() == expected
    assert abs(expected[0][0]) > 2**31
    with pytest.raises(ValueError, match="may leave int32"):
        lpnum.linalg.matmul_codes(a, b.T, dtype=np.int32)


def test_integer_products_say_what_they_do_not_take() -> None:
    with pytest.raises(TypeError, match="int8, uint8, int16 or uint16, not float64"):
        lpnum.linalg.matmul_codes(np.ones((2, 2)), np.ones((2, 2), np.int8))
    with pytest.raises(ValueError, match=r"not shapes \(2, 3\) and \(2, 3\)"):
        lpnum.linalg.matmul_codes(np.ones((2, 3), np.int8), np.ones((2, 3), np.int8))
    with pytest.raises(TypeError, match="int32 or int64"):
        lpnum.linalg.matmul_codes(np.ones((2, 2), np.int8), np.ones((2, 2), np.int8), dtype=np.int16)


def test_the_kernel_refuses_what_does_not_fit() -> None:
    a = np.zeros((3, 4), np.int8)
    space = np.empty(products.matmul_workspace(3, 3, 4, False), np.uint8)
    for bad in (np.zeros((3, 2), np.int32), np.zeros((2, 3), np.int32), np.zeros((3, 3), np.int16)):
        with pytest.raises((ValueError, TypeError)):
            products.matmul_tile(a, a, bad, space)
    with pytest.raises(ValueError, match="workspace"):
        products.matmul_tile(a, a, np.zeros((3, 3), np.int32), space[:10])
    with pytest.raises(TypeError, match="8 bits"):
        products.matmul_tile(a.astype(np.int16), a, np.zeros((3, 3), np.int32), space)
    with pytest.raises(ValueError, match="factors"):
        products.matmul_tile(a, a, np.zeros((3, 3)), space, np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="contiguous"):
        products.matvec(np.zeros((8, 8), np.int8)[::2, ::2], np.ones(4), np.ones(4), np.empty(10**6, np.uint8))


# ---- a matrix of codes and a float vector ----------------------------------------------------------------------------


def exact_matvec(codes: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Correctly rounded sums, by fractions."""
    return np.array(
        [float(sum((int(c) * Fraction(x) for c, x in zip(row, v, strict=True)), Fraction(0))) for row in codes]
    )


@pytest.mark.parametrize("dtype", CODES)
def test_matrix_times_float_vector_is_the_exact_sum_rounded_once(simd_level: str, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    for m, k in ((1, 1), (3, 65), (70, 3), (66, 130), (5, 1500)):
        codes = random_codes(rng, dtype, (m, k))
        vectors = [
            rng.standard_normal(k),
            rng.standard_normal(k) * 10.0 ** rng.integers(-4, 5, k),
            rng.integers(-9, 9, k),
        ]
        vectors += [
            np.zeros(k),
            np.full(k, 5e-324),
            np.full(k, 127.0),
            np.full(k, -128.0),
            np.ldexp(1.0, rng.integers(0, 90, k)),
        ]
        for v in vectors:
            expected = exact_matvec(codes, v)
            for layout in layouts(codes):
                assert np.array_equal(_products._exact(layout, v.astype(np.float64)), expected)


@given(data=st.data())
def test_matrix_times_vector_is_exact_for_any_shape(simd_level: str, data: st.DataObject) -> None:
    m, k = (data.draw(st.sampled_from((*SIZES, 129))) for _ in range(2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    codes = random_codes(rng, data.draw(st.sampled_from(CODES)), (m, k))
    v = np.ldexp(rng.integers(-(2**20), 2**20, k).astype(np.float64), rng.integers(-30, 30, k))
    layout = data.draw(st.sampled_from(layouts(codes)))
    assert np.array_equal(_products._exact(layout, v), exact_matvec(codes, v))


def test_large_and_small_elements_of_a_vector_both_count(simd_level: str) -> None:
    codes = np.zeros((100, 200), np.int8)
    codes[:50, 0], codes[:, 1] = 1, 3
    v = np.zeros(200)
    v[0], v[1] = 1e20, 2.0**-40 / 3  # 2**-107 apart: two fixed-point vectors
    got = lpnum.from_codes(codes, lpnum.fixed8, scale=1.0) @ v
    assert np.array_equal(got, np.where(np.arange(100) < 50, 1e20, 3 * v[1]))


def test_a_vector_with_all_exponents_falls_back_to_floats(simd_level: str) -> None:
    codes = np.ones((100, 200), np.int8)
    v = np.ldexp(1.0, np.arange(200) * 5 - 500)
    assert np.allclose(lpnum.from_codes(codes, lpnum.fixed8, scale=1.0) @ v, v.sum(), rtol=1e-15)


def test_nan_and_infinity_of_a_vector_reach_the_result(simd_level: str) -> None:
    x = lpnum.full((100, 200), 1.0, scale=1.0)
    v = np.zeros(200)
    v[3] = np.inf
    assert np.isposinf(x @ v).all()
    v[4] = np.nan
    assert np.isnan(x @ v).all()


@pytest.mark.parametrize("code", [-128, 127])
def test_long_columns_do_not_overflow_the_sums(simd_level: str, code: int) -> None:
    k = 70_001
    codes = np.full((k, 70), code, np.int8)
    v = np.full(k, -(2.0**15) - 1 / 3)
    x = lpnum.from_codes(codes, lpnum.fixed8, scale=1.0)
    expected = float(code * k * Fraction(v[0]))
    assert np.array_equal(v @ x, np.full(70, expected))
    assert np.array_equal(
        lpnum.from_codes(np.ascontiguousarray(codes.T), lpnum.fixed8, scale=1.0) @ v, np.full(70, expected)
    )


# ---- scales and offsets ----------------------------------------------------------------------------------------------


def grids(rng: np.random.Generator, m: int, k: int, kind: str) -> dict[str, Any]:
    """Scale and offset of a matrix (m, k)."""
    shapes: dict[str, tuple[Any, Any]] = {
        "scalar": ((), None),
        "rows": ((m, 1), None),
        "columns": ((1, k), None),
        "elements": ((m, k), None),
        "offset": ((), ()),
        "row offsets": ((m, 1), (m, 1)),
        "column offsets": ((), (1, k)),
        "all offsets": ((), (m, k)),
        "both": ((1, k), (1, k)),
    }
    scale, offset = shapes[kind]
    grid = {"scale": rng.uniform(0.1, 2.0, scale)}
    return grid if offset is None else grid | {"offset": rng.standard_normal(offset)}


GRIDS = ("scalar", "rows", "columns", "elements", "offset", "row offsets", "column offsets", "all offsets", "both")


def bound(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of magnitudes: what rounding errors are measured by."""
    return np.abs(a) @ np.abs(b) + 1e-300


@pytest.mark.parametrize("kind_a", GRIDS)
@pytest.mark.parametrize("kind_b", GRIDS)
def test_products_follow_the_grids(kind_a: str, kind_b: str) -> None:
    rng = np.random.default_rng(4)
    for fmt_a, fmt_b in (
        (lpnum.fixed8, lpnum.ufixed8),
        (lpnum.fixed16, lpnum.fixed4),
        (lpnum.fixed(8, 5), lpnum.ufixed16),
    ):
        m, k, n = 33, 150, 21
        a, b = (
            lpnum.from_codes(
                rng.integers(f.code_min, f.code_max + 1, shape).astype(f.storage), f, **grids(rng, *shape, kind)
            )
            for f, shape, kind in ((fmt_a, (m, k), kind_a), (fmt_b, (k, n), kind_b))
        )
        p, q = (abs(x.scale) * np.abs(x.codes * x.format.unit) + np.abs(x.offset) for x in (a, b))
        values_a, values_b = a.dequantize(np.float64), b.dequantize(np.float64)
        scale = bound(np.broadcast_to(p, (m, k)), np.broadcast_to(q, (k, n)))
        assert np.max(np.abs(a @ b - values_a @ values_b) / scale) < 2e-15
        for j in (0, 3):
            assert np.max(np.abs(a @ b[:, j] - values_a @ values_b[:, j]) / scale[:, j]) < 2e-15
        v = rng.standard_normal(k)
        error = np.abs(a @ v - values_a @ v) / (np.broadcast_to(p, (m, k)) @ np.abs(v))
        assert np.max(error) < 2e-15
        assert np.max(np.abs(v @ b - v @ values_b) / (np.abs(v) @ np.broadcast_to(q, (k, n)))) < 2e-15


def test_a_product_without_offsets_is_rounded_twice_at_most(simd_level: str) -> None:
    rng = np.random.default_rng(5)
    a = lpnum.from_codes(random_codes(rng, np.int8, (30, 300)), lpnum.fixed8, scale=0.3)
    b = lpnum.from_codes(random_codes(rng, np.int8, (300, 20)), lpnum.fixed8, scale=rng.uniform(1, 2, (1, 20)))
    sums = a.codes.astype(np.int64) @ b.codes.astype(np.int64)
    assert np.array_equal(a @ b, 0.3 * b.scale * sums)


def test_a_dot_product_is_rounded_once(simd_level: str) -> None:
    rng = np.random.default_rng(10)
    for _ in range(50):
        scales, offsets = rng.uniform(0.1, 2, 2), rng.standard_normal(2) * rng.integers(0, 2, 2)
        x, y = (
            lpnum.from_codes(random_codes(rng, np.int8, (300,)), lpnum.fixed8, scale=s, offset=o)
            for s, o in zip(scales, offsets, strict=True)
        )
        p, q = ([Fraction(v.offset) + Fraction(v.scale) * int(c) for c in v.codes] for v in (x, y))
        assert float(x @ y) == float(np.dot(x, y)) == float(sum(a * b for a, b in zip(p, q, strict=True)))
    assert np.isposinf(lpnum.full(300, 1e200) @ lpnum.full(300, 1e200))


def test_all_levels_and_thread_counts_give_the_same_bits() -> None:
    rng = np.random.default_rng(6)
    codes = random_codes(rng, np.int8, (300, 700))
    x = lpnum.from_codes(codes, lpnum.fixed8, scale=0.1, offset=0.2)
    f = lpnum.array(rng.standard_normal((700, 300)), dtype=lpnum.float8_e4m3fn)
    v = rng.standard_normal(700)
    results = []
    before = kernels.SIMD_LEVELS[kernels.simd_level()]
    try:
        for level in kernels.simd_levels():
            kernels.set_simd_level(level)
            for threads in (1, 2):
                lpnum.set_num_threads(threads)
                results.append([x @ x.T, x @ v, v @ x.T, f @ f.T, f.T @ f, (x - 0.2) @ f])
    finally:
        kernels.set_simd_level(before)
        lpnum.set_num_threads(1)
    for other in results[1:]:
        for first, second in zip(results[0][:5], other[:5], strict=True):
            assert np.array_equal(first, second)


# ---- small floats ----------------------------------------------------------------------------------------------------

FLOATS = [f for f in lpnum.formats.named().values() if isinstance(f, lpnum.FloatFormat)]


@pytest.mark.parametrize("fmt", FLOATS, ids=str)
def test_products_of_floats_are_right_to_float32(simd_level: str, fmt: lpnum.FloatFormat) -> None:
    rng = np.random.default_rng(7)
    finite = fmt.all_codes()[np.isfinite(fmt.code_values)]
    if fmt.bits > 8 or fmt == lpnum.float8_e8m0fnu:
        finite = finite[np.abs(fmt.code_values[finite]) < 1e6]
    a, b = (lpnum.from_codes(rng.choice(finite, shape), fmt) for shape in ((37, 400), (400, 29)))
    values_a, values_b = a.dequantize(np.float64), b.dequantize(np.float64)
    scale = bound(values_a, values_b)
    assert np.max(np.abs(a @ b - values_a @ values_b) / scale) < 256 * 2.0**-24 / 4
    exact = np.matmul(a, b, dtype=np.float64)
    assert np.max(np.abs(exact - values_a @ values_b) / scale) < 1e-15


def test_float_products_of_subnormals_are_exact(simd_level: str) -> None:
    for fmt in (lpnum.float8_e4m3fn, lpnum.float8_e5m2, lpnum.float8_e3m4, lpnum.float8_e4m3b11fnuz):
        tiny = lpnum.from_codes(np.arange(1, 4, dtype=np.uint8)[:, None] * np.ones((1, 5), np.uint8), fmt)
        expected = 5.0 * np.outer(np.arange(1, 4), np.arange(1, 4)) * fmt.smallest_subnormal**2
        assert np.array_equal(tiny @ tiny.T, expected)


def test_nan_and_infinity_of_floats_reach_their_rows_and_columns_only(simd_level: str) -> None:
    values = np.ones((20, 70))
    values[3, 5], values[7, 69] = np.inf, np.nan
    f = lpnum.array(values, dtype=lpnum.float8_e5m2, overflow="ieee")
    right = np.ones((70, 10))
    right[5, 2] = 0.0  # inf * 0
    with np.errstate(invalid="ignore"):
        expected = values @ right
    got = f @ lpnum.array(right, dtype=lpnum.float8_e4m3fn)
    assert np.array_equal(got, expected, equal_nan=True)
    assert np.isnan(got[3, 2])
    assert np.isfinite(got[[0, 1, 2, 19]]).all()


def test_mixed_formats_multiply() -> None:
    rng = np.random.default_rng(8)
    x = lpnum.array(rng.standard_normal((40, 300)), dtype=lpnum.fixed8, axis=0)
    f = lpnum.array(rng.standard_normal((300, 30)), dtype=lpnum.float8_e4m3fn)
    h = lpnum.array(rng.standard_normal((300, 30)), dtype=lpnum.bfloat16)
    w = lpnum.array(rng.standard_normal((300, 30)), dtype=lpnum.fixed16, axis=0)
    plain = rng.standard_normal((300, 30))
    for other, tolerance in ((f, 1e-6), (h, 1e-14), (w, 1e-14), (plain, 1e-14), (plain.astype(np.float32), 1e-14)):
        values = other.dequantize(np.float64) if isinstance(other, lpnum.LPArray) else other.astype(np.float64)
        expected = x.dequantize(np.float64) @ values
        assert np.allclose(x @ other, expected, rtol=0, atol=tolerance * np.abs(expected).max())
        assert np.allclose(other.T @ x.T, expected.T, rtol=0, atol=tolerance * np.abs(expected).max())
    few = rng.standard_normal((300, 3))
    assert np.allclose(x @ few, x.dequantize(np.float64) @ few, rtol=1e-13)
    assert np.allclose(few.T @ x.T, (x.dequantize(np.float64) @ few).T, rtol=1e-13)
