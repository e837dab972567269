"""Draw how long solvers take: ``python examples/time_to_accuracy.py [--data-dir DIR] [--data NAME] [--out FILE]``.

What ``make bench-accuracy`` prints: processor time of a whole fit in one thread, until the gradient norm is 1e-6 and
1e-10 of that at zero. DIR holds the public data sets of that command; without it data that are bundled or made here.
"""

from __future__ import annotations

import sys
from typing import Any

import _picture
import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(_picture.IMAGES.parent.parent))  # the benchmarks are not installed

from benchmarks.accuracy import GOALS, Row, measure, table
from benchmarks.accuracy_data import Task, tasks
from benchmarks.accuracy_solvers import one_thread

ROUNDS, LIMIT = 3, 4.0  # turns of every solver; seconds after which a fit is given up
SOLVERS = ["SVRG", "saga float64", "lbfgs float64", "newton-cholesky float64"]
MARKERS = ("o", "D")  # of the goals
OURS, OTHERS = "#1f77b4", "#888888"


def draw(results: list[tuple[Task, list[Row]]]) -> Figure:
    """A panel for each task, a line for each solver, from the first goal to the second."""
    names = list(dict.fromkeys(row.solver for _, rows in results for row in rows))
    figure = Figure(figsize=(3.1 * len(results) + 1.6, 0.32 * len(names) + 1.5), layout="constrained")
    panels: Any = figure.subplots(1, len(results), squeeze=False, sharex=True, sharey=True)[0]
    for ax, (task, rows) in zip(panels, results, strict=True):
        for row in rows:
            y, color = names.index(row.solver), OURS if row.solver == "HALP-8" else OTHERS
            marker = MARKERS[GOALS.index(row.goal)]
            if row.iterations is not None:
                ax.plot(row.seconds * 1e3, y, marker, color=color, markersize=7 if marker == "o" else 5.5)
        for y, name in enumerate(names):
            times = [row.seconds * 1e3 for row in rows if row.solver == name and row.iterations is not None]
            ax.plot(times, [y] * len(times), "-", color=OURS if name == "HALP-8" else OTHERS, linewidth=1.2)
            if not times:
                ax.text(0.02, y, "not reached", fontsize=8, va="center", transform=ax.get_yaxis_transform())
        ax.set_xscale("log")
        ax.set_xlabel("milliseconds")
        ax.set_title(f"{task.name}: {task.X.shape[0]} x {task.X.shape[1]}", fontsize=10)
        ax.grid(True, alpha=0.25)
        ax.margins(x=0.12)
    panels[0].set_yticks(np.arange(len(names)), names, fontsize=9)
    panels[0].invert_yaxis()
    for goal, marker in zip(GOALS, MARKERS, strict=True):
        panels[0].plot([], [], marker, color="#444444", markersize=6, label=f"gradient {goal:g} of the start")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def main() -> None:
    """Measure, print the tables, draw."""
    parser = _picture.parser(__doc__, _picture.IMAGES / "time_to_accuracy.png", data="mnist.npz, a9a.npz, ...")
    parser.add_argument("--data", nargs="+", metavar="NAME", help="only these data sets")
    options = parser.parse_args()
    results = []
    with one_thread():
        for task in tasks(options.data_dir, options.data):
            rows = measure(task, ROUNDS, LIMIT, SOLVERS)
            print("\n".join(table(task, rows)), flush=True)
            results.append((task, rows))
    _picture.save(draw(results), options.out)


if __name__ == "__main__":
    main()
