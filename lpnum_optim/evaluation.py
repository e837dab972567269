"""One pass over the data: objective, gradient, margins and slopes, all in float64.

The rows are cut into up to `PARTS` ranges whose sums are added in order, so the bits depend neither on the number of
threads (`lpnum.set_num_threads`) nor on their timing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lpnum import _threads

from .data import DataMatrix
from .data_products import products, weighted_sums
from .losses import Loss

Vector = NDArray[np.float64]

PARTS = 8
# Less than this is not worth a part of its own: each costs some calls of NumPy, which small data would mostly wait for.
PART_BYTES = 1 << 20


class Point(NamedTuple):
    """What the steps change: coefficients (d,) or (n_classes, d), and intercepts (n_outputs,) or None.

    Offsets of the columns of X are part of the intercept here: b' = b + offset.w.
    """

    coef: Vector
    intercept: Vector | None = None


@dataclass(frozen=True)
class Evaluation:
    """What one pass over the data gives at w.

    Attributes
    ----------
    objective : float
    gradient : array of the shape of w
        Of the smooth part of f.
    residual : array of the shape of w
        What vanishes at the minimum: the gradient, with an L1 penalty the proximal gradient mapping.
    inner : Point
        The gradient with respect to the coordinates of `Point`.
    margins, slopes : arrays of shape (n,) or (n, n_classes), or None
        x_i.w + b and l'(x_i.w + b, y_i), without the weights of the samples; for linear models only.
    """

    objective: float
    gradient: Vector
    residual: Vector
    inner: Point
    margins: Vector | None = None
    slopes: Vector | None = None

    @property
    def grad_norm(self) -> float:
        """Euclidean norm of the residual."""
        return float(np.linalg.norm(self.residual))


class Sums(NamedTuple):
    """Sums over the samples: of the losses, of slope times row (C, d), of the slopes (C,)."""

    losses: float
    rows: Vector
    slopes: Vector


def evaluate_rows(
    data: DataMatrix, loss: Loss, targets: Vector, weights: Vector | None, v: Vector, intercept: Vector,
    margins: Vector | None = None, slopes: Vector | None = None, known: bool = False,
) -> Sums:  # fmt: skip
    """One pass over all rows at v (C, d), the coefficients in units of the columns.

    Parameters
    ----------
    margins, slopes : (n, C) arrays, optional
        Filled in. Without them the losses alone are summed.
    known : bool
        The margins are there already, but for the intercept.
    """
    n, count = data.shape[0], len(v)
    cuts = np.linspace(0, n, min(PARTS, n, 1 + data.nbytes // PART_BYTES) + 1).astype(int)
    parts: list[Sums | None] = [None] * (len(cuts) - 1)

    def one(start: int, stop: int) -> Sums:
        total, slope_sums = 0.0, np.zeros(count)
        sums = np.zeros_like(v) if slopes is not None else v[:0]
        for first, last in data.blocks(start, stop):
            m = margins[first:last].T.copy() if known and margins is not None else products(data, first, last, v)
            m += intercept[:, None]
            y, w = targets[first:last], None if weights is None else weights[first:last]
            values, p = loss.evaluate(np.ascontiguousarray(m.T) if loss.per_class else m[0], y)
            total += float(values.sum() if w is None else values @ w)
            if slopes is None or margins is None:
                continue
            margins[first:last] = m.T
            p = p.reshape(last - first, count)
            slopes[first:last] = p
            p = np.ascontiguousarray(p.T) if w is None else np.ascontiguousarray((p * w[:, None]).T)
            sums += weighted_sums(data, first, last, p)
            slope_sums += p.sum(axis=1)
        return Sums(total, sums, slope_sums)

    def some(start: int, stop: int) -> None:
        for k in range(start, stop):
            parts[k] = one(cuts[k], cuts[k + 1])

    _threads.run(some, _threads.ranges(len(parts), data.nbytes * count))
    done = [part for part in parts if part is not None]
    result = done[0]
    for part in done[1:]:
        result = Sums(result.losses + part.losses, result.rows + part.rows, result.slopes + part.slopes)
    return result


def soft_threshold(w: Vector, threshold: float | Vector) -> Vector:
    """Proximal map of the L1 norm: toward zero by the threshold.

    >>> soft_threshold(np.array([3.0, -0.5, -2.0]), 1.0).tolist()
    [2.0, 0.0, -1.0]
    """
    shrunk: Vector = w - np.clip(w, -threshold, threshold)
    return shrunk


def all_margins(data: DataMatrix, v: Vector) -> Vector:
    """``x_i.v`` of all rows, (n, C), without the intercept."""
    margins = np.empty((data.shape[0], len(v)))

    def some(start: int, stop: int) -> None:
        for first, last in data.blocks(start, stop):
            margins[first:last] = products(data, first, last, v).T

    _threads.run(some, _threads.ranges(data.shape[0], data.nbytes * len(v), 64))
    return margins
