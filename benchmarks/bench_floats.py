"""8-bit floats: encode, decode, cast, functions and sums of 1e6 elements."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import lpnum
from benchmarks.bench_codecs import SIZE

timer = time.process_time  # asv: of this process alone, so that other work on the machine counts less


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

    def multiply(self) -> lpnum.LPArray:
        """Product of two float8 arrays."""
        return self.array * self.other

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
        assert np.array_equal(np.asarray(self.multiply()), lpnum.round_to(values * values[::-1], self.format))
        doubled = np.clip(2 * self.integers.codes.astype(np.int16), -128, 127)
        assert np.array_equal(self.add_fixed8().codes, doubled)


class Peers:
    """The same work in other libraries, as far as they are installed and can do it: ``peer -> call -> function``."""

    def __init__(self, work: FloatWork) -> None:
        self.calls: dict[str, dict[str, Callable[[], Any]]] = {}
        with contextlib.suppress(ImportError):
            self._ml_dtypes(work)
        with contextlib.suppress(ImportError):
            self._torch(work)

    def _ml_dtypes(self, work: FloatWork) -> None:
        import ml_dtypes

        x, y = work.array.codes.view(ml_dtypes.float8_e4m3fn), work.other.codes.view(ml_dtypes.float8_e4m3fn)
        self.calls["ml_dtypes"] = {
            "encode": lambda: work.values.astype(ml_dtypes.float8_e4m3fn),
            "decode": lambda: x.astype(np.float32),
            "exp": lambda: np.exp(x),
            "cast": lambda: x.astype(ml_dtypes.float8_e5m2),
            "add": lambda: x + y,
            "multiply": lambda: x * y,
        }

    def _torch(self, work: FloatWork) -> None:
        import torch

        torch.set_num_threads(1)
        values, codes = torch.from_numpy(work.values), torch.from_numpy(work.codes).view(torch.float8_e4m3fn)
        self.calls["torch"] = {
            "encode": lambda: values.to(torch.float8_e4m3fn),
            "decode": lambda: codes.to(torch.float32),
        }


class FloatsOfPeers:
    """Seconds for 1e6 elements in other libraries; what is not installed, or not there, is skipped."""

    params = (["ml_dtypes", "torch"], ["encode", "decode", "exp", "cast", "add", "multiply"])
    param_names = ("peer", "call")

    def setup(self, peer: str, call: str) -> None:
        calls = Peers(FloatWork()).calls.get(peer, {})
        if call not in calls:
            raise NotImplementedError
        self.call = calls[call]

    def time_call(self, peer: str, call: str) -> None:
        self.call()


class SmallWork:
    """Ten elements: what a call costs beside the work."""

    def __init__(self) -> None:
        self.plain = np.linspace(-1, 1, 10, dtype=np.float32)
        self.format = lpnum.float8_e4m3fn
        self.fixed = lpnum.array(self.plain, dtype=lpnum.fixed8)
        self.float = lpnum.array(self.plain, dtype=self.format)

    def numpy_add(self) -> np.ndarray:
        """NumPy's own, for comparison."""
        return self.plain + self.plain

    def add_fixed8(self) -> lpnum.LPArray:
        """Sum of two arrays of fixed8."""
        return self.fixed + self.fixed

    def add_float8(self) -> lpnum.LPArray:
        """Sum of two arrays of float8."""
        return self.float + self.float

    def encode(self) -> np.ndarray:
        """float32 to float8, nearest."""
        return lpnum.encode(self.plain, self.format)


class Small:
    """Seconds for 10 elements."""

    def setup(self) -> None:
        self.work = SmallWork()

    def time_numpy_add(self) -> None:
        self.work.numpy_add()

    def time_add_fixed8(self) -> None:
        self.work.add_fixed8()

    def time_add_float8(self) -> None:
        self.work.add_float8()

    def time_encode(self) -> None:
        self.work.encode()


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

    def time_multiply(self) -> None:
        self.work.multiply()

    def time_add_fixed8(self) -> None:
        self.work.add_fixed8()
