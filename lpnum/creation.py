"""Functions that make LPArrays, with NumPy's names and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from lpnum import _block_creation, _result_grid, codec, formats, grid
from lpnum._base import own_policy
from lpnum.array import LPArray, unwritten
from lpnum.block_array import BlockArray
from lpnum.formats import Format
from lpnum.scaling import calibrate

fixed8 = formats.format("fixed8")

__all__ = [
    "arange",
    "array",
    "asarray",
    "dequantize",
    "empty",
    "empty_like",
    "from_codes",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "quantize",
    "zeros",
    "zeros_like",
]


def array(
    obj: Any,
    dtype: Any = fixed8,
    *,
    scale: Any = None,
    offset: Any = None,
    axis: int | tuple[int, ...] | None = None,
    calibration: str | None = None,
    rounding: str | None = None,
    overflow: str | None = None,
    rng: Any = None,
    nan: float | None = None,
) -> Any:
    """Low-precision array of the values of `obj`: ``code = round((value - offset) / scale)``.

    Parameters
    ----------
    obj : array_like of real numbers, or LPArray
    dtype : format, block format, name of one, or a NumPy dtype
        A NumPy dtype makes a plain ndarray, as `numpy.array` does. A block format makes a `BlockArray`, with blocks
        along `axis` (the last by default); `scale` is then the tensor scale, for formats that have one.
    scale : float or array_like, optional
        Greater than 0, broadcasting to the values' shape (with `axis`, a 1-d array runs along it). Not given: chosen
        by `calibration`, or 1 for a format with a binary point.
    offset : float or array_like, optional
        Value of code 0; default 0, or chosen by ``calibration="minmax"``.
    axis : int or tuple of int, optional
        Axes along which scale and offset are chosen separately (per channel).
    calibration : {"absmax", "minmax", "rms"}, optional
        How the scale is chosen, see `lpnum.scaling.calibrate`; "absmax" if not given, except that formats that carry
        their own range then get scale 1.
    rounding, overflow : str, optional
        Used now, and kept by the array for later in-place operations.
    rng : int, CounterRNG or numpy.random.Generator, optional
        Source of random bits; kept by the array.
    nan : float, optional
        Value to store in place of NaN; without it NaN is an error.

    Returns
    -------
    LPArray
        ``x.dtype`` is float32 for float16 and float32 values, else float64; a float64 array as offset makes it float64.

    Raises
    ------
    ValueError
        For NaN, a scale that is not positive, or a scale that does not broadcast.

    Examples
    --------
    >>> lpnum.array([[1.0, 2.0], [300.0, 400.0]], axis=0).scale
    array([[0.01574803],
           [3.1496063 ]])
    >>> lpnum.array([0.1, 0.9, 2.0], dtype=lpnum.fixed(8, frac=6))
    LPArray([0.09375 , 0.90625 , 1.984375], format=lpnum.fixed(8, frac=6), scale=1)
    """
    block = formats.block_format(dtype)
    if block is not None:
        grid_of_blocks = {"scale": scale, "offset": offset, "axis": axis, "calibration": calibration}
        return _block_creation.from_values(
            obj, block, **grid_of_blocks, rounding=rounding, overflow=overflow, rng=rng, nan=nan
        )
    if not formats.is_format(dtype):
        return np.array(obj, dtype=_plain_dtype(dtype, "lpnum.array"))
    fmt = formats.format(dtype)
    values = obj.dequantize() if isinstance(obj, LPArray) else codec.as_float_array(obj, "lpnum.array", to_odd=True)
    wide = isinstance(offset, np.ndarray) and offset.dtype == np.float64
    scale, offset = _choose_grid(values, fmt, scale, offset, axis, calibration, nan)
    dtype = np.float64 if wide else values.dtype
    new = unwritten(values.shape, fmt, scale, offset, dtype, own_policy(rounding, overflow, rng))
    nan_code = None
    if nan is not None:
        if new._scale.ndim or new._offset.ndim:
            raise ValueError("lpnum.array: nan= needs one scale and one offset for the whole array")
        nan_code = codec.nan_code_of(nan, new.scale, new.offset, fmt)
    codec.run(codec.COPY, values, None, new.operand(), new.policy(), "lpnum.array", nan_code=nan_code)
    return new


def _choose_grid(
    values: np.ndarray, fmt: Format, scale: Any, offset: Any, axis: Any, calibration: str | None, nan: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset as metadata: given by the caller, or chosen from the values."""
    if axis is not None:
        scale, offset = (_along(meta, values.ndim, axis) for meta in (scale, offset))
    if offset is not None:
        offset = grid.as_metadata(offset, values.shape, "offset")
    if scale is not None:
        scale = grid.as_metadata(scale, values.shape, "scale", positive=True)
    elif not fmt.calibrated and calibration is None:
        scale = np.array(1.0)
    else:
        if nan is not None:
            values = np.where(np.isnan(values), np.asarray(nan, values.dtype), values)
        scale, offset = map(np.asarray, calibrate(values, fmt, calibration or "absmax", axis, offset))
    return scale, np.array(0.0) if offset is None else offset


def _along(meta: Any, ndim: int, axis: int | tuple[int, ...]) -> Any:
    """A 1-d scale or offset turned to run along one axis."""
    if meta is None or np.ndim(meta) != 1 or not isinstance(axis, int | np.integer) or ndim <= 1:
        return meta
    return np.reshape(meta, [-1 if k == axis % ndim else 1 for k in range(ndim)])


def _plain_dtype(dtype: Any, where: str) -> np.dtype:
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        formats.format(dtype)  # raises with near names
        raise TypeError(f"{where}: dtype must be a format, its name or a NumPy dtype, not {dtype!r}") from None
    if wanted.names is not None:  # a TypeError tells Dask to do without
        raise TypeError(f"{where}: structured dtypes are not supported; use NumPy's function")
    return wanted


def quantize(values: Any, dtype: Any = fixed8, *, out: LPArray | None = None, **kwargs: Any) -> LPArray:
    """Values on a low-precision grid: `array`, or with `out` onto the grid of an existing array.

    Parameters
    ----------
    values : array_like of real numbers
    dtype : format or its name
    out : LPArray, optional
        Receives the values on its own grid, with its own rounding; nothing is allocated.
    **kwargs
        As for `array`.

    Examples
    --------
    >>> w = lpnum.zeros(2, dtype=lpnum.fixed8, scale=0.5)
    >>> lpnum.quantize([1.1, -3.0], out=w)
    LPArray([ 1., -3.], format=lpnum.fixed8, scale=0.5)
    """
    if out is None:
        if not formats.is_format(dtype) and formats.block_format(dtype) is None:
            raise TypeError(f"lpnum.quantize: dtype must be a format or its name, not {dtype!r}")
        return array(values, dtype, **kwargs)
    if kwargs:
        raise TypeError(f"lpnum.quantize: {', '.join(kwargs)} cannot be given with out=, which has its own grid")
    out[...] = values
    return out


def dequantize(x: LPArray, dtype: Any = None) -> np.ndarray:
    """The values of an LPArray as a plain array; ``x.dequantize(dtype)``."""
    if not isinstance(x, LPArray | BlockArray):
        raise TypeError(f"lpnum.dequantize: expected an LPArray or a BlockArray, not {type(x).__name__}")
    return x.dequantize(dtype)


def asarray(obj: Any, dtype: Any = None, **kwargs: Any) -> Any:
    """`obj` itself if it is an LPArray of the format wanted, else `array`.

    >>> x = lpnum.ones(2)
    >>> lpnum.asarray(x) is x
    True
    """
    wanted = dtype is None or formats.is_format(dtype) or formats.block_format(dtype) is not None
    if isinstance(obj, LPArray | BlockArray) and not kwargs and wanted:
        block = isinstance(obj, BlockArray) or formats.block_format(dtype) is None
        if block:
            return obj if dtype is None else obj.astype(dtype, copy=False)
    return array(obj, fixed8 if dtype is None else dtype, **kwargs)


def from_codes(codes: Any, dtype: Any = fixed8, scale: Any = 1.0, offset: Any = 0.0, **kwargs: Any) -> LPArray:
    """Array of existing codes (not copied where their dtype is the format's storage).

    Parameters
    ----------
    codes : array_like of integers
        Within the format's range, else ValueError.
    dtype : format or its name
    scale, offset : float or array_like
    **kwargs
        ``rounding``, ``overflow``, ``rng`` as for `array`.

    Examples
    --------
    >>> lpnum.from_codes([1, 2, 3], lpnum.ufixed4, scale=0.5)
    LPArray([0.5, 1. , 1.5], format=lpnum.ufixed4, scale=0.5)
    """
    return LPArray(codes, dtype, scale, offset, **kwargs)


def zeros(
    shape: Any,
    dtype: Any = fixed8,
    *,
    scale: Any = None,
    offset: Any = None,
    axis: int = -1,
    rounding: str | None = None,
    overflow: str | None = None,
    rng: Any = None,
) -> Any:
    """Array whose codes are 0; its values are 0, or the offset if one is given.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : format, its name, or a NumPy dtype
    scale : float or array_like
        Default 1.
    offset : float or array_like
        Default 0. ``zeros(d, scale=s, offset=w)`` is a bit-centered array at w.
    axis : int
        For block formats, along which the blocks run.
    rounding, overflow, rng
        Kept by the array for in-place operations; see `array`.

    Examples
    --------
    >>> lpnum.zeros(3, dtype=lpnum.fixed8, scale=0.1).codes
    array([0, 0, 0], dtype=int8)
    """
    block = formats.block_format(dtype)
    if block is not None:
        return _block_creation.zeros(
            shape, block, scale=scale, axis=axis, offset=offset, rounding=rounding, overflow=overflow, rng=rng
        )
    if not formats.is_format(dtype):
        return np.zeros(shape, _plain_dtype(dtype, "lpnum.zeros"))
    fmt = formats.format(dtype)
    codes = np.zeros(shape, fmt.storage)
    if scale is not None:
        scale = grid.as_metadata(scale, codes.shape, "scale", positive=True)
    return LPArray(
        codes,
        fmt,
        1.0 if scale is None else scale,
        0.0 if offset is None else offset,
        rounding=rounding,
        overflow=overflow,
        rng=rng,
    )


def empty(shape: Any, dtype: Any = fixed8, **kwargs: Any) -> Any:
    """Array with codes of any value; arguments as for `zeros`."""
    if not formats.is_format(dtype) and formats.block_format(dtype) is None:
        return np.empty(shape, _plain_dtype(dtype, "lpnum.empty"))
    return zeros(shape, dtype, **kwargs)


def full(shape: Any, fill_value: Any, dtype: Any = fixed8, **kwargs: Any) -> Any:
    """Array of one value (or of `fill_value` broadcast); without ``scale=`` it is calibrated on the value.

    >>> lpnum.full(2, 0.75)
    LPArray([0.75, 0.75], format=lpnum.fixed8, scale=0.00590551)
    """
    np.empty(
        shape, np.uint8
    )  # fails if no memory holds it; the broadcast value takes none, and would be read for hours
    return array(np.broadcast_to(np.asarray(fill_value), shape), dtype, **kwargs)


def ones(shape: Any, dtype: Any = fixed8, **kwargs: Any) -> Any:
    """Array of ones, on the grid of scale 1 unless ``scale=`` is given."""
    if formats.is_format(dtype):
        kwargs.setdefault("scale", 1.0)
    return full(shape, 1.0, dtype, **kwargs)


def _like(x: Any, dtype: Any, shape: Any) -> tuple[Any, dict[str, Any]]:
    if not isinstance(x, LPArray):
        raise TypeError(f"expected an LPArray, not {type(x).__name__}")
    same_shape = shape is None or tuple(np.atleast_1d(shape)) == x.shape
    wanted = x.format if dtype is None else formats.format(dtype) if formats.is_format(dtype) else dtype
    keep = wanted == x.format and (same_shape or x._scale.ndim == x._offset.ndim == 0)
    if not keep:
        return wanted, {}
    settings = {"scale": np.abs(x._scale), "offset": x._offset, "rounding": x.rounding, "overflow": x.overflow}
    return wanted, settings | {"rng": x.rng}


def zeros_like(x: LPArray | BlockArray, dtype: Any = None, *, shape: Any = None) -> Any:
    """Zeros with the shape, format, scale and policies of `x`; the values are 0, rounded to the grid."""
    return full_like(x, 0.0, dtype, shape=shape)


def ones_like(x: LPArray | BlockArray, dtype: Any = None, *, shape: Any = None) -> Any:
    """Ones with the shape and format of `x`, on its grid if that holds 1."""
    return full_like(x, 1.0, dtype, shape=shape)


def empty_like(x: LPArray | BlockArray, dtype: Any = None, *, shape: Any = None) -> Any:
    """Array with the shape, format and grid of `x` and codes of any value."""
    if isinstance(x, BlockArray):
        scale = x.tensor_scale if x.format.tensor_scale else None
        fmt = x.format if dtype is None else dtype
        settings = {"rounding": x.rounding, "overflow": x.overflow, "rng": x.rng} if fmt == x.format else {}
        blocks = {"axis": x.axis, "scale": scale} if fmt == x.format else {}
        new = empty(x.shape if shape is None else shape, fmt, **settings, **blocks)
        new.dtype = x.dtype
        return new
    wanted, settings = _like(x, dtype, shape)
    new = empty(x.shape if shape is None else shape, wanted, **settings)
    if settings:
        new.dtype = x.dtype
    return new


def full_like(x: LPArray | BlockArray, fill_value: Any, dtype: Any = None, *, shape: Any = None) -> Any:
    """One value on the grid of `x`; calibrated on the value where that grid does not apply or cannot hold it.

    >>> x = lpnum.zeros(2, scale=0.001)
    >>> lpnum.full_like(x, 0.125), lpnum.full_like(x, 5.0)
    (LPArray([0.125, 0.125], format=lpnum.fixed8, scale=0.001), LPArray([5., 5.], format=lpnum.fixed8, scale=0.0393701))
    """
    new = empty_like(x, dtype, shape=shape)
    if isinstance(new, LPArray) and new.format.calibrated:
        fill_value = fill_value if isinstance(fill_value, LPArray) else codec.as_float_array(fill_value, "full_like")
        if not _result_grid.holds(new, fill_value):
            policies = {"rounding": new.rounding, "overflow": new.overflow, "rng": new.rng}
            calibrated = full(new.shape, fill_value, new.format, **policies)
            calibrated.dtype = new.dtype
            return calibrated
    new[...] = fill_value
    return new


def arange(*args: Any, dtype: Any = fixed8, **kwargs: Any) -> Any:
    """`numpy.arange` with a format; integers up to the format's range are exact.

    >>> lpnum.arange(4).codes
    array([0, 1, 2, 3], dtype=int8)
    """
    block_given = formats.block_format(dtype) is not None
    fmt_given = formats.is_format(dtype) or block_given
    values = np.arange(*args, dtype=np.float64 if fmt_given else dtype)
    if fmt_given and not block_given and "scale" not in kwargs and values.size and (values == np.rint(values)).all():
        fmt = formats.format(dtype)
        if values.min() >= fmt.min and values.max() <= fmt.max:
            kwargs["scale"] = 1.0
    return array(values, dtype, **kwargs) if fmt_given else values


def linspace(
    start: float, stop: float, num: int = 50, *, endpoint: bool = True, dtype: Any = fixed8, **kwargs: Any
) -> Any:
    """`numpy.linspace` with a format.

    >>> lpnum.linspace(-1.27, 1.27, 3)
    LPArray([-1.27,  0.  ,  1.27], format=lpnum.fixed8, scale=0.01)
    """
    return array(np.linspace(start, stop, num, endpoint=endpoint), dtype, **kwargs)
