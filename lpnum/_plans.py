"""``a op b`` of small arrays: the result's grid and the kernel's arguments are found once for a pair of grids.

A plan says what the general path of `lpnum._ufuncs` does for the same grids under the default policies; `None` means
that the general path has to do it. Finding a grid costs ten times as much as adding ten elements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lpnum import _tables, codec, rounding
from lpnum._core import kernels

if TYPE_CHECKING:
    from lpnum.array import LPArray

_MOST_PLANS = 4096

# (ufunc, both grids) -> the plan. A format is known by its address, which is its own as long as it is held.
_plans: dict[Any, tuple[Any, ...] | None] = {}
_held: list[Any] = []


def arithmetic(ufunc: np.ufunc, a: LPArray, b: LPArray) -> LPArray | None:
    """New array ``ufunc(a, b)``, for arrays of one shape with one grid each."""
    codes, other = a.codes, b.codes
    shape = codes.shape
    if (
        shape != other.shape
        or codes.size >= _tables.SMALLEST_PAIRS
        or a._policy is not None
        or a.dtype is not b.dtype
        or a._scale.ndim
        or a._offset.ndim
        or b._scale.ndim
        or b._offset.ndim
        or rounding.current() is not rounding.DEFAULTS
        or rounding.counting() is not None
    ):
        return None
    format_a, format_b = a.format, b.format
    step_a, offset_a, step_b, offset_b = float(a._scale), float(a._offset), float(b._scale), float(b._offset)
    key = (ufunc, id(format_a), step_a, offset_a, id(format_b), step_b, offset_b)
    try:
        plan = _plans[key]
    except KeyError:
        plan = _make(key, ufunc, a, b)
    if plan is None:
        return None
    op, storage, unit_a, kernel_a, unit_b, kernel_b, step, offset, kernel, new = plan
    result = np.empty(shape, storage)
    status, _ = kernels.elementwise(
        op,
        (codes, step_a * unit_a, offset_a, kernel_a),
        (other, step_b * unit_b, offset_b, kernel_b),
        (result, step, offset, kernel),
    )
    return None if status else new(result, a.dtype)


def _make(key: Any, ufunc: np.ufunc, a: LPArray, b: LPArray) -> tuple[Any, ...] | None:
    from lpnum import _result_grid

    op = codec.ARITHMETIC.get(ufunc)
    target = None if op is None else _result_grid.arithmetic(ufunc, a, b, ())
    plan = None
    if target is not None:
        fmt, scale, offset = target.format, target._scale, target._offset
        scale.flags.writeable = offset.flags.writeable = False  # all results of the plan share them
        operands = a.format.unit, a.format.kernel, b.format.unit, b.format.kernel
        grid = float(scale) * fmt.unit, float(offset), fmt.kernel
        plan = (op, fmt.storage, *operands, *grid, target.sibling)
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
        _held.clear()
    _held.append((a.format, b.format))
    _plans[key] = plan
    return plan
