"""Products of matrices in block formats, on codes: the blocks of both run along the contracted axis.

``out[i, j] = factors * sum_t scale_a[i, t] scale_b[t, j] sum_(k in block t) a[i, k] b[k, j]``

========================================= ==================================================================
elements of both                          sum of a block, times the scales of the two blocks
========================================= ==================================================================
integers times a unit (mxint8, mxfp4,     in int32: exact, the product with the scales, too
nvfp4, mxfp6_e2m3, fixed point)
other 8-bit floats (mxfp8, mxfp6_e3m2)    in float32, of exact products
========================================= ==================================================================

The blocks are added in float64 in their order: of integer elements, a sum of ``n`` blocks takes ``n`` roundings to
float64, and is exact where the partial sums fit 53 bits. The other operand may be an LPArray of 8 bits with a scale
constant along the contracted axis. What is not of this kind is decoded. In memory, each element takes one byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from lpnum import _products, _threads
from lpnum._core import kernels
from lpnum.array import LPArray
from lpnum.block_array import BlockArray
from lpnum.block_formats import BlockFormat
from lpnum.formats import FixedFormat, Format
from lpnum.packing import unpack


@dataclass(frozen=True)
class _Factor:
    """One matrix of a product, the contracted axis second: ``value = step * scale of its block * table[code]``."""

    codes: np.ndarray  # of one byte
    step: np.ndarray  # float64 of shape (1,) or (rows,)
    scales: np.ndarray | None  # float64 of shape (rows, blocks)
    block: int  # 0 where there are no scales
    element: Format
    integers: bool  # the codes are int8 and their own values

    def in_floats(self) -> np.ndarray:
        """Values of the 256 codes in float32."""
        if self.integers:
            return np.arange(256).astype(np.uint8).view(np.int8).astype(np.float32)
        return _products.float_table(self.element)


@lru_cache(maxsize=64)
def _integers(element: Format) -> tuple[float, np.ndarray] | None:
    """Unit and int8 multiples of it of the 256 codes of a float format; None if its values are no such multiples."""
    values = element.code_values
    if not np.isfinite(values).all():
        return None
    unit = float(np.abs(values[values != 0]).min())
    multiples = values / unit
    if np.abs(multiples).max() > 127 or (multiples != np.rint(multiples)).any():
        return None
    table = np.zeros(256, np.int8)
    table[element.all_codes().view(np.uint8)] = multiples
    return unit, table


def _block_factor(x: BlockArray, axis: int) -> _Factor | None:
    """A block matrix of which `axis` is contracted, along which the blocks run."""
    fmt: BlockFormat = x.format
    if x.axis != axis or not 4 <= fmt.block <= 256 or fmt.block & (fmt.block - 1):
        return None
    element, factor = fmt.element, x._tensor_scale
    codes = unpack(x._codes, x.shape[axis], element) if fmt.packed else x._codes.view(element.storage)
    integers = isinstance(element, FixedFormat)
    if isinstance(element, FixedFormat):
        if element.code_max > 127:
            return None
        codes, factor = codes.view(np.int8), factor * element.unit
    elif (found := _integers(element)) is not None:
        unit, table = found
        plain, integers, factor = np.empty(codes.shape, np.int8), True, factor * unit
        _threads.flat(lambda source, target: kernels.map8(source, table, target), np.ascontiguousarray(codes), plain)
        codes = plain
    scales = fmt.scale_format.code_values[x._scale_codes]
    return _Factor(codes, np.full(1, factor), scales, fmt.block, element, integers)


def _plain_factor(x: LPArray, axis: int) -> _Factor | None:
    """An 8-bit LPArray of which `axis` is contracted, with a scale constant along it and no offset."""
    scale, fmt = x._scale, x.format
    if x.codes.itemsize != 1 or x._offset.any() or not (scale.ndim == 0 or scale.shape[axis] == 1):
        return None
    step = np.ascontiguousarray(scale.reshape(1) if scale.ndim == 0 else scale.take(0, axis=axis)) * fmt.unit
    codes, integers = np.moveaxis(x.codes, axis, -1), isinstance(fmt, FixedFormat)
    if integers and codes.dtype != np.int8:
        return None
    return _Factor(codes, step, None, 0, fmt, integers)


def _factor(x: Any, axis: int) -> _Factor | None:
    if isinstance(x, BlockArray):
        return _block_factor(x, axis)
    return _plain_factor(x, axis) if isinstance(x, LPArray) else None


def _finer(x: _Factor, block: int) -> _Factor:
    """The same scales for smaller blocks."""
    if x.scales is None or x.block == block:
        return x
    return replace(x, scales=np.repeat(x.scales, x.block // block, axis=1), block=block)


def product(a: Any, b: Any, dtype: np.dtype, *, float64: bool = False) -> np.ndarray | None:
    """``a @ b`` of two matrices, of which one at least is a BlockArray; None where the codes do not allow it.

    `float64` asks for float64 sums of float elements, which are decoded then.

    Examples
    --------
    >>> from lpnum._block_products import product
    >>> x = lpnum.array(np.linspace(-3, 3, 64).reshape(2, 32), lpnum.mxint8)
    >>> product(x, x.T, np.dtype(float)).tolist() == (x.dequantize() @ x.dequantize().T).tolist()
    True
    """
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)) or a.ndim != 2 or b.ndim != 2:
        return None
    p, q = _factor(a, 1), _factor(b, 0)
    if p is None or q is None:
        return None
    tables: tuple[Any, Any] = (None, None)
    if not (p.integers and q.integers):
        if float64 or not _products.exact_in_float32(p.element, q.element):
            return None
        tables = p.in_floats(), q.in_floats()
    block = min(x.block for x in (p, q) if x.block)
    p, q = _finer(p, block), _finer(q, block)
    out = np.empty((p.codes.shape[0], q.codes.shape[0]), dtype)
    _products.scaled_tiles(p.codes, q.codes, out, p.step, q.step, [], tables, (block, p.scales, q.scales))
    return out
