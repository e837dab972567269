"""A report on a plan, or on training under it: every tensor with its format and bytes; as text, CSV and picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from lpnum._figures import GRAY, NORMAL, SUBNORMAL, new_figure, save_picture
from lpnum._files import atomic_writer
from lpnum.formats import Format

from .assignment import TrainingTensor
from .candidates import OUTPUT, format_name

__all__ = ["Report", "ReportRow"]

MIB = 2**20
LABELS = 40  # more groups than this are numbered only


@dataclass(frozen=True)
class ReportRow:
    """One tensor.

    Attributes
    ----------
    tensor : str
        The parameter's name; of an output ``module:function:number``.
    kind : {"parameter", "output", "parameter-gradient", "output-gradient"}
    group : int
        Tensors of one group are demoted together.
    level : {"low", "high", "promoted"}
        "high" by the plan, or "promoted" by training. What has the same format at both levels is "high".
    format : str
    elements, bytes : int
        At the example's batch size; the bytes are those of packed elements.
    overflow : float or None
        Largest share of elements beyond the format's range in any step of training.
    error : float or None
        Relative squared error of the low format when it was last measured.
    promotions : int or None
        How often training promoted it.
    """

    tensor: str
    kind: str
    group: int
    level: str
    format: str
    elements: int
    bytes: int
    overflow: float | None = None
    error: float | None = None
    promotions: int | None = None

    @classmethod
    def of(
        cls, tensor: TrainingTensor, fmt: Format, high: Format, *, promoted: bool = False, **seen: Any
    ) -> ReportRow:  # fmt: skip
        """Of an assigned tensor in a format."""
        level = "promoted" if promoted else "low" if fmt.bits < high.bits else "high"
        part = f"[{tensor.source[1]}]" if tensor.kind.startswith(OUTPUT) and tensor.source[1] else ""
        return cls(
            tensor.name + part, tensor.kind, tensor.group, level, format_name(fmt), tensor.size,
            -(-tensor.size * fmt.bits // 8), **seen,
        )  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What `PrecisionPlan.report` and `Training.report` return; ``print(report)`` shows totals and all tensors.

    The bytes are an aggregate: the sum over all tensors of a step, as the paper computes it. The peak of a step is
    lower, because not all live at the same time; and master weights, optimizer states and workspace are not in it.

    Attributes
    ----------
    name : str
    rows : tuple of ReportRow
        In the order in which the operators run.
    low_ratio : float
        Share of the elements that are low now.
    steps, skipped : int or None
        Of training.
    mean_low_ratio : float or None
        Average over the steps of training.

    Examples
    --------
    >>> import torch
    >>> from lpnum_optim.deep import PrecisionPlan
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    >>> report = PrecisionPlan.demote(net, torch.zeros(128, 64), 0.5).report()
    >>> print(report.summary)
    demote 0.5: 6 of 16 tensors low, 70.9 % of the elements
                    MiB   of float32    of 16 bits
    float32        0.72
    16 bits        0.36       2.00 x
    this           0.23       3.10 x        1.55 x
      FP(6,9,0) 0.10, FP(4,3,4) 0.06, FP(5,2,0) 0.06
    >>> report.rows[0]
    ReportRow(tensor='input', kind='output', group=0, level='high', ...)
    """

    name: str
    rows: tuple[ReportRow, ...]
    low_ratio: float
    steps: int | None = None
    skipped: int | None = None
    mean_low_ratio: float | None = None

    @cached_property
    def bytes_by_format(self) -> dict[str, int]:
        """Aggregate bytes of every format that occurs, most first."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row.format] = found.get(row.format, 0) + row.bytes
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def bytes(self) -> int:
        """Aggregate bytes."""
        return sum(self.bytes_by_format.values())

    @property
    def float32_bytes(self) -> int:
        """The same with float32 everywhere; with 16 bits everywhere it is the half."""
        return 4 * sum(row.elements for row in self.rows)

    @property
    def summary(self) -> str:
        """The totals as text."""
        wide, now = self.float32_bytes, max(self.bytes, 1)
        low = sum(row.level == "low" for row in self.rows)
        lines = [
            f"{self.name}: {low} of {len(self.rows)} tensors low, {100 * self.low_ratio:.1f} % of the elements",
            f"{'MiB':>19}{'of float32':>13}{'of 16 bits':>14}",
            f"{'float32':<8}{wide / MIB:11.2f}",
            f"{'16 bits':<8}{wide / 2 / MIB:11.2f}{2:11.2f} x",
            f"{'this':<8}{self.bytes / MIB:11.2f}{wide / now:11.2f} x{wide / 2 / now:12.2f} x",
            "  " + ", ".join(f"{name} {size / MIB:.2f}" for name, size in self.bytes_by_format.items()),
        ]
        if self.steps is not None:
            promotions = sum(row.promotions or 0 for row in self.rows)
            average = f", {100 * self.mean_low_ratio:.1f} % low on average" if self.mean_low_ratio is not None else ""
            lines.append(f"{self.steps} steps, {self.skipped} left out{average}, {promotions} promotions")
        return "\n".join(lines)

    def __str__(self) -> str:
        columns = _columns(self.rows)
        cells = [columns, *([_shown(row, column) for column in columns] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        left = {"tensor", "kind", "level", "format"}
        table = [
            "  ".join(
                f"{cell:<{width}}" if name in left else f"{cell:>{width}}"
                for name, cell, width in zip(columns, line, widths, strict=True)
            ).rstrip()
            for line in cells
        ]
        return "\n".join([self.summary, "", *table])

    def __repr__(self) -> str:
        return f"<Report {self.summary.splitlines()[0]}>"

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write the rows as a table with a header; the file appears whole or not at all.

        Parameters
        ----------
        path : path
            What was not measured, as overflow before training, is empty.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_columns(self.rows, all_of_them=True))
        writer.writerows(astuple(row) for row in self.rows)
        with atomic_writer(Path(path)) as file:
            file.write(text.getvalue().encode())

    def plot(self, path: str | PathLike[str] | None = None) -> Any:
        """Draw the bytes of every group along the network, low, high and promoted ones stacked.

        Parameters
        ----------
        path : path, optional
            Where to save it; the suffix says which type of picture. Needs matplotlib.

        Returns
        -------
        matplotlib.figure.Figure
        """
        figure, ax = new_figure(9.0, 4.5)
        groups = sorted({row.group for row in self.rows})
        below = dict.fromkeys(groups, 0.0)
        for level, color in (("low", NORMAL), ("high", GRAY), ("promoted", SUBNORMAL)):
            heights = dict.fromkeys(groups, 0.0)
            for row in self.rows:
                if row.level == level:
                    heights[row.group] += row.bytes / MIB
            if any(heights.values()):
                formats = sorted({row.format for row in self.rows if row.level == level})
                ax.bar(groups, list(heights.values()), 0.85, list(below.values()), color=color,
                       label=f"{level}: {', '.join(formats)}")  # fmt: skip
            below = {group: below[group] + heights[group] for group in groups}
        wide = [sum(row.elements for row in self.rows if row.group == group) * 4 / MIB for group in groups]
        ax.step([groups[0] - 0.5, *(group + 0.5 for group in groups)], [wide[0], *wide], "k", where="pre", lw=0.8,
                label="float32")  # fmt: skip
        names = {row.group: row.tensor for row in reversed(self.rows) if row.kind == OUTPUT}
        if len(groups) <= LABELS:
            ax.set_xticks(groups, [names[group].partition(":")[0] or "network" for group in groups], rotation=90)
        ax.set_xlabel("group, from its first tensor")
        ax.set_ylabel("MiB of a step's tensors")
        ax.set_title(self.summary.splitlines()[0], fontsize="medium")
        ax.set_xlim(groups[0] - 0.6, groups[-1] + 0.6)
        ax.legend()
        if path is not None:
            save_picture(figure, Path(path))
        return figure


def _columns(rows: Sequence[ReportRow], all_of_them: bool = False) -> list[str]:
    """Names of the columns; in text without those that nothing is known for."""
    names = [field.name for field in fields(ReportRow)]
    return [name for name in names if all_of_them or any(getattr(row, name) is not None for row in rows)]


def _shown(row: ReportRow, column: str) -> str:
    value = getattr(row, column)
    if value is None:
        return ""
    return f"{value:.2e}" if column == "error" else f"{value:.4f}" if column == "overflow" else str(value)
