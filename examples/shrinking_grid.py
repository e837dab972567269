"""Draw the grid of HALP around the optimum: ``python examples/shrinking_grid.py [--data-dir DIR] [--out FILE]``.

Two coordinates of an 8-bit iterate. In every epoch they can take 255 values each: a box around the offset, where the
epoch began. The offset comes closer to the optimum, and the box shrinks with the gradient.
"""

from __future__ import annotations

from typing import Any

import _picture
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lpnum_optim import minimize
from lpnum_optim.callbacks import Trace
from lpnum_optim.datasets import Dataset

EPOCHS = 16
LARGEST = 127  # code of an 8-bit iterate
ZOOMS = ((1, 2, 3), (4, 5, 6), (8, 9, 10))  # epochs of each panel
COLORS = ("#c7a252", "#2a9d8f", "#1f77b4")


def draw(data: Dataset) -> Figure:
    """Three panels that zoom in, and sizes over the epochs."""
    problem = data.problem()
    trace = Trace(keep_x=True)
    minimize(problem, "halp", bits=8, epochs=EPOCHS, acceleration=0, callback=trace)
    best = minimize(problem, "halp", epochs=100, tol=1e-14).x
    offsets = np.array(trace.x)  # [k]: at the end of epoch k, so the center of epoch k + 1
    reach = LARGEST * trace.history["scale"]  # [k]: of the grid at the end of epoch k
    i, j = np.argsort(-np.abs(best))[:2]
    flat = offsets[:, [i, j]] - best[[i, j]]

    figure = Figure(figsize=(10, 6.6), layout="constrained")
    rows: Any = figure.subfigures(2, 1, height_ratios=(3.6, 3))
    top, bottom = rows
    panels: Any = top.subplots(1, len(ZOOMS))
    for ax, epochs in zip(panels, ZOOMS, strict=True):
        for k, color in zip(epochs, COLORS, strict=True):
            corner, size = flat[k - 1] - reach[k], 2 * reach[k]
            ax.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=color, linewidth=1.6))
            ax.plot(*flat[k - 1], "o", color=color, markersize=5, label=f"epoch {k}")
        ax.plot(0, 0, "k+", markersize=13, markeredgewidth=1.6, zorder=5)
        middle, half = flat[epochs[0] - 1], 1.06 * reach[epochs[0]]
        ax.set_xlim(middle[0] - half, middle[0] + half)
        ax.set_ylim(middle[1] - half, middle[1] + half)
        ax.set_aspect("equal")
        ax.set_xlabel(f"w[{i}] - optimum", fontsize=9)
        ax.ticklabel_format(style="sci", scilimits=(-1, 2))
        ax.tick_params(labelsize=8)
        ax.grid(True, alpha=0.2)
        ax.legend(fontsize=8, loc="upper left")
    panels[0].set_ylabel(f"w[{j}] - optimum", fontsize=9)
    top.suptitle("box: all 255 x 255 values    dot: offset, where the epoch begins    +: optimum", fontsize=10)

    ax = bottom.subplots()
    epoch = np.arange(1, EPOCHS + 1)
    ax.semilogy(epoch, reach[1:], "-", color="#1f77b4", label="half the width of the box")
    ax.semilogy(epoch, np.abs(offsets[:-1] - best).max(axis=1), "o", color="#222222", ms=4,
                label="largest coordinate of offset - optimum")  # fmt: skip
    ax.semilogy(epoch, reach[1:] / LARGEST, "--", color="#1f77b4", label="distance of neighboring values")
    ax.set_xlabel("epoch")
    ax.grid(True, alpha=0.25)
    ax.legend(frameon=False, fontsize=9)
    return figure


def main() -> None:
    """Draw the first data set."""
    options = _picture.parser(__doc__, _picture.IMAGES / "shrinking_grid.png", data=_picture.NPZ).parse_args()
    _picture.save(draw(_picture.datasets(options.data_dir, ["synthetic"])[0]), options.out)


if __name__ == "__main__":
    main()
