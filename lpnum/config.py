"""What this installation runs on: versions and SIMD level."""

from __future__ import annotations

import platform

import numpy as np

from lpnum._core import kernels
from lpnum._threads import get_num_threads

__all__ = ["config", "show_config"]

__version__ = "0.1.0"


def config() -> dict[str, str]:
    """Versions and SIMD levels as a dictionary."""
    return {
        "lpnum": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "simd level": kernels.SIMD_LEVELS[kernels.simd_level()],
        "simd levels available": ", ".join(kernels.simd_levels()),
        "threads": str(get_num_threads()),
    }


def show_config() -> None:
    """Print versions and the SIMD level in use (``LPNUM_SIMD=baseline|avx2|avx512`` forces one)."""
    for key, value in config().items():
        print(f"{key:22} {value}")
