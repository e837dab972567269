"""Pictures of convergence. matplotlib is imported inside the functions that draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._checks import optional_import
from .compare import Outcome

# One hue per method, one dash pattern per width of the iterate: the legend reads as the table of methods.
COLORS = {"sgd": "#999999", "lp-sgd": "#c7a252", "svrg": "#222222", "lp-svrg": "#d1495b", "halp": "#1f77b4"}
DASHES = {None: "-", 8: "-", 16: "--"}


def plot_convergence(
    histories: Mapping[str, Mapping[str, Any]],
    ax: Any = None,
    *,
    y: str = "grad_norm",
    x: str = "passes",
    relative: bool = True,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """Draw one line per history, on a logarithmic axis.

    Parameters
    ----------
    histories : mapping of label to ``result.history``
    ax : matplotlib Axes, optional
    y, x : str
        Names of history columns.
    relative : bool
        Divide y by its value at the start.
    styles : mapping of label to keyword arguments of ``Axes.plot``, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    if ax is None:
        ax = optional_import("matplotlib.pyplot", "plot", "plot_convergence").subplots()[1]
    names = {"grad_norm": "gradient norm", "objective": "objective", "passes": "passes over the data"}
    for label, history in histories.items():
        values = np.array(history[y], dtype=np.float64)
        if relative and values[0] > 0:
            values = values / values[0]
        ax.plot(history[x], np.where(values > 0, values, np.nan), label=label, **(styles or {}).get(label, {}))
    ax.set_yscale("log")
    ax.set_xlabel(names.get(x, x))
    ax.set_ylabel(names.get(y, y) + (" / start" if relative else ""))
    ax.grid(True, which="major", alpha=0.25)
    return ax


def plot_comparison(outcomes: Sequence[Outcome], titles: Mapping[str, str] | None = None) -> Any:
    """A figure with one panel per data set and one legend for all.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure_module = optional_import("matplotlib.figure", "plot", "plot_comparison")
    names = list(dict.fromkeys(outcome.dataset for outcome in outcomes))
    # A Figure of its own, without pyplot: no display is needed and no global state changes.
    figure = figure_module.Figure(figsize=(4.2 * len(names) + 0.6, 4.6), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for ax, name in zip(axes, names, strict=True):
        runs = [outcome for outcome in outcomes if outcome.dataset == name]
        styles = {
            run.setting.label: {
                "color": COLORS[run.setting.method],
                "linestyle": DASHES.get(run.setting.bits, ":"),
                "linewidth": 2.2 if run.setting.method == "halp" else 1.4,
                "zorder": 3 if run.setting.method == "halp" else 2,
            }
            for run in runs
        }
        plot_convergence({run.setting.label: run.history for run in runs}, ax, styles=styles)
        ax.set_title((titles or {}).get(name, name), fontsize=10)
        if ax is not axes[0]:
            ax.set_ylabel("")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, handlelength=2.6)
    return figure
