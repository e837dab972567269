"""Finding and reading data sets of images: CIFAR's pickles, MNIST's idx files, npz, folders of class folders."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .image_folders import find_class_folders, read_class_folders
from .pickles import read_pickle

__all__ = ["read"]

WHERE = "load_images"
Loaded = tuple[Any, NDArray[np.int64], list[str]]


def checked_labels(path: Path, labels: Any, count: int, classes: int) -> NDArray[np.int64]:
    """As many integers in 0..classes-1 as there are images."""
    if isinstance(labels, list) and not all(type(label) is int for label in labels):
        labels = None  # NumPy would follow lists of lists, even one that holds itself
    try:
        values = np.asarray(labels)
    except OverflowError:
        values = np.asarray(None)
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
        """Whether any of the files is there; two of CIFAR-100's, whose names say little."""
        present = sum((path / name).is_file() for name in (self.meta, *sum(self.files.values(), ())))
        return present >= (1 if self.number else 2)


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
    if kind.number and type(expected) is not int:
        raise ValueError(f"{WHERE}: {str(path)!r}: {kind.number!r} is no integer. The file is damaged")
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
        del content, data  # before the next file is read
    return images, np.concatenate(labels), classes


# --- MNIST -----------------------------------------------------------------------------------------------------------

IDX = {"train": "train", "test": "t10k"}
IDX_FOLDERS = ("", "raw", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw")


def _idx_path(folder: Path, split: str, what: str, dimensions: int) -> Path | None:
    """The file under any of its usual names."""
    stem = f"{IDX[split]}-{what}"
    names = [f"{stem}{dot}idx{dimensions}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An idx file of bytes, plain or compressed: 0, 0, 8, dimensions, the lengths, the bytes."""
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        try:
            with gzip.GzipFile(fileobj=plain) if packed else plain as file:
                header = file.read(4 + 4 * dimensions)
                if header[:4] != bytes([0, 0, 8, dimensions]):
                    raise ValueError(f"it begins with {header[:4].hex(' ') or 'nothing'}, not 00 00 08 0{dimensions}")
                if len(header) < 4 + 4 * dimensions:
                    raise EOFError("it ends within its header")
                shape = [int(n) for n in np.frombuffer(header[4:], ">u4")]
                size = math.prod(shape)
                data = bytearray()
                # Piece by piece: what a damaged header promises is not allocated.
                while len(data) <= size and (piece := file.read(min(size + 1 - len(data), 1 << 24))):
                    data += piece
        except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{WHERE}: {str(path)!r} is no whole idx file: {error}. Copy it again") from None
    if len(data) != size:
        came = f"{len(data)} bytes" if len(data) < size else "more"
        raise ValueError(
            f"{WHERE}: {str(path)!r} should hold {' x '.join(map(str, shape))} = {size} bytes, but holds {came}. "
            "It is truncated or damaged: copy it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def find_mnist(path: Path) -> list[Path]:
    """Folders with idx files."""
    folders = [path / below for below in IDX_FOLDERS]
    return [at for at in folders if any(_idx_path(at, *of) for split in IDX
                                        for of in ((split, "images", 3), (split, "labels", 1)))]  # fmt: skip


def read_mnist(folder: Path, split: str | None, coarse: bool) -> Loaded:
    """Gray images in one channel."""
    content = []
    for what, dimensions in (("images", 3), ("labels", 1)):
        path = _idx_path(folder, split or "train", what, dimensions)
        if path is None:
            name = f"{IDX[split or 'train']}-{what}-idx{dimensions}-ubyte"
            raise FileNotFoundError(f"{WHERE}: no file {str(folder / name)!r}, nor with .gz; download it again")
        content.append((path, read_idx(path, dimensions)))
    (path, images), (of_labels, labels) = content
    if 0 in images.shape:
        raise ValueError(f"{WHERE}: {str(path)!r} holds {' x '.join(map(str, images.shape))} pixels: no image")
    return images[:, None], checked_labels(of_labels, labels, len(images), 10), [str(k) for k in range(10)]


# --- npz -------------------------------------------------------------------------------------------------------------


def find_npz(path: Path) -> list[Path]:
    """The path itself, if it is such a file."""
    return [path] if path.is_file() and path.suffix.lower() == ".npz" else []


def read_npz(path: Path, split: str | None, coarse: bool) -> Loaded:
    """Arrays x_train, y_train, x_test, y_test; pixels (n, height, width) or (n, height, width, 1 or 3)."""
    keys = [f"{letter}_{split or 'train'}" for letter in "xy"]
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            held = file.files
            arrays = [file[key] for key in keys if key in held]
    except Exception as error:
        raise ValueError(f"{WHERE}: {str(path)!r} is no readable npz file: {str(error)[:200]}. Copy it again") from None
    missing = [key for key in keys if key not in held]
    if missing:
        raise ValueError(
            f"{WHERE}: {str(path)!r} has no array {missing[0]!r}; it holds {', '.join(held)[:200] or 'nothing'}. "
            "Expected x_train, y_train, x_test, y_test"
        )
    images, labels = arrays
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)  # channels first
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"{WHERE}: {keys[0]!r} in {str(path)!r} is {arrays[0].dtype} {arrays[0].shape}; expected uint8 pixels "
            "(n, height, width) or (n, height, width, 1 or 3)"
        )
    labels = checked_labels(path, labels, len(images), 1 << 16)
    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images, labels, [str(k) for k in range(int(labels.max()) + 1)]


# --- which of them ---------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A kind of data set: where it is at a path, if it is, and how it is read."""

    name: str
    find: Callable[[Path], list[Path]]
    read: Callable[[Path, str | None, bool], Loaded]


def _cifar(name: str, kind: Cifar) -> Kind:
    def find(path: Path) -> list[Path]:
        return [at for at in (path, path / kind.folder) if kind.found(at)]

    return Kind(name, find, lambda at, split, coarse: read_cifar(at, split or "train", kind, coarse))


KINDS = (
    _cifar("CIFAR-10", CIFAR10),
    _cifar("CIFAR-100", CIFAR100),
    Kind("MNIST", find_mnist, read_mnist),
    Kind("npz", find_npz, read_npz),
)
CLASS_FOLDERS = Kind("class folders", find_class_folders, read_class_folders)
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2")
EXPECTED = (
    "expected a folder of CIFAR-10 or CIFAR-100 (cifar-10-batches-py, cifar-100-python) or of MNIST's idx files, one "
    "that holds it, a folder of class folders with images, or an .npz file with x_train, y_train, x_test, y_test"
)


def read(path: Path, split: str | None, coarse: bool) -> Loaded:
    """Find out what is at a path and read it."""
    if not path.exists():
        raise FileNotFoundError(f"{WHERE}: no file or folder {str(path)!r}; {EXPECTED}")
    found = [(kind, at) for kind in KINDS for at in kind.find(path)]
    # Only now: it looks into every folder below.
    found = found or [(CLASS_FOLDERS, at) for at in CLASS_FOLDERS.find(path)]
    if not found:
        archives = [path] if path.is_file() else sorted(path.iterdir())
        archive = next((at for at in archives if at.suffix.lower() in ARCHIVES), None)
        advice = f". Unpack {str(archive)!r} first" if archive else f"; {EXPECTED}"
        raise FileNotFoundError(f"{WHERE}: no data set of images in {str(path)!r}{advice}")
    if len(found) > 1:
        names = " and ".join(f"{kind.name} in {str(at)!r}" for kind, at in found)
        raise ValueError(f"{WHERE}: several data sets: {names}; give the folder of one")
    kind, at = found[0]
    if coarse and kind.name != "CIFAR-100":
        raise ValueError(f"{WHERE}: coarse labels are of CIFAR-100, but {str(at)!r} holds {kind.name}")
    return kind.read(at, split, coarse)
