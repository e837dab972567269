"""Types of command line arguments, and what the commands print alike."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

import lpnum

from ._checks import choice
from ._features import fixed_format
from .callbacks import Callback, ProgressBar
from .minimize import METHODS


def number(text: str, what: str, low: float, high: float, kind: type = int) -> Any:
    """A number in low..high; `what` says so in the error."""
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high or math.isinf(value):
        raise argparse.ArgumentTypeError(f"{text!r}; expected {what}")
    return value


def methods(text: str) -> list[str]:
    """Names of methods, separated by commas."""
    return [method(name.strip()) for name in text.split(",")]


def method(text: str) -> str:
    """Name of a method."""
    try:
        return choice("--methods", "method", text, METHODS)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def bits(text: str) -> list[int]:
    """Widths, separated by commas."""
    return [number(part, "integers in 2..16, separated by commas", 2, 16) for part in text.split(",")]


def width(text: str) -> int:
    """One width."""
    return int(number(text, "an integer in 2..16", 2, 16))


def width_or_auto(text: str) -> int | str:
    """One width, or "auto"."""
    return text if text == "auto" else width(text)


def positive(text: str) -> int:
    """An integer >= 1."""
    return int(number(text, "an integer >= 1", 1, math.inf))


def seed(text: str) -> int:
    """An integer >= 0."""
    return int(number(text, "an integer >= 0", 0, 2**64 - 1))


def nonnegative(text: str) -> float:
    """A finite number >= 0."""
    return float(number(text, "a number >= 0", 0, math.inf, float))


def data_format(text: str) -> Any:
    """Name of a fixed-point format, or "float" for None."""
    if text == "float":
        return None
    try:
        return fixed_format(lpnum.format(text))
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class Progress:
    """A bar per run on a terminal; one line per run elsewhere (a log)."""

    def __init__(self, runs: int) -> None:
        self.runs, self.done = runs, 0
        self.bar: ProgressBar | None = None

    def callbacks(self, label: str) -> list[Callback]:
        """The callbacks of the next run."""
        self.close()
        self.done += 1
        if self.runs > 1:
            label = f"[{self.done}/{self.runs}] {label}"
        if not sys.stderr.isatty():
            print(label, file=sys.stderr, flush=True)
            return []
        self.bar = ProgressBar(label=label)
        return [self.bar]

    def close(self) -> None:
        """Take the bar off the screen."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def plain(value: Any) -> Any:
    """A value for JSON, which has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
