"""Every asv benchmark runs, and checks its own result: benchmarks that nobody runs rot."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PREFIXES = ("time_", "timeraw_", "track_", "mem_", "peakmem_")

# asv imports the benchmarks as a package from the root; so does this test, wherever pytest was started.
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def benchmark_classes() -> Iterator[Any]:
    """Each class with timed or tracked methods, as a test parameter."""
    for path in sorted((ROOT / "benchmarks").glob("bench_*.py")):
        module = importlib.import_module(f"benchmarks.{path.stem}")
        for name, value in vars(module).items():
            if isinstance(value, type) and value.__module__ == module.__name__ and methods(value):
                yield pytest.param(value, id=f"{path.stem}.{name}")


def methods(benchmark: type) -> list[str]:
    """Names of the methods that asv runs."""
    return [name for name in dir(benchmark) if name.startswith(PREFIXES)]


def combinations(benchmark: type) -> list[tuple[Any, ...]]:
    """All parameter values, as asv forms them: ``params`` is one list, or one list per parameter."""
    params = getattr(benchmark, "params", [])
    if params and not isinstance(params[0], list | tuple):
        params = [params]
    return list(itertools.product(*params))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Find the classes only when a test asks for them."""
    if "benchmark" in metafunc.fixturenames:
        metafunc.parametrize("benchmark", list(benchmark_classes()))


def test_benchmark_runs_with_every_parameter(benchmark: type) -> None:
    for parameters in combinations(benchmark):
        instance = benchmark()
        if hasattr(instance, "setup"):
            try:
                instance.setup(*parameters)
            except NotImplementedError:  # asv skips such parameters: another library that is not installed
                continue
        for name in methods(benchmark):
            result = getattr(instance, name)(*parameters)
            assert (result is not None) == name.startswith("track_"), f"{name} returned {result!r}"
        if hasattr(instance, "teardown"):
            instance.teardown(*parameters)


def test_benchmark_names_its_parameters(benchmark: type) -> None:
    names = getattr(benchmark, "param_names", ())
    assert len(names) == len(combinations(benchmark)[0])


def test_documentation_states_the_bounds_of_the_ratios() -> None:
    ratios = importlib.import_module("benchmarks.ratios")
    products = importlib.import_module("benchmarks.bench_linalg").PRODUCTS_PER_NUMPY
    text = (ROOT / "docs/performance.md").read_text()
    for _, what, avx512, avx2 in (*ratios.FLOATS_PER_MEMCPY, *(row for row in products if row[2])):
        assert f"| {what} | {avx512:g} | {f'{avx2:g} ' if avx2 else ''}|" in text


def test_alternating_measurement_finds_a_known_ratio() -> None:
    from benchmarks.timing import alternate

    def work(n: int) -> int:
        return sum(range(n))

    short, long, ratio = alternate(lambda: work(2_000), lambda: work(8_000), rounds=15, batch_seconds=1e-3)
    # Four times the work. The bounds are wide: the claim is that the ratio is the second over the first.
    assert 0 < short < long
    assert 2.0 < ratio < 8.0
