"""Number formats as data: a frozen dataclass per family, everything else derived from its fields.

A format says which numbers the stored integers (*codes*) stand for; ``scale`` and ``offset`` of an array place that
set of numbers on the real line.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = [
    "FixedFormat",
    "fixed",
    "fixed4",
    "fixed8",
    "fixed16",
    "format",
    "named",
    "ufixed4",
    "ufixed8",
    "ufixed16",
]


@dataclass(frozen=True)
class FixedFormat:
    """Fixed point of 2 to 16 bits: ``decode(code) = code * 2**-frac``.

    Parameters
    ----------
    bits : int
        Width of a code, 2 to 16. Codes of up to 8 bits are stored in one byte, wider ones in two.
    frac : int or None
        Number of bits behind the binary point. ``None`` means plain integer codes whose scale is calibrated from
        data; a number makes a classic Qm.n format that carries its own range (scale 1).
    signed : bool
        Two's complement, or codes from 0.

    Examples
    --------
    >>> import lpnum
    >>> q = lpnum.fixed(8, frac=4)
    >>> q.min, q.max, q.eps
    (-8.0, 7.9375, 0.0625)
    >>> lpnum.ufixed4.code_min, lpnum.ufixed4.code_max
    (0, 15)
    """

    bits: int
    frac: int | None = None
    signed: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int | np.integer) or not 2 <= self.bits <= 16:
            raise ValueError(f"FixedFormat: bits must be an integer from 2 to 16, not {self.bits!r}")
        if self.frac is not None and (
            isinstance(self.frac, bool) or not isinstance(self.frac, int | np.integer) or not -64 <= self.frac <= 64
        ):
            raise ValueError(f"FixedFormat: frac must be None or an integer from -64 to 64, not {self.frac!r}")

    @property
    def name(self) -> str:
        """``fixed8``, ``ufixed4``, ``fixed8_4`` (4 bits behind the binary point)."""
        base = f"{'' if self.signed else 'u'}fixed{self.bits}"
        return base if self.frac is None else f"{base}_{self.frac}".replace("-", "m")

    def __repr__(self) -> str:
        if self.frac is None and f"lpnum.{self.name}" in _REPRS:
            return f"lpnum.{self.name}"
        parts = [str(self.bits)]
        if self.frac is not None:
            parts.append(f"frac={self.frac}")
        if not self.signed:
            parts.append("signed=False")
        return f"lpnum.fixed({', '.join(parts)})"

    @cached_property
    def code_min(self) -> int:
        """Smallest code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @cached_property
    def code_max(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @cached_property
    def storage(self) -> np.dtype:
        """NumPy dtype of the stored codes."""
        return np.dtype(f"{'i' if self.signed else 'u'}{1 if self.bits <= 8 else 2}")

    @cached_property
    def unit(self) -> float:
        """Value of code 1 at scale 1: ``2**-frac``."""
        return 1.0 if self.frac is None else 2.0**-self.frac

    @property
    def eps(self) -> float:
        """Distance of neighbouring values at scale 1."""
        return self.unit

    @property
    def min(self) -> float:
        """Smallest value at scale 1."""
        return self.code_min * self.unit

    @property
    def max(self) -> float:
        """Largest value at scale 1."""
        return self.code_max * self.unit

    @property
    def calibrated(self) -> bool:
        """Whether the scale comes from data; False if the format carries its own range."""
        return self.frac is None

    def all_codes(self) -> np.ndarray:
        """Every code, ascending, in the storage dtype.

        >>> lpnum.fixed(2).all_codes()
        array([-2, -1,  0,  1], dtype=int8)
        """
        return np.arange(self.code_min, self.code_max + 1, dtype=np.int64).astype(self.storage)


def fixed(bits: int, frac: int | None = None, signed: bool = True) -> FixedFormat:
    """Fixed-point format; see `FixedFormat`.

    >>> lpnum.fixed(8) is not None and lpnum.fixed(8) == lpnum.fixed8
    True
    >>> lpnum.fixed(12, frac=6, signed=False)
    lpnum.fixed(12, frac=6, signed=False)
    """
    return FixedFormat(bits, frac, signed)


fixed4 = FixedFormat(4)
fixed8 = FixedFormat(8)
fixed16 = FixedFormat(16)
ufixed4 = FixedFormat(4, signed=False)
ufixed8 = FixedFormat(8, signed=False)
ufixed16 = FixedFormat(16, signed=False)

_NAMED: dict[str, FixedFormat] = {f.name: f for f in (fixed4, fixed8, fixed16, ufixed4, ufixed8, ufixed16)}
_REPRS = {f"lpnum.{name}" for name in _NAMED}


def named() -> dict[str, FixedFormat]:
    """The table of named formats.

    >>> sorted(lpnum.formats.named())
    ['fixed16', 'fixed4', 'fixed8', 'ufixed16', 'ufixed4', 'ufixed8']
    """
    return dict(_NAMED)


def format(spec: str | FixedFormat) -> FixedFormat:
    """The format of a name (or a format itself).

    >>> lpnum.format("ufixed8")
    lpnum.ufixed8
    >>> lpnum.format("fixd8")
    Traceback (most recent call last):
        ...
    ValueError: lpnum.format: unknown format 'fixd8'; did you mean fixed8, ufixed8 or fixed4?

    Raises
    ------
    ValueError
        For an unknown name; near names are suggested.
    TypeError
        For anything that is neither a name nor a format.
    """
    if isinstance(spec, FixedFormat):
        return spec
    if not isinstance(spec, str):
        raise TypeError(f"lpnum.format: expected a format or its name, not {type(spec).__name__}")
    if spec in _NAMED:
        return _NAMED[spec]
    near = difflib.get_close_matches(spec, _NAMED, n=3, cutoff=0.5) or sorted(_NAMED)
    hint = " or ".join([", ".join(near[:-1]), near[-1]] if len(near) > 1 else near)
    raise ValueError(f"lpnum.format: unknown format {spec!r}; did you mean {hint}?")


def is_format(spec: object) -> bool:
    """Whether `spec` is a format or the name of one (NumPy dtypes are not)."""
    return isinstance(spec, FixedFormat) or (isinstance(spec, str) and spec in _NAMED)


def promote(a: FixedFormat, b: FixedFormat) -> FixedFormat:
    """Format of the result of an operation on two arrays: the wider, signed if either is.

    >>> from lpnum.formats import promote
    >>> promote(lpnum.fixed8, lpnum.ufixed16)
    lpnum.fixed16
    """
    if a == b:
        return a
    return FixedFormat(max(a.bits, b.bits), signed=a.signed or b.signed)
