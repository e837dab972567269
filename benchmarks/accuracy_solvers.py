"""Solvers for time to accuracy, all driven alike: a fit of k iterations from zero, and the k that reaches a goal.

Every solver here is deterministic: the iterates of a short fit begin those of a longer one. So the cheapest setting
that reaches a gradient norm is a number of iterations, and it is searched for outside the clock.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from benchmarks.accuracy_data import Task
from lpnum_optim import minimize

# How near the searched number of iterations is to the smallest one, relative: below what a clock can tell.
SEARCH_TOLERANCE = 0.03
# Iterations of scikit-learn's solvers after which their floor is looked for.
FLOOR_ITERATIONS = 100
# Epochs without a new smallest gradient after which one of our methods has arrived at its floor.
FLOOR_EPOCHS = 40


class Setting(NamedTuple):
    """How a solver reaches a goal: `iterations`, None where it does not; `norm` is the relative gradient norm there.

    `spent` are the seconds of the fit that exceeded the limit, where that is the reason.
    """

    iterations: int | None
    norm: float
    spent: float = math.nan


class Solver(Protocol):
    """A solver together with its data."""

    @property
    def name(self) -> str:
        """Method or solver, type of the data."""

    def fit(self, iterations: int) -> np.ndarray:
        """Coefficients after so many iterations from zero; all set-up of the fit included."""

    def settings(self, goals: tuple[float, ...], limit: float) -> list[Setting]:
        """The cheapest setting for every goal: relative gradient norms, falling; `limit` seconds a fit at most."""


class GradientNorm:
    """The norm of the float64 gradient of the task's objective, relative to the one at zero."""

    def __init__(self, task: Task) -> None:
        self.problem = task.problem()
        self.start = self._norm(np.zeros(self.problem.shape))

    def __call__(self, w: np.ndarray) -> float:
        """The relative norm at w."""
        return self._norm(w) / self.start

    def _norm(self, w: np.ndarray) -> float:
        return float(np.linalg.norm(self.problem.evaluate(np.asarray(w, np.float64)).gradient))


@dataclass
class Ours:
    """A method of `minimize` with everything automatic."""

    name: str
    task: Task
    method: str
    data: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    def fit(self, iterations: int) -> np.ndarray:
        """`FiniteSum` and `minimize`: the checks of the data, the step size and all full gradients are part of it."""
        return self._run(iterations, None).x

    def settings(self, goals: tuple[float, ...], limit: float) -> list[Setting]:
        """One run: the full gradient is known after every epoch."""
        begin, exceeded = time.process_time(), math.nan
        norms: list[float] = []

        def arrived(state: Any) -> bool:
            nonlocal exceeded
            norms.append(state.grad_norm)
            at_floor = len(norms) > FLOOR_EPOCHS and min(norms[:-FLOOR_EPOCHS]) <= min(norms[-FLOOR_EPOCHS:])
            if norms[-1] <= min(goals) * norms[0] or at_floor:
                return True
            spent = time.process_time() - begin
            exceeded = spent if spent > limit else math.nan
            return spent > limit

        self._run(1_000_000, arrived)
        relative = np.minimum.accumulate(norms) / norms[0]
        reached = [int(np.argmax(relative <= goal)) for goal in goals]
        return [
            Setting(k, relative[k]) if relative[k] <= goal else Setting(None, relative[-1], exceeded)
            for k, goal in zip(reached, goals, strict=True)
        ]

    def _run(self, epochs: int, callback: Any) -> Any:
        return minimize(self.task.problem(self.data), self.method, epochs=epochs, callback=callback, **self.options)


@dataclass
class ScikitLearn:
    """A solver of scikit-learn's `LogisticRegression`, on the same objective: C = 1 / (n l2)."""

    solver: str
    task: Task
    data: np.ndarray
    gradient_norm: GradientNorm

    @property
    def name(self) -> str:
        """The solver and the type of the data."""
        return f"{self.solver} {self.data.dtype}"

    def fit(self, iterations: int) -> np.ndarray:
        """`tol` is never reached, so that exactly `iterations` are made, unless the solver gives up by itself."""
        from sklearn.linear_model import LogisticRegression

        C = 1 / (self.task.l2 * len(self.task.y))
        model = LogisticRegression(
            C=C, solver=self.solver, tol=1e-300, max_iter=iterations, fit_intercept=self.task.intercept, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that `tol` was not reached
            model.fit(self.data, self.task.y)
        self.gave_up = bool(np.max(model.n_iter_) < iterations)
        w = np.asarray(model.coef_, np.float64)
        if self.task.intercept:
            w = np.column_stack([w, model.intercept_])
        return w[0] if len(w) == 1 else w

    def settings(self, goals: tuple[float, ...], limit: float) -> list[Setting]:
        """A search for every goal, from the easiest one."""
        tried: dict[int, float] = {0: 1.0}
        exceeded = math.nan

        def norm(iterations: int) -> float:
            nonlocal exceeded
            if iterations not in tried:
                begin = time.process_time()
                tried[iterations] = self.gradient_norm(self.fit(iterations))
                spent = time.process_time() - begin
                if tried[iterations] > goal:
                    if self.gave_up or at_floor(tried, iterations):
                        raise _NotReached
                    if spent > limit:
                        exceeded = spent
                        raise _NotReached
            return tried[iterations]

        found = []
        for goal in goals:
            try:
                k = fewest(norm, goal, tried)
            except _NotReached:  # nor will it reach the later goals, which are smaller
                break
            found.append(Setting(k, tried[k]))
        return found + [Setting(None, min(tried.values()), exceeded)] * (len(goals) - len(found))


class _NotReached(Exception):  # noqa: N818
    """The solver stopped by itself, or takes too long."""


def at_floor(tried: dict[int, float], iterations: int) -> bool:
    """Whether the second half of many iterations has gained nothing: rounding noise, in float32 above all."""
    before = min(norm for k, norm in tried.items() if 2 * k <= iterations)
    return iterations >= FLOOR_ITERATIONS and tried[iterations] > 0.9 * before


def fewest(norm: Callable[[int], float], goal: float, tried: dict[int, float]) -> int:
    """The smallest k with norm(k) <= goal, but for `SEARCH_TOLERANCE`, if the norm falls about geometrically.

    Parameters
    ----------
    norm : callable(int) -> float
    tried : dict of int to float
        Known values, with ``tried[0]`` above the goal; more may be added by `norm`.
    """
    below = [k for k, value in tried.items() if value <= goal]
    low = max(k for k, value in tried.items() if value > goal and k < min(below, default=math.inf))
    high = min(below, default=None)
    step = 8
    while high is None:
        k = low + step
        if norm(k) <= goal:
            high = k
        else:
            # As many as linear convergence from here on would need, but at most three times as many as so far.
            rate = math.log(tried[low] / norm(k)) / (k - low)
            missing = math.log(norm(k) / goal) / rate if rate > 0 else math.inf
            low, step = k, math.ceil(min(1.1 * missing, 3 * k)) or 1
    while high - low > max(1, SEARCH_TOLERANCE * high):
        share = math.log(tried[low] / goal) / math.log(tried[low] / max(tried[high], 1e-300))
        k = low + round((high - low) * min(0.9, max(0.1, share)))
        k = min(high - 1, max(low + 1, k))
        if norm(k) <= goal:
            high = k
        else:
            low = k
    return high


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS and OpenMP to one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def solvers(task: Task) -> Iterator[Solver]:
    """All that can solve the task, HALP-8 first."""
    float32, float64 = task.values(np.float32), task.values(np.float64)
    yield Ours("HALP-8", task, "halp")
    yield Ours("SVRG float32", task, "svrg", float32, {"dtype": np.float32})
    yield Ours("SVRG float64", task, "svrg", float64)
    yield Ours("SVRG float64, 8-bit data", task, "svrg")
    gradient_norm = GradientNorm(task)
    # newton-cholesky factors the Hessian, which for C classes has (C d)^2 entries; newton-cg takes products with it.
    newton = "newton-cg" if task.loss == "softmax" else "newton-cholesky"
    for solver in ("saga", "lbfgs", newton):
        for data in (float32, float64):
            yield ScikitLearn(solver, task, data, gradient_norm)
