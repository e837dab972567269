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


def is_dask(X: Any) -> bool:
    """Whether X is a collection of Dask."""
    return type(X).__module__.partition(".")[0] in ("dask", "dask_expr")


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
    if is_dask(X):
        from ._chunked_features import prepare_chunks

        return prepare_chunks(X, data_format, center=center, weights=weights, ridge=ridge)
    if isinstance(X, LPArray) or X.dtype.kind != "f":
        return Prepared(X, None)
    fmt = None if data_format is None else fixed_format(data_format)
    if is_sparse(X):
        X, center = canonical(X), False
    found = scaling(statistics(X, weights, center, fmt), X.dtype, center, ridge, fmt, is_sparse(X))
    return Prepared(scaled(X, found), found.shift)


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


class Statistics(NamedTuple):
    """What the scaling of the columns depends on, of some of the rows.

    weight : sum of the sample weights
    mean : weighted mean of every column; 0 where it is not asked for
    square : weighted mean square deviation from that; None where it is not asked for
    low, high : least and largest value (sparse: largest magnitude alone); None where they are not asked for
    """

    weight: float
    mean: Vector
    square: Vector | None
    low: Vector | None
    high: Vector | None


class Scaling(NamedTuple):
    """How rows are stored: as ``(x - shift) / spread``, in fixed point if there is a format."""

    shift: Vector | None
    spread: Vector
    fmt: FixedFormat | None


def statistics(X: Any, weights: Vector | None, center: bool, fmt: FixedFormat | None) -> Statistics:
    """Of these rows: for floats the moments, for fixed point the range, and the mean where codes count from it."""
    n, d = X.shape
    weight, zeros = float(n) if weights is None else float(weights.sum()), np.zeros(d)
    if is_sparse(X):
        return _statistics_of_csr(X, weights, weight, fmt)
    with np.errstate(over="ignore"):  # `_spread` speaks about it
        if fmt is None:
            mean, square = _moments(X, weights) if center else (zeros, _squares(X, weights))
            return Statistics(weight, mean, square, None, None)
        low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
        mean = _moments(X, weights)[0] if center and fmt.signed else zeros
        return Statistics(weight, mean, None, low, high)


def _statistics_of_csr(X: Any, weights: Vector | None, weight: float, fmt: FixedFormat | None) -> Statistics:
    d = X.shape[1]
    if fmt is not None:
        largest = np.zeros(d)
        np.maximum.at(largest, X.indices, np.abs(X.data))
        return Statistics(weight, np.zeros(d), None, None, largest)
    with np.errstate(over="ignore"):
        squares = np.square(X.data, dtype=np.float64)
    if weights is not None:
        squares *= np.repeat(weights, np.diff(X.indptr))
    return Statistics(weight, np.zeros(d), np.bincount(X.indices, squares, minlength=d) / weight, None, None)


def scaling(
    found: Statistics, dtype: Any, center: bool, ridge: float, fmt: FixedFormat | None, sparse: bool
) -> Scaling:  # fmt: skip
    """How rows of these statistics are stored: see `prepare`."""
    if fmt is None:
        assert found.square is not None
        return Scaling(found.mean if center else None, _spread(found.square, ridge), None)
    high = found.high
    assert high is not None
    if sparse:
        largest = np.maximum(high, SMALLEST_RANGE * np.sqrt(ridge))
        return Scaling(None, np.where(largest > 0, largest, 1.0) / (fmt.code_max * fmt.unit), fmt)
    low = found.low
    assert low is not None
    if not fmt.signed and not center and low.min() < 0:
        raise ValueError(f"data_format = {fmt!r} holds no negative values; use a signed format or fit_intercept=True")
    # Signed codes count from the mean, others from the minimum.
    shift = np.zeros_like(low) if not center else found.mean if fmt.signed else low
    reach = np.maximum(np.maximum(shift - low, high - shift), SMALLEST_RANGE * np.sqrt(ridge))
    reach[reach <= 4 * np.finfo(dtype).eps * np.abs(shift)] = 1.0  # nothing but the rounding of a constant
    return Scaling(shift if center else None, reach / (fmt.code_max * fmt.unit), fmt)


def scaled(X: Any, how: Scaling) -> DataMatrix | LPArray:
    """The rows as they are stored, a copy."""
    if is_sparse(X):
        return _scaled_csr(X, how)
    shift = 0.0 if how.shift is None else how.shift
    if how.fmt is None:
        rows = np.empty_like(X, order="C", subok=False)
        for part in _blocks(X):
            rows[part] = (X[part] - shift) / how.spread
        return DataMatrix(rows, 1.0, 1.0 / how.spread)
    codes = np.empty(X.shape, how.fmt.storage)
    for part in _blocks(X):
        codes[part] = lpnum.encode((X[part] - shift) / how.spread, how.fmt)
    return LPArray(codes, how.fmt, how.spread[None])


def canonical(X: Any) -> Any:
    """X in compressed rows, each element stored at most once."""
    X = X.tocsr()
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def _scaled_csr(X: Any, how: Scaling) -> DataMatrix:
    """Zeros stay zeros."""
    indices, indptr = X.indices.astype(np.int32, copy=False), X.indptr.astype(np.int64, copy=False)
    if how.fmt is None:
        rows, step = (X.data / how.spread[indices]).astype(X.dtype, copy=False), 1.0
    else:
        rows, step = lpnum.encode(X.data / how.spread[indices], how.fmt), how.fmt.unit
    return DataMatrix(rows, step, 1.0 / how.spread, n_features=X.shape[1], indices=indices, indptr=indptr)


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
