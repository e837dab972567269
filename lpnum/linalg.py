"""Sums and products with wide accumulators: exact integers where the grids allow, float64 elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from lpnum import grid
from lpnum._core import kernels
from lpnum.array import LPArray
from lpnum.formats import FixedFormat

__all__ = ["dot"]


# NumPy's stubs of ufunc.reduce do not accept a tuple of axes with keepdims
_add_reduce: Any = np.add.reduce


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


def dot(a: Any, b: Any) -> Any:
    """Dot product as `numpy.dot`, accumulated wide; a plain array or number.

    Two vectors with one scale and offset each are multiplied and summed as integers, exactly:
    ``a . b = n oa ob + oa sb sum(cb) + ob sa sum(ca) + sa sb sum(ca cb)``. Everything else is computed in float64.

    Examples
    --------
    >>> x = lpnum.full(100_000, 1.0, scale=1.0)
    >>> float(np.dot(x, x))
    100000.0
    """
    exact = (
        isinstance(a, LPArray)
        and isinstance(b, LPArray)
        and isinstance(a.format, FixedFormat)
        and isinstance(b.format, FixedFormat)
        and a.ndim == b.ndim == 1
        and all(m.ndim == 0 for x in (a, b) for m in (x._scale, x._offset))
    )
    if not exact:
        return wide(np.dot, (a, b), None, {})
    if a.shape != b.shape:
        raise ValueError(f"lpnum.dot: shapes {a.shape} and {b.shape} not aligned")
    p, q = np.ascontiguousarray(a.codes), np.ascontiguousarray(b.codes)
    (step_a, step_b), (off_a, off_b) = (
        [float(m) * x.format.unit for x, m in ((a, a._scale), (b, b._scale))],
        (float(a._offset), float(b._offset)),
    )
    value = step_a * step_b * float(kernels.dot_codes(p, q))
    if off_a:
        value += off_a * step_b * float(kernels.sum_codes(q))
    if off_b:
        value += off_b * step_a * float(kernels.sum_codes(p))
    value += off_a * off_b * p.size
    return np.result_type(a.dtype, b.dtype).type(value)


def wide(function: Any, inputs: tuple[Any, ...], out: Any, kwargs: dict[str, Any]) -> Any:
    """A product of any kind on the float64 values, returned in the value dtype."""
    values = [x.dequantize(np.float64) if isinstance(x, LPArray) else x for x in inputs]
    result = function(*values, **kwargs)
    if isinstance(out, LPArray):
        out[...] = result
        return out
    if out is not None:
        np.copyto(out, result, casting="same_kind")
        return out
    if "dtype" in kwargs or getattr(result, "dtype", None) != np.float64:
        return result
    return result.astype(np.result_type(*(x.dtype for x in inputs if hasattr(x, "dtype"))), copy=False)[()]
