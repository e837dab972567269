"""Threads for large arrays: the work is cut into ranges, whose bits do not depend on where they are cut.

The kernels release the interpreter's lock, and the word that rounds an element stochastically is known by the element's
index, so any number of threads gives the same codes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from lpnum._core import kernels

__all__ = ["get_num_threads", "set_num_threads"]

SMALLEST = 1 << 17  # elements for a thread; handing them over costs about what 2**15 of them do
_GRANULE = 1 << 12  # cuts lie at multiples of it, so that threads do not write to one cache line

_N_POLICY = 9  # arguments of `kernels.elementwise` after its operands; the last is the index of the first element

_count = 1
_pool: ThreadPoolExecutor | None = None

# The kernel itself while there is one thread, so that small arrays do not pay for the question; see set_num_threads.
elementwise: Callable[..., tuple[int, tuple[int, ...]]] = kernels.elementwise


def set_num_threads(n: int) -> None:
    """Use up to `n` threads for one operation on a large array; results do not depend on it.

    Parameters
    ----------
    n : int
        At least 1, the default (or what ``LPNUM_NUM_THREADS`` says at import).

    Examples
    --------
    >>> x = np.linspace(-1, 1, 1_000_000)
    >>> one = lpnum.encode(x, lpnum.fixed8, rounding="stochastic", rng=3)
    >>> lpnum.set_num_threads(2)
    >>> bool((lpnum.encode(x, lpnum.fixed8, rounding="stochastic", rng=3) == one).all())
    True
    >>> lpnum.set_num_threads(1)
    """
    global _count, _pool, elementwise
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"lpnum.set_num_threads: expected a number of threads of at least 1, not {n!r}")
    old, _pool, _count = _pool, None, int(n)
    elementwise = kernels.elementwise if _count == 1 else _elementwise_in_parts
    if old is not None:
        old.shutdown(wait=True)


def get_num_threads() -> int:
    """Number of threads that one operation may use."""
    return _count


def _forget_pool() -> None:
    global _pool
    _pool = None  # the threads of a forked process's parent are not there


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def ranges(n: int, elements: int, granule: int = 1) -> list[tuple[int, int]]:
    """Cut 0 .. n into at most as many ranges as there are threads, each worth one; `elements` is the work of all."""
    parts = min(_count, elements // SMALLEST, n)
    if parts <= 1:
        return [(0, n)]
    step = -(-n // (parts * granule)) * granule
    return [(start, min(start + step, n)) for start in range(0, n, step)]


def run(function: Callable[[int, int], Any], cuts: list[tuple[int, int]]) -> list[Any]:
    """``function(start, stop)`` for every range, the first one in this thread; results in order, errors raised."""
    global _pool
    if len(cuts) == 1:
        return [function(*cuts[0])]
    if _pool is None:
        _pool = ThreadPoolExecutor(_count - 1, thread_name_prefix="lpnum")
    others = [_pool.submit(function, *cut) for cut in cuts[1:]]
    try:
        first = function(*cuts[0])
    finally:  # nothing may still write when this function is left
        results = [other.exception() or other.result() for other in others]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [first, *results]


def flat(function: Callable[..., Any], *arrays: np.ndarray) -> None:
    """``function(*pieces)`` on equal ranges of contiguous arrays of one size."""
    size = arrays[0].size
    cuts = ranges(size, size, _GRANULE)
    if len(cuts) == 1:
        function(*arrays)
    else:
        pieces = [a.reshape(-1) for a in arrays]
        run(lambda start, stop: function(*(a[start:stop] for a in pieces)), cuts)


def _elementwise_in_parts(op: int, a: Any, b: Any, out: Any, *policy: Any) -> tuple[int, tuple[int, ...]]:
    """`kernels.elementwise`, all arguments by position, cut along the first axis that is longer than 1."""
    numbers, first_index = (policy[:-1], policy[-1]) if len(policy) == _N_POLICY else (policy, 0)
    kernel: Any = kernels.elementwise
    target = out[0] if isinstance(out, tuple) else out
    axis = next((k for k, n in enumerate(target.shape) if n > 1), None)
    if axis is None or target.size < 2 * SMALLEST:
        return kernel(op, a, b, out, *numbers, first_index=first_index)
    length = target.shape[axis]
    per_item = target.size // length
    cuts = ranges(length, target.size, max(1, _GRANULE // per_item))

    def part(start: int, stop: int) -> tuple[int, tuple[int, ...]]:
        first, second, result = (None if x is None else _piece(x, target.ndim, axis, start, stop) for x in (a, b, out))
        return kernel(op, first, second, result, *numbers, first_index=first_index + start * per_item)

    status, events = 0, [0, 0, 0, 0, 0, -1, -1]
    for part_status, part_events in run(part, cuts):
        status |= part_status
        for k, count in enumerate(part_events):
            if k < 5:
                events[k] += count
            elif events[k] < 0:
                events[k] = count
    return status, tuple(events)


def _piece(x: Any, ndim: int, axis: int, start: int, stop: int) -> Any:
    """Range of an operand along an axis of the result to which it broadcasts."""
    if isinstance(x, tuple):
        codes, step, offset, fmt = x
        return *(_piece(part, ndim, axis, start, stop) for part in (codes, step, offset)), fmt
    own_axis = axis if isinstance(x, float) else axis - (ndim - x.ndim)
    if isinstance(x, float) or own_axis < 0 or x.shape[own_axis] == 1:
        return x
    return x[(slice(None),) * own_axis + (slice(start, stop),)]


if os.environ.get("LPNUM_NUM_THREADS"):
    text = os.environ["LPNUM_NUM_THREADS"]
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"LPNUM_NUM_THREADS: expected a number of at least 1, not {text!r}")
    set_num_threads(int(text))
