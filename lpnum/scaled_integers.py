"""Conventions of scaled integers elsewhere: CF packing (netCDF), integer zero points (ONNX, torch), Zarr's scale.

======================= ==================================== =============================================
convention              value                                in lpnum's words
======================= ==================================== =============================================
lpnum                   offset + scale * decode(code)
CF (netCDF)             add_offset + scale_factor * code     the same, with other names
zero point (ONNX, torch) scale * (code - zero_point)         offset = -scale * zero_point
Zarr, numcodecs         code / scale + offset                scale = 1 / scale: theirs multiplies to encode
======================= ==================================== =============================================
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lpnum import formats, grid
from lpnum.array import LPArray
from lpnum.formats import FixedFormat
from lpnum.interop import check_lparray, codes_of_plain, grid_of_codes

__all__ = [
    "from_cf",
    "from_zarr_scale_offset",
    "from_zero_point",
    "to_cf",
    "to_zarr_scale_offset",
    "to_zero_point",
]


# ---- CF packing ----------------------------------------------------------------------------------------------------


def from_cf(
    codes: Any,
    scale_factor: Any = 1.0,
    add_offset: Any = 0.0,
    fill_value: Any = None,
    *,
    missing: str | float = "error",
    unsigned: bool = False,
) -> Any:
    """Packed data of the CF conventions (netCDF): ``value = add_offset + scale_factor * code``.

    Parameters
    ----------
    codes : array_like of int8, uint8, int16 or uint16
        As stored: read with masking and scaling switched off. Not copied in native byte order.
    scale_factor, add_offset : float
        The attributes; a negative scale is kept. If they are float32, so are the values, else float64.
    fill_value : number or sequence of numbers, optional
        ``_FillValue`` and ``missing_value``. What is no code (NaN on integers, 1e20) marks nothing.
    missing : {"error", "mask"} or float
        Fixed point has no NaN, so what becomes of missing elements must be said: an error (the default); "mask": they
        keep their code, and a mask is returned; a number: they are set to it, rounded to the grid (in a copy).
    unsigned : bool
        Of the attribute ``_Unsigned``: the bytes are those of unsigned integers.

    Returns
    -------
    x : LPArray
    mask : bool ndarray
        With ``missing="mask"``: True where a value is missing.

    Raises
    ------
    ValueError
        If values are missing and `missing` does not say what to do.

    See Also
    --------
    to_cf : the way back.

    Examples
    --------
    >>> lpnum.from_cf(np.array([-3, 7], np.int16), scale_factor=0.5, add_offset=100.0)
    LPArray([ 98.5, 103.5], format=lpnum.fixed16, scale=0.5, offset=100)
    >>> lpnum.from_cf(np.array([-3, 7, -128], np.int8), 0.5, fill_value=-128, missing="mask")
    (LPArray([ -1.5,   3.5, -64. ], format=lpnum.fixed8, scale=0.5), array([False, False,  True]))

    References
    ----------
    NetCDF Climate and Forecast (CF) Metadata Conventions, section 8.1, "Packed Data".
    """
    where = "lpnum.from_cf"
    if missing not in ("error", "mask") and isinstance(missing, str):
        raise ValueError(f"{where}: missing must be 'error', 'mask' or a number, not {missing!r}")
    mask = np.ma.getmaskarray(codes) if isinstance(codes, np.ma.MaskedArray) else None
    stored, fmt = codes_of_plain(np.ma.getdata(codes), where)
    if not isinstance(fmt, FixedFormat):
        raise TypeError(f"{where}: packed data are integers, not {stored.dtype}")
    if unsigned and fmt.signed:
        fmt = FixedFormat(fmt.bits, signed=False)
        stored = stored.view(fmt.storage)
    for fill in () if fill_value is None else np.atleast_1d(np.asarray(fill_value)):
        if unsigned and -(1 << fmt.bits >> 1) <= fill < 0:  # attributes have the signed type of the variable
            fill = fill + (1 << fmt.bits) if isinstance(fill, float | np.floating) else int(fill) + (1 << fmt.bits)
        if fill == np.rint(fill) and fmt.code_min <= fill <= fmt.code_max:
            found = stored == fmt.storage.type(fill)
            mask = found if mask is None else mask | found
    given = [
        v.dtype for v in (scale_factor, add_offset) if isinstance(v, np.ndarray | np.generic)
    ]  # Python's floats have no opinion
    single = bool(given) and all(dtype.kind == "f" and dtype.itemsize == 4 for dtype in given)
    x = LPArray(stored, fmt, scale_factor, add_offset, np.float32 if single else np.float64)
    if missing == "mask":
        return x, np.zeros(x.shape, bool) if mask is None else mask
    if mask is not None and mask.any():
        if missing == "error":
            first = np.unravel_index(int(mask.argmax()), mask.shape)
            raise ValueError(
                f"{where}: {int(mask.sum())} of {mask.size} values are missing (first at index "
                f"{tuple(int(i) for i in first)}), and fixed point has no NaN; take missing='mask' for a mask beside "
                "the array, or missing=<number> to replace them"
            )
        x = x.copy()
        x[mask] = missing
    return x


def to_cf(x: LPArray, fill_value: int | None = None, *, mask: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
    """Codes and attributes for a packed variable of a netCDF file; the codes are shared if no mask is given.

    Parameters
    ----------
    x : LPArray
        Of fixed point with 8 or 16 bits in storage, with one scale and one offset.
    fill_value : int, optional
        Code that marks missing values. No other element may have it.
    mask : bool array_like, optional
        Where values are missing; needs `fill_value`.

    Returns
    -------
    codes : ndarray of integers
    attributes : dict
        ``scale_factor`` and ``add_offset``, in float32 if the values of `x` are and both are exact in it, else float64;
        ``_FillValue`` if one is given.

    Examples
    --------
    >>> lpnum.to_cf(lpnum.array([1.0, -0.5], scale=0.5))
    (array([ 2, -1], dtype=int8), {'scale_factor': np.float64(0.5), 'add_offset': np.float64(0.0)})
    """
    where = "lpnum.to_cf"
    _check_fixed(x, where)
    scale, offset = grid_of_codes(x)
    if np.ndim(scale) or np.ndim(offset):
        raise ValueError(
            f"{where}: CF attributes are single numbers, and the array has a scale or an offset that varies; "
            "bring it to one grid with x.dequantize() and lpnum.array"
        )
    exact = all(float(np.float32(v)) == v for v in (scale, offset))
    number = np.float32 if x.dtype == np.float32 and exact else np.float64
    attributes: dict[str, Any] = {"scale_factor": number(scale), "add_offset": number(offset)}
    codes = x.codes
    if fill_value is None:
        if mask is not None:
            raise ValueError(f"{where}: a mask needs a fill_value")
        return codes, attributes
    info = np.iinfo(codes.dtype)
    if fill_value != int(fill_value) or not info.min <= fill_value <= info.max:
        raise ValueError(f"{where}: fill_value must be one of {codes.dtype}, not {fill_value!r}")
    fill = codes.dtype.type(int(fill_value))
    missing = (
        np.zeros(codes.shape, bool) if mask is None else np.broadcast_to(np.asarray(mask, dtype=bool), codes.shape)
    )
    taken = int(((codes == fill) & ~missing).sum())
    if taken:
        raise ValueError(
            f"{where}: {taken} values have the code {fill}, the fill_value; choose one that does not occur"
        )
    return np.where(missing, fill, codes) if missing.any() else codes, attributes | {"_FillValue": fill}


def _check_fixed(x: Any, where: str) -> None:
    if not isinstance(check_lparray(x, where).format, FixedFormat):
        raise TypeError(
            f"{where}: needs integer codes, and {x.format!r} is floating point; x.astype(lpnum.fixed16) has them"
        )


# ---- zero points ---------------------------------------------------------------------------------------------------


def from_zero_point(
    codes: Any, scale: Any, zero_point: Any = 0, *, axis: int | None = None, dtype: Any = None
) -> LPArray:
    """Quantized data with integer zero points (ONNX, torch, TFLite): ``value = scale * (code - zero_point)``.

    Parameters
    ----------
    codes : array_like of integers
        Not copied where they have the format's storage dtype.
    scale : float or array_like
    zero_point : int or array_like of int
    axis : int, optional
        Axis along which a 1-d scale and zero point run (per channel).
    dtype : format or its name, optional
        Default: fixed8, ufixed8, fixed16 or ufixed16, by the dtype of the codes.

    Examples
    --------
    >>> x = lpnum.from_zero_point(np.array([0, 128, 255], np.uint8), scale=0.5, zero_point=128)
    >>> x
    LPArray([-64. ,   0. ,  63.5], format=lpnum.ufixed8, scale=0.5, offset=-64)
    >>> lpnum.to_zero_point(x)
    (array([  0, 128, 255], dtype=uint8), 0.5, 128)
    """
    where = "lpnum.from_zero_point"
    stored, fmt = codes_of_plain(codes, where) if dtype is None else (np.asarray(codes), formats.format(dtype))
    if not isinstance(fmt, FixedFormat):
        raise TypeError(f"{where}: needs a fixed-point format, not {fmt!r}")
    points = np.asarray(zero_point)
    if points.dtype.kind not in "iu":
        raise TypeError(f"{where}: zero_point must be integers, not {points.dtype}")
    scales = np.asarray(scale)
    if axis is not None:
        if not -stored.ndim <= axis < stored.ndim:
            raise ValueError(f"{where}: axis {axis} is out of range for codes with {stored.ndim} dimensions")
        along = [-1 if k == axis % stored.ndim else 1 for k in range(stored.ndim)]
        scales, points = (v.reshape(along) if v.ndim == 1 else v for v in (scales, points))
    scales = grid.as_metadata(scales, stored.shape, "scale", positive=True)
    return LPArray(stored, fmt, scales / fmt.unit, 0.0 - scales * points.astype(np.float64))


def to_zero_point(x: LPArray) -> tuple[np.ndarray, Any, Any]:
    """Codes, scale and integer zero point: ``value = scale * (code - zero_point)``; the codes are shared.

    Returns
    -------
    codes : ndarray of integers
    scale : float or float64 ndarray
    zero_point : int or int64 ndarray

    Raises
    ------
    ValueError
        If a scale is not positive, or an offset is not a whole number of steps, or its zero point is not in the range
        of the codes' dtype.

    Examples
    --------
    >>> lpnum.to_zero_point(lpnum.array([0.0, 1.0], scale=0.25, offset=0.5))
    (array([-2,  2], dtype=int8), 0.25, -2)
    >>> lpnum.to_zero_point(lpnum.array([0.0, 1.0], scale=0.25, offset=0.3))
    Traceback (most recent call last):
        ...
    ValueError: lpnum.to_zero_point: no integer zero point: the offset 0.3 is not a multiple of the scale 0.25; ...
    """
    where = "lpnum.to_zero_point"
    _check_fixed(x, where)
    scale, offset = (np.asarray(v) for v in grid_of_codes(x))
    if not (scale > 0).all():
        raise ValueError(f"{where}: zero points go with positive scales, and the array has {scale.min():g}")
    points = np.rint(-offset / scale)
    nearest = -scale * points
    off = np.abs(offset - nearest) > 4 * np.finfo(np.float64).eps * np.maximum(np.abs(offset), scale)
    if off.any():
        step, given, better = (np.broadcast_to(v, off.shape)[off][0] for v in (scale, offset, nearest))
        advice = (
            f"x.rescale(offset={better + 0.0:g}) has one" if off.ndim == 0 else "x.rescale(offset=...) can have one"
        )
        raise ValueError(
            f"{where}: no integer zero point: the offset {given:g} is not a multiple of the scale {step:g}; {advice}"
        )
    info = np.iinfo(x.codes.dtype)
    if not ((points >= info.min) & (points <= info.max)).all():
        worst = points.flat[np.abs(points).argmax()]
        raise ValueError(f"{where}: the zero point {worst:g} is not in the range of {info.dtype}; see x.rescale")
    return x.codes, grid.plain(scale), int(points) if points.ndim == 0 else points.astype(np.int64)


# ---- Zarr ----------------------------------------------------------------------------------------------------------


def from_zarr_scale_offset(codes: Any, *, scale: Any = 1.0, offset: Any = 0.0) -> LPArray:
    """Data encoded by Zarr's ``scale_offset`` or numcodecs' ``FixedScaleOffset``: ``value = code / scale + offset``.

    Their scale multiplies when encoding, ``code = round((value - offset) * scale)``: it is the inverse of lpnum's.

    Parameters
    ----------
    codes : array_like of int8, uint8, int16 or uint16
    scale, offset : float
        Of the codec.

    Examples
    --------
    >>> lpnum.from_zarr_scale_offset(np.array([0, 5, 20], np.uint8), scale=10, offset=1000)
    LPArray([1000. , 1000.5, 1002. ], format=lpnum.ufixed8, scale=0.1, offset=1000)
    """
    where = "lpnum.from_zarr_scale_offset"
    stored, fmt = codes_of_plain(codes, where)
    theirs = grid.as_metadata(scale, stored.shape, "scale")
    return LPArray(stored, fmt, 1.0 / theirs, offset)


def to_zarr_scale_offset(x: LPArray) -> tuple[np.ndarray, dict[str, float]]:
    """Codes, and the codec's configuration ``{"scale": ..., "offset": ...}``; the codes are shared.

    Examples
    --------
    >>> lpnum.to_zarr_scale_offset(lpnum.array([0.5, 1.0], scale=0.25))
    (array([2, 4], dtype=int8), {'scale': 4.0, 'offset': 0.0})
    """
    where = "lpnum.to_zarr_scale_offset"
    _check_fixed(x, where)
    scale, offset = grid_of_codes(x)
    if np.ndim(scale) or np.ndim(offset):
        raise ValueError(f"{where}: the codec has one scale and one offset, and those of the array vary")
    return x.codes, {"scale": 1.0 / scale, "offset": offset}
