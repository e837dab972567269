"""Finding and reading data sets of images: CIFAR's pickles, MNIST's idx files, npz, folders of class folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .pickles import read_pickle

__all__ = ["read"]

WHERE = "load_images"
Loaded = tuple[Any, NDArray[np.int64], list[str]]


def checked_labels(path: Path, labels: Any, count: int, classes: int) -> NDArray[np.int64]:
    """As many integers in 0..classes-1 as there are images."""
    try:
        values = np.asarray(labels)
    except ValueError:
        values = np.empty(0, object)
    if values.dtype.kind not in "iu" or values.shape not in ((count,), (count, 1)):
        raise ValueError(
            f"{WHERE}: {str(path)!r} has labels of shape {values.shape} and type {values.dtype}; "
            f"expected {count} integers, one per image. The file is damaged"
        )
    values = values.reshape(count)
    wrong = np.flatnonzero((values < 0) | (values >= classes))
    if wrong.size:
        raise ValueError(
            f"{WHERE}: {str(path)!r} has {wrong.size} labels outside 0..{classes - 1}, "
            f"the first {int(values[wrong[0]])} at image {wrong[0]}. The file is damaged or of another data set"
        )
    return values.astype(np.int64)


# --- CIFAR -----------------------------------------------------------------------------------------------------------


class Cifar(NamedTuple):
    """How one of the two sets is laid out."""

    folder: str
    meta: str
    files: dict[str, tuple[str, ...]]
    names: str  # key of the classes' names in the meta file
    labels: str  # key of the labels in a batch
    number: str | None = None  # key of the number of images per file in the meta file

    def found(self, path: Path) -> bool:
        """Whether any of the files is there."""
        batches = sum(self.files.values(), ())
        return any((path / name).is_file() for name in ((self.meta, *batches) if self.number else (self.meta,)))


CIFAR10 = Cifar(
    "cifar-10-batches-py", "batches.meta",
    {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)},
    "label_names", "labels", "num_cases_per_batch",
)  # fmt: skip
CIFAR100 = Cifar(
    "cifar-100-python", "meta", {"train": ("train",), "test": ("test",)}, "fine_label_names", "fine_labels"
)


def _whole(path: Path, what: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"{WHERE}: no file {str(path)!r} ({what}); unpack the data set's archive again, and give its folder"
        )
    return path


def _entry(path: Path, content: dict[str, Any], key: str) -> Any:
    if key not in content:
        holds = ", ".join(sorted(map(str, content)))[:200] or "nothing"
        raise ValueError(f"{WHERE}: {str(path)!r} has no entry {key!r}; it holds {holds}. The file is damaged")
    return content[key]


def read_cifar(folder: Path, split: str, kind: Cifar, coarse: bool) -> Loaded:
    """All files of one split, in the official order."""
    path = _whole(folder / kind.meta, "the names of the classes")
    meta = read_pickle(path, WHERE)
    change = (lambda key: key.replace("fine", "coarse")) if coarse else str
    names = _entry(path, meta, change(kind.names))
    if not isinstance(names, list) or not names or not all(isinstance(name, str | bytes) for name in names):
        raise ValueError(f"{WHERE}: {str(path)!r}: {change(kind.names)!r} is no list of names. The file is damaged")
    classes = [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names]
    expected = _entry(path, meta, kind.number) if kind.number else None
    paths = [_whole(folder / name, f"part of the {split} set") for name in kind.files[split]]
    images, labels = np.empty((0, 3, 32, 32), np.uint8), []
    for k, path in enumerate(paths):
        content = read_pickle(path, WHERE)
        data = _entry(path, content, "data")
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
            found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
            raise ValueError(f"{WHERE}: {str(path)!r}: 'data' is {found}; expected uint8 (n, 3072). Damaged")
        count = len(data)
        if count == 0 or (expected is not None and count != expected):
            raise ValueError(
                f"{WHERE}: {str(path)!r} holds {count} images; "
                + (f"{kind.meta} says {expected}" if expected is not None else "expected some")
                + ". The file is incomplete: unpack the archive again"
            )
        labels.append(checked_labels(path, _entry(path, content, change(kind.labels)), count, len(classes)))
        if k == 0:  # now the number is known to be real
            images = np.empty((count * len(paths), 3, 32, 32), np.uint8)
        images[k * count : (k + 1) * count] = data.reshape(count, 3, 32, 32)
    return images, np.concatenate(labels), classes


# --- which of them ---------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A kind of data set: where it is at a path, if it is, and how it is read."""

    name: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path, str | None, bool], Loaded]


def _cifar(name: str, kind: Cifar) -> Kind:
    def find(path: Path) -> Path | None:
        return next((at for at in (path, path / kind.folder) if kind.found(at)), None)

    return Kind(name, find, lambda at, split, coarse: read_cifar(at, split or "train", kind, coarse))


KINDS = (_cifar("CIFAR-10", CIFAR10), _cifar("CIFAR-100", CIFAR100))


def read(path: Path, split: str | None, coarse: bool) -> Loaded:
    """Find out what is at a path and read it."""
    if not path.is_dir():
        raise FileNotFoundError(f"{WHERE}: no folder {str(path)!r}")
    found = [(kind, at) for kind in KINDS if (at := kind.find(path)) is not None]
    if not found:
        raise FileNotFoundError(f"{WHERE}: no data set of images in {str(path)!r}")
    if len(found) > 1:
        raise ValueError(
            f"{WHERE}: {str(path)!r} holds {' and '.join(kind.name for kind, _ in found)}; give one folder"
        )
    kind, at = found[0]
    return kind.read(at, split, coarse)
