"""Products of matrices of codes, against NumPy's float products of the same shapes, in one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

import lpnum

timer = time.process_time  # asv: of this process alone, so that other work on the machine counts less

# (call of ProductWork, what, bound with AVX-512, with AVX2 without AVX-VNNI): how many times faster than NumPy's float
# product at least.
# NumPy's own BLAS has to run at the same level: OPENBLAS_CORETYPE=Haswell for AVX2.
PRODUCTS_PER_NUMPY = (
    ("int8_256", "float32 @ / int8 @, 256 cubed", 2.5, 1.2),
    ("int8_1024", "float32 @ / int8 @, 1024 cubed", 2.5, 1.2),
    ("int8_2048", "float32 @ / int8 @, 2048 cubed", 2.5, 1.2),
    ("float8_1024", "float32 @ / float8 @, 1024 cubed", 0.7, 0.7),
    ("mxint8_1024", "float32 @ / mxint8 @, 1024 cubed", None, None),
    ("mxfp4_1024", "float32 @ / mxfp4 @, 1024 cubed", None, None),
    ("mxfp8_1024", "float32 @ / mxfp8 @, 1024 cubed", None, None),
    ("matvec", "float64 X @ v / int8 X @ v, 8192 x 4096", 4.0, None),
    ("vecmat", "float64 X.T @ w / int8 X.T @ w, 8192 x 4096", None, None),
)

FORMATS: dict[str, Any] = {
    "int8": lpnum.fixed8,
    "float8": lpnum.float8_e4m3fn,
    "mxint8": lpnum.mxint8,
    "mxfp4": lpnum.mxfp4,
    "mxfp8": lpnum.mxfp8_e4m3,
}


@dataclass(frozen=True)
class Pair:
    """The same product by lpnum and by NumPy."""

    codes: Callable[[], Any]
    floats: Callable[[], Any]
    error: float = 0.05  # of the codes' rounding, relative


class ProductWork:
    """The arrays and the pairs of calls that are timed, here and for ``make bench``; made when they are asked for."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def pair(self, name: str) -> Pair:
        """The pair of calls of a row of the table."""
        kind, _, size = name.partition("_")
        return self.square(kind, int(size)) if size else self.vector(kind)

    def square(self, kind: str, n: int) -> Pair:
        """``x @ y`` of two square matrices, in a format and in float32; blocks run along the contracted axis."""
        values = [self._rng.standard_normal((n, n), dtype=np.float32) for _ in range(2)]
        fmt = FORMATS[kind]
        blocks = isinstance(fmt, lpnum.BlockFormat)
        x, y = (lpnum.array(v, fmt, axis=axis if blocks else None) for v, axis in zip(values, (1, 0), strict=True))
        return Pair(lambda: x @ y, lambda: values[0] @ values[1], 0.25 if kind == "mxfp4" else 0.05)

    def vector(self, kind: str, m: int = 8192, k: int = 4096) -> Pair:
        """``X @ v`` or ``X.T @ w`` of an int8 matrix and a float64 vector, and of a float64 matrix."""
        floats = self._rng.standard_normal((m, k))
        codes = lpnum.array(floats, lpnum.fixed8)
        if kind == "matvec":
            v = self._rng.standard_normal(k)
            return Pair(lambda: codes @ v, lambda: floats @ v)
        w = self._rng.standard_normal(m)
        return Pair(lambda: codes.T @ w, lambda: floats.T @ w)

    def check(self, pair: Pair) -> None:
        """Assert that both calls compute the same up to the codes' rounding."""
        got, expected = pair.codes(), pair.floats()
        assert np.linalg.norm(got - expected) < pair.error * np.linalg.norm(expected)


@contextmanager
def one_thread() -> Iterator[None]:
    """NumPy and lpnum in one thread; NumPy's part needs threadpoolctl, or OPENBLAS_NUM_THREADS=1 from the start."""
    before = lpnum.get_num_threads()
    lpnum.set_num_threads(1)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        try:
            yield
        finally:
            lpnum.set_num_threads(before)
        return
    with threadpool_limits(1):
        try:
            yield
        finally:
            lpnum.set_num_threads(before)


class Products:
    """Seconds of one product of two matrices."""

    params = (("int8", "float8"), (256, 1024))
    param_names = ("kind", "n")

    def setup(self, kind: str, n: int) -> None:
        work = ProductWork()
        self.pair = work.square(kind, n)
        work.check(self.pair)

    def time_product(self, kind: str, n: int) -> None:
        self.pair.codes()


class VectorProducts:
    """Seconds of one product of an int8 matrix 8192 x 4096 and a float64 vector."""

    params = ("matvec", "vecmat")
    param_names = ("kind",)

    def setup(self, kind: str) -> None:
        work = ProductWork()
        self.pair = work.vector(kind)
        work.check(self.pair)

    def time_product(self, kind: str) -> None:
        self.pair.codes()


def main() -> None:
    """Print the table of ratios at every SIMD level of this machine, the fastest first."""
    from benchmarks.timing import alternate
    from lpnum._core import kernels

    before = kernels.SIMD_LEVELS[kernels.simd_level()]
    work = ProductWork()
    with one_thread():
        for name, what, avx512, avx2 in PRODUCTS_PER_NUMPY:
            pair = work.pair(name)
            work.check(pair)
            for level in reversed(kernels.simd_levels()):
                kernels.set_simd_level(level, avx_vnni=False)
                mine, theirs, ratio = alternate(pair.codes, pair.floats, rounds=9)
                target = {"avx512": avx512, "avx2": avx2}.get(level)
                text = "" if target is None else f">= {target}"
                print(f"{what:<46} {level:<9} {ratio:6.2f} {text:<7} {mine * 1e6:.0f} us, NumPy {theirs * 1e6:.0f} us")
            kernels.set_simd_level("avx2" if "avx2" in kernels.simd_levels() else before)
            if kernels.avx_vnni():
                mine, theirs, ratio = alternate(pair.codes, pair.floats, rounds=9)
                print(f"{what:<46} avx2-vnni {ratio:6.2f}         {mine * 1e6:.0f} us, NumPy {theirs * 1e6:.0f} us")
            kernels.set_simd_level(before)
    threads()


def threads() -> None:
    """Print how much faster two threads are than one."""
    from benchmarks.timing import alternate

    work, before = ProductWork(), lpnum.get_num_threads()

    def with_threads(n: int, call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            lpnum.set_num_threads(n)
            return call()

        return run

    try:
        for name in ("int8_1024", "int8_2048", "float8_1024", "mxint8_1024", "matvec", "vecmat"):
            call = work.pair(name).codes
            two, one, ratio = alternate(with_threads(2, call), with_threads(1, call), rounds=9)
            print(f"{'two threads, ' + name:<46} {ratio:16.2f}         {two * 1e6:.0f} us, one {one * 1e6:.0f} us")
    finally:
        lpnum.set_num_threads(before)


if __name__ == "__main__":
    main()
