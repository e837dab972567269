"""Floats to 8-bit codes and back, with a memcpy of the same floats as the anchor that no code can beat."""

from __future__ import annotations

import time

import numpy as np

import lpnum

timer = time.process_time  # asv: of this process alone, so that other work on the machine counts less

SIZE = 1_000_000


class CodecWork:
    """The arrays and the calls that are timed, here and for ``make bench``.

    Attributes
    ----------
    values : ndarray of float32, shape (SIZE,)
        Standard normal, seeded; the scale maps the largest magnitude to code 127.
    codes : LPArray of fixed8
        An existing array, for the writes in place.
    """

    def __init__(self) -> None:
        self.values = np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)
        self.scale = float(np.abs(self.values).max()) / 127
        self.copy = np.empty_like(self.values)
        self.codes = lpnum.zeros(SIZE, dtype=lpnum.fixed8, scale=self.scale)
        self.rng = lpnum.random.CounterRNG(0)

    def memcpy(self) -> None:
        """Copy the 4 MB to memory that exists."""
        np.copyto(self.copy, self.values)

    def memcpy_new(self) -> np.ndarray:
        """Copy the 4 MB to new memory."""
        return self.values.copy()

    def quantize_nearest(self) -> lpnum.LPArray:
        """Round to the nearest code, in a new array."""
        return lpnum.quantize(self.values, lpnum.fixed8, scale=self.scale)

    def quantize_stochastic(self) -> lpnum.LPArray:
        """Round up or down at random, in a new array."""
        return lpnum.quantize(self.values, lpnum.fixed8, scale=self.scale, rounding="stochastic", rng=self.rng)

    def quantize_into(self) -> None:
        """Round to the nearest code, into an existing array: the values are checked for NaN before any is written."""
        lpnum.quantize(self.values, out=self.codes)

    def dequantize(self) -> np.ndarray:
        """Decode to new float32 memory."""
        return self.codes.dequantize(np.float32)

    def check(self) -> None:
        """Assert once that the timed calls compute what their names say."""
        exact = self.values / np.float64(self.scale)
        self.memcpy()
        assert np.array_equal(self.copy, self.values)
        assert np.array_equal(self.quantize_nearest().codes, np.rint(exact))
        self.quantize_into()
        assert np.array_equal(self.codes.codes, np.rint(exact))
        up = self.quantize_stochastic().codes - np.floor(exact)
        assert set(np.unique(up)) == {0.0, 1.0}
        # P(up) is the discarded fraction; the mean over 1e6 elements deviates by at most 0.5e-3 (standard deviation),
        # and the generator is seeded, so this holds always or never.
        assert abs(np.mean(up - (exact - np.floor(exact)))) < 2.5e-3
        decoded = self.dequantize()
        assert decoded.dtype == np.float32
        assert np.allclose(decoded, self.codes.codes * self.scale, rtol=1e-6)


class Codecs:
    """Seconds for 1e6 float32."""

    def setup(self) -> None:
        self.work = CodecWork()
        self.work.check()

    def time_memcpy_float32(self) -> None:
        self.work.memcpy()

    def time_quantize_nearest(self) -> None:
        self.work.quantize_nearest()

    def time_quantize_into(self) -> None:
        self.work.quantize_into()

    def time_quantize_stochastic(self) -> None:
        self.work.quantize_stochastic()

    def time_dequantize_float32(self) -> None:
        self.work.dequantize()


class Encode:
    """Format level: codes as plain arrays, with a new result each time."""

    params = (["nearest-even", "towards-zero", "stochastic"], ["fixed4", "fixed8", "fixed16"])
    param_names = ("rounding", "format")

    def setup(self, rounding: str, name: str) -> None:
        self.format = lpnum.format(name)
        limit = self.format.code_max
        self.values = np.random.default_rng(1).uniform(-limit, limit, SIZE).astype(np.float32)
        self.rng = lpnum.random.CounterRNG(1)
        self.codes = lpnum.encode(self.values, self.format, rounding=rounding, rng=self.rng)
        assert np.abs(self.codes - self.values).max() < 1.0
        assert np.array_equal(lpnum.decode(self.codes, self.format), self.codes)

    def time_encode(self, rounding: str, name: str) -> None:
        lpnum.encode(self.values, self.format, rounding=rounding, rng=self.rng)

    def time_decode(self, rounding: str, name: str) -> None:
        lpnum.decode(self.codes, self.format)
