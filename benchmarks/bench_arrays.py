"""Arithmetic, reductions, indexing and creation of arrays, and the bytes that they take."""

from __future__ import annotations

import pickle
import time
from functools import partial

import numpy as np

import lpnum

timer = time.process_time  # asv: of this process alone, so that other work on the machine counts less

SIZE = 1_000_000


def pair(size: int) -> tuple[lpnum.LPArray, lpnum.LPArray]:
    """Two calibrated 8-bit arrays."""
    rng = np.random.default_rng(2)
    a, b = (lpnum.array(rng.standard_normal(size), dtype=lpnum.fixed8) for _ in range(2))
    return a, b


class InPlace:
    """``w -= v``: the update of every optimizer, rounded onto the grid of ``w``."""

    params = (["nearest-even", "stochastic"], [1_000, SIZE])
    param_names = ("rounding", "size")

    def setup(self, rounding: str, size: int) -> None:
        self.scale = 2.0**-5
        self.step = np.random.default_rng(3).uniform(-1e-3, 1e-3, size)
        self.center = np.random.default_rng(4).standard_normal(size)
        make = partial(lpnum.zeros, size, dtype=lpnum.fixed8, scale=self.scale, rounding=rounding, rng=3)
        self.weights = make()
        self.centered = make(offset=self.center)
        before = self.weights.dequantize(np.float64)
        self.time_subtract(rounding, size)
        error = self.weights.dequantize(np.float64) - (before - self.step)
        assert np.abs(error).max() < self.scale

    def time_subtract(self, rounding: str, size: int) -> None:
        self.weights -= self.step

    def time_subtract_bit_centered(self, rounding: str, size: int) -> None:
        self.centered -= self.step


class Arithmetic:
    """Two arrays in, an array on a covering grid out."""

    params = ([1_000, SIZE],)
    param_names = ("size",)

    def setup(self, size: int) -> None:
        self.a, self.b = pair(size)
        exact = self.a.dequantize(np.float64) + self.b.dequantize(np.float64)
        total = self.a + self.b
        assert np.abs(total.dequantize(np.float64) - exact).max() <= 0.5 * np.max(total.scale) * (1 + 1e-12)

    def time_add(self, size: int) -> None:
        self.a + self.b

    def time_multiply(self, size: int) -> None:
        self.a * self.b

    def time_scale_exactly(self, size: int) -> None:
        2.0 * self.a


class Reductions:
    """Wide accumulators."""

    def setup(self) -> None:
        self.a, self.b = pair(SIZE)
        left, right = self.a.dequantize(np.float64), self.b.dequantize(np.float64)
        assert np.isclose(float(np.sum(self.a)), left.sum(), rtol=1e-9)
        assert np.isclose(float(np.dot(self.a, self.b)), left @ right, rtol=1e-9)

    def time_sum(self) -> None:
        np.sum(self.a)

    def time_dot(self) -> None:
        np.dot(self.a, self.b)


class Indexing:
    """Views, copies and assignment."""

    def setup(self) -> None:
        self.a, _ = pair(SIZE)
        self.picked = np.random.default_rng(5).integers(0, SIZE, 10_000)
        assert np.array_equal(self.a[self.picked].codes, self.a.codes[self.picked])
        assert np.shares_memory(self.a[::2].codes, self.a.codes)

    def time_slice(self) -> None:
        self.a[10:-10:2]

    def time_one_element(self) -> None:
        self.a[12_345]

    def time_take_10000(self) -> None:
        self.a[self.picked]

    def time_assign_slice_of_codes(self) -> None:
        self.a[: SIZE // 2] = self.a[SIZE // 2 :]


class Creation:
    """From nothing, from floats, from bytes."""

    def setup(self) -> None:
        self.values = np.random.default_rng(6).standard_normal(SIZE)
        self.array = lpnum.array(self.values, dtype=lpnum.fixed8)
        self.stored = pickle.dumps(self.array)
        assert np.abs(self.array.dequantize(np.float64) - self.values).max() <= 0.5 * self.array.scale * (1 + 1e-12)
        assert np.array_equal(pickle.loads(self.stored).codes, self.array.codes)

    def time_zeros(self) -> None:
        lpnum.zeros(SIZE, dtype=lpnum.fixed8, scale=1.0)

    def time_array_of_float64(self) -> None:
        lpnum.array(self.values, dtype=lpnum.fixed8)

    def time_unpickle(self) -> None:
        pickle.loads(self.stored)

    def track_nbytes(self) -> int:
        """Bytes of 1e6 elements; a larger number is worse."""
        return int(self.array.nbytes)

    def track_pickle_bytes(self) -> int:
        """Bytes of the pickle of 1e6 elements."""
        return len(self.stored)
