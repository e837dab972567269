"""On which grid does the result of an operation lie? The policies "keep", "cover", "fit" and "exact".

"cover" depends on the grids of the inputs only, never on their values, so ``(a op b)[i] == a[i] op b[i]``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from lpnum import codec
from lpnum.array import LPArray
from lpnum.formats import FixedFormat, FloatFormat, Format, promote
from lpnum.scaling import calibrate, cover

# "exact" needs grids whose steps are integer multiples of each other; this is how far from an integer a ratio of two
# float64 steps may be by rounding alone.
_RATIO_TOLERANCE = 2.0**-50


def _new(like: LPArray, shape: tuple[int, ...], fmt: Format, scale: Any, offset: Any, dtype: Any) -> LPArray:
    new = like._like(np.empty(shape, fmt.storage), np.asarray(scale, np.float64), np.asarray(offset, np.float64))
    new.format, new.dtype = fmt, np.dtype(dtype)
    return new


def _step(x: LPArray) -> np.ndarray:
    return x._scale * x.format.unit


def _common(a: np.ndarray, ndim: int) -> np.ndarray:
    """Compact metadata of an array with fewer dimensions, as metadata of the broadcast result."""
    return a if a.ndim == 0 else a.reshape((1,) * (ndim - a.ndim) + a.shape)


def _calibrated(fmt: Format) -> Format:
    """The format whose scale may be chosen: fixed point without its binary point; floats as they are."""
    return fmt if isinstance(fmt, FloatFormat) else FixedFormat(fmt.bits, signed=fmt.signed)


def policy_of(a: LPArray, b: LPArray) -> str:
    """The result policy of an operation on two arrays."""
    said = a.policy().result
    if said is not None:
        return said
    own_range = not a.format.calibrated and not b.format.calibrated
    return "keep" if own_range and a.same_grid(b) else "cover"


def arithmetic(ufunc: np.ufunc, a: LPArray, b: LPArray, shape: tuple[int, ...]) -> LPArray | None:
    """Empty result of ``a op b`` on its grid; None where only the values can tell ("fit")."""
    policy = policy_of(a, b)
    dtype = np.result_type(a.dtype, b.dtype)
    if policy == "keep":
        if not a.same_grid(b):
            raise ValueError(
                "result='keep' needs two arrays of equal format, scale and offset; "
                "use b.rescale(a.scale, a.offset), out=, or result='cover'"
            )
        return _new(a, shape, a.format, a._scale.copy(), a._offset.copy(), dtype)
    if policy == "exact":
        return _new(a, shape, *_exact_grid(ufunc, a, b), dtype)
    if policy == "fit":
        return None
    metas = (a._scale, a._offset, b._scale, b._offset)
    if all(m.ndim == 0 for m in metas):
        grid = _cover_scalars(ufunc, a.format, b.format, *map(float, metas))
    else:
        grid = _cover_grid(ufunc, a.format, b.format, *(_common(m, len(shape)) for m in metas))
    return None if grid is None else _new(a, shape, *grid, dtype)


def _cover_grid(
    ufunc: np.ufunc,
    format_a: Format,
    format_b: Format,
    scale_a: Any,
    center_a: Any,
    scale_b: Any,
    center_b: Any,
) -> tuple[Format, Any, Any] | None:
    """The smallest grid that no pair of representable inputs leaves.

    Deviations from the offsets are bounded apart, so that the scale stays a number where only the offsets are arrays.
    """
    fmt = _calibrated(promote(format_a, format_b))
    ends_a = [scale_a * format_a.min, scale_a * format_a.max]
    ends_b = [scale_b * format_b.min, scale_b * format_b.max]
    if ufunc is np.divide:
        divisors = np.stack(np.broadcast_arrays(*(center_b + e for e in ends_b)))
        if not ((divisors > 0).all(0) | (divisors < 0).all(0)).all():
            return None
        corners = [(center_a + p) / (center_b + q) for p in ends_a for q in ends_b]
        center: Any = 0.0
    elif ufunc is np.multiply:
        center = center_a * center_b
        corners = [center_a * q + center_b * p + p * q for p in ends_a for q in ends_b]
    else:
        sign = 1.0 if ufunc is np.add else -1.0
        center = center_a + sign * center_b
        corners = [p + sign * q for p in ends_a for q in ends_b]
    low, high = corners[0], corners[0]
    for corner in corners[1:]:
        low, high = np.minimum(low, corner), np.maximum(high, corner)
    scale, offset = cover(low, high, fmt)
    return fmt, scale, center + offset


# scalar grids repeat in a program; finding one costs more than adding a thousand elements
_cover_scalars = lru_cache(maxsize=1024)(_cover_grid)


def _exact_grid(ufunc: np.ufunc, a: LPArray, b: LPArray) -> tuple[Format, Any, Any]:
    """A grid of up to 16 bits that holds every result without rounding."""
    scalar = all(m.ndim == 0 for x in (a, b) for m in (x._scale, x._offset))
    fixed = isinstance(a.format, FixedFormat) and isinstance(b.format, FixedFormat)
    if ufunc is np.divide or not scalar or not fixed:
        raise ValueError(
            "result='exact' is defined for +, - and * of fixed-point arrays with one scale and offset each"
        )
    step_a, step_b = float(_step(a)), float(_step(b))
    codes_a = np.array([a.format.code_min, a.format.code_max], dtype=object)
    codes_b = np.array([b.format.code_min, b.format.code_max], dtype=object)
    if ufunc is np.multiply:
        if float(a._offset) or float(b._offset):
            raise ValueError("result='exact': a product is exact only for arrays with offset 0")
        step, offset = step_a * step_b, 0.0
        reach = np.multiply.outer(codes_a, codes_b)
    else:
        step = min(step_a, step_b, key=abs)
        ratios = [round(s / step) for s in (step_a, step_b)]
        if any(abs(s / step - r) > _RATIO_TOLERANCE * abs(r) for s, r in zip((step_a, step_b), ratios, strict=True)):
            raise ValueError(f"result='exact': the scales {step_a:g} and {step_b:g} are not multiples of each other")
        sign = 1 if ufunc is np.add else -1
        offset = float(a._offset) + sign * float(b._offset)
        reach = np.add.outer(codes_a * ratios[0], sign * ratios[1] * codes_b)
    low, high = int(reach.min()), int(reach.max())
    signed = low < 0
    for bits in (max(a.format.bits, b.format.bits), 8, 16):
        fmt = FixedFormat(bits, signed=signed)
        if fmt.code_min <= low and high <= fmt.code_max:
            return fmt, step, offset
    raise ValueError(f"result='exact': results need codes from {low} to {high}, more than 16 bits hold")


def _common_format(inputs: tuple[Any, ...]) -> tuple[list[LPArray], Format, np.dtype]:
    """The low-precision inputs, their promoted format and value dtype."""
    arrays = [x for x in inputs if isinstance(x, LPArray)]
    fmt = arrays[0].format
    for x in arrays[1:]:
        fmt = promote(fmt, x.format)
    return arrays, fmt, np.result_type(*(x.dtype for x in arrays))


def general(ufunc: np.ufunc, inputs: tuple[Any, ...], shape: tuple[int, ...], *, closed: bool) -> LPArray | None:
    """Empty result for any other function of arrays; None where only the values can tell (`fitted`)."""
    arrays, fmt, dtype = _common_format(inputs)
    first = arrays[0]
    policy = first.policy().result
    equal = all(first.same_grid(x) for x in arrays[1:]) and (len(arrays) == len(inputs) or not closed)
    fits = first._scale.ndim == first._offset.ndim == 0 or first.shape == shape
    own_range = equal and not fmt.calibrated
    if own_range and len(inputs) == 1 and first._scale.ndim == first._offset.ndim == 0:
        own_range = float(first._scale) == 1.0 and float(first._offset) == 0.0  # see `_float_grid`
    if policy == "keep" or (policy is None and fits and equal and (closed or own_range)):
        if not (equal and fits):
            raise ValueError("result='keep' needs arrays of equal format, scale and offset, and of the result's shape")
        return _new(first, shape, first.format, first._scale.copy(), first._offset.copy(), dtype)
    if policy == "exact":
        raise ValueError(f"result='exact' is not defined for np.{ufunc.__name__}; use +, - or *, or x.dequantize()")
    if isinstance(fmt, FloatFormat):
        return _new(first, shape, fmt, 1.0, 0.0, dtype)
    if policy in (None, "cover") and len(arrays) == len(inputs) == 2:
        pair = _pair_grid(ufunc, arrays[0], arrays[1], fmt)
        if pair is not None:
            return _new(first, shape, *pair, dtype)
    return None


def fitted(ufunc: np.ufunc, inputs: tuple[Any, ...], values: np.ndarray) -> LPArray:
    """Empty result on the fixed-point grid that is calibrated on the values, the results in float64."""
    arrays, fmt, dtype = _common_format(inputs)
    fmt = _calibrated(fmt)
    finite = np.isfinite(values)
    if not finite.all():
        bad = int(values.size - finite.sum())
        raise ValueError(
            f"np.{ufunc.__name__}: {bad} of {values.size} results are NaN or infinite, "
            f"and {fmt!r} has no code for them; use x.dequantize() for float arithmetic"
        )
    bounded = fmt.signed or not values.size or values.min() >= 0
    scale, offset = calibrate(values, fmt, "absmax" if bounded else "minmax")
    return _new(arrays[0], values.shape, fmt, scale, offset, dtype)


def _reach(x: Any) -> tuple[Any, Any]:
    """Bounds of what an LPArray can hold, or of the finite values of a plain array."""
    if isinstance(x, LPArray):
        ends = x._offset + x._scale * x.format.min, x._offset + x._scale * x.format.max
        return np.minimum(*ends), np.maximum(*ends)
    finite = np.asarray(x, np.float64)
    finite = finite[np.isfinite(finite)]
    return (finite.min(), finite.max()) if finite.size else (np.inf, -np.inf)


def holds(x: LPArray, values: Any) -> bool:
    """Whether no value leaves the grid of `x`; half a step beyond the end still rounds to it."""
    low, high = _reach(x)
    margin = 0.0 if isinstance(x.format, FloatFormat) else 0.5 * np.abs(_step(x))
    smallest, largest = _reach(values)
    return bool((smallest >= low - margin).all() and (largest <= high + margin).all())


def union(options: list[Any], shape: tuple[int, ...]) -> LPArray:
    """Empty array of a shape that can hold every option: LPArrays, and plain numbers or arrays (at least one LPArray).

    Equal grids that hold the plain values are kept, and so are float formats, which have a range of their own.
    Otherwise the grid covers the ranges of the grids and the plain values ("cover"; "keep" insists on equal grids).
    """
    arrays = [x for x in options if isinstance(x, LPArray)]
    plain = [x for x in options if not isinstance(x, LPArray)]
    first = arrays[0]
    dtype = np.result_type(*(x.dtype for x in arrays))
    policy = first.policy().result
    equal = all(first.same_grid(x) for x in arrays[1:])
    fits = first._scale.ndim == first._offset.ndim == 0 or np.broadcast_shapes(first.shape, shape) == shape
    own_range = not first.format.calibrated
    if equal and fits and (policy == "keep" or own_range or all(holds(first, v) for v in plain)):
        scale, offset = (_common(m, len(shape)).copy() for m in (first._scale, first._offset))
        return _new(first, shape, first.format, scale, offset, dtype)
    if policy in ("keep", "exact"):
        raise ValueError(f"result={policy!r} needs arrays of equal format, scale and offset; see x.rescale")
    fmt = first.format
    for x in arrays[1:]:
        fmt = promote(fmt, x.format)
    bounds = [tuple(_common(np.asarray(b), len(shape)) for b in _reach(x)) for x in options]
    low, high = bounds[0]
    for smallest, largest in bounds[1:]:
        low, high = np.minimum(low, smallest), np.maximum(high, largest)
    return _new(first, shape, _calibrated(fmt), *cover(low, high, _calibrated(fmt)), dtype)


def place(values: Any, first: LPArray, where: str) -> LPArray:
    """A plain array in the format of `first`: on its grid where that is one and holds it, else on one of its own."""
    values = codec.as_float_array(values, where)
    keep = first._scale.ndim == first._offset.ndim == 0 and (not first.format.calibrated or holds(first, values))
    if keep:
        scale, offset = first._scale.copy(), first._offset.copy()
    else:
        bounded = isinstance(first.format, FloatFormat) or first.format.signed or not (values < 0).any()
        scale, offset = map(np.asarray, calibrate(values, first.format, "absmax" if bounded else "minmax"))
    new = _new(first, values.shape, first.format, scale, offset, first.dtype)
    new._write(values, where)
    return new


def _pair_grid(ufunc: Any, a: LPArray, b: LPArray, fmt: Format) -> tuple[Format, float, float] | None:
    """Cover of the image of all pairs of codes, for two arrays of at most 8 bits with scalar grids."""
    if any(m.ndim for x in (a, b) for m in (x._scale, x._offset)) or max(a.format.bits, b.format.bits) > 8:
        return None
    fmt = _calibrated(fmt)
    grids = ((x.format, float(x._scale), float(x._offset)) for x in (a, b))
    covering = _pair_image(ufunc, fmt, *(part for grid in grids for part in grid))
    return None if covering is None else (fmt, *covering)


def _values(fmt: Format, scale: float, offset: float) -> np.ndarray:
    values = fmt.code_values * scale
    return values if offset == 0 else offset + values


@lru_cache(maxsize=256)
def _pair_image(ufunc: Any, fmt: Format, *grids: Any) -> tuple[float, float] | None:
    """The grid that covers the results for all pairs of codes; None if one is not finite."""
    with np.errstate(all="ignore"):
        values = ufunc.outer(_values(*grids[:3]), _values(*grids[3:]))
    return _covering(values, fmt) if np.isfinite(values).all() else None


# Results that are multiples of one number come from float64 arithmetic; this is how far they may be off.
_LATTICE_TOLERANCE = 2.0**-40


def _covering(values: np.ndarray, fmt: Format) -> tuple[float, float]:
    """The smallest grid that covers finite values; one that holds them all exactly, if there is one.

    Exactly: the values are multiples of a number (all that `floor`, `abs` or ``maximum(x, 0)`` can give), and there are
    codes enough for the multiples between the ends.
    """
    low, high = float(values.min()), float(values.max())
    distinct = np.unique(values)
    if isinstance(fmt, FloatFormat) or not 2 <= distinct.size <= fmt.code_max - fmt.code_min + 1:
        return cover(low, high, fmt)
    with np.errstate(over="ignore"):
        gap = float(np.diff(distinct).min())
    if not high - low <= gap * (fmt.code_max - fmt.code_min + 0.5):
        return cover(low, high, fmt)
    count = np.rint((high - low) / gap)
    step = (high - low) / count
    multiples = (distinct - low) / step
    if np.abs(multiples - np.rint(multiples)).max() > _LATTICE_TOLERANCE * count:
        return cover(low, high, fmt)
    first = np.rint(low / step)
    last = first + count
    centered = abs(low - first * step) <= _LATTICE_TOLERANCE * (abs(low) + step)  # 0 is one of the multiples
    finer = min(fmt.code_max / last if last > 0 else np.inf, fmt.code_min / first if first < 0 else np.inf)
    if not centered or finer < 1:
        centered, finer = False, (fmt.code_max - fmt.code_min) / count
    step /= 2.0 ** np.floor(np.log2(finer))  # codes to spare; a power of two rounds nothing
    return float(step / fmt.unit), 0.0 if centered else float(low - step * fmt.code_min)


def _float_grid(values: np.ndarray, fmt: FloatFormat, scale: float, offset: float) -> tuple[float, float]:
    """Scale and offset of a function's results: those of the array, which serve the format's own range.

    Where a scale says which range is in use (0.001 and ``exp``), the grid is left if the results leave it: for the one
    that covers them, if the format without a scale would, else for the format without a scale.
    """
    finite = values[np.isfinite(values)]
    if (scale, offset) == (1.0, 0.0) or not finite.size:
        return scale, offset
    low, high = float(finite.min()), float(finite.max())
    ends = sorted((offset + scale * fmt.min, offset + scale * fmt.max))
    if ends[0] <= low and high <= ends[1]:
        return scale, offset
    return cover(low, high, fmt) if fmt.min <= low and high <= fmt.max else (1.0, 0.0)


@lru_cache(maxsize=64)
def image(
    ufunc: Any, arguments: tuple[float | None, ...], fmt: Format, scale: float, offset: float
) -> tuple[np.ndarray, Format, float, float] | None:
    """Values of the function at all codes (the argument that is None), and the grid that covers them."""
    values = _values(fmt, scale, offset)
    with np.errstate(all="ignore"):
        values = ufunc(*(values if v is None else v for v in arguments))
    if isinstance(fmt, FloatFormat):
        if np.isnan(values).any() and fmt.nan_code is None:
            return None
        return values, fmt, *_float_grid(values, fmt, scale, offset)
    if not np.isfinite(values).all():
        return None
    return values, _calibrated(fmt), *_covering(values, _calibrated(fmt))
