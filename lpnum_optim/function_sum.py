"""A finite sum given by the gradients of its components."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import integer, vector
from .evaluation import Evaluation, Point

Vector = NDArray[np.float64]

# 256 components, two power iterations each: exact for linear models, whose Hessians f_i'' have rank one.
PROBED_COMPONENTS = 256


class FunctionSum:
    """Any finite sum, given by the gradients of its components.

    Parameters
    ----------
    n : int
        Number of components f_i.
    dim : int
        Length of w.
    grad_i : callable(i, w) -> array of shape (dim,)
        Gradient of f_i at the float64 vector w, regularization included.
    full_grad : callable(w) -> array of shape (dim,), optional
        Gradient of f; without it the mean of the n component gradients.
    objective : callable(w) -> float, optional
        f(w); without it the objective is reported as NaN.

    Examples
    --------
    >>> centers = np.array([[0.0, 2.0], [4.0, 2.0]])
    >>> problem = FunctionSum(2, 2, lambda i, w: w - centers[i])
    >>> problem.gradient([2.0, 2.0])
    array([0., 0.])
    """

    def __init__(
        self,
        n: int,
        dim: int,
        grad_i: Callable[[int, Vector], ArrayLike],
        full_grad: Callable[[Vector], ArrayLike] | None = None,
        objective: Callable[[Vector], float] | None = None,
    ) -> None:
        self.n_samples = integer("FunctionSum", "n", n, 1)
        self.n_features = integer("FunctionSum", "dim", dim, 1)
        for name, function, optional in (("grad_i", grad_i, False), ("full_grad", full_grad, True),
                                         ("objective", objective, True)):  # fmt: skip
            if not (callable(function) or (optional and function is None)):
                raise TypeError(f"FunctionSum: {name} = {function!r} is not callable; pass a function")
        self._grad_i, self._full_grad, self._objective = grad_i, full_grad, objective
        self.shape = self.coef_shape = (self.n_features,)

    def __repr__(self) -> str:
        return f"FunctionSum(n={self.n_samples}, dim={self.n_features})"

    def sample_gradient(self, i: int, w: Vector) -> Vector:
        """Gradient of f_i at w."""
        return self._checked("grad_i", self._grad_i(int(i), w))

    def objective(self, w: ArrayLike) -> float:
        """f(w), NaN if no objective was given."""
        return float("nan") if self._objective is None else float(self._objective(np.asarray(w, dtype=np.float64)))

    def gradient(self, w: ArrayLike) -> Vector:
        """Gradient of f at w."""
        w = vector("FunctionSum", "w", w, self.n_features)
        if self._full_grad is not None:
            return self._checked("full_grad", self._full_grad(w))
        total = np.zeros(self.n_features)
        for i in range(self.n_samples):
            total += self.sample_gradient(i, w)
        return total / self.n_samples

    def evaluate(self, w: ArrayLike) -> Evaluation:
        """Objective and gradient at w."""
        gradient = self.gradient(w)
        return Evaluation(self.objective(w), gradient, gradient, Point(gradient))

    # What the loop of `minimize` asks of a problem; without intercept, penalties and units all this is the identity.

    has_intercept, l2, l1, columns, weights, said_of_data = False, 0.0, 0.0, 1.0, None, ""

    def point(self, w: ArrayLike) -> Point:
        """The coordinates of the steps: w."""
        return Point(vector("FunctionSum", "w", w, self.n_features))

    def at(self, point: Point) -> Vector:
        """W for the coordinates of the steps."""
        return point.coef

    def centered(self, point: Point) -> Point:
        """The point itself."""
        return point

    def component(self, i: int, point: Point) -> Point:
        """Gradient of f_i."""
        return Point(self.sample_gradient(i, point.coef))

    def probe_lipschitz(self, w: Vector, seed: int = 0) -> float:
        """Estimate max_i L_i near w from differences of component gradients.

        For up to `PROBED_COMPONENTS` components: two steps of the power method on the Hessian of f_i by finite
        differences, started in the direction of the gradient of f_i. A lower bound of the true maximum over all
        components and all w; the automatic step is 0.5 / L and so leaves a factor of two.
        """
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(self.n_samples)[:PROBED_COMPONENTS]
        length = 1e-4 * max(1.0, float(np.linalg.norm(w)))
        largest = 0.0
        for i in chosen:
            base = self.sample_gradient(i, w)
            direction = base if np.any(base) else rng.standard_normal(self.n_features)
            for _ in range(2):
                norm = float(np.linalg.norm(direction))
                if norm == 0.0 or not np.isfinite(norm):
                    break
                direction = (self.sample_gradient(i, w + direction * (length / norm)) - base) / length
                largest = max(largest, float(np.linalg.norm(direction)))
        return largest

    def _checked(self, name: str, gradient: ArrayLike) -> Vector:
        gradient = np.asarray(gradient, dtype=np.float64)
        if gradient.shape != (self.n_features,):
            raise ValueError(f"FunctionSum: {name} returned shape {gradient.shape}; expected ({self.n_features},)")
        return gradient
