"""Draw what bits, mu, step and epoch length do: ``python examples/settings.py [--data-dir DIR] [--out FILE]``.

All panels show the contraction: the norm of the gradient after an epoch over that before, the geometric mean of up to
25 epochs. Smaller is faster, 1 stands still. Crosses at the upper end: the run diverged, or made no progress.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import _picture
import numpy as np
from matplotlib.figure import Figure

from lpnum_optim import FiniteSum, minimize
from lpnum_optim.datasets import Dataset

EPOCHS = 25
FLOOR = 1e-12  # below, float64 ends the contraction
HALP, HALP16, SVRG, PLAIN = "#1f77b4", "#7fb2d9", "#222222", "#2a9d8f"


def contraction(problem: FiniteSum, method: str = "halp", *, per_pass: bool = False, **options: Any) -> float:
    """Mean factor of the gradient norm per epoch (or per pass over the data); 1 if the run does not converge."""
    history = minimize(problem, method, epochs=EPOCHS, **options).history
    norms = history["grad_norm"] / history["grad_norm"][0]
    below = np.flatnonzero(norms <= FLOOR)
    last = below[0] if len(below) else len(norms) - 1
    if not norms[last] < 1:
        return 1.0
    return float(norms[last] ** (1 / (history["passes"][last] if per_pass else last)))


def curve(ax: Any, x: Iterable[float], y: Iterable[float], color: str, label: str, style: str = "o-") -> None:
    """A line of contractions; those of 1 are crosses."""
    x, y = np.array(list(x)), np.array(list(y))
    ax.plot(x, np.where(y < 1, y, np.nan), style, color=color, label=label, markersize=4, linewidth=1.6)
    if (y >= 1).any():
        ax.plot(x[y >= 1], y[y >= 1], "x", color=color, markersize=6)


def level(ax: Any, y: float, color: str, label: str) -> None:
    """A contraction that does not depend on x."""
    ax.axhline(y, color=color, linestyle="--", linewidth=1.2, label=label)


def draw(data: Dataset) -> Figure:
    """Four panels."""
    problem = data.problem()
    svrg, plain = contraction(problem, "svrg"), contraction(problem, acceleration=0)
    figure = Figure(figsize=(10, 7), layout="constrained")
    bits_ax, mu_ax, step_ax, steps_ax = (axes := figure.subplots(2, 2)).flat

    bits = [2, 3, 4, 5, 6, 7, 8, 10, 12, 16]
    curve(bits_ax, bits, (contraction(problem, bits=b) for b in bits), HALP, "automatic")
    curve(bits_ax, bits, (contraction(problem, bits=b, acceleration=0) for b in bits), PLAIN, "acceleration=0")
    curve(bits_ax, bits, (contraction(problem, bits=b, mu=4) for b in bits), "#d1495b", "mu = 4")
    level(bits_ax, svrg, SVRG, "svrg")
    bits_ax.set_xlabel("bits of the iterate")

    mus = 2.0 ** np.arange(-6, 8)
    curve(mu_ax, mus, (contraction(problem, mu=mu) for mu in mus), HALP, "8 bits")
    curve(mu_ax, mus, (contraction(problem, bits=16, mu=mu) for mu in mus), HALP16, "16 bits")
    level(mu_ax, plain, PLAIN, "8 bits, no mu, acceleration=0")
    mu_ax.set_xscale("log", base=2)
    mu_ax.set_xlabel("mu (small: coarse grid; large: clips)")

    steps = 2.0 ** np.arange(-5, 1.6, 0.5)
    sizes = steps / problem.lipschitz
    curve(step_ax, steps, (contraction(problem, step_size=a) for a in sizes), HALP, "8 bits, automatic")
    curve(step_ax, steps, (contraction(problem, step_size=a, acceleration=0) for a in sizes), PLAIN, "acceleration=0")
    curve(step_ax, steps, (contraction(problem, "svrg", step_size=a) for a in sizes), SVRG, "svrg", "o--")
    step_ax.set_xscale("log", base=2)
    step_ax.set_xlabel("step_size in units of 1 / L (automatic: 1/2)")

    n = problem.n_samples
    counts = np.array([0.125, 0.25, 0.5, 1, 2, 4, 8])

    def per_pass(method: str, **options: Any) -> list[float]:
        return [contraction(problem, method, per_pass=True, inner_steps=int(c * n), **options) for c in counts]

    curve(steps_ax, counts, per_pass("halp"), HALP, "8 bits, automatic")
    curve(steps_ax, counts, per_pass("halp", acceleration=0), PLAIN, "acceleration=0")
    curve(steps_ax, counts, per_pass("svrg"), SVRG, "svrg", "o--")
    steps_ax.set_xscale("log", base=2)
    steps_ax.set_xlabel("inner_steps / n_samples (automatic: 1)")

    for ax in axes.flat:
        ax.set_ylim(0, 1.03)
        ax.set_ylabel("contraction per " + ("pass over the data" if ax is steps_ax else "epoch"))
        ax.grid(True, alpha=0.25)
        ax.legend(frameon=False, fontsize=8.5)
    return figure


def main() -> None:
    """Draw the first data set."""
    options = _picture.parser(__doc__, _picture.IMAGES / "settings.png", data=_picture.NPZ).parse_args()
    _picture.save(draw(_picture.datasets(options.data_dir, ["synthetic"])[0]), options.out)


if __name__ == "__main__":
    main()
