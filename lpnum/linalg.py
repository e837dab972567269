"""Sums and products with wide accumulators: exact integers where the grids allow, float64 or float32 elsewhere.

The products of NumPy (`numpy.matmul`, `dot`, `vecdot`, `matvec`, `vecmat`, `inner`, `tensordot`, `einsum`) of LPArrays
come here. What is computed, and how exactly, is said in the table of `lpnum._products`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lpnum import _products, grid
from lpnum._contractions import (
    SLAB,
    as_matrix,
    computable,
    dot_vectors,
    dtype_of,
    einsum,
    inner,
    mismatch,
    on_values,
    operand,
    product,
    tensordot,
)
from lpnum._core import products
from lpnum._out import store
from lpnum.array import LPArray
from lpnum.formats import FixedFormat

__all__ = ["dot", "einsum", "inner", "matmul", "matmul_codes", "matvec", "tensordot", "vecdot", "vecmat"]

# NumPy's stubs of ufunc.reduce do not accept a tuple of axes with keepdims
_add_reduce: Any = np.add.reduce

_SMALL = 1 << 15  # products in one matrix of a stack below which the stack is decoded in slabs


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
        total: Any = np.asarray(float(products.sum_codes(x.codes))).reshape((1,) * (x.ndim if keepdims else 0))
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
    Fixed point is summed in integers, exactly, and scaled once; fixed point with a float vector is summed exactly, too.
    Products of 8-bit floats are exact; up to 256 of them are added in float32, and these sums in float64.

    Examples
    --------
    >>> x = lpnum.array([[1.0, 2.0], [3.0, 4.0]], scale=0.5)
    >>> x @ x
    array([[ 7., 10.],
           [15., 22.]])
    >>> lpnum.linalg.matmul(x, [1.0, 0.25])
    array([1.5, 4. ])
    """
    a, b = operand(a), operand(b)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("lpnum.matmul: operands must have at least one dimension; use * for numbers")
    if not computable(a, b):
        return on_values(np.matmul, (a, b), {} if dtype is None else {"dtype": dtype})
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise mismatch("matmul", a, b)
    if a.ndim == b.ndim == 1:
        return dot_vectors(a, b, dtype_of((a, b), dtype))
    wanted = dtype_of((a, b), dtype)
    if a.ndim <= 2 and b.ndim <= 2:
        result = product(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b, wanted, dtype)
    else:
        result = _stacked(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b, wanted, dtype)
    if b.ndim == 1:
        result = result[..., 0]
    return result[..., 0, :] if a.ndim == 1 else result


def _stacked(a: Any, b: Any, wanted: np.dtype, asked: Any) -> np.ndarray:
    """Products of stacks of matrices, with NumPy's broadcasting of the leading axes."""
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    m, n = a.shape[-2], b.shape[-1]
    if b.ndim == 2 and (not isinstance(a, LPArray) or all(x.ndim == 0 for x in (a._scale, a._offset))):
        flat = as_matrix(a, list(range(a.ndim - 1)), [a.ndim - 1])  # one product with a tall matrix
        return product(flat, b, wanted, asked).reshape(*stack, m, n)
    out = np.empty((*stack, m, n), wanted)
    if m * n * a.shape[-1] < _SMALL:
        return _slabs(np.matmul, a, b, out, 2)
    a, b = (np.broadcast_to(x, stack + x.shape[-2:]) for x in (a, b))
    for index in np.ndindex(stack):
        out[index] = product(a[index], b[index], wanted, asked)
    return out


def _slabs(function: Any, a: Any, b: Any, out: np.ndarray, core: int) -> np.ndarray:
    """A function of stacks on decoded values, a slab of the first axis of the stack at a time."""
    if out.ndim <= core or out.size == 0 or out.shape[0] == 1:
        out[...] = function(*(x.dequantize(np.float64) if isinstance(x, LPArray) else x for x in (a, b)))
        return out
    ndim = max(a.ndim, b.ndim)
    a, b = (x.reshape((1,) * (ndim - x.ndim) + x.shape) for x in (a, b))
    per_item = max(a.size // max(a.shape[0], 1), b.size // max(b.shape[0], 1), 1)
    step = max(1, SLAB // per_item)
    for start in range(0, out.shape[0], step):
        part = slice(start, start + step)
        pieces = (x if x.shape[0] == 1 else x[part] for x in (a, b))
        out[part] = function(*(x.dequantize(np.float64) if isinstance(x, LPArray) else x for x in pieces))
    return out


def dot(a: Any, b: Any) -> Any:
    """Dot product as `numpy.dot`, accumulated wide; a plain array or number.

    Vectors: the sum of products. Else the last axis of `a` with the last but one of `b`.

    Examples
    --------
    >>> x = lpnum.full(100_000, 1.0, scale=1.0)
    >>> float(np.dot(x, x))
    100000.0
    """
    a, b = operand(a), operand(b)
    if a.ndim == 0 or b.ndim == 0 or not computable(a, b):
        return on_values(np.dot, (a, b), {})
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"lpnum.dot: shapes {a.shape} and {b.shape} not aligned")
    if a.ndim <= 2 and b.ndim <= 2:
        return matmul(a, b)
    return tensordot(a, b, axes=((a.ndim - 1,), (max(b.ndim - 2, 0),)))


def vecdot(a: Any, b: Any, *, dtype: Any = None) -> Any:
    """Dot products of the vectors along the last axes, as `numpy.vecdot`; leading axes broadcast."""
    a, b = operand(a), operand(b)
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[-1]:
        raise mismatch("vecdot", a, b)
    if not computable(a, b):
        return on_values(np.vecdot, (a, b), {} if dtype is None else {"dtype": dtype})
    wanted = dtype_of((a, b), dtype)
    if a.ndim == b.ndim == 1:
        return dot_vectors(a, b, wanted)
    out = np.empty(np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), wanted)
    if a.shape == b.shape and all(_one_step(x) for x in (a, b)):
        p, q = (np.ascontiguousarray(x.codes).reshape(-1, x.shape[-1]) for x in (a, b))
        sums = np.empty(p.shape[0], np.int64)
        products.dot_rows(p, q, sums)
        out[...] = sums.reshape(out.shape) * (float(a._scale) * a.format.unit * float(b._scale) * b.format.unit)
        return out
    return _slabs(np.vecdot, a, b, out, 0)


def _one_step(x: Any) -> bool:
    """Fixed point with one scale and no offset."""
    fixed = isinstance(x, LPArray) and isinstance(x.format, FixedFormat)
    return fixed and x._scale.ndim == x._offset.ndim == 0 and float(x._offset) == 0.0


def matvec(a: Any, b: Any, *, dtype: Any = None) -> Any:
    """Matrices (..., m, k) times vectors (..., k), as `numpy.matvec`."""
    a, b = operand(a), operand(b)
    if a.ndim < 2 or b.ndim < 1 or a.shape[-1] != b.shape[-1]:
        raise mismatch("matvec", a, b)
    return matmul(a, b, dtype=dtype) if b.ndim == 1 else matmul(a, b[..., None], dtype=dtype)[..., 0]


def vecmat(a: Any, b: Any, *, dtype: Any = None) -> Any:
    """Vectors (..., k) times matrices (..., k, n), as `numpy.vecmat`."""
    a, b = operand(a), operand(b)
    if b.ndim < 2 or a.ndim < 1 or a.shape[-1] != b.shape[-2]:
        raise mismatch("vecmat", a, b)
    return matmul(a, b, dtype=dtype) if a.ndim == 1 else matmul(a[..., None, :], b, dtype=dtype)[..., 0, :]


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
        return store(own(*inputs, dtype=dtype), out)
    if function is np.dot and not kwargs:
        return store(dot(*inputs), out)
    return store(on_values(function, inputs, kwargs), out)
