"""Epochs that HALP needs with the automatic scale, against full-precision SVRG with the same steps.

``python tools/scale_rule_table.py [--data-dir FOLDER] [--seeds 3] [--only NAME ...] [--inner-steps 1.0]`` prints a
line per problem: epochs until the norm of the full gradient is 1e-8 of that at the start, as means over the seeds (of
samples and rounding), and the ratios to SVRG, of the means and the largest one of a single seed. Synthetic problems
need nothing; those on public data need a folder with ``.npz`` files of arrays X and y (mnist.npz: x_train and
y_train), and are left out without it. It is the measurement behind the table in the docstring of
`lpnum_optim.scale_rules.Automatic`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lpnum
from lpnum_optim import FiniteSum, minimize
from lpnum_optim.datasets import quantize_columns

TOLERANCE = 1e-8
MAX_ROWS = 10_000


HEADER = (
    f"{'problem':<20} {'n':>6} {'d':>6} {'L/l2':>8}  {'SVRG':>5} {'HALP-8':>6} {'HALP-16':>7}  "
    f"{'8/SVRG':>7} {'worst':>6} {'16/SVRG':>7}"
)


class Case(NamedTuple):
    """A problem by name; `make` returns it."""

    name: str
    make: Callable[[], FiniteSum]


class Real(NamedTuple):
    """A file, and what is made of it."""

    file: str
    loss: str
    l2: float | None  # None: L / n
    columns: str  # "standard": standardized; "grid": as it is, on one grid; "log": log1p first, then standardized
    positive: Callable[[NDArray[Any]], NDArray[np.bool_]] | None = None


REAL = {
    "bike": Real("reg_bike", "squared", 1e-2, "standard"),
    "pol": Real("reg_pol", "squared", None, "standard"),
    "elevators": Real("reg_elevators", "squared", None, "standard"),
    "abalone": Real("reg_abalone", "squared", None, "standard"),
    "california": Real("reg_california", "squared", None, "standard"),
    "protein": Real("reg_protein", "squared", None, "standard"),
    "phishing": Real("phishing", "logistic", 1e-3, "grid"),
    "a9a": Real("a9a", "logistic", 7e-4, "grid"),
    "dna": Real("dna", "logistic", 2e-3, "grid", lambda y: y == 2),
    "spambase": Real("spambase", "logistic", None, "log"),
    "splice": Real("splice", "logistic", None, "standard"),
    "madelon": Real("madelon", "logistic", None, "standard"),
    "mnist": Real("mnist", "logistic", None, "grid", lambda y: y % 2 == 0),
    "dna-softmax": Real("dna", "softmax", 2e-3, "grid"),
    "beans-softmax": Real("dry_bean", "softmax", None, "standard"),
    "bike-huber": Real("reg_bike", "huber", 1e-2, "standard"),
}  # fmt: skip


def real_case(folder: Path, name: str) -> FiniteSum:
    """A problem on public data: at most `MAX_ROWS` rows, drawn with a fixed seed."""
    row = REAL[name]
    with np.load(folder / f"{row.file}.npz") as arrays:
        X, y = (arrays["x_train"], arrays["y_train"]) if "x_train" in arrays else (arrays["X"], arrays["y"])
    X = X.reshape(len(X), -1)
    rows = np.random.default_rng(0).permutation(len(X))[:MAX_ROWS]
    X, y = X[rows], y[rows].astype(np.float64)
    if row.columns == "grid":
        X = X.astype(np.float64)
        data = lpnum.array(X / np.abs(X).max(), dtype=lpnum.ufixed8 if X.min() >= 0 else lpnum.fixed8)
    else:
        data = quantize_columns(np.log1p(X.astype(np.float64)) if row.columns == "log" else X)
    if row.positive is not None:
        y = np.where(row.positive(y), 1.0, -1.0)
    elif row.loss in ("squared", "huber"):
        y = (y - y.mean()) / y.std()
    return well_posed(data, y, row.loss, row.l2)


def well_posed(data: Any, y: NDArray[np.float64], loss: str, l2: float | None) -> FiniteSum:
    """With ``l2 = L / n`` where none is given."""
    if l2 is None:
        l2 = FiniteSum(data, y, loss).lipschitz / len(y)
    return FiniteSum(data, y, loss, l2)


def synthetic(d: int, n: int, loss: str = "squared", power: float = 0.0, l2: float | None = None) -> FiniteSum:
    """Gaussian features with standard deviations j^-power along random directions (power 0: independent ones)."""
    rng = np.random.default_rng(d)
    X = rng.standard_normal((n, d))
    if power:
        X *= np.arange(1, d + 1.0) ** -power
        X = X @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    data = lpnum.array(X, dtype=lpnum.fixed8)
    y = data.dequantize() @ rng.standard_normal(d) / math.sqrt(d)
    y += 0.5 * y.std() * rng.standard_normal(n)
    if loss == "huber":
        y[::20] += 20 * y.std()
    return well_posed(data, y if loss in ("squared", "huber") else np.where(y > 0, 1.0, -1.0), loss, l2)


SYNTHETIC: dict[str, tuple[Any, ...]] = {
    "d=1": (1, 1000, "squared", 0.0, 0.0),
    "d=1, logistic": (1, 1000, "logistic"),
    "d=2": (2, 1000, "squared", 0.0, 0.0),
    "d=3, logistic": (3, 1000, "logistic"),
    "d=5": (5, 1000, "squared", 0.0, 0.0),
    "d=10, j^-0.5": (10, 1000, "squared", 0.5),
    "d=20": (20, 1000, "squared", 0.0, 0.0),
    "d=20, logistic": (20, 1000, "logistic"),
    "d=100": (100, 1000, "squared", 0.0, 0.0),
    "d=100, j^-0.5": (100, 2000, "squared", 0.5),
    "d=100, j^-1": (100, 2000, "squared", 1.0),
    "d=500": (500, 2000, "squared"),
    "d=500, logistic": (500, 2000, "logistic"),
    "d=1000, n=300": (1000, 300, "squared"),
    "d=1000, j^-0.5": (1000, 2000, "logistic", 0.5),
    "d=3000, logistic": (3000, 1500, "logistic"),
    "d=10000": (10_000, 1500, "squared"),
    "d=10000, logistic": (10_000, 1000, "logistic"),
}


def cases(folder: Path | None) -> Iterator[Case]:
    """All problems that can be made."""
    if folder is not None:
        for name in REAL:
            yield Case(name, lambda name=name: real_case(folder, name))
    for name, parameters in SYNTHETIC.items():
        yield Case(name, lambda parameters=parameters: synthetic(*parameters))


class Counts(NamedTuple):
    """Epochs, one per seed; NaN where the limit was reached."""

    svrg: NDArray[np.float64]
    halp8: NDArray[np.float64]
    halp16: NDArray[np.float64]


def count(problem: FiniteSum, seeds: int, inner_steps: float = 2.0, limit: int = 100, **options: Any) -> Counts:
    """Epochs to `TOLERANCE` times the gradient norm at the start."""
    tol = TOLERANCE * float(np.linalg.norm(problem.gradient(np.zeros(problem.shape))))
    common = {"tol": tol, "epochs": limit, "inner_steps": max(1, round(inner_steps * problem.n_samples)), **options}

    def epochs(method: str, bits: int) -> NDArray[np.float64]:
        runs = [minimize(problem, method, bits=bits, seed=seed, **common) for seed in range(seeds)]
        return np.array([r.n_epochs if r.converged else math.nan for r in runs])

    return Counts(epochs("svrg", 16), epochs("halp", 8), epochs("halp", 16))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--inner-steps", type=float, default=2.0, help="per epoch, in units of n")
    options = parser.parse_args()
    print(HEADER)
    ratios = []
    for case in cases(options.data_dir):
        if options.only and not any(word in case.name for word in options.only):
            continue
        problem = case.make()
        c = count(problem, options.seeds, options.inner_steps)
        row = (c.halp8.mean() / c.svrg.mean(), (c.halp8 / c.svrg).max(), c.halp16.mean() / c.svrg.mean())
        ratios.append(row)
        kappa = problem.lipschitz / problem.l2 if problem.l2 else math.inf
        print(
            f"{case.name:<20} {problem.n_samples:>6} {problem.n_features:>6} {kappa:>8.2g}  {c.svrg.mean():>5.1f} "
            f"{c.halp8.mean():>6.1f} {c.halp16.mean():>7.1f}  {row[0]:>7.2f} {row[1]:>6.2f} {row[2]:>7.2f}",
            flush=True,
        )
    table = np.array(ratios)
    means, worst = np.exp(np.nanmean(np.log(table), axis=0)), np.nanmax(table, axis=0)
    print(f"8 bits: geometric mean {means[0]:.2f}, worst {worst[0]:.2f}, of a single seed {worst[1]:.2f}")
    print(f"16 bits: geometric mean {means[2]:.2f}, worst {worst[2]:.2f}")
    print(f"not converged: {int(np.isnan(table[:, 0]).sum())}")


if __name__ == "__main__":
    main()
