"""Operations on 8-bit arrays by table: every code, or pair of codes, is computed once.

A table holds what the ordinary path gives for the same inputs, so both have the same bits; `None` means that the
ordinary path has to do it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lpnum import _threads, codec, rounding
from lpnum._core import kernels
from lpnum.formats import FixedFormat, FloatFormat, Format
from lpnum.rounding import Policy

if TYPE_CHECKING:
    from lpnum.array import LPArray

# Below this many elements the ordinary path is faster than finding the table.
SMALLEST_PAIRS, SMALLEST_CAST = 16_384, 2_048

_BYTES = np.arange(256, dtype=np.uint8)


def _scalar_grid(x: LPArray) -> tuple[Format, float, float] | None:
    """Format, scale and offset if there is one of each, of 8 bits, in one block of memory."""
    if x.itemsize != 1 or x._scale.ndim or x._offset.ndim or not x.codes.flags.c_contiguous:
        return None
    return x.format, float(x._scale), float(x._offset)


def applies(policy: Policy) -> bool:
    """Whether a result is a function of the codes alone, and codes that do not occur cannot do harm.

    Not so for random rounding, for errors of overflow, and while events are counted.
    """
    return policy.rounding != "stochastic" and policy.overflow != "error" and rounding.counting() is None


def _byte_values(fmt: Format, scale: float, offset: float) -> np.ndarray:
    """Values of the 256 bytes as codes (bytes that are no codes of the format do not occur)."""
    return codec.decode_operand((_BYTES.view(fmt.storage), scale * fmt.unit, offset, fmt.kernel), np.float64)


def _codes_of(values: np.ndarray, grid: tuple[Format, float, float], mode: str, overflow: str) -> Any:
    """Bytes of the rounded values; None if a value has no code."""
    fmt, scale, offset = grid
    out = np.empty(values.shape, fmt.storage)
    policy = Policy(mode, overflow)
    try:
        codec.run(codec.COPY, values, None, (out, scale * fmt.unit, offset, fmt.kernel), policy, "table")
    except ValueError:
        return None
    return out.view(np.uint8)


@lru_cache(maxsize=64)
def _pairs(ufunc: np.ufunc, a: Any, b: Any, target: Any, mode: str, overflow: str) -> Any:
    with np.errstate(all="ignore"):
        values = ufunc.outer(_byte_values(*a), _byte_values(*b))
    return _codes_of(values, target, mode, overflow)


@lru_cache(maxsize=64)
def _in_registers(ufunc: np.ufunc, a: Any, b: Any, target: Any, mode: str, overflow: str, level: int) -> Any:
    """Arguments with which `kernels.float_pairs` gives the table of all pairs at this SIMD level, or None."""
    unscaled = all(
        isinstance(fmt, FloatFormat) and (scale, offset) == (1.0, 0.0) for fmt, scale, offset in (a, b, target)
    )
    if ufunc not in codec.ARITHMETIC or mode != "nearest-even" or not unscaled:
        return None
    table = _pairs(ufunc, a, b, target, mode, overflow)
    formats = a[0].kernel, b[0].kernel, target[0].kernel
    found = np.empty(table.size, np.uint8)
    first, second = np.repeat(_BYTES, 256), np.tile(_BYTES, 256)
    op, policy = codec.ARITHMETIC[ufunc], codec.OVERFLOW_NUMBER[overflow]
    done = kernels.float_pairs(op, first, second, table, found, *formats, policy)
    occurs = (first <= a[0].code_max) & (second <= b[0].code_max)
    return (op, formats, policy) if done and np.array_equal(found[occurs], table.ravel()[occurs]) else None


@lru_cache(maxsize=256)
def _casts(source: Any, target: Any, mode: str, overflow: str) -> Any:
    return _codes_of(_byte_values(*source), target, mode, overflow)


def operate(ufunc: np.ufunc, a: LPArray, b: LPArray, out: LPArray) -> LPArray | None:
    """``out = ufunc(a, b)`` by a table of all pairs of codes."""
    if out.size < SMALLEST_PAIRS or not a.shape == b.shape == out.shape:
        return None
    grids = [_scalar_grid(x) for x in (a, b, out)]
    policy = out.policy()
    if None in grids or not applies(policy):
        return None
    mode, overflow = str(policy.rounding), str(policy.overflow)
    if _adds_codes(ufunc, grids, mode, overflow):
        sign = 1 if ufunc is np.add else -1
        _threads.flat(lambda x, y, z: kernels.add_saturating(x, y, z, sign), a.codes, b.codes, out.codes)
        return out
    table = _pairs(ufunc, *grids, mode, overflow)
    if table is None:
        return None
    direct = _in_registers(ufunc, *grids, mode, overflow, kernels.simd_level())
    if direct is None:
        _threads.flat(lambda x, y, z: kernels.map8_pairs(x, y, table, z), a.codes, b.codes, out.codes)
    else:
        op, given, number = direct
        operate_in_registers: Any = kernels.float_pairs
        _threads.flat(
            lambda x, y, z: operate_in_registers(op, x, y, table, z, *given, number), a.codes, b.codes, out.codes
        )
    return out


@lru_cache(maxsize=64)
def _comparison(ufunc: np.ufunc, a: Any, b: Any) -> np.ndarray:
    return ufunc.outer(_byte_values(*a), _byte_values(*b)).view(np.uint8)


def compare(ufunc: np.ufunc, a: LPArray, b: LPArray) -> np.ndarray | None:
    """``ufunc(a, b)`` as a bool array, by a table of all pairs of codes."""
    grids = _scalar_grid(a), _scalar_grid(b)
    if a.size < SMALLEST_PAIRS or a.shape != b.shape or grids[0] is None or grids[1] is None:
        return None
    table, out = _comparison(ufunc, *grids), np.empty(a.shape, np.bool_)
    _threads.flat(lambda x, y, z: kernels.map8_pairs(x, y, table, z), a.codes, b.codes, out.view(np.uint8))
    return out


def _adds_codes(ufunc: np.ufunc, grids: list[Any], mode: str, overflow: str) -> bool:
    """On one grid of full int8 without offset, sums and differences are those of the codes, saturated."""
    fmt, _, offset = grids[0]
    whole = isinstance(fmt, FixedFormat) and fmt.bits == 8 and fmt.signed and offset == 0
    nearest = mode.startswith("nearest") and overflow == "clamp"
    return whole and nearest and ufunc in (np.add, np.subtract) and grids[0] == grids[1] == grids[2]


def map8(codes: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    """``out = table[codes]`` for contiguous bytes and a table of 256."""
    _threads.flat(lambda x, y: kernels.map8(x, table, y), codes, out)


def cast(source: LPArray, out: LPArray) -> bool:
    """Write 8-bit values onto another 8-bit grid by a table of all codes; False if that does not apply."""
    if out.size < SMALLEST_CAST or source.shape != out.shape:
        return False
    grids = [_scalar_grid(x) for x in (source, out)]
    policy = out.policy()
    if None in grids or not applies(policy):
        return False
    table = _casts(grids[0], grids[1], str(policy.rounding), str(policy.overflow))
    if table is None:
        return False
    map8(source.codes, table, out.codes)
    return True
