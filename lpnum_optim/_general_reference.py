"""The general path of the compiled epochs in plain NumPy: its specification in code.

It serves what the integer kernels of ``_reference`` do not: sparse rows, float and 16-bit data, batches, L1. Slow and
obvious, and bit for bit what ``_core/general_epoch.h`` does, where the formulas are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lpnum._reference import aes_round, ars_blocks

from ._reference import DITHER_CHANGE, DITHER_REFRESH, DITHER_STEPS, loss_slopes
from .data import DataMatrix
from .grid_control import GridControl, Report

Array = np.ndarray[Any, Any]

OBSERVE, MAX_OBSERVE = 64, 1 << 30


def lowbit_epoch(
    x: DataMatrix, targets: Array, margins: Array, anchors: Array, direction: Array, z: Array, z_step: float, *,
    control: GridControl | None = None, **options: Any,
) -> tuple[float, float, float]:  # fmt: skip
    """One epoch on the codes `z`, in place; see ``lpnum_optim._core.epochs.lowbit_epoch``."""
    grid = control or GridControl()
    with np.errstate(over="ignore", invalid="ignore"):
        return _Epoch(x, targets, margins, anchors, direction, z, z_step, 2.0**16, grid, **options).run()


def float_epoch(
    x: DataMatrix, targets: Array, margins: Array, anchors: Array, direction: Array, w: Array, **options: Any
) -> None:
    """One epoch on the float32 or float64 iterate `w`, in place; see ``lpnum_optim._core.epochs.float_epoch``."""
    grid: dict[str, Any] = {"code_min": 0, "code_max": 0, "seed": 0, "stream": 0}
    with np.errstate(over="ignore", invalid="ignore"):
        _Epoch(x, targets, margins, anchors, direction, w, 1.0, 1.0, GridControl(), **grid, **options).run()


def dense_rows(x: DataMatrix) -> Array:
    """All rows in float64, without the step."""
    n, d = x.shape
    if x.packed:
        codes = np.stack([x.rows & 15, x.rows >> 4], axis=-1).reshape(n, -1)[:, :d].astype(np.int64)
        return ((codes ^ 8) - 8 if x.packed == "int4" else codes).astype(np.float64)
    if x.indptr is None:
        return x.rows.astype(np.float64)
    rows = np.zeros((n, d))
    for i in range(n):
        stored = slice(x.indptr[i], x.indptr[i + 1])
        rows[i, x.indices[stored]] = x.rows[stored]  # type: ignore[index]
    return rows


def lane_sum(terms: Array, lanes: int) -> float:
    """Term k goes to lane k mod `lanes`; groups of 8 lanes are added pairwise, then lanes are folded in halves."""
    total = np.zeros(lanes)
    for group in np.pad(terms, (0, -len(terms) % lanes)).reshape(-1, lanes):
        total = total + group
    if lanes == 32:
        total = (total[:8] + total[8:16]) + (total[16:24] + total[24:])
    while len(total) > 1:
        half = len(total) // 2
        total = total[:half] + total[half:]
    return float(total[0])


def bounded(v: Array) -> Array:
    """Within +-2^100; NaN is 0."""
    return np.where(np.isnan(v), 0.0, np.clip(v, -(2.0**100), 2.0**100))


class _Epoch:
    """One epoch; `z` has the shape (C, d)."""

    def __init__(
        self, x: DataMatrix, targets: Array, margins: Array, anchors: Array, direction: Array, z: Array, z_step: float,
        unit: float, grid: GridControl, *, step_size: float, l2: float, loss: int, samples: Array, code_min: int,
        code_max: int, seed: int, stream: int, weights: Array | None = None, shrink: Array | None = None,
        loss_parameter: float = 0.0, batch: int = 1, l1: float = 0.0, center: Array | None = None,
        intercept: Array | None = None, intercept_direction: Array | None = None, intercept_step: float = 0.0,
        centered: bool = False,  # takes the difference of the slopes all the same
    ) -> None:  # fmt: skip
        (n, d) = x.shape
        self.x, self.d, self.unit, self.grid, self.z_step = x, d, unit, grid, z_step
        self.targets, self.weights, self.samples, self.batch = targets, weights, samples, batch
        self.margins, self.anchors, self.direction = (a.reshape(s) for a, s in (
            (margins, (n, -1)), (anchors, (n, -1)), (direction, (-1, d))))  # fmt: skip
        self.z = z.reshape(-1, d)
        self.outputs = len(self.z)
        self.step_size, self.l1, self.loss, self.loss_parameter = step_size, l1, loss, loss_parameter
        self.center = np.zeros(self.z.shape) if center is None else center.reshape(-1, d)
        self.intercept, self.intercept_direction = intercept, intercept_direction
        self.intercept_step = intercept_step
        self.lowest, self.highest, self.seed, self.stream = code_min, code_max, seed, stream
        self.sparse = x.indptr is not None and l1 == 0
        self.rows = np.zeros((0, 0)) if self.sparse else dense_rows(x)
        self.padded = -(-d // 64) * 64
        penalty = np.full(d, l2) if shrink is None else shrink
        self.keep = (1.0 - step_size * penalty) * (1.0 if self.sparse else unit)
        self.last = np.zeros(d, np.int64)
        self.synced = self.refreshes = self.clipped = 0
        self.base = ars_blocks(seed, stream, 0, self.padded // 8)
        self.set_scales(1.0)

    def set_scales(self, change: float) -> None:
        """All that depends on the distance of neighboring values."""
        z_step = self.z_step * change
        fine = self.unit / z_step
        step = self.step_size * fine
        limit = bounded if self.is_code else np.asarray
        self.dot = self.x.step * (z_step / self.unit) if self.sparse else self.x.step * z_step
        self.beta = step * self.x.step
        self.h = limit(step * self.direction)
        columns = np.ones(self.d) if self.x.columns is None else self.x.columns
        self.threshold = limit((step * self.l1) * columns)
        self.rest = limit(-(self.center * fine))

    @property
    def is_code(self) -> bool:
        """Whether the iterate is integers."""
        return self.unit != 1.0

    def words(self, first: int) -> Array:
        """16 random bits for every coordinate of every output."""
        n_blocks = self.outputs * self.padded // 8
        words = ars_blocks(self.seed, self.stream, first, n_blocks).reshape(-1).view("<u2")
        return words.reshape(self.outputs, self.padded)[:, : self.d].astype(np.int64)

    def put(self, c: int, j: Array | slice, y: Array, shift: float, random: Array) -> None:
        """z[c, j] = Q(y)."""
        if not self.is_code:
            self.z[c, j] = y
            return
        low, high = self.lowest * 2.0**16, self.highest * 2.0**16
        v = y + shift
        v = np.where(v > low, v, low)
        v = np.where(v < high, v, high)
        self.z[c, j] = (np.rint(v).astype(np.int64) + random) >> 16

    def dither(self, t: int, c: int) -> tuple[float, Array]:
        """Shift and random words of step t and output c."""
        if not self.is_code:
            return 0.0, np.zeros(self.d, np.int64)
        number = t * self.outputs + c
        whitening, round_key, word = ars_blocks(self.seed, self.stream, DITHER_STEPS + 3 * number, 3)
        random = aes_round(self.base ^ whitening, round_key).reshape(-1).view("<u2")[: self.d].astype(np.int64)
        return float(word[:4].view("<u4")[0]) * 2.0**-32 - 0.5, random

    def slopes(self, i: int, products: Array, beta: float) -> tuple[Array, Array]:
        """The g of row i and its factors in fine units."""
        m = self.margins[i] + self.dot * products
        if self.intercept is not None:
            m = m + self.intercept
        g = np.array(loss_slopes(m, float(self.targets[i]), self.loss, self.loss_parameter)) - self.anchors[i]
        if self.weights is not None:
            g = self.weights[i] * g
        b = beta * g
        if self.is_code:
            g = bounded(g)
            wanted, b = b, bounded(beta * g)
            self.clipped += int(np.count_nonzero(wanted != b))
        return g, b

    def move_intercept(self, total: Array, count: int) -> None:
        """The intercept's step."""
        if self.intercept is not None and self.intercept_direction is not None:
            self.intercept -= self.intercept_step * (total / float(count) + self.intercept_direction)

    def dense_step(self, t: int, batch: Array) -> None:
        """Step t on dense rows."""
        total, beta = np.zeros(self.outputs), self.beta / float(len(batch))
        summed = np.zeros(self.z.shape)
        for k, i in enumerate(batch):
            row = self.rows[i]
            products = np.array([lane_sum(z.astype(np.float64) * row, 32) for z in self.z])
            g, b = self.slopes(i, products, beta)
            total = total + g
            summed = b[:, None] * row if k == 0 else summed + b[:, None] * row
        self.move_intercept(total, len(batch))
        for c in range(self.outputs):
            y = (self.keep * self.z[c].astype(np.float64) - self.h[c]) - summed[c]
            if self.l1 > 0:
                y = soft_threshold(y, self.threshold, self.rest[c])
            self.put(c, slice(None), y, *self.dither(t, c))

    def catch_up(self, c: int, j: Array, now: int) -> Array:
        """Values of coordinates j before step `now`."""
        y, drift = self.unit * self.z[c, j].astype(np.float64), self.h[c, j]
        missed = now - self.synced - self.last[j]
        p, g = self.keep[j], np.ones(len(j))
        while np.any(missed):
            y = np.where(missed & 1, p * y - g * drift, y)
            g = g + g * p
            p = p * p
            missed = missed >> 1
        return y

    def sparse_step(self, t: int, batch: Array) -> None:
        """Step t on stored values; coordinates catch up when they are needed."""
        total, beta = np.zeros(self.outputs), self.beta / float(len(batch))
        sums: dict[int, Array] = {}
        for i in batch:
            stored = slice(self.x.indptr[i], self.x.indptr[i + 1])  # type: ignore[index]
            columns, values = self.x.indices[stored], self.x.rows[stored].astype(np.float64)  # type: ignore[index]
            products = np.array([lane_sum(values * self.catch_up(c, columns, t), 8) for c in range(self.outputs)])
            g, b = self.slopes(i, products, beta)
            total = total + g
            for j, value in zip(columns.tolist(), values.tolist(), strict=True):
                sums[j] = sums[j] + b * value if j in sums else b * value
        self.move_intercept(total, len(batch))
        touched = np.array(list(sums), np.int64)
        for c in range(self.outputs):
            shift, random = self.dither(t, c)
            y = self.keep[touched] * self.catch_up(c, touched, t) - self.h[c, touched]
            y = y - np.array([sums[j][c] for j in sums])
            self.put(c, touched, y, shift, random[touched])
        self.last[touched] = t + 1 - self.synced

    def sync(self, now: int) -> None:
        """All coordinates catch up and are rounded."""
        random = self.words(DITHER_REFRESH + self.refreshes * (self.outputs * self.padded // 8))
        for c in range(self.outputs):
            self.put(c, slice(None), self.catch_up(c, np.arange(self.d), now), 0.0, random[c])
        self.refreshes += 1
        self.synced, self.last[:] = now, 0

    def at_end(self) -> Array:
        """Which codes are at an end of the range."""
        return (self.z == self.lowest) | (self.z == self.highest)

    def change_grid(self, factor: float, k: int) -> None:
        """The codes on a grid `factor` times as wide, after run k."""
        multiplier = int(np.rint(min(2.0**32 / factor, 2.0**47)))
        random = self.words(DITHER_CHANGE + 2 * k * (self.outputs * self.padded // 8)) << 16
        codes = (multiplier * self.z.astype(np.int64) + random) >> 32
        self.z[:] = np.clip(codes, self.lowest, self.highest)
        self.set_scales(self.grid.change)

    def observe_steps(self) -> int:
        """Steps between two observations: those that update 64 d coordinates of an output."""
        if not self.sparse:
            return OBSERVE
        (n, d), stored = self.x.shape, len(self.x.rows)
        return min(OBSERVE * (-(-n * d // stored)), MAX_OBSERVE) if stored else MAX_OBSERVE

    def run(self) -> tuple[float, float, float]:
        """All runs of steps."""
        batches = [self.samples[k : k + self.batch] for k in range(0, len(self.samples), self.batch)]
        runs, every, t, range_used = self.grid.split(np.arange(len(batches))), self.observe_steps(), 0, 0.0
        for k, run in enumerate(runs):
            stop = t + len(run)
            ends = observed = largest = 0
            while t < stop:
                (self.sparse_step if self.sparse else self.dense_step)(t, batches[t])
                t += 1
                if t % every == 0 or t == stop:
                    if self.sparse:
                        self.sync(t)
                    ends += int(np.count_nonzero(self.at_end()))
                    largest = max(largest, int(np.max(np.abs(self.z.astype(np.int64))))) if self.is_code else 0
                    observed += 1
                    if self.grid.averaging:
                        self.grid.add(self.z_step * self.grid.change * self.z)
            if self.is_code:
                range_used = min(1.0, largest / self.highest)
                self.grid.observe(Report(ends / (observed * self.z.size), range_used, self.at_end()))
                factor = self.grid.next_factor() if k + 1 < len(runs) else 1.0
                if factor != 1.0:
                    self.change_grid(factor, k)
        return self.grid.saturated, range_used, self.clipped / max(1, len(self.samples) * self.outputs)


def soft_threshold(y: Array, threshold: Array, rest: Array) -> Array:
    """Proximal step of the L1 penalty of y - rest, as a step of y: to `rest` by at most `threshold`."""
    up, down = y + threshold, y - threshold
    nearest = np.where(up < rest, up, rest)
    return np.where(down > nearest, down, nearest)
