"""Number formats as data: a frozen dataclass per family, everything else derived from its fields.

A format says which numbers the stored integers (*codes*) stand for; ``scale`` and ``offset`` of an array place that
set of numbers on the real line.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lpnum._core import kernels

__all__ = [
    "FixedFormat",
    "FloatFormat",
    "finfo",
    "fixed",
    "format",
    "minifloat",
    "named",
    "p3109",
    "promote",
]

SPECIALS = ("ieee", "fn", "fnuz", "none", "p3109", "p3109-finite")


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
        if self in _names():
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


@dataclass(frozen=True)
class FloatFormat:
    """Small binary floating point of 3 to 16 bits; codes are sign, exponent field E and mantissa field M.

    ``value = (-1)^sign * (1 + M / 2^m) * 2^(E - bias)`` for E > 0, and ``M / 2^m * 2^(1 - bias)`` (subnormal) for E = 0.

    Parameters
    ----------
    exponent_bits, mantissa_bits : int
        Widths of the fields.
    bias : int
        Of the exponent.
    specials : {"ieee", "fn", "fnuz", "none", "p3109", "p3109-finite"}
        Which codes are not finite numbers (see Notes).
    signed : bool
        Whether there is a sign bit.
    zero : bool
        False for formats whose smallest code is the power 2^-bias instead (the scales float8_e8m0fnu).

    Notes
    -----
    ============== ============================================ =========================== ========
    specials       NaN                                          infinity                    -0
    ============== ============================================ =========================== ========
    "ieee"         largest exponent, mantissa not 0             largest exponent, M = 0     yes
    "fn"           all bits but the sign set                    none                        yes
    "fnuz"         the code of -0                               none                        no
    "none"         none                                         none                        yes
    "p3109"        the code of -0 (unsigned: the largest code)  largest magnitude left      no
    "p3109-finite" as "p3109"                                   none                        no
    ============== ============================================ =========================== ========

    A NaN is stored as `nan_code`: quiet, positive, without payload.

    Examples
    --------
    >>> f = lpnum.float8_e4m3fn
    >>> f.max, f.smallest_normal, f.smallest_subnormal, f.eps
    (448.0, 0.015625, 0.001953125, 0.125)
    >>> f.nan_code, f.inf_code
    (127, None)
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int
    specials: str = "ieee"
    signed: bool = True
    zero: bool = True

    def __post_init__(self) -> None:
        for name in ("exponent_bits", "mantissa_bits", "bias"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(f"FloatFormat: {name} must be an integer, not {value!r}")
        if self.specials not in SPECIALS:
            raise ValueError(
                f"FloatFormat: specials must be one of {', '.join(map(repr, SPECIALS))}, not {self.specials!r}"
            )
        if self.exponent_bits < 0 or self.mantissa_bits < 0 or not 3 <= self.bits <= 16:
            raise ValueError(
                f"FloatFormat: {self.exponent_bits} exponent bits, {self.mantissa_bits} mantissa bits and "
                f"{int(self.signed)} sign bit are {self.bits} bits; 3 to 16 are allowed"
            )
        if self.specials == "ieee" and self.exponent_bits == 0:
            raise ValueError("FloatFormat: specials='ieee' needs an exponent field")
        if not self.zero and (self.mantissa_bits or self.signed):
            raise ValueError("FloatFormat: a format without zero is unsigned and has no mantissa bits")
        if self.finite_max_code < 1:
            raise ValueError("FloatFormat: the special values leave no finite number")
        if self.min_exponent - self.mantissa_bits < -1022 or self.max_exponent > 1022:
            raise ValueError(f"FloatFormat: with bias {self.bias} the values leave the range of float64")

    def __reduce__(self) -> Any:
        fields = (self.exponent_bits, self.mantissa_bits, self.bias, self.specials, self.signed, self.zero)
        return FloatFormat, fields

    @property
    def bits(self) -> int:
        """Width of a code."""
        return int(self.signed) + self.magnitude_bits

    @property
    def magnitude_bits(self) -> int:
        """Bits of a code without its sign."""
        return self.exponent_bits + self.mantissa_bits

    @property
    def name(self) -> str:
        """Name in the table of named formats, else a description such as ``minifloat4_3_bias4_fn``."""
        return _names().get(self, f"minifloat{self.exponent_bits}_{self.mantissa_bits}_bias{self.bias}_{self.specials}")

    def __repr__(self) -> str:
        name = _names().get(self)
        if name is not None:
            return f"lpnum.{name}"
        if self.specials.startswith("p3109"):
            signed, finite = "" if self.signed else ", signed=False", ", extended=False"
            return f"lpnum.p3109({self.bits}, {self.mantissa_bits + 1}{signed}{finite if self.specials != 'p3109' else ''})"
        signed = "" if self.signed else ", signed=False"
        return f"lpnum.minifloat({self.exponent_bits}, {self.mantissa_bits}, {self.bias}, {self.specials!r}{signed})"

    # ---- codes -----------------------------------------------------------------------------------------------------

    @property
    def code_min(self) -> int:
        """Smallest code."""
        return 0

    @cached_property
    def code_max(self) -> int:
        """Largest code."""
        return (1 << self.bits) - 1

    @cached_property
    def sign_mask(self) -> int:
        """The sign bit, 0 in unsigned formats."""
        return 1 << self.magnitude_bits if self.signed else 0

    @cached_property
    def storage(self) -> np.dtype:
        """NumPy dtype of the stored codes."""
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16)

    @cached_property
    def nan_code(self) -> int | None:
        """Code that stands for NaN, None if the format has none."""
        last = (1 << self.magnitude_bits) - 1
        if self.specials == "ieee":  # quiet: the highest mantissa bit; without mantissa there is no NaN
            return (
                (last >> self.mantissa_bits << self.mantissa_bits) | (1 << self.mantissa_bits >> 1)
                if self.mantissa_bits
                else None
            )
        if self.specials == "fn":
            return last
        if self.specials == "none":
            return None
        return self.sign_mask if self.signed else last

    @cached_property
    def inf_code(self) -> int | None:
        """Code of positive infinity, None if the format has none."""
        last = (1 << self.magnitude_bits) - 1
        if self.specials == "ieee":
            return last >> self.mantissa_bits << self.mantissa_bits
        if self.specials == "p3109":
            return last if self.signed else last - 1
        return None

    @cached_property
    def finite_max_code(self) -> int:
        """Code of the largest finite value."""
        last = (1 << self.magnitude_bits) - 1
        if self.inf_code is not None:
            return self.inf_code - 1
        return last - 1 if self.nan_code == last else last

    @property
    def has_negative_zero(self) -> bool:
        """Whether -0 has a code."""
        return self.signed and self.specials in ("ieee", "fn", "none")

    # ---- values ----------------------------------------------------------------------------------------------------

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal value."""
        return (1 if self.zero else 0) - self.bias

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest finite value."""
        field = self.finite_max_code >> self.mantissa_bits
        return max(field, 1 if self.zero else 0) - self.bias

    def magnitude(self, code: int) -> float:
        """Value of a finite code without sign."""
        field, mantissa = code >> self.mantissa_bits, code & ((1 << self.mantissa_bits) - 1)
        if not self.zero:
            return 2.0 ** (field - self.bias)
        significand = mantissa if field == 0 else (1 << self.mantissa_bits) + mantissa
        return significand * 2.0 ** (max(field, 1) - self.bias - self.mantissa_bits)

    @property
    def unit(self) -> float:
        """Factor between scale and step of the kernels: 1, the exponent is in the codes."""
        return 1.0

    @property
    def max(self) -> float:
        """Largest finite value."""
        return self.magnitude(self.finite_max_code)

    @property
    def min(self) -> float:
        """Smallest (most negative) finite value."""
        return -self.max if self.signed else self.magnitude(0)

    @property
    def eps(self) -> float:
        """Distance from 1 to the next value: 2^-mantissa_bits."""
        return 2.0**-self.mantissa_bits

    @property
    def smallest_normal(self) -> float:
        """Smallest positive value of full precision."""
        return 2.0**self.min_exponent

    @property
    def smallest_subnormal(self) -> float:
        """Smallest positive value."""
        return self.magnitude(1 if self.zero else 0)

    @property
    def calibrated(self) -> bool:
        """Whether the scale comes from data; floats carry their own range."""
        return False

    def value(self, code: int) -> float:
        """Value of one code at scale 1."""
        magnitude = int(code) & ((1 << self.magnitude_bits) - 1)
        sign = -1.0 if int(code) & self.sign_mask else 1.0
        if int(code) == self.nan_code:
            return float("nan")
        if magnitude > self.finite_max_code:
            return sign * float("inf") if magnitude == self.inf_code else float("nan")
        return sign * self.magnitude(magnitude)

    @cached_property
    def code_values(self) -> np.ndarray:
        """Values of `all_codes` at scale 1, in float64."""
        return np.array([self.value(code) for code in range(1 << self.bits)])

    def all_codes(self) -> np.ndarray:
        """Every code, in the storage dtype."""
        return np.arange(1 << self.bits, dtype=self.storage)

    @cached_property
    def kernel(self) -> kernels.Format:
        """The format as the kernels take it."""
        return kernels.Format(
            code_min=0,
            code_max=self.code_max,
            is_float=True,
            mantissa_bits=self.mantissa_bits,
            min_exponent=self.min_exponent,
            magnitude_mask=(1 << self.magnitude_bits) - 1,
            sign_mask=self.sign_mask,
            finite_max=self.finite_max_code,
            inf_code=-1 if self.inf_code is None else self.inf_code,
            nan_code=-1 if self.nan_code is None else self.nan_code,
            negative_zero=self.has_negative_zero,
            zero=self.zero,
        )


def minifloat(
    exponent_bits: int, mantissa_bits: int, bias: int | None = None, specials: str = "ieee", signed: bool = True
) -> FloatFormat:
    """Floating-point format of 3 to 16 bits; `bias` defaults to IEEE's ``2**(exponent_bits - 1) - 1``.

    >>> lpnum.minifloat(4, 3, 4).max
    1920.0
    >>> lpnum.minifloat(5, 2) == lpnum.float8_e5m2
    True
    """
    if bias is None:
        bias = (1 << (exponent_bits - 1)) - 1 if exponent_bits else 0
    return FloatFormat(exponent_bits, mantissa_bits, bias, specials, signed)


def p3109(bits: int, precision: int, signed: bool = True, extended: bool = True) -> FloatFormat:
    """Format of the IEEE working group P3109: `bits` wide, `precision` significant bits (the implicit one included).

    Parameters
    ----------
    bits : int
        3 to 16.
    precision : int
        1 to bits - 1 if signed, to bits if unsigned.
    signed : bool
    extended : bool
        With infinities.

    Examples
    --------
    >>> f = lpnum.p3109(8, 4)
    >>> f.max, f.nan_code, f.inf_code
    (224.0, 128, 127)
    """
    largest = bits - 1 if signed else bits
    if not 1 <= precision <= largest:
        raise ValueError(f"p3109: precision must be from 1 to {largest} for {bits} bits, not {precision}")
    exponent_bits = bits - precision + (0 if signed else 1)
    bias = 1 << (exponent_bits - 1)
    return FloatFormat(exponent_bits, precision - 1, bias, "p3109" if extended else "p3109-finite", signed)


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


def _names() -> dict[Any, str]:
    return _NAME_OF


def named() -> dict[str, Format]:
    """The table of named formats.

    >>> sorted(lpnum.formats.named())[:6]
    ['bfloat16', 'fixed16', 'fixed4', 'fixed8', 'float16', 'float4_e2m1fn']
    """
    return dict(_NAMED)


def format(spec: str | Format) -> Format:
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
    if isinstance(spec, Format):
        return spec
    if not isinstance(spec, str):
        raise TypeError(f"lpnum.format: expected a format or its name, not {type(spec).__name__}")
    if spec in _NAMED:
        return _NAMED[spec]
    near = difflib.get_close_matches(spec, _NAMED, n=3, cutoff=0.5) or sorted(_NAMED)
    hint = " or ".join([", ".join(near[:-1]), near[-1]] if len(near) > 1 else near)
    raise ValueError(f"lpnum.format: unknown format {spec!r}; did you mean {hint}?")


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


def finfo(fmt: Format | str) -> FloatFormat:
    """The numbers of a float format under NumPy's names: ``bits, max, min, eps, smallest_normal, ...``.

    >>> lpnum.finfo("float8_e5m2").max
    57344.0
    """
    fmt = format(fmt)
    if not isinstance(fmt, FloatFormat):
        raise TypeError(f"finfo: {fmt!r} is not a floating-point format")
    return fmt


def __getattr__(name: str) -> Format:
    """Named formats are attributes: ``lpnum.formats.fixed8``."""
    if name in _NAMED:
        return _NAMED[name]
    raise AttributeError(f"module 'lpnum.formats' has no attribute {name!r}")
