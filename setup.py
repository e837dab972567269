"""The compiled extensions; everything else about the distribution is in pyproject.toml.

Each C kernel file is compiled once for every SIMD level: ``level_*.c`` sets the level with a pragma and includes
the same kernels, so no compiler flag here may raise the instruction set of the whole module.
"""

from __future__ import annotations

import os
import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

if sys.platform == "win32":
    compile_args = ["/O2", "/fp:precise"]
    link_args: list[str] = []
else:
    # -ffp-contract=off: a fused multiply-add at one SIMD level only would give other bits there.
    # -fno-trapping-math -fno-math-errno: lets clamps and rounding become vector instructions; values do not change.
    compile_args = ["-O3", "-g0", "-std=gnu11", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno", "-Wall"]
    link_args = ["-s"] if sys.platform.startswith("linux") else []
    if os.environ.get("LPNUM_DEBUG"):
        compile_args += ["-g", "-fno-omit-frame-pointer"]
        link_args = []
    if os.environ.get("LPNUM_SANITIZE"):  # see tools/sanitize.py; -O1 is enough: the intrinsics are in the source
        sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        compile_args += ["-O1", "-g1", "-fno-omit-frame-pointer", *sanitizers]
        link_args = sanitizers


def extension(name: str, *, kernels: bool) -> Extension:
    """One Cython module, with the C files beside it if it is the one of its folder that holds the kernels."""
    folder = name.rsplit(".", 1)[0].replace(".", "/")
    source = name.replace(".", "/") + ".pyx"
    generated = {path.removesuffix("pyx") + "c" for path in glob(f"{folder}/*.pyx")}
    sources = [source] + (sorted(set(glob(f"{folder}/*.c")) - generated) if kernels else [])
    headers = glob("lpnum/_core/*.h") + glob(f"{folder}/*.h")
    return Extension(
        name,
        sources,
        include_dirs=["lpnum/_core", folder],
        depends=sorted(headers),
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )


setup(
    ext_modules=cythonize(
        [
            extension("lpnum._core.kernels", kernels=True),
            extension("lpnum._core.blocks", kernels=False),
            extension("lpnum._core.products", kernels=False),
            extension("lpnum_optim._core.epochs", kernels=True),
            extension("lpnum_optim._moments.adam", kernels=True),
        ],
        compiler_directives={"language_level": 3, "embedsignature": True},
    )
)
