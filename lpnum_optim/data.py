"""The data matrix as the kernels see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lpnum import packing

Vector = NDArray[np.float64]

# Rows taken at once: the temporary arrays of a pass (margins, losses) stay small, calls stay few.
BLOCK_BYTES = 1 << 23

# Smaller arrays gain nothing: two huge pages of the usual size.
HUGE_PAGES_FROM = 1 << 22


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
        Sparse: the columns of the stored values, increasing within a row.
    indptr : (n + 1,) int64 array or None
        Sparse: row i has the stored values indptr[i] to indptr[i + 1] - 1.
    offset : (d,) float64 array or None
        Added to every row. The kernels do not see it: it belongs to the intercept (see `lpnum_optim.evaluation.Point`).

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
    offset: NDArray[np.float64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        n = len(self.rows) if self.indptr is None else len(self.indptr) - 1
        return n, int(self.rows.shape[1] if self.n_features is None else self.n_features)

    @property
    def kind(self) -> str:
        """int8, uint8, int16, float32, float64, int4 or uint4."""
        return self.packed or self.rows.dtype.name

    @property
    def is_sparse(self) -> bool:
        """Whether the rows are in CSR form."""
        return self.indptr is not None

    @property
    def is_codes(self) -> bool:
        """Whether the rows are dense integer codes of at most 8 bits."""
        return self.rows.dtype.itemsize == 1 and not self.is_sparse

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix."""
        return sum(int(a.nbytes) for a in (self.rows, self.indices, self.indptr) if a is not None)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """Ranges of rows of about `BLOCK_BYTES`."""
        n = self.shape[0]
        stop = n if stop is None else stop
        step = max(1, BLOCK_BYTES * n // max(1, self.nbytes))
        for first in range(start, stop, step):
            yield first, min(first + step, stop)

    def values(self, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """Rows as dense float64 values."""
        codes = self.codes(start, self.shape[0] if stop is None else stop)
        values = (codes.toarray() if self.is_sparse else codes).astype(np.float64) * self.step
        if self.columns is not None:
            values /= self.columns
        return values if self.offset is None else values + self.offset

    def row(self, i: int) -> Vector:
        """``step * rows[i]`` as dense float64."""
        codes = self.codes(i, i + 1)
        dense: Vector = (codes.toarray() if self.is_sparse else codes)[0].astype(np.float64) * self.step
        return dense

    def codes(self, start: int, stop: int) -> Any:
        """Rows as a matrix of numbers: a view, unpacked 4-bit codes, or a CSR matrix of float64."""
        if self.indptr is not None and self.indices is not None:
            from scipy import sparse

            first, last = self.indptr[start], self.indptr[stop]
            parts = (
                self.rows[first:last].astype(np.float64),
                self.indices[first:last],
                self.indptr[start : stop + 1] - first,
            )
            return sparse.csr_array(parts, shape=(stop - start, self.shape[1]))
        part = self.rows[start:stop]
        if self.packed:
            return packing.unpack(part, self.shape[1], "fixed4" if self.packed == "int4" else "ufixed4")
        return part

    def stretched(self) -> DataMatrix:
        """The same values with codes that use the whole range of 8 bits.

        An integer step multiplies the codes by an 8-bit factor: with codes of 0 and 1 that product would reach half a
        grid step only. The same values on a finer grid (codes times k, step / k) use the whole range. Only codes up to
        63 have a finer grid; then this is a copy.
        """
        if not self.is_codes or self.packed:
            return self
        stretch = 127 // max(1, int(np.max(self.rows)), -int(np.min(self.rows)))
        if stretch <= 1:
            return self
        return self._replace(rows=self.rows * self.rows.dtype.type(stretch), step=self.step / stretch)


def advise_huge_pages(array: NDArray[Any]) -> bool:
    """Ask the system to back a contiguous array by huge pages; does nothing where it has none.

    Rows are visited at random: with pages of 4 KiB every step waits for address translation. Best asked for before the
    array is filled.

    Returns
    -------
    bool
        Whether the system took the advice; small arrays are left alone.

    Examples
    --------
    >>> from lpnum_optim.data import advise_huge_pages
    >>> advise_huge_pages(np.zeros(100))
    False
    """
    from ._core import epochs  # which needs DataMatrix

    return array.nbytes >= HUGE_PAGES_FROM and epochs.advise_huge_pages(array)
