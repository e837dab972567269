"""Vocabularies of rounding, overflow and result policies, the context that holds their defaults, counted events."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from lpnum.random import CounterRNG, as_rng

__all__ = ["OVERFLOW_POLICIES", "RESULT_POLICIES", "ROUNDING_MODES", "Events", "context", "count_events"]

# The position is the number the kernels know (also of the overflow policies).
ROUNDING_MODES = (
    "nearest-even",
    "nearest-away",
    "towards-zero",
    "towards-positive",
    "towards-negative",
    "stochastic",
)
OVERFLOW_POLICIES = ("clamp", "wrap", "error", "ieee")
RESULT_POLICIES = ("keep", "cover", "fit", "exact")
DEFAULT_RANDOM_BITS = 16


def one_of(value: object, allowed: tuple[str, ...], what: str) -> str:
    """`value` if it is one of the allowed words, else an error that suggests the nearest."""
    if isinstance(value, str) and value in allowed:
        return value
    near = difflib.get_close_matches(value, allowed, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{what}: {value!r} is not one of {', '.join(map(repr, allowed))}{hint}")


class Policy:
    """How results are rounded; fields are None where nothing was said."""

    __slots__ = ("_completed", "numbers", "overflow", "result", "rng", "rounding")

    def __init__(
        self,
        rounding: str | None = None,
        overflow: str | None = None,
        result: str | None = None,
        rng: CounterRNG | None = None,
    ) -> None:
        self.rounding = None if rounding is None else one_of(rounding, ROUNDING_MODES, "rounding")
        self.overflow = None if overflow is None else one_of(overflow, OVERFLOW_POLICIES, "overflow")
        self.result = None if result is None else one_of(result, RESULT_POLICIES, "result")
        self.rng = rng
        # as the kernels know them
        self.numbers = ROUNDING_MODES.index(rounding or "nearest-even"), OVERFLOW_POLICIES.index(overflow or "clamp")
        self._completed: tuple[Policy, Policy] | None = None

    def over(self, other: Policy) -> Policy:
        """This policy, with what it leaves open taken from `other`; the last answer is kept, it is asked for often."""
        if self._completed is None or self._completed[0] is not other:
            pairs = ((getattr(self, name), getattr(other, name)) for name in ("rounding", "overflow", "result", "rng"))
            self._completed = other, Policy(*(theirs if mine is None else mine for mine, theirs in pairs))
        return self._completed[1]


DEFAULTS = Policy("nearest-even", "clamp")
_current: ContextVar[Policy] = ContextVar("lpnum_policy", default=DEFAULTS)
_events: ContextVar[Events | None] = ContextVar("lpnum_events", default=None)


def current() -> Policy:
    """The policy in force here."""
    return _current.get()


@contextmanager
def context(
    *, rounding: str | None = None, overflow: str | None = None, result: str | None = None, rng: Any = None
) -> Iterator[None]:
    """Set defaults for all operations in the block (and in this thread or task only).

    Parameters
    ----------
    rounding : str, optional
        One of `ROUNDING_MODES`.
    overflow : {"clamp", "ieee", "wrap", "error"}, optional
        What happens to values beyond the range of the format; "ieee" is for floats, "wrap" for fixed point.
    result : {"keep", "cover", "fit", "exact"}, optional
        How the grid of the result of an operation on two arrays is chosen; see `lpnum.LPArray`.
    rng : int, CounterRNG or numpy.random.Generator, optional
        Source of the bits of stochastic rounding.

    Examples
    --------
    >>> x = lpnum.array([1.0, 2.0], dtype=lpnum.fixed8, scale=1.0)
    >>> with lpnum.context(rounding="towards-zero"):
    ...     x += 0.9
    >>> np.asarray(x)
    array([1., 2.])
    """
    policy = Policy(rounding, overflow, result, None if rng is None else as_rng(rng))
    token = _current.set(policy.over(_current.get()))
    try:
        yield
    finally:
        _current.reset(token)


@dataclass
class Events:
    """Counts of what rounding did to ``total`` values.

    ``overflow``: beyond the range (clamped or wrapped); ``underflow``: not on code 0 before, on it after;
    ``inexact``: changed by rounding; ``invalid``: NaN.
    """

    total: int = 0
    overflow: int = 0
    underflow: int = 0
    inexact: int = 0
    invalid: int = 0

    def add(self, total: int, overflow: int, underflow: int, inexact: int, invalid: int) -> None:
        """Add the counts of one operation."""
        self.total += total
        self.overflow += overflow
        self.underflow += underflow
        self.inexact += inexact
        self.invalid += invalid


@contextmanager
def count_events() -> Iterator[Events]:
    """Count what rounding does inside the block.

    Examples
    --------
    >>> with lpnum.count_events() as events:
    ...     codes = lpnum.encode([0.2, 1.0, 200.0], lpnum.fixed8)
    >>> events
    Events(total=3, overflow=1, underflow=1, inexact=1, invalid=0)
    """
    events = Events()
    token = _events.set(events)
    try:
        yield events
    finally:
        _events.reset(token)


def counting() -> Events | None:
    """The innermost counter, if any."""
    return _events.get()
