"""Calls the public surface with right and wrong arguments: a program, run in a process of its own by test_lpnum_fuzz.

``python fuzz_calls.py PART SEED COUNT FILE`` makes COUNT calls that SEED determines. FILE holds the call that is being
made, for whoever finds the process dead, and at the end the calls that ended in another way than a result or an
exception of the kinds that NumPy raises.
"""

from __future__ import annotations

import faulthandler
import fcntl
import importlib
import json
import os
import random
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
from fuzz_values import arguments, array, instance, kernel_value

import lpnum
from lpnum._core import blocks, kernels, products

# ImportError: an optional package is not installed. A missing attribute is judged by `leaks`.
ALLOWED = (
    TypeError,
    ValueError,
    IndexError,
    OverflowError,
    MemoryError,
    ZeroDivisionError,
    FloatingPointError,
    BufferError,
    OSError,
    ImportError,
)
MODULES = [
    "formats",
    "interop",
    "io",
    "linalg",
    "packing",
    "plotting",
    "random",
    "rounding",
    "scaled_integers",
    "scaling",
]
# Imported at the first use; the parser's errors under the limit of memory are not ours.
for _name in ("_array_functions", "_block_functions", "_ufuncs"):
    importlib.import_module(f"lpnum.{_name}")
if "asan" in os.environ.get("LD_PRELOAD", ""):  # its import takes minutes, and is broken where the alarm ends it
    sys.modules["torch"] = None  # type: ignore[assignment]
HERE = os.path.dirname(os.path.abspath(lpnum.__file__))
SECONDS = 8  # for one call
MEMORY = 1 << 29  # bytes that the calls may take beyond what the imported modules have


class TooLong(BaseException):
    """A call that took more than `SECONDS`; no `except Exception` stops it."""


def out_of_time(_signal: int, _frame: FrameType | None) -> None:
    raise TooLong(f"longer than {SECONDS} s")


def leaks(error: BaseException) -> bool:
    """Whether an exception is none that NumPy's functions raise."""
    frames = traceback.extract_tb(error.__traceback__)
    # (A SystemError comes from NumPy's printing at the end of memory.)
    if isinstance(error, RuntimeError | KeyError | SystemError) and f"{os.sep}numpy{os.sep}" in frames[-1].filename:
        ours = sum(frame.filename.startswith(HERE) for frame in frames)  # np.polyder recurses by itself
        return isinstance(error, RecursionError) and ours > 50  # others are NumPy's own, in np.cov and a few more
    if isinstance(error, AttributeError):  # of something inside, not of an array or a module that the caller named
        inside = frames[-1].filename.startswith(HERE)
        if re.search("'(conjugate|flush)'", str(error)):  # from NumPy's C code: np.vecdot of objects, np.fromfile
            return False
        return inside and re.search(r"'(NoneType|\w*LPArray|\w*BlockArray|numpy.*)' object", str(error)) is None
    return not isinstance(error, ALLOWED)


def functions(_rng: random.Random) -> list[tuple[str, Any]]:
    """The functions and classes that ``lpnum`` and its public modules export."""
    found = {name: getattr(lpnum, name) for name in lpnum.__all__}
    for module in MODULES:
        part = importlib.import_module(f"lpnum.{module}")
        found |= {f"{module}.{name}": getattr(part, name) for name in part.__all__}
    return [(f"lpnum.{name}", found[name]) for name in sorted(found) if callable(found[name])]


def methods(rng: random.Random) -> list[tuple[str, Any]]:
    """Methods and operators of an array, a format or a generator drawn for the occasion."""
    text, owner = instance(rng)
    # `sibling` takes codes unchecked; what NumPy and its like call have arguments that they have checked
    own = [name for name in dir(owner) if name.startswith("__") and name not in dir(object) and "array_" not in name]
    chosen = rng.choice([name for name in dir(owner) if not name.startswith("_") and name != "sibling"] + own)
    try:
        value = getattr(owner, chosen)
    except (TypeError, ValueError, AttributeError):  # a property of other arrays
        return []
    return [(f"{text}.{chosen}", value)] if callable(value) else []


def numpy_functions(_rng: random.Random) -> list[tuple[str, Any]]:
    """What NumPy hands to ``__array_function__`` and ``__array_ufunc__``."""
    overrides = importlib.import_module("numpy.testing.overrides")
    found = overrides.get_overridable_numpy_array_functions() | overrides.get_overridable_numpy_ufuncs()
    named = {f"{getattr(f, '__module__', 'numpy')}.{f.__name__}": f for f in found}
    for ufunc in ("add", "subtract", "multiply", "maximum", "sqrt", "equal"):
        for way in ("reduce", "accumulate", "outer", "at", "reduceat"):
            named[f"numpy.{ufunc}.{way}"] = getattr(getattr(np, ufunc), way)
    return sorted(named.items())


# They take addresses of memory that torch holds: every number is one.
ADDRESSES = {"round_floats", "decode_floats", "largest_magnitude"}


def kernel_functions(_rng: random.Random) -> list[tuple[str, Any]]:
    """The compiled functions, which the rest of lpnum calls with checked arguments only."""
    return [
        (f"{module.__name__.rpartition('.')[2]}.{name}", function)
        for module in (kernels, blocks, products)
        for name, function in sorted(vars(module).items())
        if not name.startswith("_") and name not in ADDRESSES and callable(function)
    ]


PARTS: dict[str, Callable[[random.Random], list[tuple[str, Any]]]] = {
    "functions": functions,
    "methods": methods,
    "numpy": numpy_functions,
    "kernels": kernel_functions,
}


def enter(result: Any) -> None:
    """Enter and leave what is meant for ``with``; look at what is returned."""
    if hasattr(result, "__enter__") and not isinstance(result, np.ndarray):
        with result:
            lpnum.array([0.5, 1.0], lpnum.fixed8) + 1
    elif isinstance(result, lpnum.LPArray | lpnum.BlockArray):
        repr(result)
        result.dequantize()


def tidy() -> None:
    """Undo what a call may have set for the process; the SIMD level is set before each call."""
    lpnum.set_num_threads(1)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def limit_memory() -> None:
    """Make an allocation of more than `MEMORY` fail; AddressSanitizer reserves terabytes and has a limit of its own."""
    resource = importlib.import_module("resource")
    if "asan" in os.environ.get("LD_PRELOAD", "") or not os.path.exists("/proc/self/statm"):
        return
    np.linalg.inv(np.ones((300, 300)) @ np.eye(300) + np.eye(300))  # OpenBLAS ends the process if its buffers fail
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def main(part: str, seed: int, count: int, path: str) -> None:
    """Make the calls."""
    warnings.simplefilter("ignore")
    # Integers are file descriptors to open(): what the calls close must not be ours.
    low = os.open(path, os.O_RDWR | os.O_CREAT)
    note = fcntl.fcntl(low, fcntl.F_DUPFD, 500)
    os.close(low)
    faulthandler.enable(os.dup(2))
    limit_memory()
    signal.signal(signal.SIGALRM, out_of_time)
    findings, outcomes = [], {"result": 0}
    generator = random.Random(f"{part} {seed}")
    fixed = None if part == "methods" else PARTS[part](generator)
    for index in range(count):
        rng = random.Random(f"{part} {seed} {index}")
        candidates = PARTS[part](rng) if fixed is None else fixed
        if not candidates:
            continue
        name, function = candidates[index % len(candidates)]
        texts, args, kwargs = arguments(rng, name, function, kernel_value if part == "kernels" else None)
        if part == "numpy" and args and not any("lpnum." in text for text in texts):  # NumPy's own errors are its own
            texts[0], args[0] = array(rng)
        call = f"{name}({', '.join(texts)})"
        kernels.set_simd_level(rng.choice(kernels.simd_levels()))
        os.pwrite(note, call.encode(errors="replace")[:2000].ljust(2000), 0)
        signal.alarm(SECONDS)
        try:
            enter(function(*args, **kwargs))
            outcomes["result"] += 1
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            kind = type(error).__name__
            outcomes[kind] = outcomes.get(kind, 0) + 1
            if leaks(error):
                frame = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{os.path.basename(frame.filename)}:{frame.lineno}"
                findings.append(f"{call}\n    {kind} at {where}: {str(error)[:300]}")
        finally:
            signal.alarm(0)
        tidy()
    os.ftruncate(note, 0)
    os.pwrite(note, json.dumps({"findings": findings, "outcomes": outcomes}).encode(), 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
