"""Number formats as data: a frozen dataclass per family, everything else derived from its fields.

A format says which numbers the stored integers (*codes*) stand for; ``scale`` and ``offset`` of an array place that
set of numbers on the real line.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lpnum._core import kernels
from lpnum.float_formats import FloatFormat, minifloat, p3109
from lpnum.float_info import FloatInfo

if TYPE_CHECKING:
    from lpnum.block_formats import BlockFormat

__all__ = [
    "FixedFormat",
    "FloatFormat",
    "finfo",
    "fixed",
    "format",
    "minifloat",
    "named",
    "named_blocks",
    "p3109",
    "promote",
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

    def __reduce__(self) -> Any:
        return FixedFormat, (self.bits, self.frac, self.signed)

    @property
    def name(self) -> str:
        """``fixed8``, ``ufixed4``, ``fixed8_4`` (4 bits behind the binary point)."""
        base = f"{'' if self.signed else 'u'}fixed{self.bits}"
        return base if self.frac is None else f"{base}_{self.frac}".replace("-", "m")

    def __repr__(self) -> str:
        if self in _NAME_OF:
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

    @cached_property
    def kernel(self) -> kernels.Format:
        """The format as the kernels take it."""
        return kernels.Format(code_min=self.code_min, code_max=self.code_max)

    @cached_property
    def code_values(self) -> np.ndarray:
        """Values of `all_codes` at scale 1, in float64."""
        return self.all_codes() * self.unit

    def value(self, code: int) -> float:
        """Value of one code at scale 1."""
        return int(code) * self.unit

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


Format = FixedFormat | FloatFormat

# The named formats: a new one is a row here, and nothing else.
_NAMED: dict[str, Format] = {
    "fixed4": FixedFormat(4),
    "fixed8": FixedFormat(8),
    "fixed16": FixedFormat(16),
    "ufixed4": FixedFormat(4, signed=False),
    "ufixed8": FixedFormat(8, signed=False),
    "ufixed16": FixedFormat(16, signed=False),
    # names and values of ml_dtypes: e = exponent bits, m = mantissa bits, f = finite, n = NaN, uz = unsigned zero
    "float8_e3m4": FloatFormat(3, 4, 3),
    "float8_e4m3": FloatFormat(4, 3, 7),
    "float8_e5m2": FloatFormat(5, 2, 15),
    "float8_e4m3fn": FloatFormat(4, 3, 7, "fn"),
    "float8_e4m3b11fnuz": FloatFormat(4, 3, 11, "fnuz"),
    "float8_e4m3fnuz": FloatFormat(4, 3, 8, "fnuz"),
    "float8_e5m2fnuz": FloatFormat(5, 2, 16, "fnuz"),
    "float8_e8m0fnu": FloatFormat(8, 0, 127, "fn", signed=False, zero=False),
    "float6_e2m3fn": FloatFormat(2, 3, 1, "none"),
    "float6_e3m2fn": FloatFormat(3, 2, 3, "none"),
    "float4_e2m1fn": FloatFormat(2, 1, 1, "none"),
    "bfloat16": FloatFormat(8, 7, 127),
    "float16": FloatFormat(5, 10, 15),
}
_NAME_OF = {fmt: name for name, fmt in _NAMED.items()}


def name_of(fmt: Format) -> str | None:
    """Name of a format in the table of named formats, None if it has none there."""
    return _NAME_OF.get(fmt)


def named() -> dict[str, Format]:
    """The table of named formats.

    >>> sorted(lpnum.formats.named())[:6]
    ['bfloat16', 'fixed16', 'fixed4', 'fixed8', 'float16', 'float4_e2m1fn']
    """
    return dict(_NAMED)


def named_blocks() -> dict[str, BlockFormat]:
    """The table of named block formats; see `lpnum.BlockFormat`."""
    from lpnum import block_formats  # made of the formats here

    return block_formats.named_blocks()


def block_format(spec: object) -> BlockFormat | None:
    """The block format meant by `spec` (itself or its name), None for everything else."""
    from lpnum import block_formats

    if isinstance(spec, str):
        return block_formats.named_blocks().get(spec)
    return spec if isinstance(spec, block_formats.BlockFormat) else None


def format(spec: str | Format) -> Format:
    """The format of a name (or a format itself); block formats by name too.

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
    if type(spec) is FloatFormat or type(spec) is FixedFormat:
        return spec
    if isinstance(spec, str) and spec in _NAMED:
        return _NAMED[spec]
    block = block_format(spec)
    if block is not None:
        return block  # type: ignore[return-value]  # what only formats of numbers have, it refuses with an explanation
    if not isinstance(spec, str):
        raise TypeError(f"lpnum.format: expected a format or its name, not {type(spec).__name__}")
    near = _near_names(spec)
    hint = " or ".join([", ".join(near[:-1]), near[-1]] if len(near) > 1 else near)
    known = "" if near else f"; the named ones are {', '.join(sorted(_NAMED))}"
    raise ValueError(f"lpnum.format: unknown format {spec!r}" + (f"; did you mean {hint}?" if near else known))


def _near_names(spec: str) -> list[str]:
    """Names of formats that hold the given word or differ little from it; "FP8_E5M2", "e4m3fn" and "bf16" are near."""
    word = spec.lower().replace("-", "_")
    word = "bfloat16" if word == "bf16" else "float16" if word in ("half", "fp16", "binary16") else word
    word = word.replace("fp", "float", 1) if word.startswith("fp") else word
    known = [*_NAMED, *named_blocks()]
    ends = [name for name in known if name.endswith(word)] or [name for name in known if word and word in name]
    return (ends or difflib.get_close_matches(word, known, n=3, cutoff=0.5))[:8]


def is_format(spec: object) -> bool:
    """Whether `spec` is a format or the name of one; "float16" is NumPy's name (`lpnum.float16` is the format)."""
    return isinstance(spec, Format) or (isinstance(spec, str) and spec in _NAMED and spec != "float16")


def promote(a: Format, b: Format) -> Format:
    """Format of the result of an operation on two arrays.

    Fixed point: the wider, signed if either is. Floats: the first named format that holds the values of both.

    >>> from lpnum.formats import promote
    >>> promote(lpnum.fixed8, lpnum.ufixed16)
    lpnum.fixed16
    """
    a, b = format(a), format(b)
    if a == b:
        return a
    if isinstance(a, FixedFormat) and isinstance(b, FixedFormat):
        return FixedFormat(max(a.bits, b.bits), signed=a.signed or b.signed)
    if isinstance(a, FloatFormat) and isinstance(b, FloatFormat):
        floats = [f for f in _NAMED.values() if isinstance(f, FloatFormat)]
        for fmt in sorted(floats, key=lambda f: (f.bits, -f.mantissa_bits)):
            if all(_holds(fmt, part) for part in (a, b)):
                return fmt
    raise TypeError(f"no format of up to 16 bits holds {a!r} and {b!r}; convert one with x.astype(format)")


def _holds(fmt: FloatFormat, part: FloatFormat) -> bool:
    """Whether every finite value of `part` is one of `fmt`."""
    smallest = fmt.min_exponent - fmt.mantissa_bits <= part.min_exponent - part.mantissa_bits
    return fmt.mantissa_bits >= part.mantissa_bits and fmt.max >= part.max and fmt.min <= part.min and smallest


def finfo(fmt: Format | str) -> FloatInfo:
    """The numbers of a float format under NumPy's names: ``bits, max, min, eps, smallest_normal, ...``.

    >>> info = lpnum.finfo("float8_e5m2")
    >>> info.max, info.eps, info.nexp, info.nmant
    (57344.0, 0.25, 5, 2)

    Raises
    ------
    TypeError
        For a fixed-point format, whose `min`, `max` and `eps` are its own attributes.
    """
    fmt = format(fmt)
    if not isinstance(fmt, FloatFormat):
        raise TypeError(f"lpnum.finfo: {fmt!r} is fixed point, not a float format; its min, max and eps say the rest")
    return FloatInfo.of(fmt)
