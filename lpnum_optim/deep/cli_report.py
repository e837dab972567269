"""``report``: the runs of a folder as one CSV, a picture and a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lpnum._files import atomic_writer

from .experiment_plots import plot_curves
from .experiment_report import curves, merge, table

__all__ = ["add", "report"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    sub = commands.add_parser(
        "report", help="results of a folder, as CSV, picture and table",
        description="Merge what the runs of a folder have written so far into results.csv, draw results.png, and print "
        "a table in Markdown.",
    )  # fmt: skip
    sub.add_argument("folder", metavar="DIR", type=Path, help="the --out of the experiment")
    sub.add_argument("--title", default="", help="of the picture")
    sub.set_defaults(run=lambda arguments: report(arguments.folder, arguments.title))


def report(folder: Path, title: str = "") -> int:
    """Write results.csv and results.png, print the table."""
    rows = merge(folder)
    files = [folder / "results.csv"]
    try:
        figure = plot_curves(curves(rows), title)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
    else:
        files.append(folder / "results.png")
        with atomic_writer(files[-1]) as file:
            figure.savefig(file, format="png", dpi=110)
    print(table(rows), end="")
    print("\n".join(f"wrote {file}" for file in files), file=sys.stderr)
    return 0
