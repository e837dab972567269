"""What "low" and "high" mean: the formats that a precision assignment chooses from, per kind of tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import lpnum
from lpnum.formats import FloatFormat, Format
from lpnum.rounding import ROUNDING_MODES

__all__ = ["KINDS", "OCP", "OUTPUT", "OUTPUT_GRADIENT", "PAPER", "PARAMETER", "PARAMETER_GRADIENT", "Candidates"]

# What the paper's code calls P, Y, GP, GY.
PARAMETER, OUTPUT, PARAMETER_GRADIENT, OUTPUT_GRADIENT = KINDS = (
    "parameter", "output", "parameter-gradient", "output-gradient"
)  # fmt: skip
Kind = str
FormatsPerKind = Format | str | Mapping[Kind, Format | str]


class Formats(TypedDict):
    """Keyword arguments of `PrecisionPlan`'s constructors."""

    low: FormatsPerKind
    high: FormatsPerKind
    rounding: str


FP434 = lpnum.minifloat(4, 3, bias=11, specials="none")
FP520 = lpnum.minifloat(5, 2, bias=15, specials="none")
FP690 = lpnum.minifloat(6, 9, bias=31, specials="none")

# FP(4,3,4), FP(5,2,0) and FP(6,9,0) of the paper: 8 and 16 bits without special values, ties away from zero; gradients
# of parameters are never low.
PAPER: Formats = {
    "low": {PARAMETER: FP434, OUTPUT: FP434, PARAMETER_GRADIENT: FP690, OUTPUT_GRADIENT: FP520},
    "high": FP690,
    "rounding": "nearest-away",
}
# The OCP pair of 8-bit formats, with bfloat16 above them.
OCP: Formats = {
    "low": {PARAMETER: "float8_e4m3fn", OUTPUT: "float8_e4m3fn", PARAMETER_GRADIENT: "bfloat16",
            OUTPUT_GRADIENT: "float8_e5m2"},
    "high": "bfloat16",
    "rounding": "nearest-even",
}  # fmt: skip
_NAMES: dict[Format, str] = {FP434: "FP(4,3,4)", FP520: "FP(5,2,0)", FP690: "FP(6,9,0)"}

# Without scales, the numbers of a network are expected to need these; loss scaling moves gradients into any window.
_FORWARD_MAX, _FORWARD_SMALLEST, _GRADIENT_RANGE = 4.0, 2.0**-8, 2.0**12


def format_name(fmt: Format) -> str:
    """Of the paper's formats FP(exponent bits, mantissa bits, extra bias).

    >>> format_name(FP434), format_name(lpnum.fixed8)
    ('FP(4,3,4)', 'fixed8')
    """
    return _NAMES.get(fmt, fmt.name)


@dataclass(frozen=True)
class Candidates:
    """The low and the high format of every kind of tensor, and how all are rounded."""

    low: Mapping[Kind, Format]
    high: Mapping[Kind, Format]
    rounding: str

    @classmethod
    def of(cls, low: FormatsPerKind, high: FormatsPerKind, rounding: str) -> Candidates:
        """Checked: one format for all kinds or a dictionary with all four, none wider when low than when high.

        Raises
        ------
        ValueError
            Kinds are missing or unknown; a low format has more bits than the high one; a format has no negative values
            or no zero; a rounding mode that codes of tensors cannot have.
        TypeError
            Not a format of elements of up to 16 bits.
        """
        if rounding not in ROUNDING_MODES or rounding == "stochastic":
            allowed = ", ".join(repr(m) for m in ROUNDING_MODES if m != "stochastic")
            raise ValueError(f"rounding = {rounding!r}; expected one of {allowed}")
        found = cls(_per_kind(low, "low"), _per_kind(high, "high"), rounding)
        for kind in KINDS:
            if found.low[kind].bits > found.high[kind].bits:
                raise ValueError(
                    f"{kind}: low = {format_name(found.low[kind])} has {found.low[kind].bits} bits and high = "
                    f"{format_name(found.high[kind])} has {found.high[kind].bits}; expected low to be the narrower"
                )
        return found

    def saves(self, kind: Kind) -> int:
        """Bits per element that a tensor of this kind loses when it becomes low."""
        return self.high[kind].bits - self.low[kind].bits


def _per_kind(formats: FormatsPerKind, what: str) -> dict[Kind, Format]:
    if not isinstance(formats, Mapping):
        return dict.fromkeys(KINDS, _checked(formats, what))
    if set(formats) != set(KINDS):
        raise ValueError(
            f"{what}: formats for {', '.join(map(repr, formats))}; expected one for each of "
            f"{', '.join(map(repr, KINDS))}"
        )
    return {kind: _checked(formats[kind], f"{what}[{kind!r}]") for kind in KINDS}


def _checked(value: Any, what: str) -> Format:
    fmt = lpnum.format(value)
    if not isinstance(fmt, Format):
        raise TypeError(f"{what}: {fmt} is no format of single elements; expected a fixed or float format")
    if not fmt.signed or (isinstance(fmt, FloatFormat) and not fmt.zero):
        raise ValueError(f"{what}: {fmt.name} has no {'zero' if fmt.signed else 'negative values'}, which tensors have")
    return fmt


def range_problem(fmt: Format, kind: Kind) -> str | None:
    """Why tensors of a kind do not fit into a format without scales; None if they can."""
    smallest = fmt.smallest_subnormal if isinstance(fmt, FloatFormat) else fmt.unit
    if kind in (PARAMETER, OUTPUT):
        enough = fmt.max >= _FORWARD_MAX and smallest <= _FORWARD_SMALLEST
    else:
        enough = fmt.max / smallest >= _GRADIENT_RANGE
    if enough:
        return None
    reach = f"reaches from {smallest:g} to {fmt.max:g} ({math.log2(fmt.max / smallest):.0f} binades)"
    return f"{format_name(fmt)} for tensors of kind {kind!r} {reach}"
