"""The runs of a folder together: one CSV, a picture, a table."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .experiment_runs import Row, write_csv

__all__ = ["Curve", "curves", "merge", "read_rows", "table"]

TEXT = ("method", "format")
WHOLE = ("seed", "epoch", "skipped", "promoted")


def read_rows(file: Path) -> list[Row]:
    """Rows of a CSV of `write_csv`; numbers as numbers, what is missing left out."""
    try:
        with file.open(newline="", encoding="utf-8") as text:
            return [
                {name: _value(name, value) for name, value in row.items() if value not in ("", None)}
                for row in csv.DictReader(text)
            ]
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not the log of a run: {error}") from None


def _value(name: str, value: str) -> str | int | float:
    return value if name in TEXT else int(value) if name in WHOLE else float(value)


def merge(folder: Path) -> list[Row]:
    """All rows of ``folder/runs/*.csv``, which become ``folder/results.csv``; without them, those of results.csv.

    Raises
    ------
    ValueError
        If there are none.
    """
    logs = sorted((folder / "runs").glob("*.csv"))
    if logs:
        rows = [row for log in logs for row in read_rows(log)]
        write_csv(folder / "results.csv", rows)
        return rows
    if not (folder / "results.csv").exists():
        raise ValueError(f"{folder}: no results here, neither runs/*.csv nor results.csv")
    return read_rows(folder / "results.csv")


class Curve(NamedTuple):
    """One method and format: a list of rows per epoch, one row per seed, as far as all seeds have come."""

    method: str
    format: str
    epochs: list[list[Row]]

    @property
    def label(self) -> str:
        """In legends and tables."""
        return self.method if self.format in ("", "float32", "paper") else f"{self.method} {self.format}"

    def values(self, name: str, epoch: int = -1) -> list[float]:
        """A column after an epoch, one value per seed."""
        return [float(row[name]) for row in self.epochs[epoch]]

    def means(self, name: str) -> list[float]:
        """A column after every epoch, mean over the seeds."""
        return [statistics.fmean(self.values(name, k)) for k in range(len(self.epochs))]


def curves(rows: Sequence[Row]) -> list[Curve]:
    """Rows by method and format: the methods of the linear models in their order, then float32, then others by name."""
    groups: dict[tuple[str, str], dict[int, dict[int, Row]]] = {}
    for row in rows:
        seeds = groups.setdefault((row["method"], row["format"]), {})
        seeds.setdefault(row["seed"], {})[row["epoch"]] = row
    result = []
    order = ["sgd", "lp-sgd", "svrg", "lp-svrg", "halp", "float32"]
    keys = sorted(groups, key=lambda key: (order.index(key[0]) if key[0] in order else len(order), *key))
    for method, fmt in keys:
        seeds = groups[method, fmt]
        common = set.intersection(*(set(by_epoch) for by_epoch in seeds.values()))
        epochs = [[seeds[seed][epoch] for seed in sorted(seeds)] for epoch in sorted(common)]
        result.append(Curve(method, fmt, epochs))
    return result


def shown(values: Sequence[float], digits: int) -> str:
    """Mean, and the range in brackets where there is one.

    >>> shown([0.5, 0.75], 3), shown([2.0, 2.0], 1)
    ('0.625 (0.500 .. 0.750)', '2.0')
    """
    mean, low, high = (f"{f(values):.{digits}f}" for f in (statistics.fmean, min, max))
    return mean if low == high else f"{mean} ({low} .. {high})"


COLUMNS = (
    # title, column, digits, factor
    ("training loss", "train_loss", 4, 1.0),
    ("training loss, evaluation mode", "train_loss_eval", 4, 1.0),
    ("test loss", "test_loss", 4, 1.0),
    ("test accuracy %", "test_accuracy", 2, 100.0),
    ("low ratio", "low_ratio", 3, 1.0),
    ("promoted", "promoted", 0, 1.0),
    ("loss scale", "loss_scale", 0, 1.0),
    ("skipped steps", "skipped", 0, 1.0),
    ("gradient evaluations", "passes", 1, 1.0),
    ("minutes", "seconds", 1, 1 / 60),
)


def table(rows: Sequence[Row], title: str = "method") -> str:
    """Markdown: a row per method and format, after its last epoch; mean over the seeds and range."""
    found = curves(rows)
    columns = [c for c in COLUMNS if any(c[1] in row for row in rows)]
    if all(row.get("train_loss_eval") == row.get("train_loss") for row in rows):  # no batch normalization, no dropout
        columns = [c for c in columns if c[1] != "train_loss_eval"]
    lines = [
        " | ".join(["", title, "seeds", "epochs", *(c[0] for c in columns), ""]).strip(),
        "|---" * (3 + len(columns)) + "|",
    ]
    for curve in found:
        last = curve.epochs[-1]
        cells = [curve.label, str(len(last)), str(last[0]["epoch"])]
        cells += [shown([factor * v for v in curve.values(name)], digits) for _, name, digits, factor in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
