"""The products of a pass over a `DataMatrix`, in terms of v = w / columns and without the offsets.

8-bit and 16-bit codes are multiplied as integers with the 8-bit digits of the float64 vector, at the speed of reading
the codes once; the others in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpnum import _products
from lpnum._core import products as kernels

from ._core.epochs import row_products, weighted_row_sum
from .data import DataMatrix

Vector = NDArray[np.float64]


def products(data: DataMatrix, start: int, stop: int, v: Vector) -> Vector:
    """``step * rows @ v.T`` for v of shape (C, d): (C, stop - start)."""
    rows = data.codes(start, stop)
    if data.is_sparse:
        return np.ascontiguousarray((rows @ v.T).T) * data.step
    out = np.empty((len(v), stop - start))
    for c, vector in enumerate(v):
        if rows.dtype.kind == "f":
            out[c] = row_products(rows, data.step, vector)
        else:
            integer_product(rows, vector, out[c])
    if rows.dtype.kind != "f":
        out *= data.step
    return out


def weighted_sums(data: DataMatrix, start: int, stop: int, p: Vector) -> Vector:
    """``step * p @ rows`` for p of shape (C, stop - start): (C, d)."""
    rows = data.codes(start, stop)
    if data.is_sparse:
        return np.asarray((rows.T @ p.T).T) * data.step
    out = np.empty((len(p), data.shape[1]))
    for c, weights in enumerate(p):
        if rows.dtype.kind == "f":
            out[c] = weighted_row_sum(rows, data.step, weights)
        else:
            integer_product(rows.T, weights, out[c])
    if rows.dtype.kind != "f":
        out *= data.step
    return out


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


# Bits below the leading one of the largest element that are kept: seven digits of 8 bits.
_DIGIT_BITS = 54


def integer_product(codes: NDArray[Any], v: Vector, out: Vector) -> None:
    """``out = codes @ v`` at the speed of reading the codes once.

    The vector is rounded to multiples of 2^-54 of its largest element (less than float64 rounds a sum of such
    elements), so that it takes seven planes of 8-bit digits; the integer products and sums with these are exact.
    """
    largest = float(np.max(np.abs(v)))
    if largest == 0.0 or not np.isfinite(largest):
        out.fill(0.0 if largest == 0.0 else np.nan)
        return
    exponent = int(np.frexp(largest)[1]) - _DIGIT_BITS
    whole = np.ldexp(np.rint(np.ldexp(v, -exponent)), exponent)
    if codes.shape[1] > kernels.MATVEC_LENGTH or kernels.matvec(
        codes, whole, out, _products._workspace(kernels.matvec_workspace(*codes.shape))
    ):
        out[:] = codes.astype(np.float64) @ v  # no 128-bit integers on this machine, or rows beyond any memory
