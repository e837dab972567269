"""``python -m lpnum``: the table of formats, and every code of one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from lpnum import config, formats
from lpnum._core import kernels
from lpnum.formats import FixedFormat, Format


def specials(fmt: Format) -> str:
    """What a format has besides finite numbers."""
    if isinstance(fmt, FixedFormat):
        return "-"
    found = [("NaN", fmt.nan_code is not None), ("inf", fmt.inf_code is not None), ("-0", fmt.has_negative_zero)]
    return ", ".join(name for name, there in found if there) or "-"


def table() -> str:
    """All named formats, one per line."""
    rows = [("format", "bits", "max", "smallest", "eps", "specials")]
    for name, fmt in formats.named().items():
        smallest = fmt.unit if isinstance(fmt, FixedFormat) else fmt.smallest_subnormal
        rows.append((name, str(fmt.bits), f"{fmt.max:.6g}", f"{smallest:.6g}", f"{fmt.eps:.6g}", specials(fmt)))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    aligned = ("<", ">", ">", ">", ">", "<")
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=True)).rstrip()
        for row in rows
    )


def codes(fmt: Format) -> str:
    """Every code of a format: number, bits, value at scale 1."""
    lines = []
    for code, value in zip(fmt.all_codes().tolist(), fmt.code_values.tolist(), strict=True):
        bits = f"{code & ((1 << fmt.bits) - 1):0{fmt.bits}b}"
        lines.append(f"{code:>6}  {bits}  {value:.9g}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for wrong arguments)."""
    parser = argparse.ArgumentParser(prog="python -m lpnum", description=__doc__)
    level = kernels.SIMD_LEVELS[kernels.simd_level()]
    parser.add_argument("--version", action="version", version=f"lpnum {config.__version__} ({level})")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("formats", help="table of the named formats")
    show = commands.add_parser("show", help="every code of a format and its value")
    show.add_argument("format", help="name of a format, e.g. float8_e4m3fn")
    options = parser.parse_args(arguments)
    if options.command == "formats":
        print(table())
        return 0
    try:
        fmt = formats.format(options.format)
    except ValueError as error:
        parser.error(str(error))
    print(codes(fmt))
    return 0
