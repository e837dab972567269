"""8-bit floats: encode, decode, cast, functions and sums of 1e6 elements."""

from __future__ import annotations

from typing import Any

import numpy as np

import lpnum
from benchmarks.bench_codecs import SIZE


class FloatWork:
    """The arrays and the calls that are timed, here and for ``make bench``; all results are new arrays."""

    def __init__(self) -> None:
        self.values = np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)
        self.copy = np.empty_like(self.values)
        self.format = lpnum.float8_e4m3fn
        self.codes = lpnum.encode(self.values, self.format)
        self.array = lpnum.from_codes(self.codes, self.format)
        self.other = lpnum.from_codes(self.codes[::-1].copy(), self.format)
        self.integers = lpnum.array(self.values, lpnum.fixed(8, frac=5))
        self.rng = lpnum.random.CounterRNG(0)

    def memcpy(self) -> None:
        """Copy the 4 MB of float32 to memory that exists."""
        np.copyto(self.copy, self.values)

    def encode(self) -> np.ndarray:
        """float32 to float8_e4m3fn, nearest."""
        return lpnum.encode(self.values, self.format)

    def encode_stochastic(self) -> np.ndarray:
        """float32 to float8_e4m3fn, stochastic."""
        return lpnum.encode(self.values, self.format, rounding="stochastic", rng=self.rng)

    def decode(self) -> np.ndarray:
        """float8_e4m3fn to float32."""
        return lpnum.decode(self.codes, self.format)

    def exp(self) -> Any:
        """A function of one 8-bit array."""
        return np.exp(self.array)

    def cast(self) -> lpnum.LPArray:
        """One 8-bit float to another."""
        return self.array.astype(lpnum.float8_e5m2)

    def add(self) -> lpnum.LPArray:
        """Sum of two float8 arrays."""
        return self.array + self.other

    def add_fixed8(self) -> lpnum.LPArray:
        """Sum of two int8 arrays on one grid, saturating."""
        return self.integers + self.integers

    def check(self) -> None:
        """Assert once that the timed calls compute what their names say."""
        values = lpnum.round_to(self.values.astype(np.float64), self.format)
        assert np.array_equal(self.decode(), values.astype(np.float32))
        up = self.encode_stochastic() != self.encode()
        assert 0.1 < np.mean(up) < 0.5
        assert np.array_equal(np.asarray(self.exp()), lpnum.round_to(np.exp(values), self.format))
        assert np.array_equal(np.asarray(self.cast()), lpnum.round_to(values, lpnum.float8_e5m2))
        assert np.array_equal(np.asarray(self.add()), lpnum.round_to(values + values[::-1], self.format))
        doubled = np.clip(2 * self.integers.codes.astype(np.int16), -128, 127)
        assert np.array_equal(self.add_fixed8().codes, doubled)


class Floats:
    """Seconds for 1e6 elements."""

    def setup(self) -> None:
        self.work = FloatWork()
        self.work.check()

    def time_encode(self) -> None:
        self.work.encode()

    def time_encode_stochastic(self) -> None:
        self.work.encode_stochastic()

    def time_decode(self) -> None:
        self.work.decode()

    def time_exp(self) -> None:
        self.work.exp()

    def time_cast(self) -> None:
        self.work.cast()

    def time_add(self) -> None:
        self.work.add()

    def time_add_fixed8(self) -> None:
        self.work.add_fixed8()
