"""NumPy's ufuncs on LPArrays: one table row per exception, one engine for the rest.

Rules (what a row says):

=========== ============================================================================================
rule        result
=========== ============================================================================================
arithmetic  + - * / between arrays: fused kernel on the grid given by the result policy; a scalar or a
            plain array that only scales or shifts goes into scale and offset exactly
affine      negative, positive: scale and offset change, codes do not
closed      maximum, minimum, ...: the result is one of the inputs, so equal grids are kept
(no row)    any ufunc with a float64 loop: float results are rounded onto a grid found from the image of all
            codes, bool results are plain arrays. SciPy's ufuncs take the same way.
refused     bit operations, several outputs: TypeError that names the way out
=========== ============================================================================================
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lpnum import _plans, _result_grid, _tables, codec
from lpnum.array import LPArray
from lpnum.formats import FixedFormat, FloatFormat

_ARITHMETIC = codec.ARITHMETIC
_CLOSED = {np.maximum, np.minimum, np.fmax, np.fmin}
_COMPARISONS = {np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal}
_WIDE_REDUCTIONS = {np.add, np.multiply, np.maximum, np.minimum, np.fmax, np.fmin, np.logical_and, np.logical_or}


def dispatch(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``LPArray.__array_ufunc__``."""
    if method == "__call__" and ufunc in _ARITHMETIC and list(kwargs) == ["out"]:  # the step of an optimizer
        target = kwargs["out"][0]
        if isinstance(target, LPArray) and all(isinstance(x, LPArray | np.ndarray) for x in inputs):
            return _arithmetic_into(ufunc, inputs, target)
    if method == "__call__" and not kwargs and len(inputs) == 2 and type(inputs[0]) is type(inputs[1]) is LPArray:
        planned = _plans.arithmetic(ufunc, inputs[0], inputs[1])
        if planned is not None:
            return planned
    if any(not _known(x) for x in inputs):
        return NotImplemented
    out = kwargs.pop("out", None)
    if isinstance(out, tuple):
        out = out[0] if len(out) == 1 else out
    if method in ("reduce", "accumulate", "reduceat"):
        return _reduce(ufunc, method, inputs, out, kwargs)
    if method != "__call__" or ufunc.nout != 1 or isinstance(out, tuple):
        raise _refusal(ufunc, method)
    if ufunc.signature is not None:  # matmul, vecdot, ...
        from lpnum import linalg

        return linalg.wide(ufunc, inputs, out, kwargs)
    where = kwargs.pop("where", True)
    kwargs.pop("casting", None)
    kwargs.pop("order", None)
    kwargs.pop("subok", None)
    dtype = kwargs.pop("dtype", None)
    if kwargs:
        raise TypeError(f"np.{ufunc.__name__}: {', '.join(kwargs)} not supported for LPArray; use x.dequantize()")
    arguments = tuple(x if isinstance(x, LPArray) else _plain_input(x, ufunc) for x in inputs)
    if out is not None or where is not True:
        return _into(ufunc, arguments, out, where)
    if dtype is not None:
        return ufunc(*(_decoded(x) for x in arguments), dtype=dtype)
    return _call(ufunc, arguments)


def _known(x: Any) -> bool:
    return isinstance(x, LPArray | np.ndarray | np.generic | int | float | bool | list | tuple)


def _plain_input(x: Any, ufunc: np.ufunc) -> np.ndarray:
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"np.{ufunc.__name__}: an LPArray combines with real numbers, not with dtype {array.dtype}")
    return codec.as_float_array(array, f"np.{ufunc.__name__}")


def _decoded(x: Any) -> np.ndarray:
    return x.dequantize(np.float64) if isinstance(x, LPArray) else np.asarray(x, np.float64)


def _refusal(ufunc: np.ufunc, method: str) -> TypeError:
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    return TypeError(
        f"np.{name} is not defined for LPArray; use x.dequantize() for floats, or x.codes for the integers"
    )


def _has_loop(ufunc: np.ufunc) -> str:
    """Type letter of the result for float64 inputs: "d", "?", or "" where there is no such loop."""
    wanted = "d" * ufunc.nin + "->"
    return next((t[len(wanted) :] for t in ufunc.types if t.startswith(wanted)), "")


def _call(ufunc: np.ufunc, inputs: tuple[Any, ...]) -> Any:
    """The ufunc on whole arrays, with a new result."""
    if ufunc in _ARITHMETIC:
        exact = _exact_affine(ufunc, *inputs)
        if exact is not None:
            return exact
    if ufunc is np.negative:
        return _affine(inputs[0], -1.0, 0.0)
    if ufunc is np.positive:
        return inputs[0].copy()
    kind = _has_loop(ufunc)
    if ufunc in _COMPARISONS:
        return _compare(ufunc, *inputs)
    if kind == "?":
        return ufunc(*(_decoded(x) for x in inputs))
    if kind != "d":
        raise _refusal(ufunc, "__call__")
    table = _by_table(ufunc, inputs)
    if table is not None:
        return table
    op = _ARITHMETIC.get(ufunc)
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    if op is not None and all(isinstance(x, LPArray) for x in inputs):
        target = _result_grid.arithmetic(ufunc, inputs[0], inputs[1], shape)
        if target is not None:
            if _tables.operate(ufunc, inputs[0], inputs[1], target) is not None:
                return target
            operands = [x.operand() for x in inputs]
            codec.run(op, operands[0], operands[1], target.operand(), target.policy(), f"np.{ufunc.__name__}")
            return target
    with np.errstate(all="ignore"):
        values = ufunc(*(_decoded(x) for x in inputs))
    target = _result_grid.general(ufunc, inputs, values, closed=ufunc in _CLOSED)
    codec.run(codec.COPY, values, None, target.operand(), target.policy(), f"np.{ufunc.__name__}")
    return target


# ---- scalars and plain arrays enter exactly ------------------------------------------------------------------------


def _affine(x: LPArray, factor: Any, shift: Any) -> LPArray:
    """``factor * x + shift`` with the codes of `x`; factor and shift broadcast to its shape."""
    scale, offset = np.asarray(x._scale * factor), np.asarray(x._offset * factor + shift)
    return x._like(x.codes.copy(), scale, offset)


def _exact_affine(ufunc: np.ufunc, a: Any, b: Any) -> LPArray | None:
    """The result where one operand only scales or shifts the other, else None."""
    if isinstance(a, LPArray) and isinstance(b, LPArray):
        return None
    x, v = (a, b) if isinstance(a, LPArray) else (b, a)
    if ufunc is np.divide and x is b:
        return None  # v / x is not linear in x
    if v.size == 1 and v.ndim <= x.ndim and x._scale.ndim == x._offset.ndim == 0:
        fast = _scalar_affine(ufunc, x, float(v.reshape(())), x is a)
        if fast is not None:
            return fast
    if not np.isfinite(v).all() or (ufunc is np.divide and (v == 0).any()):
        raise ValueError(
            f"np.{ufunc.__name__}: the plain operand holds {'zero, ' if ufunc is np.divide else ''}NaN or infinity, "
            f"and {x.format!r} has no code for the result; use x.dequantize() for float arithmetic"
        )
    v = np.asarray(v, np.float64)
    if ufunc is np.multiply and isinstance(x.format, FloatFormat) and not v.all():
        return None  # 0 * inf and 0 * NaN are not 0
    shape = np.broadcast_shapes(x.shape, v.shape)
    if v.size == 1:
        v = v.reshape(())
    elif x.shape != shape:
        x = _broadcast(x, shape)
    if v.ndim:
        v = v.reshape((1,) * (len(shape) - v.ndim) + v.shape)
    if ufunc is np.add:
        result = _affine(x, 1.0, v)
    elif ufunc is np.subtract:
        result = _affine(x, 1.0, -v) if x is not b and isinstance(a, LPArray) else _affine(x, -1.0, v)
    elif ufunc is np.divide:
        result = x._like(x.codes.copy(), np.asarray(x._scale / v), np.asarray(x._offset / v))
    else:
        result = _affine(x, v, 0.0)
        zero = result._scale == 0
        if zero.any():  # a grid needs a step; all codes 0 there say the same exactly
            result._scale = np.where(zero, x._scale, result._scale)
            result.codes[np.broadcast_to(zero, shape)] = 0
    if len(shape) > x.ndim:
        result = result.reshape(shape)
    if not (np.isfinite(result._scale).all() and np.isfinite(result._offset).all()):
        raise OverflowError(f"np.{ufunc.__name__}: scale or offset of the result leaves the range of float64")
    if v.ndim:
        result.dtype = np.dtype(np.float64)
    return result


def _broadcast(x: LPArray, shape: tuple[int, ...]) -> LPArray:
    metas = (m if m.ndim == 0 else m.reshape((1,) * (len(shape) - m.ndim) + m.shape) for m in (x._scale, x._offset))
    return x._like(np.broadcast_to(x.codes, shape), *metas)


def _scalar_affine(ufunc: np.ufunc, x: LPArray, v: float, x_first: bool) -> LPArray | None:
    """The same for a number and an array with one grid; None for the cases that need more care."""
    scale, offset = float(x._scale), float(x._offset)
    if ufunc is np.add:
        offset += v
    elif ufunc is np.subtract:
        scale, offset = (scale, offset - v) if x_first else (-scale, v - offset)
    elif v == 0:
        return None
    elif ufunc is np.multiply:
        scale, offset = scale * v, offset * v
    else:
        scale, offset = scale / v, offset / v
    if scale == 0 or not (math.isfinite(scale) and math.isfinite(offset)):
        return None
    return x._like(x.codes.copy(), np.array(scale), np.array(offset))


# ---- comparisons, tables -------------------------------------------------------------------------------------------


def _compare(ufunc: np.ufunc, a: Any, b: Any) -> Any:
    """Plain bool array; on codes where both arrays have one and the same scalar grid."""
    ordered = isinstance(a, LPArray) and isinstance(a.format, FixedFormat)
    if ordered and isinstance(b, LPArray) and a.same_grid(b) and a._scale.ndim == a._offset.ndim == 0:
        return ufunc(a.codes, b.codes) if float(a._scale) > 0 else ufunc(b.codes, a.codes)
    return ufunc(_decoded(a), _decoded(b))


def _by_table(ufunc: np.ufunc, inputs: tuple[Any, ...]) -> LPArray | None:
    """A function of one array on one grid (other inputs scalars) through a table of all its codes, if that applies."""
    arrays = [x for x in inputs if isinstance(x, LPArray)]
    if len(arrays) != 1 or any(np.size(v) != 1 or np.ndim(v) > arrays[0].ndim for v in inputs if v is not arrays[0]):
        return None
    x = arrays[0]
    policy = x.policy()
    result = policy.result or ("cover" if x.format.calibrated else "keep")
    if x._scale.ndim or x._offset.ndim or result in ("fit", "exact"):
        return None
    arguments = tuple(None if v is x else float(v) for v in inputs)
    row = _result_grid.image(ufunc, arguments, x.format, float(x._scale), float(x._offset))
    if row is None:  # some code has no finite image, and with it no bound: the values decide
        return None
    values, scale, offset = row
    if result == "keep":
        scale, offset = float(x._scale), float(x._offset)
    target = x._like(np.empty(x.shape, x.codes.dtype), np.array(scale), np.array(offset))
    if not _tables.applies(policy):
        with np.errstate(all="ignore"):
            exact = ufunc(*(_decoded(x) if v is None else v for v in arguments))
        codec.run(codec.COPY, exact, None, target.operand(), policy, f"np.{ufunc.__name__}")
        return target
    table = np.zeros(1 << (8 * x.itemsize), x.codes.dtype)
    images = np.empty(values.shape, x.codes.dtype)
    codec.run(codec.COPY, values, None, (images, *target.operand()[1:]), policy, f"np.{ufunc.__name__}")
    table[x.format.all_codes()] = images  # a negative code indexes from the end: two's complement
    if x.itemsize == 1 and x.codes.flags.c_contiguous:
        _tables.map8(x.codes, table, target.codes)
    else:
        np.take(table, x.codes, out=target.codes, mode="wrap")
    return target


# ---- out=, where=, reductions --------------------------------------------------------------------------------------


def _into(ufunc: np.ufunc, inputs: tuple[Any, ...], out: Any, where: Any) -> Any:
    """Write into `out`, keeping its grid; with `where`, only there."""
    if isinstance(where, LPArray):
        raise TypeError("where: expected a boolean array, not an LPArray")
    if out is None:
        result = _call(ufunc, inputs)
        if isinstance(result, LPArray):
            result.codes[~np.broadcast_to(where, result.shape)] = 0
        return result
    kind = _has_loop(ufunc)
    if kind not in ("d", "?"):
        raise _refusal(ufunc, "__call__")
    if not isinstance(out, LPArray):
        return ufunc(*(_decoded(x) for x in inputs), out=out, where=where)
    if kind == "?":
        raise TypeError(f"np.{ufunc.__name__}: the result is boolean and cannot be stored in an LPArray")
    if ufunc in _ARITHMETIC and where is True:
        return _arithmetic_into(ufunc, inputs, out)
    _check_shape(ufunc, inputs, out)
    values = out.dequantize(np.float64)  # what `where` leaves out stays, whatever the function gives there
    with np.errstate(all="ignore"):
        ufunc(*(_decoded(x) for x in inputs), out=values, where=where)
    target = out if where is True else out._like(out.codes.copy(), out._scale, out._offset)
    target._write(values, f"np.{ufunc.__name__}")
    if where is not True:
        np.copyto(out.codes, target.codes, where=where)
    return out


def _check_shape(ufunc: np.ufunc, inputs: tuple[Any, ...], out: LPArray) -> None:
    if all(x.shape == out.shape for x in inputs):
        return
    shape = np.broadcast_shapes(out.shape, *(x.shape for x in inputs))
    if shape != out.shape:
        raise ValueError(
            f"np.{ufunc.__name__}: non-broadcastable output operand with shape {out.shape} "
            f"doesn't match the broadcast shape {shape}"
        )


def _arithmetic_into(ufunc: np.ufunc, inputs: tuple[Any, ...], out: LPArray) -> LPArray:
    """One fused pass: decode, operate, round, store on the grid of `out`."""
    inputs = tuple(x if isinstance(x, LPArray) else _plain_input(x, ufunc) for x in inputs)
    _check_shape(ufunc, inputs, out)
    a, b = (_readable(x, out) for x in inputs)
    if isinstance(a, LPArray) and isinstance(b, LPArray) and _tables.operate(ufunc, a, b, out) is not None:
        return out
    first, second = (x.operand() if isinstance(x, LPArray) else x for x in (a, b))
    name = f"np.{ufunc.__name__}"
    codec.run(_ARITHMETIC[ufunc], first, second, out.operand(), out.policy(), name, keep_on_error=True)
    return out


def _readable(x: Any, out: LPArray) -> Any:
    """`x`, or a copy if writing `out` element by element would change elements of `x` that are still to be read."""
    if x is out:
        return x
    codes = x.codes if isinstance(x, LPArray) else x
    if not np.may_share_memory(codes, out.codes):
        return x
    aligned = (
        codes.shape == out.codes.shape
        and codes.strides == out.codes.strides
        and codes.__array_interface__["data"][0] == out.codes.__array_interface__["data"][0]
    )
    return x if aligned else x.copy()


def _reduce(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], out: Any, kwargs: dict[str, Any]) -> Any:
    """Reductions accumulate wide and return plain arrays of the value dtype."""
    x = inputs[0]
    if method != "reduce" or ufunc not in _WIDE_REDUCTIONS or not isinstance(x, LPArray):
        raise _refusal(ufunc, method)
    dtype = kwargs.pop("dtype", None)
    if isinstance(out, LPArray):
        values = _reduce(ufunc, method, inputs, None, {**kwargs, "dtype": np.float64})
        out[...] = values
        return out
    if ufunc is np.add and kwargs.get("where", True) is True:
        from lpnum import linalg

        result = linalg.sum_values(x, kwargs.get("axis", 0), kwargs.get("keepdims", False))
        initial = kwargs.get("initial")
        result = result if initial is None else result + initial
    else:
        result = ufunc.reduce(x.dequantize(np.float64), **kwargs)
    result = np.asarray(result)
    wanted = dtype or (x.dtype if result.dtype.kind == "f" else result.dtype)
    if out is not None:
        np.copyto(out, result, casting="same_kind")
        return out
    return result.astype(wanted, copy=False)[()]
