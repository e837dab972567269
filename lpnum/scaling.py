"""Choosing a grid: pure functions from data, or from a range of values, to (scale, offset)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lpnum.formats import FixedFormat, FloatFormat, Format, format
from lpnum.rounding import one_of

__all__ = ["CALIBRATIONS", "calibrate", "cover"]

CALIBRATIONS = ("absmax", "minmax", "rms")

# "rms" puts the end of the range at this many standard deviations: clipping below 1e-4 of Gaussian data.
_RMS_RANGE = 4.0


def calibrate(
    values: np.ndarray,
    fmt: Format,
    calibration: str = "absmax",
    axis: int | tuple[int, ...] | None = None,
    offset: Any = None,
) -> tuple[Any, Any]:
    """Scale and offset for data.

    =========== ========================================= =============================
    calibration scale * unit                              offset
    =========== ========================================= =============================
    absmax      max abs(x) / code_max                     0
    minmax      (max x - min x) / (code_max - code_min)   so that min x is code_min
    rms         4 * sqrt(mean x^2) / code_max             0
    =========== ========================================= =============================

    Parameters
    ----------
    values : ndarray of floats
        Finite.
    fmt : format
    calibration : {"absmax", "minmax", "rms"}
    axis : int or tuple of int, optional
        Axes that keep a scale each (per channel); None gives one scale.
    offset : float or array, optional
        Fixed by the caller; then only the scale is chosen, for ``values - offset``.

    Returns
    -------
    scale, offset : float, or float64 arrays with the shape of `values` where a scale is kept and 1 elsewhere

    Examples
    --------
    >>> from lpnum.scaling import calibrate
    >>> calibrate(np.array([-1.0, 2.54]), lpnum.fixed8)
    (0.02, 0.0)

    Notes
    -----
    Data that is all zero (or constant, for minmax) gets scale 1, so that every grid is usable. Unsigned formats have no
    negative codes: "absmax" and "rms" there serve data without negative values, and raise if there is any.
    """
    one_of(calibration, CALIBRATIONS, "calibration")
    fmt, values = _format_of_numbers(fmt, "lpnum.scaling.calibrate"), np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"lpnum.scaling.calibrate: values must be real numbers, not {values.dtype}")
    reduced = reduced_axes(values.ndim, axis)
    centered = values if offset is None else values - np.asarray(offset)
    if values.size == 0:
        shape = tuple(1 if k in reduced else n for k, n in enumerate(values.shape))
        one = np.ones(shape) if axis is not None else 1.0
        return one, np.zeros_like(one) if offset is None else offset
    low = np.min(centered, axis=tuple(reduced), keepdims=True).astype(np.float64)
    high = np.max(centered, axis=tuple(reduced), keepdims=True).astype(np.float64)
    mean_square = None
    if calibration == "rms":
        with np.errstate(over="ignore"):
            square = np.square(centered, dtype=np.float64)
        mean_square = np.mean(square, axis=tuple(reduced), keepdims=True)
    scale, chosen = from_statistics(low, high, mean_square, fmt, calibration, offset)
    if axis is None:
        return float(scale.reshape(())), float(np.reshape(chosen, ())) if offset is None else offset
    return scale, chosen


def from_statistics(
    low: np.ndarray, high: np.ndarray, mean_square: Any, fmt: Format, calibration: str, offset: Any = None
) -> tuple[np.ndarray, Any]:
    """Scale and offset from what `calibrate` needs to know of ``values - offset``.

    Parameters
    ----------
    low, high : float64 arrays
        Smallest and largest value, one per scale.
    mean_square : float64 array or None
        Mean of the squares; only "rms" uses it.
    fmt, calibration, offset
        As for `calibrate`.

    Returns
    -------
    scale, offset : arrays of the shape of `low` (an offset that was given is returned as it is)
    """
    for bound in (low, high):
        if not np.isfinite(bound).all():
            raise ValueError(
                "calibration: the data holds NaN or infinity, so no scale can be chosen from it; "
                "clean the data, or give scale= (infinities are then clamped) and nan="
            )
    if calibration != "minmax" and not fmt.signed and (low < 0).any():
        raise ValueError(
            f"calibration: {fmt!r} is unsigned and the data goes down to {low.min():g}; "
            "use calibration='minmax', give offset=, or take a signed format"
        )
    if isinstance(fmt, FloatFormat) and calibration != "rms":
        calibration = "absmax"  # the values are symmetric about 0
    if calibration == "minmax" and offset is None:
        step = (high - low) / (fmt.code_max - fmt.code_min)
        step = np.where(step > 0, step, fmt.unit)
        chosen: Any = low - step * fmt.code_min
    else:
        if calibration == "rms":
            reach = _RMS_RANGE * np.sqrt(mean_square)
        else:
            reach = np.maximum(high, -low)
        step = reach / (fmt.max / fmt.unit)
        if calibration == "minmax" and fmt.signed:
            step = np.maximum(high / fmt.code_max, low / fmt.code_min)
        chosen = np.zeros_like(step) if offset is None else offset
    step = np.where(step > 0, step, fmt.unit)
    return step / fmt.unit, chosen


def reduced_axes(ndim: int, axis: int | tuple[int, ...] | None) -> list[int]:
    """Axes that share a scale: all but those in `axis`."""
    if axis is None:
        return list(range(ndim))
    kept = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    for k in kept:
        if not -ndim <= k < ndim:
            raise ValueError(f"axis: {k} is out of range for data with {ndim} dimensions")
    kept = tuple(k % ndim for k in kept)
    return [k for k in range(ndim) if k not in kept]


def _format_of_numbers(fmt: Any, where: str) -> Format:
    """The format, or the one of a name; not that of a block."""
    found = format(fmt)
    if not isinstance(found, FixedFormat | FloatFormat):
        raise TypeError(f"{where}: {found!r} has a scale in each block; take its element format")
    return found


def cover(low: Any, high: Any, fmt: Format) -> tuple[Any, Any]:
    """Smallest grid of a format that contains ``[low, high]``, with 0 a value of it if 0 lies inside.

    Parameters
    ----------
    low, high : float or float64 array
        Finite bounds, low <= high.

    Returns
    -------
    scale, offset : float or float64 array

    Examples
    --------
    >>> from lpnum.scaling import cover
    >>> cover(-1.28, 1.27, lpnum.fixed8)
    (0.01, 0.0)
    >>> cover(0.0, 1.0, lpnum.ufixed4)
    (0.06666666666666667, 0.0)
    >>> cover(-2.0, 896.0, lpnum.float8_e4m3fn)
    (2.0, 0.0)
    """
    fmt = _format_of_numbers(fmt, "lpnum.scaling.cover")
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if isinstance(fmt, FloatFormat):
        reach = np.maximum(np.abs(low), np.abs(high)) / fmt.max
        scale = np.where(reach > 0, reach, 1.0)
        return (float(scale), 0.0) if scale.ndim == 0 else (scale, np.zeros(()))
    n = fmt.code_max - fmt.code_min
    width = high - low
    with np.errstate(divide="ignore", invalid="ignore"):
        # 0 inside: it gets the code `zero` steps above the lowest one
        zero = np.clip(np.rint(n * (-low / width)), np.where(low < 0, 1, 0), np.where(high > 0, n - 1, n))
        step_zero = np.fmax(-low / zero, high / (n - zero))
        inside = (low <= 0) & (high >= 0) & (width > 0)
        step = np.where(inside, step_zero, width / n)
    step = np.where(step > 0, step, np.where(np.abs(low) > 0, np.abs(low), fmt.unit))
    lowest = np.where(width > 0, low - step * fmt.code_min, low)  # a single value is code 0, exactly
    offset = np.where(inside, -step * (zero + fmt.code_min), lowest) + 0.0
    scale = step / fmt.unit
    return (float(scale), float(offset)) if scale.ndim == 0 else (scale, offset)
