"""Gradient estimates: what an inner step subtracts. One half of the table of methods (the other: `iterates`).

An estimate is used in two ways. Called with (samples, point) it returns the vector the paper writes down;
`linear_terms` returns the same estimate for a linear model as data of the compiled epoch, whose step is

    step_size * (factor_i (l'(margins[i] + x_i.z, y_i) - anchors[i]) x_i + direction + l2 z),      w = center + z.

Both are in the coordinates of `evaluation.Point`; the compiled one divides w by the units of the columns.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .evaluation import Evaluation, Point
from .problem import FiniteSum, FunctionSum

Vector = NDArray[np.float64]
Problem = FiniteSum | FunctionSum


class NotFiniteError(ArithmeticError):
    """The gradient of a component is NaN or infinite; ends an epoch of the readable loop."""

    def __init__(self, sample: int, point: Point) -> None:
        super().__init__(sample, point)
        self.sample, self.point = sample, point

    def __str__(self) -> str:
        return f"the gradient of component {self.sample} is NaN or infinite"


class LinearTerms(NamedTuple):
    """margins, anchors of shape (n,) or (n, C), direction of the shape of the coefficients, for the intercept (C,).

    centered: the anchors are the slopes at the margins.
    """

    margins: Vector
    anchors: Vector
    direction: Vector
    intercept_direction: Vector | None
    centered: bool = False


class GradientEstimate(Protocol):
    """How the gradient is estimated from a few samples."""

    factors: Vector | None

    def take_snapshot(self, point: Point, evaluation: Evaluation) -> None:
        """Start an epoch at a point where the full gradient is known."""

    def release(self) -> None:
        """Forget the margins and slopes of the snapshot: those of the next one need the memory."""

    def __call__(self, samples: NDArray[np.int64], point: Point) -> Point:
        """The estimate at a point from these samples."""

    def linear_terms(self, center: Vector | None) -> LinearTerms:
        """The estimate as data of the compiled epoch, for iterates stored as center + z (None: center 0)."""

    def passes(self, drawn: int) -> float:
        """Data passes of an epoch: evaluations of a component gradient divided by n."""


def mean_of_components(problem: Problem, samples: NDArray[np.int64], point: Point, factors: Vector | None) -> Point:
    """Mean of ``factors[i] * component(i, point)``: the gradient of the losses, without the penalty."""
    coef, intercept = np.zeros(problem.coef_shape), None
    for i in samples.tolist():
        one = problem.component(i, point)
        if not np.isfinite(one.coef).all():
            raise NotFiniteError(i, point)
        factor = 1.0 if factors is None else float(factors[i])
        coef += factor * one.coef
        if one.intercept is not None:
            intercept = factor * one.intercept + (0.0 if intercept is None else intercept)
    count = len(samples)
    return Point(coef / count, None if intercept is None else intercept / count)


class Stochastic:
    """The gradient of one component (or the mean of a few): grad f_i(w)."""

    def __init__(self, problem: Problem, factors: Vector | None = None) -> None:
        self.problem, self.factors = problem, factors

    def take_snapshot(self, point: Point, evaluation: Evaluation) -> None:
        """Remember where the epoch starts; the full gradient is not used."""
        self.snapshot = point
        self.evaluation: Evaluation | None = evaluation

    def release(self) -> None:
        """Forget the margins."""
        self.evaluation = None

    def __call__(self, samples: NDArray[np.int64], point: Point) -> Point:
        """Grad f_i(w)."""
        mean = mean_of_components(self.problem, samples, point, self.factors)
        return mean._replace(coef=mean.coef + self.problem.l2 * point.coef)

    def linear_terms(self, center: Vector | None) -> LinearTerms:
        """No anchors; the penalty acts on center + z, so its part at the center is a constant direction."""
        assert self.evaluation is not None
        margins = self.evaluation.margins
        assert margins is not None
        b = self.snapshot.intercept
        zero = None if b is None else np.zeros_like(b)
        direction = np.zeros_like(self.snapshot.coef)
        if center is None:
            return LinearTerms(_constant_margins(margins, b), np.zeros_like(margins), direction, zero)
        return LinearTerms(margins, np.zeros_like(margins), self.problem.l2 * center, zero)

    def passes(self, drawn: int) -> float:
        """The full gradients seen in the history are for monitoring and not counted."""
        return drawn / self.problem.n_samples


class VarianceReduced:
    """Snapshot s and full gradient: grad f_i(w) - grad f_i(s) + grad f(s)."""

    def __init__(self, problem: Problem, factors: Vector | None = None) -> None:
        self.problem, self.factors = problem, factors

    def take_snapshot(self, point: Point, evaluation: Evaluation) -> None:
        """Keep the point and everything the pass over the data gave there."""
        self.snapshot = point
        self.evaluation: Evaluation | None = evaluation
        self.start, self.start_margins = point, evaluation.margins

    def start_from(self, start: Point, margins: Vector | None) -> None:
        """Begin the steps elsewhere than at the snapshot, at a point of these margins."""
        self.start, self.start_margins = start, margins

    def release(self) -> None:
        """Forget the margins and slopes."""
        self.evaluation = self.start_margins = None

    def __call__(self, samples: NDArray[np.int64], point: Point) -> Point:
        """Grad f_i(w) - grad f_i(snapshot) + full gradient."""
        assert self.evaluation is not None
        problem, full = self.problem, self.evaluation.inner
        here = mean_of_components(problem, samples, point, self.factors)
        there = mean_of_components(problem, samples, self.snapshot, self.factors)
        coef = here.coef - there.coef + problem.l2 * (point.coef - self.snapshot.coef) + full.coef
        if here.intercept is None or there.intercept is None or full.intercept is None:
            return Point(coef)
        return Point(coef, here.intercept - there.intercept + full.intercept)

    def linear_terms(self, center: Vector | None) -> LinearTerms:
        """Anchors l'(x_i.s, y_i); of the penalty of both gradients remains l2 (w - s) = l2 (center - s) + l2 z."""
        assert self.evaluation is not None
        margins, slopes, full = self.start_margins, self.evaluation.slopes, self.evaluation.inner
        assert margins is not None
        assert slopes is not None
        s = self.snapshot
        if center is None:
            direction = full.coef - self.problem.l2 * s.coef
            return LinearTerms(_constant_margins(margins, self.start.intercept), slopes, direction, full.intercept)
        # A bit-centered iterate is centered on the start, whose margins are known. Where that is the snapshot, the
        # penalty term is exactly 0.
        direction = full.coef + self.problem.l2 * (center - s.coef)
        return LinearTerms(margins, slopes, direction, full.intercept, centered=self.start is s)

    def passes(self, drawn: int) -> float:
        """Full gradient, plus one evaluation a step where the slopes at the snapshot are cached, else two."""
        per_step = 1 if isinstance(self.problem, FiniteSum) else 2
        return 1.0 + per_step * drawn / self.problem.n_samples


def _constant_margins(margins: Vector, intercept: Vector | None) -> Vector:
    """The margins at coefficients 0: those of the intercept alone."""
    constant = np.zeros_like(margins)
    if intercept is not None:
        constant += intercept if margins.ndim > 1 else intercept[0]
    return constant
