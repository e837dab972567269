"""Between values and block arrays: validation, policies and errors around the kernels; indices in whole blocks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lpnum import codec, rounding
from lpnum._core import blocks, kernels
from lpnum.array import LPArray
from lpnum.block_formats import BlockFormat
from lpnum.random import CounterRNG
from lpnum.rounding import ROUNDING_MODES, Policy

_GOT_INVALID = 1  # as in enum lpnum_status
_F32_MAX, _F32_SMALLEST = float(np.finfo(np.float32).max), 2.0**-149


def as_values(values: Any, where: str) -> np.ndarray:
    """A float32 or float64 array; low-precision arrays give their exact values."""
    if isinstance(values, LPArray) or hasattr(values, "scale_codes"):
        return values.dequantize(np.float64)
    return codec.as_float_array(values, where)


def check_tensor_scale(scale: Any, fmt: BlockFormat) -> float:
    """A tensor scale given by the caller, as a float32 number."""
    if not fmt.tensor_scale:
        if np.ndim(scale) == 0 and scale == 1:
            return 1.0
        raise ValueError(f"scale: {fmt!r} has a scale for each block, found from the values, and none for the array")
    factor = float(np.float32(scale)) if np.ndim(scale) == 0 else np.nan
    if not 0 < factor <= _F32_MAX:
        raise ValueError(f"scale: the tensor scale of {fmt!r} is a positive float32 number, not {scale!r}")
    return factor


def choose_tensor_scale(values: np.ndarray, fmt: BlockFormat) -> float:
    """The float32 tensor scale at which the largest finite magnitude meets the largest scale and element."""
    if not fmt.tensor_scale:
        return 1.0
    largest = kernels.largest_finite(np.ascontiguousarray(values)) if values.size else 0.0
    if largest == 0:
        return 1.0
    return float(np.float32(min(max(largest / fmt.max, _F32_SMALLEST), _F32_MAX)))


def quantize(
    values: np.ndarray, fmt: BlockFormat, axis: int, tensor_scale: float, policy: Policy, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scale codes, both with the blocked axis last; raises what the policy asks for, and counts events.

    Element i of the result in that order uses random word i.
    """
    if policy.overflow == "wrap":
        raise ValueError(f"{where}: overflow='wrap' is for fixed point without blocks; use 'clamp'")
    codec.check_overflow(policy, fmt.element, where)
    rows = np.ascontiguousarray(np.moveaxis(values, axis, -1))
    n_blocks = fmt.blocks_along(rows.shape[-1], axis, where)
    codes = np.empty((*rows.shape[:-1], n_blocks * fmt.block_bytes), np.uint8)
    scale_codes = np.empty((*rows.shape[:-1], n_blocks), np.uint8)
    seed = stream = 0
    if policy.rounding == "stochastic":
        rng = CounterRNG() if policy.rng is None else policy.rng
        seed, stream = rng.seed, rng.next_stream()
    mode = ROUNDING_MODES.index(policy.rounding or "nearest-even")
    overflow = codec.OVERFLOW_NUMBER[policy.overflow or "clamp"]
    counter = rounding.counting()
    status, events = blocks.quantize_blocks(
        fmt.kernel,
        rows,
        tensor_scale,
        codes,
        scale_codes,
        mode,
        overflow,
        rounding.DEFAULT_RANDOM_BITS,
        seed,
        stream,
        counter is not None,
    )
    if counter is not None:
        counter.add(*events[:5])
    if status:
        _raise(status, events, rows.shape, axis, fmt, where)
    return codes, scale_codes


def _raise(
    status: int, events: tuple[int, ...], rows: tuple[int, ...], axis: int, fmt: BlockFormat, where: str
) -> None:
    total, overflow, _, _, invalid, first_overflow, first_invalid = events

    def index(flat: int) -> Any:
        *outer, last = (int(i) for i in np.unravel_index(flat, rows))
        outer.insert(axis, last)
        return tuple(outer) if len(outer) > 1 else last

    if status & _GOT_INVALID and not fmt.element.code_min and fmt.element.min >= 0:
        raise ValueError(
            f"{where}: {invalid} values of {total} are negative or not numbers (first at index "
            f"{index(first_invalid)}), which the unsigned elements of {fmt!r} cannot hold"
        )
    if status & _GOT_INVALID:
        raise ValueError(
            f"{where}: {invalid} blocks contain values that are not numbers (first block at index "
            f"{index(first_invalid)}), and neither elements nor scales of {fmt!r} have a NaN; clean the data or pass "
            "nan=<value> to replace them"
        )
    raise OverflowError(
        f"{where}: {overflow} of {total} values are beyond the largest element of their block (first at index "
        f"{index(first_overflow)}); use scale_rounding='up' or overflow='clamp'"
    )


# ---- indices in whole blocks ---------------------------------------------------------------------------------------


class Part(NamedTuple):
    """What an index selects: one element, or the same whole blocks of codes and scales."""

    element: tuple[int, ...] | None  # the full index, not negative
    codes: tuple[Any, ...]
    scales: tuple[Any, ...]
    axis: int  # of the blocks in the result, counted from the end
    copies: bool  # by an array of positions: the result is no view


def parts(fmt: BlockFormat, shape: tuple[int, ...], axis: int, index: Any) -> Part:
    """Translate an index of elements into indices of codes and of scales."""
    items = list(index) if isinstance(index, tuple) else [index]
    items = [
        i if i is None or i is Ellipsis or isinstance(i, slice) or _is_integer(i) else np.asarray(i) for i in items
    ]
    used = sum(_consumed(i) for i in items)
    if used > len(shape):
        raise IndexError(f"BlockArray: too many indices: {used} for {len(shape)} dimensions")
    ellipses = [k for k, i in enumerate(items) if i is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError("BlockArray: an index can only have a single ellipsis ('...')")
    at = ellipses[0] if ellipses else len(items)
    items[at : at + 1] = [slice(None)] * (len(shape) - used)
    if len(items) == len(shape) and all(_is_integer(i) for i in items):
        return Part(_checked(items, shape), (), (), 0, False)
    position = 0
    while sum(_consumed(i) for i in items[: position + 1]) <= axis:
        position += 1
    chosen = items[position]
    arrays = [k for k, i in enumerate(items) if isinstance(i, np.ndarray)]
    if not isinstance(chosen, slice) or (arrays and (axis != len(shape) - 1 or arrays[-1] > position)):
        raise _cuts(fmt, axis)
    start, stop, step = chosen.indices(shape[axis])
    stop = max(start, stop)
    if step != 1 or start % fmt.block or stop % fmt.block:
        raise _cuts(fmt, axis)
    first, last = start // fmt.block, stop // fmt.block
    before, after = items[:position], items[position + 1 :]
    return Part(
        None,
        (*before, slice(first * fmt.block_bytes, last * fmt.block_bytes), *after),
        (*before, slice(first, last), *after),
        -1 - sum(i is None or isinstance(i, slice) for i in after),
        bool(arrays),
    )


def _is_integer(item: Any) -> bool:
    return isinstance(item, int | np.integer) and not isinstance(item, bool)


def _consumed(item: Any) -> int:
    """How many dimensions an item of an index stands for."""
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, np.ndarray) and item.dtype.kind == "b" else 1


def _checked(items: list[Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    for k, (i, n) in enumerate(zip(items, shape, strict=True)):
        if not -n <= i < n:
            raise IndexError(f"index {i} is out of bounds for axis {k} with size {n}")
    return tuple(int(i) % n for i, n in zip(items, shape, strict=True))


def _cuts(fmt: BlockFormat, axis: int) -> IndexError:
    return IndexError(
        f"BlockArray: the index cuts blocks: along axis {axis} take slices of step 1 whose ends are multiples of "
        f"{fmt.block}, or use x.dequantize()[index]; x[i, j, ...] gives one element"
    )
