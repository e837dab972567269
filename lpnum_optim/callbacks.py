"""What runs after every epoch: ``callback(state) -> bool | None``; True stops the minimization.

`Trace` and `ProgressBar` are callbacks like any other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ._checks import optional_import


@dataclass(frozen=True)
class State:
    """Where a minimization stands after an epoch (epoch 0: the start).

    Attributes
    ----------
    method : str
    epoch, epochs : int
        Finished epochs, and how many there will be at most.
    passes : float
        Passes over the data so far.
    seconds : float
        Time in the epochs so far, callbacks not included.
    x, gradient : float64 arrays of shape (n_features,)
        The current iterate and the full gradient there; not to be modified.
    objective, grad_norm : float
    scale, saturated, range_used : float
        The grid at the end of the epoch: distance of neighboring values, fraction of coordinates found at an end,
        largest code used over the largest code. NaN in full precision.
    """

    method: str
    epoch: int
    epochs: int
    passes: float
    seconds: float
    x: NDArray[np.float64]
    gradient: NDArray[np.float64]
    objective: float
    grad_norm: float
    scale: float
    saturated: float
    range_used: float


Callback = Callable[[State], bool | None]

HISTORY = ("epoch", "passes", "seconds", "objective", "grad_norm", "scale", "saturated", "range_used")


class Trace:
    """Records the scalars of every state, and the iterates if asked to.

    Examples
    --------
    >>> from lpnum_optim import FiniteSum, minimize
    >>> trace = Trace(keep_x=True)
    >>> r = minimize(FiniteSum(np.eye(2), [1.0, 3.0]), method="svrg", epochs=3, callback=trace)
    >>> len(trace.x), sorted(trace.history) == sorted(HISTORY)
    (4, True)
    """

    def __init__(self, keep_x: bool = False) -> None:
        self.rows: list[tuple[float, ...]] = []
        self.x: list[NDArray[np.float64]] = []
        self.keep_x = keep_x

    def __call__(self, state: State) -> None:
        """Append the state."""
        self.rows.append(tuple(getattr(state, name) for name in HISTORY))
        if self.keep_x:
            self.x.append(state.x.copy())

    @property
    def history(self) -> dict[str, NDArray[Any]]:
        """The record as arrays of equal length, one element per state."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(HISTORY)
        types = {"epoch": np.int64}
        return {
            name: np.array(column, dtype=types.get(name, np.float64))
            for name, column in zip(HISTORY, columns, strict=True)
        }


class ProgressBar:
    """A tqdm bar over the epochs, on stderr.

    Parameters
    ----------
    disable : bool, optional
        None (default) shows the bar on a terminal only.
    """

    def __init__(self, disable: bool | None = False, file: TextIO | None = None, label: str | None = None) -> None:
        self._tqdm = optional_import("tqdm", "optim", "a progress bar").tqdm
        self._disable, self._file, self._label = disable, file, label
        self._bar: Any = None

    def __call__(self, state: State) -> None:
        """Advance to the state's epoch."""
        if self._bar is None:
            self._bar = self._tqdm(
                total=state.epochs, desc=self._label or state.method, unit="epoch", disable=self._disable,
                file=self._file or sys.stderr, leave=False,
            )  # fmt: skip
        self._bar.set_postfix_str(f"|grad| {state.grad_norm:.1e}", refresh=False)
        self._bar.update(state.epoch - self._bar.n)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def call_all(callbacks: list[Callback], state: State) -> bool:
    """Call every callback; True if one of them asked to stop."""
    answers = [callback(state) for callback in callbacks]  # a list: no answer may keep another callback from its call
    return any(answers)
