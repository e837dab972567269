"""Transforms of whole batches of images: size, crop, flip, normalization.

Images are a tensor (n, channels, height, width), uint8 until `Normalize`, or, as long as their sizes differ, a list of
tensors (channels, height, width). Random transforms take their numbers from `Draws`, hence from (seed, epoch, index of
the image): neither the batch size nor the order changes what happens to an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lpnum_optim._checks import integer, real

from .draws import Draws

__all__ = ["CenterCrop", "Compose", "Crop", "Draws", "Flip", "Normalize", "RandomResizedCrop", "Resize", "Transform"]

Images: TypeAlias = Any  # Tensor or list of Tensor; torch's types are not read


def _size(where: str, size: Any) -> tuple[int, int]:
    """(height, width) of an int or a pair."""
    pair = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(pair) != 2:
        raise ValueError(f"{where}: size = {size!r}; expected an integer or (height, width)")
    return integer(where, "height", pair[0], 1), integer(where, "width", pair[1], 1)


def _each(images: Images) -> list[Tensor]:
    return list(images.unbind()) if isinstance(images, Tensor) else images


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with antialiasing, as Pillow does it; of one image or of a batch."""
    if tuple(image.shape[-2:]) == size:
        return image
    batch = image if image.ndim == 4 else image[None]
    result = functional.interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)
    return result if image.ndim == 4 else result[0]


def stacked(where: str, images: Images) -> Tensor:
    """One tensor of images of one size."""
    if isinstance(images, Tensor):
        return images
    for k, image in enumerate(images):
        if image.shape != images[0].shape:
            raise ValueError(
                f"{where}: images of different shapes {tuple(images[0].shape)} and {tuple(image.shape)} (number {k} of "
                "the batch); put CenterCrop, RandomResizedCrop or Resize((height, width)) before"
            )
    return torch.stack(images)


class Transform(ABC):
    """A step between the stored images and the network.

    One of your own overrides `apply`; a random one sets `random` and takes its numbers from `draws` alone.

    Examples
    --------
    >>> class Brightness(Transform):
    ...     random = True
    ...     def apply(self, images, draws):
    ...         return images * torch.from_numpy(draws.uniform(0, 0.5, 1.5)).float()[:, None, None, None]
    >>> Brightness()(torch.ones(2, 1, 1, 1), Draws(0, 0, [7, 8])).flatten()
    tensor([1.0241, 0.7688])
    """

    random = False

    def __call__(self, images: Images, draws: Draws | None = None) -> Images:
        """The images, changed; `images` themselves stay as they are."""
        where = type(self).__name__
        if isinstance(images, Tensor) and images.ndim != 4:
            raise ValueError(
                f"{where}: images of shape {tuple(images.shape)}; expected (n, channels, height, width): "
                "one image is images[None]"
            )
        if self.random and draws is None:
            raise TypeError(f"{where}: random, so it needs draws=Draws(seed, epoch, indices); Batches gives them")
        if self.random and draws is not None and len(draws.indices) != len(images):
            raise ValueError(f"{where}: draws for {len(draws.indices)} images, but {len(images)} images")
        return self.apply(images, draws)

    @abstractmethod
    def apply(self, images: Images, draws: Any) -> Images:
        """The images, changed; `draws` is a `Draws` of these images if the transform is random."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"


class Compose(Transform):
    """One transform after the other.

    Parameters
    ----------
    *transforms : Transform or function of the images
        The place of a random transform among them is part of what determines its numbers.
    """

    def __init__(self, *transforms: Any) -> None:
        if len(transforms) == 1 and isinstance(transforms[0], Sequence):
            transforms = tuple(transforms[0])
        for transform in transforms:
            if not callable(transform):
                raise TypeError(f"Compose: {transform!r} is neither a transform nor a function")
        self.transforms = transforms
        self.random = any(getattr(transform, "random", False) for transform in transforms)

    def apply(self, images: Images, draws: Any) -> Images:
        """One transform after the other."""
        for place, transform in enumerate(self.transforms):
            if isinstance(transform, Transform):
                images = transform(images, draws.at(place) if draws is not None else None)
            else:
                images = transform(images)
        return images

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


class Crop(Transform):
    """A window at a random place of the image, which is padded with zeros before.

    Parameters
    ----------
    padding : int
        Pixels on every side.
    size : int or (height, width), optional
        Of the window; that of the image if not given. The usual augmentation for 32 x 32 images is ``Crop(4)``.

    Examples
    --------
    >>> images = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3)
    >>> Crop(1)(images, Draws(0, 0, [0]))
    tensor([[[[0, 0, 0],
              [1, 2, 3],
              [4, 5, 6]]]], dtype=torch.uint8)
    """

    random = True

    def __init__(self, padding: int = 0, size: int | tuple[int, int] | None = None) -> None:
        self.padding = integer("Crop", "padding", padding, 0)
        self.size = None if size is None else _size("Crop", size)

    def apply(self, images: Images, draws: Any) -> Images:
        """Cut the windows out."""
        if isinstance(images, list):  # each as a batch of its own
            return stacked("Crop", [self.apply(x[None], draws[k])[0] for k, x in enumerate(images)])
        n, channels, rows, columns = images.shape
        height, width = self.size or (rows, columns)
        p = self.padding
        if height > rows + 2 * p or width > columns + 2 * p:
            raise ValueError(
                f"Crop: size {height} x {width} is larger than the image of {rows} x {columns} with padding {p}; "
                "put Resize before or use a larger padding"
            )
        padded = images
        if p:
            padded = images.new_zeros(n, channels, rows + 2 * p, columns + 2 * p)
            padded[:, :, p : p + rows, p : p + columns] = images
        top = draws.integers(0, rows + 2 * p - height + 1)
        left = draws.integers(1, columns + 2 * p - width + 1)
        # NumPy copies a window row by row: four times as fast as torch's indexing, which goes by elements.
        windows = np.lib.stride_tricks.sliding_window_view(padded.numpy(), (height, width), (2, 3))
        return torch.from_numpy(windows[np.arange(n), :, top, left])


class Flip(Transform):
    """Exchange left and right with a probability.

    Parameters
    ----------
    probability : float

    Examples
    --------
    >>> images = torch.arange(4, dtype=torch.uint8).reshape(2, 1, 1, 2)
    >>> Flip()(images, Draws(0, 0, [0, 1])).flatten()
    tensor([1, 0, 3, 2], dtype=torch.uint8)
    """

    random = True

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = real("Flip", "probability", probability, zero=True)
        if self.probability > 1:
            raise ValueError(f"Flip: probability = {probability!r}; expected 0 to 1")

    def apply(self, images: Images, draws: Any) -> Images:
        """Turn the chosen ones."""
        chosen = draws.uniform(0) < self.probability
        if isinstance(images, list):
            return [x.flip(2) if turn else x for x, turn in zip(images, chosen, strict=True)]
        which = torch.from_numpy(np.flatnonzero(chosen))
        result = images.clone()
        result[which] = images[which].flip(3)
        return result


class Resize(Transform):
    """Bilinear interpolation, with antialiasing where the image becomes smaller.

    Parameters
    ----------
    size : int or (height, width)
        An integer is the length of the shorter side; the ratio of the sides stays.

    Examples
    --------
    >>> Resize(2)(torch.zeros(1, 3, 8, 12, dtype=torch.uint8)).shape
    torch.Size([1, 3, 2, 3])
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = _size("Resize", size) if isinstance(size, Sequence) else integer("Resize", "size", size, 1)

    def _target(self, rows: int, columns: int) -> tuple[int, int]:
        if isinstance(self.size, tuple):
            return self.size
        if rows <= columns:
            return self.size, max(1, int(self.size * columns / rows))
        return max(1, int(self.size * rows / columns)), self.size

    def apply(self, images: Images, draws: Any) -> Images:
        """Interpolate."""
        if isinstance(images, Tensor):
            return _resized(images, self._target(*images.shape[2:]))
        return [_resized(image, self._target(*image.shape[1:])) for image in images]


class CenterCrop(Transform):
    """The window in the middle.

    Parameters
    ----------
    size : int or (height, width)
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = _size("CenterCrop", size)

    def _one(self, image: Tensor) -> Tensor:
        (rows, columns), (height, width) = image.shape[-2:], self.size
        if height > rows or width > columns:
            raise ValueError(
                f"CenterCrop: size {height} x {width} is larger than an image of {rows} x {columns}; put Resize before"
            )
        top, left = round((rows - height) / 2), round((columns - width) / 2)
        return image[..., top : top + height, left : left + width]

    def apply(self, images: Images, draws: Any) -> Images:
        """Cut the windows out."""
        if isinstance(images, Tensor):
            return self._one(images)
        return stacked("CenterCrop", [self._one(image) for image in images])


class RandomResizedCrop(Transform):
    """A random part of the image, resized: the usual augmentation for ImageNet (Szegedy et al. 2015, section 6).

    Parameters
    ----------
    size : int or (height, width)
    scale : (low, high)
        Range of the part's share of the area, drawn uniformly.
    ratio : (low, high)
        Range of width / height, whose logarithm is drawn uniformly. Ten attempts; then the largest part in the middle
        whose ratio is in the range.
    """

    random = True
    ATTEMPTS = 10

    def __init__(
        self, size: int | tuple[int, int], scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:  # fmt: skip
        self.size = _size("RandomResizedCrop", size)
        for name, (low, high) in (("scale", scale), ("ratio", ratio)):
            if not 0 < low <= high < np.inf or (name == "scale" and high > 1):
                raise ValueError(f"RandomResizedCrop: {name} = {(low, high)!r}; expected 0 < low <= high")
        self.scale, self.ratio = tuple(scale), tuple(ratio)

    def _boxes(self, rows: Any, columns: Any, draws: Draws) -> Any:
        """Top, left, height, width of each image's part."""
        n = len(rows)
        low, high = self.ratio
        # In range for every image whose sides' ratio is; narrower or wider ones are cut to the nearest allowed ratio.
        width = np.minimum(columns, np.rint(rows * high)).astype(np.int64)
        height = np.minimum(rows, np.rint(columns / low)).astype(np.int64)
        top, left = (rows - height) // 2, (columns - width) // 2
        todo = np.ones(n, bool)
        for attempt in range(self.ATTEMPTS):
            area = rows * columns * draws.uniform(4 * attempt, *self.scale)
            ratio = np.exp(draws.uniform(4 * attempt + 1, np.log(low), np.log(high)))
            w, h = np.rint(np.sqrt(area * ratio)).astype(np.int64), np.rint(np.sqrt(area / ratio)).astype(np.int64)
            fits = todo & (w > 0) & (w <= columns) & (h > 0) & (h <= rows)
            y = draws.integers(4 * attempt + 2, np.maximum(rows - h + 1, 1))
            x = draws.integers(4 * attempt + 3, np.maximum(columns - w + 1, 1))
            for whole, part in ((top, y), (left, x), (height, h), (width, w)):
                whole[fits] = part[fits]
            todo &= ~fits
            if not todo.any():
                break
        return zip(top.tolist(), left.tolist(), height.tolist(), width.tolist(), strict=True)

    def apply(self, images: Images, draws: Any) -> Images:
        """Cut the parts out and resize them."""
        parts = _each(images)
        rows, columns = (np.array([x.shape[axis] for x in parts], np.int64) for axis in (1, 2))
        return stacked("RandomResizedCrop", [
            _resized(x[:, top : top + height, left : left + width], self.size)
            for x, (top, left, height, width) in zip(parts, self._boxes(rows, columns, draws), strict=True)
        ])  # fmt: skip


class Normalize(Transform):
    """(x / 255 - mean) / std per channel, as float32; images that are floats already are not divided by 255.

    Parameters
    ----------
    mean, std : float or sequence, one per channel
        In units of the full range: mean 0.5 is mid-gray. `channel_statistics` computes them.

    Examples
    --------
    >>> Normalize([0.5], [0.25])(torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2)).flatten()
    tensor([-2.,  2.])
    """

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = ([float(x) for x in np.atleast_1d(value)] for value in (mean, std))
        if len(self.mean) != len(self.std) or not np.isfinite(self.mean + self.std).all() or min(self.std) <= 0:
            raise ValueError(
                f"Normalize: mean = {mean!r}, std = {std!r}; expected as many finite numbers of both, std > 0"
            )

    def apply(self, images: Images, draws: Any) -> Images:
        """Subtract and divide."""
        images = stacked("Normalize", images)
        if len(self.mean) not in (1, images.shape[1]):
            raise ValueError(f"Normalize: {len(self.mean)} means, but images have {images.shape[1]} channels")
        mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (self.mean, self.std))
        if images.dtype == torch.uint8:
            return images.float().div_(255).sub_(mean).div_(std)
        return images.float().sub(mean).div_(std)
