"""Passes forward and backward for the optimizers: closures checked, the network's buffers and random state kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Network", "all_finite", "full_pass", "gradients_of", "weights_at"]

Closure = Callable[[], Any]


class Network:
    """What a pass changes beside the gradients: buffers of the module, torch's random state.

    Parameters
    ----------
    module : nn.Module or None
        Without it there are no buffers to keep.
    """

    def __init__(self, module: nn.Module | None) -> None:
        if module is not None and not isinstance(module, nn.Module):
            raise TypeError(f"module: expected the network (torch.nn.Module) or None, not {type(module).__name__}")
        self.module = module

    def buffers(self) -> list[tuple[Tensor, Tensor]]:
        """The module's buffers, each with a copy of its present values."""
        return [] if self.module is None else [(buffer, buffer.clone()) for buffer in self.module.buffers()]

    @staticmethod
    def restore(buffers: list[tuple[Tensor, Tensor]]) -> None:
        """Put the copies back."""
        with torch.no_grad():
            for buffer, values in buffers:
                buffer.copy_(values)

    @staticmethod
    @contextmanager
    def random_state(parameters: Iterable[Tensor]) -> Iterator[None]:
        """Afterwards torch's generators, of the processor and of the parameters' devices, are where they were."""
        devices = {p.device for p in parameters if p.is_cuda}
        with torch.random.fork_rng(devices=devices):
            yield


@contextmanager
def weights_at(parameters: list[Tensor], values: list[Tensor]) -> Iterator[None]:
    """The parameters read other tensors in the meantime; pointers change, nothing is copied."""
    own = [p.data for p in parameters]
    try:
        for p, value in zip(parameters, values, strict=True):
            p.data = value
        yield
    finally:
        for p, data in zip(parameters, own, strict=True):
            p.data = data


def gradients_of(closure: Closure, parameters: Iterable[Tensor], where: str) -> tuple[Any, float]:
    """Run a closure on cleared gradients; what it returned, and that as a number.

    Raises
    ------
    TypeError
        The closure returned no number.
    RuntimeError
        It left no gradient, or a sparse one.
    """
    parameters = list(parameters)
    for p in parameters:
        p.grad = None
    with torch.enable_grad():
        loss = closure()
    try:
        value = float(loss.detach() if isinstance(loss, Tensor) else loss)
    except (TypeError, ValueError, RuntimeError):
        kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TypeError(f"{where}: the closure returned {kind}; it must return the loss, one number") from None
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        raise RuntimeError(
            f"{where}: the closure left no gradient in any parameter; it must clear the gradients, compute the loss, "
            "call loss.backward() and return the loss. Nothing was changed"
        )
    if any(g.layout != torch.strided for g in gradients):
        raise RuntimeError(f"{where}: sparse gradients are not supported; make the layer with sparse=False")
    return loss, value


def full_pass(
    closures: Any, parameters: list[Tensor], where: str
) -> tuple[float, dict[Tensor, Tensor], int]:  # fmt: skip
    """Mean loss and mean gradient over the data, batches weighted by their sizes; and the number of batches.

    Gradients of 16-bit parameters are summed in float32.
    """
    total, loss_sum, batches = 0.0, 0.0, 0
    sums: dict[Tensor, Tensor] = {}
    for closure, size in _pairs(closures, where):
        _, value = gradients_of(closure, parameters, where)
        total, loss_sum, batches = total + size, loss_sum + size * value, batches + 1
        for p in parameters:
            if p.grad is None:
                continue
            if p not in sums:
                wide = torch.promote_types(p.dtype, torch.float32)
                sums[p] = torch.zeros_like(p, dtype=wide, memory_format=torch.preserve_format)
            sums[p].add_(p.grad, alpha=size)
            p.grad = None
    if not batches:
        raise ValueError(f"{where}: there are no closures; an iterator is used up after one pass")
    means = {p: value.div_(total).to(p.dtype) for p, value in sums.items()}
    return loss_sum / total, means, batches


def _pairs(closures: Any, where: str) -> Iterator[tuple[Closure, float]]:
    """One closure over all data, or pairs of a closure and its number of samples."""
    if callable(closures):
        yield closures, 1.0
        return
    expected = "expected a closure, or an iterable of (closure, batch size) as lpnum_optim.deep.closures makes it"
    try:
        items = iter(closures)
    except TypeError:
        raise TypeError(f"{where}: {expected}; not {type(closures).__name__}") from None
    for item in items:
        try:
            closure, size = item
            weight = float(size)
        except (TypeError, ValueError):
            raise TypeError(f"{where}: {expected}; an item is {type(item).__name__}") from None
        if not callable(closure) or not 0.0 < weight < math.inf:
            raise TypeError(f"{where}: {expected}; an item is ({type(closure).__name__}, {size!r})")
        yield closure, weight


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether no element is infinite or NaN."""
    kinds: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    # The largest magnitude overflows nowhere, and hands NaN on.
    return all(bool(torch.stack(torch._foreach_norm(kind, math.inf)).isfinite().all()) for kind in kinds.values())
