"""``lpnum_optim._core.epochs.evaluate_rows`` in plain NumPy and Python's integers: its specification in code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _reference
from .data import DataMatrix

Array = np.ndarray[Any, Any]

LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
ROOT = float.fromhex("0x1.6a09e00000000p+0")  # sqrt(2), in the bits of its upper half
# Of fdlibm's log, from s^2 on.
LOG = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip


def log1p(t: float) -> float:
    """log(1 + t) for t >= 0 in the operation order of the kernels (evaluation_losses.h)."""
    m, k = math.frexp(1.0 + t)
    m, k = (m, k) if 2.0 * m >= ROOT else (2.0 * m, k - 1)  # sqrt(1/2) <= m < sqrt(2)
    f = t if k == 0 else m - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (LOG[1] + w * (LOG[3] + w * LOG[5]))
    odd = z * (LOG[0] + w * (LOG[2] + w * (LOG[4] + w * LOG[6])))
    square = 0.5 * f * f
    return k * LN2_HIGH - ((square - (s * (square + (odd + even)) + k * LN2_LOW)) - f)


def loss_value(margins: Array, target: float, loss: int, parameter: float) -> float:
    """l(margins, target) of finite margins: squared (0), logistic (1), softmax (2), huber (3)."""
    if loss == 2:
        shifted = [float(m) - float(max(margins)) for m in margins]
        powers = [_reference.exp(max(a, -700.0)) for a in shifted]
        total = others = own = 0.0
        for c, power in enumerate(powers):
            total += power
            others += 0.0 if c == target else power
            own += shifted[c] if c == target else 0.0
        return log1p(others if own == 0.0 else total - 1.0) - own
    margin = float(margins[0])
    if loss == 1:
        agreement = target * margin
        power = _reference.exp(max(-700.0, min(700.0, agreement)))
        return log1p(power) - agreement if agreement < 0.0 else log1p(1.0 / power)
    r = margin - target
    if loss == 0:
        return 0.5 * r * r
    slope = max(-parameter, min(parameter, r))
    return slope * (r - 0.5 * slope)


def fixed_point(a: Array) -> tuple[list[int], float]:
    """A finite vector in units of 2^-54 of the power of two above its largest element, and the unit."""
    largest = float(np.max(np.abs(a)))
    if largest == 0.0:
        return [0] * len(a), 0.0
    exponent = max(math.frexp(largest)[1], -900)
    return [int(v) for v in np.rint(np.ldexp(a, 54 - exponent))], math.ldexp(1.0, exponent - 54)


def integer_product(codes: Array, a: Array) -> Array:
    """``codes @ a`` as exact sums with the fixed-point vector, each rounded once."""
    whole, unit = fixed_point(a)
    return np.array([float(sum(int(x) * v for x, v in zip(row, whole, strict=True))) * unit for row in codes])


def eight_lanes_sum(a: Array) -> float:
    """Element i goes to lane i mod 8; lanes l and l + 4 are added, then l and l + 2, 1."""
    lanes = np.zeros(8)
    for i in range(0, len(a), 8):
        lanes[: len(a[i : i + 8])] += a[i : i + 8]
    for half in (4, 2, 1):
        lanes = lanes[:half] + lanes[half : 2 * half]
    return float(lanes[0])


def sparse_sum(terms: Array) -> float:
    """One after the other."""
    total = 0.0
    for term in terms:
        total += float(term)
    return total


def evaluate_rows(
    x: DataMatrix, targets: Array, v: Array, intercept: Array, *, loss: int, block: int, start: int, stop: int,
    loss_parameter: float = 0.0, weights: Array | None = None,
) -> tuple[float, Array, Array, Array, Array]:  # fmt: skip
    """Losses, slope sums, rows, and the margins and slopes of the range, all finite."""
    outputs, d = v.shape
    is_code = x.rows.dtype.itemsize == 1 and not x.is_sparse
    margins, slopes = np.empty((stop - start, outputs)), np.empty((stop - start, outputs))
    losses, slope_sums, rows = 0.0, np.zeros(outputs), np.zeros((outputs, d))
    for first in range(start, stop, block):
        last = min(first + block, stop)
        codes = x.codes(first, last)
        dense = codes.toarray() if x.is_sparse else codes
        here = slice(first - start, last - start)
        m, p = margins[here], slopes[here]
        for c in range(outputs):
            if is_code:
                m[:, c] = integer_product(dense, v[c]) * x.step
            elif x.is_sparse:
                m[:, c] = [sparse_sum(row * v[c]) * x.step for row in dense]
            else:
                m[:, c] = _reference.row_products(dense, x.step, v[c])
            m[:, c] += intercept[c]
        y = targets[first:last]
        p[:] = [_reference.loss_slopes(m[i], float(y[i]), loss, loss_parameter) for i in range(len(y))]
        values = np.array([loss_value(m[i], float(y[i]), loss, loss_parameter) for i in range(len(y))])
        weighted = p.copy()
        if weights is not None:
            values = values * weights[first:last]
            weighted = weighted * weights[first:last, None]
        losses += eight_lanes_sum(values)
        for c in range(outputs):
            slope_sums[c] += eight_lanes_sum(weighted[:, c])
            if is_code:
                rows[c] += integer_product(dense.T, weighted[:, c])
            elif x.is_sparse:
                for i, row in enumerate(dense):
                    rows[c] += weighted[i, c] * row
            else:
                for i in range(0, last - first, 8):
                    rows[c] += _reference.weighted_row_sum(dense[i : i + 8], 1.0, weighted[i : i + 8, c])
    return losses, slope_sums, rows * x.step, margins, slopes
