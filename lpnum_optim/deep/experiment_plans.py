"""Training under precision plans, as one more kind of run."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch

from .candidates import OCP, PAPER
from .experiment_methods import SCHEDULES, Hyperparameters, losses
from .experiment_runs import Row, Run
from .experiment_tasks import Task
from .plan import PrecisionPlan
from .promotion import ErrorPromotion, OverflowPromotion, Promotion

__all__ = ["CANDIDATES", "PLANS", "PlanTrainer", "Planned", "planned"]

CANDIDATES: dict[str, Any] = {"paper": PAPER, "ocp": OCP}
PLANS = ("float32", "uniform16", "uniform8", "operator-based", "demote-R", "demote-R-no-promotion", "error-R")
_NAME = re.compile(r"(demote|error)-(\d*\.?\d+)(-no-promotion)?")


class Planned(NamedTuple):
    """A plan by its name: how it is made, and how it is applied."""

    make: Callable[..., PrecisionPlan]
    options: dict[str, Any]
    promotion: Callable[[], Promotion] | None = None
    scaled: bool = False


def planned(name: str) -> Planned | None:
    """What the name of a plan means; None for float32, which has none.

    Raises
    ------
    ValueError
        If there is no such plan.

    Examples
    --------
    >>> planned("demote-0.9").options, planned("error-0.9").scaled
    ({'ratio': 0.9}, True)
    """
    if name == "float32":
        return None
    if name in ("uniform16", "uniform8"):
        return Planned(PrecisionPlan.uniform, {"level": "low" if name == "uniform8" else "high"})
    if name == "operator-based":
        return Planned(PrecisionPlan.operator_based, {})
    match = _NAME.fullmatch(name)
    if match is None or float(match[2]) > 1 or (match[1] == "error" and match[3]):
        raise ValueError(f"plan {name!r}; expected one of {', '.join(PLANS)} with R in 0 .. 1")
    options = {"ratio": float(match[2])}
    if match[1] == "error":
        return Planned(PrecisionPlan.demote, options, ErrorPromotion, scaled=True)
    return Planned(PrecisionPlan.demote, options, None if match[3] else OverflowPromotion)


class PlanTrainer:
    """Trains one run under a plan, with SGD. The plan is also in force when the network is measured."""

    def __init__(self, run: Run, task: Task, chosen: Hyperparameters, epochs: int) -> None:
        self.task, self.chosen, self.epochs = task, chosen, epochs
        self.model = task.make_model()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), chosen.lr, momentum=chosen.momentum, weight_decay=chosen.weight_decay
        )
        self.batches = task.batches(run.seed)
        self.steps = len(self.batches)
        self.passes = 0.0
        self._stack = ExitStack()
        self.training: Any = None
        plan = planned(run.method)
        if plan is not None:
            made = plan.make(self.model, example(task), **CANDIDATES[run.format], **plan.options)
            promotion = plan.promotion() if plan.promotion else None
            applied = made.apply(self.model, self.optimizer, promotion=promotion, scaled=plan.scaled)
            self.training = self._stack.enter_context(applied)

    def train(self, epoch: int, tick: Callable[[], None]) -> None:
        """One epoch."""
        rate = self.chosen.lr * SCHEDULES[self.chosen.schedule](epoch, self.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        self.batches.set_epoch(epoch)
        for inputs, targets in self.batches:
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.task.loss(self.model(inputs), targets)
            loss.backward()
            del loss
            self.optimizer.step()
            self.passes += 1.0 / self.steps
            tick()

    def measure(self) -> Row:
        """Losses and accuracy under the plan, and what the plan has become."""
        row = {"passes": round(self.passes, 9), **losses(self.model, self.task)}
        if self.training is None:
            return {**row, "skipped": 0, "low_ratio": 0.0, "promoted": 0, "loss_scale": 1.0}
        return {
            **row, "skipped": self.training.skipped, "low_ratio": self.training.low_ratio,
            "promoted": sum(slot.promotions for slot in self.training.slots),
            "loss_scale": self.training.loss_scale.scale,
        }  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, levels of the tensors, loss scale."""
        training = None if self.training is None else self.training.state_dict()
        return {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "passes": self.passes,
            "training": training,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.passes = state["passes"]
        if self.training is not None:
            self.training.load_state_dict(state["training"])

    def close(self) -> None:
        """Take the plan's hooks off."""
        self._stack.close()


def example(task: Task) -> torch.Tensor:
    """One batch of the training data, as the steps will see it."""
    return next(iter(task.batches(0)))[0]
