"""Block formats: quantize and dequantize 1e6 float32, packing of 4-bit codes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import lpnum

timer = time.process_time  # asv: of this process alone, so that other work on the machine counts less

SHAPE = (1000, 1024)


class BlockWork:
    """The arrays and the calls that are timed, here and by others; all results are new arrays."""

    def __init__(self, name: str) -> None:
        self.values = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
        self.copy = np.empty_like(self.values)
        self.format = lpnum.formats.named_blocks()[name]
        self.array = lpnum.array(self.values, self.format)
        self.codes = self.array.unpacked
        self.rng = lpnum.random.CounterRNG(0)

    def memcpy(self) -> None:
        """Copy the 4 MB of float32 to memory that exists."""
        np.copyto(self.copy, self.values)

    def quantize(self) -> Any:
        """float32 to the block format, nearest."""
        return lpnum.array(self.values, self.format)

    def quantize_stochastic(self) -> Any:
        """float32 to the block format, stochastic."""
        return lpnum.array(self.values, self.format, rounding="stochastic", rng=self.rng)

    def dequantize(self) -> np.ndarray:
        """Block format to float32."""
        return self.array.dequantize(np.float32)

    def check(self) -> None:
        """Assert once that the timed calls compute what their names say."""
        exact = lpnum.array(self.values.astype(np.float64), self.format)  # by another path of the kernels
        assert np.array_equal(exact.codes, self.quantize().codes)
        assert np.array_equal(exact.dequantize(np.float64).astype(np.float32), self.dequantize())
        assert 0.05 < np.mean(self.quantize_stochastic().unpacked != self.codes) < 0.6


class Blocks:
    """Seconds for 1e6 elements."""

    params = ("mxfp8_e4m3", "mxfp6_e2m3", "mxfp4", "mxint8", "nvfp4")
    param_names = ("format",)

    def setup(self, name: str) -> None:
        self.work = BlockWork(name)
        self.work.check()

    def time_quantize(self, name: str) -> None:
        self.work.quantize()

    def time_quantize_stochastic(self, name: str) -> None:
        self.work.quantize_stochastic()

    def time_dequantize(self, name: str) -> None:
        self.work.dequantize()

    def track_nbytes(self, name: str) -> int:
        """Bytes of 1e6 elements."""
        return self.work.array.nbytes


class Packing:
    """Seconds for 1e6 codes of 4 bits."""

    def setup(self) -> None:
        self.codes = np.random.default_rng(0).integers(0, 16, SHAPE, np.uint8)
        self.packed = lpnum.pack(self.codes)
        assert np.array_equal(lpnum.unpack(self.packed, SHAPE[1]), self.codes)

    def time_pack(self) -> None:
        lpnum.pack(self.codes)

    def time_unpack(self) -> None:
        lpnum.unpack(self.packed, SHAPE[1])
