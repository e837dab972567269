"""Adam's two moments as 8-bit codes: the state of a parameter, one step on it, and its values."""

from __future__ import annotations

from typing import Any

import torch

import lpnum
from lpnum import _threads
from lpnum_optim._moments import adam as _kernels
from lpnum_optim.deep import codes

__all__ = ["BLOCK", "DTYPES", "SECOND", "in_memory_order", "new_state", "step", "values"]

BLOCK = _kernels.BLOCK
"""Elements, neighbors in memory, that share two scales."""

SECOND = lpnum.minifloat(
    8 - _kernels.MANTISSA_BITS, _kernels.MANTISSA_BITS, bias=_kernels.BIAS, specials="none", signed=False
)
"""Format of the codes of the second moment; as ``lpnum.BlockFormat(SECOND, BLOCK, scale_rounding="up")``."""

DTYPES = {
    "exp_avg": torch.int8,
    "exp_avg_scale": torch.uint8,
    "exp_avg_sq": torch.uint8,
    "exp_avg_sq_scale": torch.uint8,
}
"""Of the tensors of a state, in the order of the kernel's arguments."""

_PART = 1 << 12  # cuts between threads lie at multiples of it


def new_state(p: torch.Tensor) -> dict[str, Any]:
    """The state before the first step: codes in the parameter's layout, or C order where that has gaps, and scales."""
    blocks = -(-p.numel() // BLOCK)
    state: dict[str, Any] = {"step": 0}
    for key, dtype in DTYPES.items():
        scales = key.endswith("_scale")
        state[key] = torch.zeros(blocks, dtype=dtype) if scales else torch.zeros_like(p, dtype=dtype)
    return state


def in_memory_order(tensor: torch.Tensor) -> Any:
    """NumPy's view, of one dimension, of a tensor without gaps (in ``torch.no_grad`` if it takes part in autograd)."""
    return tensor.as_strided((tensor.numel(),), (1,)).numpy()


def _in_layout(tensor: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
    """The tensor in float32 with the strides of `layout`: itself or a copy."""
    if tensor.dtype == torch.float32 and tensor.stride() == layout.stride():
        return tensor
    return torch.empty_like(layout, dtype=torch.float32).copy_(tensor)


def step(p: torch.Tensor, state: dict[str, Any], numbers: dict[str, Any]) -> None:
    """One step of a parameter along its gradient, in place; `numbers` are the keywords of the compiled step."""
    layout = state["exp_avg"]
    if p.dtype == torch.float64:  # the update is computed in float32, but the parameter stays in float64
        gradient = (numbers["sign"] * p.grad).add_(p, alpha=numbers["l2"])
        update = torch.zeros_like(layout, dtype=torch.float32)
        _run(update, _in_layout(gradient, layout), state, numbers | {"sign": 1.0, "l2": 0.0})
        p.mul_(numbers["keep"]).add_(update)
        return
    single = _in_layout(p, layout)
    _run(single, _in_layout(p.grad, layout), state, numbers)
    if single is not p:
        p.copy_(single)


def _run(p: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], numbers: dict[str, Any]) -> None:
    """The kernel on tensors of one layout, in parts where there are several threads."""
    x, g = in_memory_order(p), in_memory_order(gradient)
    m, m_scales, v, v_scales = (in_memory_order(state[key]) for key in DTYPES)
    cuts = _threads.ranges(x.size, x.size, _PART)
    if len(cuts) == 1:
        _kernels.step(x, g, m, m_scales, v, v_scales, **numbers)
        return

    def part(start: int, stop: int) -> None:
        own, blocks = slice(start, stop), slice(start // BLOCK, -(-stop // BLOCK))
        pieces = x[own], g[own], m[own], m_scales[blocks], v[own], v_scales[blocks]
        _kernels.step(*pieces, **numbers, block=start // BLOCK)

    _threads.run(part, cuts)


def values(state: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Both moments as float32 tensors of the parameter's shape."""
    n = state["exp_avg"].numel()
    m_codes, m_scales, v_codes, v_scales = (torch.from_numpy(in_memory_order(state[key])) for key in DTYPES)
    v = codes.decode(v_codes, SECOND) * _per_element(v_scales, n)
    # The power of two that m is relative to, within a factor sqrt(2) of sqrt(v): see adam.h.
    exponent = torch.where(v > 0, torch.frexp(v).exponent + 126, 0)
    measure = torch.ldexp(torch.ones_like(v), exponent // 2 - 63)
    m = m_codes * (_per_element(m_scales, n) / 64) * measure
    shaped = [torch.empty_like(state["exp_avg"], dtype=torch.float32) for _ in range(2)]
    for target, source in zip(shaped, (m, v), strict=True):
        target.as_strided((n,), (1,)).copy_(source)
    return shaped[0], shaped[1]


def _per_element(scales: torch.Tensor, n: int) -> torch.Tensor:
    powers = torch.ldexp(torch.ones(scales.shape), scales.to(torch.int32) - 127)
    return powers.repeat_interleave(BLOCK)[:n]
