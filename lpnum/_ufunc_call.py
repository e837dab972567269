"""One ufunc on whole arrays, with a new result: the exact cases, tables of all codes, and the general path."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from lpnum import _result_grid, _tables, codec
from lpnum.array import LPArray
from lpnum.formats import FixedFormat, FloatFormat
from lpnum.rounding import Policy

ARITHMETIC = codec.ARITHMETIC
_CLOSED = {np.maximum, np.minimum, np.fmax, np.fmin}
_COMPARISONS = {np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal}
_IDENTITIES = {np.positive, np.conjugate}
_FACTORS = {np.negative: -1.0, np.degrees: 180.0 / np.pi, np.radians: np.pi / 180.0}
_FACTORS |= {np.rad2deg: _FACTORS[np.degrees], np.deg2rad: _FACTORS[np.radians]}


@dataclass(frozen=True)
class Elementwise:
    """A function of elements that is no ufunc of one output, with a ufunc's interface: ``modf`` part 1, ``round``."""

    function: Any
    output: int = 0
    keywords: tuple[tuple[str, Any], ...] = ()

    @property
    def __name__(self) -> str:
        return str(self.function.__name__)

    def __call__(self, *values: Any, out: Any = None, where: Any = True) -> Any:
        """The values of the output chosen."""
        result = self.function(*values, **dict(self.keywords))
        result = result[self.output] if isinstance(result, tuple) else result
        if out is None:
            return result
        np.copyto(out, result, where=where)
        return out

    def outer(self, a: Any, b: Any) -> Any:
        """The values for all pairs."""
        return self(*np.ix_(a, b))


def plain_input(x: Any, ufunc: Any) -> np.ndarray:
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"np.{ufunc.__name__}: an LPArray combines with real numbers, not with dtype {array.dtype}")
    return codec.as_float_array(array, f"np.{ufunc.__name__}")


def decoded(x: Any) -> np.ndarray:
    return x.dequantize(np.float64) if isinstance(x, LPArray) else np.asarray(x, np.float64)


def refusal(ufunc: Any, method: str) -> TypeError:
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    return TypeError(
        f"np.{name} is not defined for LPArray; use x.dequantize() for floats, or x.codes for the integers"
    )


@cache
def kind_of(ufunc: Any) -> str:
    """Type letter of the result for float64 inputs: "d", "?", or "" where there is no such loop; "di" for two."""
    if isinstance(ufunc, Elementwise):
        return kind_of(ufunc.function)[ufunc.output] if isinstance(ufunc.function, np.ufunc) else "d"
    wanted = "d" * ufunc.nin + "->"
    return next((t[len(wanted) :] for t in ufunc.types if t.startswith(wanted)), "")


def call(ufunc: Any, inputs: tuple[Any, ...]) -> Any:
    """The ufunc on whole arrays, with a new result."""
    if ufunc in ARITHMETIC:
        exact = _exact_affine(ufunc, *inputs)
        if exact is not None:
            return exact
    if ufunc in _FACTORS:
        return _affine(inputs[0], _FACTORS[ufunc], 0.0)
    if ufunc in _IDENTITIES:
        return inputs[0].copy()
    kind = kind_of(ufunc)
    if ufunc in _COMPARISONS:
        return _compare(ufunc, *inputs)
    if kind in ("?", "i"):
        return ufunc(*(decoded(x) for x in inputs))
    if kind != "d":
        raise refusal(ufunc, "__call__")
    table = by_table(ufunc, inputs)
    if table is not None:
        return table
    op = ARITHMETIC.get(ufunc)
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    if op is not None and all(isinstance(x, LPArray) for x in inputs):
        target = _result_grid.arithmetic(ufunc, inputs[0], inputs[1], shape)
        if target is not None:
            if _tables.operate(ufunc, inputs[0], inputs[1], target) is not None:
                return target
            operands = [x.operand() for x in inputs]
            codec.run(op, operands[0], operands[1], target.operand(), target.policy(), f"np.{ufunc.__name__}")
            return target
    closed = ufunc in _CLOSED
    target = _result_grid.general(ufunc, inputs, shape, closed=closed)
    if target is not None and len(inputs) == 2 and all(isinstance(x, LPArray) for x in inputs):
        if closed and _codes_are_ordered(*inputs) and target.same_grid(inputs[0]):
            target.codes = ufunc(inputs[0].codes, inputs[1].codes)
            return target
        if _tables.operate(ufunc, inputs[0], inputs[1], target) is not None:
            return target
    with np.errstate(all="ignore"):
        values = ufunc(*(_narrow(inputs) if closed else map(decoded, inputs)))
    if target is None:
        target = _result_grid.fitted(ufunc, inputs, values)
    codec.run(codec.COPY, values, None, target.operand(), target.policy(), f"np.{ufunc.__name__}")
    return target


# ---- scalars and plain arrays enter exactly ------------------------------------------------------------------------


def _affine(x: LPArray, factor: Any, shift: Any) -> LPArray:
    """``factor * x + shift`` with the codes of `x`; factor and shift broadcast to its shape."""
    scale, offset = np.asarray(x._scale * factor), np.asarray(x._offset * factor + shift)
    return x._like(x.codes.copy(), scale, offset)


def _exact_affine(ufunc: Any, a: Any, b: Any) -> LPArray | None:
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
        if isinstance(x.format, FloatFormat) and x.format.nan_code is not None:
            return None
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


def _scalar_affine(ufunc: Any, x: LPArray, v: float, x_first: bool) -> LPArray | None:
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


def _codes_are_ordered(a: LPArray, b: LPArray) -> bool:
    """Whether the codes of two arrays compare like their values: fixed point on one grid of positive scale."""
    one_grid = isinstance(a.format, FixedFormat) and a._scale.ndim == a._offset.ndim == 0 and a.same_grid(b)
    return one_grid and float(a._scale) > 0


def _narrow(inputs: tuple[Any, ...]) -> list[np.ndarray]:
    """The values in float32 where it holds all of them exactly, else in float64."""
    unscaled = all(isinstance(x, LPArray) and _is_unscaled_float(x) for x in inputs)
    return [x.dequantize(np.float32) if unscaled else decoded(x) for x in inputs]


def _is_unscaled_float(x: LPArray) -> bool:
    fmt = x.format
    if not isinstance(fmt, FloatFormat) or x._scale.ndim or x._offset.ndim or float(x._scale) != 1 or float(x._offset):
        return False
    return fmt.min_exponent >= -126 and fmt.max_exponent <= 127


def _compare(ufunc: Any, a: Any, b: Any) -> Any:
    """Plain bool array: on codes or by table where that is possible."""
    if isinstance(a, LPArray) and isinstance(b, LPArray):
        if _codes_are_ordered(a, b):
            return ufunc(a.codes, b.codes)
        found = _tables.compare(ufunc, a, b)
        if found is not None:
            return found
    return ufunc(*_narrow((a, b)))


def by_table(ufunc: Any, inputs: tuple[Any, ...]) -> LPArray | None:
    """A function of one array on one grid (other inputs scalars) through a table of all its codes, if that applies."""
    arrays = [x for x in inputs if isinstance(x, LPArray)]
    if len(arrays) != 1 or any(np.size(v) != 1 or np.ndim(v) > arrays[0].ndim for v in inputs if v is not arrays[0]):
        return None
    x = arrays[0]
    policy = x.policy()
    plain_grid = x._scale.ndim == x._offset.ndim == 0 and float(x._scale) == 1.0 and float(x._offset) == 0.0
    result = policy.result or ("keep" if plain_grid and not x.format.calibrated else "cover")
    if x._scale.ndim or x._offset.ndim or result in ("fit", "exact"):
        return None
    arguments = tuple(None if v is x else float(v) for v in inputs)
    row = _result_grid.image(ufunc, arguments, x.format, float(x._scale), float(x._offset))
    if row is None:  # some code has no finite image, and with it no bound: the values decide
        return None
    _, fmt, scale, offset = row
    if result == "keep":
        fmt, scale, offset = x.format, float(x._scale), float(x._offset)
    target = x._like(np.empty(x.shape, x.codes.dtype), np.array(scale), np.array(offset))
    target.format = fmt
    if not _tables.applies(policy):
        with np.errstate(all="ignore"):
            exact = ufunc(*(decoded(x) if v is None else v for v in arguments))
        codec.run(codec.COPY, exact, None, target.operand(), policy, f"np.{ufunc.__name__}")
        return target
    source = x.format, float(x._scale), float(x._offset)
    table = _code_table(ufunc, arguments, source, (fmt, scale, offset), policy.rounding, policy.overflow)
    if x.itemsize == 1 and x.codes.flags.c_contiguous:
        _tables.map8(x.codes, table, target.codes)
    else:
        np.take(table, x.codes, out=target.codes, mode="wrap")
    return target


@lru_cache(maxsize=64)
def _code_table(ufunc: Any, arguments: Any, source: Any, target: Any, mode: Any, overflow: Any) -> np.ndarray:
    """Code of the result for every code of the argument that is None, by the bytes or words of the codes."""
    row = _result_grid.image(ufunc, arguments, *source)
    assert row is not None  # the caller has seen it
    fmt, scale, offset = target
    images = np.empty(row[0].shape, fmt.storage)
    operand = images, scale * fmt.unit, offset, fmt.kernel
    codec.run(codec.COPY, row[0], None, operand, Policy(mode, overflow), f"np.{ufunc.__name__}")
    table = np.zeros(1 << (8 * fmt.storage.itemsize), fmt.storage)
    table[source[0].all_codes()] = images  # a negative code indexes from the end: two's complement
    return table
