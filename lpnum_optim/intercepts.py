"""The best intercept for given coefficients: Newton's method on the margins alone, without the data.

The iterate's rounding noise reaches the margins through the mean row, which the intercept can undo at once; left to the
steps it would follow slowly. So it is fitted whenever the margins of all samples are known, at every re-centering.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .losses import Loss

Vector = NDArray[np.float64]

# Newton's steps; it converges quadratically from one snapshot to the next, and need not be exact.
STEPS, GOOD_ENOUGH = 3, 1e-3
# Samples at a time.
ROWS = 1 << 13


def best_intercept(loss: Loss, margins: Vector, targets: Vector, weights: Vector | None, start: Vector) -> Vector:
    """The intercepts (C,) with which the mean loss of ``margins + intercept`` (n, C) is smallest, from `start` on.

    >>> from lpnum_optim.losses import get_loss
    >>> best_intercept(get_loss("squared"), np.zeros((3, 1)), np.array([1.0, 2.0, 6.0]), None, np.zeros(1))
    array([3.])
    """
    intercept = best = start
    lowest = first = np.inf
    for _ in range(STEPS):
        objective, gradient, hessian = _mean_loss(loss, margins, targets, weights, intercept)
        if not objective < lowest:
            break
        best, lowest = intercept, objective
        size = float(np.abs(gradient).max())
        first = min(first, size)
        if size == 0.0 or (size < GOOD_ENOUGH * first):
            break
        intercept = intercept - np.linalg.pinv(hessian, rcond=1e-9, hermitian=True) @ gradient
        if not np.isfinite(intercept).all():
            break
    return best


def _mean_loss(
    loss: Loss, margins: Vector, targets: Vector, weights: Vector | None, intercept: Vector
) -> tuple[float, Vector, Vector]:
    """The mean loss, its gradient (C,) and its second derivatives (C, C); in parts, so that it needs little memory."""
    n, classes = margins.shape
    objective, gradient, hessian = 0.0, np.zeros(classes), np.zeros((classes, classes))
    for first in range(0, n, ROWS):
        part = slice(first, first + ROWS)
        moved, y = margins[part] + intercept, targets[part]
        share = np.full(len(moved), 1.0 / n) if weights is None else weights[part] / n
        values, slopes = loss.evaluate(moved if loss.per_class else moved[:, 0], y)
        objective += float(values @ share)
        gradient += share @ slopes.reshape(moved.shape)
        hessian += _hessian(loss, slopes, y, share)
    return objective, gradient, hessian


def _hessian(loss: Loss, slopes: Vector, targets: Vector, share: Vector) -> Vector:
    """Second derivatives of the mean loss with respect to the shift, (C, C)."""
    if not loss.per_class:
        return np.array([[float(loss.second(slopes, loss.parameter) @ share)]])
    p = slopes.copy()
    p[np.arange(len(p)), targets.astype(np.intp)] += 1.0
    weighted = p * share[:, None]
    return np.diag(weighted.sum(axis=0)) - weighted.T @ p
