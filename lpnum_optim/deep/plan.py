"""`PrecisionPlan`: which tensor of a network's training gets which format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from . import assignment
from .assignment import PAPER, Candidates, TrainingTensor
from .loss_scaling import LossScale
from .operators import Operator, trace
from .promotion import OverflowPromotion, Promotion
from .slots import Slot
from .training import Training

__all__ = ["PrecisionPlan"]


class PrecisionPlan:
    """An assignment of formats to the tensors of training steps."""

    def __init__(
        self, operators: Sequence[Operator], tensors: Sequence[TrainingTensor], low: Sequence[bool],
        candidates: Candidates, name: str,
    ) -> None:  # fmt: skip
        self.operators, self.tensors, self.low = list(operators), list(tensors), list(low)
        self.candidates, self.name = candidates, name

    @classmethod
    def _traced(cls, model: nn.Module, example_batch: Any) -> tuple[list[Operator], list[TrainingTensor]]:
        arguments = example_batch if isinstance(example_batch, tuple) else (example_batch,)
        operators = trace(model, arguments)
        input_size = sum(t.numel() for t in arguments if isinstance(t, Tensor) and t.is_floating_point())
        return operators, assignment.tensors_of(operators, input_size, model)

    @classmethod
    def demote(
        cls, model: nn.Module, example_batch: Any, ratio: float = 0.9, *, candidates: Candidates = PAPER,
        order: str = "size", seed: int = 0,
    ) -> PrecisionPlan:  # fmt: skip
        """Precision demotion: whole groups become low, in an order, until `ratio` of the elements is."""
        if not 0.0 <= ratio <= 1.0:
            raise ValueError(f"PrecisionPlan.demote: ratio = {ratio}; expected 0 .. 1")
        operators, tensors = cls._traced(model, example_batch)
        orders = {
            "size": lambda: assignment.by_size(tensors),
            "size-increasing": lambda: assignment.by_size(tensors, decreasing=False),
            "random": lambda: assignment.shuffled(tensors, seed),
        }
        if order not in orders:
            raise ValueError(f"PrecisionPlan.demote: order = {order!r}; expected one of {', '.join(map(repr, orders))}")
        low = assignment.demoted(tensors, orders[order](), ratio, candidates)
        return cls(operators, tensors, low, candidates, f"demote {ratio:g}")

    @classmethod
    def uniform(
        cls, model: nn.Module, example_batch: Any, *, low: bool, candidates: Candidates = PAPER
    ) -> PrecisionPlan:
        """All tensors low, or all high."""
        operators, tensors = cls._traced(model, example_batch)
        return cls(operators, tensors, [low] * len(tensors), candidates, f"uniform {'low' if low else 'high'}")

    @classmethod
    def operator_based(cls, model: nn.Module, example_batch: Any, *, candidates: Candidates = PAPER) -> PrecisionPlan:
        """What goes into sums of products is low, but not at the ends of the network (HFP8)."""
        operators, tensors = cls._traced(model, example_batch)
        return cls(operators, tensors, assignment.operator_based(operators, tensors), candidates, "operator-based")

    @property
    def low_ratio(self) -> float:
        """Share of the elements that are low."""
        return assignment.low_ratio(self.tensors, self.low, self.candidates)

    @contextmanager
    def apply(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *,
        promotion: Promotion | str | None = "overflow", loss_scale: LossScale | None = None, scaled: bool = False,
    ) -> Iterator[Training]:  # fmt: skip
        """Train under the plan within the block."""
        rule = OverflowPromotion() if isinstance(promotion, str) else promotion
        slots = [
            Slot(t, self.candidates.low[t.kind], self.candidates.high[t.kind], low, self.candidates.rounding, scaled)
            for t, low in zip(self.tensors, self.low, strict=True)
        ]
        training = Training(
            model, optimizer, self.operators, slots, promotion=rule, loss_scale=loss_scale or LossScale()
        )
        with training.active():
            yield training
