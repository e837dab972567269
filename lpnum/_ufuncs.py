"""NumPy's ufuncs on LPArrays: calls with ``out=`` and ``where=``, and the methods reduce, accumulate, outer, at.

Rules (the functions of each group are listed in `lpnum._coverage`):

=========== ============================================================================================
rule        result
=========== ============================================================================================
arithmetic  + - * / between arrays: fused kernel on the grid given by the result policy; a scalar or a
            plain array that only scales or shifts goes into scale and offset exactly
affine      negative, positive, degrees, radians, ldexp: scale and offset change, codes do not
closed      maximum, minimum, ...: the result is one of the inputs, so equal grids are kept
(no row)    any ufunc with a float64 loop: float results are rounded onto a grid found from the image of all
            codes, bool and integer results are plain arrays. SciPy's ufuncs take the same way. Of two
            outputs each has a grid of its own.
wide        reduce, accumulate and reduceat, and products: plain results
refused     bit operations and whatever has no float64 loop: TypeError that names the way out
=========== ============================================================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from lpnum import _ordering, _plans, _result_grid, _tables, codec, grid, linalg
from lpnum._protocols import LibraryProtocols, is_ndarray
from lpnum._ufunc_call import ARITHMETIC, Elementwise, by_table, call, decoded, kind_of, plain_input, refusal
from lpnum.array import LPArray

_HARMLESS = {np.add, np.subtract, np.multiply}  # finite inputs give finite results
_EXTREMES = {np.maximum, np.minimum, np.fmax, np.fmin}


def dispatch(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``LPArray.__array_ufunc__``."""
    if method == "__call__" and ufunc in ARITHMETIC and list(kwargs) == ["out"]:  # the step of an optimizer
        target = kwargs["out"][0]
        if isinstance(target, LPArray) and all(isinstance(x, LPArray | np.ndarray) for x in inputs):
            return _arithmetic_into(ufunc, inputs, target)
    if method == "__call__" and not kwargs and len(inputs) == 2 and type(inputs[0]) is type(inputs[1]) is LPArray:
        if ufunc is np.matmul:
            return linalg.wide(ufunc, inputs, None, kwargs)
        planned = _plans.arithmetic(ufunc, inputs[0], inputs[1])
        if planned is not None:
            return planned
    if method == "at":
        return _at(ufunc, *inputs)
    if any(not _known(x) for x in inputs):
        return NotImplemented
    out = kwargs.pop("out", None)
    if isinstance(out, tuple) and len(out) == 1:
        out = out[0]
    if isinstance(kwargs.get("where"), LibraryProtocols):
        raise TypeError(f"np.{ufunc.__name__}: where= must be a boolean array, not {type(kwargs['where']).__name__}")
    if method in ("reduce", "accumulate", "reduceat"):
        return _reduce(ufunc, method, inputs, out, kwargs)
    if ufunc.signature is not None:  # matmul, vecdot, ...
        if method != "__call__":
            raise refusal(ufunc, method)
        return linalg.wide(ufunc, inputs, out, kwargs)
    if method == "outer":
        a, b = (x if isinstance(x, LPArray) else np.asarray(x) for x in inputs)
        inputs = a.reshape(a.shape + (1,) * b.ndim), b
    where = kwargs.pop("where", True)
    for ignored in ("casting", "order", "subok"):
        kwargs.pop(ignored, None)
    dtype = kwargs.pop("dtype", None)
    if kwargs:
        raise TypeError(f"np.{ufunc.__name__}: {', '.join(kwargs)} not supported for LPArray; use x.dequantize()")
    if ufunc is np.ldexp:
        ufunc, inputs = np.multiply, _ldexp_factors(*inputs)
    arguments = tuple(x if isinstance(x, LPArray) else plain_input(x, ufunc) for x in inputs)
    targets = out if isinstance(out, tuple) else (out,)
    if dtype is not None and not any(isinstance(target, LPArray) for target in targets):
        return ufunc(*(decoded(x) for x in arguments), dtype=dtype, out=out, where=where)
    if ufunc.nout > 1:
        outs = out if isinstance(out, tuple) else (None,) * ufunc.nout
        if len(kind_of(ufunc)) != ufunc.nout:
            raise refusal(ufunc, method)
        return tuple(_run(Elementwise(ufunc, k), arguments, outs[k], where) for k in range(ufunc.nout))
    return _run(ufunc, arguments, out, where)


def _known(x: Any) -> bool:
    return is_ndarray(x) or isinstance(x, LPArray | np.generic | int | float | bool | list | tuple)


def _ldexp_factors(x: Any, exponent: Any) -> tuple[Any, Any]:
    """``x * 2**exponent``: powers of two are exact."""
    if isinstance(exponent, LPArray) or np.asarray(exponent).dtype.kind not in "biu":
        raise TypeError("np.ldexp: the exponents must be plain integers")
    return x, np.ldexp(1.0, exponent)


def _run(ufunc: Any, inputs: tuple[Any, ...], out: Any, where: Any) -> Any:
    if out is not None:
        return _into(ufunc, inputs, out, where)
    return call(ufunc, inputs) if where is True else _call_where(ufunc, inputs, where)


# ---- where= and out= -----------------------------------------------------------------------------------------------


def _call_where(ufunc: Any, inputs: tuple[Any, ...], where: Any) -> Any:
    """The function of the selected elements, which alone choose the grid; the others are left at code 0."""
    where = np.asarray(where)
    if where.dtype != bool:
        raise TypeError(f"np.{ufunc.__name__}: where= must be a boolean array, not of dtype {where.dtype}")
    shape = np.broadcast_shapes(where.shape, *(x.shape for x in inputs))
    if kind_of(ufunc) == "?":
        return ufunc(*(decoded(x) for x in inputs), out=np.zeros(shape, bool), where=where)
    mask = np.broadcast_to(where, shape)
    arrays = [x for x in inputs if isinstance(x, LPArray)]
    scalar = all(m.ndim == 0 for x in arrays for m in (x._scale, x._offset))
    whole = None
    if (
        scalar and kind_of(ufunc) == "d" and _tables.applies(arrays[0].policy())
    ):  # then what is left out can be computed without harm
        if arrays[0].shape == shape:
            whole = by_table(ufunc, inputs)
        if whole is None and ufunc in _HARMLESS and len(arrays) == 2 and 4 * np.count_nonzero(mask) > mask.size:
            whole = call(ufunc, inputs)
    if whole is not None:
        np.copyto(whole.codes, 0, where=~mask)
        return whole
    if not scalar and ufunc in ARITHMETIC and len(arrays) == 2:
        target = _result_grid.arithmetic(ufunc, arrays[0], arrays[1], shape)
        if target is not None:  # the grid follows the channels, whatever is selected
            values = np.array(np.broadcast_to(target._offset, shape))
            with np.errstate(all="ignore"):
                ufunc(*(decoded(x) for x in inputs), out=values, where=mask)
            target._write(values, f"np.{ufunc.__name__}")
            return target
    chosen = call(ufunc, tuple(x if x.shape == () else np.broadcast_to(x, shape)[mask] for x in inputs))
    if not isinstance(chosen, LPArray):
        result = np.zeros(shape, chosen.dtype)
        result[mask] = chosen
        return result
    codes = np.zeros(shape, chosen.codes.dtype)
    codes[mask] = chosen.codes
    metas = []
    for meta, neutral in ((chosen._scale, 1.0), (chosen._offset, 0.0)):
        if meta.ndim:
            spread = np.full(shape, neutral)
            spread[mask] = grid.full(meta, chosen.shape)
            meta = spread
        metas.append(meta)
    return chosen._like(codes, *metas)


def _into(ufunc: Any, inputs: tuple[Any, ...], out: Any, where: Any) -> Any:
    """Write into `out`, keeping its grid; with `where`, only there."""
    kind = kind_of(ufunc)
    if kind not in ("d", "?", "i"):
        raise refusal(ufunc, "__call__")
    if not isinstance(out, LPArray):
        return ufunc(*(decoded(x) for x in inputs), out=out, where=where)
    if kind != "d":
        raise TypeError(
            f"np.{ufunc.__name__}: the result is {'boolean' if kind == '?' else 'integer'} and cannot be stored in an "
            f"LPArray"
        )
    if ufunc in ARITHMETIC and where is True:
        return _arithmetic_into(ufunc, inputs, out)
    _check_shape(ufunc, inputs, out)
    values = out.dequantize(np.float64)  # what `where` leaves out stays, whatever the function gives there
    with np.errstate(all="ignore"):
        ufunc(*(decoded(x) for x in inputs), out=values, where=where)
    if where is True:
        out._write(values, f"np.{ufunc.__name__}")
    else:
        mask = np.broadcast_to(where, out.shape)
        out[mask] = values[mask]
    return out


def _check_shape(ufunc: Any, inputs: tuple[Any, ...], out: LPArray) -> None:
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
    inputs = tuple(x if isinstance(x, LPArray) else plain_input(x, ufunc) for x in inputs)
    _check_shape(ufunc, inputs, out)
    a, b = (_readable(x, out) for x in inputs)
    if isinstance(a, LPArray) and isinstance(b, LPArray) and _tables.operate(ufunc, a, b, out) is not None:
        return out
    first, second = (x.operand() if isinstance(x, LPArray) else x for x in (a, b))
    name = f"np.{ufunc.__name__}"
    codec.run(ARITHMETIC[ufunc], first, second, out.operand(), out.policy(), name, keep_on_error=True)
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


# ---- methods -------------------------------------------------------------------------------------------------------


def _at(ufunc: np.ufunc, target: Any, indices: Any, *values: Any) -> None:
    """``ufunc.at``: all that comes to one element is accumulated in float64 and rounded once."""
    if ufunc.nout != 1 or isinstance(indices, LPArray):
        raise refusal(ufunc, "at")
    operands = [decoded(v) for v in values]
    if not isinstance(target, LPArray):
        ufunc.at(target, indices, *operands)
        return
    if kind_of(ufunc) != "d":
        raise refusal(ufunc, "at")
    positions = np.arange(target.size).reshape(target.shape)[indices]
    touched, inverse = np.unique(positions, return_inverse=True)
    places = np.unravel_index(touched, target.shape)
    sums = decoded(target[places])
    ufunc.at(sums, inverse.reshape(np.shape(positions)), *operands)
    target[places] = sums


def _reduce(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], out: Any, kwargs: dict[str, Any]) -> Any:
    """reduce, accumulate, reduceat: in float64, and plain arrays of the value dtype."""
    x = inputs[0]
    if kind_of(ufunc) not in ("d", "?") or any(isinstance(v, LPArray) for v in inputs[1:]):
        raise refusal(ufunc, method)
    dtype = kwargs.pop("dtype", None)
    if isinstance(out, LPArray):
        values = np.asarray(_reduce(ufunc, method, inputs, None, {**kwargs, "dtype": np.float64}))
        if values.shape != out.shape:
            raise ValueError(f"np.{ufunc.__name__}.{method}: out= has shape {out.shape}, the result {values.shape}")
        out[...] = values
        return out
    result = np.asarray(_reduced_values(ufunc, method, inputs, kwargs))
    wanted = dtype or (x.dtype if result.dtype.kind == "f" else result.dtype)
    if out is not None:
        np.copyto(out, result, casting="same_kind")
        return out
    return result.astype(wanted, copy=False)[()]


def _reduced_values(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result in float64 (or bool)."""
    x = inputs[0]
    initial = kwargs.get("initial")
    initial = None if initial is np._NoValue else initial
    if isinstance(x, LPArray) and method == "reduce" and kwargs.get("where", True) is True:
        axis, keepdims = kwargs.get("axis", 0), bool(kwargs.get("keepdims", False))
        if axis is not None:
            axis = normalize_axis_tuple(axis, x.ndim) if x.ndim else None
        if ufunc is np.add:
            total = linalg.sum_values(x, axis, keepdims)
            return total if initial is None else total + initial
        found = _ordering.extreme(ufunc, x, axis, keepdims) if ufunc in _EXTREMES else None
        if found is not None:
            return found if initial is None else ufunc(found, initial)
    return getattr(ufunc, method)(decoded(x), *inputs[1:], **kwargs)
