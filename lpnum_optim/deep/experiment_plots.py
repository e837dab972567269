"""Pictures of experiments. matplotlib is imported inside the function that draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._checks import optional_import
from ..plotting import COLORS
from .experiment_report import Curve

__all__ = ["plot_curves"]

# What COLORS of the linear models does not name takes the next of these.
OTHERS = ("#1f77b4", "#d1495b", "#c7a252", "#4f9d69", "#7a5195", "#00798c", "#b0413e", "#8d6b94")
NAMES = {
    "epoch": "epoch", "passes": "full gradient evaluations", "train_loss": "training loss",
    "test_accuracy": "test accuracy", "low_ratio": "share of elements in 8 bits",
}  # fmt: skip
COMPARED = (("train_loss", "epoch"), ("train_loss", "passes"), ("test_accuracy", "epoch"), ("test_accuracy", "passes"))
PLANNED = (("train_loss", "epoch"), ("test_accuracy", "epoch"), ("low_ratio", "epoch"))


def plot_curves(found: Sequence[Curve], title: str = "") -> Any:
    """Training loss and test accuracy over epochs and over gradient evaluations; bands are the range over the seeds.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure_module = optional_import("matplotlib.figure", "torch", "plot_curves")
    ticker = optional_import("matplotlib.ticker", "torch", "plot_curves")
    panels = PLANNED if any("low_ratio" in curve.epochs[0][0] for curve in found) else COMPARED
    width = 2 if panels is COMPARED else 3
    height = len(panels) // width
    # A Figure of its own, without pyplot: no display is needed and no global state changes.
    figure = figure_module.Figure(figsize=(4.8 * width, 3.6 * height + 0.9), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False)
    styles = _styles(found)
    for (y, x), ax in zip(panels, axes.flat, strict=True):
        for curve, style in zip(found, styles, strict=True):
            _draw(ax, curve, x, y, style)
        ax.set_xlabel(NAMES[x])
        ax.set_ylabel(NAMES[y])
        ax.grid(True, which="both", alpha=0.2)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        if y == "train_loss":
            ax.set_yscale("log")
            for axis_formatter in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
                axis_formatter(ticker.FormatStrFormatter("%.3g"))
    handles, labels = axes.flat[0].get_legend_handles_labels()
    if title:
        figure.suptitle(title, fontsize=11)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(5 if width == 2 else 6, len(labels)), frameon=False
    )
    return figure


def _draw(ax: Any, curve: Curve, x: str, y: str, style: dict[str, Any]) -> None:
    # The start is the same for all and would squeeze the rest.
    rows = range(1, len(curve.epochs)) if len(curve.epochs) > 2 else range(len(curve.epochs))
    across = [curve.means(x)[k] for k in rows]
    ax.plot(across, [curve.means(y)[k] for k in rows], label=curve.label, **style)
    if len(curve.epochs[0]) > 1:
        low, high = ([pick(curve.values(y, k)) for k in rows] for pick in (min, max))
        ax.fill_between(across, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _styles(found: Sequence[Curve]) -> list[dict[str, Any]]:
    """One hue per method, one dash pattern per format of it."""
    others = iter(OTHERS * len(found))
    hues: dict[str, str] = {}
    formats: dict[str, int] = {}
    styles = []
    for curve in found:
        if curve.method not in hues:
            hues[curve.method] = COLORS.get(curve.method) or next(others)
        k = formats[curve.method] = formats.get(curve.method, -1) + 1
        front = curve.method == "halp"
        styles.append({
            "color": hues[curve.method], "linestyle": ("-", "--", ":", "-.")[k % 4], "linewidth": 2.2 if front else 1.5,
            "zorder": 3 if front else 2, "marker": "o" if len(curve.epochs) <= 3 else None, "markersize": 4,
        })  # fmt: skip
    return styles
