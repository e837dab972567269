"""Memory of a call: the peak of torch's CPU allocator, and what the process grows by.

The first counts tensors, as the profiler's memory events tell it, and is the same in every run. The second is what the
operating system gives: it holds libraries' own buffers and what malloc keeps for later, too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

__all__ = ["Peak", "peak_memory", "resident_growth"]


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


STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_growth(call: Callable[[], object]) -> int | None:
    """Bytes by which the process's resident memory rises, at most, during `call`; None where Linux does not tell it.

    Freed memory that malloc still holds is given back first, where the C library can; what it cannot give back hides
    growth, so that a first call in a process is the one to measure.

    Examples
    --------
    >>> growth = resident_growth(lambda: torch.ones(16_000_000))
    >>> growth is None or 60e6 < growth < 80e6
    True
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    try:
        CLEAR.write_text("5")  # the high-water mark begins anew
        before = _resident("VmRSS")
        result = call()
        growth = _resident("VmHWM") - before
    except OSError:
        return None
    del result
    return growth


def _resident(name: str) -> int:
    """A line of the process's status, in bytes."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no line {name}")
