"""What a step of Adam on 8-bit moments is: slow, obvious, in NumPy."""

from __future__ import annotations

import numpy as np

import lpnum
from lpnum.random import CounterRNG
from lpnum_optim._moments import adam as kernels

BLOCK = kernels.BLOCK
SECOND = lpnum.minifloat(8 - kernels.MANTISSA_BITS, kernels.MANTISSA_BITS, kernels.BIAS, specials="none", signed=False)
STATE = ("exp_avg", "exp_avg_scale", "exp_avg_sq", "exp_avg_sq_scale")
NUMBERS = {"beta1": 0.9, "beta2": 0.999, "step_size": 0.01, "correction": 0.4, "epsilon": 1e-8, "seed": 7}


def per_element(scales, n):
    return np.repeat(np.ldexp(1.0, scales.astype(int) - 127), BLOCK)[:n]


def second_moment(codes, scales):
    return (lpnum.decode(codes, SECOND, np.float64) * per_element(scales, codes.size)).astype(np.float32)


def measure_of(v):
    """The power of two within a factor sqrt(2) of sqrt(v) that m is stored relative to; for 0 the smallest one."""
    exponent = np.where(v > 0, np.frexp(v)[1] - 1 + 127, 0)
    return np.ldexp(np.float32(1), exponent // 2 - 63)


def first_moment(codes, scales, v):
    return (codes / 64.0 * per_element(scales, codes.size) * measure_of(v)).astype(np.float32)


def scales_of(values, top):
    """Codes of the smallest 2^k with largest <= top * 2^k for each block."""
    padded = np.zeros(-(-values.size // BLOCK) * BLOCK)
    padded[: values.size] = np.abs(values)
    mantissa, exponent = np.frexp(padded.reshape(-1, BLOCK).max(1))
    code = np.where(mantissa == 0, 0, exponent - 1 + 127 + (2 * mantissa > top))
    return code.clip(1, 253).astype(np.uint8)


def reference_step(
    p, g, state, *, sign=1.0, l2=0.0, keep=1.0, beta1, beta2, step_size, correction, epsilon, seed, stream
):
    """What a step is: float32 operations in the order written, then one stochastic rounding of each moment."""
    f = np.float32
    m_codes, m_scales, v_codes, v_scales = state
    v = second_moment(v_codes, v_scales)
    m = first_moment(m_codes, m_scales, v)
    g = f(sign) * g + f(l2) * p if l2 else f(sign) * g
    m = m + (g - m) * f(1 - beta1)
    v = v * f(beta2) + f(1 - beta2) * g * g
    p = p * f(keep) + -f(step_size) * m / (np.sqrt(v) / f(correction) + f(epsilon))

    words = CounterRNG(seed, stream).words(p.size, bits=32)
    low, high = ((half + f(0.5)) / f(65536) for half in ((words & 0xFFFF).astype(f), (words >> 16).astype(f)))
    v_scales = scales_of(v, SECOND.max)
    x = v / per_element(v_scales, p.size)
    normal = np.frexp(x)[1] - 1 >= SECOND.min_exponent
    unit = np.ldexp(1.0, np.where(normal, np.frexp(x)[1] - 1, SECOND.min_exponent) - SECOND.mantissa_bits)
    grid_units = np.where(normal, x / unit + low.astype(np.float64), (x / unit).astype(f) + low)
    v_codes = lpnum.encode(np.floor(grid_units) * unit, SECOND)
    v_codes = np.maximum(v_codes, (v > 0).astype(np.uint8))

    ratio = m / measure_of(second_moment(v_codes, v_scales))
    m_scales = scales_of(ratio, 127 / 64)
    y = (ratio / per_element(m_scales, p.size) * 64).astype(f).clip(-127, 127)
    m_codes = np.floor(y + high).astype(np.int8)
    return p, (m_codes, m_scales, v_codes, v_scales)


def zero_state(n):
    blocks = -(-n // BLOCK)
    return np.zeros(n, np.int8), np.zeros(blocks, np.uint8), np.zeros(n, np.uint8), np.zeros(blocks, np.uint8)
