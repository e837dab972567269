"""Anderson acceleration of the snapshots: where the steps of an epoch begin.

An epoch of a variance-reduced method maps a snapshot to the next one, close to the minimum nearly linearly. What is
left after a few epochs lies in the few directions that it contracts slowly, and the last snapshots tell them. So the
steps start not at the snapshot but at the best point of the affine space through the last ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Entry
from .evaluation import Evaluation, Point, all_margins
from .function_sum import FunctionSum
from .problem import FiniteSum

Vector = NDArray[np.float64]

# Directions that tell less than this share of the curvature of the others are noise.
RANK_TOLERANCE = 1e-3
# An extrapolation by more than this many differences of snapshots is no small correction of a linear map.
LONGEST = 20.0
# Margins of earlier snapshots are kept while they take less than this share of the data, or these bytes.
MEMORY_SHARE, MEMORY_BYTES = 0.08, 1 << 22


class Difference(NamedTuple):
    """A snapshot minus the one before: the point, the gradient there, the margins if they are kept."""

    point: Vector
    gradient: Vector
    margins: NDArray[np.float32] | None


class Anderson:
    r"""The point at which the steps of the next epoch start.

    With :math:`D = (w_k - w_{k-1}, w_{k-1} - w_{k-2}, \dots)` and G the same differences of full gradients, the start

    .. math:: y = w_k + D c, \qquad
              c = \arg\min_c \; \nabla f(w_k)^T D c + \tfrac12 c^T H c, \qquad H = \tfrac12 (D^T G + G^T D)

    which minimizes a quadratic f over the affine space through the snapshots. It costs no pass over the data: the
    margins of y are the same combination of the margins of the snapshots. (Where these would take much memory, as with
    many classes, the margins of y are one more product with X.) A factor beyond `LONGEST` is cut, a combination that is
    not finite is not used, and after an epoch that had to be undone all snapshots are forgotten.

    Parameters
    ----------
    problem : FiniteSum or FunctionSum
    depth : int
        Number of differences remembered.

    References
    ----------
    D. G. Anderson, Iterative procedures for nonlinear integral equations, J. ACM 12 (1965); for the form with gradients
    of a quadratic model, the subspace methods after Y. Yuan and J. Stoer, ZAMM 75 (1995).
    """

    def __init__(self, problem: FiniteSum | FunctionSum, depth: int) -> None:
        self.problem, self.depth = problem, depth
        self.keep_margins = isinstance(problem, FiniteSum) and not problem.is_chunked and _margins_fit(problem, depth)
        self.forget()

    def forget(self) -> None:
        """Drop the memory."""
        self.differences: list[Difference] = []
        self.last: tuple[Vector, Vector, Vector | None] | None = None

    def start(self, point: Point, evaluation: Evaluation) -> tuple[Point, Vector | None]:
        """Remember a snapshot; the start of the next epoch and its margins."""
        margins = evaluation.margins if self.keep_margins else None
        here = (_flat(point), _flat(evaluation.inner), margins)
        if not (np.isfinite(here[0]).all() and np.isfinite(here[1]).all()):
            self.forget()
            return point, evaluation.margins
        if self.last is not None:
            then, self.last = self.last, None
            kept = None if margins is None or then[2] is None else (margins - then[2]).astype(np.float32)
            self.differences.insert(0, Difference(here[0] - then[0], here[1] - then[1], kept))
            del self.differences[self.depth :]
        self.last = here
        factors = self._factors(here[1])
        if factors is None:
            return point, evaluation.margins
        coordinates = here[0] + sum(c * one.point for c, one in zip(factors, self.differences, strict=True))
        if not np.isfinite(coordinates).all():
            return point, evaluation.margins
        start = _unflat(coordinates, point)
        if evaluation.margins is None or not isinstance(self.problem, FiniteSum):
            return start, None
        if not self.keep_margins:
            # Over those of the snapshot, which nothing needs any more: with many classes they are large.
            return start, margins_at(self.problem, start, evaluation.margins)
        result = evaluation.margins.copy()
        for c, one in zip(factors, self.differences, strict=True):
            assert one.margins is not None
            result += c * one.margins
        return start, result

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: the last snapshot and the differences; arrays that later epochs do not change."""
        last = None if self.last is None else dict(zip(Difference._fields, self.last, strict=True))
        return {"last": last, "differences": [one._asdict() for one in self.differences]}

    def restore(self, saved: Entry) -> None:
        """Take over what `state` gave."""
        problem = self.problem
        size = int(np.prod(problem.coef_shape))
        shape = None
        if isinstance(problem, FiniteSum):
            size += problem.n_outputs if problem.has_intercept else 0
            if self.keep_margins:
                shape = (problem.n_samples, problem.n_outputs)[: 1 + problem.loss.per_class]

        def arrays(s: Entry, dtype: Any) -> tuple[Vector, Vector, Any]:
            return s.array("point", (size,)), s.array("gradient", (size,)), s.optional("margins", shape, dtype)

        self.last = None if saved["last"] is None else arrays(saved.entry("last"), np.float64)
        self.differences = [Difference(*arrays(one, np.float32)) for one in saved.entries("differences", self.depth)]

    def _factors(self, gradient: Vector) -> Vector | None:
        """The c of the formula; None without anything to combine."""
        if not self.differences:
            return None
        D = np.array([one.point for one in self.differences])
        G = np.array([one.gradient for one in self.differences])
        H = 0.5 * (D @ G.T + G @ D.T)
        curvature = np.diag(H)
        unit = np.where(curvature > 0, 1.0 / np.sqrt(np.where(curvature > 0, curvature, 1.0)), 0.0)
        if not np.isfinite(H).all() or not unit.any():
            return None
        values, vectors = np.linalg.eigh(H * unit[:, None] * unit)
        told = values > RANK_TOLERANCE * values[-1]
        inverse = np.where(told, 1.0 / np.where(told, values, 1.0), 0.0)
        factors = unit * (vectors @ (inverse * (vectors.T @ (unit * -(D @ gradient)))))
        return np.clip(factors, -LONGEST, LONGEST)


def margins_at(problem: FiniteSum, point: Point, out: Vector | None = None) -> Vector:
    """x_i.w + b of all samples, of shape (n,) or (n, n_classes): one product with X; in `out` if it is given."""
    v = np.ascontiguousarray((point.coef / problem.columns).reshape(problem.n_outputs, -1))
    margins = all_margins(problem.data, v, None if out is None else out.reshape(len(out), -1))
    if point.intercept is not None:
        margins += point.intercept
    return margins if problem.loss.per_class else margins[:, 0]


def _margins_fit(problem: FiniteSum, depth: int) -> bool:
    # float32 per difference, and the float64 ones of the last snapshot
    needed = problem.n_samples * problem.n_outputs * (4 * depth + 8)
    return bool(needed <= max(MEMORY_BYTES, MEMORY_SHARE * problem.data_nbytes))


def _flat(point: Point) -> Vector:
    parts = [point.coef.ravel()] if point.intercept is None else [point.coef.ravel(), point.intercept]
    return np.concatenate(parts)


def _unflat(values: Any, like: Point) -> Point:
    size = like.coef.size
    coef = values[:size].reshape(like.coef.shape)
    return Point(coef, None if like.intercept is None else values[size:].copy())
