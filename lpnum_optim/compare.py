"""Run several methods on several data sets and put the results side by side."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .callbacks import HISTORY, Callback
from .datasets import Dataset
from .minimize import METHODS, minimize
from .problem import FiniteSum
from .result import INTERRUPTED

# A relative gradient norm: final and start norms differ in unit from data set to data set.
REACHED = 1e-6


class Setting(NamedTuple):
    """A method and the bits of its iterate (None in full precision)."""

    method: str
    bits: int | None

    @property
    def label(self) -> str:
        """The name in tables and legends."""
        return self.method if self.bits is None else f"{self.method}-{self.bits}"


class Outcome(NamedTuple):
    """One method on one data set."""

    dataset: str
    setting: Setting
    history: dict[str, NDArray[Any]]
    grad_norm: float
    gap: float
    epochs_to_reach: int | None
    seconds: float
    weight_bytes: float
    data_bytes: int
    message: str

    def row(self) -> dict[str, Any]:
        """The table's row as plain numbers."""
        return {
            "dataset": self.dataset, "method": self.setting.method, "bits": self.setting.bits,
            "grad_norm": self.grad_norm, "objective_gap": self.gap, "epochs_to_1e-6": self.epochs_to_reach,
            "epochs": int(self.history["epoch"][-1]), "seconds": self.seconds, "bytes_per_weight": self.weight_bytes,
            "data_bytes": self.data_bytes, "message": self.message,
        }  # fmt: skip


def settings(methods: Iterable[str], bits: Sequence[int] | None = None) -> list[Setting]:
    """Methods times bits. Without `bits`: 8 for all low-precision methods, and 16 too for those that reduce variance.

    >>> [s.label for s in settings(["sgd", "lp-sgd", "halp"])]
    ['sgd', 'lp-sgd-8', 'halp-8', 'halp-16']
    """
    chosen: list[Setting] = []
    for method in methods:
        if not METHODS[method].iterate.quantized:
            chosen.append(Setting(method, None))
            continue
        widths = bits or ((8,) if method == "lp-sgd" else (8, 16))
        chosen += [Setting(method, width) for width in widths]
    return chosen


def compare(
    datasets: Iterable[Dataset],
    chosen: Sequence[Setting],
    *,
    epochs: int = 50,
    seed: int = 0,
    callbacks: Callable[[str], list[Callback]] = lambda label: [],
) -> list[Outcome]:
    """Every setting on every data set: same data, same seed, so the same samples in the same order.

    `callbacks` makes the callbacks of one run from its label.
    """
    outcomes = []
    for data in datasets:
        problem = data.problem()
        runs = []
        for setting in chosen:
            started = time.perf_counter()
            result = minimize(
                problem, setting.method, bits=setting.bits or 8, epochs=epochs, seed=seed,
                callback=callbacks(f"{data.name} {setting.label}"),
            )  # fmt: skip
            runs.append((setting, result, time.perf_counter() - started))
            if result.status == INTERRUPTED:
                raise KeyboardInterrupt
        minimum = min([reference_minimum(problem), *(float(run.history["objective"].min()) for _, run, _ in runs)])
        for setting, run, seconds in runs:
            norms = run.history["grad_norm"]
            reached = np.flatnonzero(norms <= REACHED * norms[0])
            outcomes.append(Outcome(
                data.name, setting, run.history, float(norms[-1]), float(run.history["objective"][-1]) - minimum,
                int(run.history["epoch"][reached[0]]) if len(reached) else None, seconds,
                _storage(setting), problem.data_nbytes, run.message,
            ))  # fmt: skip
    return outcomes


def _storage(setting: Setting) -> float:
    """Bytes per weight between two full gradients: the codes, or a float64."""
    return 8.0 if setting.bits is None else (1.0 if setting.bits <= 8 else 2.0)


def reference_minimum(problem: FiniteSum, steps: int = 50) -> float:
    """Smallest objective, by Newton's method with halved steps; infinity where that is not at hand.

    That is: for softmax, and where the Hessian would be too large.
    """
    n, d = problem.n_samples, problem.n_features
    if problem.loss.per_class or n * d > 20_000_000 or d > 2000:
        return float("inf")
    X = problem.data.values()
    w = np.zeros(d)
    at = problem.evaluate(w)
    for _ in range(steps):
        assert at.margins is not None
        if problem.loss.name == "logistic":
            p = 0.5 * (1.0 + np.tanh(0.5 * at.margins))
            weights = p * (1.0 - p)
        elif problem.loss.name == "huber":
            weights = (np.abs(at.margins - problem.y) <= problem.loss.parameter).astype(np.float64)
        else:
            weights = np.ones(n)
        hessian = (X.T * weights) @ X / n + problem.l2 * np.eye(d)
        move = np.linalg.lstsq(hessian, at.gradient, rcond=None)[0]
        length = 1.0
        while length > 1e-6 and problem.objective(w - length * move) > at.objective:
            length /= 2
        if length <= 1e-6:
            break
        w = w - length * move
        at = problem.evaluate(w)
        if at.grad_norm < 1e-14:
            break
    return at.objective


def write_csv(outcomes: Iterable[Outcome], path: Path) -> None:
    """All histories in one file, one line per data set, method and epoch."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "method", "bits", *HISTORY])
        for outcome in outcomes:
            columns = [outcome.history[name].tolist() for name in HISTORY]
            for values in zip(*columns, strict=True):
                writer.writerow([outcome.dataset, outcome.setting.method, outcome.setting.bits or "", *values])


def table(outcomes: Sequence[Outcome]) -> str:
    """The results as text."""
    head = ("method", "|gradient|", "objective gap", "epochs to 1e-6", "seconds", "bytes/weight", "data bytes")
    lines = []
    for name in dict.fromkeys(outcome.dataset for outcome in outcomes):
        lines += ["", name, "  {:<10} {:>11} {:>14} {:>15} {:>8} {:>13} {:>11}".format(*head)]
        for o in outcomes:
            if o.dataset != name:
                continue
            gap = f"{o.gap:.1e}" if o.gap > 1e-16 else "< 1e-16"
            reached = "-" if o.epochs_to_reach is None else str(o.epochs_to_reach)
            lines.append(
                f"  {o.setting.label:<10} {o.grad_norm:>11.1e} {gap:>14} {reached:>15} {o.seconds:>8.2f} "
                f"{o.weight_bytes:>13g} {o.data_bytes:>11,}"
            )
    lines += [
        "",
        f"epochs to 1e-6: until the gradient norm is {REACHED:g} of the one at the start; -: not reached.",
        "bytes/weight: what a step reads and writes; halp keeps a float64 offset too, which changes once an epoch.",
    ]
    return "\n".join(lines[1:])
