"""One pass over the data: objective, gradient, margins and slopes, all in float64.

The rows are cut into up to `PARTS` ranges whose sums are added in order, so the bits depend neither on the number of
threads (`lpnum.set_num_threads`) nor on their timing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lpnum import _threads

from ._core import epochs
from .data import DataMatrix
from .losses import Loss

Vector = NDArray[np.float64]

PARTS = 8
# Less than this is not worth a part of its own, which has sums of its own: they stay small beside the data.
PART_BYTES, PART_SUMS = 1 << 20, 16
BLOCK_BYTES = 1 << 18


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
    data: DataMatrix, loss: Loss | None, targets: Vector, weights: Vector | None, v: Vector, intercept: Vector,
    margins: Vector | None = None, slopes: Vector | None = None, known: bool = False, *, gradient: bool = True,
) -> Sums:  # fmt: skip
    """One pass over all rows at v (C, d), the coefficients in units of the columns.

    Parameters
    ----------
    loss : Loss or None
        None: the margins are all that is wanted.
    margins, slopes : (n, C) arrays, optional
        Filled in.
    known : bool
        The margins are there already, but for the intercept.
    gradient : bool
        Whether the sums of slope times row are wanted; else they are empty.
    """
    n, d = data.shape
    count = len(v)
    size = n * d if data.packed else data.nbytes
    least = max(PART_BYTES, PART_SUMS * v.nbytes)  # a sparse row may be shorter than the sums
    parts = max(1, min(PARTS, n, 1 + size // least))
    cuts = [n * k // parts for k in range(parts + 1)]
    done: list[Sums | None] = [None] * parts
    matrix = epochs.checked(data)
    options: dict[str, Any] = {
        "loss": -1 if loss is None else loss.kernel_id, "loss_parameter": 0.0 if loss is None else loss.parameter,
        "block": block_rows(data, count), "weights": weights, "margins": margins, "slopes": slopes, "known": known,
    }  # fmt: skip

    def some(start: int, stop: int) -> None:
        for k in range(start, stop):
            rows = np.empty_like(v) if gradient else None
            losses, slope_sums = epochs.evaluate_rows(
                matrix, targets, v, intercept, start=cuts[k], stop=cuts[k + 1], rows=rows, **options
            )
            done[k] = Sums(losses, v[:0] if rows is None else rows, slope_sums)

    _threads.run(some, _threads.ranges(parts, data.nbytes * count))
    result, *others = (part for part in done if part is not None)
    for part in others:
        result = Sums(result.losses + part.losses, result.rows + part.rows, result.slopes + part.slopes)
    return result


def block_rows(data: DataMatrix, outputs: int) -> int:
    """Rows that the kernel takes at a time: they stay in the second-level cache between the two products.

    Several outputs share the loads of a block, and its sums are put together for each: they take longer ones.
    """
    n, d = data.shape
    row = max(1, d if data.packed else data.nbytes // n)
    return max(64, min(1024, BLOCK_BYTES * min(outputs, 3) // row // 64 * 64))


def soft_threshold(w: Vector, threshold: float | Vector) -> Vector:
    """Proximal map of the L1 norm: toward zero by the threshold.

    >>> soft_threshold(np.array([3.0, -0.5, -2.0]), 1.0).tolist()
    [2.0, 0.0, -1.0]
    """
    shrunk: Vector = w - np.clip(w, -threshold, threshold)
    return shrunk


def all_margins(data: DataMatrix, v: Vector, out: Vector | None = None) -> Vector:
    """``x_i.v`` of all rows, (n, C), without the intercept; in `out` if it is given."""
    margins = np.empty((data.shape[0], len(v))) if out is None else out
    evaluate_rows(data, None, margins[:, 0].copy(), None, v, np.zeros(len(v)), margins, gradient=False)
    return margins
