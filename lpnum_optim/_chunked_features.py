"""Data of the estimators as chunks of a Dask array: scaled features, and what a fitted model says of every row.

The client sees statistics of the columns of every chunk, and no rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpnum import LPArray
from lpnum.formats import FixedFormat

from ._checks import finite
from ._chunks import Place, naming
from ._dask_arguments import beside, dask_package, row_chunks
from ._features import (
    NATIVE,
    Prepared,
    Scaling,
    Statistics,
    canonical,
    fixed_format,
    is_sparse,
    products,
    scaled,
    scaling,
    statistics,
)  # fmt: skip

Vector = NDArray[np.float64]


def prepare_chunks(X: Any, data_format: Any, *, center: bool, weights: Vector | None, ridge: float) -> Prepared:
    """`_features.prepare` for a Dask array: one pass for the statistics; chunks are scaled when they are computed."""
    X = as_native(X)
    if isinstance(X._meta, LPArray) or X.dtype.kind != "f":
        return Prepared(X, None)
    fmt = None if data_format is None else fixed_format(data_format)
    sparse = is_sparse(X._meta)
    center = center and not sparse
    dask = dask_package()
    look, tasks, start = dask.delayed(_statistics, pure=False), [], 0
    kind = type(X._meta)
    for k, (size, block, part) in enumerate(
        zip(X.chunks[0], X.to_delayed().ravel(), beside(X, weights, "sample_weight"), strict=True)
    ):
        if size and (part is None or part.any()):  # rows without weight say nothing of the others
            tasks.append(look(Place(k, start, start + size), block, part, center, fmt, kind))
        start += size
    found = scaling(_combined(dask.compute(*tasks), X.dtype), X.dtype, center, ridge, fmt, sparse)
    return Prepared(X.map_blocks(_scaled, found, dtype=X.dtype, meta=X._meta), found.shift)


def as_native(X: Any) -> Any:
    """Types that are not stored as they are become float64, truth values bytes."""
    if isinstance(X._meta, LPArray) or X.dtype in NATIVE:
        return X
    return X.astype(np.uint8 if X.dtype == bool else np.float64)


def _statistics(
    place: Place, X: Any, weights: Vector | None, center: bool, fmt: FixedFormat | None, kind: type[Any]
) -> Statistics:  # fmt: skip
    with naming(place, X):
        if isinstance(X, LPArray) or is_sparse(X) != hasattr(kind, "tocsr"):
            raise TypeError(
                f"X holds a {type(X).__name__}, but its Dask array told of {kind.__name__}; pass meta= to map_blocks "
                "or from_delayed"
            )
        X = canonical(X) if is_sparse(X) else X
        finite("FiniteSum", "X.data" if is_sparse(X) else "X", X.data if is_sparse(X) else X)
    return statistics(X, weights, center, fmt)


def _combined(parts: tuple[Statistics, ...], dtype: Any) -> Statistics:
    """Of all rows, from those of parts: sums of squares about the common mean (Chan, Golub, LeVeque 1979)."""
    if len(parts) == 1:
        return parts[0]
    shares = np.array([part.weight for part in parts])
    shares /= shares.sum()
    mean = np.sum([share * part.mean for share, part in zip(shares, parts, strict=True)], axis=0)
    square = low = high = None
    if parts[0].square is not None:
        square = np.sum(
            [share * (part.square + (part.mean - mean) ** 2) for share, part in zip(shares, parts, strict=True)], axis=0
        )
        square[square <= (4 * np.finfo(dtype).eps * mean) ** 2] = 0.0  # a constant, as in one piece
    if parts[0].low is not None:
        low = np.min([np.asarray(part.low) for part in parts], axis=0)
    if parts[0].high is not None:
        high = np.max([np.asarray(part.high) for part in parts], axis=0)
    return Statistics(float(sum(part.weight for part in parts)), mean, square, low, high)


def _scaled(block: Any, how: Scaling) -> Any:
    return scaled(canonical(block) if is_sparse(block) else block, how)


# ---- a fitted model --------------------------------------------------------------------------------------------------


def check_chunks(X: Any) -> None:
    """Refuse Dask collections that are no chunks of whole rows."""
    row_chunks(X)


def of_margins(
    X: Any, coef: Vector, intercept: Any, function: Callable[[Vector], Any], columns: int | None, dtype: Any
) -> Any:
    """``function(X @ coef.T + intercept)``, a Dask array of (n, columns), or (n,) for None; a chunk at a time."""
    apply = partial(_of_block, coef=coef, intercept=intercept, function=function)
    shape: tuple[int, ...] = (0,) if columns is None else (0, columns)
    where: dict[str, Any] = {"drop_axis": 1} if columns is None else {"chunks": (X.chunks[0], (columns,))}
    return as_native(X).map_blocks(apply, dtype=dtype, meta=np.empty(shape, dtype), **where)


def _of_block(block: Any, *, coef: Vector, intercept: Any, function: Callable[[Vector], Any]) -> Any:
    return function(products(block, coef) + intercept)
