"""Products over any axes of two arrays, as products of two matrices: tensordot, inner, einsum, and what they share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lpnum import _products
from lpnum._core import products
from lpnum._out import store
from lpnum.array import LPArray
from lpnum.formats import FixedFormat

SLAB = 1 << 18  # elements decoded at once


# ---- operands ------------------------------------------------------------------------------------------------------


def operand(x: Any) -> Any:
    return x if isinstance(x, LPArray) else np.asarray(x)


def computable(*operands: Any) -> bool:
    """Whether all are arrays of real numbers, and one holds codes."""
    real = all(isinstance(x, LPArray) or x.dtype.kind in "biuf" for x in operands)
    return real and any(isinstance(x, LPArray) for x in operands)


def dtype_of(operands: Any, dtype: Any) -> np.dtype:
    """Dtype of a result: what was asked for, else the values' dtype; at least float32."""
    if dtype is not None:
        return np.dtype(dtype)
    found = np.result_type(*(x.dtype for x in operands))
    return np.dtype(np.float64) if found.itemsize > 4 else np.dtype(np.float32)


def mismatch(name: str, a: Any, b: Any) -> ValueError:
    return ValueError(f"lpnum.{name}: the contracted axes of shapes {a.shape} and {b.shape} differ in length")


def as_matrix(x: Any, free: list[int], contracted: list[int]) -> Any:
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


def product(a: Any, b: Any, wanted: np.dtype, asked: Any) -> np.ndarray:
    return _products.product(a, b, wanted, float64=asked is not None and wanted == np.float64)


def rounded_once(terms: list[tuple[float, float, int]]) -> float:
    """Sum of products of two floats and an integer: exact as a fraction, whose division is rounded once.

    >>> from lpnum._contractions import rounded_once
    >>> rounded_once([(0.1, 0.7, 49)]), 0.1 * 0.7 * 49
    (3.43, 3.4299999999999997)
    """
    total, divisor = 0, 1
    for first, second, count in terms:
        (p, q), (r, s) = first.as_integer_ratio(), second.as_integer_ratio()
        total, divisor = total * (q * s) + p * r * count * divisor, divisor * (q * s)
    try:
        return total / divisor
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def dot_vectors(a: Any, b: Any, wanted: np.dtype) -> Any:
    """``a . b = n oa ob + oa sb sum(cb) + ob sa sum(ca) + sa sb sum(ca cb)``, sums in integers, rounded once.

    Vectors with other than one scale and offset each, and floats, are multiplied in float64.
    """
    lp = [x for x in (a, b) if isinstance(x, LPArray)]
    exact = len(lp) == 2 and all(isinstance(x.format, FixedFormat) and x._scale.ndim == x._offset.ndim == 0 for x in lp)
    if not exact:
        total: Any = 0.0
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, max(a.size, 1), SLAB):
                pieces = (x[start : start + SLAB] for x in (a, b))
                total += np.dot(*(x.dequantize(np.float64) if isinstance(x, LPArray) else x for x in pieces))
            return wanted.type(total)
    p, q = np.ascontiguousarray(a.codes), np.ascontiguousarray(b.codes)
    step_a, step_b = (float(x._scale) * x.format.unit for x in lp)
    off_a, off_b = float(a._offset), float(b._offset)
    terms = [(step_a, step_b, products.dot_codes(p, q))]
    if off_a:
        terms.append((off_a, step_b, products.sum_codes(q)))
    if off_b:
        terms.append((off_b, step_a, products.sum_codes(p)))
    if off_a and off_b:
        terms.append((off_a, off_b, p.size))
    value = rounded_once(terms)
    return wanted.type(value)


def on_values(function: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Evaluated on the float64 values, returned in the value dtype."""
    out = kwargs.get("out")
    options = {k: v for k, v in kwargs.items() if k != "out"}
    values = [x.dequantize(np.float64) if isinstance(x, LPArray) else x for x in inputs]
    result = function(*values, **options)
    if "dtype" not in options and getattr(result, "dtype", None) == np.float64:
        wanted = np.result_type(*(x.dtype for x in inputs if hasattr(x, "dtype")))
        result = result.astype(wanted, copy=False)[()]
    return store(result, out)


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
    a, b = operand(a), operand(b)
    if not computable(a, b):
        return on_values(np.tensordot, (a, b), {"axes": axes})
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
        return on_values(np.tensordot, (a, b), {"axes": 0})
    if not shape:
        return dot_vectors(as_matrix(a, [], left)[0], as_matrix(b, [], right)[0], dtype_of((a, b), None))
    result = product(as_matrix(a, free_a, left), as_matrix(b, free_b, right).T, dtype_of((a, b), None), None)
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
        return on_values(np.einsum, operands, kwargs)
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
        matrix_a = as_matrix(part_a, [rest_a.index(c) for c in left], [rest_a.index(c) for c in summed])
        matrix_b = as_matrix(part_b, [rest_b.index(c) for c in right], [rest_b.index(c) for c in summed])
        result[index] = product(matrix_a, matrix_b.T, dtype, kwargs.get("dtype")).reshape(shape)
    names = batch + left + right
    result = result.transpose([names.index(c) for c in output])
    out = kwargs.get("out")
    return result[()] if out is None else store(result, out)


def _einsum_plan(operands: Any, kwargs: dict[str, Any]) -> Any:
    """Operands with the names of their axes, and the names in groups; None for what is not a product of matrices."""
    if len(operands) != 3 or not isinstance(operands[0], str) or set(kwargs) - {"out", "dtype", "optimize"}:
        return None
    a, b = operand(operands[1]), operand(operands[2])
    text = operands[0].replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != 2 or not all(c.isalpha() for term in (*terms, output) for c in term) or not computable(a, b):
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
    return (list(first), a), (list(second), b), (batch, left, right, summed), list(output), dtype_of((a, b), dtype)


def inner(a: Any, b: Any) -> Any:
    """Product over the last axes of both, as `numpy.inner`; accumulated wide."""
    a, b = operand(a), operand(b)
    if a.ndim == 0 or b.ndim == 0 or not computable(a, b):
        return on_values(np.inner, (a, b), {})
    if a.shape[-1] != b.shape[-1]:
        raise mismatch("inner", a, b)
    return tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))
