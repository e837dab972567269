"""Dynamic scaling of the loss: gradients are multiplied so that they use the range of narrow formats."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["LossScale"]


class LossScale:
    """Doubled after `growth_interval` good steps in a row, halved when a gradient overflows (that step is left out).

    Parameters
    ----------
    initial : float
        65536 as in torch.amp; 1 with ``growth_interval=None`` switches scaling off.
    growth_interval : int, optional
        None keeps the scale from growing.
    smallest, largest : float

    Examples
    --------
    >>> scale = LossScale(8.0, growth_interval=2)
    >>> for lost in (False, False, True):
    ...     scale.after_step(lost)
    ...     print(scale.scale)
    8.0
    16.0
    8.0
    """

    def __init__(
        self, initial: float = 65536.0, growth_interval: int | None = 400, *, smallest: float = 2.0**-24,
        largest: float = 2.0**24,
    ) -> None:  # fmt: skip
        if not smallest <= initial <= largest:
            raise ValueError(f"LossScale: initial = {initial}; expected {smallest:g} .. {largest:g}")
        self.scale, self.growth_interval = float(initial), growth_interval
        self.smallest, self.largest = smallest, largest
        self.good_steps = 0

    def after_step(self, lost: bool) -> None:
        """Adapt to a step that was good, or lost to an overflow."""
        if lost:
            self.scale, self.good_steps = max(self.smallest, 0.5 * self.scale), 0
            return
        self.good_steps += 1
        if self.growth_interval is not None and self.good_steps >= self.growth_interval:
            self.scale, self.good_steps = min(self.largest, 2.0 * self.scale), 0

    def state_dict(self) -> dict[str, float]:
        """What steps have changed."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Continue from there."""
        self.scale, self.good_steps = float(state["scale"]), int(state["good_steps"])
