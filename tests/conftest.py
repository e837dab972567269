"""What all tests share: the header line, the seeds, the SIMD levels, the hypothesis profiles."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, settings

# `make test` must not fail by chance: the examples derive from the test itself. `make check` looks for new ones.
# No deadline: the first call may wait for a machine that others load too.
# A test under `simd_level` may run all its examples in one fixture: setting the level again would change nothing.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}
settings.register_profile("repeatable", derandomize=True, max_examples=60, database=None, **_COMMON)
settings.register_profile("long", derandomize=False, max_examples=600, print_blob=True, **_COMMON)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--seeds N``."""
    parser.addoption("--seeds", type=int, default=1, metavar="N", help="run tests that take `seed` with seeds 0 .. N-1")


def pytest_report_header() -> str:
    """Which SIMD level runs, and which can: results must not depend on it, times do."""
    try:
        kernels = importlib.import_module("lpnum._core.kernels")
    except ImportError as error:
        return f"lpnum: not importable ({error}); `make test` compiles it"
    level, levels = kernels.SIMD_LEVELS[kernels.simd_level()], ", ".join(kernels.simd_levels())
    return f"lpnum SIMD: {level} (this machine runs {levels})"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat a test for every seed asked for and for every SIMD level of the machine, unless it says its own."""
    said = [name.strip() for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark)]
    if "seed" in metafunc.fixturenames and "seed" not in said:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")), ids=lambda seed: f"seed{seed}")
    if "simd_level" in metafunc.fixturenames and "simd_level" not in said:
        levels = importlib.import_module("lpnum._core.kernels").simd_levels()
        if getattr(metafunc.module, "WITH_AVX_VNNI", False):
            levels += ("avx2-vnni",)
        metafunc.parametrize("simd_level", levels, indirect=True)


def _names(mark: pytest.Mark) -> Sequence[str]:
    """Argument names of a ``parametrize`` mark."""
    names = mark.args[0] if mark.args else mark.kwargs["argnames"]
    return names.split(",") if isinstance(names, str) else names


@pytest.fixture(autouse=True)
def _torch_in_one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Networks of tests are too small for more threads, which wait for each other where others load the machine too."""
    if not request.path.name.startswith("test_deep_"):
        yield
        return
    torch = importlib.import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def simd_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test under one SIMD level in both packages; its value is the level's name.

    "avx2" is AVX2 alone; "avx2-vnni", for modules that say ``WITH_AVX_VNNI = True``, has AVX-VNNI, too.
    """
    kernels = importlib.import_module("lpnum._core.kernels")
    epochs = importlib.import_module("lpnum_optim._core.epochs")
    before = kernels.simd_level(), epochs.simd_level()
    name, _, vnni = request.param.partition("-")
    kernels.set_simd_level(name, avx_vnni=bool(vnni))
    epochs.set_simd_level(kernels.SIMD_LEVELS.index(name))
    try:
        if vnni and not kernels.avx_vnni():
            pytest.skip("this processor has no AVX-VNNI")
        yield request.param
    finally:
        kernels.set_simd_level(kernels.SIMD_LEVELS[before[0]])
        epochs.set_simd_level(before[1])
