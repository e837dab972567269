"""What is minimized: f(w) = (1/n) sum_i f_i(w), the empirical risk of a linear model."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lpnum import LPArray

from ._checks import finite, real, vector
from .data import DataMatrix, advise_huge_pages
from .data_kinds import as_data_matrix
from .evaluation import Evaluation, Point, Sums, all_margins, evaluate_rows, soft_threshold
from .function_sum import FunctionSum as FunctionSum
from .intercepts import best_intercept
from .losses import get_loss
from .quantization import QuantizationError, measure
from .row_norms import squared_norms
from .sampling import Importance, by_importance

Vector = NDArray[np.float64]

# The intercept is a column of constants of this many times the root mean square of a row: large enough that it
# converges with the other coordinates although the data may have a mean, small enough to cost little of the step.
INTERCEPT_SIZE = 0.5

# Steps of the power method for the largest curvature of f, from below; the margin covers what is missing.
POWER_STEPS, POWER_MARGIN = 12, 1.1


class FiniteSum:
    r"""Empirical risk of a linear model with an L2 and an L1 penalty.

    .. math:: f(w, b) = \frac1n \sum_{i=1}^n s_i \, \ell(x_i^T w + b, y_i) + \frac{\lambda_2}{2} \|w\|_2^2
              + \lambda_1 \|w\|_1

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Floats; int8, uint8 or int16 (codes of step 1); an `lpnum.LPArray`; a SciPy CSR matrix of floats or 8-bit
        integers; or `lpnum_optim.SparseCodes`. 8-bit data stay as they are: with one scale, with one scale
        per column (then the coordinates are preconditioned by these), with offsets of columns (if there is an
        intercept). 4-bit LPArrays are packed. `lpnum_optim.data_kinds` has the table.
    y : array of shape (n_samples,)
        Targets. Logistic loss: labels -1 and +1, or 0 and 1. Softmax: any numbers, one for each class.
    loss : {"squared", "logistic", "softmax", "huber"}
    l2 : float >= 0
        The factor lambda_2. The penalty belongs to every f_i, so each step sees it.
    l1 : float >= 0
        The factor lambda_1; with both it is the elastic net. Steps are followed by the proximal map.
    intercept : bool
        Adds b, which is not penalized. It is the last entry of w (for softmax of each row of w).
    sample_weight : array of shape (n_samples,), optional
        Nonnegative; divided by their mean they are the s_i.
    huber_delta : float, optional
        Residuals beyond it count linearly in the Huber loss; by default 1.35.

    Attributes
    ----------
    shape : tuple
        Of w: (d,), for softmax (n_classes, d); d counts the intercept.
    classes : array or None
        The labels in ascending order.

    Raises
    ------
    ValueError
        Empty data, wrong shapes, NaN or infinite values, labels of one class, negative weights, damaged CSR matrices,
        unknown loss.

    Examples
    --------
    >>> import numpy as np
    >>> problem = FiniteSum(np.eye(2), [1.0, 3.0])
    >>> problem.objective([0.0, 0.0]), problem.gradient([0.0, 0.0])
    (2.5, array([-0.5, -1.5]))
    >>> FiniteSum(np.eye(3), [7, 8, 9], "softmax", intercept=True).shape
    (3, 4)
    """

    is_chunked = False

    def __new__(cls, X: Any = None, *_: Any, **__: Any) -> FiniteSum:
        """Of a Dask array: `distributed.ChunkedSum`."""
        if cls is FiniteSum and hasattr(X, "__dask_graph__"):
            from .distributed import ChunkedSum

            return object.__new__(ChunkedSum)
        return object.__new__(cls)

    def __init__(
        self,
        X: ArrayLike | LPArray | Any,
        y: ArrayLike,
        loss: str = "squared",
        l2: float = 0.0,
        *,
        l1: float = 0.0,
        intercept: bool = False,
        sample_weight: ArrayLike | None = None,
        huber_delta: float | None = None,
    ) -> None:
        self.loss = get_loss(loss, huber_delta)
        self.l2 = real("FiniteSum", "l2", l2, zero=True)
        self.l1 = real("FiniteSum", "l1", l1, zero=True)
        self.has_intercept = bool(intercept)
        self.X: Any = X
        self.data: DataMatrix = as_data_matrix(X, self.has_intercept)
        advise_huge_pages(self.data.rows)
        n, d = self.n_samples, self.n_features = self.data.shape
        if np.shape(y) != (n,):
            raise ValueError(
                f"FiniteSum: y has shape {np.shape(y)} for X of shape {self.data.shape}; expected ({n},)"
                + ("; pass y.ravel()" if np.size(y) == n else "")
            )
        self.y, self.classes = self.loss.check(vector("FiniteSum", "y", y, n), self.loss.name)
        self.weights = _weights(sample_weight, n)
        self.n_outputs = len(self.classes) if self.loss.per_class and self.classes is not None else 1
        self.coef_shape: tuple[int, ...] = (self.n_outputs, d) if self.loss.per_class else (d,)
        self.shape: tuple[int, ...] = (*self.coef_shape[:-1], d + self.has_intercept)

    def __repr__(self) -> str:
        shape = f"n_samples={self.n_samples}, n_features={self.n_features}"
        l1 = f", l1={self.l1:g}" if self.l1 else ""
        extra = (", intercept=True" if self.has_intercept else "") + (", weighted" if self.weights is not None else "")
        return f"FiniteSum({shape}, loss={self.loss.name!r}, l2={self.l2:g}{l1}{extra})"

    # ---- coordinates

    def split(self, w: ArrayLike) -> tuple[Vector, Any]:
        """Coefficients and intercept of w: (d,) and a number, for softmax (n_classes, d) and (n_classes,)."""
        w = self._checked(w)
        if not self.has_intercept:
            return w, np.zeros(self.n_outputs) if self.loss.per_class else 0.0
        return w[..., :-1], w[..., -1] if self.loss.per_class else float(w[-1])

    def point(self, w: ArrayLike) -> Point:
        """The coordinates of the steps, with the offsets of the columns in the intercept."""
        w = self._checked(w)
        if not self.has_intercept:
            return Point(w)
        coef, b = np.ascontiguousarray(w[..., :-1]), w[..., -1].reshape(self.n_outputs).copy()
        return Point(coef, b if self.data.offset is None else b + (coef @ self.data.offset).reshape(-1))

    def at(self, point: Point) -> Vector:
        """W for the coordinates of the steps."""
        if point.intercept is None:
            return point.coef
        b = point.intercept
        if self.data.offset is not None:
            b = b - (point.coef @ self.data.offset).reshape(-1)
        return np.concatenate([point.coef, b.reshape((*self.coef_shape[:-1], 1))], axis=-1)

    def centered(self, point: Point) -> Point:
        """The same function values without what is common to all classes, which only the L2 penalty determines.

        That direction is hardly curved, so the noise of rounding would stay in it for long.
        """
        if not self.loss.per_class:
            return point
        coef, b = point
        if not self.l1:  # an L1 penalty determines it
            coef = coef - coef.mean(axis=0)
        return Point(coef, None if b is None else b - b.mean())

    @property
    def columns(self) -> Vector | float:
        """Units of the coordinates: one per feature, or 1."""
        return 1.0 if self.data.columns is None else self.data.columns

    @property
    def intercept_unit(self) -> float:
        """Size of the constant column that the intercept belongs to; its steps are this squared times the others."""
        return INTERCEPT_SIZE * float(np.sqrt(self._squared_norms.mean())) or 1.0

    # ---- values and gradients

    def evaluate(self, w: ArrayLike) -> Evaluation:
        """Objective, gradient, margins x_i.w + b and slopes l'(x_i.w + b, y_i) in one pass, all in float64."""
        return self._evaluated(self.point(w), None)

    def evaluate_with_best_intercept(self, point: Point) -> tuple[Point, Evaluation]:
        """The same at the point with these coefficients and the intercept that fits them best."""
        if point.intercept is None:
            return point, self._evaluated(point, None)
        margins = all_margins(self.data, self._in_columns(point))
        b = best_intercept(self.loss, margins, self.y, self.weights, point.intercept)
        point = Point(point.coef, b - b.mean() if self.loss.per_class else b)
        return point, self._evaluated(point, margins)

    def evaluate_with_intercept(self, point: Point) -> Evaluation:
        """What `evaluate_with_best_intercept` gave at a point that it returned, to the bit."""
        return self._evaluated(point, all_margins(self.data, self._in_columns(point)))

    def _evaluated(self, point: Point, margins: Vector | None) -> Evaluation:
        """All of a pass; margins without the intercept, if they are known, are overwritten."""
        shape, known = (self.n_samples, self.n_outputs), margins is not None
        margins, slopes = np.empty(shape) if margins is None else margins, np.empty(shape)
        losses, sums, slope_sums = self._pass(point, margins, slopes, known)
        n = self.n_samples
        inner = Point(
            (sums / (n * self.columns)).reshape(self.coef_shape) + self.l2 * point.coef,
            slope_sums / n if self.has_intercept else None,
        )
        gradient = self._outer_gradient(inner)
        if not self.loss.per_class:
            margins, slopes = margins[:, 0], slopes[:, 0]
        residual = gradient if not self.l1 else self._mapping(self.at(point), gradient)
        return Evaluation(self._penalized(losses, point), gradient, residual, inner, margins, slopes)

    def objective(self, w: ArrayLike) -> float:
        """f(w)."""
        point = self.point(w)
        return self._penalized(self._pass(point, gradient=False)[0], point)

    def gradient(self, w: ArrayLike) -> Vector:
        """Gradient of f (without the L1 penalty) at w, of the shape of w."""
        return self.evaluate(w).gradient

    def sample_gradient(self, i: int, w: ArrayLike) -> Vector:
        """Gradient of f_i (without the L1 penalty) at w: s_i l'(x_i.w + b, y_i) x_i + l2 w."""
        point = self.point(w)
        component = self.component(i, point)
        return self._outer_gradient(component._replace(coef=component.coef + self.l2 * point.coef))

    def component(self, i: int, point: Point) -> Point:
        """Gradient of the weighted loss of sample i, without penalties, in the coordinates of the steps."""
        x = self.data.row(i) / self.columns
        margin = np.atleast_1d(point.coef @ x) + (0.0 if point.intercept is None else point.intercept)
        slope = self.loss.derivative(margin[None] if self.loss.per_class else margin, self.y[i : i + 1])
        slope = slope.reshape(-1) * (1.0 if self.weights is None else self.weights[i])
        return Point(np.outer(slope, x).reshape(self.coef_shape), slope if self.has_intercept else None)

    def _in_columns(self, point: Point) -> Vector:
        return np.ascontiguousarray((point.coef / self.columns).reshape(self.n_outputs, -1))

    def _pass(
        self, point: Point, margins: Vector | None = None, slopes: Vector | None = None, known: bool = False,
        *, gradient: bool = True,
    ) -> Sums:  # fmt: skip
        v, b = self._in_columns(point), np.zeros(self.n_outputs) if point.intercept is None else point.intercept
        return evaluate_rows(
            self.data, self.loss, self.y, self.weights, v, b, margins, slopes, known, gradient=gradient
        )

    def _penalized(self, losses: float, point: Point) -> float:
        w = point.coef.reshape(-1)
        return losses / self.n_samples + 0.5 * self.l2 * float(w @ w) + self.l1 * float(np.abs(w).sum())

    def _outer_gradient(self, inner: Point) -> Vector:
        if inner.intercept is None:
            return inner.coef
        b = inner.intercept.reshape((*self.coef_shape[:-1], 1))
        coef = inner.coef if self.data.offset is None else inner.coef + b * self.data.offset
        return np.concatenate([coef, b], axis=-1)

    def _mapping(self, w: Vector, gradient: Vector) -> Vector:
        """(w - prox(w - t gradient)) / t with t = columns^2 / L: zero exactly at the minimum."""
        t = np.broadcast_to(np.square(self.columns) / self.lipschitz, (self.n_features,))
        mapping = gradient.copy()
        coef = w[..., : self.n_features]
        mapping[..., : self.n_features] = (
            coef - soft_threshold(coef - t * gradient[..., : self.n_features], t * self.l1)
        ) / t
        return mapping

    def on(self, X: Any) -> FiniteSum:
        """The same problem (targets, loss, penalties, weights) on other data, such as those before rounding."""
        other = FiniteSum(
            X, self.labels, self.loss.name, self.l2, l1=self.l1, intercept=self.has_intercept,
            huber_delta=self.loss.parameter or None,
        )  # fmt: skip
        other.weights = self.weights
        return other

    @property
    def labels(self) -> Vector:
        """The targets as they were given."""
        if self.classes is None:
            return self.y
        return self.classes[(self.y if self.loss.per_class else self.y > 0).astype(np.intp)]

    def quantization_error(self, X: Any, w: ArrayLike) -> QuantizationError:
        """How far w is from the optimum of the same problem on the data X before they were rounded.

        Takes up to 200 passes over X.

        Examples
        --------
        >>> import lpnum
        >>> from lpnum_optim import minimize
        >>> rng = np.random.default_rng(0)
        >>> X = rng.standard_normal((500, 10))
        >>> problem = FiniteSum(lpnum.array(X, dtype=lpnum.fixed8), X.sum(axis=1) + rng.standard_normal(500))
        >>> error = problem.quantization_error(X, minimize(problem, tol=1e-9).x)
        >>> 1e-5 < error.distance < 1e-2, error.excess < 1e-4
        (True, True)
        """
        return measure(self, self.on(X), self._checked(w))

    # ---- curvature

    @cached_property
    def _squared_norms(self) -> Vector:
        return squared_norms(self.data)

    @property
    def sample_lipschitz(self) -> Vector:
        """L_i of every sample without the penalty: s_i l''_max (``|x_i|^2`` + intercept_unit^2), of shape (n,).

        In units of the columns where X has one scale per column.
        """
        norms = self._squared_norms + (self.intercept_unit**2 if self.has_intercept else 0.0)
        norms *= self.loss.curvature
        return norms if self.weights is None else norms * self.weights

    def importance(self) -> Importance:
        """How samples are drawn by importance, and the Lipschitz constant of the gradients weighted so."""
        drawn = by_importance(self.sample_lipschitz)
        return drawn._replace(lipschitz=drawn.lipschitz + self.penalty_lipschitz)

    @property
    def penalty_lipschitz(self) -> float:
        """Largest curvature of the L2 penalty: l2 max(columns)^2."""
        return self.l2 * float(np.max(np.square(self.columns)))

    @cached_property
    def lipschitz(self) -> float:
        """L = max_i L_i + penalty_lipschitz: a Lipschitz constant of every gradient of f_i, in units of the columns."""
        return float(self.sample_lipschitz.max()) + self.penalty_lipschitz

    @cached_property
    def smoothness(self) -> float:
        """Estimated Lipschitz constant of the gradient of f itself: the power method on (1/n) sum_i s_i x_i x_i^T."""
        rng = np.random.default_rng(0)
        u = rng.standard_normal((1, self.n_features))
        b = rng.standard_normal(1)
        largest, n = 0.0, self.n_samples
        squared, zeros = get_loss("squared"), np.zeros(n)
        for _ in range(POWER_STEPS):
            length = float(np.sqrt(np.sum(u * u) + (b @ b if self.has_intercept else 0.0)))
            if not (length > 0 and np.isfinite(length)):
                break
            u, b = u / length, b / length
            offset = b * self.intercept_unit if self.has_intercept else np.zeros(1)
            # the gradient of (1/n) sum_i s_i (x_i.u + b)^2 / 2
            sums = evaluate_rows(self.data, squared, zeros, self.weights, u, offset)
            new_u, new_b = sums.rows / n, sums.slopes * self.intercept_unit / n
            largest = float(np.sqrt(np.sum(new_u * new_u) + (new_b @ new_b if self.has_intercept else 0.0)))
            u, b = new_u, new_b
        return min(POWER_MARGIN * self.loss.curvature * largest + self.penalty_lipschitz, self.lipschitz)

    # ---- data

    @cached_property
    def kernel_data(self) -> DataMatrix:
        """The data matrix of integer epochs: short codes use the whole range of 8 bits (a copy, made when asked)."""
        data = self.data.stretched()
        if data is not self.data:
            advise_huge_pages(data.rows)
        return data

    @property
    def said_of_data(self) -> str:
        """What the message of a result says about the data: that those of an LPArray may have been rounded."""
        if not isinstance(self.X, LPArray):
            return ""
        return f"; of the problem on X as stored in {self.X.format!r} (what rounding did: problem.quantization_error)"

    @property
    def data_nbytes(self) -> int:
        """Bytes of the data matrix the epochs run on."""
        return self.data.nbytes

    def _checked(self, w: ArrayLike) -> Vector:
        w = np.ascontiguousarray(w, dtype=np.float64)
        if w.shape != self.shape:
            raise ValueError(f"FiniteSum: w has shape {w.shape}; expected {self.shape}")
        return w


def _weights(given: ArrayLike | None, n: int) -> Vector | None:
    """Weights of mean 1; None where all are equal."""
    if given is None:
        return None
    weights = np.asarray(given, dtype=np.float64)
    if weights.shape != (n,):
        raise ValueError(f"FiniteSum: sample_weight has shape {weights.shape}; expected ({n},)")
    finite("FiniteSum", "sample_weight", weights)
    if (weights < 0).any():
        first = int(np.argmax(weights < 0))
        raise ValueError(f"FiniteSum: sample_weight[{first}] = {weights[first]:g}; weights must not be negative")
    if not weights.any():
        raise ValueError("FiniteSum: all sample weights are zero; at least one must be positive")
    return None if (weights == weights[0]).all() else weights * (n / weights.sum())
