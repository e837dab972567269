"""Command line: ``python -m lpnum_optim compare|fit|predict``. Results go to stdout, progress to stderr.

Exit codes: 0 done, 1 the data or a dependency is at fault, 2 the command line is.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import lpnum

from . import _cli_compare, _cli_fit, _cli_predict


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return its exit code."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed what is wrong, or the help
        return int(stop.code or 0)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 2
    wrong = arguments.check(arguments) if hasattr(arguments, "check") else None
    if wrong:
        print(f"lpnum_optim {arguments.command}: error: {wrong}", file=sys.stderr)
        return 2
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return int(arguments.run(arguments))
    except (ValueError, OSError, ImportError) as error:
        print(f"lpnum_optim: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"lpnum_optim: interrupted{f'; {stop}' if str(stop) else ''}", file=sys.stderr)
        return 1


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """In the words of the command line, without the place in a library."""
    print(f"lpnum_optim: warning: {message}", file=sys.stderr)


def _version() -> str:
    from lpnum._core import kernels

    return f"lpnum {lpnum.__version__} (SIMD level {kernels.SIMD_LEVELS[kernels.simd_level()]})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lpnum_optim", description="Low-precision training.")
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command")
    for command in (_cli_compare, _cli_fit, _cli_predict):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
