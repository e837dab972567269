"""``compare``: several methods on real data, side by side."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import _cli_arguments as types
from .compare import Outcome, compare, settings, table, write_csv
from .datasets import BUNDLED, Dataset, load_file
from .losses import LOSSES
from .minimize import METHODS
from .plotting import plot_comparison


def add(commands: Any) -> None:
    """Add the command to the parser."""
    sub = commands.add_parser(
        "compare",
        help="compare methods on real data",
        description="Minimize with several methods and compare how far they get. Without --data: two data sets bundled "
        "with scikit-learn and a synthetic one.",
    )
    sub.add_argument("--data", metavar="FILE", type=Path, help="npz with X and y, CSV with a header, or LIBSVM text")
    sub.add_argument(
        "--target",
        metavar="NAME",
        help="target column of a CSV (default: the last), target array of an npz (default: y)",
    )
    sub.add_argument(
        "--loss",
        default="auto",
        choices=("auto", *LOSSES),
        help="loss for --data (default: by its targets)",
    )
    sub.add_argument(
        "--l2",
        type=types.nonnegative,
        help="L2 penalty for --data (default: Lipschitz constant / number of samples, at most 10000)",
    )
    sub.add_argument(
        "--methods",
        type=types.methods,
        default=list(METHODS),
        metavar="A,B",
        help=f"of {', '.join(METHODS)} (default: all)",
    )
    sub.add_argument(
        "--bits",
        type=types.bits,
        metavar="B,C",
        help="bits of low-precision iterates, 2..16 (default: 8, and 16 for halp and lp-svrg)",
    )
    sub.add_argument("--epochs", type=types.positive, default=50, help="default: 50")
    sub.add_argument("--seed", type=types.seed, default=0, help="default: 0")
    sub.add_argument(
        "--out",
        type=Path,
        default=Path("demo"),
        metavar="DIR",
        help="where convergence.csv and .png go (default: demo)",
    )
    sub.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    sub.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare, write the files, print the table."""
    if arguments.data is not None:
        datasets = [load_file(arguments.data, arguments.target, loss=arguments.loss, l2=arguments.l2)]
    else:
        datasets = [make() for make in BUNDLED.values()]
    chosen = settings(arguments.methods, arguments.bits)
    progress = types.Progress(len(datasets) * len(chosen))
    try:
        outcomes = compare(datasets, chosen, epochs=arguments.epochs, seed=arguments.seed, callbacks=progress.callbacks)
    finally:
        progress.close()
    files = _write(outcomes, datasets, arguments.out)
    if arguments.json:
        rows = [{key: types.plain(value) for key, value in outcome.row().items()} for outcome in outcomes]
        print(json.dumps({"results": rows, "files": files, "seed": arguments.seed}, indent=1))
    else:
        for data in datasets:
            n, d = data.X.shape
            print(f"{data.name}: {data.description}; {n} x {d}, {data.loss} loss, L2 {data.l2:.3g}")
        print("\n" + table(outcomes))
        print("\n" + "\n".join(f"wrote {file}" for file in files))
    return 0


def _write(outcomes: list[Outcome], datasets: list[Dataset], folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "convergence.csv"]
    write_csv(outcomes, files[0])
    titles = {
        data.name: f"{data.name} ({data.X.shape[0]} x {data.X.shape[1]})\n{data.description}" for data in datasets
    }
    try:
        figure = plot_comparison(outcomes, titles)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
    else:
        files.append(folder / "convergence.png")
        figure.savefig(files[-1], dpi=130)
    return [str(file) for file in files]
