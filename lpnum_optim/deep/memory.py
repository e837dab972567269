"""Peak of torch's CPU allocator during a call, as the profiler's memory events tell it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

__all__ = ["Peak", "peak_memory"]


class Peak(NamedTuple):
    """Bytes: highest sum of allocations above the level before the call, and what of it is still held afterwards."""

    peak: int
    kept: int


def peak_memory(call: Callable[[], object]) -> Peak:
    """Run `call` and measure what torch allocates on the CPU meanwhile.

    Buffers that libraries take for themselves (oneDNN's scratch) and memory that malloc does not give back are not
    seen: the growth of the process can be larger.

    Examples
    --------
    >>> def two_vectors():
    ...     a = torch.zeros(1_000_000)
    ...     return torch.ones(1_000_000, dtype=torch.uint8)
    >>> peak_memory(two_vectors).peak
    5000000
    """
    # The events are in the order of time; a first event of the profiler itself would be 0 bytes.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        result = call()
    held = peak = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    del result
    return Peak(peak, held)
