"""What runs after every epoch: ``callback(state) -> bool | None``; True stops the minimization.

`Trace`, `ProgressBar`, `EarlyStopping` and `Deadline` are callbacks like any other. One that has methods ``state()``,
which returns a dictionary of numbers, texts and arrays, and ``restore(dictionary)`` is kept by checkpoints. `restore`
returns True if the run is to end where it stands: a run that this callback ended is at its end again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ._checks import choice, integer, optional_import, real
from .checkpoint import Entry


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

# What `EarlyStopping` can watch by name.
MONITORS = ("objective", "grad_norm")

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


class EarlyStopping:
    """Stop when nothing has become better for a while.

    Parameters
    ----------
    patience : int
        Stop after this many epochs in a row without improvement.
    min_delta : float
        An improvement is at least this much better than the best so far (absolute), and better.
    monitor : {"objective", "grad_norm"} or callable
        What is watched; a function of the `State` such as the loss on held-out data, called after every epoch.
    maximize : bool
        Whether larger is better, as with a score.

    Attributes
    ----------
    best, best_epoch, best_x
        The best value, the epoch it was seen after, and a copy of the iterate there. The result of `minimize` is the
        iterate with the smallest gradient, which need not be this one.

    Notes
    -----
    Counts anew for every run (at its epoch 0) and goes on counting in a run that is resumed.

    Examples
    --------
    >>> from lpnum_optim import FiniteSum, minimize
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((300, 40)), rng.standard_normal(300)
    >>> held_out = FiniteSum(X[200:], y[200:])
    >>> early = EarlyStopping(patience=3, monitor=lambda state: held_out.objective(state.x))
    >>> r = minimize(FiniteSum(X[:200], y[:200]), epochs=100, callback=early)
    >>> r.status, r.n_epochs == early.best_epoch + 3, bool(held_out.objective(early.best_x) < held_out.objective(r.x))
    (3, True, True)
    """

    def __init__(
        self,
        patience: int = 5,
        min_delta: float = 0.0,
        monitor: str | Callable[[State], float] = "objective",
        *,
        maximize: bool = False,
    ) -> None:
        self.patience = integer("EarlyStopping", "patience", patience, 1)
        self.min_delta = real("EarlyStopping", "min_delta", min_delta, zero=True)
        self.monitor = monitor if callable(monitor) else choice("EarlyStopping", "monitor", monitor, MONITORS)
        self.maximize = bool(maximize)
        self._forget()

    def _forget(self) -> None:
        self.best = float("-inf" if self.maximize else "inf")
        self.best_epoch, self.best_x, self._waited = 0, np.empty(0), 0

    def __call__(self, state: State) -> bool:
        """Whether the patience is at an end."""
        if state.epoch == 0:
            self._forget()
        value = float(self.monitor(state) if callable(self.monitor) else getattr(state, self.monitor))
        gain = value - self.best if self.maximize else self.best - value
        if gain > 0 and gain >= self.min_delta:  # NaN is no improvement
            self.best, self.best_epoch, self.best_x = value, state.epoch, state.x.copy()
        self._waited = state.epoch - self.best_epoch
        return self._waited >= self.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.best, "best_epoch": self.best_epoch, "best_x": self.best_x, "waited": self._waited}

    def restore(self, saved: dict[str, Any]) -> bool:
        """Go on from what `state` gave; True if the patience was at an end."""
        s = Entry(saved, "EarlyStopping: the saved state")
        self.best, self.best_epoch, self.best_x = s.real("best"), s.integer("best_epoch"), np.asarray(s["best_x"])
        self._waited = s.integer("waited")
        return self._waited >= self.patience


class Deadline:
    """Stop in time: before an epoch that would end later than `seconds` after this object was made.

    An epoch, with its callbacks, is taken to last as long as the one before. A time budget starts anew when a run is
    resumed with a new deadline.

    Examples
    --------
    >>> from lpnum_optim import FiniteSum, minimize
    >>> minimize(FiniteSum(np.ones((2, 1)), [0.1, 0.7]), "sgd", epochs=10**6, callback=Deadline(0.05)).status
    3
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = real("Deadline", "seconds", seconds)
        self.end = time.monotonic() + self.seconds
        self._last: float | None = None

    def __call__(self, state: State) -> bool:
        """Whether another epoch would take too long."""
        now = time.monotonic()
        lasted = 0.0 if self._last is None or state.epoch == 0 else now - self._last
        self._last = now
        return now + lasted > self.end


def call_all(callbacks: list[Callback], state: State) -> bool:
    """Call every callback; True if one of them asked to stop, by its answer or, as in SciPy, by StopIteration."""
    stop = False
    for callback in callbacks:  # no answer may keep another callback from its call
        try:
            stop |= bool(callback(state))
        except StopIteration:
            stop = True
    return stop
