"""Functions that choose between arrays, limit, or write into an array: NumPy's, by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lpnum import _result_grid, rounding
from lpnum._ordering import values
from lpnum._out import store
from lpnum._rearranging import is_given, name_of
from lpnum.array import LPArray
from lpnum.formats import FloatFormat

nx: Any = np  # NumPy's stubs do not know arrays that override its functions

# ---- one of several ------------------------------------------------------------------------------------------------


def _plain_condition(condition: Any, where: str) -> Any:
    if isinstance(condition, LPArray):
        raise TypeError(f"{where}: expected plain booleans or integers, not an LPArray; compare it first: x != 0")
    return condition


def _codes_on(target: LPArray, option: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Codes of an option on the grid of `target`; rounded once, and not at all where the grid is the same."""
    if isinstance(option, LPArray) and option.same_grid(target):
        return option.codes
    if target._scale.ndim == target._offset.ndim == 0:
        shape = np.shape(option)
    new = target._like(np.empty(shape, target.codes.dtype), target._scale, target._offset)
    new._write(np.broadcast_to(option, shape), where)
    return new.codes


def _chosen(name: str, options: list[Any], pick: Callable[[list[np.ndarray]], Any], *conditions: Any) -> LPArray:
    """Elements of the options where `pick` takes them, on a grid that holds all options."""
    options = [x if isinstance(x, LPArray) else np.asarray(x) for x in options]
    for x in options:
        if not isinstance(x, LPArray) and x.dtype.kind not in "biuf":
            raise TypeError(f"{name}: an LPArray combines with real numbers, not with dtype {x.dtype}")
    shape = np.broadcast_shapes(*(np.shape(x) for x in (*options, *conditions)))
    target = _result_grid.union(options, shape)
    # plain arrays are looked at only where they are chosen: a NaN elsewhere is no error
    plain = {k: x for k, x in enumerate(options) if not isinstance(x, LPArray)}
    late = {k: x for k, x in plain.items() if x.size != 1 or not np.isfinite(x).all()}
    nothing = np.zeros((), target.codes.dtype)
    codes = pick([nothing if k in late else _codes_on(target, x, shape, name) for k, x in enumerate(options)])
    result = target._like(np.asarray(codes, target.codes.dtype), target._scale, target._offset)
    if late:
        chosen = pick([np.array(k) for k in range(len(options))])
        for k, x in late.items():
            mask = np.broadcast_to(chosen == k, shape)
            there = target._like(np.empty(shape, target.codes.dtype), target._scale, target._offset)
            there._write(np.where(mask, x, target._offset), name)
            np.copyto(result.codes, there.codes, where=mask)
    return result


def where(condition: Any, x: Any = np._NoValue, y: Any = np._NoValue) -> Any:
    """``np.where``; with one argument the positions of what is not 0."""
    if x is np._NoValue:
        return np.nonzero(condition)
    condition = _plain_condition(condition, "np.where")
    return _chosen("np.where", [x, y], lambda codes: np.where(condition, *codes), condition)


def select(condlist: Any, choicelist: Any, default: Any = 0) -> LPArray:
    """``np.select``."""
    for condition in condlist:
        _plain_condition(condition, "np.select")
    options = [*choicelist, default]
    return _chosen("np.select", options, lambda codes: np.select(condlist, codes[:-1], codes[-1]), *condlist)


def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    """``np.choose``: `a` says from which choice."""
    a = _plain_condition(a, "np.choose")
    return store(_chosen("np.choose", list(choices), lambda codes: nx.choose(a, codes, mode=mode), a), out)


def piecewise(x: LPArray, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> LPArray:
    """``np.piecewise``; as in NumPy the result has the type of `x`, here its grid."""
    if (
        not isinstance(condlist, list | tuple | np.ndarray)
        or not np.shape(condlist)
        or not hasattr(funclist, "__len__")
    ):
        raise TypeError("np.piecewise: a list of conditions and a list of functions or numbers are expected")
    single = len(condlist) > 0 and not isinstance(condlist[0], list | np.ndarray) and x.ndim != 0
    conditions = np.asarray([condlist] if single else condlist, dtype=bool)
    if len(conditions) == len(funclist) - 1:
        conditions = np.concatenate([conditions, ~conditions.any(axis=0, keepdims=True)])
    if len(conditions) != len(funclist):
        raise ValueError(f"with {len(conditions)} condition(s), {len(conditions)} or one more functions are expected")
    result = nx.zeros_like(x)
    for condition, function in zip(conditions, funclist, strict=True):
        if condition.any():
            result[condition] = function(x[condition], *args, **kw) if callable(function) else function
    return result


# ---- limits --------------------------------------------------------------------------------------------------------


def clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """``np.clip``: values limited to [a_min, a_max] on the array's own grid; the bounds are rounded inwards."""
    low = a_min if is_given(a_min) else min if is_given(min) else None
    high = a_max if is_given(a_max) else max if is_given(max) else None
    if not isinstance(a, LPArray):
        if isinstance(low, LPArray) or isinstance(high, LPArray):
            raise TypeError("np.clip: an LPArray can only be the array that is clipped; use x.dequantize() for bounds")
        return store(np.clip(a, low, high), out)
    shape = np.broadcast_shapes(a.shape, *(np.shape(b) for b in (low, high) if b is not None))
    a = a if shape == a.shape else np.broadcast_to(a, shape)
    low, high = (None if b is None else values(b) for b in (low, high))
    return store((_clip_floats if isinstance(a.format, FloatFormat) else _clip_fixed)(a, low, high), out)


def _clip_fixed(x: LPArray, low: Any, high: Any) -> LPArray:
    step = x._scale * x.format.unit
    low, high = (None if b is None else (b - x._offset) / step for b in (low, high))
    if (step < 0).any():
        if (step > 0).any():
            raise TypeError("np.clip: scales of both signs; use x.dequantize()")
        low, high = high, low
    bounds = [
        None if b is None else np.clip(rounded(b), x.format.code_min, x.format.code_max).astype(x.codes.dtype)
        for b, rounded in ((low, np.ceil), (high, np.floor))
    ]
    codes = np.clip(x.codes, *bounds) if any(b is not None for b in bounds) else x.codes.copy()
    return x._like(np.asarray(codes), x._scale.copy(), x._offset.copy())


def _clip_floats(x: LPArray, low: Any, high: Any) -> LPArray:
    """The same for floats, whose codes are not in the order of the values."""
    clipped = x.dequantize(np.float64)
    result = x.copy()
    for bound, inwards, chosen in ((low, "towards-positive", np.maximum), (high, "towards-negative", np.minimum)):
        if bound is not None:
            limit = x._like(np.empty(x.shape, x.codes.dtype), x._scale, x._offset)
            with rounding.context(rounding=inwards):
                limit[...] = np.broadcast_to(bound, x.shape)
            clipped = chosen(clipped, limit.dequantize(np.float64))
    changed = clipped != x.dequantize(np.float64)
    if changed.any():
        result[changed] = clipped[changed]
    return result


def nan_to_num(x: LPArray, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> LPArray:
    """``np.nan_to_num`` on the array's own grid; infinities become its largest finite values."""
    result = x.copy() if copy else x
    if isinstance(x.format, FloatFormat):
        found = x.dequantize(np.float64)
        ends = x._offset + x._scale * x.format.min, x._offset + x._scale * x.format.max
        largest, smallest = np.maximum(*ends), np.minimum(*ends)
        for mask, value in (
            (np.isnan(found), nan),
            (np.isposinf(found), largest if posinf is None else posinf),
            (np.isneginf(found), smallest if neginf is None else neginf),
        ):
            if mask.any():
                result[mask] = np.broadcast_to(value, x.shape)[mask]
    return result


# ---- writing into an array, on its own grid ------------------------------------------------------------------------


def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    """``np.copyto``; what `where` leaves out is not looked at."""
    where = _plain_condition(where, "np.copyto")
    if not isinstance(dst, LPArray):
        np.copyto(dst, values(src), casting=casting, where=where)
    elif where is True:
        dst[...] = src
    else:
        mask = np.broadcast_to(where, dst.shape)
        source = src if isinstance(src, LPArray) else np.asarray(src)
        dst[mask] = np.broadcast_to(source, dst.shape)[mask]


def repeated(source: Any, positions: np.ndarray) -> Any:
    """Elements of a flat source at positions, taken cyclically."""
    source = np.ravel(source)
    if source.size == 0 and positions.size:
        raise ValueError("cannot take values from an empty array")
    return source[positions % max(source.size, 1)]


def putmask(a: Any, mask: Any, values: Any) -> None:
    """``np.putmask``: ``a.flat[n] = values.flat[n % values.size]`` where the mask is set."""
    if not isinstance(a, LPArray | np.ndarray):
        raise TypeError(f"np.putmask: expected an array to write to, not {type(a).__name__}")
    mask = np.broadcast_to(np.asarray(_plain_condition(mask, "np.putmask"), bool), a.shape)
    if isinstance(a, LPArray):
        a[mask] = repeated(values, np.flatnonzero(mask))
    else:
        np.putmask(a, mask, np.asarray(values))


def place(arr: Any, mask: Any, vals: Any) -> None:
    """``np.place``: the first values go to the set elements of the mask."""
    if isinstance(arr, LPArray):
        mask = np.reshape(np.asarray(_plain_condition(mask, "np.place"), bool), arr.shape)
        arr[mask] = repeated(vals, np.arange(np.count_nonzero(mask)))
    else:
        np.place(arr, _plain_condition(mask, "np.place"), np.asarray(vals))


def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """``np.put``: ``a.flat[ind] = v``."""
    ind = np.ravel(_plain_condition(ind, "np.put"))
    if not isinstance(a, LPArray):
        nx.put(a, ind, np.asarray(v), mode)
        return
    if mode == "wrap":
        ind = ind % max(a.size, 1)
    elif mode == "clip":
        ind = np.clip(ind, 0, a.size - 1)
    elif mode != "raise":
        raise ValueError(f"clipmode must be one of 'clip', 'raise', or 'wrap' (got {mode!r})")
    elif ind.size and not (-a.size <= ind.min() and ind.max() < a.size):
        raise IndexError(f"np.put: index out of bounds for an array of {a.size} elements")
    if ind.size:
        a[np.unravel_index(ind % a.size, a.shape)] = repeated(v, np.arange(ind.size))


def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> None:
    """``np.put_along_axis``."""
    _plain_condition(indices, "np.put_along_axis")
    _written(np.put_along_axis, arr, (indices,), values, (axis,))


def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """``np.fill_diagonal``."""
    _written(np.fill_diagonal, a, (), val, (wrap,))


def _written(func: Any, target: Any, before: tuple[Any, ...], source: Any, after: tuple[Any, ...]) -> None:
    """A function that writes values at places: into the codes, or where grids differ only there."""
    if not isinstance(target, LPArray):
        func(target, *before, values(source), *after)
    elif target._scale.ndim == target._offset.ndim == 0:
        func(target.codes, *before, _codes_on(target, source, np.shape(source), name_of(func)), *after)
    else:
        new, there = target.dequantize(np.float64), np.zeros(target.shape, bool)
        func(new, *before, values(source), *after)
        func(there, *before, True, *after)
        target[there] = new[there]
