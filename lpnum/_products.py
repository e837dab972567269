"""Products of two matrices of which at least one holds codes; nothing larger than a tile is ever decoded.

================================ ==================================================== =================================
operands                         computed                                             accuracy
================================ ==================================================== =================================
fixed point and fixed point      integer sums of codes; scale, offset afterwards      exact sum, rounded to float64
fixed point and a float vector   integer digits of the vector (matvec_digits.h)       exact sum, rounded to float64
8-bit floats, or one of them     values of codes in float32: exact products, sums of  float32
and 8-bit fixed point            at most 256 of them, which are added in float64
anything else                    decoded tiles in float64, by NumPy                   float64
================================ ==================================================== =================================

"Anything else": scales that differ along the contracted axis and cannot go into the other operand, 16-bit floats,
floats with an offset, matrices of plain floats, and float64 asked for by ``dtype=``.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np

from lpnum import _threads, codec
from lpnum._core import products
from lpnum.array import LPArray
from lpnum.formats import FixedFormat, Format

_INT32_MAX = 2**31 - 1
_TILE_ELEMENTS = 1 << 18  # decoded at once: 2 MiB of float64
_SMALL = 4096  # elements of a matrix that is decoded whole: the digits of a vector cost more than they save
_KEPT = 1 << 24  # bytes of workspace that a thread keeps at most; tiles need less
_ONE = np.ones(1)

_local = threading.local()


def _workspace(size: int) -> np.ndarray:
    """Memory of this thread for one call of a kernel; kept, so that its pages are there the next time."""
    found: np.ndarray | None = getattr(_local, "workspace", None)
    if found is None or found.size < size:
        found = np.empty(size, np.uint8)
        if size <= _KEPT:
            _local.workspace = found
    return found


# ---- integers ------------------------------------------------------------------------------------------------------


def largest(codes: np.ndarray) -> int:
    """Largest magnitude of a code in this storage."""
    info = np.iinfo(codes.dtype)
    return max(-int(info.min), int(info.max))


def fits_int32(a: np.ndarray, b: np.ndarray, length: int) -> bool:
    """Whether no sum of `length` products can leave int32; by the types, not by the values."""
    return largest(a) * largest(b) * length <= _INT32_MAX


def _tiles(a: np.ndarray, b: np.ndarray, out: np.ndarray, call: Any, floats: bool, block: int = 0) -> None:
    """``call(rows, columns, workspace)`` for each tile of the result, in threads along its longer side."""
    (m, k), n = a.shape, b.shape[0]
    size = products.TILE
    work = m * n * k // 128

    def part(start: int, stop: int, by_rows: bool) -> None:
        (top, bottom), (left, right) = ((start, stop), (0, n)) if by_rows else ((0, m), (start, stop))
        workspace = _workspace(products.matmul_workspace(min(m, size), min(n, size), k, floats, block))
        for i in range(top, bottom, size):
            for j in range(left, right, size):
                call(slice(i, min(i + size, bottom)), slice(j, min(j + size, right)), workspace)

    by_rows = m >= n
    cuts = _threads.ranges(m if by_rows else n, work, 48)
    _threads.run(lambda start, stop: part(start, stop, by_rows), cuts)


def _bytes(codes: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """8-bit parts of codes with their weights: ``codes = sum of weight * part``."""
    if codes.dtype.itemsize == 1:
        return [(1, codes)]
    low, high = ("<u1", "<i1" if codes.dtype.kind == "i" else "<u1")
    parts = codes.astype(codes.dtype.newbyteorder("<"), copy=False).view([("low", low), ("high", high)])
    return [(1, parts["low"]), (256, parts["high"])]


def integer_product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """``out = a @ b.T`` for codes (m, k) and (n, k): exact in int64; in int32 where `fits_int32`."""
    if a.dtype.itemsize == b.dtype.itemsize == 1:
        _tiles(a, b, out, lambda i, j, space: products.matmul_tile(a[i], b[j], out[i, j], space), False)
        return
    out[...] = 0
    for weight_a, part_a in _bytes(a):
        for weight_b, part_b in _bytes(b):
            sums = np.empty(out.shape, np.int64)
            integer_product(part_a, part_b, sums)
            out += weight_a * weight_b * sums


# ---- grids ---------------------------------------------------------------------------------------------------------


def _constant(meta: np.ndarray, axis: int) -> bool:
    """Whether a scale or offset is the same along an axis."""
    return meta.ndim == 0 or meta.shape[axis] == 1


def _along(meta: np.ndarray, axis: int) -> np.ndarray:
    """A scale or offset that is constant along the other axis of a matrix: float64 of shape (1,) or (n,)."""
    return np.ascontiguousarray(meta.reshape(1) if meta.ndim == 0 else meta.take(0, axis=1 - axis))


def _is_zero(meta: np.ndarray) -> bool:
    return not meta.any()


def _step(x: LPArray) -> np.ndarray:
    return x._scale * x.format.unit


def _centered(x: LPArray) -> LPArray:
    """The same codes and scale without the offset."""
    return x._like(x.codes, x._scale, np.zeros(()), view=True)


def _code_sums(codes: np.ndarray, axis: int) -> np.ndarray:
    """Exact sums of codes along an axis of a matrix, in float64."""
    matrix = codes if axis == 1 else codes.T
    sums = _exact(matrix, np.ones(matrix.shape[1]))
    return np.add.reduce(codes, axis=axis, dtype=np.int64).astype(np.float64) if sums is None else sums


def _offset_terms(a: LPArray, b: LPArray) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """What the offsets of a (m, k) and b (k, n) add to the product, as outer products of two vectors.

    ``(Sa Ca + Oa) (Sb Cb + Ob) = Sa Ca Sb Cb + Oa (Sb Cb + Ob) + Sa Ca Ob``; an offset is constant along the contracted
    axis, or along the other one. None if one varies along both.
    """
    terms = []
    if not _is_zero(a._offset):
        if _constant(a._offset, 1):
            sums = _along(_step(b), 1) * _code_sums(b.codes, 0)
            if not _is_zero(b._offset):
                sums = sums + (b.shape[0] * _along(b._offset, 1) if _constant(b._offset, 0) else b._offset.sum(axis=0))
            terms.append((_along(a._offset, 0), np.ascontiguousarray(sums)))
        elif _constant(a._offset, 0):
            terms.append((_ONE, matrix_vector(b.T, _along(a._offset, 1))))
        else:
            return None
    if not _is_zero(b._offset):
        if _constant(b._offset, 0):
            terms.append((np.ascontiguousarray(_along(_step(a), 0) * _code_sums(a.codes, 1)), _along(b._offset, 1)))
        elif _constant(b._offset, 1):
            terms.append((matrix_vector(_centered(a), _along(b._offset, 0)), _ONE))
        else:
            return None
    return terms


# ---- matrix and matrix ---------------------------------------------------------------------------------------------


def _fixed(a: LPArray, b: LPArray, out: np.ndarray) -> bool:
    """Fixed point by integers: the scales are constant along the contracted axis."""
    terms = _offset_terms(a, b) if not (_is_zero(a._offset) and _is_zero(b._offset)) else []
    if terms is None:
        return False
    p, q, step_a, step_b = a.codes, b.codes.T, _along(_step(a), 0), _along(_step(b), 1)
    if p.dtype.itemsize == q.dtype.itemsize == 1:
        scaled_tiles(p, q, out, step_a, step_b, terms)
        return True
    sums = np.empty(out.shape, np.int64)
    integer_product(p, q, sums)
    values = sums.astype(np.float64)
    values *= step_a[:, None] * step_b
    for row, column in terms:
        values += row[:, None] * column
    out[...] = values
    return True


def scaled_tiles(
    p: np.ndarray,
    q: np.ndarray,
    out: np.ndarray,
    step_a: np.ndarray,
    step_b: np.ndarray,
    terms: list[tuple[np.ndarray, np.ndarray]],
    tables: tuple[Any, Any] = (None, None),
    blocks: tuple[int, Any, Any] = (0, None, None),
) -> None:
    """``out = p @ q.T`` for codes (m, k) and (n, k), scaled; see `lpnum_product` in gemm.h.

    `terms` are outer products, `tables` values of the codes, `blocks` their length along k and scales of shapes
    (m, blocks) and (n, blocks).
    """
    block, scales_a, scales_b = blocks

    def cut(factor: np.ndarray, part: slice) -> np.ndarray:
        return factor if factor.size == 1 else factor[part]

    def call(i: slice, j: slice, workspace: np.ndarray) -> None:
        pieces = tuple((cut(row, i), cut(column, j)) for row, column in terms)
        scales = (None if scales_a is None else scales_a[i], None if scales_b is None else scales_b[j])
        steps = cut(step_a, i), cut(step_b, j)
        products.matmul_tile(p[i], q[j], out[i, j], workspace, *steps, pieces, *tables, block, *scales)

    _tiles(p, q, out, call, tables[0] is not None, block)


@lru_cache(maxsize=64)
def float_table(fmt: Format) -> np.ndarray:
    """Values of the 256 bytes as codes, in float32; exact for every format of 8 bits."""
    table = np.zeros(256, np.float32)
    table[fmt.all_codes().view(np.uint8)] = fmt.code_values
    return table


@lru_cache(maxsize=64)
def exact_in_float32(a: Format, b: Format) -> bool:
    """Whether every product of two values is exact in float32, or inf or NaN as it is in float64."""
    if a.bits > 8 or b.bits > 8:
        return False
    low = high = 1.0
    for fmt in (a, b):
        values = np.abs(fmt.code_values[np.isfinite(fmt.code_values) & (fmt.code_values != 0)])
        low, high = low * float(values.min()), high * float(values.max())
    return low >= 2.0**-149 and high <= 2.0**100


def _floats(a: LPArray, b: LPArray, out: np.ndarray) -> bool:
    if not (_is_zero(a._offset) and _is_zero(b._offset) and exact_in_float32(a.format, b.format)):
        return False
    tables = float_table(a.format), float_table(b.format)
    scaled_tiles(a.codes, b.codes.T, out, _along(_step(a), 0), _along(_step(b), 1), [], tables)
    return True


def quick(a: LPArray, b: LPArray) -> np.ndarray | None:
    """``a @ b`` of two small matrices on one grid each, without the questions that others need; None for others.

    8 bits, no offset, one tile, one thread: what remains is one call of the kernel.
    """
    p, q = a.codes, b.codes
    if p.ndim != 2 or q.ndim != 2 or p.itemsize != 1 or q.itemsize != 1:
        return None
    (m, k), n = p.shape, q.shape[1]
    if not (1 < m <= products.TILE and 1 < n <= products.TILE and k == q.shape[0]):
        return None
    if m * n * k // 128 >= 2 * _threads.SMALLEST and _threads.get_num_threads() > 1:
        return None
    for x in (a, b):
        if x._scale.ndim or x._offset.ndim or float(x._offset):
            return None
    fixed = isinstance(a.format, FixedFormat) and isinstance(b.format, FixedFormat)
    tables: tuple[Any, Any] = (None, None)
    if not fixed:
        if not exact_in_float32(a.format, b.format):
            return None
        tables = float_table(a.format), float_table(b.format)
    out = np.empty((m, n), a.dtype if a.dtype == b.dtype else np.float64)
    workspace = _workspace(products.matmul_workspace(m, n, k, not fixed))
    steps = float(a._scale) * a.format.unit, float(b._scale) * b.format.unit
    products.matmul_tile(p, q.T, out, workspace, *steps, (), *tables)
    return out


def product(a: Any, b: Any, dtype: np.dtype, *, float64: bool = False, out: np.ndarray | None = None) -> np.ndarray:
    """``a @ b`` of two matrices, LPArray or plain floats, in float32 or float64.

    `float64` asks for float64 sums where 8-bit floats would be added in float32.
    """
    m, n = a.shape[0], b.shape[1]
    if out is None:
        out = np.empty((m, n), dtype)
    if isinstance(a, LPArray) and isinstance(b, LPArray):
        if m == 1 or n == 1:
            vector = matrix_vector(a, _vector_of(b, 0)) if n == 1 else matrix_vector(b.T, _vector_of(a, 1))
            out[...] = vector.reshape(out.shape)
            return out
        if _constant(a._scale, 1) and _constant(b._scale, 0):
            if isinstance(a.format, FixedFormat) and isinstance(b.format, FixedFormat):
                if _fixed(a, b, out):
                    return out
            elif not float64 and _floats(a, b, out):
                return out
    elif n <= 4 and isinstance(a, LPArray) and isinstance(a.format, FixedFormat):
        for j in range(n):
            out[:, j] = matrix_vector(a, b[:, j])
        return out
    elif m <= 4 and isinstance(b, LPArray) and isinstance(b.format, FixedFormat):
        for i in range(m):
            out[i] = matrix_vector(b.T, a[i])
        return out
    _decoded_tiles(a, b, out)
    return out


def _values(x: Any, rows: slice, columns: slice) -> np.ndarray:
    """A tile in float64."""
    if not isinstance(x, LPArray):
        return np.asarray(x[rows, columns], np.float64)
    part = x[rows, columns]
    return codec.decode_operand(part.operand(), np.float64)


def _decoded_tiles(a: Any, b: Any, out: np.ndarray) -> None:
    """The product in float64 from decoded tiles; partial sums over tiles of the contracted axis are added."""
    (m, k), n = a.shape, b.shape[1]
    deep = max(1, min(k, 4096 if min(m, n) <= 64 else 512))
    tall = max(1, _TILE_ELEMENTS // deep)
    total = out if out.dtype == np.float64 and out.flags.c_contiguous else np.empty((m, n))
    total[...] = 0
    with np.errstate(invalid="ignore", over="ignore"):
        for j in range(0, n, tall):
            columns = slice(j, min(j + tall, n))
            for start in range(0, k, deep):
                depth = slice(start, min(start + deep, k))
                right = _values(b, depth, columns)
                for i in range(0, m, tall):
                    rows = slice(i, min(i + tall, m))
                    total[rows, columns] += _values(a, rows, depth) @ right
        if total is not out:
            out[...] = total


# ---- matrix and vector ---------------------------------------------------------------------------------------------


def _vector_of(x: Any, axis: int) -> Any:
    """The only row or column of a matrix as a vector along `axis`."""
    return x[:, 0] if axis == 0 else x[0]


def matrix_vector(x: LPArray, v: Any) -> np.ndarray:
    """``x @ v`` in float64: x (m, k), v (k,) an LPArray or real numbers.

    For fixed point with scales constant along one axis, ``scale * (the exact sum, rounded) + (the offsets' part)``.
    """
    factor, shift = 1.0, 0.0
    if isinstance(v, LPArray):
        if isinstance(v.format, FixedFormat) and v._scale.ndim == v._offset.ndim == 0:
            factor, shift = float(v._scale) * v.format.unit, float(v._offset)
            values = v.codes.astype(np.float64)
        else:
            values = v.dequantize(np.float64)
    else:
        values = np.asarray(v, np.float64)
    if not isinstance(x.format, FixedFormat) or not (_constant(x._scale, 0) or _constant(x._scale, 1)):
        return _decoded_vector(x, values * factor + shift if isinstance(v, LPArray) else values)
    step = _step(x)
    if shift:
        values, factor, shift = values * factor + shift, 1.0, 0.0
    if not _constant(step, 1):  # scales of the columns go into the vector
        values, step = _along(step, 1) * values, np.ones(())
    sums = None if x.size <= _SMALL else _exact(x.codes, values)
    if sums is None:
        centered = x._like(x.codes, np.asarray(1.0 / x.format.unit), np.zeros(()), view=True)
        sums = _decoded_vector(centered, values)
    result = sums * (_along(step, 0) * factor)
    offset = x._offset
    if not _is_zero(offset):
        plain = v.dequantize(np.float64) if isinstance(v, LPArray) else np.asarray(v, np.float64)
        if _constant(offset, 1):
            result += _along(offset, 0) * plain.sum()
        else:
            result += offset @ plain  # (1, k) or (m, k)
    return result


def _decoded_vector(x: LPArray, v: np.ndarray) -> np.ndarray:
    out = np.empty((x.shape[0], 1))
    _decoded_tiles(x, v[:, None], out)
    return out[:, 0]


def _exact(codes: np.ndarray, v: np.ndarray) -> np.ndarray | None:
    """``codes @ v``, exact and rounded once; None where one pass over the codes cannot give it.

    Exponents of `v` that lie too far apart for one fixed-point vector are taken in two passes, of its large and its
    small elements: then two exact sums are added.
    """
    v = np.require(v, requirements=["C", "A"])  # what came through a socket may lie anywhere
    if codes.shape[1] > products.MATVEC_LENGTH:
        return None
    size = codes.itemsize
    if size not in codes.strides:
        codes = np.ascontiguousarray(codes)
    out = np.empty(codes.shape[0])
    status = _exact_rows(codes, v, out)
    if status == 2:
        bound = np.ldexp(np.abs(v).max(), -40)
        small = np.where(np.abs(v) < bound, v, 0.0)
        rest = np.empty_like(out)
        status = _exact_rows(codes, v - small, out) or _exact_rows(codes, small, rest)
        out += rest
    return None if status else out


def _exact_rows(codes: np.ndarray, v: np.ndarray, out: np.ndarray) -> int:
    m, k = codes.shape

    def part(start: int, stop: int) -> int:
        workspace = _workspace(products.matvec_workspace(stop - start, k))
        return products.matvec(codes[start:stop], v, out[start:stop], workspace)

    return max(_threads.run(part, _threads.ranges(m, codes.size // 4, 64)))
