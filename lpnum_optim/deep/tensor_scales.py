"""The scale of every tensor's codes: the rules of the linear models, one for each tensor.

`CenteredScale` chooses the grid of a bit-centered iterate at each snapshot, `FixedScale` that of a fixed grid. Both
look at the codes between two runs of steps, as `lpnum_optim.grid_control` does within an epoch of the linear models.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from ..grid_control import GridControl, Report
from ..scale_rules import SMALLEST, Automatic
from .iterate_codes import Ends

__all__ = ["CenteredScale", "FixedScale", "restored_rule"]


class _Gradient(NamedTuple):
    """The state of an epoch as `Automatic` asks for it."""

    gradient: Any
    grad_norm: float


class _Watched:
    """What both rules do between two runs of steps."""

    control: GridControl

    def __init__(self) -> None:
        self._held = torch.empty(0, dtype=torch.int64)  # elements at an end, and for how many runs in a row
        self._runs = torch.empty(0, dtype=torch.int64)

    def observe(self, ends: Ends, *, last: bool = False) -> float:
        """Record a run; the factor on the scale for the next one (1 after the last run of an epoch)."""
        runs = torch.ones_like(ends.where)
        if self._held.numel() and ends.where.numel():
            place = torch.searchsorted(self._held, ends.where).clamp_(max=self._held.numel() - 1)
            runs += torch.where(self._held[place] == ends.where, self._runs[place], 0)
        self._held, self._runs = ends.where, runs
        self.control.held = int(runs.max()) if runs.numel() else 0
        self.control.observe(Report(ends.saturated, ends.range_used))
        if last:
            return 1.0
        factor = self.control.next_factor()
        if factor > 1.0:
            self._held = self._runs = torch.empty(0, dtype=torch.int64)
        return factor

    COUNTS = ("change", "seen", "crowding", "runs", "held")

    def state(self) -> dict[str, Any]:
        """What has been seen, and of the epoch under way."""
        control = {name: getattr(self.control, name) for name in self.COUNTS}
        return {"control": control, "at_end": self._held.clone(), "at_end_runs": self._runs.clone()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        for name in self.COUNTS:
            setattr(self.control, name, saved["control"][name])
        self._held, self._runs = saved["at_end"].clone(), saved["at_end_runs"].clone()


class FixedScale(_Watched):
    """A grid around zero that begins a little wider than the weights and is widened where they have grown out of it."""

    MARGIN = 1.25

    def __init__(self) -> None:
        super().__init__()
        self.control = self._new_control()

    @staticmethod
    def _new_control() -> GridControl:
        return GridControl(
            segments=1 << 30, crowded=Automatic.CROWDED, stuck=Automatic.STUCK, widen=Automatic.WIDEN
        )  # fmt: skip

    def begin(self, largest: float, reach: float) -> float:
        """End of the grid for weights of this magnitude; `reach` of weights that are all zero."""
        self.control = self._new_control()
        return max(SMALLEST, self.MARGIN * (largest or reach))


class CenteredScale(_Watched):
    r"""`scale_rules.Automatic` for one tensor: the end of the grid is :math:`\rho |\tilde g|_\infty`.

    Some things differ from the linear models.

    - How many steps follow is not known. The runs between which the grid may change have the length that the optimizer
      tells (`run_steps`), and the first range is what the gradient alone reaches in one of them.
    - The reach of an epoch is in proportion to the learning rate where epochs are short, so the ratio follows it.
    - No epoch is undone: where the problem is not convex, a larger gradient is no sign of a grid too coarse.
    """

    LEARNED = (*Automatic.LEARNED, "begun")

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.rule = Automatic(bits, 0.0, 0)
        self.rule.largest = 1  # ends of the grid, not distances of values
        self.lr = 0.0

    @property
    def control(self) -> GridControl:  # type: ignore[override]
        """How the grid may change within the epoch."""
        return self.rule.control

    def begin(self, largest: float, lr: float, run_steps: int, inertia: float) -> float:
        """End of the grid for an epoch that starts at a gradient of this magnitude."""
        rule = self.rule
        if rule.learning:
            rule.reach = lr * run_steps * inertia * rule.SEGMENTS
        elif lr > 0.0:
            rule.ratio *= lr / self.lr
            rule.bound *= lr / self.lr
        self.lr = lr or self.lr
        self._held = self._runs = torch.empty(0, dtype=torch.int64)
        return rule.start(_Gradient(np.float64(largest), 0.0))

    def finish(self) -> None:
        """Learn from the epoch that ends."""
        if self.lr > 0.0:
            self.rule.finish(0.0)

    def state(self) -> dict[str, Any]:
        """What has been learned, and of the epoch under way."""
        learned = {name: float(getattr(self.rule, name)) for name in self.LEARNED}
        return {**super().state(), "learned": learned, "bits": self.bits, "lr": self.lr, "reach": self.rule.reach}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.lr, self.rule.reach = saved["lr"], saved["reach"]
        for name, value in saved["learned"].items():
            if name != "begun":
                setattr(self.rule, name, value)
        learning = math.isinf(self.rule.ratio)
        self.rule.start(_Gradient(np.float64(0.0), 0.0))
        self.rule.begun = saved["learned"]["begun"]
        self.control.learning, self.control.limit = learning, self.rule.bound / self.rule.begun
        super().restore(saved)


def restored_rule(saved: dict[str, Any]) -> CenteredScale | FixedScale:
    """The rule whose state was saved."""
    rule = CenteredScale(saved["bits"]) if "learned" in saved else FixedScale()
    rule.restore(saved)
    return rule
