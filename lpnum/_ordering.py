"""Order and equality of values on their codes: sorting, sets, searching, extremes.

*Keys* are integers, or where that is not possible the values themselves, whose order and equality are those of the
values. Codes of fixed point on a positive scale are their own keys; floats take a table of ranks of all codes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from lpnum import _tables, grid
from lpnum.array import LPArray
from lpnum.formats import FixedFormat, FloatFormat, Format

# Ranks of 65,536 codes cost more than comparing the values of a small array.
_SMALLEST_FOR_16_BITS = 65_536
# Products of these scales with the values of any format neither overflow nor become subnormal in float64.
_PLAIN_SCALES = 2.0**-400, 2.0**400

nx: Any = np  # NumPy's stubs do not know arrays that override its functions


def _has_nan(fmt: Format) -> bool:
    return isinstance(fmt, FloatFormat) and fmt.nan_code is not None


@lru_cache(maxsize=128)
def _ranks(fmt: Format, scale: float, offset: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tables over the bytes (or words) of codes: ranks of the values, and ranks that tell codes of one value apart.

    And back: the values of the first ranks, ascending with NaN last, and the codes of the second ones (padded).
    """
    with np.errstate(over="ignore", under="ignore"):  # also of codes that do not occur, as decoding does
        values = offset + scale * fmt.code_values
    distinct, ranks = np.unique(values, return_inverse=True)
    order = np.argsort(values, kind="stable")
    codes = fmt.all_codes()
    width = f"u{fmt.storage.itemsize}"
    equal, single = (np.zeros(1 << (8 * fmt.storage.itemsize), width) for _ in range(2))
    equal[codes] = ranks  # a negative code indexes from the end: two's complement
    single[codes[order]] = np.arange(order.size)
    return equal, single, distinct, np.resize(codes[order], equal.size)


def _look_up(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    if codes.itemsize == 1 and codes.flags.c_contiguous:
        out = np.empty(codes.shape, table.dtype)
        _tables.map8(codes.view(np.uint8), table, out)
        return out
    return np.take(table, codes, mode="wrap")


def _plain_order(x: LPArray) -> bool:
    """Whether the order of fixed-point codes is the order of the values, and no two values coincide in float64."""
    if not isinstance(x.format, FixedFormat):
        return False
    if x._scale.ndim == x._offset.ndim == 0 and float(x._offset) == 0:
        return float(x._scale) > 0
    step = x._scale * x.format.unit
    reach = np.abs(x._offset) + np.abs(step) * max(-x.format.code_min, x.format.code_max)
    return bool((step > 2 * np.spacing(reach)).all())


def _grid_along(x: LPArray, axis: int | None) -> tuple[Format, float, float] | None:
    """A scalar grid whose values are ordered like those of every line along `axis` (None: of the array)."""
    if x.itemsize > 1 and x.size < _SMALLEST_FOR_16_BITS:
        return None
    if x._scale.ndim == x._offset.ndim == 0:
        return x.format, float(x._scale), float(x._offset)
    low, high = _PLAIN_SCALES
    positive = bool((x._scale > low).all() and (x._scale < high).all()) and not x._offset.any()
    if axis is None or not positive or grid.varies(x._scale, axis):
        return None
    return x.format, 1.0, 0.0


def _one_grid_along(x: LPArray, axis: int | None) -> bool:
    if axis is None:
        return x._scale.ndim == x._offset.ndim == 0
    return not grid.varies(x._scale, axis) and not grid.varies(x._offset, axis)


def keys(x: Any, axis: int | None = None, *, nan_equal: bool = True) -> np.ndarray:
    """Keys of the elements; with `axis`, elements are compared along that axis only.

    With `nan_equal` all NaN are one value; a format with NaN gives its values otherwise.
    """
    if not isinstance(x, LPArray):
        return np.asarray(x)
    if _one_grid_along(x, axis) and _plain_order(x):
        return x.codes
    chosen = _grid_along(x, axis)
    if chosen is None or (_has_nan(x.format) and not nan_equal):
        return x.dequantize(np.float64)
    return _look_up(_ranks(*chosen)[0], x.codes)


def values(x: Any) -> np.ndarray:
    """float64 values of an LPArray, a plain array as it is."""
    return x.dequantize(np.float64) if isinstance(x, LPArray) else np.asarray(x)


# ---- sorting -------------------------------------------------------------------------------------------------------


def _axis_of(x: LPArray, axis: Any) -> int:
    axis = int(axis)
    if not -x.ndim <= axis < x.ndim:
        raise np.exceptions.AxisError(axis, x.ndim)
    return axis % x.ndim


def _by_radix(found: np.ndarray, options: dict[str, Any]) -> dict[str, Any]:
    """Sorting options: NumPy sorts integers of up to 16 bits by radix, many times faster, if asked for stability."""
    if found.dtype.itemsize <= 2 and options.get("kind") is None and options.get("stable") is None:
        return {**options, "kind": "stable"}
    return options


def _no_fields(order: Any) -> None:
    if order is not None:
        raise ValueError("Cannot specify order when the array has no fields.")


def _arranged(function: Any, x: LPArray, axis: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> LPArray:
    """`np.sort` or `np.partition` of an LPArray."""
    if axis is None:
        x, axis = x.ravel(), 0
    axis = _axis_of(x, axis)
    metas = x._scale.copy(), x._offset.copy()
    if _one_grid_along(x, axis):
        if _plain_order(x):
            fast = _by_radix(x.codes, options)
            return x._like(function(x.codes, *arguments, axis=axis, **fast), *metas)
        stable = options.get("stable") or options.get("kind") in ("stable", "mergesort")
        zeros = isinstance(x.format, FloatFormat) and x.format.has_negative_zero  # equal, and not the same code
        chosen = _grid_along(x, axis)
        if chosen is not None and not (stable and zeros):
            _, single, _, back = _ranks(*chosen)
            ranks = function(_look_up(single, x.codes), *arguments, axis=axis, **_by_radix(single, options))
            return x._like(_look_up(back, ranks), *metas)
    positions = getattr(np, f"arg{function.__name__}")(keys(x, axis), *arguments, axis=axis, **options)
    if _one_grid_along(x, axis):
        return x._like(np.take_along_axis(x.codes, positions, axis), *metas)
    return nx.take_along_axis(x, positions, axis)


def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> LPArray:
    """``np.sort``: the elements with their grids in order, NaN last."""
    _no_fields(order)
    return _arranged(np.sort, a, axis, (), {"kind": kind, "stable": stable})


def partition(a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None) -> LPArray:
    """``np.partition``."""
    _no_fields(order)
    return _arranged(np.partition, a, axis, (kth,), {"kind": kind})


def argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> np.ndarray:
    """``np.argsort``."""
    _no_fields(order)
    along = None if axis is None or a.ndim == 0 else _axis_of(a, axis)
    found = keys(a, along)
    return np.argsort(found, axis=axis, **_by_radix(found, {"kind": kind, "stable": stable}))


def argpartition(a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None) -> np.ndarray:
    """``np.argpartition``."""
    _no_fields(order)
    along = None if axis is None or a.ndim == 0 else _axis_of(a, axis)
    return np.argpartition(keys(a, along), kth, axis=axis, kind=kind)


def lexsort(keys_: Any, axis: int = -1) -> np.ndarray:
    """``np.lexsort``: the last key is the first to decide."""
    return np.lexsort(tuple(keys(k) for k in keys_), axis=axis)


def in_place(x: LPArray, axis: Any, result: LPArray) -> None:
    """``x.sort()``, ``x.partition()``: positions keep their grids, to which values are rounded where grids differ."""
    if _one_grid_along(x, _axis_of(x, axis)):
        np.copyto(x.codes, result.codes)
    else:
        x._write(result, "LPArray.sort")


# ---- extremes ------------------------------------------------------------------------------------------------------


def argextreme(func: Any, a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = np._NoValue) -> Any:
    """``np.argmax`` and ``np.argmin``: NaN counts as the extreme, as in NumPy."""
    options = {} if keepdims is np._NoValue else {"keepdims": keepdims}
    if not isinstance(a, LPArray):
        raise TypeError(f"np.{func.__name__}: out= must be a plain array of integers, positions are no values")
    along = None if axis is None or a.ndim == 0 else _axis_of(a, axis)
    found = keys(a, along)
    if func is np.argmin and found.dtype.kind != "f" and _has_nan(a.format):
        found = a.dequantize(np.float64)
    return func(found, axis=axis, out=out, **options)


def extreme(ufunc: np.ufunc, x: LPArray, axis: Any, keepdims: bool) -> np.ndarray | None:
    """``maximum.reduce`` and its siblings in float64, on the codes; None where the values have to decide."""
    if x._scale.ndim or x._offset.ndim or not x.size:
        return None
    step, offset = float(x._scale) * x.format.unit, float(x._offset)
    if isinstance(x.format, FixedFormat):
        if ufunc in (np.fmax, np.fmin):
            ufunc = np.maximum if ufunc is np.fmax else np.minimum
        if step < 0:
            ufunc = np.minimum if ufunc is np.maximum else np.maximum
        reduce: Any = ufunc.reduce
        found = np.asarray(reduce(x.codes, axis=axis, keepdims=keepdims), np.float64)
        return step * found if offset == 0 else offset + step * found
    if x.itemsize > 1 or ufunc is np.fmax:  # NaN has the highest rank
        return None
    equal, _, values, _ = _ranks(x.format, float(x._scale), offset)
    ranks = _look_up(equal, x.codes)
    if ufunc is np.minimum and np.isnan(values[-1]) and bool((ranks == values.size - 1).any()):
        return None
    of_ranks: Any = np.maximum if ufunc is np.maximum else np.minimum
    return np.take(values, of_ranks.reduce(ranks, axis=axis, keepdims=keepdims))


# ---- sets ----------------------------------------------------------------------------------------------------------


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """``np.unique``: the first of equal elements stands for all of them; always sorted."""
    more = return_index or return_inverse or return_counts
    if axis is None and not more and isinstance(ar, LPArray) and (equal_nan or not _has_nan(ar.format)):
        chosen = _grid_along(ar, None)
        if chosen is not None:
            return ar._like(_codes_present(ar.codes, *_ranks(*chosen)), ar._scale.copy(), ar._offset.copy())
    found = nx.unique(keys(ar, nan_equal=equal_nan), True, return_inverse, return_counts, axis, equal_nan=equal_nan)
    chosen = ar.ravel()[found[1]] if axis is None else np.take(ar, found[1], axis=axis)
    if not more:
        return chosen
    return (chosen, *found[1 if return_index else 2 :])


def _codes_present(codes: np.ndarray, equal: np.ndarray, *tables: np.ndarray) -> np.ndarray:
    """One code for each value that occurs, in the order of the values."""
    single, _, back = tables
    ranks = np.sort(_look_up(single, codes), axis=None, kind="stable")
    ordered = back[ranks[np.r_[True, ranks[1:] != ranks[:-1]]]] if ranks.size else back[:0]
    values = equal[ordered]
    return ordered[np.r_[True, values[1:] != values[:-1]]] if values.size > 1 else ordered


def unique_parts(func: Any, x: Any) -> Any:
    """``np.unique_all`` and its siblings, which keep every NaN."""
    chosen, index, inverse, counts = unique(x, True, True, True, equal_nan=False)
    known = {"indices": index, "inverse_indices": inverse, "counts": counts}
    plain = func(np.zeros(0))
    fields = getattr(plain, "_fields", None)
    return chosen if fields is None else type(plain)(chosen, *(known[name] for name in fields[1:]))


def isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: Any = None
) -> np.ndarray:
    """``np.isin``."""
    return np.isin(values(element), values(test_elements), assume_unique=assume_unique, invert=invert, kind=kind)


def intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
    """``np.intersect1d``: elements of the first LPArray."""
    _, first, second = np.intersect1d(values(ar1), values(ar2), assume_unique, return_indices=True)
    chosen = np.ravel(ar1)[first] if isinstance(ar1, LPArray) else np.ravel(ar2)[second]
    return (chosen, first, second) if return_indices else chosen


def union1d(ar1: Any, ar2: Any) -> LPArray:
    """``np.union1d``."""
    return nx.unique(np.concatenate([np.ravel(ar1), np.ravel(ar2)]))


def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """``np.setdiff1d``: elements of the first array; plain if that is plain."""
    first = np.ravel(ar1) if assume_unique else np.unique(ar1)
    return first[isin(first, ar2, assume_unique=True, invert=True)]


def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> LPArray:
    """``np.setxor1d``."""
    first, second = (np.ravel(a) if assume_unique else np.unique(a) for a in (ar1, ar2))
    parts = [first[isin(first, second, invert=True)], second[isin(second, first, invert=True)]]
    return nx.sort(np.concatenate(parts))
