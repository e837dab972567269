"""Lengths of the steps: per coordinate where X has one scale per column, and for the intercept; the proximal map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .evaluation import Point, soft_threshold
from .gradients import LinearTerms
from .problem import FiniteSum

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """What turns a gradient into a step.

    Attributes
    ----------
    size : float
        In units of the columns; coordinate j of w moves by ``size * columns[j]^2`` times the gradient.
    columns : (d,) array or 1
    intercept : float
        For the intercept: ``size * intercept_unit^2``.
    l1 : float
        Steps are followed by the proximal map of the penalty.
    batch : int
        Samples of a step.
    factors : (n,) array, optional
        Of the difference of slopes, for samples that are not drawn uniformly: 1 / (n p_i).
    """

    size: float
    columns: Vector | float = 1.0
    intercept: float = 0.0
    l1: float = 0.0
    batch: int = 1
    factors: Vector | None = None

    def step(self, point: Point, gradient: Point) -> Point:
        """What a step subtracts from the point."""
        size = self.size * np.square(self.columns)
        move = size * gradient.coef
        if self.l1:
            move = point.coef - soft_threshold(point.coef - move, size * self.l1)
        return Point(move, None if gradient.intercept is None else self.intercept * gradient.intercept)

    def of_kernel(
        self, problem: FiniteSum, samples: NDArray[np.int64], terms: LinearTerms, center: Vector | None,
        intercept: Vector | None,
    ) -> dict[str, Any]:  # fmt: skip
        """The keyword arguments that both compiled epochs take."""
        weights = self.factors
        if problem.weights is not None:
            weights = problem.weights if weights is None else weights * problem.weights
        has_columns = problem.data.columns is not None
        general: dict[str, Any] = {"batch": self.batch} if self.batch > 1 else {}
        if terms.centered:
            general["centered"] = True
        if problem.l1:
            general |= {"l1": problem.l1, "center": center}
        return general | {
            "step_size": self.size,
            "l2": problem.l2,
            "shrink": problem.l2 * np.square(self.columns) if has_columns and problem.l2 else None,
            "loss": problem.loss.kernel_id,
            "loss_parameter": problem.loss.parameter,
            "samples": samples,
            "weights": weights,
            "intercept": intercept,
            "intercept_direction": terms.intercept_direction,
            "intercept_step": self.intercept,
        }
