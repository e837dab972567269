"""Small binary floating point as data: the family of float8, float6, float4, bfloat16, P3109 and all between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lpnum._core import kernels

__all__ = ["SPECIALS", "FloatFormat", "minifloat", "p3109"]

SPECIALS = ("ieee", "fn", "fnuz", "none", "p3109", "p3109-finite")


def _named(fmt: FloatFormat) -> str | None:
    from lpnum import formats  # the table of named formats is made of this class

    return formats.name_of(fmt)


@dataclass(frozen=True)
class FloatFormat:
    """Small binary floating point of 3 to 16 bits; codes are sign, exponent field E and mantissa field M.

    ``value = (-1)^sign * (1 + M / 2^m) * 2^(E - bias)`` for E > 0, ``M / 2^m * 2^(1 - bias)`` (subnormal) for E = 0.

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
    "fnuz"         the code of -0 (unsigned: the largest code)  none                        no
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
        unsigned = "" if self.signed else "u"
        return (
            _named(self)
            or f"{unsigned}minifloat{self.exponent_bits}_{self.mantissa_bits}_bias{self.bias}_{self.specials}"
        )

    def __repr__(self) -> str:
        name = _named(self)
        if name is not None:
            return f"lpnum.{name}"
        signed = "" if self.signed else ", signed=False"
        precision = self.mantissa_bits + 1
        if self.exponent_bits and self.specials.startswith("p3109"):
            extended = self.specials == "p3109"
            if self == p3109(self.bits, precision, self.signed, extended):
                return f"lpnum.p3109({self.bits}, {precision}{signed}{'' if extended else ', extended=False'})"
        fields = f"{self.exponent_bits}, {self.mantissa_bits}, {self.bias}, {self.specials!r}{signed}"
        return f"lpnum.minifloat({fields})" if self.zero else f"lpnum.FloatFormat({fields}, zero=False)"

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
