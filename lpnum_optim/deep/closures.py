"""Closures as the optimizers take them: functions that compute a batch's loss and leave its gradient in ``p.grad``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

__all__ = ["closure", "closures"]

Closure = Callable[[], Any]


def closure(model: nn.Module, loss: Callable[..., Tensor], inputs: Any, targets: Any) -> Closure:
    """Loss of one batch as a closure: clears the gradients, runs the model, and goes back through it.

    Parameters
    ----------
    model : nn.Module
    loss : callable
        ``loss(model(inputs), targets)`` is the mean over the batch.
    inputs, targets : tensors
        The first axis counts the samples.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> call = closure(model, torch.nn.functional.mse_loss, torch.eye(2), torch.zeros(2, 1))
    >>> loss = call()
    >>> bool(torch.equal(model.weight.grad, model.weight))
    True
    """

    def call() -> Tensor:
        model.zero_grad()
        value = loss(model(inputs), targets)
        value.backward()
        return value.detach()

    return call


def closures(
    model: nn.Module, loss: Callable[..., Tensor], batches: Iterable[tuple[Any, Any]]
) -> Iterator[tuple[Closure, int]]:
    """A `closure` and the number of samples for every batch: what ``optimizer.snapshot`` takes.

    Parameters
    ----------
    model, loss
        As for `closure`.
    batches : iterable of (inputs, targets)
        Such as a `torch.utils.data.DataLoader`. Read one at a time.

    Examples
    --------
    >>> import torch
    >>> from lpnum_optim import deep
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = deep.HALP(model.parameters(), lr=0.1)
    >>> batches = [(torch.eye(2), torch.ones(2, 1)), (torch.ones(1, 2), torch.zeros(1, 1))]
    >>> mean_loss = optimizer.snapshot(deep.closures(model, torch.nn.functional.mse_loss, batches))
    """
    for inputs, targets in batches:
        yield closure(model, loss, inputs, targets), len(targets)
