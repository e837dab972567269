"""What all steps of a training had: the average low ratio, and of every tensor the largest overflow and last error."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .slots import Slot

__all__ = ["StepStatistics", "only_training_counts", "share_of_low"]

# So many steps left out one after the other are no search for a loss scale any more: 65536 is halved to 2**-24 in 40.
GIVE_UP_AFTER = 50


def share_of_low(slots: Sequence[Slot]) -> float:
    """Share of the elements that are at a format narrower than their high one, now."""
    total = sum(slot.tensor.size for slot in slots)
    narrow = sum(slot.tensor.size for slot in slots if slot.is_low and slot.low.bits < slot.high.bits)
    return narrow / total if total else 0.0


@contextmanager
def only_training_counts(module: nn.Module, slots: Sequence[Slot]) -> Iterator[None]:
    """Forget what slots see in passes without gradients: evaluation changes no level and is in no statistics."""
    before: list[tuple[float, float, bool]] = []

    def begin(module: nn.Module, args: Any) -> None:
        before[:] = [] if torch.is_grad_enabled() else [(slot.overflow, slot.error, slot.lost) for slot in slots]

    def end(module: nn.Module, args: Any, output: Any) -> None:
        for slot, seen in zip(slots, before, strict=False):
            slot.overflow, slot.error, slot.lost = seen
        before.clear()

    handles = module.register_forward_pre_hook(begin, prepend=True), module.register_forward_hook(end, always_call=True)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class StepStatistics:
    """Fed after every step, before the levels change.

    Attributes
    ----------
    steps : int
    overflow : list of float
        Of every slot: the largest share of overflows.
    error : list of float or None
        The last measured error, if there was one.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = slots
        self.steps = self.lost_in_a_row = 0
        self.overflow = [0.0] * len(slots)
        self.error: list[float | None] = [None] * len(slots)
        self._sum_of_shares = 0.0

    def after_step(self, lost: bool) -> None:
        """Take note of what the slots saw."""
        self.steps += 1
        self._sum_of_shares += share_of_low(self.slots)
        for k, slot in enumerate(self.slots):
            self.overflow[k] = max(self.overflow[k], slot.overflow)
            if not math.isnan(slot.error):
                self.error[k] = slot.error
        self.lost_in_a_row = self.lost_in_a_row + 1 if lost else 0
        if self.lost_in_a_row == GIVE_UP_AFTER:
            worst = max(self.slots, key=lambda slot: slot.overflow, default=None)
            where = f" (most often in {worst.tensor.name}, {worst.fmt.name})" if worst and worst.overflow else ""
            warnings.warn(
                f"the last {GIVE_UP_AFTER} steps were left out, because a gradient overflowed{where} or was NaN. "
                "Is the loss NaN, or has the format of gradients too little range? Try scaled=True",
                stacklevel=3,
            )

    @property
    def mean_low_ratio(self) -> float:
        """Average over the steps; NaN before the first."""
        return self._sum_of_shares / self.steps if self.steps else math.nan

    def state_dict(self) -> dict[str, Any]:
        """To be continued."""
        return {
            "steps": self.steps, "lost_in_a_row": self.lost_in_a_row, "sum_of_shares": self._sum_of_shares,
            "overflow": list(self.overflow), "error": list(self.error),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue, with as many slots."""
        self.steps, self.lost_in_a_row = state["steps"], state["lost_in_a_row"]
        self._sum_of_shares = state["sum_of_shares"]
        self.overflow, self.error = list(state["overflow"]), list(state["error"])
