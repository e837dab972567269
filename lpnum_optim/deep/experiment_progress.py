"""Progress of an experiment: bars on a terminal, one line per epoch elsewhere (a log)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from .._checks import optional_import
from .experiment_runs import Row, Run

__all__ = ["Progress"]


class Progress:
    """A bar over the epochs of all runs, and one over the steps of the running epoch.

    Parameters
    ----------
    file : text stream, optional
        Default: stderr.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._tqdm = optional_import("tqdm", "torch", "a progress bar").tqdm if self._file.isatty() else None
        self._epochs: Any = None
        self._steps: Any = None

    def total(self, done: int, epochs: int) -> None:
        """So many epochs of all runs are done; other processes may have done some of them."""
        if self._tqdm is None:
            return
        if self._epochs is None:
            self._epochs = self._tqdm(total=epochs, initial=done, desc="all runs", unit="epoch", file=self._file)
        self._epochs.total = epochs
        self._epochs.update(done - self._epochs.n)

    def epoch(self, run: Run, epoch: int, epochs: int, steps: int) -> Callable[[], Any]:
        """An epoch begins; call what is returned after every step."""
        self._close_steps()
        if self._tqdm is None:
            return lambda: None
        label = f"{run.name} epoch {epoch}/{epochs}"
        self._steps = self._tqdm(total=steps, desc=label, unit="step", leave=False, file=self._file)
        return self._steps.update

    def row(self, run: Run, row: Row, epochs: int, stopped: str) -> None:
        """An epoch has ended."""
        self._close_steps()
        text = (
            f"{run.name} epoch {row['epoch']}/{epochs}: training loss {row['train_loss']:.4f}, "
            f"test accuracy {row['test_accuracy']:.4f}, {row['seconds']:.0f} s"
        )
        self.say(text + (f"; stopped in {stopped}" if stopped else ""))

    def say(self, text: str) -> None:
        """A line above the bars."""
        if self._tqdm is None:
            print(text, file=self._file, flush=True)
        else:
            self._tqdm.write(text, file=self._file)

    def _close_steps(self) -> None:
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def close(self) -> None:
        """Take the bars off the screen."""
        self._close_steps()
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None
