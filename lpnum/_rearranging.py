"""NumPy's functions that only move elements: they act on codes and on metadata alike, and keep every grid.

A metadata array is a stride-0 view of the array's shape (`lpnum.grid.full`), so the function itself moves it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, reduce
from typing import Any

import numpy as np

from lpnum import codec, grid
from lpnum._out import store
from lpnum._result_grid import place
from lpnum.array import LPArray
from lpnum.formats import FloatFormat, Format, promote


def name_of(func: Any) -> str:
    """``np.linalg.norm``: a function as users call it."""
    return f"{func.__module__}.{func.__name__}".replace("numpy", "np", 1)


def is_given(value: Any) -> bool:
    """Whether an argument was given: neither None nor NumPy's own mark."""
    return value is not None and value is not np._NoValue


@cache
def _parameters(func: Any) -> tuple[tuple[str, ...], int]:
    """Names of the positional parameters, and how many of them can be given by position only."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except ValueError:  # functions written in C say nothing before NumPy 2.4
        return {np.concatenate: (("arrays", "axis", "out"), 1)}.get(func, ((), 0))
    only = sum(p.kind == p.POSITIONAL_ONLY for p in parameters)
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)), only


def by_name(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], first: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call with positional arguments from number `first` on as keywords, so that `out` is found by its name."""
    if len(args) <= first:
        return args, kwargs
    names, only = _parameters(func)
    first = max(first, only)
    if len(args) > len(names):  # any number of operands, or an error that NumPy will name
        return args, kwargs
    return args[:first], kwargs | dict(zip(names[first:], args[first:], strict=False))


def substitution(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], position: int
) -> tuple[LPArray, Callable[[Any], Any]]:
    """The LPArray at one position of a call, and the call as a function of what stands there."""
    keyword = _parameters(func)[0][position]
    before, kwargs = args[:position], dict(kwargs)
    x = args[position] if len(args) > position else kwargs.pop(keyword, None)
    if any(isinstance(v, LPArray) for v in (*before, *kwargs.values())):
        raise TypeError(f"{name_of(func)}: positions, shapes and conditions must be plain integers or booleans")
    if not isinstance(x, LPArray):
        raise TypeError(f"{name_of(func)}: an LPArray can only be the array that is rearranged")
    if len(before) < position:  # the condition before the array came by name
        return x, lambda array: func(**{keyword: array}, **kwargs)
    return x, lambda array: func(*before, array, **kwargs)


def rearranged(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], position: int = 0) -> Any:
    """Apply to codes and metadata; the result is an LPArray, or a list or tuple of them."""
    args, kwargs = by_name(func, args, kwargs, position + 1)
    out = kwargs.get("out")
    x, apply = substitution(func, args, {k: v for k, v in kwargs.items() if k != "out"}, position)
    return store(_moved(x, apply), out)


def second(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`rearranged` for functions whose array is the second argument, after a condition."""
    return rearranged(func, args, kwargs, 1)


def _moved(x: LPArray, apply: Callable[[Any], Any]) -> Any:
    """`apply` on codes and on metadata of which elements have their own."""
    metas = [None if m.ndim == 0 else apply(grid.full(m, x.shape)) for m in (x._scale, x._offset)]
    return _assembled(x, apply(x.codes), metas)


def _assembled(x: LPArray, codes: Any, metas: list[Any]) -> Any:
    if isinstance(codes, np.ndarray | np.generic):
        codes = np.asarray(codes)
        scale, offset = (
            own if m is None else grid.moved(own, m) for own, m in zip((x._scale, x._offset), metas, strict=True)
        )
        return x._like(codes, scale, offset, view=np.may_share_memory(codes, x.codes))
    return type(codes)(_assembled(x, c, [m if m is None else m[k] for m in metas]) for k, c in enumerate(codes))


def each(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Functions of any number of arrays with a result for each: ``atleast_1d``, ``meshgrid``, ``broadcast_arrays``."""
    plain = [a.codes if isinstance(a, LPArray) else a for a in args]

    def one(k: int) -> Any:
        def apply(array: Any) -> Any:
            results = func(*plain[:k], array, *plain[k + 1 :], **kwargs)
            return results[k] if isinstance(results, list | tuple) else results

        return _moved(args[k], apply) if isinstance(args[k], LPArray) else apply(args[k])

    results = func(*plain, **kwargs)
    if not isinstance(results, list | tuple):
        return one(0)
    return type(results)(one(k) for k in range(len(args)))


def filled(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Functions that move elements and put 0 in between: ``diag``, ``tril``. 0 is rounded to the grid."""
    x, apply = substitution(func, *by_name(func, args, kwargs, 1), 0)
    exact = x.format.value(0) == 0 and not x._offset.any()
    if exact and x._scale.ndim == 0:
        return _moved(x, apply)
    codes, came = np.asarray(apply(x.codes)), np.asarray(apply(np.ones(x.shape, bool)))
    if came.all():
        return _moved(x, apply)
    if codes.shape == x.shape:
        scale, offset = x._scale.copy(), x._offset.copy()
    else:  # what is filled in has no grid of its own: it takes the scale of the first element, around 0
        scale, offset = (
            m
            if m.ndim == 0
            else grid.smallest(np.where(came, apply(grid.full(m, x.shape)), m.flat[0] if m is x._scale else 0.0))
            for m in (x._scale, x._offset)
        )
    result = x._like(codes, scale, offset)
    result[~came] = 0.0
    return result


_COPYING_PADS = ("edge", "symmetric", "wrap")


def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> LPArray:
    """``np.pad``: the frame has the grid of the nearest element; values that are no elements are rounded to it."""
    if not isinstance(array, LPArray) or callable(mode):
        raise TypeError("np.pad: for LPArray the array is one, and mode= a string; use x.dequantize() for others")
    if mode in _COPYING_PADS or (mode == "reflect" and kwargs.get("reflect_type", "even") == "even"):
        return _moved(array, lambda a: np.pad(a, pad_width, mode, **kwargs))
    if array.size:
        result = _moved(array, lambda a: np.pad(a, pad_width, "edge")).copy()
    else:
        metas = (m if m.ndim == 0 else np.array(v) for m, v in ((array._scale, 1.0), (array._offset, 0.0)))
        result = array._like(np.pad(array.codes, pad_width), *metas)
    if mode != "empty":
        frame = np.pad(np.zeros(array.shape, bool), pad_width, constant_values=True)
        result[frame] = np.pad(array.dequantize(np.float64), pad_width, mode, **kwargs)[frame]
    return result


# ---- joining -------------------------------------------------------------------------------------------------------


def _nested(function: Callable[[Any], Any], arrays: Any) -> Any:
    """The function on every array of a nested list (as `numpy.block` takes them) or sequence."""
    if isinstance(arrays, list | tuple):
        return [_nested(function, a) for a in arrays]
    return function(arrays)


def _leaves(arrays: Any) -> list[Any]:
    if isinstance(arrays, list | tuple):
        return [leaf for a in arrays for leaf in _leaves(a)]
    return [arrays]


def joined(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Concatenation: codes are joined, and metadata where it differs, so that every part keeps its grid.

    Parts of several formats come to the promoted one, which holds their values.
    A plain part takes the grid of the first LPArray if that is one grid that holds its values, else one of its own.
    """
    args, kwargs = by_name(func, args, dict(kwargs), 1)
    arrays = args[0] if args else kwargs.pop(_parameters(func)[0][0])
    out, dtype, _ = (kwargs.pop(name, None) for name in ("out", "dtype", "casting"))
    if isinstance(arrays, LPArray):  # the parts along the first axis
        arrays = list(arrays) if arrays.ndim > 1 else [x.reshape(()) for x in np.split(arrays, len(arrays))]
    arrays = arrays if isinstance(arrays, list | tuple) else list(arrays)
    found = [a for a in _leaves(arrays) if isinstance(a, LPArray)]
    if not found:  # only out= is an LPArray
        return store(func(arrays, **kwargs), out)
    first = _widened(found[0], _promoted(func, found))

    def part(a: Any) -> LPArray:
        return _widened(a, first.format) if isinstance(a, LPArray) else place(a, first, name_of(func))

    arrays = _nested(part, arrays)
    codes = func(_nested(lambda a: a.codes, arrays), **kwargs)
    parts = _leaves(arrays)

    def meta(name: str) -> np.ndarray:
        values = [getattr(a, name) for a in parts]
        if values[0].ndim == 0 and all(grid.same(values[0], v) for v in values):
            return values[0].copy()
        full = _nested(lambda a: grid.full(getattr(a, name), a.shape), arrays)
        return grid.smallest(func(full, **kwargs))

    result = first._like(codes, meta("_scale"), meta("_offset"), dtype=np.result_type(*(a.dtype for a in parts)))
    return store(result if dtype is None else result.dequantize(np.float64).astype(dtype), out)


def _promoted(func: Any, arrays: list[LPArray]) -> Format:
    """The format that holds the codes of all arrays."""
    try:
        return reduce(promote, (a.format for a in arrays))
    except TypeError as error:
        raise TypeError(f"{name_of(func)}: {error}") from None


def _widened(x: LPArray, fmt: Format) -> LPArray:
    """The same values in the promoted format: the same codes or the same floats, with scale and offset as they are."""
    own = x.format
    if own == fmt:
        return x
    if isinstance(fmt, FloatFormat):
        codes, scale = codec.encode(codec.decode(x.codes, own, np.float64), fmt, overflow="ieee"), x._scale
    elif fmt.code_min <= own.code_min and own.code_max <= fmt.code_max:
        codes, scale = x.codes.astype(fmt.storage), x._scale * (own.unit / fmt.unit)
    else:  # unsigned and signed of the same width: one bit less
        return x.astype(fmt)
    new = x._like(codes, scale, x._offset)
    new.format = fmt
    return new


def append(arr: Any, values: Any, axis: Any = None) -> Any:
    """``np.append``."""
    if axis is None:
        arr, values, axis = np.ravel(arr), np.ravel(values), 0
    return np.concatenate((arr, values), axis=axis)


def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    """``np.insert``: elements of both arrays are numbered, the numbers inserted, and gathered."""
    if isinstance(obj, LPArray):
        raise TypeError("np.insert: positions must be integers, not an LPArray")
    if not isinstance(arr, LPArray):
        return np.insert(arr, obj, np.asarray(values), axis)
    new = values if isinstance(values, LPArray) else place(values, arr, "np.insert")
    numbers = np.arange(arr.size + new.size)
    positions = np.insert(numbers[: arr.size].reshape(arr.shape), obj, numbers[arr.size :].reshape(new.shape), axis)
    return np.concatenate([arr.ravel(), new.ravel()])[positions]
