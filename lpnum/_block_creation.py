"""`lpnum.array` and `lpnum.zeros` for block formats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from lpnum import _block_codec
from lpnum._base import own_policy
from lpnum.array import LPArray
from lpnum.block_array import BlockArray
from lpnum.block_formats import BlockFormat
from lpnum.rounding import current as current_policy

__all__ = ["from_values", "zeros"]


def from_values(
    obj: Any,
    fmt: BlockFormat,
    *,
    scale: Any = None,
    offset: Any = None,
    axis: Any = None,
    calibration: str | None = None,
    rounding: str | None = None,
    overflow: str | None = None,
    rng: Any = None,
    nan: float | None = None,
) -> BlockArray:
    """`lpnum.array` for block formats: `scale` is the tensor scale, blocks run along `axis` (the last by default)."""
    where = "lpnum.array"
    if offset is not None or calibration not in (None, "absmax"):
        raise ValueError(f"{where}: {fmt!r} has no offset, and its scales follow the largest magnitudes of the blocks")
    values = _block_codec.as_values(obj, where)
    if values.ndim == 0:
        raise ValueError(f"{where}: blocks run along an axis, and the value has none; use lpnum.array([value], ...)")
    if isinstance(axis, tuple):
        raise TypeError(f"{where}: blocks run along one axis, not {axis!r}")
    where_blocks = normalize_axis_index(-1 if axis is None else axis, values.ndim)
    if nan is not None:
        if not np.isfinite(nan):
            raise ValueError(f"nan: the replacement of NaN must be a finite number, not {nan!r}")
        values = np.where(np.isnan(values), values.dtype.type(nan), values)
    fmt.blocks_along(values.shape[where_blocks], where_blocks, where)
    if scale is None:
        factor = _block_codec.choose_tensor_scale(values, fmt)
    else:
        factor = _block_codec.check_tensor_scale(scale, fmt)
    own = own_policy(rounding, overflow, rng)
    policy = current_policy() if own is None else own.over(current_policy())
    parts = _block_codec.quantize(values, fmt, where_blocks, factor, policy, where)
    dtype = obj.dtype if isinstance(obj, BlockArray | LPArray) else values.dtype
    return object.__new__(BlockArray)._set(*parts, fmt, where_blocks, factor, dtype, own)


def zeros(shape: Any, fmt: BlockFormat, *, scale: Any = None, axis: int = -1, **policies: Any) -> BlockArray:
    """`lpnum.zeros` for block formats: element codes and scale codes of the value 0, tensor scale 1 unless given."""
    dims = np.broadcast_to(0, shape).shape
    if not dims:
        raise ValueError("lpnum.zeros: blocks run along an axis; a block array has at least one dimension")
    axis = normalize_axis_index(axis, len(dims))
    blocks = fmt.blocks_along(dims[axis], axis, "lpnum.zeros")
    outer = dims[:axis] + dims[axis + 1 :]
    smallest = int(fmt.scale_format.zero)  # scales are never 0
    codes = np.zeros((*outer, blocks * fmt.block_bytes), np.uint8)
    scale_codes = np.full((*outer, blocks), smallest, np.uint8)
    factor = 1.0 if scale is None else _block_codec.check_tensor_scale(scale, fmt)
    own = own_policy(policies.pop("rounding", None), policies.pop("overflow", None), policies.pop("rng", None))
    if any(value is not None for value in policies.values()):
        raise TypeError(f"lpnum.zeros: {', '.join(policies)} not supported for {fmt!r}")
    return object.__new__(BlockArray)._set(codes, scale_codes, fmt, axis, factor, np.dtype(np.float64), own)
