"""Command line: ``python -m lpnum_optim compare``. Results go to stdout, progress to stderr.

Exit codes: 0 done, 1 the data or a dependency is at fault, 2 the command line is.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lpnum

from ._checks import choice
from .callbacks import Callback, ProgressBar
from .compare import Outcome, compare, settings, table, write_csv
from .datasets import BUNDLED, Dataset, load_file
from .minimize import METHODS
from .plotting import plot_comparison


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
    try:
        return _compare(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"lpnum_optim: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lpnum_optim: interrupted", file=sys.stderr)
        return 1


def _version() -> str:
    from lpnum._core import kernels

    return f"lpnum {lpnum.__version__} (SIMD level {kernels.SIMD_LEVELS[kernels.simd_level()]})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lpnum_optim", description="Low-precision training.")
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command")
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
        choices=("auto", "logistic", "squared"),
        help="loss for --data (default: by its targets)",
    )
    sub.add_argument(
        "--l2",
        type=_nonnegative,
        help="L2 penalty for --data (default: Lipschitz constant / number of samples, at most 10000)",
    )
    sub.add_argument(
        "--methods", type=_methods, default=list(METHODS), metavar="A,B", help=f"of {', '.join(METHODS)} (default: all)"
    )
    sub.add_argument(
        "--bits",
        type=_bits,
        metavar="B,C",
        help="bits of low-precision iterates, 2..16 (default: 8, and 16 for halp and lp-svrg)",
    )
    sub.add_argument("--epochs", type=_positive, default=50, help="default: 50")
    sub.add_argument("--seed", type=_seed, default=0, help="default: 0")
    sub.add_argument(
        "--out",
        type=Path,
        default=Path("demo"),
        metavar="DIR",
        help="where convergence.csv and .png go (default: demo)",
    )
    sub.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    return parser


def _compare(arguments: argparse.Namespace) -> int:
    if arguments.data is not None:
        datasets = [load_file(arguments.data, arguments.target, loss=arguments.loss, l2=arguments.l2)]
    else:
        datasets = [make() for make in BUNDLED.values()]
    chosen = settings(arguments.methods, arguments.bits)
    progress = _Progress(len(datasets) * len(chosen))
    try:
        outcomes = compare(datasets, chosen, epochs=arguments.epochs, seed=arguments.seed, callbacks=progress.callbacks)
    finally:
        progress.close()
    files = _write(outcomes, datasets, arguments.out)
    if arguments.json:
        rows = [{key: _plain(value) for key, value in outcome.row().items()} for outcome in outcomes]
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


class _Progress:
    """A bar per run on a terminal; one line per finished run elsewhere (a log)."""

    def __init__(self, runs: int) -> None:
        self.runs, self.done = runs, 0
        self.bar: ProgressBar | None = None

    def callbacks(self, label: str) -> list[Callback]:
        self.close()
        self.done += 1
        label = f"[{self.done}/{self.runs}] {label}"
        if not sys.stderr.isatty():
            print(label, file=sys.stderr, flush=True)
            return []
        self.bar = ProgressBar(label=label)
        return [self.bar]

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _methods(text: str) -> list[str]:
    try:
        return [choice("--methods", "method", name.strip(), METHODS) for name in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _number(text: str, what: str, low: float, high: float, kind: type = int) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high or math.isinf(value):
        raise argparse.ArgumentTypeError(f"{text!r}; expected {what}")
    return value


def _bits(text: str) -> list[int]:
    return [_number(part, "integers in 2..16, separated by commas", 2, 16) for part in text.split(",")]


def _positive(text: str) -> int:
    return int(_number(text, "an integer >= 1", 1, math.inf))


def _seed(text: str) -> int:
    return int(_number(text, "an integer >= 0", 0, 2**64 - 1))


def _nonnegative(text: str) -> float:
    return float(_number(text, "a number >= 0", 0, math.inf, float))


if __name__ == "__main__":
    sys.exit(main())
