"""Inner epochs of linear models: the fused HALP epochs against the float SVRG epochs of the same care.

Both sides visit the same samples, use margins and slopes cached at the snapshot, prefetch the rows ahead, have their
data in huge pages where the system gives them, and do their O(d) work in one pass at the widest SIMD level. Times are
per epoch; ``epoch_ratio`` gives the ratio per step.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import lpnum
from lpnum_optim import _reference
from lpnum_optim._core import epochs
from lpnum_optim.data import DataMatrix, advise_huge_pages

timer = time.process_time  # asv: of this process alone, so that other work on the machine counts less

LOGISTIC, SOFTMAX = 1, 2
N_STEPS = 20_000


class LinearData:
    """Random logistic regression with the state of a snapshot: integer data and the same values in floats.

    `kind` is int8 or int4 (two codes to a byte), `floats` the type of the data and of the iterate of SVRG, `classes`
    more than 1 for softmax.
    """

    def __init__(
        self, n: int, d: int, n_steps: int = N_STEPS, kind: str = "int8", floats: Any = np.float32, classes: int = 1
    ) -> None:
        rng = np.random.default_rng(0)
        top = 127 if kind == "int8" else 7
        codes = rng.integers(-top, top, size=(n, d), endpoint=True, dtype=np.int8)
        x_step = 1.0 / top
        self.data = DataMatrix(codes, x_step)
        if kind == "int4":
            self.data = DataMatrix(lpnum.pack(codes, lpnum.fixed4), x_step, packed="int4", n_features=d)
        self.values = np.empty((n, d), floats)
        for array in (self.data.rows, self.values):
            advise_huge_pages(array)
        np.multiply(codes, floats(x_step), out=self.values)
        self.snapshot = rng.normal(size=(classes, d)) / math.sqrt(d)
        self.targets = rng.integers(0, classes, n).astype(float) if classes > 1 else rng.choice([-1.0, 1.0], n)
        self.margins = np.stack([epochs.row_products(codes, x_step, w) for w in self.snapshot], axis=1)
        if classes > 1:
            powers = np.exp(self.margins - self.margins.max(axis=1, keepdims=True))
            self.slopes = powers / powers.sum(axis=1, keepdims=True)
            self.slopes[np.arange(n), self.targets.astype(int)] -= 1.0
        else:
            y = self.targets[:, None]
            self.slopes = -y / (1.0 + np.exp(y * self.margins))
        self.zeros = np.zeros_like(self.margins)  # made once: SVRG's time is without the faults of fresh pages
        gradients = [epochs.weighted_row_sum(codes, x_step, np.ascontiguousarray(s)) for s in self.slopes.T / n]
        self.gradient = np.stack(gradients)
        self.common: dict[str, Any] = {
            "step_size": 2.0 / d,  # about 1 / (2 L): rows have a squared norm of d / 3, slopes a derivative of 1/4
            "l2": 0.0,
            "loss": SOFTMAX if classes > 1 else LOGISTIC,
            "samples": rng.integers(0, n, n_steps),
        }
        # Curvature is about 1/12 (variance 1/3 of the data, 1/4 of the loss): the minimum is within 16 gradients.
        self.reach = 16 * float(np.abs(self.gradient).max())

    def svrg(self) -> np.ndarray[Any, Any]:
        """One epoch of SVRG in floats; returns the iterate."""
        w = self.snapshot.astype(self.values.dtype)
        data = DataMatrix(self.values)
        epochs.float_epoch(data, self.targets, self.zeros, self.slopes, self.gradient, w, **self.common)
        return w

    def halp(self, bits: int = 8, run: Any = epochs.lowbit_epoch, **changes: Any) -> np.ndarray[Any, Any]:
        """One epoch of HALP; returns the codes."""
        top = 2 ** (bits - 1) - 1
        z = np.zeros(self.snapshot.shape, np.int8 if bits <= 8 else np.int16)
        run(
            self.data, self.targets, self.margins, self.slopes, self.gradient, z, self.reach / top,
            code_min=-top - 1, code_max=top, seed=1, stream=1, centered=True, **{**self.common, **changes},
        )  # fmt: skip
        return z

    def check(self) -> None:
        """Both epochs do what they say: SVRG-32 is the float64 epoch, HALP its specification, HALP-16 close to both."""
        w = self.snapshot.copy()
        data = DataMatrix(self.values.astype(np.float64))
        epochs.float_epoch(data, self.targets, self.zeros, self.slopes, self.gradient, w, **self.common)
        moved = w - self.snapshot
        np.testing.assert_allclose(self.svrg() - self.snapshot, moved, rtol=0, atol=1e-3 * np.abs(moved).max())
        np.testing.assert_allclose(self.halp(16) * self.reach / 32767, moved, rtol=0, atol=2e-2 * np.abs(moved).max())
        first = {"samples": self.common["samples"][:200]}
        for bits in (8, 16):
            np.testing.assert_array_equal(self.halp(bits, **first), self.halp(bits, _reference.lowbit_epoch, **first))


@dataclass(frozen=True)
class EpochCase:
    """SVRG in floats against HALP: what is measured, and the promised ratio with AVX-512 and with AVX2."""

    what: str
    n: int
    d: int
    avx512: float | None
    avx2: float | None = None
    bits: int = 8
    kind: str = "int8"
    floats: Any = np.float32
    classes: int = 1


EPOCH_CASES = (
    EpochCase("SVRG-32 / HALP-8, 65,536 x 1024", 65_536, 1024, 4.0, 3.0),
    EpochCase("SVRG-32 / HALP-8, 60,000 x 784", 60_000, 784, 4.0),
    EpochCase("SVRG-32 / HALP-8, 8,000 x 8192", 8_000, 8192, 3.0),
    EpochCase("SVRG-32 / HALP-8, 10,000 x 256", 10_000, 256, 1.5),
    EpochCase("SVRG-32 / HALP-8, 4-bit data, 65,536 x 1024", 65_536, 1024, 5.5, kind="int4"),
    EpochCase("SVRG-64 / HALP-8, 65,536 x 1024", 65_536, 1024, 7.0, floats=np.float64),
    EpochCase("SVRG-32 / HALP-16, 65,536 x 1024", 65_536, 1024, 1.5, bits=16),
    EpochCase("SVRG-32 / HALP-8, 10 classes, 60,000 x 784", 60_000, 784, None, classes=10),
)


def epoch_ratio(case: EpochCase, rounds: int = 9) -> tuple[float, float, float]:
    """Seconds of a step of SVRG and of HALP in epochs of n steps, and their ratio: medians over alternating rounds.

    Seconds of the thread that works: on a busy machine those of the clock count other programs too.
    """
    n_steps = case.n // case.classes
    data = LinearData(case.n, case.d, n_steps, case.kind, case.floats, case.classes)
    data.svrg()
    data.halp(case.bits)
    pairs = []
    for _ in range(rounds):
        start = time.thread_time()
        data.svrg()
        middle = time.thread_time()
        data.halp(case.bits)
        pairs.append(((middle - start) / n_steps, (time.thread_time() - middle) / n_steps))
    svrg, halp = (statistics.median(pair[k] for pair in pairs) for k in (0, 1))
    return svrg, halp, statistics.median(a / b for a, b in pairs)


class TimeEpochs:
    """Seconds of an epoch of N_STEPS steps at d = 1024: data out of cache (60,000 rows) and mostly in it (10,000)."""

    params: ClassVar[list[int]] = [10_000, 60_000]
    param_names: ClassVar[list[str]] = ["n"]

    def setup(self, n: int) -> None:
        self.data = LinearData(n, 1024)
        self.data.check()

    def time_svrg_float32(self, n: int) -> None:
        self.data.svrg()

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
