"""Compile the extensions with AddressSanitizer and UndefinedBehaviorSanitizer and run tests of the kernels under them.

``python tools/sanitize.py [options for pytest]``. Everything goes to build/sanitize; the extensions in the source tree
stay as they are. Needs GCC on Linux; elsewhere it says so and does nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "build" / "sanitize"
# What reaches every kernel, at every SIMD level, with sizes around the length of a vector; a few minutes.
TESTS = (
    "arithmetic", "block_products", "blocks", "codec", "exact_inputs", "fuzz", "linalg", "numpy_products", "packing",
    "reference", "tables", "threads",
)  # fmt: skip
EPOCHS = (
    "adam_kernel", "epochs", "epochs_control", "epochs_general", "epochs_outputs", "epochs_pairs", "optim_evaluation",
)  # fmt: skip
SYMBOLS = (b"__asan_report_load", b"__ubsan_handle")  # what a sanitized module calls
OPTIONS = {
    # Leaks are Python's to judge. The fuzz test asks for impossible sizes: those allocations fail, not the process.
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=1000:abort_on_error=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "PYTHONMALLOC": "malloc",  # each object an allocation of its own
    "PYTHONDONTWRITEBYTECODE": "1",
    "LPNUM_SANITIZE": "1",
}


def runtimes() -> list[str]:
    """The sanitizers' shared libraries, which must be loaded before Python; empty where the compiler is not GCC."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    found = []
    for name in ("libasan.so", "libubsan.so"):
        try:
            path = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        except OSError:
            return []
        if not os.path.isabs(path):
            return []
        found.append(path)
    return found


def main(arguments: list[str]) -> int:
    """Build, then test; the exit code is pytest's."""
    libraries = runtimes()
    if not sys.platform.startswith("linux") or not libraries:
        print("tools/sanitize.py: skipped; it needs Linux and GCC with libasan and libubsan")
        return 0
    library = BASE / "lib"
    build = ["build", "--build-base", BASE, "--build-temp", BASE / "temp", "--build-lib", library, "--parallel", "2"]
    environment = {**os.environ, **OPTIONS}
    subprocess.run([sys.executable, "setup.py", "--quiet", *build], cwd=ROOT, env=environment, check=True)
    # The tests run where `import lpnum` finds the sanitized build, not the source tree.
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, library)
    shutil.copytree(ROOT / "tests", library / "tests", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    environment["LD_PRELOAD"] = " ".join(libraries)
    modules = "blocks, kernels, products"
    where = f"from lpnum._core import {modules}\nfor module in ({modules}): print(module.__file__)"
    run = {"cwd": library, "env": environment, "capture_output": True, "text": True, "check": True}
    for module in map(Path, subprocess.run([sys.executable, "-c", where], **run).stdout.splitlines()):
        if not module.is_relative_to(library) or any(name not in module.read_bytes() for name in SYMBOLS):
            raise SystemExit(f"tools/sanitize.py: the tests would run {module}, which is not the sanitized build")
    files = [*(f"tests/test_lpnum_{name}.py" for name in TESTS), *(f"tests/test_{name}.py" for name in EPOCHS)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, *arguments]
    return subprocess.run(command, cwd=library, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
