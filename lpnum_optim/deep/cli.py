"""Command line: ``python -m lpnum_optim.deep resnet14|lstm|plan|report``. Tables go to stdout, progress to stderr.

Exit codes: 0 done, 1 the data or a dependency is at fault, 2 the command line is, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import cli_commands, cli_report

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m lpnum_optim.deep", description="Experiments with deep networks.")
    commands = parser.add_subparsers(dest="command", required=True)
    cli_commands.add(commands)
    cli_report.add(commands)
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed what is wrong, or the help
        return int(stop.code or 0)
    try:
        return int(arguments.run(arguments))
    except (ValueError, OSError, ImportError) as error:
        print(f"lpnum_optim.deep: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lpnum_optim.deep: interrupted; the epoch that was running is lost, all others are on the disk. "
              "The same command with --resume goes on.", file=sys.stderr)  # fmt: skip
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
