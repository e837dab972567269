"""What the tests of block formats share."""

from __future__ import annotations

import numpy as np

from lpnum._core import kernels


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
