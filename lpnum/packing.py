"""4-bit codes two to a byte: the even element in the low half, as in torch.float4_e2m1fn_x2 and the OCP formats."""

from __future__ import annotations

from typing import Any

import numpy as np

from lpnum import formats
from lpnum._core import blocks
from lpnum.formats import FixedFormat

__all__ = ["pack", "unpack"]


def _range_of(fmt_or_bits: Any, where: str) -> tuple[bool, int, int, str]:
    """(signed, smallest code, largest code, name) of a 4-bit format, or of 4 bits without one."""
    if isinstance(fmt_or_bits, int | np.integer) and not isinstance(fmt_or_bits, bool):
        if fmt_or_bits != 4:
            raise ValueError(f"{where}: codes of 4 bits are packed, not of {fmt_or_bits}")
        return False, 0, 15, "4 bits"
    fmt = formats.format(fmt_or_bits)
    if fmt.storage.itemsize > 1 or fmt.bits != 4:  # a block format explains itself
        raise ValueError(f"{where}: codes of 4 bits are packed, and {fmt!r} has {fmt.bits}; its codes take a byte each")
    return isinstance(fmt, FixedFormat) and fmt.signed, fmt.code_min, fmt.code_max, repr(fmt)


def pack(codes: Any, fmt_or_bits: Any = 4, axis: int = -1) -> np.ndarray:
    """4-bit codes, two to a byte: ``byte[k] = codes[2k] & 15 | codes[2k + 1] << 4`` along an axis.

    Parameters
    ----------
    codes : array_like of integers
        At least one-dimensional; of an odd length, the last high half is 0.
    fmt_or_bits : 4, or a 4-bit format or its name
        4 and unsigned formats take codes 0 to 15, signed fixed point takes -8 to 7.
    axis : int
        Along which neighbours share a byte.

    Returns
    -------
    ndarray of uint8
        The length of the axis is halved, rounded up.

    Raises
    ------
    ValueError
        For codes beyond the range, and formats that have not 4 bits.

    Examples
    --------
    >>> lpnum.pack([1, 2, 15])
    array([33, 15], dtype=uint8)
    >>> lpnum.pack([-1, 7], lpnum.fixed4)
    array([127], dtype=uint8)
    """
    signed, low, high, name = _range_of(fmt_or_bits, "lpnum.pack")
    array = np.asarray(codes)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"lpnum.pack: codes must be integers, not {array.dtype}")
    if array.ndim == 0:
        raise ValueError("lpnum.pack: codes must have at least one dimension")
    axis = np.lib.array_utils.normalize_axis_index(axis, array.ndim)
    wanted = np.dtype(np.int8 if signed else np.uint8)
    if array.dtype != wanted:  # bits must not be lost before the range is checked
        _check_range(array, low, high, name)
    rows = np.ascontiguousarray(np.moveaxis(array, axis, -1).astype(wanted, copy=False))
    length = rows.shape[-1]
    out = np.empty((*rows.shape[:-1], (length + 1) // 2), np.uint8)
    if length % 2 == 0 or rows.size == length:
        fits = blocks.pack4(rows, out, signed)
    else:  # every row ends within a byte
        padded = np.zeros((*rows.shape[:-1], length + 1), wanted)
        padded[..., :-1] = rows
        fits = blocks.pack4(padded, out, signed)
    if not fits:
        _check_range(array, low, high, name)
    return np.moveaxis(out, -1, axis)


def _check_range(array: np.ndarray, low: int, high: int, name: str) -> None:
    if array.size == 0 or (int(array.min()) >= low and int(array.max()) <= high):
        return
    outside = (array < low) | (array > high)
    index = tuple(int(i) for i in np.unravel_index(int(outside.argmax()), array.shape))
    raise ValueError(
        f"lpnum.pack: {int(outside.sum())} of {array.size} codes are not within {low} to {high}, the range of {name} "
        f"(first {int(array[index])} at index {index if len(index) > 1 else index[0]})"
    )


def unpack(packed: Any, length: int, fmt_or_bits: Any = 4, axis: int = -1) -> np.ndarray:
    """Codes of bytes made by `pack`, one to a byte.

    Parameters
    ----------
    packed : array_like of uint8
    length : int
        Number of codes along the axis: twice the bytes, or one less.
    fmt_or_bits : 4, or a 4-bit format or its name
        Signed fixed point gives int8 of -8 to 7; all others uint8 of 0 to 15.
    axis : int
        Along which neighbours share a byte.

    Examples
    --------
    >>> lpnum.unpack(np.array([33, 15], np.uint8), 3)
    array([ 1,  2, 15], dtype=uint8)
    >>> lpnum.unpack(np.array([127], np.uint8), 2, "fixed4")
    array([-1,  7], dtype=int8)
    """
    signed, _, _, _ = _range_of(fmt_or_bits, "lpnum.unpack")
    array = np.asarray(packed)
    if array.dtype != np.uint8:
        raise TypeError(f"lpnum.unpack: packed codes are uint8, not {array.dtype}")
    if array.ndim == 0:
        raise ValueError("lpnum.unpack: packed codes have at least one dimension")
    axis = np.lib.array_utils.normalize_axis_index(axis, array.ndim)
    rows = np.ascontiguousarray(np.moveaxis(array, axis, -1))
    if isinstance(length, bool) or not isinstance(length, int | np.integer) or (length + 1) // 2 != rows.shape[-1]:
        most = 2 * rows.shape[-1]
        raise ValueError(
            f"lpnum.unpack: {rows.shape[-1]} bytes hold {max(most - 1, 0)} or {most} codes, not length={length!r}"
        )
    dtype = np.int8 if signed else np.uint8
    whole = length % 2 == 0 or rows.size == rows.shape[-1]  # else every row ends within a byte
    out = np.empty((*rows.shape[:-1], length if whole else length + 1), dtype)
    blocks.unpack4(rows, out, signed)
    return np.moveaxis(out if whole else np.ascontiguousarray(out[..., :length]), -1, axis)
