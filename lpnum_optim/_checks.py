"""Argument checks shared by the package: every message says where, what came, what is allowed and what to do."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpnum._optional import optional_import as optional_import  # the same rule in both packages


def choice(where: str, what: str, value: object, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the `allowed` names; otherwise name the nearest ones.

    >>> choice("minimize", "method", "hapl", ["sgd", "svrg", "halp"])
    Traceback (most recent call last):
        ...
    ValueError: minimize: unknown method 'hapl'; allowed: sgd, svrg, halp. Did you mean 'halp'?
    """
    names = list(allowed)
    if isinstance(value, str) and value in names:
        return value
    near = difflib.get_close_matches(str(value).lower(), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{where}: unknown {what} {value!r}; allowed: {', '.join(names)}.{hint}")


def integer(where: str, what: str, value: object, low: int, high: int | None = None) -> int:
    """An integer in low..high (no upper end if `high` is None)."""
    span = f"an integer in {low}..{high}" if high is not None else f"an integer >= {low}"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{where}: {what} = {value!r} ({type(value).__name__}); expected {span}")
    number = int(value)
    if number < low or (high is not None and number > high):
        raise ValueError(f"{where}: {what} = {number}; expected {span}")
    return number


def real(where: str, what: str, value: object, *, zero: bool = False) -> float:
    """A finite number > 0, or >= 0 if `zero`."""
    span = "a finite number >= 0" if zero else "a finite number > 0"
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{where}: {what} = {value!r} ({type(value).__name__}); expected {span}") from None
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"{where}: {what} = {number!r}; expected {span}")
    return number


def finite(where: str, what: str, values: NDArray[Any]) -> None:
    """Refuse NaN and infinity, telling how many there are and where the first one is."""
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values)
    if bad.any():
        first = tuple(int(k) for k in np.argwhere(bad)[0])
        raise ValueError(
            f"{where}: {what} holds {np.count_nonzero(bad)} NaN or infinite values, the first at index {first}; "
            "remove those rows or replace the values (for example with np.nan_to_num)"
        )


def vector(where: str, what: str, value: object, length: int) -> NDArray[np.float64]:
    """A finite float64 vector of the given length (always a new array)."""
    array = np.array(value, dtype=np.float64)
    if array.shape != (length,):
        raise ValueError(f"{where}: {what} has shape {array.shape}; expected ({length},)")
    finite(where, what, array)
    return array
