"""Images and labels from the files that users have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpnum_optim._checks import choice

from . import image_files

__all__ = ["ImageSet", "channel_statistics", "load_images"]


@dataclass(frozen=True)
class ImageSet:
    """Images with their classes; ``images, labels = image_set`` unpacks it.

    Attributes
    ----------
    images : uint8 tensor (n, channels, height, width), or ImageFiles
        Files are read when a batch needs them.
    labels : int64 tensor (n,)
        Places in `classes`.
    classes : list of str
    """

    images: Any
    labels: Tensor
    classes: list[str]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.images, self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shape = tuple(getattr(self.images, "shape", ()))
        of = f" of shape {shape[1:]}" if shape else " in files"
        return f"<ImageSet: {len(self)} images{of}, {len(self.classes)} classes>"


def load_images(path: str | Path, split: str | None = None, *, coarse: bool = False) -> ImageSet:
    """Images and labels of a data set on disk.

    Parameters
    ----------
    path : str or Path
        - folder of CIFAR-10 or CIFAR-100 as torchvision unpacks it (``cifar-10-batches-py``, ``cifar-100-python``) or
          one that holds it;
        - folder of MNIST's idx files, plain or ``.gz``;
        - folder of class folders (ImageNet): ``train/`` and ``val/`` below it, or the class folders directly; needs
          Pillow, and the images are read batch by batch;
        - ``.npz`` with arrays x_train, y_train, x_test, y_test (Keras).
    split : {"train", "test"}, optional
        "train" if not given. For a folder that holds class folders directly: whatever is in it.
    coarse : bool
        CIFAR-100: the 20 superclasses instead of the 100 classes.

    Returns
    -------
    ImageSet

    Raises
    ------
    FileNotFoundError, ValueError
        Something is missing, truncated or damaged; the message names the file. Pickled files are not run: what is in
        them beside arrays, numbers, text, lists and dictionaries is refused.
    """
    if split is not None:
        choice("load_images", "split", split, ("train", "test"))
    images, labels, classes = image_files.read(Path(path), split, coarse)
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images)
    return ImageSet(images, torch.from_numpy(labels), classes)


def channel_statistics(images: Any, limit: int = 10_000) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the pixels, per channel, in units of the full range: what `Normalize` takes.

    Parameters
    ----------
    images : ImageSet, uint8 tensor (n, channels, height, width), or ImageFiles
    limit : int
        Image files: read so many at most, evenly spaced.

    Returns
    -------
    mean, std : lists of float
        Exact up to the last rounding: the pixels are counted by value.

    Examples
    --------
    >>> channel_statistics(torch.tensor([0, 255, 255, 0], dtype=torch.uint8).reshape(1, 1, 2, 2))
    ([0.5], [0.5])
    """
    images = getattr(images, "images", images)
    if isinstance(images, Tensor):
        parts: Any = (images[k : k + 1000] for k in range(0, len(images), 1000))
    else:
        places = np.unique(np.linspace(0, len(images) - 1, min(limit, len(images))).astype(np.int64))
        parts = (image[None] for k in places for image in images.read([k]))
    counts: Any = 0
    for part in parts:
        if part.dtype != torch.uint8 or part.ndim != 4:
            raise TypeError(
                f"channel_statistics: images of shape {tuple(part.shape)} and type {part.dtype}; "
                "expected uint8 (n, channels, height, width)"
            )
        channels = part.transpose(0, 1).flatten(1)
        counts = counts + np.stack([torch.bincount(channel, minlength=256).numpy() for channel in channels])
    total = counts.sum(1)
    values = np.arange(256)
    sums, squares = (counts * values).sum(1), (counts * values**2).sum(1)  # integers: exact
    mean = [int(s) / int(n) / 255 for s, n in zip(sums, total, strict=True)]
    variance = [int(n) * int(q) - int(s) ** 2 for n, q, s in zip(total, squares, sums, strict=True)]
    return mean, [v**0.5 / int(n) / 255 for v, n in zip(variance, total, strict=True)]
