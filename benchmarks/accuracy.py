"""Time to accuracy of HALP-8 against SVRG in full precision and scikit-learn's solvers: ``make bench-accuracy``.

Seconds of processor time in one thread until the gradient norm of one and the same float64 objective has fallen to a
given part of the norm at zero. A fit is measured whole, from data in memory to coefficients: 8-bit codes for HALP-8,
the same values as floats for the others. Every solver runs with the fewest iterations that reach the goal (found
beforehand, to 3 %); rounds in which each solver has its turn, and the median of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import accuracy_data
from benchmarks.accuracy_solvers import GradientNorm, Setting, Solver, one_thread, solvers
from lpnum._core import kernels

GOALS = (1e-6, 1e-10)
# What HALP-8 promises at the first goal: (rival, how many times its time). Of the float types in which a rival arrives
# the fastest counts: where float32 SVRG does not arrive, float64 SVRG is the rival.
PROMISES = (("SVRG float", 3.0), ("saga", 5.0), ("lbfgs", 1.0), ("newton", 1.0))
MEASURED = "HALP-8"
# A turn shorter than this is repeated: the clock of the processor time and the caches need more.
TURN_SECONDS = 0.05


@dataclass(frozen=True)
class Row:
    """One solver, one goal.

    `seconds` is NaN where the goal is not reached; `norm` is the smallest relative norm; `spent` the seconds of the
    fit that was given up because it took longer than the limit.
    """

    task: str
    solver: str
    goal: float
    iterations: int | None
    seconds: float
    norm: float
    spent: float = float("nan")


@dataclass(frozen=True)
class Promise:
    """HALP-8 against one rival at the first goal; `ratio` is infinite where only HALP-8 arrives."""

    task: str
    rival: str
    ratio: float
    at_least: float

    @property
    def verdict(self) -> str:
        """``met`` or ``missed``."""
        return "met" if self.ratio >= self.at_least else "missed"


def seconds_of(solver: Solver, iterations: int) -> float:
    """Processor time of a fit, the mean over a turn."""
    fits, begin = 0, time.process_time()
    while True:
        solver.fit(iterations)
        fits += 1
        elapsed = time.process_time() - begin
        if elapsed > TURN_SECONDS:
            return elapsed / fits


def measure(
    task: accuracy_data.Task, rounds: int, limit: float, only: list[str] | None, goals: tuple[float, ...] = GOALS
) -> list[Row]:
    """All solvers on one task, in turn."""
    runs: list[tuple[Solver, float, Setting, list[float]]] = []
    norm = GradientNorm(task)
    for solver in solvers(task):
        if only and solver.name != MEASURED and not any(name in solver.name for name in only):
            continue
        for goal, setting in zip(goals, solver.settings(goals, limit), strict=True):
            runs.append((solver, goal, setting, []))
            if setting.iterations is not None:  # warms up, and no time is stated for a wrong result
                reached = norm(solver.fit(setting.iterations))
                assert reached <= goal * 1.001, f"{solver.name}: {reached:g} after {setting.iterations} iterations"
    for _ in range(rounds):
        for solver, _, setting, times in runs:
            if setting.iterations is not None:
                times.append(seconds_of(solver, setting.iterations))
    rows = []
    for solver, goal, setting, times in runs:
        seconds = statistics.median(times or [float("nan")])
        rows.append(Row(task.name, solver.name, goal, setting.iterations, seconds, setting.norm, setting.spent))
    return rows


def promises(rows: list[Row]) -> Iterator[Promise]:
    """The promised ratios of one task: the rival in its fastest float type."""
    first = [row for row in rows if row.goal == max(row.goal for row in rows)]
    mine = next(row for row in first if row.solver == MEASURED)
    for rival, at_least in PROMISES:
        theirs = [row for row in first if row.solver.startswith(rival) and "8-bit" not in row.solver]
        if theirs:
            fastest = min(row.seconds if row.iterations is not None else np.inf for row in theirs)
            yield Promise(mine.task, rival, fastest / mine.seconds if mine.iterations is not None else 0.0, at_least)


def table(task: accuracy_data.Task, rows: list[Row]) -> Iterator[str]:
    """The rows of one task as text: both goals side by side."""
    mine = {row.goal: row.seconds for row in rows if row.solver == MEASURED}
    yield f"\n{task.name}: {task.shape}"
    yield f"  {'solver':<26}" + "".join(f"{f'iterations to {goal:g}':>24} {'ms':>9} {'ratio':>6}" for goal in mine)
    for solver in dict.fromkeys(row.solver for row in rows):
        cells = ""
        for row in (r for r in rows if r.solver == solver):
            if row.iterations is None:
                reached = "not reached" if np.isnan(row.spent) else f"not in {row.spent:.0f} s"
                cells += f"{f'{reached}, {row.norm:.0e}':>24} {'':>9} {'':>6}"
            else:
                cells += f"{row.iterations:>24} {row.seconds * 1e3:>9.1f} {row.seconds / mine[row.goal]:>6.2f}"
        yield f"  {solver:<26}{cells}"
    for p in promises(rows):
        measured = "only HALP-8 arrives" if np.isinf(p.ratio) else f"{p.ratio:.2f}"
        yield f"  {f'{p.rival} / HALP-8 to {max(mine):g}':<44} {measured:>8}  >= {p.at_least:g}  {p.verdict}"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="folder with mnist.npz, a9a.npz, ...; default: bundled data")
    parser.add_argument("--data", nargs="+", metavar="NAME", help="only these data sets")
    parser.add_argument("--solvers", nargs="+", metavar="NAME", help="only solvers whose names contain one of these")
    parser.add_argument("--goals", nargs="+", type=float, default=GOALS, help="relative gradient norms, falling")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every solver (default 3)")
    parser.add_argument("--limit", type=float, default=120, help="seconds after which a fit is given up (default 120)")
    parser.add_argument("--l2", type=float, default=1.0, metavar="FACTOR", help="multiply every l2 by this factor")
    parser.add_argument("--intercept", action="store_true", help="fit an intercept, in every solver")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    every: list[Row] = []
    if not options.json:
        print(f"{platform.machine()}, SIMD level {kernels.SIMD_LEVELS[kernels.simd_level()]}, one thread")
    with one_thread():
        for task in accuracy_data.tasks(options.data_dir, options.data):
            task = task._replace(l2=task.l2 * options.l2, intercept=options.intercept)
            rows = measure(task, options.rounds, options.limit, options.solvers, tuple(options.goals))
            every += rows
            if not options.json:
                print("\n".join(table(task, rows)), flush=True)
    if options.json:
        print(json.dumps([asdict(row) for row in every], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
