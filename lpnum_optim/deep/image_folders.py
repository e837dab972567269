"""Folders of class folders (ImageNet): the images stay on disk until a batch needs them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpnum_optim._checks import optional_import

__all__ = ["ImageFiles", "find_class_folders", "read_class_folders"]

WHERE = "load_images"
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
# What converts to three channels of 8 bits without loss, but for what RGB has no place for.
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
SPLITS = {"train": ("train",), "test": ("val", "validation", "valid", "test")}  # names of folders; the first one found


class ImageFiles:
    """Images in files, each of its own size.

    Attributes
    ----------
    folder : Path
    names : list of str
        Of the files, from `folder` on.
    """

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder, self.names = folder, names
        self._library = optional_import("PIL.Image", "torch", "reading image files")

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<ImageFiles: {len(self)} in {str(self.folder)!r}>"

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> list[Tensor]:
        """Decode some images: uint8 tensors (3, height, width).

        Raises
        ------
        ValueError, FileNotFoundError
            A file is gone, truncated, damaged, or has more than 8 bits per channel; the message names it.
        """
        return [self._read(self.folder / self.names[k]) for k in indices]

    def _read(self, path: Path) -> Tensor:
        try:
            with self._library.open(path) as image:
                mode = image.mode
                # Pillow warns on the direct way from a palette with transparency.
                direct = mode != "P" or "transparency" not in image.info
                colors = image if direct else image.convert("RGBA")
                if colors.mode != "RGB" and mode in MODES:
                    colors = colors.convert("RGB")
                pixels = np.array(colors) if colors.mode == "RGB" else None
        except FileNotFoundError:
            raise FileNotFoundError(f"{WHERE}: {str(path)!r} is gone; load the folder again") from None
        except Exception as error:  # decoders raise whatever they stumble over
            raise ValueError(
                f"{WHERE}: {str(path)!r} is no readable image: {str(error)[:200] or type(error).__name__}. "
                "Copy it again, or remove it from the folder"
            ) from error
        if pixels is None:
            raise ValueError(
                f"{WHERE}: {str(path)!r} has pixels of mode {mode!r}; expected 8 bits per channel: convert it"
            )
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _folders(path: Path) -> list[str]:
    """Names of the folders directly below, sorted, without hidden ones."""
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> Iterator[str]:
    """Image files at any depth, from the folder on, in an order that depends on the names alone."""
    for at, below, files in os.walk(folder, onerror=_raise):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                yield os.path.relpath(os.path.join(at, name), folder)


def _raise(error: OSError) -> None:
    raise error


def _has_classes(path: Path) -> bool:
    return any(next(_images(path / name), None) is not None for name in _folders(path))


def find_class_folders(path: Path) -> list[Path]:
    """The path itself, if it holds class folders, directly or in folders of the splits."""
    if not path.is_dir():
        return []
    splits = [name for names in SPLITS.values() for name in names if (path / name).is_dir()]
    return [path] if any(_has_classes(path / name) for name in splits) or _has_classes(path) else []


def _split_folder(path: Path, split: str | None) -> Path:
    """Where the images of a split are."""
    below = {
        key: next((path / name for name in names if (path / name).is_dir()), None) for key, names in SPLITS.items()
    }
    if any(below.values()):
        wanted = below[split or "train"]
        if wanted is None:
            raise FileNotFoundError(
                f"{WHERE}: {str(path)!r} has no folder {' or '.join(SPLITS[split or 'train'])} for the split "
                f"{split or 'train'!r}"
            )
        return wanted
    if split is not None and path.name not in SPLITS[split]:
        raise ValueError(
            f"{WHERE}: {str(path)!r} holds class folders directly, so there is no split to choose; "
            "leave split out to load all that is in it"
        )
    return path


def read_class_folders(path: Path, split: str | None, coarse: bool) -> tuple[Any, NDArray[np.int64], list[str]]:
    """The files and their classes: the sorted names of the folders, those of the training set if it is there."""
    folder = _split_folder(path, split)
    found = _folders(folder)
    train = folder.parent / "train"
    classes = _folders(train) if folder.name in SPLITS["test"] and train.is_dir() else found
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise ValueError(
            f"{WHERE}: {str(folder / unknown[0])!r} is no class of {str(train)!r} ({len(unknown)} such folders); "
            "the folders' names are the classes: sort the images into those of the training set"
        )
    names: list[str] = []
    counts = np.zeros(len(classes), np.int64)
    for place, name in enumerate(classes):
        if name in found:
            files = [os.path.join(name, file) for file in _images(folder / name)]
            if not files:
                raise ValueError(
                    f"{WHERE}: no image in {str(folder / name)!r} (looked for {', '.join(ENDINGS)}); remove the folder "
                    "or unpack its images"
                )
            names += files
            counts[place] = len(files)
    return ImageFiles(folder, names), np.repeat(np.arange(len(classes)), counts), classes
