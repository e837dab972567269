"""What all pictures share: colors, figures, and files to save them in. matplotlib is imported inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lpnum._files import atomic_writer
from lpnum._optional import optional_import

NORMAL, SUBNORMAL, ZERO, BOUND, GRAY = "#1f77b4", "#d1495b", "#222222", "#222222", "#8a8a8a"


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A Figure of its own and its Axes, without pyplot: no display is needed and no global state changes."""
    figure = optional_import("matplotlib.figure", "plot", "lpnum.plotting").Figure(
        (width, height), layout="constrained"
    )
    return figure, figure.subplots(rows, columns)


def figure_axes(ax: Any, width: float, height: float) -> Any:
    """The Axes given, or those of a new figure of pyplot, which a notebook shows."""
    if ax is not None:
        if not hasattr(ax, "axhline"):
            raise TypeError(f"lpnum.plotting: expected matplotlib Axes, not {type(ax).__name__}")
        return ax
    pyplot = optional_import("matplotlib.pyplot", "plot", "lpnum.plotting")
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def check_picture(path: Path, complain: Callable[[str], Any]) -> None:
    """Before the work that fills a picture: matplotlib is there and knows the type of file."""
    canvas = optional_import("matplotlib.backend_bases", "plot", "--plot").FigureCanvasBase
    known = canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in known:
        complain(f"--plot {path}: the name must end in one of {', '.join('.' + suffix for suffix in sorted(known))}")


def save_picture(figure: Any, path: Path) -> None:
    """Save a matplotlib Figure whole or not at all; the suffix says which type."""
    with atomic_writer(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix(".").lower(), dpi=130)
