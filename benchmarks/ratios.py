"""The speed promises, nearly all as ratios, measured in one process: ``python -m benchmarks.ratios`` or ``make bench``.

Times of different machines, or of two runs on a busy one, do not compare; ratios of work done in turn do.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from benchmarks.bench_blocks import BlockWork
from benchmarks.bench_codecs import CodecWork
from benchmarks.bench_epochs import EPOCH_CASES, epoch_ratio
from benchmarks.bench_floats import FloatWork, Peers, SmallWork
from benchmarks.bench_linalg import PRODUCTS_PER_NUMPY, ProductWork, one_thread
from benchmarks.timing import alternate
from lpnum._core import kernels
from lpnum_optim._core import epochs


@dataclass(frozen=True)
class Ratio:
    """One measured ratio and its bound: ``at_most`` or ``at_least``, or neither where nothing is promised."""

    what: str
    level: str
    measured: float
    detail: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def target(self) -> str:
        """The bound as text."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else ""

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or nothing where there is no bound."""
        if self.at_most is not None:
            return "met" if self.measured <= self.at_most else "missed"
        if self.at_least is not None:
            return "met" if self.measured >= self.at_least else "missed"
        return ""


# Promised for the SIMD levels; the portable level is there to run anywhere, not to be fast.
NEAREST_PER_MEMCPY = {"avx512": 1.5, "avx2": 3.0}
STOCHASTIC_PER_NEAREST = {"avx512": 3.0, "avx2": 3.0}


def codec_ratios(level: str, rounds: int) -> Iterator[Ratio]:
    """Quantize 1e6 float32 to 8 bits against a memcpy of the same 4 MB, and stochastic rounding against nearest."""
    work = CodecWork()
    work.check()
    copy, nearest, ratio = alternate(work.memcpy, work.quantize_nearest, rounds=rounds)
    yield Ratio(
        "quantize nearest / memcpy",
        level,
        ratio,
        f"{nearest * 1e6:.0f} us, memcpy {copy * 1e6:.0f} us",
        at_most=NEAREST_PER_MEMCPY.get(level),
    )
    nearest, stochastic, ratio = alternate(work.quantize_nearest, work.quantize_stochastic, rounds=rounds)
    yield Ratio(
        "quantize stochastic / nearest",
        level,
        ratio,
        f"{stochastic * 1e6:.0f} us",
        at_most=STOCHASTIC_PER_NEAREST.get(level),
    )
    copy, into, ratio = alternate(work.memcpy, work.quantize_into, rounds=rounds)
    yield Ratio("quantize nearest in place / memcpy", level, ratio, f"{into * 1e6:.0f} us, NaN is looked for first")
    copy, decode, ratio = alternate(work.memcpy_new, work.dequantize, rounds=rounds)
    yield Ratio(
        "dequantize / memcpy, both to new memory",
        level,
        ratio,
        f"{decode * 1e6:.0f} us, memcpy {copy * 1e6:.0f} us",
    )


# 8-bit floats, per memcpy of 4 MB: (call of FloatWork, what, bound with AVX-512, with AVX2)
FLOATS_PER_MEMCPY = (
    ("encode", "encode float8 nearest / memcpy", 2.5, 5.0),
    ("encode_stochastic", "encode float8 stochastic / memcpy", 4.0, 8.0),
    ("decode", "decode float8 / memcpy", 1.5, 2.5),
    ("exp", "exp of a float8 array / memcpy", 0.6, 4.0),
    ("cast", "cast float8 to float8 / memcpy", 0.6, 4.0),
    ("add", "add two float8 arrays / memcpy", 5.0, 6.0),
    ("multiply", "multiply two float8 arrays / memcpy", 5.0, 6.0),
    ("add_fixed8", "add int8 on one grid / memcpy", 1.0, 1.0),
)


def float_ratios(level: str, rounds: int) -> Iterator[Ratio]:
    """Operations on 1e6 8-bit floats against a memcpy of 4 MB; other libraries' ratios beside them."""
    work = FloatWork()
    work.check()
    peers = Peers(work).calls
    for name, what, avx512, avx2 in FLOATS_PER_MEMCPY:
        _, seconds, ratio = alternate(work.memcpy, getattr(work, name), rounds=rounds)
        others = [
            f"{peer} {alternate(work.memcpy, calls[name], rounds=3)[2]:.3g}"
            for peer, calls in peers.items()
            if name in calls
        ]
        detail = "; ".join([f"{seconds * 1e6:.0f} us", *others])
        yield Ratio(what, level, ratio, detail, at_most={"avx512": avx512, "avx2": avx2}.get(level))


def block_ratios(level: str, rounds: int) -> Iterator[Ratio]:
    """Block formats: 1e6 float32 against a memcpy of 4 MB."""
    for name in ("mxfp8_e4m3", "mxfp4", "nvfp4"):
        work = BlockWork(name)
        work.check()
        for call in (work.quantize, work.dequantize):
            _, seconds, ratio = alternate(work.memcpy, call, rounds=rounds)
            yield Ratio(f"{call.__name__} {name} / memcpy", level, ratio, f"{seconds * 1e6:.0f} us")


def product_ratios(level: str) -> Iterator[Ratio]:
    """Products on codes against NumPy's of floats, one thread.

    NumPy's BLAS runs at the machine's own level; for AVX2 run bench_linalg with ``OPENBLAS_CORETYPE=Haswell``.
    """
    work = ProductWork()
    with one_thread():
        for name, what, avx512, _ in PRODUCTS_PER_NUMPY:
            pair = work.pair(name)
            work.check(pair)
            mine, theirs, ratio = alternate(pair.codes, pair.floats, rounds=5)
            detail = f"{mine * 1e6:.0f} us, NumPy {theirs * 1e6:.0f} us"
            yield Ratio(what, level, ratio, detail, at_least=avx512 if level == "avx512" else None)


def small_costs(level: str, rounds: int) -> Iterator[Ratio]:
    """Microseconds, not ratios: what ten elements cost, beside NumPy's own sum of ten."""
    work = SmallWork()
    for call, what, at_most in (
        (work.add_fixed8, "x + y of 10 fixed8, us", 3.0),
        (work.add_float8, "x + y of 10 float8, us", 3.0),
        (work.encode, "encode 10 float32, us", 1.5),
    ):
        plain, seconds, ratio = alternate(work.numpy_add, call, rounds=rounds)
        detail = f"{ratio:.1f} of NumPy's sums, {plain * 1e6:.2f} us"
        yield Ratio(what, level, seconds * 1e6, detail, at_most=at_most)


def epoch_ratios(level: str) -> Iterator[Ratio]:
    """One fused HALP epoch against the same epoch of SVRG in floats, per step."""
    for case in EPOCH_CASES:
        svrg, halp, ratio = epoch_ratio(case)
        bound = {"avx512": case.avx512, "avx2": case.avx2}.get(level)
        yield Ratio(case.what, level, ratio, f"{halp * 1e9:.0f} ns, SVRG {svrg * 1e9:.0f} ns", at_least=bound)


@contextmanager
def simd_level(name: str) -> Iterator[None]:
    """Run both packages at one SIMD level; AVX2 without AVX-VNNI."""
    before = kernels.simd_level(), epochs.simd_level()
    kernels.set_simd_level(name, avx_vnni=False)
    epochs.set_simd_level(kernels.SIMD_LEVELS.index(name))
    try:
        yield
    finally:
        kernels.set_simd_level(kernels.SIMD_LEVELS[before[0]])
        epochs.set_simd_level(before[1])


def measure(rounds: int) -> Iterator[Ratio]:
    """All ratios, at every SIMD level of this machine, the fastest first."""
    for level in reversed(kernels.simd_levels()):
        with simd_level(level):
            yield from codec_ratios(level, rounds)
            yield from float_ratios(level, rounds)
            if level != "baseline":
                yield from small_costs(level, rounds)
                yield from block_ratios(level, rounds)
                yield from product_ratios(level)
            yield from epoch_ratios(level)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ratios", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="pairs of batches per ratio (default 25)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args(arguments)
    if options.json:
        print(json.dumps([asdict(r) | {"verdict": r.verdict} for r in measure(options.rounds)], indent=2))
        return 0
    print(f"{platform.machine()}, SIMD levels: {', '.join(kernels.simd_levels())}")
    print(f"{'ratio':<46} {'level':<9} {'measured':>8} {'target':>8} {'':<7} {''}")
    for r in measure(options.rounds):
        print(f"{r.what:<46} {r.level:<9} {r.measured:>8.2f} {r.target:>8} {r.verdict:<7} {r.detail}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
