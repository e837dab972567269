"""What is minimized: f(w) = (1/n) sum_i f_i(w)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lpnum import LPArray

from ._checks import finite, integer, real, vector
from ._core.epochs import row_products, weighted_row_sum
from .losses import get_loss

Vector = NDArray[np.float64]

# 256 components, two power iterations each: exact for linear models, whose Hessians f_i'' have rank one.
PROBED_COMPONENTS = 256


class Evaluation(NamedTuple):
    """One pass over the data at w. `margins` and `slopes` (of shape (n,)) exist for linear models only."""

    objective: float
    gradient: Vector
    margins: Vector | None = None
    slopes: Vector | None = None

    @property
    def grad_norm(self) -> float:
        """Euclidean norm of the gradient."""
        return float(np.linalg.norm(self.gradient))


class KernelData(NamedTuple):
    """The data matrix as the compiled epochs take it: value = step * rows."""

    rows: NDArray[Any]
    step: float

    @property
    def is_codes(self) -> bool:
        """Whether the rows are 8-bit codes, so that low-precision epochs can run on integers alone."""
        return self.rows.dtype.itemsize == 1


class FiniteSum:
    r"""Empirical risk of a linear model with an L2 penalty.

    .. math:: f(w) = \frac1n \sum_{i=1}^n \ell(x_i^T w, y_i) + \frac{\lambda}{2} \|w\|^2

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Floats, int8 or uint8 (taken as 8-bit codes of step 1), or an `lpnum.LPArray`. 8-bit data with one scale and no
        offset stay 8-bit: methods with low-precision iterates then run on integers. Other low-precision data are
        dequantized once.
    y : array of shape (n_samples,)
        Targets; for the logistic loss labels -1 and +1, or 0 and 1.
    loss : {"squared", "logistic"}
    l2 : float >= 0
        The factor lambda. The penalty belongs to every f_i, so each step sees it.

    Raises
    ------
    ValueError
        Empty data, wrong shapes, NaN or infinite values, labels of one class, unknown loss.

    Examples
    --------
    >>> import numpy as np
    >>> problem = FiniteSum(np.eye(2), [1.0, 3.0])
    >>> problem.objective([0.0, 0.0]), problem.gradient([0.0, 0.0])
    (2.5, array([-0.5, -1.5]))
    """

    def __init__(self, X: ArrayLike | LPArray, y: ArrayLike, loss: str = "squared", l2: float = 0.0) -> None:
        self.loss = get_loss(loss)
        self.l2 = real("FiniteSum", "l2", l2, zero=True)
        self.X: Any = X if isinstance(X, LPArray) else _as_matrix(X)
        shape = self.X.shape
        if len(shape) != 2:
            raise ValueError(f"FiniteSum: X has shape {shape}; expected (n_samples, n_features)")
        if 0 in shape:
            raise ValueError(f"FiniteSum: X is empty, shape {shape}; at least one sample and one feature are needed")
        self.n_samples, self.n_features = int(shape[0]), int(shape[1])
        if not isinstance(self.X, LPArray):
            finite("FiniteSum", "X", self.X)
        if np.shape(y) != (self.n_samples,):
            raise ValueError(
                f"FiniteSum: y has shape {np.shape(y)} for X of shape {shape}; expected ({self.n_samples},)"
                + ("; pass y.ravel()" if np.size(y) == self.n_samples else "")
            )
        self.y = self.loss.targets(vector("FiniteSum", "y", y, self.n_samples))

    def __repr__(self) -> str:
        shape = f"n_samples={self.n_samples}, n_features={self.n_features}"
        return f"FiniteSum({shape}, loss={self.loss.name!r}, l2={self.l2:g})"

    @cached_property
    def kernel_data(self) -> KernelData:
        """The data matrix for the kernels; 8-bit codes where the data allow it."""
        rows: Any = self.X
        step = 1.0
        if isinstance(rows, LPArray):
            if rows.codes.dtype.itemsize > 1 or np.ndim(rows.scale) or np.any(rows.offset):
                return KernelData(np.ascontiguousarray(rows.dequantize(), dtype=np.float64), 1.0)
            rows, step = rows.codes, float(rows.scale) * rows.format.unit
        rows = np.ascontiguousarray(rows)
        if rows.dtype.itemsize == 1:
            # The integer step multiplies codes by an 8-bit factor: with codes of 0 and 1 that product would reach
            # half a grid step only. The same values on a finer grid (codes times k, step / k) use the whole range.
            stretch = 127 // max(1, int(np.max(rows)), -int(np.min(rows)))
            if stretch > 1:
                return KernelData(rows * rows.dtype.type(stretch), step / stretch)
        return KernelData(rows, step)

    @property
    def data_nbytes(self) -> int:
        """Bytes of the data matrix the epochs run on."""
        return int(self.kernel_data.rows.nbytes)

    @cached_property
    def lipschitz(self) -> float:
        """L = max_i l''_max ``|x_i|^2`` + l2: a Lipschitz constant of every gradient of f_i."""
        rows, step = self.kernel_data
        largest = 0.0
        block = max(1, 1_000_000 // self.n_features)
        for start in range(0, self.n_samples, block):
            part = rows[start : start + block].astype(np.float64)
            largest = max(largest, float(np.einsum("ij,ij->i", part, part).max()))
        return self.loss.curvature * largest * step * step + self.l2

    def evaluate(self, w: ArrayLike) -> Evaluation:
        """Objective, gradient, margins x_i.w and slopes l'(x_i.w, y_i) in one pass, all in float64."""
        w = self._point(w)
        rows, step = self.kernel_data
        margins = row_products(rows, step, w)
        slopes = self.loss.derivative(margins, self.y)
        gradient = weighted_row_sum(rows, step, slopes) / self.n_samples + self.l2 * w
        objective = float(np.mean(self.loss.value(margins, self.y))) + 0.5 * self.l2 * float(w @ w)
        return Evaluation(objective, gradient, margins, slopes)

    def objective(self, w: ArrayLike) -> float:
        """f(w)."""
        w = self._point(w)
        margins = row_products(*self.kernel_data, w)
        return float(np.mean(self.loss.value(margins, self.y))) + 0.5 * self.l2 * float(w @ w)

    def gradient(self, w: ArrayLike) -> Vector:
        """Gradient of f at w, of shape (n_features,)."""
        return self.evaluate(w).gradient

    def sample_gradient(self, i: int, w: Vector) -> Vector:
        """Gradient of f_i at w: l'(x_i.w, y_i) x_i + l2 w."""
        rows, step = self.kernel_data
        x = step * rows[i].astype(np.float64)
        slope = self.loss.derivative(np.asarray(x @ w), np.asarray(self.y[i]))
        return slope * x + self.l2 * w

    def _point(self, w: ArrayLike) -> Vector:
        w = np.ascontiguousarray(w, dtype=np.float64)
        if w.shape != (self.n_features,):
            raise ValueError(f"FiniteSum: w has shape {w.shape}; expected ({self.n_features},)")
        return w


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
        return Evaluation(self.objective(w), self.gradient(w))

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


def _as_matrix(X: Any) -> NDArray[Any]:
    if hasattr(X, "toarray") and not isinstance(X, np.ndarray):
        raise TypeError(
            f"FiniteSum: X is a sparse {type(X).__name__}; pass X.toarray() (sparse data are not supported)"
        )
    array = np.asarray(X)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"FiniteSum: X has dtype {array.dtype}; expected floats, integers, or an lpnum.LPArray")
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype in (np.int8, np.uint8, np.float32, np.float64):
        return array
    return array.astype(np.float64)
