"""Squares of the rows of a `DataMatrix`, without the offsets: exact for codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpnum._core import products as kernels

from .data import DataMatrix

Vector = NDArray[np.float64]


def squared_norms(data: DataMatrix) -> Vector:
    """``|step * rows[i]|^2`` of every row."""
    out = np.empty(data.shape[0])
    for start, stop in data.blocks():
        rows = data.codes(start, stop)
        if data.is_sparse:
            out[start:stop] = rows.multiply(rows).sum(axis=1)
        elif rows.dtype.kind == "f":
            row_squares(rows, out[start:stop])
        else:
            sums = np.empty(len(rows), np.int64)
            kernels.dot_rows(rows, rows, sums)
            out[start:stop] = sums
    return out * (data.step * data.step)


def row_squares(rows: NDArray[Any], out: Vector) -> None:
    """Sums of squares of float rows in float64, a few rows at a time."""
    step = max(1, (1 << 17) // rows.shape[1])
    for start in range(0, len(rows), step):
        part = rows[start : start + step].astype(np.float64)
        np.einsum("ij,ij->i", part, part, out=out[start : start + step])
