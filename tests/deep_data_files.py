"""Small files as the data sets' authors wrote them."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

NAMES10 = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]


class _Python2(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes bytes as Python 2 wrote its strings, as they are in the official files."""

    def save_string(self, obj: bytes) -> None:
        n = len(obj)
        self.write(b"U" + bytes([n]) + obj if n < 256 else b"T" + struct.pack("<i", n) + obj)
        self.memoize(obj)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_string}  # type: ignore[attr-defined]  # noqa: RUF012


def dump(path: Path, content: Any, protocol: str = "python2") -> None:
    """Pickle as Python 2 did ("python2") or as Python 3 does ("0" to "5")."""
    file = io.BytesIO()
    if protocol == "python2":
        _Python2(file, 2).dump(content)
        file = io.BytesIO(file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    else:
        pickle.dump(content, file, protocol=int(protocol))
    path.write_bytes(file.getvalue())


def pixels(n: int, seed: int) -> np.ndarray:
    """(n, 3072) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (n, 3072)).astype(np.uint8)


def cifar10(folder: Path, n: int = 6, protocol: str = "python2") -> Path:
    """A folder of CIFAR-10 with n images per file; it is given back."""
    folder = folder / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for k, name in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
        content = {
            b"batch_label": b"training batch", b"labels": [(k + 3 * i) % 10 for i in range(n)], b"data": pixels(n, k),
            b"filenames": [b"image_%d.png" % i for i in range(n)],
        }  # fmt: skip
        dump(folder / name, content, protocol)
    meta = {b"num_cases_per_batch": n, b"label_names": NAMES10, b"num_vis": 3072}
    dump(folder / "batches.meta", meta, protocol)
    return folder


def cifar100(folder: Path, n: int = 7, protocol: str = "python2") -> Path:
    """A folder of CIFAR-100."""
    folder = folder / "cifar-100-python"
    folder.mkdir(parents=True)
    for k, name in enumerate(("train", "test")):
        content = {
            b"filenames": [b"image_%d.png" % i for i in range(n)], b"batch_label": b"batch",
            b"fine_labels": [(99 - i) % 100 for i in range(n)], b"coarse_labels": [i % 20 for i in range(n)],
            b"data": pixels(n, 10 + k),
        }  # fmt: skip
        dump(folder / name, content, protocol)
    names = {b"fine_label_names": [b"fine%02d" % i for i in range(100)],
             b"coarse_label_names": [b"coarse%02d" % i for i in range(20)]}  # fmt: skip
    dump(folder / "meta", names, protocol)
    return folder


def idx(path: Path, array: np.ndarray, packed: bool = False) -> None:
    """An idx file of bytes."""
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def mnist(folder: Path, n: int = 5, packed: bool = False) -> Path:
    """A folder of MNIST's four files."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, part in enumerate(("train", "t10k")):
        images = np.random.default_rng(k).integers(0, 256, (n, 28, 28)).astype(np.uint8)
        idx(folder / f"{part}-images-idx3-ubyte", images, packed)
        idx(folder / f"{part}-labels-idx1-ubyte", np.arange(k, n + k).astype(np.uint8) % 10, packed)
    return folder


def keras(path: Path, shape: tuple[int, ...], label_shape: tuple[int, ...] = ()) -> Path:
    """An npz file with arrays x_train, y_train, x_test, y_test."""
    arrays = {}
    for k, part in enumerate(("train", "test")):
        arrays[f"x_{part}"] = np.random.default_rng(k).integers(0, 256, (4 + k, *shape)).astype(np.uint8)
        arrays[f"y_{part}"] = np.arange(4 + k).reshape(-1, *label_shape).astype(np.uint8)
    np.savez(path, **arrays)
    return path
