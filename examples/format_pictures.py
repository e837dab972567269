"""Draw the pictures of docs/formats.md: ``python examples/format_pictures.py [--out FOLDER]``."""

from __future__ import annotations

from typing import Any

import _picture
import numpy as np
from matplotlib.figure import Figure

import lpnum
from lpnum import plotting
from lpnum._figures import GRAY, NORMAL, SUBNORMAL


def number_lines() -> Figure:
    """8-bit floats by powers of two; 4- and 6-bit ones on a plain axis, beside a calibrated grid of the same range."""
    figure = Figure(figsize=(10, 5.8), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(4, 3.1))
    plotting.number_line(["float8_e5m2", "float8_e4m3fn", lpnum.p3109(8, 4), "float8_e3m4"], top)
    grid = lpnum.array([6.0], dtype=lpnum.fixed4)
    plotting.number_line(["float6_e2m3fn", "float4_e2m1fn", grid], bottom, xscale="linear", low=-7.7, high=7.7)
    return figure


def rounding_errors() -> Figure:
    """Relative error: bounded for floats, growing towards 0 for fixed point."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes: Any = figure.subplots(2, 1)
    plotting.rounding_error("float8_e4m3fn", axes[0])
    plotting.rounding_error(lpnum.fixed(8, frac=2), axes[1])
    return figure


def rounding_modes() -> Figure:
    """What each rounding mode makes of the values between two codes."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes: Any = figure.subplots(2, 3, sharex=True, sharey=True)
    x = np.linspace(-2.6, 2.6, 2601)
    for ax, mode in zip(axes.ravel(), lpnum.rounding.ROUNDING_MODES, strict=True):
        ax.axline((0, 0), slope=1, color=GRAY, linewidth=0.8)
        y = lpnum.round_to(x, lpnum.fixed8, rounding=mode, rng=0)
        if mode == "stochastic":
            ax.plot(x, y, ".", color=NORMAL, markersize=1.2, rasterized=True)
            mean = np.mean([lpnum.round_to(x, lpnum.fixed8, rounding=mode, rng=k) for k in range(400)], axis=0)
            ax.plot(x, mean, color=SUBNORMAL, linewidth=1.2)
            ax.text(-2.5, 1.9, "one draw; mean of 400", fontsize=8.5, color=SUBNORMAL)
        else:
            ax.plot(x, np.where(np.append(np.diff(y) != 0, False), np.nan, y), color=NORMAL, linewidth=1.8)
        ties = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
        if mode != "stochastic":
            ax.plot(ties, lpnum.round_to(ties, lpnum.fixed8, rounding=mode), "o", color=SUBNORMAL, ms=4)
        ax.set_title(mode, fontsize=10)
        ax.set_xticks(range(-2, 3))
        ax.set_yticks(range(-3, 4))
        ax.grid(True, alpha=0.25)
    figure.supxlabel("x (points: halfway between two values)", fontsize=10)
    figure.supylabel("rounded", fontsize=10)
    return figure


def main() -> None:
    """Draw all pictures into a folder."""
    options = _picture.parser(__doc__, _picture.IMAGES).parse_args()
    for draw in (number_lines, rounding_errors, rounding_modes):
        _picture.save(draw(), options.out / f"{draw.__name__}.png")


if __name__ == "__main__":
    main()
