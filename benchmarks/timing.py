"""Ratios of times that hold on a busy machine: one process, alternating, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Call = Callable[[], object]


def seconds_per_call(call: Call, calls: int) -> float:
    """Mean wall time of one call in a batch of ``calls``."""
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def calls_per_batch(call: Call, batch_seconds: float) -> int:
    """How many calls make a batch of about ``batch_seconds``, found by doubling; warms caches and clocks as well."""
    calls = 1
    while calls < 1 << 20 and seconds_per_call(call, calls) * calls < batch_seconds:
        calls *= 2
    return calls


def alternate(
    first: Call, second: Call, *, rounds: int = 25, batch_seconds: float = 2e-3
) -> tuple[float, float, float]:
    """Time two calls in turn.

    Parameters
    ----------
    first, second : callable
        What is timed; arguments are bound beforehand.
    rounds : int
        Pairs of batches.
    batch_seconds : float
        Length of a batch: long against the clock's resolution, short against changes of the clock rate.

    Returns
    -------
    first_seconds, second_seconds : float
        Medians over the rounds, per call.
    ratio : float
        Median over the rounds of second / first. The two halves of a round follow each other directly, so a slow
        phase of the machine changes both and cancels.
    """
    first_calls = calls_per_batch(first, batch_seconds)
    second_calls = calls_per_batch(second, batch_seconds)
    pairs = [(seconds_per_call(first, first_calls), seconds_per_call(second, second_calls)) for _ in range(rounds)]
    return (
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[1] / pair[0] for pair in pairs),
    )
