"""Runs of an experiment: one file each, continued epoch by epoch, by one process or by several in the same folder.

Every epoch begins with the run's checkpoint and ends with the next one, so a run that was interrupted goes through the
same states as one that was not. The run that is furthest behind comes next: whenever one stops, all have come equally
far, and processes that share a folder share the work.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from lpnum._files import atomic_writer

# Not on Windows: there, one process at a time.
fcntl: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None

__all__ = ["Deadline", "Run", "RunFiles", "Runs", "Trainer"]

VERSION = 1
Row = dict[str, Any]


class Run(NamedTuple):
    """One run: a method, the format of its iterate and the seed."""

    method: str
    format: str
    seed: int

    @property
    def name(self) -> str:
        """Also of its files."""
        return f"{self.method}-{self.format}-seed{self.seed}"


class Trainer(Protocol):
    """What trains one run; `steps` is the number of ticks of an epoch."""

    steps: int

    def train(self, epoch: int, tick: Callable[[], None]) -> None:
        """One epoch (1, 2, ...); `tick` is called after every step and may raise."""

    def measure(self) -> Row:
        """The columns of the row after an epoch, except those of `Run`, epoch and seconds."""

    def state_dict(self) -> dict[str, Any]:
        """Everything the next epoch depends on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""

    def close(self) -> None:
        """Take hooks off."""


class DeadlineError(Exception):
    """The time is used up within an epoch."""


class Deadline:
    """A moment after which no epoch goes on."""

    def __init__(self, minutes: float | None) -> None:
        self.end = None if minutes is None else time.monotonic() + 60.0 * minutes

    def leaves(self, seconds: float) -> bool:
        """Whether so much time is left."""
        return self.end is None or time.monotonic() + seconds <= self.end

    def check(self) -> None:
        """Raise when the time is used up."""
        if not self.leaves(0.0):
            raise DeadlineError


@dataclass
class Stored:
    """Content of a run's checkpoint; `stopped` says why the run cannot go on, if it cannot."""

    settings: dict[str, Any]
    rows: list[Row]
    stopped: str
    state: dict[str, Any]

    def goes_on(self, epochs: int) -> bool:
        """Whether epochs are left."""
        return not self.stopped and self.epoch < epochs

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return int(self.rows[-1]["epoch"])

    @property
    def last_seconds(self) -> float:
        """How long the last epoch trained."""
        return float(self.rows[-1]["seconds"] - self.rows[-2]["seconds"]) if len(self.rows) > 1 else 0.0


class RunFiles:
    """The files of one run in ``folder/runs``: ``.pt`` (checkpoint), ``.csv`` (its log), ``.lock``."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.run = run
        base = folder / "runs"
        self.checkpoint, self.log = base / f"{run.name}.pt", base / f"{run.name}.csv"
        self._lock = base / f"{run.name}.lock"

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Whether the run is this process's within the block; the lock goes with the process, whatever ends it."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            yield True
            return
        with self._lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def read(self, *, with_state: bool = True) -> Stored | None:
        """The checkpoint; None where there is none. Without its state, only little of the file is read."""
        if not self.checkpoint.exists():
            return None
        try:
            content = torch.load(self.checkpoint, map_location="cpu", mmap=not with_state, weights_only=True)
            if content["version"] > VERSION:
                raise ValueError(f"its layout has version {content['version']}, this lpnum_optim knows {VERSION}")
            settings = json.loads(content["settings"])
            return Stored(settings, content["rows"], content["stopped"], content["state"])
        except FileNotFoundError:
            return None
        except Exception as error:  # zip, pickle, missing keys: the reader's errors are of many kinds
            raise ValueError(
                f"{self.checkpoint} cannot be read as a checkpoint ({error}); remove it to repeat the run"
            ) from error

    def write(self, stored: Stored) -> None:
        """The checkpoint, then the log; each whole or not at all."""
        buffer = io.BytesIO()
        content = {**vars(stored), "settings": json.dumps(stored.settings), "version": VERSION}
        torch.save(content, buffer)
        with atomic_writer(self.checkpoint) as file:
            file.write(buffer.getbuffer())
        self.write_log(stored)

    def write_log(self, stored: Stored) -> None:
        """Write the log anew from the checkpoint."""
        write_csv(self.log, [{**self.run._asdict(), **row} for row in stored.rows])


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same columns; floats in the shortest form that reads back the same."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(path) as file:
        file.write(text.getvalue().encode())


class Runs:
    """All runs that one command asks for.

    Parameters
    ----------
    folder : Path
    runs : list of Run
    settings : function of a Run
        What the run's numbers depend on, as JSON; a run is continued only with the same.
    make : function of a Run
        A `Trainer` at its start. torch's generator was seeded with the run's seed.
    epochs : int
    progress : Progress
    """

    def __init__(
        self,
        folder: Path,
        runs: Sequence[Run],
        settings: Callable[[Run], dict[str, Any]],
        make: Callable[[Run], Trainer],
        epochs: int,
        progress: Any,
    ) -> None:
        self.folder, self.runs, self.epochs = folder, list(runs), epochs
        self.settings, self.make, self.progress = settings, make, progress
        self.files = {run: RunFiles(folder, run) for run in self.runs}

    def check(self, *, resume: bool) -> None:
        """Refuse runs with other settings, and, unless they are to be continued, runs that have begun."""
        begun = []
        for run, stored in self._stored():
            if stored is None:
                continue
            self._refuse_other_settings(run, stored)
            with self.files[run].claimed() as ours:
                if ours:
                    self.files[run].write_log(stored)
                    if stored.goes_on(self.epochs):
                        begun.append(f"{run.name} ({stored.epoch} of {self.epochs} epochs)")
        if begun and not resume:
            raise ValueError(
                f"{self.folder} holds runs that have begun: {', '.join(begun)}; pass --resume, or another --out"
            )

    def _refuse_other_settings(self, run: Run, stored: Stored) -> None:
        differing = differences(stored.settings, self.settings(run))
        if differing:
            raise ValueError(
                f"{self.folder} holds {run.name} with other settings: {'; '.join(differing)}. "
                "Use these, or another --out"
            )

    def work(self, deadline: Deadline) -> None:
        """Epoch after epoch until no run is left for this process or the time is used up."""
        while True:
            for run, stored in self._waiting():
                if stored is not None and not deadline.leaves(stored.last_seconds):
                    return
                with self.files[run].claimed() as ours:
                    if ours:
                        try:
                            self._advance(run, deadline)
                        except DeadlineError:
                            return
                        break
            else:
                return  # none waits, or other processes have them

    def unfinished(self) -> list[str]:
        """What is left, for the reader."""
        return [f"{run.name} ({stored.epoch if stored else 0} of {self.epochs})" for run, stored in self._waiting()]

    def _stored(self) -> list[tuple[Run, Stored | None]]:
        return [(run, self.files[run].read(with_state=False)) for run in self.runs]

    def _waiting(self) -> list[tuple[Run, Stored | None]]:
        """Runs that are not finished, those furthest behind first."""
        stored_runs = self._stored()
        waiting = [(run, stored) for run, stored in stored_runs if stored is None or stored.goes_on(self.epochs)]
        done = sum(stored.epoch for _, stored in stored_runs if stored is not None)
        left = sum(self.epochs - (stored.epoch if stored else 0) for _, stored in waiting)
        self.progress.total(done, done + left)
        return sorted(waiting, key=lambda pair: pair[1].epoch if pair[1] else -1)

    def _advance(self, run: Run, deadline: Deadline) -> None:
        """One epoch of a run that is ours."""
        stored = self.files[run].read()  # another process may have advanced it since
        if stored is not None:
            self._refuse_other_settings(run, stored)  # nor need it have the same command line
            if not stored.goes_on(self.epochs):
                return
        torch.manual_seed(run.seed)
        trainer = self.make(run)
        try:
            if stored is None:
                row = {"epoch": 0, "seconds": 0.0, **trainer.measure()}
                stored = Stored(self.settings(run), [row], "", {})
            else:
                trainer.load_state_dict(stored.state["trainer"])
                torch.set_rng_state(stored.state["random"])
            self._train(run, trainer, stored, deadline)
        finally:
            trainer.close()
        self.files[run].write(stored)
        self.progress.row(run, stored.rows[-1], self.epochs, stored.stopped)

    def _train(self, run: Run, trainer: Trainer, stored: Stored, deadline: Deadline) -> None:
        """Append the next epoch's row."""
        epoch = stored.epoch + 1
        advance = self.progress.epoch(run, epoch, self.epochs, trainer.steps)

        def tick() -> None:
            advance()
            deadline.check()

        started = time.perf_counter()
        try:
            trainer.train(epoch, tick)
        except FloatingPointError as error:  # the last whole epoch stays the last row
            stored.stopped = f"epoch {epoch}: {error}"
            return
        seconds = stored.rows[-1]["seconds"] + time.perf_counter() - started
        row = {"epoch": epoch, "seconds": seconds, **trainer.measure()}
        stored.rows.append(row)
        stored.state = {"trainer": trainer.state_dict(), "random": torch.get_rng_state()}
        if not math.isfinite(row["train_loss"]):
            stored.stopped = f"epoch {epoch}: the training loss is {row['train_loss']}"


def differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Settings that are not the same, in words."""
    asked = json.loads(json.dumps(asked))
    names = dict.fromkeys([*stored, *asked])
    return [f"{n} = {stored.get(n)} there, {asked.get(n)} here" for n in names if stored.get(n) != asked.get(n)]
