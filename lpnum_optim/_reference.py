"""The kernels of ``lpnum_optim._core.epochs`` in plain NumPy: their specification in code.

Slow and obvious. ``lowbit_epoch`` gives the same codes as the compiled one, bit for bit, on every machine: it contains
all rounding, all saturation and all random bits (their layout is told in ``_core/dither.h``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lpnum._reference import aes_round, ars_blocks

from .grid_control import GridControl, Report

Array = np.ndarray[Any, Any]

_DITHER_STEPS, _DITHER_REFRESH, _DITHER_CHANGE = 1 << 62, 2 << 62, 3 << 62


def exp(a: float) -> float:
    """exp(a) for abs(a) <= 700 in the exact operation order of the kernels (losses.h)."""
    k = float(np.rint(a * 1.4426950408889634))
    r = (a - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
    c = [1.0 / math.factorial(i) for i in range(14)]
    r2 = r * r
    r4 = r2 * r2
    r8 = r4 * r4
    p0 = (1.0 + r) + r2 * (c[2] + r * c[3])
    p1 = (c[4] + r * c[5]) + r2 * (c[6] + r * c[7])
    p2 = (c[8] + r * c[9]) + r2 * (c[10] + r * c[11])
    p3 = c[12] + r * c[13]
    return math.ldexp((p0 + r4 * p1) + r8 * (p2 + r4 * p3), int(k))


def loss_slope(margin: float, target: float, loss: int) -> float:
    """l'(margin, target): squared (0) or logistic (1)."""
    if loss == 0:
        return margin - target
    return -target / (1.0 + exp(max(-700.0, min(700.0, target * margin))))


def refresh_steps(step_size: float, l2: float) -> int:
    """K: how many steps share one rounding of the constant part of the step."""
    shrink = 16.0 * step_size * l2
    return 64 if shrink == 0.0 else max(1, min(64, int(min(1.0 / shrink, 64.0))))


def lowbit_epoch(
    x: Array,
    x_step: float,
    targets: Array,
    margins: Array,
    anchors: Array,
    direction: Array,
    z: Array,
    z_step: float,
    *,
    step_size: float,
    l2: float,
    loss: int,
    samples: Array,
    code_min: int,
    code_max: int,
    seed: int,
    stream: int,
    control: GridControl | None = None,
) -> tuple[float, float, float]:
    """One epoch on the codes `z`, in place; see ``lpnum_optim._core.epochs.lowbit_epoch``."""
    d, wide = len(z), z.dtype == np.int16
    beta_max, fine_max = (32767, (1 << 23) - 1) if wide else (127, 32767)

    def sat(v: Array) -> Array:
        return v if wide else np.clip(v, -32768, 32767)

    grid = control or GridControl()

    def random32(first: int) -> Array:
        words = ars_blocks(seed, stream, first, n_blocks).reshape(-1).view("<u2")[:d]
        return words.astype(np.int64) << 16

    def constant_part(first: int) -> Array:
        h_scale = step_size / (z_step * grid.change) * 2.0**40
        fixed = np.rint(np.clip(direction * h_scale, -(2.0**60), 2.0**60)).astype(np.int64)
        return np.clip((fixed + shrink * q + random32(first)) >> 32, -fine_max - 1, fine_max)

    data = x.astype(np.int64)
    q = z.astype(np.int64)
    shrink = int(np.rint(min(step_size * l2 * 2.0**40, 2.0**44)))
    n_blocks = (d + 63) // 64 * 8
    base = ars_blocks(seed, stream, 0, -(-d // 16))
    every = refresh_steps(step_size, l2)
    t = clipped = 0
    range_used = 0.0
    runs = grid.split(samples)
    for k, run in enumerate(runs):
        stop = t + len(run)
        at_end = observed = largest = 0
        for i in run:
            if t % every == 0:
                h = constant_part(_DITHER_REFRESH + t // every * n_blocks)
            whitening, round_key, word = ars_blocks(seed, stream, _DITHER_STEPS + 3 * t, 3)
            dither = aes_round(base ^ whitening, round_key).reshape(-1)[:d].astype(np.int64)
            uniform = float(word[:4].view("<u4")[0]) * 2.0**-32

            step = z_step * grid.change
            margin = float(margins[i]) + x_step * step * float(np.dot(data[i], q))
            beta = (loss_slope(margin, float(targets[i]), loss) - float(anchors[i])) * (step_size * x_step / step * 256)
            inside = -beta_max <= beta + uniform < beta_max + 1
            beta_q = math.floor(beta + uniform) if inside else int(np.nan_to_num(np.sign(beta))) * beta_max
            clipped += not inside

            q = np.clip(sat((q << 8) + sat(dither - beta_q * data[i] - h)) >> 8, code_min, code_max)
            t += 1
            if t % every == 0 or t == stop:
                at_end += int(np.count_nonzero((q == code_min) | (q == code_max)))
                largest = max(largest, int(np.max(np.abs(q))))
                observed += 1
        range_used = min(1.0, largest / code_max)
        grid.observe(Report(at_end / (observed * d), range_used, (q == code_min) | (q == code_max)))
        factor = grid.next_factor() if k + 1 < len(runs) else 1.0
        if factor != 1.0:
            multiplier = int(np.rint(min(2.0**32 / factor, 2.0**47)))
            first = _DITHER_CHANGE + 2 * k * n_blocks
            q = np.clip((multiplier * q + random32(first)) >> 32, code_min, code_max)
            h = constant_part(first + n_blocks)
    z[:] = q
    return grid.saturated, range_used, clipped / max(1, len(samples))


def row_products(x: Array, x_step: float, w: Array) -> Array:
    """x_step * (x @ w) in the kernels' order: 16 lanes along the row, folded in halves."""
    n, d = x.shape
    pad = -d % 16
    values = np.pad(x.astype(np.float64), ((0, 0), (0, pad)))
    weights = np.pad(w, (0, pad))
    lanes = np.zeros((n, 16))
    for j in range(0, d, 16):
        lanes = lanes + values[:, j : j + 16] * weights[j : j + 16]
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0] * x_step


def weighted_row_sum(x: Array, x_step: float, p: Array) -> Array:
    """x_step * (x.T @ p) in the kernels' order: rows in groups of 8, each group summed before it joins the total."""
    total = np.zeros(x.shape[1])
    for i in range(0, len(x), 8):
        terms = p[i : i + 8, None] * x[i : i + 8].astype(np.float64)
        group = terms[0]
        for term in terms[1:]:
            group = group + term
        total = total + group
    return total * x_step
