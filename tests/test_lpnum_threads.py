"""Threads: the same bits, the same counts and the same errors for any number of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import lpnum
from lpnum import _threads
from lpnum.rounding import ROUNDING_MODES

N = 3 * _threads.SMALLEST + 1234
FORMATS = [lpnum.fixed8, lpnum.float8_e4m3fn, lpnum.fixed16, lpnum.bfloat16]


@pytest.fixture(autouse=True)
def one_thread_afterwards() -> Iterator[None]:
    yield
    lpnum.set_num_threads(1)


def of_threads(counts, work):
    """What `work()` gives for each number of threads, checked to be the same."""
    results = []
    for n in counts:
        lpnum.set_num_threads(n)
        results.append(work())
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
    return results[0]


@pytest.mark.parametrize("mode", ROUNDING_MODES)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_codes_do_not_depend_on_the_number_of_threads(fmt, mode):
    x = np.random.default_rng(5).standard_normal(N).astype(np.float32)

    def work():
        codes = lpnum.encode(x, fmt, rounding=mode, rng=lpnum.random.CounterRNG(3, 1), random_bits=24)
        return codes, lpnum.encode(x, fmt, rounding=mode, rng=4), lpnum.decode(codes, fmt)

    of_threads((1, 2, 3), work)


@pytest.mark.parametrize("shape", [(N,), (1, N), (3, N // 3), (N // 7, 7), (N // 7, 1, 7)], ids=str)
@pytest.mark.parametrize("fmt", FORMATS, ids=repr)
def test_arrays_of_any_shape_and_stride(fmt, shape):
    rng = np.random.default_rng(1)
    size = int(np.prod(shape))
    values = rng.standard_normal((2 * size,)).astype(np.float64)[::2].reshape(shape)
    scale = rng.uniform(0.01, 0.02, shape[-1])
    offset = rng.standard_normal(shape[:-1] + (1,))

    def work():
        with lpnum.context(rounding="stochastic", rng=9):
            x = lpnum.array(values, dtype=fmt, scale=scale, offset=offset)
            y = lpnum.array(values[..., ::-1], dtype=fmt, scale=0.02)
            x -= values[:1]
            return (
                x.codes,
                (y + y).codes,
                (y * y).codes,
                np.exp(y).codes,
                x.T.dequantize(),
                y.astype(lpnum.fixed8).codes,
            )

    of_threads((1, 2, 5), work)


def test_recentering():
    values = np.random.default_rng(2).standard_normal(N)

    def work():
        w = lpnum.zeros(N, dtype=lpnum.fixed8, scale=0.01, offset=values)
        w += values
        w.recenter(scale=0.001)
        w.recenter(scale=0.002)
        return w.codes, w.offset

    of_threads((1, 2), work)


def test_events_and_errors_are_those_of_one_thread():
    x = np.zeros((N // 2, 2))
    x[[N // 2 - 5, N // 3], 1] = 1e9
    x[::7] = 0.3

    def work():
        with lpnum.count_events() as events:
            codes = lpnum.encode(x, lpnum.fixed8)
        with pytest.raises(OverflowError) as error:
            lpnum.encode(x, lpnum.fixed8, overflow="error")
        return codes, np.array([events.total, events.overflow, events.inexact, events.underflow]), str(error.value)

    _, counts, message = of_threads((1, 3), work)
    assert tuple(counts[:2]) == (x.size, 2)
    assert f"({N // 3}, 1)" in message


def test_the_work_is_really_shared(monkeypatch):
    seen = set()
    kernel = _threads.kernels.elementwise

    def watch(*args, **kwargs):
        seen.add(threading.current_thread().name)
        return kernel(*args, **kwargs)

    lpnum.set_num_threads(2)
    monkeypatch.setattr(_threads.kernels, "elementwise", watch)
    lpnum.encode(np.zeros(N), lpnum.fixed8)
    assert len(seen) == 2
    lpnum.encode(np.zeros(100), lpnum.fixed8)
    assert lpnum.get_num_threads() == 2


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2", None])
def test_bad_numbers_of_threads(bad):
    with pytest.raises(ValueError, match="at least 1"):
        lpnum.set_num_threads(bad)


def test_environment_and_fork():
    code = (
        "import os, lpnum, numpy as np\n"
        "x = np.linspace(-1, 1, 1 << 19)\n"
        "a = lpnum.encode(x, lpnum.fixed8)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if (lpnum.encode(x, lpnum.fixed8) == a).all() else 3)\n"
        "print(lpnum.get_num_threads(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this platform")
    environment = {**os.environ, "LPNUM_NUM_THREADS": "2"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["2", "0"], run.stderr
    environment["LPNUM_NUM_THREADS"] = "many"
    run = subprocess.run([sys.executable, "-c", "import lpnum"], env=environment, capture_output=True, text=True)
    assert "LPNUM_NUM_THREADS" in run.stderr
