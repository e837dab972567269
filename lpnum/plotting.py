"""Pictures of formats and of what quantizing did. matplotlib is imported inside the functions that draw.

>>> ax = lpnum.plotting.number_line(["float8_e4m3fn", "float8_e5m2"])    # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lpnum import formats
from lpnum._figures import BOUND, GRAY, NORMAL, SUBNORMAL, ZERO, figure_axes
from lpnum._listing import has_subnormals, single_format, specials
from lpnum._optional import optional_import
from lpnum._plot_quantization import quantization
from lpnum.array import LPArray
from lpnum.codec import round_to
from lpnum.formats import FixedFormat, FloatFormat, Format
from lpnum.rounding import ROUNDING_MODES, one_of

__all__ = ["number_line", "quantization", "rounding_error"]

_DRAWN = 2048  # formats of more values are thinned to about as many marks as a picture has columns


# ---- number line -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """What one line of the picture shows: distinct finite values, ascending, and which of them are round numbers."""

    label: str
    remark: str
    values: np.ndarray
    height: np.ndarray  # 0..1: powers of two stand out, as on a ruler
    subnormal: np.ndarray


def _row(grid: Format | str | LPArray) -> _Row:
    scale, offset, fmt = 1.0, 0.0, grid.format if isinstance(grid, LPArray) else single_format(grid, "number_line")
    label = formats.name_of(fmt) or repr(fmt).removeprefix("lpnum.")
    if isinstance(grid, LPArray):
        if np.ndim(grid.scale) or np.ndim(grid.offset):
            raise ValueError("number_line: an array with several scales or offsets has no one grid; index a channel")
        scale, offset = grid.scale, grid.offset
        label += f"\n\N{MULTIPLICATION SIGN} {scale:.4g}" + (
            f" {'-' if offset < 0 else '+'} {abs(offset):.4g}" if offset else ""
        )
    magnitudes = np.abs(fmt.all_codes().astype(np.int64))
    levels = 4
    if isinstance(fmt, FloatFormat):
        magnitudes &= (1 << fmt.mantissa_bits) - 1
        levels = fmt.mantissa_bits
    trailing_zeros = np.full(magnitudes.shape, levels)
    for zeros in range(levels - 1, -1, -1):
        trailing_zeros[magnitudes & ((1 << (zeros + 1)) - 1) != 0] = zeros
    at_scale_1, first = np.unique(fmt.code_values, return_index=True)  # -0 and 0 are one mark
    finite = np.isfinite(at_scale_1)
    at_scale_1, first = at_scale_1[finite], first[finite]
    order = slice(None, None, -1 if scale < 0 else 1)
    smallest = fmt.smallest_normal if isinstance(fmt, FloatFormat) else 0.0
    found = specials(fmt)
    return _Row(
        label=label,
        remark=f"{at_scale_1.size} values" + ("" if found == "-" else f"\n{found}"),
        values=(offset + scale * at_scale_1)[order],
        height=(trailing_zeros[first] / max(levels, 1) if levels else np.ones(first.size))[order],
        subnormal=((np.abs(at_scale_1) < smallest) & (at_scale_1 != 0))[order],
    )


def number_line(
    fmt: Format | str | LPArray | Iterable[Format | str | LPArray],
    ax: Any = None,
    *,
    xscale: str | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Draw where the values of formats lie: a ruler for each, one below the other.

    A long mark is a power of two (of fixed point: a multiple of 16), shorter ones use more bits. Subnormal values have
    a color of their own; what a format has besides finite values is listed at its right.

    Parameters
    ----------
    fmt : format, its name, or LPArray, or several of them
        An array stands for its grid, ``offset + scale * decode(code)``; its scale and offset must be numbers.
    ax : matplotlib Axes, optional
    xscale : {"linear", "symlog", "log"}, optional
        "symlog" (default where there is a float format) has equal distances between powers of two on both sides and
        is linear between the smallest normal values; "log" shows the positive values only; "linear" is the default for
        fixed point.
    low, high : float, optional
        Part of the axis to draw; default: everything.

    Returns
    -------
    matplotlib.axes.Axes

    Notes
    -----
    More values than a picture has columns (the 16-bit formats) are thinned: of those that fall together one is drawn.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> ax = lpnum.plotting.number_line([lpnum.float4_e2m1fn, lpnum.fixed4], xscale="linear")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['float4_e2m1fn', 'fixed4']
    """
    grids: list[Any] = list(fmt) if isinstance(fmt, Iterable) and not isinstance(fmt, str | LPArray) else [fmt]
    if not grids:
        raise ValueError("number_line: no format given")
    rows = [_row(grid) for grid in grids]
    kinds = [grid.format if isinstance(grid, LPArray) else formats.format(grid) for grid in grids]
    if xscale is None:
        xscale = "linear" if all(isinstance(kind, FixedFormat) for kind in kinds) else "symlog"
    one_of(xscale, ("linear", "symlog", "log"), "number_line: xscale")
    ax = figure_axes(ax, 10, 0.9 + 0.75 * len(rows))
    threshold = min(_threshold(row) for row in rows)
    _set_axis(ax, xscale, threshold, rows, low, high)
    for k, row in enumerate(rows):
        _draw_row(ax, row, -k, xscale, row.label)
    ax.set_ylim(-len(rows) + 0.75, 0.95)
    ax.set_yticks([0.3 - k for k in range(len(rows))], [row.label for row in rows])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("value" if xscale != "log" else "value (positive ones)")
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    if any(row.subnormal.any() for row in rows):
        lines = optional_import("matplotlib.lines", "plot", "number_line").Line2D
        marks = [
            lines([], [], color=color, marker="|", linestyle="", markersize=11, markeredgewidth=1.6, label=name)
            for color, name in ((NORMAL, "normal"), (SUBNORMAL, "subnormal"), (ZERO, "zero"))
        ]
        options: dict[str, Any] = dict(ncols=3, frameon=False, fontsize=9, handletextpad=0.1, columnspacing=1.2)
        ax.legend(handles=marks, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, **options)
    return ax


def _threshold(row: _Row) -> float:
    """Below this magnitude the symmetric logarithmic axis is linear: where the values have equal distances."""
    magnitudes = np.abs(row.values[row.values != 0])
    normal = np.abs(row.values[~row.subnormal & (row.values != 0)])
    return float(normal.min() if normal.size else magnitudes.min())


def _set_axis(ax: Any, xscale: str, threshold: float, rows: list[_Row], low: float | None, high: float | None) -> None:
    least = min(float(row.values[row.values > 0 if xscale == "log" else slice(None)].min()) for row in rows)
    most = max(float(row.values.max()) for row in rows)
    if xscale == "linear":
        margin = 0.02 * (most - least)
        ax.set_xscale("linear")
        ax.set_xlim(least - margin if low is None else low, most + margin if high is None else high)
        return
    if xscale == "symlog":
        ax.set_xscale("symlog", base=2, linthresh=threshold, linscale=1)
        # a format without values at or below 0 needs no half of the axis for them
        left = least / 2 if least > 0 else least * 1.4 if least < 0 else -threshold / 4
    else:
        if low is not None and low <= 0:
            raise ValueError(f"number_line: low must be greater than 0 on a logarithmic axis, not {low!r}")
        ax.set_xscale("log", base=2)
        left = least / 1.4
    ax.set_xlim(left if low is None else low, most * 1.4 if high is None else high)
    left, right = ax.get_xlim()
    ticks = _power_ticks(left, right, threshold)
    ax.set_xticks([value for value, _ in ticks], [label for _, label in ticks])
    ax.set_xticks([], minor=True)


def _power_ticks(low: float, high: float, threshold: float) -> list[tuple[float, str]]:
    """Powers of two at equal distances of exponents, few enough to read; on both sides of 0 where the axis has both."""
    smallest = max(threshold, low) if low > 0 else threshold
    first, last = math.ceil(math.log2(smallest)), math.floor(math.log2(max(abs(low), abs(high))))
    wanted = (last - first + 1) / (7 if low < 0 < high else 13)
    step = next((step for step in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64) if step >= wanted), 128)
    # on the symmetric axis the distance of 2^e from 0 is that of e - first + 2 doublings
    exponents = [e for e in range(first, last + 1) if e % step == 0 and (low > 0 or e - first + 2 > 0.7 * step)]
    ticks = [(2.0**e, f"2^{{{e}}}" if e else "1") for e in exponents]
    both = [(-value, f"$-{label}$") for value, label in reversed(ticks)] + [(0.0, "0")]
    return [(x, label) for x, label in both + [(x, f"${label}$") for x, label in ticks] if low <= x <= high]


def _draw_row(ax: Any, row: _Row, y: float, xscale: str, label: str) -> None:
    ax.axhline(y, color=GRAY, linewidth=0.6, zorder=1)
    shown = row.values > 0 if xscale == "log" else np.ones(row.values.size, bool)
    left, right = ax.get_xlim()
    shown &= (row.values >= left) & (row.values <= right)
    thick = float(np.clip(160 / max(int(shown.sum()), 1), 0.5, 1.3))
    zero = row.values == 0
    for name, chosen, color, width in (
        ("normal", shown & ~row.subnormal & ~zero, NORMAL, thick),
        ("subnormal", shown & row.subnormal, SUBNORMAL, thick),
        ("zero", shown & zero, ZERO, 1.6),
    ):
        where = np.flatnonzero(chosen)
        if where.size > _DRAWN:
            where = where[_thinned(ax, row.values[where], row.height[where])]
        if where.size:
            tops = y + 0.28 + 0.34 * row.height[where] if name != "zero" else y + 0.62
            marks = ax.vlines(row.values[where], y, tops, colors=color, linewidth=width, zorder=2)
            marks.set_gid(f"{label}:{name}")
    ax.annotate(row.remark, (1.0, y + 0.3), xycoords=("axes fraction", "data"), xytext=(6, 0), va="center",
                textcoords="offset points", fontsize=8, color=GRAY, annotation_clip=False)  # fmt: skip


def _thinned(ax: Any, values: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Indices of one value per column of the picture, the roundest of those that fall together."""
    ends = ax.transScale.transform(np.column_stack([ax.get_xlim(), (0, 0)]))[:, 0]
    at = ax.transScale.transform(np.column_stack([values, np.zeros(values.size)]))[:, 0]
    column = np.floor((at - ends[0]) / (ends[1] - ends[0]) * _DRAWN)
    order = np.lexsort((-height, column))
    _, first = np.unique(column[order], return_index=True)
    return np.sort(order[first])


# ---- rounding error --------------------------------------------------------------------------------------------------


def rounding_error(
    fmt: Format | str,
    ax: Any = None,
    *,
    rounding: str = "nearest-even",
    low: float | None = None,
    high: float | None = None,
    error: str = "relative",
) -> Any:
    """Draw the error of rounding to a format over its range, with the bound that theory gives.

    ``relative: |round(x) - x| / |x|``, at most eps/2 for normal x; ``absolute: |round(x) - x|``. Below the smallest
    normal value the absolute error stays at most eps/2 * smallest_normal, so that the relative one grows to 1 (x
    becomes 0). Above the largest value x saturates there. The bound is eps instead of eps/2 for the modes that do not
    round to the nearest value; fixed point has half a step, or a whole one, as bound of the absolute error.

    Parameters
    ----------
    fmt : format or its name
        At scale 1; out of range goes to the largest value ("clamp").
    ax : matplotlib Axes, optional
    rounding : str
        Rounding mode; "stochastic" draws the errors of one run (seed 0).
    low, high : float, optional
        Range of x. Default: from a quarter of the smallest positive value to four times the largest one, on a
        logarithmic axis. With ``low <= 0`` the axis is linear.
    error : {"relative", "absolute"}

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> ax = lpnum.plotting.rounding_error("float8_e4m3fn")
    >>> [float(end) for end in ax.get_xlim()], ax.lines[-1].get_label()
    ([0.00048828125, 1792.0], 'bound: eps/2 = 0.0625')

    References
    ----------
    Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., 2002, theorem 2.2 (the bound eps/2).
    """
    fmt = single_format(fmt, "rounding_error")
    one_of(rounding, ROUNDING_MODES, "rounding_error: rounding")
    one_of(error, ("relative", "absolute"), "rounding_error: error")
    smallest = fmt.smallest_subnormal if isinstance(fmt, FloatFormat) else fmt.unit
    low = smallest / 4 if low is None else float(low)
    high = fmt.max * 4 if high is None else float(high)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"rounding_error: low and high must be finite and low < high, not {low!r} and {high!r}")
    if low < 0 and not fmt.signed:
        raise ValueError(f"rounding_error: {fmt!r} is unsigned; low must not be negative, not {low!r}")
    ax = figure_axes(ax, 8, 4.2)
    x, measured = _errors(fmt, rounding, low, high, error == "relative")
    ax.set_xlim(low, high)
    if low > 0:
        ax.set_xscale("log", base=2)
        ticks = _power_ticks(low, high, 0.0)
        ax.set_xticks([value for value, _ in ticks], [label for _, label in ticks])
        ax.set_xticks([], minor=True)
    inside = (x >= fmt.min) & (x <= fmt.max)
    bound = _bound(x[inside], fmt, rounding, error == "relative")
    floor = float(np.min(bound[np.isfinite(bound)], initial=1.0)) / 64
    ax.set_yscale("log")
    ax.set_ylim(floor, 2.2 * max(float(measured.max()), 64 * floor))
    drawn = np.maximum(measured, floor)
    ax.fill_between(x, floor, drawn, color=NORMAL, alpha=0.25, linewidth=0)
    ax.plot(x, drawn, color=NORMAL, linewidth=0.7, label=f"error, {rounding}")
    _shade(ax, fmt, low, high)
    label = _bound_label(fmt, _half(rounding))
    ax.plot(x[inside], bound, color=BOUND, linestyle="--", linewidth=1.2, label=label, zorder=3)
    ax.set_xlabel("x")
    ax.set_ylabel("relative error |round(x) - x| / |x|" if error == "relative" else "absolute error |round(x) - x|")
    ax.set_title(formats.name_of(fmt) or repr(fmt).removeprefix("lpnum."), loc="left", fontsize=10, pad=24)
    ax.grid(True, which="major", alpha=0.25)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, fontsize=8.5, borderaxespad=0.1,
              handlelength=1.8, columnspacing=1.4)  # fmt: skip
    return ax


def _bound_label(fmt: Format, half: float) -> str:
    if isinstance(fmt, FixedFormat):
        return f"bound: {'half a' if half < 1 else 'one'} step = {half * fmt.unit:.4g}"
    return f"bound: eps{'/2' if half < 1 else ''} = {half * fmt.eps:.4g}"


def _bound(x: np.ndarray, fmt: Format, rounding: str, relative: bool) -> np.ndarray:
    """Largest error that rounding of values in the range can have."""
    half = _half(rounding)
    magnitude = np.abs(x)
    if isinstance(fmt, FixedFormat):
        absolute = np.full(x.shape, half * fmt.unit)
    else:
        absolute = half * fmt.eps * np.maximum(magnitude, fmt.smallest_normal)
    if not relative:
        return absolute
    with np.errstate(divide="ignore"):
        ratio = absolute / magnitude
    return np.minimum(ratio, 1.0) if half < 1 or rounding == "towards-zero" else ratio


def _half(rounding: str) -> float:
    """Largest error as a part of the distance between neighbours."""
    return 0.5 if rounding.startswith("nearest") else 1.0


def _errors(fmt: Format, rounding: str, low: float, high: float, relative: bool) -> tuple[np.ndarray, np.ndarray]:
    """Points and the errors there: every tooth of the saw where it can be seen, else the largest of each column."""
    spread = np.geomspace if low > 0 else np.linspace
    values = np.unique(fmt.code_values[np.isfinite(fmt.code_values)])
    values = values[(values >= low) & (values <= high)]
    if 2 <= values.size <= 600:
        # an even number of parts between neighbours: the middle, where the error is largest, is one of the points
        pieces = 2 * max(8, 4096 // values.size)
        teeth = np.linspace(values[:-1], values[1:], pieces, endpoint=False, axis=1).ravel()
        ends = spread(low, values[0], 400), spread(values[-1], high, 400)
        x = np.unique(np.concatenate([ends[0], teeth, ends[1]]))
        return x, _error(x, fmt, rounding, relative)
    edges = spread(low, high, 1201)
    part = (np.arange(64) + 0.5) / 64
    x = edges[:-1, None] + np.diff(edges)[:, None] * part
    error = _error(x, fmt, rounding, relative)
    worst = np.arange(len(x)), error.argmax(axis=1)
    return x[worst], error[worst]


def _error(x: np.ndarray, fmt: Format, rounding: str, relative: bool) -> np.ndarray:
    absolute = np.abs(round_to(x, fmt, rounding=rounding, overflow="clamp", rng=0) - x)
    return np.divide(absolute, np.abs(x), out=np.zeros_like(x), where=x != 0) if relative else absolute


def _shade(ax: Any, fmt: Format, low: float, high: float) -> None:
    """Where the format runs out of range, and where out of exponents."""
    regions = []
    if isinstance(fmt, FloatFormat) and has_subnormals(fmt):
        regions = [("subnormal", -fmt.smallest_normal if fmt.signed else 0.0, fmt.smallest_normal, "#c7a252")]
    regions += [("saturates", fmt.max, high, SUBNORMAL), ("saturates", low, fmt.min, SUBNORMAL)]
    named = set()
    for name, left, right, color in regions:
        left, right = max(left, low), min(right, high)
        if left < right:
            ax.axvspan(left, right, color=color, alpha=0.13, linewidth=0, label=None if name in named else name)
            named.add(name)
