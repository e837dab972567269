"""Callbacks that end the fit of an estimator: the gradient is small enough, or held-out samples gain no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._features import products
from .callbacks import State
from .checkpoint import Entry
from .losses import Loss
from .problem import FiniteSum

Vector = NDArray[np.float64]

# The size of rounding errors in a float64 gradient, in units of sqrt(L) * (root mean square of the slopes).
GRADIENT_ROUNDING = 1e-14


class SmallGradient:
    r"""Ends the minimization when the gradient is small in the units of the features.

    .. math:: \Big(\sum_j (c_j\, \partial_j f)^2 + (u\, \partial_b f)^2\Big)^{1/2} \le
       \mathrm{tol} \cdot (\text{the same without features})

    with c_j the `columns` and u the `intercept_unit` of the problem: multiplying a feature by a number changes nothing.

    Parameters
    ----------
    problem : FiniteSum
    tol : float
    null : array
        The model without features: coefficients 0, and the best intercept for that.
    slope : float
        Typical size of the slopes there. A gradient within the rounding errors of such a sum counts as zero.
    """

    def __init__(self, problem: FiniteSum, tol: float, null: Vector, slope: float) -> None:
        self.shape = null.shape
        self.units = np.ones(null.shape[-1])
        self.units[: problem.n_features] = problem.columns
        if problem.has_intercept:
            self.units[-1] = problem.intercept_unit
        self.start = self.norm(problem.evaluate(null).residual)
        self.bound = max(tol * self.start, GRADIENT_ROUNDING * slope * float(np.sqrt(problem.lipschitz)))
        self.norms: list[float] = []

    def norm(self, gradient: Vector) -> float:
        """The norm in the units of the features."""
        return float(np.linalg.norm(gradient * self.units))

    def __call__(self, state: State) -> bool:
        """Record the norm and keep the best iterate."""
        norm = self.norm(state.gradient)
        if not self.norms or norm < min(self.norms):
            self.best_x = state.x.copy()
        self.norms.append(norm)
        return self.reached

    @property
    def reached(self) -> bool:
        """Whether the gradient is small enough now."""
        return self.norms[-1] <= self.bound

    @property
    def relative(self) -> Vector:
        """The norms relative to the one without features."""
        return np.array(self.norms) / (self.start or 1.0)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"norms": np.array(self.norms), "best_x": self.best_x}

    def restore(self, saved: dict[str, Any]) -> bool:
        """Go on from what `state` gave; True if the gradient was small enough."""
        s = Entry(saved, "SmallGradient: the saved state")
        self.norms = s.array("norms", (max(1, np.size(s["norms"])),)).tolist()
        self.best_x = s.array("best_x", self.shape)
        return self.reached


class HeldOut:
    """Ends the minimization when the mean loss of held-out samples has not fallen for `patience` epochs.

    Parameters
    ----------
    X, y, weights : the held-out samples; the weights are positive
    loss : Loss
    patience : int

    Attributes
    ----------
    model : callable(x) -> (coef, intercept)
        The linear model of a point of the minimization; to be set.
    shape : tuple
        Of these points; to be set.
    """

    model: Callable[[Vector], tuple[Vector, Vector]]
    shape: tuple[int, ...]

    def __init__(self, X: Any, y: Vector, weights: Vector, loss: Loss, patience: int) -> None:
        self.X, self.y, self.weights, self.loss, self.patience = X, y, weights, loss, patience
        self.losses: list[float] = []
        self.best_x: Vector
        self.waited = 0

    def __call__(self, state: State) -> bool:
        """Record the loss and keep the best iterate."""
        coef, intercept = self.model(state.x)
        margins = products(self.X, np.atleast_2d(coef)) + intercept
        losses = self.loss.value(margins if self.loss.per_class else margins[:, 0], self.y)
        loss = float(np.average(losses, weights=self.weights))
        self.waited += 1
        if not self.losses or loss < min(self.losses):
            self.best_x, self.waited = state.x.copy(), 0
        self.losses.append(loss)
        return self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"losses": np.array(self.losses), "best_x": self.best_x, "waited": self.waited}

    def restore(self, saved: dict[str, Any]) -> bool:
        """Go on from what `state` gave; True if the patience was at an end."""
        s = Entry(saved, "HeldOut: the saved state")
        self.losses = s.array("losses", (max(1, np.size(s["losses"])),)).tolist()
        self.best_x, self.waited = s.array("best_x", self.shape), s.integer("waited")
        return self.waited >= self.patience
