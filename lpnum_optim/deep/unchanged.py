"""A network as it was: what a forward pass for looking at it may change is put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["unchanged"]


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Put back, also after an exception: training flags, buffers, gradients of parameters, torch's random state.

    Buffers keep their identity where their module did not replace them.
    """
    training = {child: child.training for child in module.modules()}
    buffers = [
        (child, name, buffer, None if buffer is None else buffer.detach().clone())
        for child in module.modules()
        for name, buffer in child._buffers.items()
    ]
    gradients = [(p, p.grad, None if p.grad is None else p.grad.clone()) for p in module.parameters()]
    random = torch.random.get_rng_state()
    try:
        yield
    finally:
        torch.random.set_rng_state(random)
        with torch.no_grad():
            for child, name, buffer, values in buffers:
                child._buffers[name] = buffer
                if buffer is not None and values is not None:
                    buffer.copy_(values)
            for parameter, gradient, values in gradients:
                parameter.grad = gradient
                if gradient is not None and values is not None:
                    gradient.copy_(values)
        for child, flag in training.items():
            child.training = flag
