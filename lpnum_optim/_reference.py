"""The kernels of ``lpnum_optim._core.epochs`` in plain NumPy: their specification in code.

Slow and obvious. ``lowbit_epoch`` gives the same codes as the compiled one, bit for bit, on every machine: it contains
all rounding, all saturation and all random bits (their layout is told in ``_core/dither.h``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lpnum._reference import aes_round, ars_blocks

from .data import DataMatrix
from .grid_control import GridControl, Report

Array = np.ndarray[Any, Any]

DITHER_STEPS, DITHER_REFRESH, DITHER_CHANGE = 1 << 62, 2 << 62, 3 << 62


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


def loss_slopes(margins: Array, target: float, loss: int, parameter: float = 0.0) -> list[float]:
    """l'_c(margins, target) for every output c: squared (0), logistic (1), softmax (2), huber (3)."""
    if loss == 2:
        return _softmax_slopes([float(m) for m in margins], target)
    margin = float(margins[0])
    if loss == 1:
        return [-target / (1.0 + exp(max(-700.0, min(700.0, target * margin))))]
    r = margin - target
    if loss == 3:
        r = r if r < parameter else parameter
        r = r if r > -parameter else -parameter
    return [r]


def loss_slope(margin: float, target: float, loss: int) -> float:
    """l'(margin, target) of a loss with one output."""
    return loss_slopes(np.array([margin]), target, loss)[0]


def _softmax_slopes(margins: list[float], target: float) -> list[float]:
    """p_c, and p_y - 1 as minus the sum of the others: relatively accurate however close to 1 p_y is."""
    top = margins[0]
    for m in margins:
        top = m if m > top else top
    powers = [exp(m - top if m - top > -700.0 else -700.0) for m in margins]
    total = others = 0.0
    for c, power in enumerate(powers):
        total += power
        others += 0.0 if c == target else power
    inverse = 1.0 / total
    return [-others * inverse if c == target else power * inverse for c, power in enumerate(powers)]


def _tanh_parts(a: float) -> tuple[float, float]:
    """Pade approximant [7/6]: tanh(a) = a * above / below."""
    a2 = a * a
    a4 = a2 * a2
    above = (135135.0 + 17325.0 * a2) + a4 * (378.0 + a2)
    return above, (135135.0 + 62370.0 * a2) + a4 * (3150.0 + 28.0 * a2)


def centered_difference(
    anchor: float,
    product: float,
    loss: int,
    *,
    unit: float = 1.0,
    offset: float = 0.0,
    weight: float = 1.0,
    factor: float = 1.0,
) -> float | None:
    """factor * weight * (l'(m + t) - l'(m)) with anchor = l'(m) and t = unit * product + offset, in the kernels' order.

    None where they take the two slopes. Logistic: the sign of the anchor is minus that of the target.
    """
    if loss == 0:
        return factor * (weight * (unit * product + offset))
    if loss != 1:
        return None
    s, half = abs(anchor), 0.5 if anchor < 0 else -0.5
    a = (half * unit) * product + half * offset
    if not -1.5 < a < 1.5:
        return None
    slope = weight * (4.0 * half * (s * (1.0 - s)))
    above, below = _tanh_parts(a)
    below = below + (a * (1.0 - 2.0 * s)) * above
    return (a * (factor * slope)) * above / below


def continued_difference(
    anchor: float, product: float, rate: float, amount: float, *, unit: float, weight: float, factor: float
) -> float | None:
    """`centered_difference` of the logistic loss at product + rate * amount, in the order of the second of two steps.

    None where the kernels start anew.
    """
    s, half = abs(anchor), 0.5 if anchor < 0 else -0.5
    scaled, rest = factor * (weight * (4.0 * half * (s * (1.0 - s)))), 1.0 - 2.0 * s
    a, change = (half * unit) * product, (half * unit * rate) * amount
    if not (-1.5 < a < 1.5 and -0.03125 < change < 0.03125):
        return None
    above, below = _tanh_parts(a)
    above = a * above
    inverse = 1.0 / (below + rest * above)
    f1 = (scaled * (below * below - above * above)) * (inverse * inverse)
    f2 = f1 * (inverse * (above + rest * below))
    return (scaled * above) * inverse + change * (f1 - change * f2)


def refresh_steps(step_size: float, l2: float, steps: int) -> int:
    """K: how many of the steps share one rounding of their constant part; l2 is the largest of all coordinates."""
    most, shrink = max(64, min(256, steps // 128)), 16.0 * step_size * l2
    return most if shrink == 0.0 else max(1, int(min(1.0 / shrink, float(most))))


def drift_shift(fixed: Array, decay: Array) -> int:
    """The smallest shift with which the constant part of a pair of steps fits 8 bits."""
    largest = int((np.abs(fixed) + 128 * np.abs(decay)).max()) >> 32
    return next(shift for shift in range(10) if shift == 9 or 127 << shift > largest)


def positions(x: DataMatrix) -> tuple[Array, int]:
    """Where in a row the kernels keep each coordinate, and how long their rows are."""
    d = x.shape[1]
    j = np.arange(d)
    if x.packed:  # of 128 codes the even ones, which are the low halves of 64 bytes, then the odd ones
        return j // 128 * 128 + j % 2 * 64 + j % 128 // 2, -(-d // 128) * 128
    return j, -(-d // 64) * 64


def integer_rows(x: DataMatrix) -> tuple[Array, float]:
    """Data codes of all rows and their step. Codes of 4 bits are taken times 16: they use the range of a byte."""
    if not x.packed:
        return x.rows.astype(np.int64), x.step
    codes = np.stack([x.rows & 15, x.rows >> 4], axis=-1).reshape(len(x.rows), -1)[:, : x.shape[1]].astype(np.int64)
    if x.packed == "int4":
        codes = (codes ^ 8) - 8
    return codes * 16, x.step / 16


def lowbit_epoch(
    x: DataMatrix,
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
    weights: Array | None = None,
    shrink: Array | None = None,
    loss_parameter: float = 0.0,
    intercept: Array | None = None,
    intercept_direction: Array | None = None,
    intercept_step: float = 0.0,
    centered: bool = False,
) -> tuple[float, float, float]:
    """One epoch on the codes `z`, in place; see ``lpnum_optim._core.epochs.lowbit_epoch``."""
    (n, d), wide = x.shape, z.dtype == np.int16
    outputs = z.size // d
    margins, anchors, direction = margins.reshape(n, -1), anchors.reshape(n, -1), direction.reshape(-1, d)
    beta_max, fine_max = (32767, (1 << 23) - 1) if wide else (127, 32767)

    def sat(v: Array) -> Array:
        return v if wide else np.clip(v, -32768, 32767)

    grid = control or GridControl()
    place, padded = positions(x)
    n_blocks = outputs * padded // 8  # of 16-bit words for all coordinates

    def random32(first: int) -> Array:
        words = ars_blocks(seed, stream, first, n_blocks).reshape(-1).view("<u2").reshape(outputs, padded)[:, place]
        return words.astype(np.int64) << 16

    def constants(steps: int) -> tuple[Array, Array]:
        """D and L of an update by so many steps."""
        h_scale = steps * step_size / (z_step * grid.change) * 2.0**40
        fixed = np.rint(np.clip(direction * h_scale, -(2.0**60), 2.0**60)).astype(np.int64)
        return fixed, np.rint(np.clip(steps * step_size * penalty * 2.0**40, -(2.0**44), 2.0**44)).astype(np.int64)

    def constant_part(first: int, steps: int) -> Array:
        fixed, decay = constants(steps)
        return np.clip((fixed + decay * q + random32(first)) >> 32, -fine_max - 1, fine_max)

    data, x_step = integer_rows(x)
    q = z.astype(np.int64).reshape(outputs, d)
    penalty = np.full(d, l2) if shrink is None else shrink
    base = ars_blocks(seed, stream, 0, padded // 16)
    every = refresh_steps(step_size, max(0.0, float(penalty.max())), len(samples))
    span = 2 if outputs == 1 and not wide and every > 1 else 1  # steps of an update
    every //= span
    offsets = np.zeros(outputs) if intercept is None else intercept.copy()
    u = clipped = 0  # number of the update
    range_used = 0.0
    updates = [samples[t : t + span] for t in range(0, len(samples), span)]
    runs = grid.split(np.arange(len(updates)))

    def beta_code(beta: float, random: Array) -> int:
        nonlocal clipped
        beta += float(random.view("<u4")[0]) * 2.0**-32 - (0.5 - 2.0**-33)  # symmetric about 0
        inside = -beta_max - 0.5 < beta < beta_max + 0.5
        clipped += not inside
        return int(np.rint(beta)) if inside else int(np.nan_to_num(np.sign(beta))) * beta_max

    def betas(i: int, products: list[float], late: tuple[float, float] | None = None) -> list[float]:
        """What multiplies the row, for every output, unrounded; moves the intercepts. `late`: rate and amount."""
        unit, factor = x_step * (z_step * grid.change), step_size * x_step / (z_step * grid.change) * 256
        weight = 1.0 if weights is None else float(weights[i])
        if late is not None:
            if centered and loss == 1 and intercept is None:
                beta = continued_difference(
                    float(anchors[i, 0]), products[0], *late, unit=unit, weight=weight, factor=-factor
                )
                if beta is not None:
                    return [-beta]
            products = [products[0] + late[0] * late[1]]
        m = np.array([(margins[i, c] + offsets[c]) + unit * products[c] for c in range(outputs)])
        slopes = loss_slopes(m, float(targets[i]), loss, loss_parameter)
        differences = [weight * (slopes[c] - float(anchors[i, c])) for c in range(outputs)]
        result = [g * factor for g in differences]
        if centered and outputs == 1:
            known: dict[str, Any] = {"unit": unit, "offset": float(offsets[0]), "weight": weight}
            direct, beta = (
                centered_difference(float(anchors[i, 0]), products[0], loss, factor=f, **known) for f in (1.0, factor)
            )
            if direct is not None and beta is not None:
                differences, result = [direct], [beta]
        if intercept is not None and intercept_direction is not None:
            for c, g in enumerate(differences):
                offsets[c] -= intercept_step * (g + intercept_direction[c])
        return result

    for k, run in enumerate(runs):
        stop = u + len(run)
        at_end = observed = largest = 0
        for _ in run:
            rows, first = updates[u], DITHER_STEPS + 3 * u * outputs
            if u % every == 0:
                h = constant_part(DITHER_REFRESH + u // every * n_blocks, span)
            if len(rows) < span:  # the last step of an odd number
                h = constant_part(DITHER_REFRESH + (u // every + 1) * n_blocks, 1)
            words = ars_blocks(seed, stream, first, 3 * outputs)
            exact = betas(rows[0], [float(np.dot(data[rows[0]], q[c])) for c in range(outputs)])
            codes = [beta_code(beta, words[3 * c + 2, :4]) for c, beta in enumerate(exact)]
            moves = [-code * data[rows[0]] for code in codes]
            if len(rows) == 2:
                x0, x1 = data[rows[0]], data[rows[1]]
                shift = drift_shift(*constants(span))
                drift = float(np.dot(x1, (h[0] + ((1 << shift) >> 1)) >> shift))
                product = float(np.dot(x1, q[0])) - 2.0**-9 * 2.0**shift * drift
                (beta,) = betas(rows[1], [product], (float(np.dot(x0, x1)) * 2.0**-8, -float(codes[0])))
                moves = [sat(moves[0] - beta_code(beta, words[2, 4:8]) * x1)]
            for c, move in enumerate(moves):
                whitening, round_key = words[3 * c : 3 * c + 2]
                dither = aes_round(base ^ whitening, round_key).reshape(-1)[place].astype(np.int64)
                q[c] = np.clip(sat((q[c] << 8) + dither + sat(move - h[c])) >> 8, code_min, code_max)
            u += 1
            if u % every == 0 or u == stop:
                at_end += int(np.count_nonzero((q == code_min) | (q == code_max)))
                largest = max(largest, int(np.max(np.abs(q))))
                observed += 1
                if grid.averaging:
                    grid.add(np.asarray(z_step * grid.change * q.reshape(z.shape), np.float64))
        range_used = min(1.0, largest / code_max)
        grid.observe(Report(at_end / (observed * q.size), range_used, (q == code_min) | (q == code_max)))
        factor = grid.next_factor() if k + 1 < len(runs) else 1.0
        if factor != 1.0:
            multiplier = int(np.rint(min(2.0**32 / factor, 2.0**47)))
            first = DITHER_CHANGE + 2 * k * n_blocks
            q = np.clip((multiplier * q + random32(first)) >> 32, code_min, code_max)
            h = constant_part(first + n_blocks, span)
    z[...] = q.reshape(z.shape)
    if intercept is not None:
        intercept[:] = offsets
    return grid.saturated, range_used, clipped / max(1, len(samples) * outputs)


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
