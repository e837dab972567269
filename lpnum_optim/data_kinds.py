"""From what a user has (arrays, LPArrays, sparse matrices) to the `DataMatrix` of the kernels.

=================================== ================================================ ==========================
X                                   rows of the kernels                              extra memory
=================================== ================================================ ==========================
int8, uint8, int16, float32/64      as they are                                      none (C-contiguous)
bool                                uint8                                            none
other integers, float16             float64, float16: float32                        a copy
LPArray of 8 or 16 bits, fixed      codes; one scale: `step`; per column: `columns`  none
LPArray of 4 bits, fixed            codes packed two to a byte                       half a byte an element
LPArray of a float format           float32 (exact), scale as above                  4 bytes an element
LPArray with offsets of columns     as above with intercept, else float64            none, else 8 bytes an element
LPArray on any other grid           float64                                          8 bytes an element
CSR of such values, `SparseCodes`   CSR                                              none
=================================== ================================================ ==========================
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lpnum
from lpnum import LPArray
from lpnum.formats import FixedFormat

from .data import DataMatrix

WHERE = "FiniteSum"
KEPT = ("int8", "uint8", "int16", "float32", "float64")


class SparseCodes(NamedTuple):
    """A sparse matrix of low-precision codes: value = scale * code.

    Attributes
    ----------
    codes : scipy.sparse CSR matrix or array of int8, uint8 or int16
    scale : float or array of shape (d,)
        One for all, or one per column.

    Examples
    --------
    >>> from scipy import sparse
    >>> from lpnum_optim import quantize_sparse
    >>> X = quantize_sparse(sparse.csr_array([[0.0, 2.0], [1.0, 0.0]]), "fixed8")
    >>> X.codes.data.tolist(), round(float(X.scale), 6)
    ([127, 64], 0.015748)
    """

    codes: Any
    scale: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and features."""
        n, d = self.codes.shape
        return int(n), int(d)

    @property
    def nbytes(self) -> int:
        """Bytes of values and indices."""
        return int(self.codes.data.nbytes + self.codes.indices.nbytes + self.codes.indptr.nbytes)


def quantize_sparse(X: Any, dtype: Any = "fixed8", axis: int | None = None) -> SparseCodes:
    """Round the stored values of a sparse matrix to low precision; zeros stay zero.

    Parameters
    ----------
    X : scipy.sparse matrix or array
    dtype : format or its name
        Fixed point of at most 16 bits, such as ``lpnum.fixed8`` or ``lpnum.ufixed8``.
    axis : {None, 1}
        1: one scale per column, the largest magnitude there over the largest code.

    Returns
    -------
    SparseCodes
    """
    fmt = lpnum.format(dtype)
    if not isinstance(fmt, FixedFormat) or fmt.bits > 16:
        raise ValueError(f"quantize_sparse: {fmt!r} is not fixed point of at most 16 bits, such as lpnum.fixed8")
    if axis not in (None, 1):
        raise ValueError(f"quantize_sparse: axis = {axis!r}; expected None (one scale) or 1 (one scale per column)")
    X = X.tocsr()
    values = np.asarray(X.data, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("quantize_sparse: X holds NaN or infinite values")
    top = fmt.code_max * fmt.unit
    scale: Any
    if axis is None:
        scale = float(np.max(np.abs(values), initial=0.0)) / top or 1.0
        codes = lpnum.encode(values / scale, fmt)
    else:
        largest = np.zeros(X.shape[1])
        np.maximum.at(largest, X.indices, np.abs(values))
        scale = np.where(largest > 0, largest, top) / top
        codes = lpnum.encode(values / scale[X.indices], fmt)
    return SparseCodes(type(X)((codes, X.indices, X.indptr), shape=X.shape), scale * fmt.unit)


def as_data_matrix(X: Any, intercept: bool) -> DataMatrix:
    """X, checked, in the form that the kernels read."""
    if isinstance(X, DataMatrix):
        return X
    if isinstance(X, SparseCodes):
        return _with_columns(_from_sparse(X.codes), np.asarray(X.scale, dtype=np.float64))
    if isinstance(X, LPArray):
        _check_shape(X.shape)
        return _from_lparray(X, intercept)
    if hasattr(X, "tocsr"):
        return _from_sparse(X)
    rows = _numbers(np.asarray(X))
    _check_shape(rows.shape)
    check_finite(rows)
    return DataMatrix(np.ascontiguousarray(rows))


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise ValueError(f"{WHERE}: X has shape {shape}; expected (n_samples, n_features)")
    if 0 in shape:
        raise ValueError(f"{WHERE}: X is empty, shape {shape}; at least one sample and one feature are needed")


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    """The array in a type that the kernels read."""
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{WHERE}: X has dtype {array.dtype}; expected floats, integers, or an lpnum.LPArray")
    if array.dtype == bool:
        return array.view(np.uint8) if array.flags.c_contiguous else array.astype(np.uint8)
    if array.dtype.name in KEPT and array.dtype.isnative:
        return array
    return array.astype(np.float32 if array.dtype.name in ("float16", "float32", "uint16") else np.float64)


def check_finite(rows: NDArray[Any]) -> None:
    """Refuse NaN and infinity, a few rows at a time: a mask of the whole matrix would take its share of memory."""
    if rows.dtype.kind != "f":
        return
    step, bad = max(1, (1 << 20) // max(1, rows[:1].size)), 0
    first: tuple[int, ...] = ()
    for start in range(0, len(rows), step):
        mask = ~np.isfinite(rows[start : start + step])
        if mask.any():
            where = np.argwhere(mask)[0]
            first = first if bad else (start + int(where[0]), *(int(k) for k in where[1:]))
            bad += int(np.count_nonzero(mask))
    if bad:
        raise ValueError(
            f"{WHERE}: X holds {bad} NaN or infinite values, the first at index {first}; "
            "remove those rows or replace the values (for example with np.nan_to_num)"
        )


def _with_columns(
    data: DataMatrix, scales: NDArray[np.float64], offset: NDArray[np.float64] | None = None
) -> DataMatrix:
    """The matrix whose column j is multiplied by scales[j] (or all by the one number).

    `columns` is 1 for the widest column and larger for the others. A column of zeros has a scale that means nothing,
    and is treated like the widest.
    """
    d = data.shape[1]
    if scales.size == 1:
        scales = scales.reshape(())
    elif scales.shape != (d,):
        raise ValueError(f"{WHERE}: {scales.size} scales for {d} columns; expected one, or one per column")
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise ValueError(f"{WHERE}: the scales of X must be positive and finite")
    widest = float(scales.max())
    columns = None
    if scales.ndim and (scales != widest).any():
        columns = widest / scales
        columns[_zero_columns(data)] = 1.0
    return data._replace(step=data.step * widest, columns=columns, offset=offset)


def _zero_columns(data: DataMatrix) -> NDArray[np.intp]:
    """Numbers of the dense columns without any value but 0: those of the first rows that have none below, either."""
    if data.is_sparse or data.packed:
        return np.zeros(0, np.intp)
    found = np.flatnonzero(~data.rows[:256].any(axis=0))
    return np.array([j for j in found if not data.rows[:, j].any()], np.intp)


def _from_lparray(X: LPArray, intercept: bool) -> DataMatrix:
    scale, offset = np.asarray(X.scale, dtype=np.float64), np.asarray(X.offset, dtype=np.float64)
    by_column = all(meta.ndim == 0 or meta.shape[0] == 1 for meta in (scale, offset))
    if not by_column or (offset.any() and not intercept):
        rows = np.ascontiguousarray(X.dequantize(), dtype=np.float64)
        check_finite(rows)
        return DataMatrix(rows)
    fmt = X.format
    d = X.shape[1]
    shift = np.broadcast_to(offset.reshape(-1), (d,)).copy() if offset.any() else None
    if not isinstance(fmt, FixedFormat):
        exact = lpnum.decode(np.ascontiguousarray(X.codes), fmt, dtype=np.float32)
        check_finite(exact)
        return _with_columns(DataMatrix(exact), scale.reshape(-1), shift)
    codes = np.ascontiguousarray(X.codes)
    if codes.dtype == np.uint16:  # exact in float32
        data = DataMatrix(codes.astype(np.float32), fmt.unit)
    elif fmt.bits == 4:
        packed = lpnum.pack(codes, lpnum.fixed4 if fmt.signed else lpnum.ufixed4)
        data = DataMatrix(packed, fmt.unit, packed="int4" if fmt.signed else "uint4", n_features=d)
    else:
        data = DataMatrix(codes, fmt.unit)
    return _with_columns(data, scale.reshape(-1), shift)


def _from_sparse(X: Any) -> DataMatrix:
    X = X.tocsr()
    _check_shape(X.shape)
    n, d = X.shape
    start, indices = np.asarray(X.indptr), np.asarray(X.indices)
    stored = int(start[-1]) if len(start) == n + 1 else -1
    if stored < 0 or start[0] != 0 or (np.diff(start) < 0).any() or stored > min(len(indices), len(X.data)):
        raise ValueError(
            f"{WHERE}: the row pointers of the CSR matrix X are damaged: {n + 1} numbers that rise from 0 to at most "
            f"{len(X.data)} are expected"
        )
    indices = indices[:stored]
    if stored and not (int(indices.min()) >= 0 and int(indices.max()) < d):
        raise ValueError(
            f"{WHERE}: column numbers of the CSR matrix X reach from {indices.min()} to {indices.max()}; allowed are "
            f"0..{d - 1} for shape {(n, d)}"
        )
    rises = np.diff(indices.astype(np.int64, copy=False)) > 0
    inside = np.ones(max(0, stored - 1), bool)
    ends = start[1:-1]
    inside[ends[(ends > 0) & (ends < stored)] - 1] = False  # between two rows the column numbers may fall
    if not rises[inside].all():
        raise ValueError(
            f"{WHERE}: the column numbers of the CSR matrix X do not rise within every row (unsorted or duplicate "
            "entries); call X.sum_duplicates() first, which sorts them too"
        )
    values = _numbers(np.asarray(X.data)[:stored])
    check_finite(values.reshape(-1, 1))
    return DataMatrix(
        np.ascontiguousarray(values), n_features=d,
        indices=np.ascontiguousarray(indices, dtype=np.int32), indptr=np.ascontiguousarray(start, dtype=np.int64),
    )  # fmt: skip
