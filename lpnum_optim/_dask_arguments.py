"""Dask arrays as arguments: whether they are chunks of rows, and what belongs to which chunk."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._checks import optional_import


def dask_package() -> Any:
    """Dask, or an error that says how to get it."""
    return optional_import("dask", "interop", "FiniteSum of a Dask array")


def row_chunks(X: Any) -> tuple[int, int]:
    """The shape of X, if it consists of chunks of whole rows of known sizes."""
    array = optional_import("dask.array", "interop", "FiniteSum of a Dask array")
    if not isinstance(X, array.Array):
        advice = {
            "DataFrame": "X.to_dask_array(lengths=True)",
            "Delayed": "dask.array.from_delayed(X, shape=..., dtype=...)",
        }
        kind = type(X).__name__.removesuffix("Leaf").removesuffix("Attr")
        raise TypeError(f"FiniteSum: X is a Dask {kind}; pass {advice.get(kind, 'a dask.array.Array of row chunks')}")
    if X.ndim != 2:
        raise ValueError(f"FiniteSum: X has shape {X.shape}; expected (n_samples, n_features)")
    if np.isnan(X.shape[1]) or X.numblocks[1] != 1:
        raise ValueError(
            f"FiniteSum: X has {X.numblocks[1]} chunks along the columns, and a step needs whole rows; "
            "pass X.rechunk({1: -1}) (with smaller chunks of rows where memory is short: X.rechunk({0: 10_000, 1: -1}))"
        )
    if np.isnan(X.shape[0]):
        raise ValueError(
            "FiniteSum: the sizes of the chunks of X are unknown; X.compute_chunk_sizes() finds them (one pass over X)"
        )
    if 0 in X.shape:
        raise ValueError(f"FiniteSum: X is empty, shape {X.shape}; at least one sample and one feature are needed")
    return int(X.shape[0]), int(X.shape[1])


def beside(X: Any, y: Any, what: str) -> list[Any]:
    """The parts of y that belong to the chunks of X."""
    array = optional_import("dask.array", "interop", "FiniteSum of a Dask array")
    sizes = X.chunks[0]
    if y is None:
        return [None] * len(sizes)
    if isinstance(y, array.Array):
        if any(np.isnan(size) for size in y.shape):
            raise ValueError(
                f"FiniteSum: the sizes of the chunks of {what} are unknown; {what}.compute_chunk_sizes() finds them"
            )
    elif hasattr(y, "__dask_graph__"):
        raise TypeError(
            f"FiniteSum: {what} is a Dask {type(y).__name__}; pass a dask.array.Array or an array of known length "
            f"(of a Dask Series {what}.to_dask_array(lengths=True))"
        )
    else:
        y = np.asarray(y)
    if y.shape != (X.shape[0],):
        raise ValueError(f"FiniteSum: {what} has shape {y.shape} for X of shape {X.shape}; expected ({X.shape[0]},)")
    if isinstance(y, array.Array):
        return list(y.rechunk((sizes,)).to_delayed().ravel())
    return [y[stop - size : stop] for size, stop in zip(sizes, np.cumsum(sizes).tolist(), strict=True)]
