"""Data of the estimators on their way to `FiniteSum`, and products of data with coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lpnum
from lpnum import LPArray
from lpnum.formats import FixedFormat

from .data import DataMatrix

Vector = NDArray[np.float64]

# Element types that are stored as they are; everything else becomes float64.
NATIVE = (np.float64, np.float32, np.int8, np.uint8, np.int16)

# Values converted at a time: the temporary copies stay in cache.
BLOCK = 1 << 18


class Prepared(NamedTuple):
    """What `FiniteSum` takes in place of X: the values are x - shift."""

    data: Any
    shift: Vector | None

    def pack(self, coef: Vector, intercept: Vector | None) -> Vector:
        """The point of `FiniteSum` for these coefficients, of shapes (..., d) and (...); None: without intercept."""
        if intercept is None:
            return coef
        if self.shift is not None:
            intercept = intercept + coef @ self.shift
        return np.concatenate([coef, np.asarray(intercept)[..., None]], axis=-1)

    def unpack(self, x: Vector, intercept: bool) -> tuple[Vector, Vector]:
        """Coefficients and intercepts of a point; zeros where there is no intercept."""
        if not intercept:
            return x, np.zeros(x.shape[:-1])
        coef, constant = x[..., :-1], x[..., -1]
        return coef, constant if self.shift is None else constant - coef @ self.shift


def is_sparse(X: Any) -> bool:
    """Whether X is a matrix or an array of scipy.sparse."""
    return hasattr(X, "tocsr")


def prepare(X: Any, data_format: Any, *, center: bool, weights: Vector | None, ridge: float) -> Prepared:
    r"""Bring floating-point features to one size, which changes the steps and not the minimum.

    With the unknowns v_j = s_j w_j in place of w_j the curvature of the objective along every v_j is about the same for

    .. math:: s_j^2 = \mathrm{E}\,(x_j - c_j)^2 + \lambda / \kappa

    (kappa bounds the second derivative of the loss, lambda is the L2 penalty), and with an intercept the center c may
    be the mean, because the intercept takes up the difference.

    Parameters
    ----------
    X : ndarray, LPArray or CSR matrix of shape (n_samples, n_features)
        Integers and LPArrays stay as they are.
    data_format : lpnum format or None
        How floating-point data are stored, with one scale per column; None: in their own type.
    center : bool
        Whether the model has an intercept. Sparse data are never centered.
    weights : (n_samples,) array or None
        Sample weights, for the averages.
    ridge : float
        lambda / kappa.
    """
    if isinstance(X, LPArray) or X.dtype.kind != "f":
        return Prepared(X, None)
    fmt = None if data_format is None else fixed_format(data_format)
    if is_sparse(X):
        return Prepared(_prepared_csr(X, fmt, weights, ridge), None)
    if fmt is not None:
        return _quantized(X, fmt, center, weights, ridge)
    with np.errstate(over="ignore"):  # `_spread` speaks about it
        mean, square = _moments(X, weights) if center else (np.zeros(X.shape[1]), _squares(X, weights))
    spread = _spread(square, ridge)
    rows = np.empty_like(X, order="C", subok=False)
    for part in _blocks(X):
        rows[part] = (X[part] - mean) / spread
    return Prepared(DataMatrix(rows, 1.0, 1.0 / spread), mean if center else None)


def fixed_format(data_format: Any) -> FixedFormat:
    """The format that data are to be stored in; codes of the other kinds are no integers."""
    fmt = lpnum.format(data_format)
    if not isinstance(fmt, FixedFormat):
        raise ValueError(
            f"data_format = {fmt!r}; expected a fixed-point format such as lpnum.fixed8, or None for floating point. "
            "Data in other formats can be given as LPArrays"
        )
    return fmt


# Columns are quantized at least this coarsely, in units of the size where the penalty outweighs the data: a finer grid
# would tell nothing, and its unit would make the penalty steep.
SMALLEST_RANGE = 4.0


def _quantized(X: NDArray[Any], fmt: FixedFormat, center: bool, weights: Vector | None, ridge: float) -> Prepared:
    """X in fixed point with one scale per column; signed codes count from the mean, others from the minimum."""
    low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    if not fmt.signed and not center and low.min() < 0:
        raise ValueError(f"data_format = {fmt!r} holds no negative values; use a signed format or fit_intercept=True")
    shift = np.zeros_like(low)
    if center:
        shift = _moments(X, weights)[0] if fmt.signed else low
    reach = np.maximum(np.maximum(shift - low, high - shift), SMALLEST_RANGE * np.sqrt(ridge))
    reach[reach <= 4 * np.finfo(X.dtype).eps * np.abs(shift)] = 1.0  # nothing but the rounding of a constant
    scale = reach / (fmt.code_max * fmt.unit)
    codes = np.empty(X.shape, fmt.storage)
    for part in _blocks(X):
        codes[part] = lpnum.encode((X[part] - shift) / scale, fmt)
    return Prepared(LPArray(codes, fmt, scale[None]), shift if center else None)


def _blocks(X: Any) -> Iterator[slice]:
    n, d = X.shape
    step = max(1, BLOCK // d)
    return (slice(start, start + step) for start in range(0, n, step))


def _moments(X: NDArray[Any], weights: Vector | None) -> tuple[Vector, Vector]:
    """Weighted mean and mean square deviation of every column, in float64."""
    total = float(len(X)) if weights is None else float(weights.sum())
    mean = np.zeros(X.shape[1])
    for part in _blocks(X):
        mean += _weighted_sum(X[part].astype(np.float64), weights, part)
    mean /= total
    square = np.zeros(X.shape[1])
    for part in _blocks(X):
        square += _weighted_sum((X[part] - mean) ** 2, weights, part)
    # A column is constant if it deviates by no more than the rounding of its mean.
    square[square <= total * (4 * np.finfo(X.dtype).eps * mean) ** 2] = 0.0
    return mean, square / total


def _squares(X: NDArray[Any], weights: Vector | None) -> Vector:
    """Weighted mean square of every column, in float64."""
    total = float(len(X)) if weights is None else float(weights.sum())
    square = np.zeros(X.shape[1])
    for part in _blocks(X):
        square += _weighted_sum(np.square(X[part], dtype=np.float64), weights, part)
    return square / total


def _weighted_sum(values: Vector, weights: Vector | None, part: slice) -> Vector:
    return values.sum(axis=0) if weights is None else weights[part] @ values


def _spread(square: Vector, ridge: float) -> Vector:
    """The scale of every column; a column of nothing but its center gets 1."""
    spread = np.sqrt(square + ridge)
    if not np.isfinite(spread).all():
        j = int(np.flatnonzero(~np.isfinite(spread))[0])
        raise ValueError(f"column {j} of X is so large that its square overflows; scale the data")
    return np.where(spread > 0, spread, 1.0)


def _prepared_csr(X: Any, fmt: FixedFormat | None, weights: Vector | None, ridge: float) -> DataMatrix:
    """A CSR matrix with one scale per column; zeros stay zeros."""
    n, d = X.shape
    X = X.tocsr()
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    indices, indptr = X.indices.astype(np.int32, copy=False), X.indptr.astype(np.int64, copy=False)
    if fmt is None:
        with np.errstate(over="ignore"):
            squares = np.square(X.data, dtype=np.float64)
        if weights is not None:
            squares *= np.repeat(weights, np.diff(indptr))
        total = float(n) if weights is None else float(weights.sum())
        spread = _spread(np.bincount(indices, squares, minlength=d) / total, ridge)
        rows, step = (X.data / spread[indices]).astype(X.dtype, copy=False), 1.0
    else:
        largest = np.zeros(d)
        np.maximum.at(largest, indices, np.abs(X.data))
        largest = np.maximum(largest, SMALLEST_RANGE * np.sqrt(ridge))
        spread = np.where(largest > 0, largest, 1.0) / (fmt.code_max * fmt.unit)
        rows, step = lpnum.encode(X.data / spread[indices], fmt), fmt.unit
    return DataMatrix(rows, step, 1.0 / spread, n_features=d, indices=indices, indptr=indptr)


def products(X: Any, coef: Vector) -> Vector:
    """``X @ coef.T`` in float64; low-precision data are multiplied as codes, never dequantized.

    >>> products(np.array([[1, 2], [3, 4]], np.uint8), np.array([[0.5, 0.25]]))
    array([[1. ],
           [2.5]])
    """
    if is_sparse(X):
        return np.asarray(X @ coef.T, dtype=np.float64)
    if not isinstance(X, LPArray):
        if X.dtype.kind != "f":
            X = lpnum.from_codes(X, lpnum.fixed(8 * X.dtype.itemsize, signed=X.dtype.kind == "i"))
        elif X.dtype != np.float64:
            out = np.empty((len(X), len(coef)))
            for part in _blocks(X):
                np.matmul(X[part].astype(np.float64), coef.T, out=out[part])
            return out
        else:
            return X @ coef.T
    return np.asarray(lpnum.linalg.matmul(X, coef.T, dtype=np.float64))
