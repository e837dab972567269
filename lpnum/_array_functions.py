"""NumPy's functions on LPArrays (``__array_function__``): every supported function stands in one group.

=========== =========================================================================================
rearranged  the function acts on codes and metadata alike (a metadata array is a stride-0 view of the
            array's shape); format kept
joined      concatenation and stacking; arrays of one format keep every grid they had
own         written out below
wide        reductions, statistics, tests, products: evaluated on the values, plain results
=========== =========================================================================================

Everything else raises a TypeError that names the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lpnum import creation, grid, linalg, rounding
from lpnum.array import LPArray
from lpnum.formats import FloatFormat

_REARRANGED = {
    np.atleast_1d,
    np.atleast_2d,
    np.atleast_3d,
    np.broadcast_to,
    np.compress,
    np.delete,
    np.diagonal,
    np.expand_dims,
    np.flip,
    np.fliplr,
    np.flipud,
    np.moveaxis,
    np.ravel,
    np.repeat,
    np.reshape,
    np.roll,
    np.rollaxis,
    np.rot90,
    np.squeeze,
    np.swapaxes,
    np.take,
    np.take_along_axis,
    np.tile,
    np.transpose,
}
_JOINED = {np.concatenate, np.stack, np.vstack, np.hstack, np.dstack, np.column_stack}
_WIDE = {
    np.all,
    np.allclose,
    np.amax,
    np.amin,
    np.any,
    np.argmax,
    np.argmin,
    np.argsort,
    np.argwhere,
    np.array_equal,
    np.average,
    np.count_nonzero,
    np.cov,
    np.corrcoef,
    np.einsum,
    np.flatnonzero,
    np.histogram,
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
    np.nonzero,
    np.outer,
    np.percentile,
    np.prod,
    np.ptp,
    np.quantile,
    np.searchsorted,
    np.std,
    np.tensordot,
    np.trace,
    np.var,
    np.vdot,
}


def dispatch(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``LPArray.__array_function__``."""
    if not all(issubclass(t, LPArray | np.ndarray) for t in types):
        return NotImplemented
    if func in _OWN:
        return _OWN[func](*args, **kwargs)
    if func in _REARRANGED:
        return _rearrange(func, *args, **kwargs)
    if func in _JOINED:
        return _join(func, *args, **kwargs)
    if func in _WIDE:
        return _on_values(func, args, kwargs)
    name = f"{func.__module__}.{func.__name__}".replace("numpy", "np")
    raise TypeError(f"{name} is not defined for LPArray; use x.dequantize() for floats, or x.codes for the integers")


def _rearrange(func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Apply a function that only moves elements to the codes and to each metadata array."""
    swapped = not isinstance(x, LPArray)
    if swapped and args and isinstance(args[0], LPArray):  # np.compress(condition, array)
        first, x, args = x, args[0], args[1:]
    elif swapped:
        raise TypeError(f"np.{func.__name__}: an LPArray can only be the array that is rearranged")
    if kwargs.get("out") is not None:
        raise TypeError(f"np.{func.__name__}: out= is not supported for LPArray; assign the result: y[...] = ...")
    if any(isinstance(v, LPArray) for v in (*args, *kwargs.values())):
        raise TypeError(f"np.{func.__name__}: positions and shapes must be integers, not an LPArray")

    def apply(array: np.ndarray) -> np.ndarray:
        return func(first, array, *args, **kwargs) if swapped else func(array, *args, **kwargs)

    codes = apply(x.codes)
    metas = (m if m.ndim == 0 else grid.compact(apply(grid.full(m, x.shape))) for m in (x._scale, x._offset))
    return x._like(codes, *metas, view=np.may_share_memory(codes, x.codes))


def _join(func: Any, arrays: Any, *args: Any, **kwargs: Any) -> LPArray:
    """Join codes, and metadata where it differs."""
    arrays = list(arrays)
    if not all(isinstance(a, LPArray) for a in arrays):
        raise TypeError(f"np.{func.__name__}: all arrays must be LPArrays; convert the others with lpnum.array first")
    if any(v is not None for k, v in kwargs.items() if k in ("out", "dtype")):
        raise TypeError(f"np.{func.__name__}: out= and dtype= are not supported for LPArrays")
    first = arrays[0]
    if any(a.format != first.format for a in arrays):
        names = ", ".join(sorted({repr(a.format) for a in arrays}))
        raise TypeError(f"np.{func.__name__}: the formats differ ({names}); convert with x.astype(format) first")
    codes = func([a.codes for a in arrays], *args, **kwargs)
    metas = []
    for name in ("_scale", "_offset"):
        values = [getattr(a, name) for a in arrays]
        if values[0].ndim == 0 and all(grid.same(values[0], v) for v in values):
            metas.append(values[0].copy())
        else:
            metas.append(
                _smallest(func([grid.full(v, a.shape) for v, a in zip(values, arrays, strict=True)], *args, **kwargs))
            )
    return first._like(codes, *metas, dtype=np.result_type(*(a.dtype for a in arrays)))


def _smallest(meta: np.ndarray) -> np.ndarray:
    """Metadata that was joined element by element, back in compact form: axes of equal values get length 1."""
    for axis in range(meta.ndim):
        head = meta[(slice(None),) * axis + (slice(0, 1),)]
        if meta.shape[axis] > 1 and (meta == head).all():
            meta = head
    return meta.copy()


def _values_of(argument: Any) -> Any:
    if isinstance(argument, LPArray):
        return argument.dequantize(np.float64)
    if isinstance(argument, list | tuple) and any(isinstance(a, LPArray) for a in argument):
        return type(argument)([_values_of(a) for a in argument])
    return argument


def _dtype_of(arguments: Any) -> np.dtype:
    found = [a.dtype for a in arguments if isinstance(a, LPArray)]
    return np.result_type(*found) if found else np.dtype(np.float64)


def _on_values(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Evaluate on float64 values; a float64 result comes back in the value dtype unless dtype= says otherwise."""
    out = kwargs.get("out")
    if isinstance(out, LPArray):
        out[...] = _on_values(func, args, {k: v for k, v in kwargs.items() if k != "out"})
        return out
    result = func(*(_values_of(a) for a in args), **{k: _values_of(v) for k, v in kwargs.items()})
    if out is not None or kwargs.get("dtype") is not None:
        return result
    if isinstance(result, np.ndarray | np.generic) and result.dtype == np.float64:
        return result.astype(_dtype_of((*args, *kwargs.values())), copy=False)[()]
    return result


def _sum(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
    kwargs = {k: v for k, v in kwargs.items() if v is not np._NoValue}
    return np.add.reduce(x, axis=axis, dtype=dtype, out=out, **kwargs)


def _clip(
    x: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None
) -> LPArray:
    """Values limited to [a_min, a_max] on the array's own grid: the bounds are rounded inwards."""
    a_min = min if a_min is None or a_min is np._NoValue else a_min
    a_max = max if a_max is None or a_max is np._NoValue else a_max
    if not isinstance(x, LPArray):
        raise TypeError("np.clip: an LPArray can only be the array that is clipped; use x.dequantize() for bounds")
    if isinstance(x.format, FloatFormat):
        return _clip_floats(x, a_min, a_max, out)
    step, offset = x._scale * x.format.unit, x._offset
    low, high = ((None if v is None or v is np._NoValue else (_values_of(v) - offset) / step) for v in (a_min, a_max))
    if (step < 0).any():
        if (step > 0).any():
            raise TypeError("np.clip: scales of both signs; use x.dequantize()")
        low, high = high, low
    lowest, highest = x.format.code_min, x.format.code_max
    bounds = [
        None if bound is None else np.clip(rounded(bound), lowest, highest).astype(x.codes.dtype)
        for bound, rounded in ((low, np.ceil), (high, np.floor))
    ]
    codes = np.clip(x.codes, *bounds) if any(b is not None for b in bounds) else x.codes.copy()
    result = x._like(codes, x._scale.copy(), x._offset.copy())
    if out is None:
        return result
    out[...] = result
    return out


def _clip_floats(x: LPArray, low: Any, high: Any, out: Any) -> LPArray:
    """The same for floats, whose codes are not in the order of the values."""
    values = x.dequantize(np.float64)
    result = x.copy()
    for bound, inwards, choose in ((low, "towards-positive", np.maximum), (high, "towards-negative", np.minimum)):
        if bound is not None and bound is not np._NoValue:
            limit = x._like(np.empty(x.shape, x.codes.dtype), x._scale, x._offset)
            with rounding.context(rounding=inwards):
                limit[...] = np.broadcast_to(_values_of(bound), x.shape)
            values = choose(values, limit.dequantize(np.float64))
    result[...] = values
    if out is None:
        return result
    out[...] = result
    return out


def _where(condition: Any, x: Any = np._NoValue, y: Any = np._NoValue) -> Any:
    if x is np._NoValue:
        return np.nonzero(_values_of(condition))
    if not (
        isinstance(x, LPArray) and isinstance(y, LPArray) and x.same_grid(y) and x._scale.ndim == x._offset.ndim == 0
    ):
        raise TypeError("np.where: both choices must be LPArrays of one format, scale and offset; see x.rescale")
    return x._like(np.where(_values_of(condition), x.codes, y.codes), x._scale.copy(), x._offset.copy())


def _copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    if not isinstance(dst, LPArray):
        np.copyto(dst, _values_of(src), casting=casting, where=where)
    elif where is True:
        dst[...] = src
    else:
        new = dst.copy()
        new[...] = src
        np.copyto(dst.codes, new.codes, where=where)


_OWN: dict[Any, Callable[..., Any]] = {
    np.clip: _clip,
    np.copy: lambda x, order="K", subok=False: x.copy(),
    np.copyto: _copyto,
    np.dot: lambda a, b, out=None: linalg.dot(a, b) if out is None else linalg.wide(np.dot, (a, b), out, {}),
    np.empty_like: lambda x, dtype=None, order="K", subok=True, shape=None, **_: creation.empty_like(
        x, dtype, shape=shape
    ),
    np.full_like: lambda x, v, dtype=None, order="K", subok=True, shape=None, **_: creation.full_like(
        x, v, dtype, shape=shape
    ),
    np.ndim: lambda x: x.ndim,
    np.ones_like: lambda x, dtype=None, order="K", subok=True, shape=None, **_: creation.ones_like(
        x, dtype, shape=shape
    ),
    np.result_type: lambda *args: np.result_type(*(a.dtype if isinstance(a, LPArray) else a for a in args)),
    np.shape: lambda x: x.shape,
    np.size: lambda x, axis=None: x.size if axis is None else x.shape[axis],
    np.sum: _sum,
    np.where: _where,
    np.zeros_like: lambda x, dtype=None, order="K", subok=True, shape=None, **_: creation.zeros_like(
        x, dtype, shape=shape
    ),
    np.array_repr: lambda x, *_, **__: repr(x),
    np.array_str: lambda x, *_, **__: str(x),
}
