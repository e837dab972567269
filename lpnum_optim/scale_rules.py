"""Rules for the scale of a low-precision iterate: how far apart its values lie.

The scale decides everything at 8 bits. Too wide a grid rounds coarsely: the noise of stochastic rounding grows with the
distance of neighbors, down to divergence. Too narrow a grid clips: the iterate moves at most to the end of the grid in
an epoch. The best grid is the one whose end the iterate just reaches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ._checks import real
from .checkpoint import Entry
from .grid_control import GridControl

Vector = NDArray[np.float64]


# Far below any gradient that matters, far above the end of float64: ratios with a scale stay finite.
SMALLEST = 1e-250


class ScaleRule(Protocol):
    """Chooses the scale of every epoch.

    control : GridControl
        How the scale may change within the epoch begun last, and what happened there; a new one for every epoch.
    exhausted : bool
        Whether no scale seems to serve: more bits are needed.
    """

    control: GridControl

    @property
    def exhausted(self) -> bool:
        """No scale seems to serve."""

    def start(self, state: Any) -> float:
        """Scale at the beginning of an epoch that starts at `state`."""

    def finish(self, grad_norm: float) -> bool:
        """Learn from `control` and the epoch's result; True if the result is so bad that it has to be undone."""

    def state(self) -> dict[str, Any]:
        """What the rule has learned, between two epochs."""

    def restore(self, saved: Entry) -> None:
        """Take over what `state` gave."""


class Given:
    """The caller's scale: a number, or a function of the callback state called before every epoch."""

    exhausted = False  # it is the caller's choice

    def __init__(self, scale: float | Callable[[Any], float]) -> None:
        self.control = GridControl()
        self.scale = scale if callable(scale) else real("minimize", "scale", scale)

    def start(self, state: Any) -> float:
        """The number, or what the function says."""
        return real("minimize", "scale(state)", self.scale(state)) if callable(self.scale) else self.scale

    def finish(self, grad_norm: float) -> bool:
        """Nothing to learn."""
        self.control = GridControl()  # fixed grids start only once
        return False

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, saved: Entry) -> None:
        """Nothing."""


def paper_rule(mu: float, bits: int) -> Given:
    r"""The rule of the HALP paper: the end of the grid lies at ``|full gradient| / mu``.

    .. math:: \delta_k = \frac{\|\nabla f(\tilde w_k)\|_2}{\mu \, (2^{b-1} - 1)}

    With mu a bound of the strong convexity the minimum lies inside the grid. In practice mu is a hyper-parameter: the
    true value makes a grid about sqrt(d) too wide.
    """
    mu = real("minimize", "mu", mu)
    largest = 2 ** (bits - 1) - 1
    return Given(lambda state: max(SMALLEST, float(np.linalg.norm(state.gradient)) / mu / largest))


class Automatic:
    r"""Scale of a bit-centered iterate without knowledge of the strong convexity.

    The end of the grid is put at :math:`\rho_k \|\nabla f(\tilde w_k)\|_\infty`. The ratio rho has the unit of an
    inverse curvature and changes slowly from epoch to epoch, because the error keeps pointing along the same slow
    directions, so it is learned from what the grid saw:

    1. An epoch is divided into `SEGMENTS` runs of steps. The first epoch begins with a range that no coordinate can
       leave by the gradient alone (``step_size * steps * |gradient|_inf``). Between runs the grid is halved while the
       largest code uses less than `NARROW` of it and doubled when it uses more than `WIDE`. So the first epoch needs no
       more bits than the others.
    2. Afterwards ``rho = margin * (largest |z| seen) / |gradient|_inf``, at most halved from epoch to epoch. The margin
       is a little below 1: a few clipped coordinates cost less than the coarser rounding of all others. Wider formats
       have levels to spare and take a wider margin.
    3. In later epochs the grid is widened by `WIDEN` for the rest of the epoch where more than `CROWDED` of the
       coordinates sit at an end, or one of them sits there after `STUCK` runs in a row: a few coordinates that touch
       the end now and then do no harm, but one that is held back all the time holds back everything.
    4. An epoch that ends with a gradient more than `WORSE` times the smallest one so far is undone: its grid was too
       coarse. Half of its ratio then bounds rho from above, a bound that relaxes by `RELAX` per accepted epoch. This is
       what lets few bits (3 to 6) converge, slowly. With `HOPELESS` such epochs since the smallest gradient was last
       halved the rule is `exhausted`: only more bits help (``bits="auto"`` of `minimize`).
    5. What an epoch returns is the mean of z over its last `MEAN_RUNS` runs (option II of the analysis of SVRG with
       less noise): the noise of rounding in the curved directions averages out. What the mean lags behind in the flat
       directions, Anderson acceleration of the snapshots makes up (`acceleration` of `minimize`, on by default here).

    Measured by ``tools/scale_rule_table.py`` on 16 problems of public data (8 to 784 features, L / l2 from 3e3 to 2e4)
    and 18 synthetic ones (1 to 10,000 features), three seeds, steps of 0.5 / L: epochs until the gradient norm has
    fallen by 1e-8, divided by those of full-precision SVRG without acceleration with the same steps,

    ===============================  ==============  =====  ===============  =====
    steps per epoch                  8 bits, mean    worst  16 bits, mean    worst
    ===============================  ==============  =====  ===============  =====
    n                                0.70            1.00   0.63             1.00
    2 n                              0.79            1.16   0.69             1.02
    2 n, neither mean nor Anderson   1.17            2.07   1.00             1.03
    ===============================  ==============  =====  ===============  =====

    (geometric means over the problems of the mean over the seeds).
    """

    SEGMENTS = 16
    NARROW, WIDE = 0.3, 0.75
    CROWDED, STUCK, WIDEN = 5e-3, 3, 1.5
    WORSE, RELAX = 4.0, 1.1
    MEAN_RUNS = 8
    HOPELESS = 4
    LEARNED = ("ratio", "bound", "best", "halved", "undone")

    def __init__(self, bits: int, step_size: float, inner_steps: int) -> None:
        self.bits, self.largest = bits, 2 ** (bits - 1) - 1
        self.margin = 0.9 * 2.0 ** (max(0, bits - 8) / 2)
        self.reach = step_size * inner_steps
        self.ratio = self.bound = np.inf
        self.best = self.halved = np.inf
        self.undone = 0.0

    @property
    def exhausted(self) -> bool:
        """Epochs are undone again and again, and what lies between them leads nowhere."""
        return self.undone >= self.HOPELESS

    @property
    def learning(self) -> bool:
        """Whether the next epoch is the first one."""
        return bool(np.isinf(self.ratio))

    def start(self, state: Any) -> float:
        """Range ``rho * |gradient|_inf``, as the distance of neighboring values."""
        self.unit = float(np.max(np.abs(state.gradient)))
        self.best = min(self.best, state.grad_norm)
        if self.best <= 0.5 * self.halved:
            self.halved, self.undone = self.best, 0.0
        ratio = self.reach / self.SEGMENTS if self.learning else self.ratio
        self.begun = max(SMALLEST, min(ratio, self.bound))
        self.control = GridControl(
            segments=self.SEGMENTS, learning=self.learning, narrow=self.NARROW, wide=self.WIDE, crowded=self.CROWDED,
            stuck=self.STUCK, widen=self.WIDEN, limit=self.bound / self.begun, mean_runs=self.MEAN_RUNS,
        )  # fmt: skip
        return max(SMALLEST, self.unit * self.begun / self.largest)

    def finish(self, grad_norm: float) -> bool:
        """Learn the ratio of the next epoch; True if this one has to be undone."""
        current = self.begun * self.control.change
        if not grad_norm <= self.WORSE * self.best:
            self.ratio = self.bound = 0.5 * min(current, self.bound)
            self.undone += 1
            return True
        self.bound *= self.RELAX
        self.ratio = max(self.margin * self.begun * self.control.seen, 0.5 * current)
        # The largest |z| may be hidden behind the end of the grid.
        if self.control.saturated > self.CROWDED:
            self.ratio = 2.0 * current
        elif self.control.held >= self.STUCK:
            self.ratio = max(self.ratio, self.WIDEN * current)
        self.ratio = min(self.bound, self.ratio)
        return False

    def state(self) -> dict[str, Any]:
        """The ratio of the next epoch, its bound, the smallest gradient norm, and what tells whether it still falls."""
        return {name: getattr(self, name) for name in self.LEARNED}

    def restore(self, saved: Entry) -> None:
        """Take over the numbers."""
        for name in self.LEARNED:
            setattr(self, name, saved.real(name))
