"""Which tensors change their level during training, decided after every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .assignment import OUTPUT, PARAMETER
from .slots import Slot

__all__ = ["ErrorPromotion", "OverflowPromotion", "Promotion"]


class Promotion(Protocol):
    """A rule for the levels."""

    measure_every: int

    def after_step(self, slots: Iterable[Slot]) -> None:
        """Change `is_low` of slots; what the step saw is in them."""


class OverflowPromotion:
    """A parameter or output of which at least `threshold` overflowed in the step is high from then on.

    Gradients are left to the scaling of the loss. (Lee, Sharma, Aiken 2023, precision promotion; Theta = 0.01.)
    """

    measure_every = 0  # errors are not needed

    def __init__(self, threshold: float = 0.01) -> None:
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"OverflowPromotion: threshold = {threshold}; expected a share of elements, 0 < .. <= 1")
        self.threshold = threshold

    def after_step(self, slots: Iterable[Slot]) -> None:
        """Promote for good."""
        for slot in slots:
            if slot.is_low and slot.tensor.kind in (PARAMETER, OUTPUT) and slot.overflow >= self.threshold:
                slot.is_low = False
                slot.promotions += 1


class ErrorPromotion:
    """A tensor is high while the low format would make a larger relative error than `threshold`, and comes back.

    The error, ``|round(x) - x|^2 / |x|^2``, is measured every `measure_every` steps on all parameters and outputs; what
    was promoted returns below ``release * threshold``, so that nothing changes to and fro.
    """

    def __init__(self, threshold: float = 2e-3, release: float = 0.5, measure_every: int = 20) -> None:
        if not threshold > 0.0 or not 0.0 < release <= 1.0 or measure_every < 1:
            raise ValueError(
                f"ErrorPromotion: threshold = {threshold}, release = {release}, measure_every = {measure_every}; "
                "expected a positive number, a share of it up to 1, and an integer of at least 1"
            )
        self.threshold, self.release, self.measure_every = threshold, release, measure_every

    def after_step(self, slots: Iterable[Slot]) -> None:
        """Promote and take back."""
        for slot in slots:
            if slot.is_low and slot.error > self.threshold:
                slot.is_low = False
                slot.promotions += 1
            elif slot.promoted and slot.error < self.release * self.threshold:
                slot.is_low = True
