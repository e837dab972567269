r"""Problems whose rows are the chunks of a Dask array: more data than memory, or more processes than one.

``FiniteSum(X, ...)`` of a Dask array is a `ChunkedSum`, and `minimize` runs on it. Dask keeps, moves, spills and
recomputes the chunks and decides where a task runs; nothing of that is done here. The client sees no chunk, only sums
over chunks and vectors of the shape of w.

**Full gradients** are a map over the chunks and a sum in float64 along a tree that depends on the chunks alone. Margins
and slopes stay where the chunk is.

**The steps of an epoch** are taken on all chunks at once, from the same start. Chunk k takes its share
:math:`T n_k / n` of the T `inner_steps` on its own rows, with its own random numbers and its own 8-bit grid, but with
the full gradient of all:

.. math:: z_k \leftarrow Q_k\left(z_k - \alpha (\nabla f_{i}(\tilde w + z_k) - \nabla f_{i}(\tilde w)
          + \nabla f(\tilde w))\right), \quad i \in \text{chunk } k, \qquad
          \tilde w \leftarrow \tilde w + \sum_k \frac{n_k}{n} z_k .

The offsets :math:`z_k` are averaged in float64 (with sample weights: by the sums of these).

*Why the fixed point is the optimum.* At :math:`z_k = 0` the first two gradients cancel for every i, so the first step
of every chunk is :math:`-\alpha \nabla f(\tilde w)`: all offsets stay 0 if and only if the full gradient is 0. In
expectation chunk k descends on :math:`f_k(w) - (\nabla f_k(\tilde w) - \nabla f(\tilde w))^T w`, whose gradient at the
snapshot is that of f, as in DANE (Shamir, Srebro, Zhang, ICML 2014) and in local SVRG / FSVRG (Konečný et al. 2016).
Grids shrink with the full gradient, so rounding leaves no floor, as in HALP on one machine.

*What differences between the chunks do.* For a quadratic with Hessians :math:`H_k` and mean H the expected offset is
:math:`-M_k \nabla f`, :math:`M_k = H_k^{-1}(I - (I - \alpha H_k)^{T_k})`, and an epoch maps the error by
:math:`I - \bar M H`. Chunks drawn from the same rows have :math:`H_k \approx H` and contract like one machine with
:math:`T_k` steps, and with less noise, because K independent offsets are averaged. Where chunks differ, the error per
epoch is of second order in :math:`H_k - H` as long as all :math:`H_k` are well conditioned. A direction that the rows
of a chunk do not see (a feature that is 0 there) is not curved there: this chunk moves by :math:`\alpha T_k \nabla f`,
which may be too far for the mean to contract.

*When the mean does not contract.* After every epoch the change of f is known from the two full gradients: with the
displacement :math:`\delta`, :math:`\tfrac12 (\nabla f_{old} + \nabla f_{new})^T \delta` (exact for quadratics, and
accurate where the difference of two objectives has long drowned in float64). If it is positive, or the gradient is
more than four times the smallest one so far, the epoch is undone, the steps begin again from the best point, and every
chunk takes half as many. That share grows by 2 % per accepted epoch. In the limit of one step an epoch is a step of
gradient descent, which contracts on any split. The best point is never lost.

Bits: all of this depends on the data, their chunks and the seed, not on the number of workers, threads, or on which of
them were lost and replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _chunks as chunks
from ._checks import real
from ._chunks import ChunkError as ChunkError
from ._chunks import Place
from ._dask_arguments import beside, dask_package, row_chunks
from .data import DataMatrix
from .evaluation import Evaluation, Point, Sums
from .losses import Loss, get_loss
from .problem import INTERCEPT_SIZE, FiniteSum
from .sampling import Importance

Vector = NDArray[np.float64]

# Summands that one task adds.
FAN_IN = 16


@dataclass(frozen=True)
class ChunkedEvaluation(Evaluation):
    """Values and gradient at a point; margins and slopes stay with the chunks.

    Attributes
    ----------
    values : list of delayed `_chunks.Values`
        One for each chunk.
    """

    values: list[Any] = field(default_factory=list)


class ChunkedSum(FiniteSum):
    """The empirical risk of `FiniteSum` on the rows of a Dask array.

    Parameters
    ----------
    X : dask.array.Array of shape (n_samples, n_features)
        Chunks of whole rows: NumPy arrays, LPArrays, CSR matrices, all that `FiniteSum` takes. Each may have scales and
        offsets of its own. Chunks without rows are skipped.
    y : dask.array.Array or array of shape (n_samples,)
        Rechunked to the rows of X.
    loss, l2, l1, intercept, huber_delta
        As for `FiniteSum`.
    sample_weight : dask.array.Array or array of shape (n_samples,), optional

    Raises
    ------
    ValueError
        Chunks along the columns, unknown chunk sizes, wrong shapes.
    ChunkError
        A ValueError that tells `chunk` and `row`: NaN, infinite values, blocks whose shape is not the announced one.

    Notes
    -----
    With a `distributed.Client` the chunks are persisted on the cluster as the kernels want them (8-bit chunks as they
    are) and given back when the problem is deleted. They are recomputed from their graph when a worker is lost, so they
    should come from something that can be read again: files, functions, or an array that the client has; not from
    ``Client.scatter``. With the schedulers of one process nothing is kept: every pass computes its chunks. Call
    ``X.persist()`` before where they fit into memory.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import lpnum
    >>> from lpnum_optim import FiniteSum, minimize
    >>> rng = np.random.default_rng(0)
    >>> X = lpnum.array(rng.standard_normal((2000, 10)), dtype=lpnum.fixed8)
    >>> y = X @ np.arange(10.0) + rng.standard_normal(2000)
    >>> with dask.config.set(scheduler="synchronous"):
    ...     problem = FiniteSum(da.from_array(X, chunks=(500, 10)), y)
    ...     r = minimize(problem, method="halp", bits=8, tol=1e-10)
    >>> type(problem).__name__, len(problem.chunks), r.converged
    ('ChunkedSum', 4, True)
    >>> bool(np.linalg.norm(FiniteSum(X, y).gradient(r.x)) < 1e-9)  # the optimum of the undivided problem
    True
    """

    is_chunked = True

    def __init__(
        self,
        X: Any,
        y: Any,
        loss: str = "squared",
        l2: float = 0.0,
        *,
        l1: float = 0.0,
        intercept: bool = False,
        sample_weight: Any = None,
        huber_delta: float | None = None,
    ) -> None:
        self.loss = get_loss(loss, huber_delta)
        self.l2 = real("FiniteSum", "l2", l2, zero=True)
        self.l1 = real("FiniteSum", "l1", l1, zero=True)
        self.has_intercept = bool(intercept)
        self.X, self.y, self.weights = X, y, sample_weight
        self.n_samples, self.n_features = row_chunks(X)
        self.sizes = [size for size in X.chunks[0] if size]
        loaded = self._load(X, beside(X, y, "y"), beside(X, sample_weight, "sample_weight"))
        self._take(loaded)

    def _load(self, X: Any, y: list[Any], weights: list[Any]) -> list[Any]:
        """The chunks that have rows, checked where they are."""
        delayed = dask_package().delayed
        load = delayed(chunks.load, pure=False)
        loaded, start = [], 0
        for number, (size, block) in enumerate(zip(X.chunks[0], X.to_delayed().ravel(), strict=True)):
            if size:
                place = Place(number, start, start + size)
                loaded.append(load(place, block, y[number], weights[number], self.n_features, self.has_intercept))
            start += size
        return _kept(loaded)

    def _take(self, loaded: list[Any]) -> None:
        """Learn from all chunks what each has to know, and tell it."""
        dask = dask_package()
        summarize = dask.delayed(chunks.summarize, pure=False)
        summaries: Sequence[chunks.Summary] = dask.compute(
            *[summarize(chunk, self.loss, self.has_intercept) for chunk in loaded]
        )
        weight = sum(one.weight for one in summaries)
        if not weight > 0:
            raise ValueError("FiniteSum: all sample weights are zero; at least one must be positive")
        self.shares = [one.weight / weight for one in summaries]
        self.classes = _classes(self.loss, [one.labels for one in summaries], self.n_samples)
        self.n_outputs = len(self.classes) if self.loss.per_class and self.classes is not None else 1
        d = self.n_features
        self.coef_shape = (self.n_outputs, d) if self.loss.per_class else (d,)
        self.shape = (*self.coef_shape[:-1], d + self.has_intercept)
        self._unit = INTERCEPT_SIZE * float(np.sqrt(sum(one.squares for one in summaries) / self.n_samples)) or 1.0
        self._nbytes = sum(one.nbytes for one in summaries)
        # No rows here: units of the coordinates alone. Chunks may have their own; these are their mean.
        self.data = DataMatrix(np.empty((0, d)), columns=_mean_columns([one.columns for one in summaries], self.shares))
        model = chunks.Model(
            self.loss, self.l2, self.l1, self.has_intercept, self.classes, self.n_samples / weight, self._unit
        )
        make = dask.delayed(chunks.Chunk, pure=False)
        model = dask.delayed(model, pure=False)
        self.chunks = _kept([make(chunk, model) for chunk in loaded])

    # ---- values and gradients

    def evaluate(self, w: ArrayLike) -> ChunkedEvaluation:
        """Objective and gradient in one pass; what belongs to single rows stays with the chunks."""
        w = self._checked(w)
        dask = dask_package()
        one, at = dask.delayed(chunks.evaluate, pure=False), dask.delayed(w, pure=False)
        values = [one(chunk, at) for chunk in self.chunks]
        first = dask.delayed(_first, pure=False)
        *values, total = dask.persist(*values, tree_sum([first(value) for value in values]))
        sums: Sums = total.compute()
        n, point = self.n_samples, self.point(w)
        coef = (sums.rows / n).reshape(self.coef_shape) + self.l2 * point.coef
        inner = point._replace(coef=coef, intercept=sums.slopes / n if self.has_intercept else None)
        gradient = self._outer_gradient(inner)
        residual = self._mapping(w, gradient) if self.l1 else gradient
        return ChunkedEvaluation(
            self._penalized(sums.losses, point), gradient, residual, inner, None, None, list(values)
        )

    def evaluate_with_best_intercept(self, point: Point) -> tuple[Point, Evaluation]:
        """At the point itself: the intercept follows the steps."""
        return point, self.evaluate(self.at(point))

    def evaluate_with_intercept(self, point: Point) -> Evaluation:
        """The same again."""
        return self.evaluate(self.at(point))

    @property
    def said_of_data(self) -> str:
        """Nothing: chunks may differ."""
        return ""

    def objective(self, w: ArrayLike) -> float:
        """f(w)."""
        w = self._checked(w)
        return self._penalized(sum(self.each_chunk(chunks.sum_of_losses, w)), self.point(w))

    def sample_gradient(self, i: int, w: ArrayLike) -> Vector:
        """Gradient of f_i (without the L1 penalty) at w, computed where the row is."""
        ends = np.cumsum(self.sizes)
        k = int(np.searchsorted(ends, i, side="right"))
        within = int(i - (ends[k] - self.sizes[k]))
        gradient: Vector = (
            dask_package()
            .delayed(chunks.Chunk.sample_gradient, pure=False)(self.chunks[k], within, self._checked(w))
            .compute()
        )
        return gradient

    # ---- curvature

    @property
    def intercept_unit(self) -> float:
        """As of the undivided problem."""
        return self._unit

    @property
    def sample_lipschitz(self) -> Vector:
        """L_i of every sample without the penalty, of shape (n,)."""
        return np.concatenate(self.each_chunk(_sample_lipschitz))

    def importance(self) -> Importance:
        """Every chunk draws its own rows by importance; the largest constant of the chunks."""
        return Importance(lipschitz=max(self.each_chunk(_importance_lipschitz)))

    @cached_property
    def lipschitz(self) -> float:
        """The largest of the chunks, each in the units of its columns."""
        return float(max(self.each_chunk(_lipschitz)))

    @cached_property
    def smoothness(self) -> float:
        """Estimated Lipschitz constant of the gradient of f: at most the mean of those of the chunks."""
        each = np.array(self.each_chunk(_smoothness))
        return min(float(each @ np.array(self.sizes)) / self.n_samples, self.lipschitz)

    @property
    def data_nbytes(self) -> int:
        """Bytes of the data matrices of all chunks."""
        return self._nbytes

    def each_chunk(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What a function returns for every chunk, computed."""
        dask = dask_package()
        call = dask.delayed(function, pure=False)
        return list(dask.compute(*[call(chunk, *arguments) for chunk in self.chunks]))


def _kept(tasks: list[Any]) -> list[Any]:
    """On a cluster: the results stay where they are computed. Else the tasks themselves, computed in every pass."""
    scheduler = dask_package().base.get_scheduler()
    client = getattr(scheduler, "__self__", None)
    if type(client).__module__.partition(".")[0] != "distributed":
        return tasks
    return list(dask_package().persist(*tasks))


def _first(values: chunks.Values) -> Sums:
    return values.sums


def _lipschitz(chunk: chunks.Chunk) -> float:
    return chunk.lipschitz


def _sample_lipschitz(chunk: chunks.Chunk) -> Vector:
    return chunk.sample_lipschitz


def _importance_lipschitz(chunk: chunks.Chunk) -> float:
    return chunk.importance().lipschitz


def _smoothness(chunk: chunks.Chunk) -> float:
    return chunk.smoothness


def tree_sum(parts: list[Any]) -> Any:
    """A task that adds the results of others along a tree, in an order that depends on their number alone."""
    add = dask_package().delayed(_added, pure=False)
    while True:
        parts = [add(parts[k : k + FAN_IN]) for k in range(0, len(parts), FAN_IN)]
        if len(parts) == 1:
            return parts[0]


def _added(parts: list[Any]) -> Any:
    """Sum of arrays, or of named tuples of these, from the left."""
    result = parts[0]
    for part in parts[1:]:
        if isinstance(part, tuple):
            result = type(part)(*(a + b for a, b in zip(result, part, strict=True)))
        else:
            result = result + part
    return result


def _classes(loss: Loss, labels: list[Any], n: int) -> Vector | None:
    """The labels of all chunks, checked like those of one array of n labels."""
    if labels[0] is None:
        return None
    union = np.unique(np.concatenate(labels))
    return loss.check(np.resize(union, max(len(union), min(n, 2 * len(union)))), loss.name)[1]


def _mean_columns(each: list[Any], shares: list[float]) -> Vector | None:
    """Mean of the units of the columns; None where all are 1."""
    if all(one is None for one in each):
        return None
    total = sum(share * (1.0 if one is None else one) for one, share in zip(each, shares, strict=True))
    return np.asarray(total, dtype=np.float64)
