"""Further functions with NumPy's names on LPArrays: shapes and types, creation, differences, functions of elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lpnum import _result_grid, _ufunc_call, creation, formats
from lpnum._out import store
from lpnum._wide import on_values
from lpnum.array import LPArray

nx: Any = np  # NumPy's stubs do not know arrays that override its functions

# ---- creation ------------------------------------------------------------------------------------------------------


def created(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], like: LPArray | None) -> Any:
    """Creation functions with ``like=x``: the values NumPy makes, in the format of `x`.

    On the grid of `x` where that is one and holds the values, else calibrated. With a dtype that is not float32 or
    float64 the result is plain.
    """
    if like is None or any(isinstance(v, LPArray) for v in kwargs.values()):
        raise TypeError(f"np.{func.__name__}: an LPArray can only be an argument as like= or as the array itself")
    if args and isinstance(args[0], LPArray):  # np.asarray(x, like=y)
        return args[0].copy() if func is np.array else args[0]
    made = np.asarray(func(*args, **kwargs))
    dtype = kwargs.get("dtype", args[1] if len(args) > 1 and isinstance(args[1], type | np.dtype) else None)
    if dtype is not None and np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        return made
    return _result_grid.place(made, like, f"np.{func.__name__}")


def copy(a: LPArray, order: Any = "K", subok: bool = False) -> LPArray:
    """``np.copy``."""
    return a.copy(order)


def astype(x: LPArray, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """``np.astype``."""
    if not isinstance(x, LPArray | np.ndarray):
        raise TypeError(f"np.astype: expected an array, not {type(x).__name__}")
    return x.astype(dtype, copy=copy)


def _like(function: Callable[..., Any], x: LPArray, dtype: Any, shape: Any, *fill: Any) -> Any:
    """An array like `x`; with a NumPy dtype a plain one, even with ``dtype=x.dtype``.

    Who names a dtype wants room for sums: Dask's cumsum makes its accumulator so, and one on the grid of `x` clamps.
    """
    if dtype is not None and not formats.is_format(dtype):
        dtype = np.dtype(dtype)
    return function(x, *fill, dtype, shape=shape)


def empty_like(
    prototype: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, **_: Any
) -> Any:
    """``np.empty_like``."""
    return _like(creation.empty_like, prototype, dtype, shape)


def zeros_like(a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, **_: Any) -> Any:
    """``np.zeros_like``."""
    return _like(creation.zeros_like, a, dtype, shape)


def ones_like(a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, **_: Any) -> Any:
    """``np.ones_like``."""
    return _like(creation.ones_like, a, dtype, shape)


def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, **_: Any
) -> Any:
    """``np.full_like``."""
    if not isinstance(a, LPArray):
        return np.full_like(a, np.asarray(fill_value), dtype, order, subok, shape)
    return _like(creation.full_like, a, dtype, shape, fill_value)


# ---- shapes and types ----------------------------------------------------------------------------------------------


def shape(a: LPArray) -> tuple[int, ...]:
    """``np.shape``."""
    return a.shape


def ndim(a: LPArray) -> int:
    """``np.ndim``."""
    return a.ndim


def size(a: LPArray, axis: Any = None) -> int:
    """``np.size``."""
    return np.size(a.codes, axis)


def on_codes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Functions that look at shape and memory only."""
    args = tuple(a.codes if isinstance(a, LPArray) else a for a in args)
    return func(*args, **{k: v.codes if isinstance(v, LPArray) else v for k, v in kwargs.items()})


def on_dtypes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Functions that look at the dtype only: that of the values."""
    wanted = (lambda x: x.dtype) if func in (np.can_cast, np.result_type) else lambda x: np.empty(1, x.dtype)
    args = tuple(wanted(a) if isinstance(a, LPArray) else a for a in args)
    return func(*args, **{k: wanted(v) if isinstance(v, LPArray) else v for k, v in kwargs.items()})


def array_repr(arr: LPArray, *_: Any, **__: Any) -> str:
    """``np.array_repr``."""
    return repr(arr)


def array_str(a: LPArray, *_: Any, **__: Any) -> str:
    """``np.array_str``."""
    return str(a)


def real(val: LPArray) -> LPArray:
    """``np.real``: the array itself."""
    return val


def imag(val: LPArray) -> LPArray:
    """``np.imag``: zeros on the grid."""
    return nx.zeros_like(val)


def real_if_close(a: LPArray, tol: float = 100) -> LPArray:
    """``np.real_if_close``: the array itself."""
    return a


def iscomplexobj(x: Any) -> bool:
    """``np.iscomplexobj``."""
    return False


def isrealobj(x: Any) -> bool:
    """``np.isrealobj``."""
    return True


# ---- functions of elements -----------------------------------------------------------------------------------------


def _elementwise(func: Any, x: Any, out: Any = None, **arguments: Any) -> Any:
    if not isinstance(x, LPArray):
        raise TypeError(f"np.{func.__name__}: only the array itself can be an LPArray")
    return store(_ufunc_call.call(_ufunc_call.Elementwise(func, 0, tuple(arguments.items())), (x,)), out)


def round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    """``np.round``."""
    return _elementwise(np.round, a, out, decimals=int(decimals))


around = round


def fix(x: Any, out: Any = None) -> Any:
    """``np.fix``."""
    return _elementwise(np.trunc, x, out)


def i0(x: Any) -> Any:
    """``np.i0``."""
    return _elementwise(np.i0, x)


def sinc(x: Any) -> Any:
    """``np.sinc``."""
    return _elementwise(np.sinc, x)


def angle(z: Any, deg: bool = False) -> Any:
    """``np.angle``: 0 or pi."""
    return _elementwise(np.angle, z, deg=bool(deg))


# ---- differences ---------------------------------------------------------------------------------------------------


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue) -> Any:
    """``np.diff`` on the grid of repeated subtraction, rounded once."""
    ends = [None if e is np._NoValue else e for e in (prepend, append)]
    if any(e is not None for e in ends):
        near = a if isinstance(a, LPArray) else np.asarray(a)
        along = list(near.shape)
        along[axis] = 1
        parts = [np.broadcast_to(e, along) if e is not None and np.ndim(e) == 0 else e for e in ends]
        a = np.concatenate([p for p in (parts[0], near, parts[1]) if p is not None], axis=axis)
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n!r}")
    if n == 0:
        return a
    if not -a.ndim <= axis < a.ndim:
        raise np.exceptions.AxisError(axis, a.ndim)
    before: tuple[Any, ...] = (slice(None),) * (axis % a.ndim)
    first, last = (*before, slice(1, None)), (*before, slice(None, -1))
    if n == 1:
        return nx.subtract(a[first], a[last])
    exact = np.diff(a.dequantize(np.float64), n, axis)
    for _ in range(n):
        a = nx.subtract(a[first], a[last])
    a._write(exact, "np.diff")
    return a


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """``np.ediff1d``; `to_begin` and `to_end` are rounded to the grid of the differences, or get one of their own."""
    if not isinstance(ary, LPArray):
        return on_values(np.ediff1d, (ary,), {"to_end": to_end, "to_begin": to_begin})
    flat = ary.ravel()
    middle = np.subtract(flat[1:], flat[:-1])
    parts = [np.ravel(p) for p in (to_begin, middle, to_end) if p is not None]
    return np.concatenate(parts) if len(parts) > 1 else middle


# ---- functions of functions ----------------------------------------------------------------------------------------


def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """``np.apply_along_axis``: the function gets LPArrays; what it returns as LPArray is joined."""
    if not isinstance(arr, LPArray):
        raise TypeError("np.apply_along_axis: the array itself must be the LPArray")
    lines = nx.moveaxis(arr, axis, -1)
    outer = lines.shape[:-1]
    if 0 in outer:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    results = [func1d(lines[i], *args, **kwargs) for i in np.ndindex(outer)]
    if isinstance(results[0], LPArray):
        joined = nx.stack(results) if outer else results[0]
    else:
        joined = np.array(results) if outer else np.asarray(results[0])
    inner = joined.shape[1:] if outer else joined.shape
    joined = joined.reshape(outer + inner)
    axis %= arr.ndim
    return nx.moveaxis(joined, list(range(len(outer), joined.ndim)), list(range(axis, axis + len(inner))))


def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    """``np.apply_over_axes``."""
    result = a
    for axis in np.ravel(axes).tolist():
        axis = axis + a.ndim if axis < 0 else axis
        applied = func(result, axis)
        if np.ndim(applied) != result.ndim:
            applied = np.expand_dims(applied, axis)
            if np.ndim(applied) != result.ndim:
                raise ValueError("function is not returning an array of the correct shape")
        result = applied
    return result
