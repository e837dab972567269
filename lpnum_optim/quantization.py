"""What rounding the data does to the optimum: the problem on rounded data has another one, which this measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .problem import FiniteSum

Vector = NDArray[np.float64]

CG_STEPS, CG_TOLERANCE = 100, 1e-4


class QuantizationError(NamedTuple):
    """How far a point is from the optimum of the problem on the original data.

    Attributes
    ----------
    gradient : float
        Norm of the original problem's gradient there, divided by the one at 0.
    objective : float
        The original problem's objective there.
    excess : float
        Estimate of how much smaller its minimum is: half of the squared Newton decrement.
    distance : float
        Estimate of the distance to its optimum, divided by the norm of the optimum.
    """

    gradient: float
    objective: float
    excess: float
    distance: float


def measure(problem: FiniteSum, original: FiniteSum, w: Vector) -> QuantizationError:
    """Newton's step of the original problem from w, by conjugate gradients on differences of its gradients.

    With an L1 penalty the coordinates that are zero stay so.
    """
    here = original.evaluate(w)
    at_zero = original.evaluate(np.zeros(original.shape)).grad_norm
    free = np.ones(w.shape, bool)
    if problem.l1:
        free[..., : problem.n_features] = w[..., : problem.n_features] != 0
    gradient = np.where(free, here.residual, 0.0)

    def hessian(u: Vector) -> Vector:
        h = 1e-4 * max(1.0, float(np.linalg.norm(w))) / max(1e-300, float(np.linalg.norm(u)))
        change = original.evaluate(w + h * u).gradient - original.evaluate(w - h * u).gradient
        return np.where(free, change / (2 * h), 0.0)

    newton, decrement = conjugate_gradients(hessian, gradient)
    optimum = float(np.linalg.norm(w - newton))
    return QuantizationError(
        here.grad_norm / at_zero if at_zero else 0.0,
        here.objective,
        0.5 * decrement,
        float(np.linalg.norm(newton)) / optimum if optimum else 0.0,
    )


def conjugate_gradients(product: Any, b: Vector) -> tuple[Vector, float]:
    """Solution x of ``A x = b`` for a positive semidefinite A, and b.x; A by its products with vectors."""
    x, r = np.zeros_like(b), b.copy()
    p, rr = r.copy(), float(np.vdot(r, r))
    target = CG_TOLERANCE**2 * rr
    for _ in range(min(CG_STEPS, b.size)):
        if rr <= target or rr == 0.0:
            break
        Ap = product(p)
        curvature = float(np.vdot(p, Ap))
        if not curvature > 0:
            break
        step = rr / curvature
        x, r = x + step * p, r - step * Ap
        rr, before = float(np.vdot(r, r)), rr
        p = r + (rr / before) * p
    return x, float(np.vdot(b, x))
