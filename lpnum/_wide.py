"""Functions that return plain results: reductions, statistics, linear algebra, evaluated on the float64 values."""

from __future__ import annotations

from typing import Any

import numpy as np

from lpnum import linalg
from lpnum._out import store
from lpnum._rearranging import by_name, is_given
from lpnum.array import LPArray


def values_of(argument: Any) -> Any:
    """An argument with every LPArray in it, also in lists, replaced by its values."""
    if isinstance(argument, LPArray):
        return argument.dequantize(np.float64)
    if isinstance(argument, list | tuple) and any(isinstance(a, LPArray | list | tuple) for a in argument):
        return type(argument)([values_of(a) for a in argument])
    return argument


def _value_dtypes(argument: Any) -> list[np.dtype]:
    if isinstance(argument, LPArray):
        return [argument.dtype]
    if isinstance(argument, list | tuple):
        return [d for a in argument for d in _value_dtypes(a)]
    return []


def _narrowed(result: Any) -> Any:
    """float64 and complex128 results of arrays of float32 values, in single precision."""
    if isinstance(result, np.ndarray | np.generic):
        single = {"d": np.float32, "D": np.complex64}.get(result.dtype.char)
        return result if single is None else result.astype(single)
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*map(_narrowed, result))
    if isinstance(result, list | tuple):
        return type(result)(map(_narrowed, result))
    return result


def on_values(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Evaluate on float64 values; float results come back in the value dtype unless dtype= or out= says otherwise."""
    args, kwargs = by_name(func, args, kwargs, 1)
    out = kwargs.get("out")
    if isinstance(out, LPArray):
        result = on_values(func, args, {k: v for k, v in kwargs.items() if k != "out"})
        if np.shape(result) != out.shape:
            raise ValueError(f"output array has shape {out.shape}, the result {np.shape(result)}")
        out[...] = result
        return out
    result = func(*(values_of(a) for a in args), **{k: values_of(v) for k, v in kwargs.items()})
    if out is not None or is_given(kwargs.get("dtype")):
        return result
    dtypes = _value_dtypes((*args, *kwargs.values()))
    return _narrowed(result) if dtypes and np.result_type(*dtypes) == np.float32 else result


def product(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Products that `lpnum.linalg` computes on codes, under NumPy's names; the others on values."""
    if func is not np.einsum:  # any number of operands
        args, kwargs = by_name(func, args, kwargs, 2)
    options = {k: v for k, v in kwargs.items() if k != "out"}
    if func.__name__ in linalg.__all__ and set(options) <= {"axes", "dtype", "optimize"}:
        return store(getattr(linalg, func.__name__)(*args, **options), kwargs.get("out"))
    return on_values(func, args, kwargs)


# ---- reductions that are ufuncs ------------------------------------------------------------------------------------


def _reduced(ufunc: Any, a: Any, axis: Any, out: Any, options: dict[str, Any]) -> Any:
    options = {k: v for k, v in options.items() if v is not np._NoValue}
    return ufunc.reduce(a, axis=axis, out=out, **options)


def sum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
    """``np.sum``."""
    return _reduced(np.add, a, axis, out, {"dtype": dtype, **options})


def prod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
    """``np.prod``."""
    return _reduced(np.multiply, a, axis, out, {"dtype": dtype, **options})


def max(a: Any, axis: Any = None, out: Any = None, **options: Any) -> Any:
    """``np.max``."""
    return _reduced(np.maximum, a, axis, out, options)


def min(a: Any, axis: Any = None, out: Any = None, **options: Any) -> Any:
    """``np.min``."""
    return _reduced(np.minimum, a, axis, out, options)


amax, amin = max, min


def mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
    """``np.mean``: an exact sum divided by the number of elements."""
    options = {k: v for k, v in options.items() if v is not np._NoValue}
    if not isinstance(a, LPArray) or a.size == 0 or "where" in options or out is not None or dtype is not None:
        arguments = {"axis": axis, "dtype": dtype, "out": out, **options}
        return on_values(np.mean, (a,), arguments)
    total = np.add.reduce(a, axis=axis, dtype=np.float64, **options)
    return (total / (a.size // np.size(total))).astype(a.dtype)
