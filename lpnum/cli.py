"""``python -m lpnum``: the table of formats, every code of one, and arrays in files quantized with an error report.

Exit codes: 0 done, 1 a file or a dependency is at fault, 2 the command line is.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lpnum import _listing, config, rounding, scaling
from lpnum._core import kernels
from lpnum.formats import Format


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (wrong arguments end in SystemExit with code 2, as in argparse)."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError, MemoryError) as error:
        print(f"lpnum: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lpnum: interrupted", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lpnum", description="Low-precision formats and arrays.")
    level = kernels.SIMD_LEVELS[kernels.simd_level()]
    parser.add_argument("--version", action="version", version=f"lpnum {config.__version__} ({level})")
    commands = parser.add_subparsers(dest="command", required=True)
    a_format = "name, such as float8_e4m3fn, or a call in quotes: 'minifloat(4, 3, 4)', 'p3109(8, 4)', 'fixed(8, 4)'"

    sub = commands.add_parser("formats", help="table of formats", description="Table of formats, at scale 1.")
    sub.add_argument("format", nargs="*", type=_format, help=f"{a_format} (default: all that have a name)")
    sub.set_defaults(run=_formats)

    sub = commands.add_parser("show", help="the codes of a format and their values", description="Codes and values.")
    sub.add_argument("format", type=_format, help=a_format)
    sub.add_argument("--limit", type=_count, default=256, metavar="N", help="at most N codes, 0 for all (default: 256)")
    sub.add_argument("--codes", type=_range(_integer), default=(None, None), metavar="FIRST:LAST", help="only these")
    sub.add_argument(
        "--values",
        type=_range(_number),
        default=(None, None),
        metavar="LOW:HIGH",
        help="only these; one end may be missing, and where the first is negative write --values=-1:1",
    )
    sub.add_argument("--plot", type=Path, metavar="FILE", help="draw where the values lie (.png, .svg, .pdf)")
    sub.set_defaults(run=_show, complain=sub.error)

    sub = commands.add_parser(
        "quantize",
        help="quantize an array in a file and report the errors",
        description="Quantize a real array of an .npy or .npz file. The input is read in parts and never changed.",
    )
    sub.add_argument("input", type=Path, metavar="IN", help=".npy, or .npz with one array (or --key)")
    sub.add_argument("output", type=Path, metavar="OUT.npz", help="a file for lpnum.load")
    sub.add_argument("--format", type=_format, required=True, help=a_format)
    sub.add_argument("--scale", type=_positive, metavar="S", help="value = offset + scale * decode(code)")
    sub.add_argument("--offset", type=_number, metavar="O", help="default: 0, or chosen by --calibration minmax")
    sub.add_argument("--axis", type=_integer, metavar="K", help="a scale for each index of this axis")
    sub.add_argument(
        "--calibration",
        choices=scaling.CALIBRATIONS,
        help="choose the scale from the data (default: absmax for integer codes, scale 1 for the others)",
    )
    sub.add_argument("--rounding", choices=rounding.ROUNDING_MODES, default="nearest-even", help="default: %(default)s")
    sub.add_argument("--overflow", choices=rounding.OVERFLOW_POLICIES, default="clamp", help="default: %(default)s")
    sub.add_argument("--seed", type=_count, metavar="N", help="of stochastic rounding (default: a new one, reported)")
    sub.add_argument("--nan", type=_number, metavar="V", help="store V in place of NaN")
    sub.add_argument("--key", metavar="NAME", help="which array of an .npz")
    sub.add_argument("--plot", type=Path, metavar="FILE", help="draw the values and the errors (.png, .svg, .pdf)")
    sub.add_argument("--json", action="store_true", help="print the report as JSON")
    sub.set_defaults(run=_quantize, complain=sub.error)
    return parser


# ---- commands --------------------------------------------------------------------------------------------------------


def _formats(options: argparse.Namespace) -> None:
    print(_listing.format_table(options.format or None))
    if not options.format:
        print(f"\n{_listing.block_table()}")


def _show(options: argparse.Namespace) -> None:
    if options.plot is not None:
        from lpnum import _figures, plotting

        _figures.check_picture(options.plot, options.complain)
        figure, axes = _figures.new_figure(9.0, 1.9)
        plotting.number_line(options.format, axes)
        _figures.save_picture(figure, options.plot)
    print(_listing.summary(options.format))
    for line in _listing.code_lines(options.format, codes=options.codes, values=options.values, limit=options.limit):
        print(line)


def _quantize(options: argparse.Namespace) -> None:
    from lpnum import _quantize_file

    _quantize_file.command(options, options.complain)


# ---- types of arguments ----------------------------------------------------------------------------------------------


def _format(text: str) -> Format:
    try:
        return _listing.parse_format(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not greater than 0")
    return value


def _integer(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer (decimal, or 0x...)") from None


def _count(text: str) -> int:
    value = _integer(text)
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 to 2**64 - 1")
    return value


def _range(number: Callable[[str], Any]) -> Callable[[str], tuple[Any, Any]]:
    """LOW:HIGH, either of which may be missing."""

    def pair(text: str) -> tuple[Any, Any]:
        low, colon, high = text.partition(":")
        if not colon:
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form LOW:HIGH")
        return tuple(number(end) if end else None for end in (low, high))  # type: ignore[return-value]

    return pair
