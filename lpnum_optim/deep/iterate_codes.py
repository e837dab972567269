"""The codes of one tensor's iterate: value = offset + scale * decode(code). Steps are rounded once, as they are stored.

Everything here is one pass of lpnum's kernels over memory that torch owns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lpnum import codec
from lpnum.codec import ADD, COPY, SUBTRACT, Operand
from lpnum.formats import FixedFormat, FloatFormat, Format
from lpnum.rounding import Policy

from .codes import PLAIN, _codes_operand, _operand, code_dtype

__all__ = ["Ends", "ends", "new_codes", "quantize", "subtract", "write_values"]

EXACT = codec.make_policy("nearest-even", "clamp", None)


def _floats(tensor: Tensor) -> Operand:
    """A tensor's elements in the order of memory, as the kernels take them."""
    if tensor.dtype in PLAIN and tensor.is_contiguous():
        return tensor.numpy().reshape(-1)
    return _operand(tensor, "step")


def _coded(codes: Tensor, fmt: Format, scale: float) -> Operand:
    if isinstance(fmt, FixedFormat) and codes.is_contiguous():
        return codes.numpy().reshape(-1), fmt.unit * scale, 0.0, fmt.kernel
    return _codes_operand(codes, fmt, scale)


def same_layout(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor, or a copy with the memory layout of another: the kernels go through memory."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)


def new_codes(like: Tensor, fmt: Format) -> Tensor:
    """Codes of zero."""
    return torch.zeros_like(like, dtype=code_dtype(fmt))


def quantize(codes: Tensor, fmt: Format, scale: float, values: Tensor, policy: Policy) -> None:
    """``codes <- Q(values)``."""
    codec.run(COPY, _floats(values), None, _coded(codes, fmt, scale), policy, "quantize")


def subtract(
    codes: Tensor, fmt: Format, scale: float, update: Tensor, lr: float, policy: Policy, new_scale: float
) -> None:
    """``codes <- Q(scale * decode(codes) - lr * update)`` on the grid of `new_scale`.

    Computed in units of lr, so that the update is read as it is; lr must not be 0.
    """
    source, target = _coded(codes, fmt, scale / lr), _coded(codes, fmt, new_scale / lr)
    codec.run(SUBTRACT, source, _floats(update), target, policy, "step")


def write_values(codes: Tensor, fmt: Format, scale: float, offset: Tensor | None, out: Tensor) -> None:
    """``out <- offset + scale * decode(codes)``, rounded once to the dtype of `out`."""
    source, target = _coded(codes, fmt, scale), _floats(out)
    if offset is None:
        codec.run(COPY, source, None, target, EXACT, "values")
    else:
        codec.run(ADD, source, _floats(offset), target, EXACT, "values")


class Ends(NamedTuple):
    """How the codes fill their range."""

    range_used: float  # largest magnitude over the largest value of the format
    saturated: float  # fraction of the elements at an end
    where: Any  # their indices in the order of memory, an int64 tensor


def ends(codes: Tensor, fmt: Format, most: float) -> Ends:
    """Look at the codes; indices are given only where at most the fraction `most` is at an end."""
    none = torch.empty(0, dtype=torch.int64)
    if codes.numel() == 0:
        return Ends(0.0, 0.0, none)
    if isinstance(fmt, FloatFormat):
        codes = torch.bitwise_and(codes, fmt.sign_mask - 1) if fmt.signed else codes
        low, high = 0, int(codes.amax())
        used = abs(fmt.value(high)) / fmt.max
        first, last = -1, fmt.finite_max_code
    else:
        low, high = (int(x) for x in torch.aminmax(codes))
        used = min(1.0, max(abs(low), abs(high)) / fmt.code_max)
        first, last = fmt.code_min, fmt.code_max
    if first < low and high < last:
        return Ends(used, 0.0, none)
    order = sorted(range(codes.ndim), key=lambda axis: -codes.stride(axis))
    flat = codes.permute(order).reshape(-1)
    at_end = torch.nonzero((flat >= last) | (flat <= first)).reshape(-1)
    saturated = at_end.numel() / codes.numel()
    return Ends(used, saturated, at_end if saturated <= most else none)
