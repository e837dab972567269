"""How much the gradient of a training step changes when one group of tensors is low: what "error-per-byte" orders by.

Measured with the very engine that trains, on one batch, once per group: forward and backward rounding, what falls out
of the ranges, and what batch normalization makes good again are all in it. (Scores from a single pass, relative
rounding errors or their product with the gradient, ranked the groups of ResNet-14 worse than their mere size does.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .assignment import TrainingTensor
from .candidates import OUTPUT_GRADIENT, PARAMETER_GRADIENT, Candidates
from .loss_scaling import LossScale
from .nested import tensors_in
from .operators import Operator
from .slots import Slot
from .training import Training
from .unchanged import unchanged

__all__ = ["gradient_errors"]

Loss = Callable[[Any], Tensor]


def gradient_errors(
    model: nn.Module, arguments: tuple[Any, ...], operators: Sequence[Operator], tensors: Sequence[TrainingTensor],
    candidates: Candidates, *, loss: Loss | None = None, scaled: bool = False,
) -> dict[int, float]:  # fmt: skip
    """Relative squared change of the gradient of all parameters, ``|g - g_high|^2 / |g_high|^2``, of every group.

    The loss is scaled by the largest power of two up to 65536 with which no gradient overflows.
    """
    if any(p.is_meta for p in model.parameters()) or any(t.is_meta for t in tensors_in(arguments)):
        raise ValueError(
            "order = 'error-per-byte' measures errors, and a model or batch on the device 'meta' has no values; "
            "pass real ones, or order = 'size'"
        )
    measurement = _Measurement(model, arguments, operators, tensors, candidates, loss or surrogate_loss, scaled)
    groups = sorted({tensor.group for tensor in tensors})
    with measurement.prepared():
        measurement.find_scale()
        exact = measurement.gradient(None)
        power = float(exact.square().sum())
        if not 0.0 < power < float("inf"):
            raise ValueError(
                f"order = 'error-per-byte': the squared norm of the gradient on the example batch is {power}"
            )
        return {group: float((measurement.gradient(group) - exact).square().sum()) / power for group in groups}


def surrogate_loss(output: Any) -> Tensor:
    """For networks whose targets are not known: cross-entropy with classes, or squared distance to numbers, at random.

    >>> surrogate_loss(torch.zeros(5, 10))
    tensor(2.3026)
    """
    found = next((t for t in tensors_in(output) if t.is_floating_point()), None)
    if found is None:
        raise ValueError("order = 'error-per-byte': the network returns no tensor of floats; pass loss=")
    generator = torch.Generator().manual_seed(0)
    if found.ndim >= 2 and found.shape[1] >= 2:
        shape = (found.shape[0], *found.shape[2:])
        return functional.cross_entropy(found, torch.randint(found.shape[1], shape, generator=generator))
    return functional.mse_loss(found, torch.randn(found.shape, generator=generator, dtype=found.dtype))


class _Measurement:
    """Training steps without a step, under levels that change."""

    def __init__(
        self, model: nn.Module, arguments: tuple[Any, ...], operators: Sequence[Operator],
        tensors: Sequence[TrainingTensor], candidates: Candidates, loss: Loss, scaled: bool,
    ) -> None:  # fmt: skip
        self.model, self.arguments, self.loss = model, arguments, loss
        self.slots = [
            Slot(t, candidates.low[t.kind], candidates.high[t.kind], False, candidates.rounding, scaled)
            for t in tensors
        ]
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("order = 'error-per-byte': no parameter of the model requires a gradient")
        self.loss_scale = LossScale(1.0 if scaled else 65536.0, growth_interval=None)
        optimizer = torch.optim.SGD(self.parameters, lr=0.0)
        self.training = Training(
            model, optimizer, list(operators), self.slots, promotion=None, loss_scale=self.loss_scale
        )

    @contextmanager
    def prepared(self) -> Any:
        with unchanged(self.model), self.training.active(), torch.enable_grad():
            if not self.model.training:
                self.model.train()
            yield

    def find_scale(self) -> None:
        """Halve the scale until no gradient overflows with all groups low, as dynamic scaling would."""
        for slot in self.slots:
            slot.is_low = True
        while self._backward() and self.loss_scale.scale > self.loss_scale.smallest:
            self.loss_scale.after_step(lost=True)

    def gradient(self, low_group: int | None) -> Tensor:
        """Of all parameters, in one vector."""
        for slot in self.slots:
            slot.is_low = slot.tensor.group == low_group
        self._backward()
        return torch.cat([p.grad.flatten().double() for p in self.parameters if p.grad is not None])

    def _backward(self) -> bool:
        """One forward and backward pass; whether a gradient overflowed."""
        for slot in self.slots:
            slot.begin_step()
        with unchanged(self.model):
            for p in self.parameters:
                p.grad = None
            loss = self.loss(self.model(*self.arguments))
            if not bool(torch.isfinite(loss)):
                raise ValueError(f"order = 'error-per-byte': the loss on the example batch is {float(loss.detach())}")
            loss.backward()
            gradients = [p.grad for p in self.parameters]
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        kinds = OUTPUT_GRADIENT, PARAMETER_GRADIENT
        return any(slot.lost for slot in self.slots if slot.tensor.kind in kinds)
