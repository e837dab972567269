"""Which tensors change their level during training, decided after every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .candidates import OUTPUT, PARAMETER
from .slots import Slot

__all__ = ["ErrorPromotion", "OverflowPromotion", "Promotion", "promotion_rule"]


class Promotion(Protocol):
    """A rule for the levels.

    Attributes
    ----------
    measure_every : int
        In every so many steps the errors of rounding to the low formats are measured; 0: never.
    """

    measure_every: int

    def after_step(self, slots: Iterable[Slot]) -> None:
        """Change `is_low` of slots; what the step saw is in them."""


class OverflowPromotion:
    """A parameter or output of which at least `threshold` overflowed in a step is high from then on.

    Only that tensor: not its group, and not its gradient. Gradients are left to the scaling of the loss.

    Parameters
    ----------
    threshold : float
        Share of the elements whose magnitude would round to beyond the largest value; the paper's Theta.

    Examples
    --------
    >>> OverflowPromotion(threshold=0.01).threshold
    0.01

    Source: Lee, Sharma, Aiken (TMLR 2023), precision promotion.
    """

    measure_every = 0

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

    The error, ``|round(x) - x|^2 / |x|^2``, is measured every `measure_every` steps on all parameters and outputs of
    the plan that are low or were promoted by this rule. What was promoted returns once it is below
    ``release * threshold``, so that nothing changes to and fro.

    Parameters
    ----------
    threshold : float
        Rounding to nearest with m mantissa bits makes about ``4**-(m + 1) / 6`` where nothing is lost at the ends of
        the range: 6.5e-4 for the 3 bits of FP(4,3,4) and float8_e4m3fn.
    release : float
        Between 0 and 1; what is promoted can only come back if ``release * threshold`` is above that.
    measure_every : int

    Examples
    --------
    >>> ErrorPromotion(threshold=1e-3).measure_every
    20

    Idea: "MoR: mixture of representations", arXiv 2512.22804, where the choice is made in every step.
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


def promotion_rule(promotion: Promotion | str | None) -> Promotion | None:
    """A rule from its name.

    >>> type(promotion_rule("error")).__name__
    'ErrorPromotion'
    """
    rules = {"overflow": OverflowPromotion, "error": ErrorPromotion}
    if isinstance(promotion, str):
        if promotion not in rules:
            raise ValueError(
                f"promotion = {promotion!r}; expected one of {', '.join(map(repr, rules))}, None or a rule"
            )
        return rules[promotion]()
    if promotion is not None and not hasattr(promotion, "after_step"):
        raise TypeError(f"promotion: {type(promotion).__name__} has no after_step; expected a name, None or a rule")
    return promotion
