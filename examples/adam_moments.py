"""Draw what 8 bits do to the moments of Adam: ``python examples/adam_moments.py [--out FILE]``. Needs torch.

Left: gradients of one coordinate become ten times smaller. The second moment changes by at most a thousandth of itself
in a step, codes are a tenth apart: rounded to nearest it does not follow, rounded stochastically it does.
Right: coordinates whose gradients differ by a factor of 10^4 share a block. Eight bits of the first moment itself are
too coarse for the small ones; eight bits of its ratio to the root of the second moment are as good for all.
"""

from __future__ import annotations

import math
from typing import Any

import _picture
import numpy as np
import torch
from matplotlib.figure import Figure

import lpnum
from lpnum_optim.deep import Adam8bit
from lpnum_optim.deep.moments import BLOCK, SECOND

STEPS, CHANGE = 6000, 2000
BETA1, BETA2 = 0.9, 0.999
OURS, OTHER, GRAY = "#1f77b4", "#d1495b", "#222222"


def second_moments() -> dict[str, np.ndarray]:
    """The second moment over the steps: in floats, rounded to nearest, and as four coordinates of Adam8bit have it."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal(STEPS) * np.where(np.arange(STEPS) < CHANGE, 1.0, 0.1)
    fmt = lpnum.BlockFormat(SECOND, BLOCK, scale_rounding="up")
    w = torch.nn.Parameter(torch.zeros(4))
    optimizer = Adam8bit([w], betas=(BETA1, BETA2))
    exact, nearest, stored = 0.0, np.zeros(BLOCK), []
    lines: dict[str, list] = {"float": [], "nearest": []}
    for g in gradients:
        exact = BETA2 * exact + (1 - BETA2) * g * g
        nearest = lpnum.array(BETA2 * nearest + (1 - BETA2) * g * g, dtype=fmt).dequantize()
        w.grad = torch.full((4,), float(g))
        optimizer.step()
        lines["float"].append(exact)
        lines["nearest"].append(nearest[0])
        stored.append(optimizer.moments(w)[1].numpy())
    return {name: np.array(line) for name, line in lines.items()} | {"ours": np.array(stored)}


def errors_of_first_moments(sizes: np.ndarray, steps: int = 400) -> dict[str, np.ndarray]:
    """Root mean square of (stored m - m) / sqrt(v) of every coordinate."""
    rng = np.random.default_rng(1)
    w = torch.nn.Parameter(torch.zeros(sizes.size))
    optimizer = Adam8bit([w], betas=(BETA1, BETA2))
    exact, direct = np.zeros(sizes.size), np.zeros(sizes.size)
    squares: dict[str, list] = {"ours": [], "direct": []}
    for step in range(steps):
        g = rng.standard_normal(sizes.size) * sizes
        exact = BETA1 * exact + (1 - BETA1) * g
        fmt = lpnum.mxint8.with_scale_rounding("up")
        moment = BETA1 * direct + (1 - BETA1) * g
        direct = lpnum.array(moment, dtype=fmt, rounding="stochastic", rng=step).dequantize()
        w.grad = torch.from_numpy(g.astype(np.float32))
        optimizer.step()
        for name, stored in (("ours", optimizer.moments(w)[0].numpy()), ("direct", direct)):
            squares[name].append(((stored - exact) / sizes) ** 2)
    return {name: np.sqrt(np.mean(values[steps // 2 :], axis=0)) for name, values in squares.items()}


def draw() -> Figure:
    """Both panels."""
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    axes: Any = figure.subplots(1, 2)
    left, right = axes
    lines = second_moments()
    left.semilogy(lines["ours"], color=OURS, linewidth=0.6, alpha=0.7)
    left.semilogy([], [], color=OURS, label="8 bits, stochastic: four coordinates")
    left.semilogy(lines["nearest"], color=OTHER, linewidth=1.6, label="8 bits, to nearest")
    left.semilogy(lines["float"], color=GRAY, linewidth=1.4, label="in floats")
    left.set_xlabel("step")
    left.set_title("second moment", fontsize=10)
    sizes = np.logspace(0, -4, BLOCK)
    errors = errors_of_first_moments(sizes)
    right.loglog(sizes, errors["direct"], "o-", ms=3, color=OTHER, label="8 bits of m")
    right.loglog(sizes, errors["ours"], "o-", ms=3, color=OURS, label="8 bits of m / sqrt(v)")
    typical = math.sqrt((1 - BETA1) / (1 + BETA1))
    right.axhline(typical, color=GRAY, linewidth=1, linestyle="--", label="m / sqrt(v) itself")
    right.set_xlabel("size of the coordinate's gradients")
    right.set_title("error of m / sqrt(v), the step's measure", fontsize=10)
    for ax in (left, right):
        ax.grid(True, alpha=0.25)
        ax.legend(frameon=False, fontsize=9)
    return figure


def main() -> None:
    """Draw the picture of the documents."""
    options = _picture.parser(__doc__, _picture.IMAGES / "adam_moments.png").parse_args()
    _picture.save(draw(), options.out)


if __name__ == "__main__":
    main()
