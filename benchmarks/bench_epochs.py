"""Inner epochs of linear models: the fused HALP-8 epoch against the float32 SVRG epoch of the same care.

Both sides visit the same samples, use margins and slopes cached at the snapshot, prefetch the rows ahead and do their
O(d) work in one pass at the widest SIMD level. Times are per epoch; ``epoch_ratio`` gives the ratio per step.
"""

from __future__ import annotations

import math
import time
from typing import Any, ClassVar

import numpy as np

from lpnum_optim import _reference
from lpnum_optim._core import epochs
from lpnum_optim.data import DataMatrix

timer = time.process_time  # asv: of this process alone, so that other work on the machine counts less

LOGISTIC = 1
N_STEPS = 20_000


class LinearData:
    """Random logistic regression with the state of a snapshot: int8 data and the same values in float32."""

    def __init__(self, n: int, d: int, n_steps: int = N_STEPS) -> None:
        rng = np.random.default_rng(0)
        self.x_step = 1.0 / 127
        self.codes = rng.integers(-127, 127, size=(n, d), endpoint=True, dtype=np.int8)
        self.data = DataMatrix(self.codes, self.x_step)
        self.values = self.codes.astype(np.float32)
        self.values *= np.float32(self.x_step)
        self.snapshot = rng.normal(size=d) / math.sqrt(d)
        self.targets = rng.choice([-1.0, 1.0], n)
        self.margins = epochs.row_products(self.codes, self.x_step, self.snapshot)
        self.slopes = -self.targets / (1.0 + np.exp(self.targets * self.margins))
        self.gradient = epochs.weighted_row_sum(self.codes, self.x_step, self.slopes / n)
        self.common: dict[str, Any] = {
            "step_size": 2.0 / d,  # about 1 / (2 L): rows have a squared norm of d / 3, slopes a derivative of 1/4
            "l2": 0.0,
            "loss": LOGISTIC,
            "samples": rng.integers(0, n, n_steps),
        }
        # Curvature is about 1/12 (variance 1/3 of the data, 1/4 of the loss): the minimum is within 16 gradients.
        self.reach = 16 * float(np.linalg.norm(self.gradient, np.inf))

    def svrg32(self) -> np.ndarray[Any, Any]:
        """One epoch of float32 SVRG; returns the iterate."""
        w = self.snapshot.astype(np.float32)
        zeros = np.zeros(len(self.targets))
        epochs.float_epoch(DataMatrix(self.values), self.targets, zeros, self.slopes, self.gradient, w, **self.common)
        return w

    def halp(self, bits: int = 8, run: Any = epochs.lowbit_epoch, **changes: Any) -> np.ndarray[Any, Any]:
        """One epoch of HALP; returns the codes."""
        top = 2 ** (bits - 1) - 1
        z = np.zeros(self.codes.shape[1], np.int8 if bits <= 8 else np.int16)
        run(
            self.data, self.targets, self.margins, self.slopes, self.gradient, z, self.reach / top,
            code_min=-top - 1, code_max=top, seed=1, stream=1, **{**self.common, **changes},
        )  # fmt: skip
        return z

    def check(self) -> None:
        """Both epochs do what they say: SVRG-32 is the float64 epoch, HALP its specification, HALP-16 close to both."""
        w = self.snapshot.copy()
        zeros = np.zeros(len(self.targets))
        epochs.float_epoch(self.data, self.targets, zeros, self.slopes, self.gradient, w, **self.common)
        moved = w - self.snapshot
        np.testing.assert_allclose(self.svrg32() - self.snapshot, moved, rtol=0, atol=1e-3 * np.abs(moved).max())
        np.testing.assert_allclose(self.halp(16) * self.reach / 32767, moved, rtol=0, atol=2e-2 * np.abs(moved).max())
        first = {"samples": self.common["samples"][:200]}
        for bits in (8, 16):
            np.testing.assert_array_equal(self.halp(bits, **first), self.halp(bits, _reference.lowbit_epoch, **first))


def epoch_ratio(d: int = 1024, n: int = 60_000, n_steps: int = N_STEPS, rounds: int = 9) -> float:
    """Median over alternating rounds of (seconds of a float32 SVRG step) / (seconds of a fused HALP-8 step)."""
    data = LinearData(n, d, n_steps)
    data.svrg32()
    data.halp()
    ratios = []
    for _ in range(rounds):
        start = time.perf_counter()
        data.svrg32()
        middle = time.perf_counter()
        data.halp()
        ratios.append((middle - start) / (time.perf_counter() - middle))
    return float(np.median(ratios))


class TimeEpochs:
    """Seconds of an epoch of N_STEPS steps at d = 1024: data out of cache (60,000 rows) and mostly in it (10,000)."""

    params: ClassVar[list[int]] = [10_000, 60_000]
    param_names: ClassVar[list[str]] = ["n"]

    def setup(self, n: int) -> None:
        self.data = LinearData(n, 1024)
        self.data.check()

    def time_svrg_float32(self, n: int) -> None:
        self.data.svrg32()

    def time_halp_8(self, n: int) -> None:
        self.data.halp(8)

    def time_halp_16(self, n: int) -> None:
        self.data.halp(16)


class TimeFullGradient:
    """Seconds of the two products of a full gradient, 20,000 x 1024."""

    params: ClassVar[list[str]] = ["int8", "float32"]
    param_names: ClassVar[list[str]] = ["data"]

    def setup(self, data: str) -> None:
        rng = np.random.default_rng(0)
        self.x = rng.integers(-127, 127, size=(20_000, 1024), endpoint=True, dtype=np.int8).astype(data)
        self.w, self.p = rng.normal(size=1024), rng.normal(size=20_000)
        few = slice(0, 100)
        for kernel, oracle, vector in (
            (epochs.row_products, _reference.row_products, self.w),
            (epochs.weighted_row_sum, _reference.weighted_row_sum, self.p[few]),
        ):
            np.testing.assert_array_equal(kernel(self.x[few], 0.5, vector), oracle(self.x[few], 0.5, vector))

    def time_row_products(self, data: str) -> None:
        epochs.row_products(self.x, 0.5, self.w)

    def time_weighted_row_sum(self, data: str) -> None:
        epochs.weighted_row_sum(self.x, 0.5, self.p)
