"""The data matrix as the kernels see it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class DataMatrix(NamedTuple):
    """A matrix of n samples and d features of value ``step * rows[i, j] / columns[j]``.

    Dense, dense with two 4-bit codes to a byte (`packed` is set), or sparse in compressed rows (`indptr` is set).

    Attributes
    ----------
    rows : array
        Dense: (n, d) of int8, uint8, int16, float32 or float64. Packed: (n, ceil(d / 2)) of uint8, in the order of
        :func:`lpnum.pack`. Sparse: the stored values, of shape (nnz,).
    step : float
    columns : (d,) float64 array or None
        One scale per column, a change of variables: with v = w / columns, x_i.w = step * rows_i.v. The kernels work on
        v; of all they do, only the L1 penalty needs the scales.
    packed : {None, "int4", "uint4"}
    n_features : int or None
        d, where the shape of `rows` does not tell it: packed and sparse matrices.
    indices : (nnz,) int32 array or None
        Sparse: the columns of the stored values.
    indptr : (n + 1,) int64 array or None
        Sparse: row i has the stored values indptr[i] to indptr[i + 1] - 1.

    Examples
    --------
    >>> from lpnum_optim.data import DataMatrix
    >>> DataMatrix(np.array([[0x21, 0x03]], np.uint8), packed="uint4", n_features=3).shape  # the row 1, 2, 3
    (1, 3)
    """

    rows: NDArray[Any]
    step: float = 1.0
    columns: NDArray[np.float64] | None = None
    packed: str | None = None
    n_features: int | None = None
    indices: NDArray[np.int32] | None = None
    indptr: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        n = len(self.rows) if self.indptr is None else len(self.indptr) - 1
        return n, int(self.rows.shape[1] if self.n_features is None else self.n_features)
