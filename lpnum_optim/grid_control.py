"""Control of the grid within an epoch: when the distance of neighboring values changes between two runs of steps.

`GridControl` is the statement of the rule. The readable loop asks it between two runs; a compiled epoch takes its
parameters as data, decides in the same way (_core/lowbit_control.h) and fills in the record.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Report(NamedTuple):
    """What the grid saw during a run of steps.

    saturated : fraction of the coordinates at an end of the grid, averaged over the points of observation
    range_used : largest |code| over the largest code
    at_end : which coordinates are at an end of the grid now, of shape (n_features,); None in full precision
    """

    saturated: float
    range_used: float
    at_end: NDArray[np.bool_] | None = None


@dataclass
class GridControl:
    r"""The rule for one epoch, and the record of what happened. The defaults leave the grid alone.

    An epoch is divided into `segments` runs of steps, as even as :func:`numpy.array_split` makes them. After every run
    but the last, the distance of neighboring values is multiplied by

    .. math:: f = \begin{cases}
        2       & \text{learning, range used} > \text{wide} \\
        2^{-k}  & \text{learning, } 2^{-k} \text{ the largest one with range used} \ge 2^{-k}\,\text{narrow} \\
        \text{widen} & \text{not learning, saturated} > \text{crowded, or held} \ge \text{stuck} \\
        1       & \text{otherwise, or if } f > 1 \text{ and change} \cdot f > \text{limit}
        \end{cases}

    Parameters
    ----------
    segments : int
    learning : bool
        Whether the size of the grid is still unknown.
    narrow, wide : float
        Fractions of the range. `narrow` is at most 1; a range of which nothing is used is not tightened.
    crowded : float
        Fraction of the coordinates.
    stuck : int
        Runs.
    widen : float
        At least 1.
    limit : float
        Largest total factor.
    mean_runs : int
        The mean of z is taken over this many runs at the end of the epoch.

    Attributes
    ----------
    change : float
        Product of all factors so far.
    seen : float
        Largest abs(z) observed, in units of the range at the start.
    crowding : float
        Sum of `saturated` over the runs.
    runs : int
        How many runs of steps have been recorded.
    held : int
        Longest number of runs in a row, since the grid was last widened, that ended with the same coordinate at an end.
    total : array of the shape of z, or None
        Sum of z, as values, over the points of observation of the last `mean_runs` runs.
    mean_terms : int
        Number of these points.

    Examples
    --------
    >>> control = GridControl(segments=16, learning=True, narrow=0.3, wide=0.75)
    >>> control.observe(Report(saturated=0.0, range_used=0.1, at_end=np.array([False, False])))
    >>> control.next_factor()  # 0.1 of the range: two halvings make it 0.4
    0.25
    >>> control.change, control.seen, control.runs
    (0.25, 0.1, 1)
    """

    segments: int = 1
    learning: bool = False
    narrow: float = 0.0
    wide: float = math.inf
    crowded: float = math.inf
    stuck: int = 1 << 30
    widen: float = 1.0
    limit: float = math.inf
    mean_runs: int = 0
    change: float = field(default=1.0, init=False)
    seen: float = field(default=0.0, init=False)
    crowding: float = field(default=0.0, init=False)
    runs: int = field(default=0, init=False)
    held: int = field(default=0, init=False)
    total: NDArray[np.float64] | None = field(default=None, init=False)
    mean_terms: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name, good, allowed in (
            ("segments", self.segments >= 1, "an integer of at least 1"),
            ("narrow", 0.0 <= self.narrow <= 1.0, "0 .. 1"),
            ("mean_runs", self.mean_runs >= 0, "an integer of at least 0"),
            ("stuck", self.stuck >= 1, "an integer of at least 1"),
            ("widen", 1.0 <= self.widen < math.inf, "a finite number of at least 1"),
        ):
            if not good:
                raise ValueError(f"GridControl: {name} = {getattr(self, name)!r}; allowed: {allowed}")
        self._in_a_row: NDArray[np.int64] = np.zeros(1, np.int64)
        self._planned = self.segments

    @property
    def averaging(self) -> bool:
        """Whether the run that comes next, or is under way, belongs to the mean."""
        return self.runs + self.mean_runs >= self._planned

    @property
    def mean(self) -> NDArray[np.float64] | None:
        """Mean of z over the last `mean_runs` runs, as values; None without any."""
        return self.total / self.mean_terms if self.total is not None and self.mean_terms else None

    def add(self, z: NDArray[Any]) -> None:
        """Count z, as values, into the mean."""
        self.total = z + (0.0 if self.total is None else self.total)
        self.mean_terms += 1

    @property
    def saturated(self) -> float:
        """Average over the runs of the fraction of coordinates at an end; 0 before the first run."""
        return self.crowding / self.runs if self.runs else 0.0

    def split(self, samples: NDArray[Any]) -> list[NDArray[Any]]:
        """The samples of the runs, none of them empty."""
        runs = self._planned = min(self.segments, len(samples))
        return np.array_split(samples, runs) if runs else []

    def observe(self, report: Report) -> None:
        """Record a run of steps."""
        self.runs += 1
        if report.at_end is not None:
            self._in_a_row = (self._in_a_row + 1) * report.at_end
            self.held = int(self._in_a_row.max())
        self.crowding += report.saturated
        self.seen = max(self.seen, report.range_used * self.change)
        self._last = report

    def next_factor(self) -> float:
        """Factor on the distance of neighboring values after the run recorded last; counted in `change`."""
        factor, used = 1.0, self._last.range_used
        if not self.learning:
            factor = self.widen if self._last.saturated > self.crowded or self.held >= self.stuck else 1.0
        elif used > self.wide:
            factor = 2.0
        elif used > 0:
            while used < self.narrow * factor:
                factor *= 0.5
        if factor > 1 and self.change * factor > self.limit:
            factor = 1.0
        self.change *= factor
        if factor > 1:
            self._in_a_row[:] = 0
        return factor
