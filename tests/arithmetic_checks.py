"""What the tests of arithmetic share: the values, all pairs of codes, and rounding by the oracle."""

from __future__ import annotations

import numpy as np

import lpnum
from lpnum import _reference


def values_of(x):
    return x.dequantize(np.float64) if isinstance(x, lpnum.LPArray) else np.asarray(x, np.float64)


def rounded_onto(values, target, mode="nearest-even", seed=0, stream=0):
    """Codes of values on the grid of `target`, by the oracle."""
    fmt = target.format
    step = np.asarray(target.scale) * fmt.unit
    return _reference.encode(values, fmt.code_min, fmt.code_max, step, target.offset, mode, seed=seed, stream=stream)


def all_pairs(fa=lpnum.fixed8, fb=lpnum.fixed8, ga=(0.013, 0.0), gb=(0.4, 0.0)):
    a = lpnum.from_codes(fa.all_codes(), fa, *ga).reshape(-1, 1)
    b = lpnum.from_codes(fb.all_codes(), fb, *gb).reshape(1, -1)
    return a, b
