"""Gradient estimates: what an inner step subtracts. One half of the table of methods (the other: `iterates`).

An estimate is used in two ways. Called with (i, w) it returns the vector the paper writes down; `linear_terms` returns
the same estimate for a linear model as data of the compiled epoch, whose step is

    step_size * ((l'(margins[i] + x_i.z, y_i) - anchors[i]) x_i + direction + l2 z),      w = center + z.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .problem import Evaluation, FiniteSum, FunctionSum

Vector = NDArray[np.float64]
Problem = FiniteSum | FunctionSum


class LinearTerms(NamedTuple):
    """margins, anchors of shape (n_samples,) and direction of shape (n_features,)."""

    margins: Vector
    anchors: Vector
    direction: Vector


class GradientEstimate(Protocol):
    """How the gradient is estimated from one sample."""

    def take_snapshot(self, w: Vector, evaluation: Evaluation) -> None:
        """Start an epoch at w, where the full gradient is known."""

    def __call__(self, i: int, w: Vector) -> Vector:
        """The estimate at w from sample i."""

    def linear_terms(self, center: Vector | None) -> LinearTerms:
        """The estimate as data of the compiled epoch, for iterates stored as center + z (None: center 0)."""

    def passes(self, inner_steps: int) -> float:
        """Data passes of an epoch: evaluations of a component gradient divided by n."""


class Stochastic:
    """The gradient of one component: grad f_i(w)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def take_snapshot(self, w: Vector, evaluation: Evaluation) -> None:
        """Remember where the epoch starts; the full gradient is not used."""
        self.snapshot, self.evaluation = w, evaluation

    def __call__(self, i: int, w: Vector) -> Vector:
        """Grad f_i(w)."""
        return self.problem.sample_gradient(i, w)

    def linear_terms(self, center: Vector | None) -> LinearTerms:
        """No anchors; the penalty acts on center + z, so its part at the center is a constant direction."""
        assert isinstance(self.problem, FiniteSum)
        n, d = self.problem.n_samples, self.problem.n_features
        if center is None:
            return LinearTerms(np.zeros(n), np.zeros(n), np.zeros(d))
        assert self.evaluation.margins is not None
        return LinearTerms(self.evaluation.margins, np.zeros(n), self.problem.l2 * center)

    def passes(self, inner_steps: int) -> float:
        """The full gradients seen in the history are for monitoring and not counted."""
        return inner_steps / self.problem.n_samples


class VarianceReduced:
    """Snapshot s and full gradient: grad f_i(w) - grad f_i(s) + grad f(s)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def take_snapshot(self, w: Vector, evaluation: Evaluation) -> None:
        """Keep w and everything the pass over the data gave there."""
        self.snapshot, self.evaluation = w, evaluation

    def __call__(self, i: int, w: Vector) -> Vector:
        """Grad f_i(w) - grad f_i(snapshot) + full gradient."""
        sample_gradient = self.problem.sample_gradient
        return sample_gradient(i, w) - sample_gradient(i, self.snapshot) + self.evaluation.gradient

    def linear_terms(self, center: Vector | None) -> LinearTerms:
        """Anchors l'(x_i.s, y_i); of the penalty of both gradients remains l2 (w - s) = l2 (center - s) + l2 z."""
        assert isinstance(self.problem, FiniteSum)
        _, gradient, margins, slopes = self.evaluation
        assert margins is not None
        assert slopes is not None
        if center is None:
            return LinearTerms(np.zeros_like(margins), slopes, gradient - self.problem.l2 * self.snapshot)
        # A bit-centered iterate is centered on the snapshot: its margins are known and the penalty term is exactly 0.
        return LinearTerms(margins, slopes, gradient + self.problem.l2 * (center - self.snapshot))

    def passes(self, inner_steps: int) -> float:
        """Full gradient, plus one evaluation a step where the slopes at the snapshot are cached, else two."""
        per_step = 1 if isinstance(self.problem, FiniteSum) else 2
        return 1.0 + per_step * inner_steps / self.problem.n_samples
