"""The methods that the experiments compare, and how each trains an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from .adam import AdamW8bit
from .closures import closures
from .experiment_runs import Row, Run
from .experiment_tasks import Task, measure
from .optimizers import HALP, LPSGD, LPSVRG, SGD, SVRG

__all__ = ["METHODS", "SCHEDULES", "Hyperparameters", "Method", "MethodTrainer"]

FLOAT = "float32"


class Method(NamedTuple):
    """A row of the table of methods: the optimizer and which options it takes, beside lr and weight_decay."""

    optimizer: Callable[..., torch.optim.Optimizer]
    options: tuple[str, ...] = ()
    snapshots: bool = False  # needs full gradients

    @property
    def low(self) -> bool:
        """Whether the iterate has a format."""
        return "format" in self.options


_OURS = ("momentum", "module")
METHODS = {
    "sgd": Method(SGD, _OURS),
    "svrg": Method(SVRG, _OURS, snapshots=True),
    "lp-sgd": Method(LPSGD, (*_OURS, "format", "seed")),
    "lp-svrg": Method(LPSVRG, (*_OURS, "format", "seed"), snapshots=True),
    "halp": Method(HALP, (*_OURS, "format", "seed", "mu"), snapshots=True),
    "adamw": Method(torch.optim.AdamW),
    "adamw8bit": Method(AdamW8bit, ("seed",)),
}

# Learning rate at the beginning of epoch `e` of `n`, as a share of the first.
SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": lambda e, n: 1.0,
    "cosine": lambda e, n: 0.5 * (1.0 + math.cos(math.pi * (e - 1) / n)),
    "step": lambda e, n: 0.1 ** ((2 * (e - 1) >= n) + (4 * (e - 1) >= 3 * n)),
}


@dataclass(frozen=True)
class Hyperparameters:
    """Of one run.

    Attributes
    ----------
    snapshot_every : float
        Epochs between two full gradients.
    mu : float, optional
        HALP's scale by the rule of the paper; None for the automatic one.
    """

    lr: float
    momentum: float
    weight_decay: float
    schedule: str = "constant"
    snapshot_every: float = 1.0
    mu: float | None = None


class MethodTrainer:
    """Trains one run of a method.

    A snapshot goes over the batches of its own epoch: the same samples in the same batches, augmented in the same way,
    as in the steps that follow. With batch normalization, whose loss belongs to a batch and not to an image, that makes
    the steps' gradients at the snapshot sum up to the full gradient.
    """

    def __init__(self, run: Run, task: Task, chosen: Hyperparameters, epochs: int) -> None:
        self.task, self.chosen, self.epochs = task, chosen, epochs
        self.method = METHODS[run.method]
        self.model = task.make_model()
        self.optimizer = self._optimizer(run)
        self.batches, self.snapshot_batches = task.batches(run.seed), task.batches(run.seed)
        self.done = 0  # steps
        self.passes = 0.0
        length = len(self.batches)
        self.every = max(1, round(chosen.snapshot_every * length)) if self.method.snapshots else 0
        snapshots = round(1 / chosen.snapshot_every) if self.method.snapshots else 0
        self.steps = length * (1 + snapshots)

    def _optimizer(self, run: Run) -> torch.optim.Optimizer:
        values = {
            "momentum": self.chosen.momentum, "mu": self.chosen.mu, "module": self.model, "seed": run.seed,
            "format": None if run.format == FLOAT else run.format,
        }  # fmt: skip
        return self.method.optimizer(
            self.model.parameters(), lr=self.chosen.lr, weight_decay=self.chosen.weight_decay,
            **{name: values[name] for name in self.method.options},
        )  # fmt: skip

    def train(self, epoch: int, tick: Callable[[], None]) -> None:
        """One epoch; snapshots where they are due."""
        rate = self.chosen.lr * SCHEDULES[self.chosen.schedule](epoch, self.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        self.batches.set_epoch(epoch)
        for closure, _ in closures(self.model, self.task.loss, self.batches):
            if self.every and self.done % self.every == 0:
                self._snapshot(epoch, tick)
            self.optimizer.step(closure)
            self.done += 1
            self.passes += (2.0 if self.every else 1.0) / len(self.batches)
            tick()

    def _snapshot(self, epoch: int, tick: Callable[[], None]) -> None:
        def ticking() -> Iterator[Any]:
            for pair in closures(self.model, self.task.loss, self.snapshot_batches):
                yield pair
                tick()

        self.snapshot_batches.set_epoch(epoch)
        self.optimizer.snapshot(ticking())
        self.passes += 1.0

    def measure(self) -> Row:
        """Losses and accuracy of the iterate."""
        return {
            "passes": round(self.passes, 9), **losses(self.model, self.task),
            "skipped": int(getattr(self.optimizer, "skipped", 0)),
        }  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, and where the run is."""
        return {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "done": self.done, "passes": self.passes,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.passes = state["done"], state["passes"]

    def close(self) -> None:
        """Nothing to take off."""


def losses(model: nn.Module, task: Task) -> Row:
    """The columns that every trainer measures."""
    train = measure(model, task.loss, task.fixed, train_mode=True)
    evaluated = measure(model, task.loss, task.fixed, train_mode=False)
    test = measure(model, task.loss, task.test, train_mode=False)
    return {
        "train_loss": train.loss, "train_loss_eval": evaluated.loss, "test_loss": test.loss,
        "test_accuracy": test.accuracy,
    }  # fmt: skip
