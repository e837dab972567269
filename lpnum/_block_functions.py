"""NumPy's ufuncs and functions on BlockArrays: elementwise results are block arrays again, all others plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lpnum import _block_products, codec
from lpnum._block_creation import from_values
from lpnum._protocols import is_ndarray
from lpnum.array import LPArray
from lpnum.block_array import BlockArray

_WIDE_REDUCTIONS = {np.add, np.multiply, np.maximum, np.minimum, np.fmax, np.fmin, np.logical_and, np.logical_or}

# Functions of values, with plain results.
_WIDE = {
    np.all,
    np.allclose,
    np.any,
    np.argmax,
    np.argmin,
    np.array_equal,
    np.average,
    np.count_nonzero,
    np.dot,
    np.einsum,
    np.inner,
    np.isclose,
    np.linalg.norm,
    np.max,
    np.mean,
    np.median,
    np.min,
    np.nanmax,
    np.nanmean,
    np.nanmin,
    np.nansum,
    np.outer,
    np.percentile,
    np.prod,
    np.ptp,
    np.quantile,
    np.std,
    np.sum,
    np.tensordot,
    np.var,
    np.vdot,
}


def _values(x: Any) -> Any:
    if isinstance(x, BlockArray | LPArray):
        return x.dequantize(np.float64)
    if isinstance(x, list | tuple) and any(isinstance(i, BlockArray | LPArray) for i in x):
        return type(x)([_values(i) for i in x])
    return x


def _known(x: Any) -> bool:
    return is_ndarray(x) or isinstance(x, BlockArray | LPArray | np.generic | int | float | list | tuple)


def _number(x: Any, name: str) -> np.ndarray:
    """An input as float64 (exact: inputs have at most its precision)."""
    if isinstance(x, BlockArray | LPArray):
        return x.dequantize(np.float64)
    return codec.as_float_array(x, name).astype(np.float64, copy=False)


def _value_dtype(inputs: tuple[Any, ...]) -> np.dtype:
    """Value dtype of a result: of the arrays among the inputs; numbers do not count."""
    found: list[Any] = []
    for x in inputs:
        if isinstance(x, BlockArray | LPArray):
            found.append(x.dtype)
        elif np.ndim(x):
            kind = np.asarray(x).dtype
            found.append(np.float32 if kind.kind == "f" and kind.itemsize <= 4 else np.float64)
    return np.result_type(*found) if found else np.dtype(np.float64)


def _refusal(name: str) -> TypeError:
    return TypeError(f"np.{name} is not defined for BlockArray; use x.dequantize() for floats")


def ufunc(function: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``BlockArray.__array_ufunc__``."""
    if any(not _known(x) for x in inputs):
        return NotImplemented
    name = f"np.{function.__name__}"
    if isinstance(kwargs.get("where"), BlockArray | LPArray):
        raise TypeError(f"{name}: where= must be a boolean array, not {type(kwargs['where']).__name__}")
    out = kwargs.pop("out", None)
    if isinstance(out, tuple):
        out = out[0] if len(out) == 1 else out
    if method == "reduce" and function in _WIDE_REDUCTIONS:
        return _store(function.reduce(_number(inputs[0], name), **_wide_dtype(kwargs)), out, inputs, kwargs, name)
    if method != "__call__" or function.nout != 1 or isinstance(out, tuple):
        raise _refusal(function.__name__ if method == "__call__" else f"{function.__name__}.{method}")
    where = kwargs.pop("where", True)
    dtype = kwargs.pop("dtype", None)
    for ignored in ("casting", "order", "subok"):
        kwargs.pop(ignored, None)
    if function is np.matmul and not kwargs:
        found = _matrix_product(inputs[0], inputs[1], dtype)
        if found is not None:
            return _store(found, out, inputs, {"dtype": dtype}, name)
    if function.signature is None and kwargs:
        raise TypeError(f"{name}: {', '.join(kwargs)} not supported for BlockArray; use x.dequantize()")
    numbers = tuple(_number(x, name) for x in inputs)
    if function.signature is not None:  # matmul, vecdot, ...
        return _store(function(*numbers, **kwargs), out, inputs, {"dtype": dtype}, name)
    kind = _result_kind(function)
    if kind == "":
        raise _refusal(function.__name__)
    if isinstance(out, BlockArray) and kind != "d":
        raise TypeError(f"{name}: the result is boolean and cannot be stored in a BlockArray")
    if where is not True and out is None:
        raise TypeError(f"{name}: where= needs out= for BlockArray, whose other elements stay as they are")
    with np.errstate(all="ignore"):
        if where is not True:
            values = out.dequantize(np.float64) if isinstance(out, BlockArray | LPArray) else out
            function(*numbers, out=values, where=where)
        elif isinstance(out, np.ndarray):
            return function(*numbers, out=out)
        else:
            values = function(*numbers)
    if out is not None:
        return values if out is values else _store(values, out, inputs, {}, name)
    if kind == "?":
        return values
    if dtype is not None:
        return values.astype(dtype)
    return _like_inputs(values, inputs, name)


def _matrix_product(a: Any, b: Any, dtype: Any = None) -> np.ndarray | None:
    """``a @ b`` on codes, where the blocks run along the contracted axis; None where they do not."""
    if any(not isinstance(x, BlockArray | LPArray) or x.ndim != 2 for x in (a, b)) or a.shape[1] != b.shape[0]:
        return None
    wanted = _value_dtype((a, b)) if dtype is None else np.dtype(dtype)
    return _block_products.product(a, b, wanted, float64=dtype is not None and wanted == np.float64)


def _wide_dtype(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != "dtype"}


def _store(values: Any, out: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    """A result in `out`, or as a plain array of the value dtype."""
    if isinstance(out, BlockArray | LPArray):
        if np.shape(values) != out.shape:
            raise ValueError(f"{name}: the result has shape {np.shape(values)}, and out= has {out.shape}")
        out._write(np.asarray(values), name)
        return out
    if out is not None:
        np.copyto(out, values, casting="same_kind")
        return out
    wanted = kwargs.get("dtype") or (_value_dtype(inputs) if np.asarray(values).dtype.kind == "f" else None)
    return values if wanted is None else np.asarray(values).astype(wanted, copy=False)[()]


def _result_kind(function: np.ufunc) -> str:
    """Type letter of the result for float64 inputs: "d", "?", or "" where there is no such loop."""
    wanted = "d" * function.nin + "->"
    return next((t[len(wanted) :] for t in function.types if t in (f"{wanted}d", f"{wanted}?")), "")


def _like_inputs(values: np.ndarray, inputs: tuple[Any, ...], name: str) -> BlockArray:
    """A result in the block format of the inputs, along the same axis (counted from the end, as broadcasting does)."""
    first = next(x for x in inputs if isinstance(x, BlockArray))
    axis = first.axis - first.ndim
    for other in inputs:
        if isinstance(other, BlockArray) and other.format != first.format:
            raise TypeError(
                f"{name}: the block formats differ ({first.format!r} and {other.format!r}); "
                "convert one with x.astype(format)"
            )
        if isinstance(other, BlockArray) and other.axis - other.ndim != axis:
            raise TypeError(f"{name}: the blocks run along different axes; use x.dequantize() of one")
    own = first._policy
    settings: dict[str, Any] = (
        {} if own is None else {"rounding": own.rounding, "overflow": own.overflow, "rng": own.rng}
    )
    new = from_values(values, first.format, axis=axis, **settings)
    new.dtype = _value_dtype(inputs)
    return new


# ---- functions -----------------------------------------------------------------------------------------------------


def function(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``BlockArray.__array_function__``."""
    if not all(issubclass(t, BlockArray | LPArray | np.ndarray) for t in types):
        return NotImplemented
    if func in _OWN:
        return _OWN[func](*args, **kwargs)
    if func not in _WIDE:
        raise _refusal(f"{func.__module__}.{func.__name__}".removeprefix("numpy."))
    out = kwargs.pop("out", None)
    if func in (np.dot, np.inner) and len(args) == 2 and not kwargs:
        a, b = args
        found = _matrix_product(a, b.T if func is np.inner and isinstance(b, BlockArray | LPArray) else b)
        if found is not None:
            return _store(found, out, args, {}, f"np.{func.__name__}")
    result = func(*map(_values, args), **{key: _values(value) for key, value in kwargs.items()})
    if out is None and kwargs.get("dtype") is not None:
        return result
    return _store(result, out, (*args, *kwargs.values()), {}, f"np.{func.__name__}")


def _concatenate(arrays: Any, axis: Any = 0) -> BlockArray:
    """Whole blocks of arrays of one format, axis and tensor scale, code by code."""
    arrays = list(arrays)
    first = arrays[0]
    same = all(
        isinstance(a, BlockArray)
        and (a.format, a.axis, a.ndim, a.tensor_scale) == (first.format, first.axis, first.ndim, first.tensor_scale)
        for a in arrays
    )
    if not same:
        raise TypeError(
            "np.concatenate: all arrays must be BlockArrays of one format, blocked axis and tensor scale; "
            "convert with lpnum.array(x, format, axis=..., scale=...), or use x.dequantize()"
        )
    codes, scale_codes = (np.concatenate([getattr(a, part) for a in arrays], axis) for part in ("codes", "scale_codes"))
    return first._like(np.moveaxis(codes, first.axis, -1), np.moveaxis(scale_codes, first.axis, -1), first.axis)


_OWN: dict[Any, Callable[..., Any]] = {
    np.concatenate: _concatenate,
    np.copy: lambda x, order="K", subok=False: x.copy(),
    np.ndim: lambda x: x.ndim,
    np.reshape: lambda x, shape: x.reshape(shape),
    np.shape: lambda x: x.shape,
    np.size: lambda x, axis=None: x.size if axis is None else x.shape[axis],
    np.transpose: lambda x, axes=None: x.transpose() if axes is None else x.transpose(axes),
    np.array_repr: lambda x, *_, **__: repr(x),
    np.array_str: lambda x, *_, **__: str(x),
}
