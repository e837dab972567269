"""Sums and products with wide accumulators: exact integers where the grids allow, float64 or float32 elsewhere.

The products of NumPy (`numpy.matmul`, `dot`, `vecdot`, `matvec`, `vecmat`, `inner`, `tensordot`, `einsum`) of LPArrays come
here. What is computed, and how exactly, is said in the table of `lpnum._products`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lpnum import _products, grid
from lpnum._core import kernels
from lpnum.array import LPArray
from lpnum.formats import FixedFormat

__all__ = ["dot", "einsum", "inner", "matmul", "matmul_codes", "matvec", "tensordot", "vecdot", "vecmat"]

# NumPy's stubs of ufunc.reduce do not accept a tuple of axes with keepdims
_add_reduce: Any = np.add.reduce

_SMALL = 1 << 15  # products in one matrix of a stack below which the stack is decoded in slabs
_SLAB = 1 << 18  # elements decoded at once


def sum_values(x: LPArray, axis: Any, keepdims: bool) -> Any:
    """Sum in float64: ``step * (exact integer sum of codes) + sum of offsets`` where the step allows it.

    The codes are summed in int64, which 2**47 codes of 16 bits cannot overflow.
    """
    axes = tuple(range(x.ndim)) if axis is None else tuple(np.atleast_1d(axis).tolist())
    scale = x._scale
    weighted = scale.ndim > 0 and any(scale.shape[k] != 1 for k in axes)  # the scales differ inside a sum
    if weighted or not isinstance(x.format, FixedFormat):
        return _add_reduce(x.dequantize(np.float64), axis=axes, keepdims=keepdims)
    if len(axes) == x.ndim and x.codes.flags.c_contiguous:
        total: Any = np.asarray(float(kernels.sum_codes(x.codes))).reshape((1,) * (x.ndim if keepdims else 0))
    else:
        total = _add_reduce(x.codes, axis=axes, keepdims=keepdims, dtype=np.int64).astype(np.float64)
    if scale.ndim and not keepdims:
        scale = scale.squeeze(axes)
    if x._offset.ndim == 0:
        count = float(np.prod([x.shape[k] for k in axes], dtype=np.int64))
        offsets: Any = count * x._offset
    else:
        offsets = _add_reduce(grid.full(x._offset, x.shape), axis=axes, keepdims=keepdims)
    return offsets + (scale * x.format.unit) * total


# ---- operands ------------------------------------------------------------------------------------------------------


def _operand(x: Any) -> Any:
    return x if isinstance(x, LPArray) else np.asarray(x)


def _computable(*operands: Any) -> bool:
    """Whether all are arrays of real numbers, and one holds codes."""
    real = all(isinstance(x, LPArray) or x.dtype.kind in "biuf" for x in operands)
    return real and any(isinstance(x, LPArray) for x in operands)


def _dtype_of(operands: Any, dtype: Any) -> np.dtype:
    """Dtype of a result: what was asked for, else the values' dtype; at least float32."""
    if dtype is not None:
        return np.dtype(dtype)
    found = np.result_type(*(x.dtype for x in operands))
    return np.dtype(np.float64) if found.itemsize > 4 else np.dtype(np.float32)


def _mismatch(name: str, a: Any, b: Any) -> ValueError:
    return ValueError(f"lpnum.{name}: the contracted axes of shapes {a.shape} and {b.shape} differ in length")


def _as_matrix(x: Any, free: list[int], contracted: list[int]) -> Any:
    """View or copy with the free axes joined into the first axis and the contracted ones into the second.

    Only codes are copied: a scale or offset stays compact where it is constant along all axes of one kind.
    """
    shape = x.shape
    rows, columns = (math.prod(shape[k] for k in axes) for axes in (free, contracted))
    if not isinstance(x, LPArray):
        return x.transpose(free + contracted).reshape(rows, columns)

    def joined(meta: np.ndarray) -> np.ndarray:
        if meta.ndim == 0:
            return meta
        lengths = [
            [shape[k] for k in axes] if any(meta.shape[k] != 1 for k in axes) else [1] * len(axes)
            for axes in (free, contracted)
        ]
        whole = np.broadcast_to(meta.transpose(free + contracted), lengths[0] + lengths[1])
        return whole.reshape(math.prod(lengths[0]), math.prod(lengths[1]))

    codes = x.codes.transpose(free + contracted).reshape(rows, columns)
    return x._like(codes, joined(x._scale), joined(x._offset), view=True)


# ---- matmul and its relatives --------------------------------------------------------------------------------------


def matmul(a: Any, b: Any, *, dtype: Any = None) -> Any:
    """Matrix product as `numpy.matmul`: ``out[..., i, j] = sum_k a[..., i, k] b[..., k, j]``; a plain array.

    Parameters
    ----------
    a, b : LPArray or array_like
        Shapes (..., m, k) and (..., k, n), or vectors; leading axes broadcast. One at least is an LPArray.
    dtype : {float32, float64}, optional
        Of the result; the values' dtype if not given. ``float64`` also asks for float64 sums of 8-bit floats.

    Returns
    -------
    ndarray or a number

    Raises
    ------
    ValueError
        If the contracted axes differ in length.

    Notes
    -----
    Fixed point is summed in integers, exactly, and scaled once; a float vector or few columns with fixed point are
    summed exactly, too. Products of 8-bit floats are exact; up to 256 of them are added in float32, these sums in float64.

    Examples
    --------
    >>> x = lpnum.array([[1.0, 2.0], [3.0, 4.0]], scale=0.5)
    >>> x @ x
    array([[ 7., 10.],
           [15., 22.]])
    >>> lpnum.linalg.matmul(x, [1.0, 0.25])
    array([1.5, 4. ])
    """
    a, b = _operand(a), _operand(b)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("lpnum.matmul: operands must have at least one dimension; use * for numbers")
    if not _computable(a, b):
        return _on_values(np.matmul, (a, b), {} if dtype is None else {"dtype": dtype})
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise _mismatch("matmul", a, b)
    if a.ndim == b.ndim == 1:
        return _dot_vectors(a, b, _dtype_of((a, b), dtype))
    wanted = _dtype_of((a, b), dtype)
    if a.ndim <= 2 and b.ndim <= 2:
        result = _product(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b, wanted, dtype)
    else:
        result = _stacked(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b, wanted, dtype)
    if b.ndim == 1:
        result = result[..., 0]
    return result[..., 0, :] if a.ndim == 1 else result


def _product(a: Any, b: Any, wanted: np.dtype, asked: Any) -> np.ndarray:
    return _products.product(a, b, wanted, float64=asked is not None and wanted == np.float64)


def _stacked(a: Any, b: Any, wanted: np.dtype, asked: Any) -> np.ndarray:
    """Products of stacks of matrices, with NumPy's broadcasting of the leading axes."""
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    m, k, n = *a.shape[-2:], b.shape[-1]
    if b.ndim == 2 and (not isinstance(a, LPArray) or all(x.ndim == 0 for x in (a._scale, a._offset))):
        flat = _as_matrix(a, list(range(a.ndim - 1)), [a.ndim - 1])  # one product with a tall matrix
        return _product(flat, b, wanted, asked).reshape(*stack, m, n)
    out = np.empty((*stack, m, n), wanted)
    if m * n * k < _SMALL:
        return _slabs(np.matmul, a, b, out, 2)
    a, b = (np.broadcast_to(x, stack + x.shape[-2:]) for x in (a, b))
    for index in np.ndindex(stack):
        out[index] = _product(a[index], b[index], wanted, asked)
    return out


def _slabs(function: Any, a: Any, b: Any, out: np.ndarray, core: int) -> np.ndarray:
    """A function of stacks on decoded values, a slab of the first axis of the stack at a time."""
    if out.ndim <= core or out.size == 0 or out.shape[0] == 1:
        out[...] = function(*(x.dequantize(np.float64) if isinstance(x, LPArray) else x for x in (a, b)))
        return out
    ndim = max(a.ndim, b.ndim)
    a, b = (x.reshape((1,) * (ndim - x.ndim) + x.shape) for x in (a, b))
    per_item = max(a.size // max(a.shape[0], 1), b.size // max(b.shape[0], 1), 1)
    step = max(1, _SLAB // per_item)
    for start in range(0, out.shape[0], step):
        part = slice(start, start + step)
        pieces = (x if x.shape[0] == 1 else x[part] for x in (a, b))
        out[part] = function(*(x.dequantize(np.float64) if isinstance(x, LPArray) else x for x in pieces))
    return out


def _dot_vectors(a: Any, b: Any, wanted: np.dtype) -> Any:
    """``a . b = n oa ob + oa sb sum(cb) + ob sa sum(ca) + sa sb sum(ca cb)``, the sums in integers; else in float64."""
    lp = [x for x in (a, b) if isinstance(x, LPArray)]
    exact = len(lp) == 2 and all(
        isinstance(x.format, FixedFormat) and x._scale.ndim == x._offset.ndim == 0 for x in lp
    )
    if not exact:
        total = np.float64(0.0)
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, max(a.size, 1), _SLAB):
                pieces = (x[start : start + _SLAB] for x in (a, b))
                total += np.dot(*(x.dequantize(np.float64) if isinstance(x, LPArray) else x for x in pieces))
            return wanted.type(total)
    p, q = np.ascontiguousarray(a.codes), np.ascontiguousarray(b.codes)
    step_a, step_b = (float(x._scale) * x.format.unit for x in lp)
    off_a, off_b = float(a._offset), float(b._offset)
    value = step_a * step_b * float(kernels.dot_codes(p, q))
    if off_a:
        value += off_a * step_b * float(kernels.sum_codes(q))
    if off_b:
        value += off_b * step_a * float(kernels.sum_codes(p))
    value += off_a * off_b * p.size
    return wanted.type(value)


def dot(a: Any, b: Any) -> Any:
    """Dot product as `numpy.dot`, accumulated wide; a plain array or number.

    Vectors: the sum of products. Else the last axis of `a` with the last but one of `b`.

    Examples
    --------
    >>> x = lpnum.full(100_000, 1.0, scale=1.0)
    >>> float(np.dot(x, x))
    100000.0
    """
    a, b = _operand(a), _operand(b)
    if a.ndim == 0 or b.ndim == 0 or not _computable(a, b):
        return _on_values(np.dot, (a, b), {})
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"lpnum.dot: shapes {a.shape} and {b.shape} not aligned")
    if a.ndim <= 2 and b.ndim <= 2:
        return matmul(a, b)
    return tensordot(a, b, axes=((a.ndim - 1,), (max(b.ndim - 2, 0),)))


def inner(a: Any, b: Any) -> Any:
    """Product over the last axes of both, as `numpy.inner`; accumulated wide."""
    a, b = _operand(a), _operand(b)
    if a.ndim == 0 or b.ndim == 0 or not _computable(a, b):
        return _on_values(np.inner, (a, b), {})
    if a.shape[-1] != b.shape[-1]:
        raise _mismatch("inner", a, b)
    return tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))


def vecdot(a: Any, b: Any, *, dtype: Any = None) -> Any:
    """Dot products of the vectors along the last axes, as `numpy.vecdot`; leading axes broadcast."""
    a, b = _operand(a), _operand(b)
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[-1]:
        raise _mismatch("vecdot", a, b)
    if not _computable(a, b):
        return _on_values(np.vecdot, (a, b), {} if dtype is None else {"dtype": dtype})
    wanted = _dtype_of((a, b), dtype)
    if a.ndim == b.ndim == 1:
        return _dot_vectors(a, b, wanted)
    out = np.empty(np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), wanted)
    if a.shape == b.shape and all(_one_step(x) for x in (a, b)):
        rows = [np.ascontiguousarray(x.codes).reshape(-1, x.shape[-1]) for x in (a, b)]
        sums = np.empty(rows[0].shape[0], np.int64)
        kernels.dot_rows(*rows, sums)
        out[...] = sums.reshape(out.shape) * (float(a._scale) * a.format.unit * float(b._scale) * b.format.unit)
        return out
    return _slabs(np.vecdot, a, b, out, 0)


def _one_step(x: Any) -> bool:
    """Fixed point with one scale and no offset."""
    fixed = isinstance(x, LPArray) and isinstance(x.format, FixedFormat)
    return fixed and x._scale.ndim == x._offset.ndim == 0 and float(x._offset) == 0.0


def matvec(a: Any, b: Any, *, dtype: Any = None) -> Any:
    """Matrices (..., m, k) times vectors (..., k), as `numpy.matvec`."""
    a, b = _operand(a), _operand(b)
    if a.ndim < 2 or b.ndim < 1 or a.shape[-1] != b.shape[-1]:
        raise _mismatch("matvec", a, b)
    return matmul(a, b, dtype=dtype) if b.ndim == 1 else matmul(a, b[..., None], dtype=dtype)[..., 0]


def vecmat(a: Any, b: Any, *, dtype: Any = None) -> Any:
    """Vectors (..., k) times matrices (..., k, n), as `numpy.vecmat`."""
    a, b = _operand(a), _operand(b)
    if b.ndim < 2 or a.ndim < 1 or a.shape[-1] != b.shape[-2]:
        raise _mismatch("vecmat", a, b)
    return matmul(a, b, dtype=dtype) if a.ndim == 1 else matmul(a[..., None, :], b, dtype=dtype)[..., 0, :]


# ---- several axes --------------------------------------------------------------------------------------------------


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Product over given axes, as `numpy.tensordot`: one matrix product of codes.

    Parameters
    ----------
    a, b : LPArray or array_like
    axes : int or pair of (int or sequence of int)
        The last `axes` axes of `a` with the first of `b`; or the axes of each.

    Examples
    --------
    >>> x = lpnum.ones((2, 3, 4), dtype=lpnum.fixed8)
    >>> np.tensordot(x, x, axes=((1, 2), (1, 2)))
    array([[12., 12.],
           [12., 12.]])
    """
    a, b = _operand(a), _operand(b)
    if not _computable(a, b):
        return _on_values(np.tensordot, (a, b), {"axes": axes})
    if isinstance(axes, int | np.integer):
        pairs = list(range(a.ndim - int(axes), a.ndim)), list(range(int(axes)))
    else:
        first, second = axes
        pairs = list(np.atleast_1d(first).tolist()), list(np.atleast_1d(second).tolist())
    left, right = ([int(k) + x.ndim if k < 0 else int(k) for k in own] for own, x in zip(pairs, (a, b), strict=True))
    fits = len(left) == len(right) and all(0 <= k < x.ndim for own, x in ((left, a), (right, b)) for k in own)
    fits = fits and len(set(left)) == len(left) and len(set(right)) == len(right)
    if not fits or [a.shape[k] for k in left] != [b.shape[k] for k in right]:
        raise ValueError(f"lpnum.tensordot: shapes {a.shape} and {b.shape} do not fit axes={axes!r}")
    free_a, free_b = ([k for k in range(x.ndim) if k not in own] for x, own in ((a, left), (b, right)))
    shape = [a.shape[k] for k in free_a] + [b.shape[k] for k in free_b]
    if not left:  # an outer product: nothing is summed
        return _on_values(np.tensordot, (a, b), {"axes": 0})
    if not shape:
        vectors = (_as_matrix(x, [], own)[0] for x, own in ((a, left), (b, right)))
        return np.asarray(_dot_vectors(*vectors, _dtype_of((a, b), None)))[()]
    result = _product(_as_matrix(a, free_a, left), _as_matrix(b, free_b, right).T, _dtype_of((a, b), None), None)
    return result.reshape(shape)


def einsum(*operands: Any, **kwargs: Any) -> Any:
    """Einstein summation, as `numpy.einsum`; two operands become products of matrices of codes.

    Anything but two operands with named axes (each once in an operand, none summed in one operand alone) is evaluated
    on the float64 values.

    Examples
    --------
    >>> x = lpnum.array([[1.0, 2.0], [3.0, 4.0]], scale=0.5)
    >>> np.einsum("ij,kj->ik", x, x)
    array([[ 5., 11.],
           [11., 25.]])
    """
    plan = _einsum_plan(operands, kwargs)
    if plan is None:
        return _on_values(np.einsum, operands, kwargs)
    a, b, (batch, left, right, summed), output, dtype = plan
    (names_a, a), (names_b, b) = a, b
    sizes = dict(zip(names_a, a.shape, strict=True)) | dict(zip(names_b, b.shape, strict=True))
    result = np.empty([sizes[c] for c in batch + left + right], dtype)
    shape = [sizes[c] for c in left + right]
    order_a, order_b = [names_a.index(c) for c in batch], [names_b.index(c) for c in batch]
    rest_a, rest_b = ([c for c in names if c not in batch] for names in (names_a, names_b))
    for index in np.ndindex(*(sizes[c] for c in batch)):
        part_a, part_b = (
            x[tuple(index[own.index(k)] if k in own else slice(None) for k in range(x.ndim))] if own else x
            for x, own in ((a, order_a), (b, order_b))
        )
        matrix_a = _as_matrix(part_a, [rest_a.index(c) for c in left], [rest_a.index(c) for c in summed])
        matrix_b = _as_matrix(part_b, [rest_b.index(c) for c in right], [rest_b.index(c) for c in summed])
        result[index] = _product(matrix_a, matrix_b.T, dtype, kwargs.get("dtype")).reshape(shape)
    names = batch + left + right
    result = result.transpose([names.index(c) for c in output])
    out = kwargs.get("out")
    return result[()] if out is None else _deliver(result, out)


def _einsum_plan(operands: Any, kwargs: dict[str, Any]) -> Any:
    """Operands with the names of their axes, and the names in groups; None for what is not a product of matrices."""
    if len(operands) != 3 or not isinstance(operands[0], str) or set(kwargs) - {"out", "dtype", "optimize"}:
        return None
    a, b = _operand(operands[1]), _operand(operands[2])
    text = operands[0].replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != 2 or not all(c.isalpha() for term in (*terms, output) for c in term) or not _computable(a, b):
        return None
    if not arrow:
        output = "".join(sorted(c for c in set(inputs) - {","} if inputs.count(c) == 1))
    if any(len(set(t)) != len(t) for t in (*terms, output)) or not set(output) <= set(terms[0]) | set(terms[1]):
        return None
    if len(terms[0]) != a.ndim or len(terms[1]) != b.ndim:
        return None
    dtype = kwargs.get("dtype")
    if dtype is not None and np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        return None
    first, second = terms
    common = [c for c in first if c in second]
    batch, summed = ([c for c in common if (c in output) == kept] for kept in (True, False))
    left, right = [c for c in first if c not in second], [c for c in second if c not in first]
    if not summed or any(c not in output for c in left + right):
        return None
    if any(a.shape[first.index(c)] != b.shape[second.index(c)] for c in common):
        return None
    return (list(first), a), (list(second), b), (batch, left, right, summed), list(output), _dtype_of((a, b), dtype)


# ---- integers ------------------------------------------------------------------------------------------------------


def matmul_codes(a: Any, b: Any, *, dtype: Any = None) -> np.ndarray:
    """Exact integer product of two matrices of codes: ``out[i, j] = sum_k a[i, k] b[k, j]``.

    Parameters
    ----------
    a, b : ndarray
        Shapes (m, k) and (k, n), of int8, uint8, int16 or uint16, with any strides.
    dtype : {int32, int64}, optional
        Of the result. By default int32 where no codes of these types and this length can leave it, else int64.

    Raises
    ------
    TypeError
        For other dtypes.
    ValueError
        If the shapes do not fit, or for int32 where it may be too small.

    Examples
    --------
    >>> a = np.full((1, 200_000), -128, np.int8)
    >>> lpnum.linalg.matmul_codes(a, a.T), lpnum.linalg.matmul_codes(a[:, :1000], a.T[:1000]).dtype
    (array([[3276800000]]), dtype('int32'))
    """
    a, b = np.asarray(a), np.asarray(b)
    for x in (a, b):
        if x.dtype.kind not in "iu" or x.dtype.itemsize > 2:
            raise TypeError(f"lpnum.matmul_codes: codes are int8, uint8, int16 or uint16, not {x.dtype}")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"lpnum.matmul_codes: matrices (m, k) and (k, n) expected, not shapes {a.shape} and {b.shape}")
    a, b = (x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("=")) for x in (a, b))
    fits = _products.fits_int32(a, b, a.shape[1])
    wanted = np.dtype(np.int32 if fits else np.int64) if dtype is None else np.dtype(dtype)
    if wanted not in (np.dtype(np.int32), np.dtype(np.int64)):
        raise TypeError(f"lpnum.matmul_codes: dtype is int32 or int64, not {wanted}")
    if wanted == np.int32 and not fits:
        raise ValueError(
            f"lpnum.matmul_codes: sums of {a.shape[1]} products of {a.dtype} and {b.dtype} may leave int32; use int64"
        )
    out = np.empty((a.shape[0], b.shape[1]), wanted)
    _products.integer_product(a, b.T, out)
    return out


# ---- NumPy's ufuncs ------------------------------------------------------------------------------------------------

_UFUNCS: dict[Any, Any] = {np.matmul: matmul, np.vecdot: vecdot}
for _name, _function in (("matvec", matvec), ("vecmat", vecmat)):  # since NumPy 2.2
    if hasattr(np, _name):
        _UFUNCS[getattr(np, _name)] = _function


def wide(function: Any, inputs: tuple[Any, ...], out: Any, kwargs: dict[str, Any]) -> Any:
    """A product of any kind: on codes where a function above does it, else on the float64 values."""
    if function is np.matmul and out is None and not kwargs:
        a, b = inputs
        if isinstance(a, LPArray) and isinstance(b, LPArray):
            result = _products.quick(a, b)
            if result is not None:
                return result
    own = _UFUNCS.get(function)
    options = {k: v for k, v in kwargs.items() if k not in ("casting", "order", "subok")}
    dtype = options.pop("dtype", None)
    plain = dtype is None or np.dtype(dtype) in (np.dtype(np.float32), np.dtype(np.float64))
    if own is not None and plain and not options and kwargs.get("casting", "same_kind") == "same_kind":
        return _deliver(own(*inputs, dtype=dtype), out)
    if function is np.dot and not kwargs:
        return _deliver(dot(*inputs), out)
    return _deliver(_on_values(function, inputs, kwargs), out)


def _deliver(result: Any, out: Any) -> Any:
    """The result, or `out` filled with it: rounded to the grid of an LPArray, cast to the dtype of a plain array."""
    if isinstance(out, tuple):
        (out,) = out
    if out is None:
        return result
    if out.shape != np.shape(result):
        raise ValueError(f"out: shape {out.shape}, but the result has shape {np.shape(result)}")
    if isinstance(out, LPArray):
        out[...] = result
    else:
        np.copyto(out, result, casting="same_kind")
    return out


def _on_values(function: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Evaluated on the float64 values, returned in the value dtype."""
    out = kwargs.get("out")
    options = {k: v for k, v in kwargs.items() if k != "out"}
    values = [x.dequantize(np.float64) if isinstance(x, LPArray) else x for x in inputs]
    result = function(*values, **options)
    if "dtype" not in options and getattr(result, "dtype", None) == np.float64:
        wanted = np.result_type(*(x.dtype for x in inputs if hasattr(x, "dtype")))
        result = result.astype(wanted, copy=False)[()]
    return _deliver(result, out)
