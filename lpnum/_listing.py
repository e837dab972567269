"""Formats as text: the table of all of them, and the codes of one."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lpnum import formats
from lpnum.formats import FixedFormat, FloatFormat, Format

# How a format is written where it has no name; what its repr says, with or without "lpnum.".
_CONSTRUCTORS: dict[str, Callable[..., Format]] = {
    "fixed": formats.fixed,
    "minifloat": formats.minifloat,
    "p3109": formats.p3109,
}


def single_format(spec: Any, where: str) -> Format:
    """The format of a name, refused if it is not one of single numbers (a block format has no values by itself)."""
    fmt: Any = formats.format(spec)
    if not isinstance(fmt, Format):
        element = getattr(fmt, "element", None)
        advice = "" if element is None else f"; take that of its elements, {element!r}"
        raise ValueError(f"{where}: {fmt!r} is not a format of single numbers{advice}")
    return fmt


def parse_format(text: str) -> Format:
    """A format from its name or its repr, without evaluating anything else.

    >>> from lpnum._listing import parse_format
    >>> parse_format("float8_e5m2"), parse_format("p3109(8, 4)"), parse_format("lpnum.fixed(8, frac=4)")
    (lpnum.float8_e5m2, lpnum.p3109(8, 4), lpnum.fixed(8, frac=4))

    Raises
    ------
    ValueError
        For an unknown name (near ones are suggested), and for arguments that make no format.
    """
    text = text.strip().removeprefix("lpnum.")
    name, bracket, _ = text.partition("(")
    if not bracket:
        return single_format(text, "lpnum.format")
    if name not in _CONSTRUCTORS:
        raise ValueError(f"lpnum.format: {name!r} makes no format; use one of {', '.join(_CONSTRUCTORS)}")
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError("not one call")
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        return _CONSTRUCTORS[name](*arguments, **keywords)
    except (ValueError, TypeError, SyntaxError) as error:
        raise ValueError(f"lpnum.format: {text!r}: {error}") from None


# ---- the table of formats --------------------------------------------------------------------------------------------

HEADER = ("format", "bits", "max", "smallest normal", "smallest subnormal", "eps", "specials")


def specials(fmt: Format) -> str:
    """What a format has besides finite numbers.

    >>> from lpnum._listing import specials
    >>> specials(lpnum.float8_e5m2), specials(lpnum.fixed8)
    ('NaN, inf, -0', '-')
    """
    if isinstance(fmt, FixedFormat):
        return "-"
    found = [("NaN", fmt.nan_code is not None), ("inf", fmt.inf_code is not None), ("-0", fmt.has_negative_zero)]
    return ", ".join(name for name, there in found if there) or "-"


def has_subnormals(fmt: Format) -> bool:
    """Whether there are values between 0 and the smallest normal one."""
    return isinstance(fmt, FloatFormat) and fmt.smallest_subnormal < fmt.smallest_normal


def _row(fmt: Format) -> tuple[str, ...]:
    normal = f"{fmt.smallest_normal:.6g}" if isinstance(fmt, FloatFormat) else "-"
    subnormal = f"{fmt.smallest_subnormal:.6g}" if isinstance(fmt, FloatFormat) and has_subnormals(fmt) else "-"
    name = formats.name_of(fmt) or repr(fmt).removeprefix("lpnum.")
    return name, str(fmt.bits), f"{fmt.max:.6g}", normal, subnormal, f"{fmt.eps:.6g}", specials(fmt)


def format_table(chosen: Iterable[Format] | None = None) -> str:
    """Formats (default: all named ones), one per line, under one line of headings; "-" for what there is not."""
    return _aligned([HEADER, *map(_row, formats.named().values() if chosen is None else chosen)], "<>>>>><")


def block_table() -> str:
    """The named block formats, one per line; the bits are those of an element with its share of the block's scale."""
    rows: list[tuple[str, ...]] = [
        ("block format", "bits", "elements", "block", "scales", "scale rounding", "tensor scale")
    ]
    for name, fmt in formats.named_blocks().items():
        element, scale = (part.name for part in (fmt.element, fmt.scale_format))
        tensor = "float32" if fmt.tensor_scale else "-"
        rows.append((name, f"{fmt.bits_per_element:g}", element, str(fmt.block), scale, fmt.scale_rounding, tensor))
    return _aligned(rows, "<><><<<")


def _aligned(rows: Sequence[tuple[str, ...]], sides: str) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    )


# ---- the codes of one format -----------------------------------------------------------------------------------------


def summary(fmt: Format) -> str:
    """What a format is, in one or two lines.

    >>> from lpnum._listing import summary
    >>> print(summary(lpnum.float8_e4m3fn))
    float8_e4m3fn: 8 bits = 1 sign + 4 exponent + 3 mantissa, bias 7; 253 finite values from -448 to 448
    smallest normal 0.015625, smallest subnormal 0.001953125, eps 0.125; specials: NaN, -0
    """
    name = formats.name_of(fmt) or repr(fmt).removeprefix("lpnum.")
    values = np.unique(fmt.code_values[np.isfinite(fmt.code_values)])  # -0 and 0 are one value
    span = f"{values.size} finite values from {number(fmt.min)} to {number(fmt.max)}"
    if isinstance(fmt, FixedFormat):
        kind = "two's complement" if fmt.signed else "unsigned"
        scale = "the scale is chosen from the data" if fmt.calibrated else f"{fmt.frac} of them behind the binary point"
        return f"{name}: {fmt.bits} bits, {kind}; {span} in steps of {number(fmt.unit)} (at scale 1)\n{scale}"
    sign = "1 sign + " if fmt.signed else ""
    fields = f"{sign}{fmt.exponent_bits} exponent + {fmt.mantissa_bits} mantissa, bias {fmt.bias}"
    smallest = f"smallest normal {number(fmt.smallest_normal)}"
    if has_subnormals(fmt):
        smallest += f", smallest subnormal {number(fmt.smallest_subnormal)}"
    return f"{name}: {fmt.bits} bits = {fields}; {span}\n{smallest}, eps {number(fmt.eps)}; specials: {specials(fmt)}"


def number(value: float) -> str:
    """The shortest decimal that reads back as `value`, without a trailing ".0"."""
    return repr(float(value)).removesuffix(".0")


def bits(code: int, fmt: Format) -> str:
    """A code in binary, fields apart: sign_exponent_mantissa, or the binary point of a fixed-point format.

    >>> from lpnum._listing import bits
    >>> bits(0x7e, lpnum.float8_e4m3fn), bits(-2, lpnum.fixed8), bits(24, lpnum.fixed(8, frac=4))
    ('0_1111_110', '11111110', '0001.1000')
    """
    text = f"{int(code) & ((1 << fmt.bits) - 1):0{fmt.bits}b}"
    if isinstance(fmt, FixedFormat):
        inside = fmt.frac is not None and 0 < fmt.frac < fmt.bits
        return f"{text[: -(fmt.frac or 0)]}.{text[-(fmt.frac or 0) :]}" if inside else text
    at, parts = 0, []
    for width in (int(fmt.signed), fmt.exponent_bits, fmt.mantissa_bits):
        parts += [text[at : at + width]] if width else []
        at += width
    return "_".join(parts)


def kind(value: float, fmt: Format) -> str:
    """The class of a value: "zero", "normal", "subnormal", "inf" or "NaN"; nothing for fixed point."""
    if isinstance(fmt, FixedFormat):
        return ""
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "inf"
    return "zero" if value == 0 else "normal" if abs(value) >= fmt.smallest_normal else "subnormal"


def code_lines(
    fmt: Format,
    *,
    codes: tuple[int | None, int | None] = (None, None),
    values: tuple[float | None, float | None] = (None, None),
    limit: int = 0,
) -> Iterator[str]:
    """Codes of a format, one per line: number, hexadecimal, bits, exact value, class.

    Parameters
    ----------
    fmt : format
    codes : pair of int or None
        First and last code to list.
    values : pair of float or None
        Smallest and largest value to list; NaN is left out if either is given.
    limit : int
        At most so many codes: the first and the last ones, and a line that counts those between. 0 lists all.
    """
    all_codes, all_values = fmt.all_codes(), fmt.code_values
    chosen = np.ones(all_codes.size, bool)
    for bounds, what in ((codes, all_codes), (values, all_values)):
        chosen &= True if bounds[0] is None else what >= bounds[0]
        chosen &= True if bounds[1] is None else what <= bounds[1]
    where = np.flatnonzero(chosen)
    cut = where.size if not limit or where.size <= limit else (limit + 1) // 2
    rest = where[cut:] if cut == where.size else where[where.size - (limit - cut) :]
    hidden = where.size - cut - rest.size
    yield from _lines(where[:cut], fmt, all_codes, all_values)
    if hidden:
        yield f"   ...  {hidden} more (--limit 0 for all; --codes FIRST:LAST or --values LOW:HIGH for a part)"
    yield from _lines(rest, fmt, all_codes, all_values)


def _lines(where: Sequence[int] | np.ndarray, fmt: Format, codes: np.ndarray, values: np.ndarray) -> Iterator[str]:
    digits = -(-fmt.bits // 4)
    for k in where:
        code, value = int(codes[k]), float(values[k])
        pattern = f"0x{code & ((1 << fmt.bits) - 1):0{digits}x}"
        yield f"{code:>6}  {pattern}  {bits(code, fmt)}  {number(value):<24}{kind(value, fmt)}".rstrip()
