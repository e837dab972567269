"""What the tests of block formats share."""

from __future__ import annotations

import numpy as np

import lpnum
from lpnum._core import kernels
from lpnum.block_formats import SCALE_ROUNDINGS, BlockFormat, named_blocks

NAMED = named_blocks()
MX = [f for f in NAMED.values() if not f.tensor_scale]
OTHERS = [
    BlockFormat(lpnum.fixed4, 64),
    BlockFormat(lpnum.fixed(6, frac=2), 7, lpnum.minifloat(5, 0, specials="none", signed=False)),
    BlockFormat(lpnum.minifloat(3, 0, specials="none"), 2),
    BlockFormat(lpnum.float8_e3m4, 1030),  # longer than what the kernels take at once
    BlockFormat(lpnum.fixed8, 10, lpnum.float8_e4m3fn, "nearest-even", True),
    BlockFormat(lpnum.float8_e5m2, 24, lpnum.float8_e5m2, "up"),
]
RULES = [f.with_scale_rounding(r) for f in (*MX, *OTHERS[:4]) for r in SCALE_ROUNDINGS]
RULES += [f.with_scale_rounding(r) for f in (NAMED["nvfp4"], *OTHERS[4:]) for r in ("nearest-even", "up")]


def at_every_level(call):
    """What a call returns at each SIMD level, so that a slow oracle runs once."""
    before = kernels.SIMD_LEVELS[kernels.simd_level()]
    try:
        for level in kernels.simd_levels():
            kernels.set_simd_level(level)
            yield call()
    finally:
        kernels.set_simd_level(before)


def decoded(y):
    """Elements at scale 1, in float64."""
    return y.format.element.code_values[y.unpacked.astype(np.int64) - y.format.element.code_min]
