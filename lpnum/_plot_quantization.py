"""The picture of what quantizing did to an array: histograms of its values and of the errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lpnum._figures import BOUND, NORMAL, SUBNORMAL, figure_axes
from lpnum._optional import optional_import
from lpnum.array import LPArray

_MARKS = 1024  # of grids with more values in sight none is drawn


@dataclass(frozen=True)
class Histograms:
    """Counts and edges of the values, and of the errors ``dequantized - value``."""

    values: tuple[np.ndarray, np.ndarray]
    errors: tuple[np.ndarray, np.ndarray]


def quantization(values: Any, x: LPArray, axes: Any = None) -> Any:
    """Draw histograms of values and of the errors that quantizing them to `x` made.

    Parameters
    ----------
    values : array_like of real numbers
        What `x` was made from, of its shape. What is not finite is left out.
    x : LPArray
    axes : pair of matplotlib Axes, optional

    Returns
    -------
    ndarray of two Axes
        Left: the values, the grid of `x` below them, and the ends of its range, where values are clipped. Right: the
        errors.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> values = np.random.default_rng(0).standard_normal(1000)
    >>> left, right = lpnum.plotting.quantization(values, lpnum.array(values, calibration="rms"))
    >>> int(sum(bar.get_height() for bar in right.patches))
    1000
    """
    if not isinstance(x, LPArray):
        raise TypeError(f"quantization: expected values and an LPArray of them, not {type(x).__name__}")
    plain = np.asarray(values, dtype=np.float64)
    if plain.shape != x.shape:
        raise ValueError(f"quantization: values of shape {plain.shape}, but x has shape {x.shape}")
    errors = x.dequantize(np.float64) - plain
    plain, errors = plain[np.isfinite(plain)], errors[np.isfinite(errors)]
    pairs = [np.histogram(data, histogram_edges(data.min(), data.max())) if data.size else _EMPTY
             for data in (plain, errors)]  # fmt: skip
    return draw_quantization(Histograms(*pairs), x, axes)


_EMPTY = np.zeros(1, np.int64), np.array([-1.0, 1.0])


def histogram_edges(low: float, high: float) -> np.ndarray:
    """101 bins over a range; around a single value, a range of its own."""
    if not low < high:
        reach = max(abs(float(low)), 1e-300) * 0.5
        low, high = low - reach, high + reach
    return np.linspace(low, high, 102)


def draw_quantization(histograms: Histograms, x: LPArray, axes: Any = None) -> Any:
    """Draw counted values and errors; see `quantization`."""
    if axes is None:
        pyplot = optional_import("matplotlib.pyplot", "plot", "lpnum.plotting")
        axes = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained")[1]
    left, right = (figure_axes(ax, 5, 3.8) for ax in axes)
    for ax, (counts, edges), name in ((left, histograms.values, "value"), (right, histograms.errors, "error")):
        ax.bar(edges[:-1], counts, np.diff(edges), align="edge", color=NORMAL if ax is left else SUBNORMAL, alpha=0.75)
        if counts.any():
            ax.set_yscale("log")
        ax.set_ylim(0.7, 2.0 * max(float(counts.max()), 1.0))
        ax.set_xlabel(name if name == "value" else "error: dequantized - value")
        ax.set_ylabel("elements")
        ax.grid(True, axis="y", alpha=0.25)
        ax.set_axisbelow(True)
        for side in ("right", "top"):
            ax.spines[side].set_visible(False)
    _draw_grid(left, x, histograms.values[1])
    return np.array([left, right], dtype=object)


def _draw_grid(ax: Any, x: LPArray, edges: np.ndarray) -> None:
    """The ends of the grid and its values along the axis; of several channels, the widest grid and the narrowest."""
    scale, offset = np.broadcast_arrays(x.scale, x.offset)
    order = np.argsort(np.abs(scale), axis=None)
    single = np.ndim(x.scale) == np.ndim(x.offset) == 0
    shown = [(-1, "grid", "--")] if single else [(-1, "widest grid", "--"), (0, "narrowest grid", ":")]
    width = edges[-1] - edges[0]
    if order.size == 0:
        return
    for at, name, line in shown:
        k = order[at]
        low, high = sorted(float(offset.flat[k] + scale.flat[k] * end) for end in (x.format.min, x.format.max))
        label = f"{name}: {low:.4g} to {high:.4g}"
        # an end far outside the data would leave a picture of one bar
        near = [end for end in (low, high) if edges[0] - 0.6 * width <= end <= edges[-1] + 0.6 * width]
        for end in near:
            ax.axvline(end, color=BOUND, linestyle=line, linewidth=1.1, label=label)
            label = "_nolegend_"
        if not near:
            ax.plot([], [], color=BOUND, linestyle="none", label=label)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8.5, borderaxespad=0.1)
    if single:
        values = x.offset + x.scale * np.unique(x.format.code_values[np.isfinite(x.format.code_values)])
        left, right = ax.get_xlim()
        values = values[(values >= left) & (values <= right)]
        if 0 < values.size <= _MARKS:
            marks = ax.vlines(values, 0, 0.03, colors=BOUND, linewidth=0.5, transform=ax.get_xaxis_transform())
            marks.set_gid("grid")
            ax.set_xlim(left, right)
