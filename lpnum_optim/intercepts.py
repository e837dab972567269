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


def best_shift(loss: Loss, margins: Vector, targets: Vector, weights: Vector | None) -> Vector:
    """What to add to the intercepts (C,) so that the mean loss of ``margins + shift`` (n, C) is smallest.

    >>> from lpnum_optim.losses import get_loss
    >>> best_shift(get_loss("squared"), np.zeros((3, 1)), np.array([1.0, 2.0, 6.0]), None)
    array([3.])
    """
    shift, best, lowest, first = np.zeros(margins.shape[1]), np.zeros(margins.shape[1]), np.inf, np.inf
    share = np.full(len(margins), 1.0 / len(margins)) if weights is None else weights / len(margins)
    for _ in range(STEPS):
        moved = margins + shift
        values, slopes = loss.evaluate(moved if loss.per_class else moved[:, 0], targets)
        objective = float(values @ share)
        if not objective < lowest:
            break
        best, lowest = shift, objective
        gradient = share @ slopes.reshape(margins.shape)
        size = float(np.abs(gradient).max())
        first = min(first, size)
        if size == 0.0 or (size < GOOD_ENOUGH * first):
            break
        shift = shift - np.linalg.pinv(_hessian(loss, slopes, targets, share), rcond=1e-9, hermitian=True) @ gradient
        if not np.isfinite(shift).all():
            break
    return best


def _hessian(loss: Loss, slopes: Vector, targets: Vector, share: Vector) -> Vector:
    """Second derivatives of the mean loss with respect to the shift, (C, C)."""
    if not loss.per_class:
        return np.array([[float(loss.second(slopes, loss.parameter) @ share)]])
    p = slopes.copy()
    p[np.arange(len(p)), targets.astype(np.intp)] += 1.0
    weighted = p * share[:, None]
    return np.diag(weighted.sum(axis=0)) - weighted.T @ p
