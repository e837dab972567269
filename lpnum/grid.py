"""The metadata of an array: scale and offset as values that follow shape, views and indices of the codes.

Each is a float64 ndarray, either 0-d (one number for the array) or *compact*: as many dimensions as the array, each of
length 1 or full. A compact array broadcast to the array's shape has stride 0 where it repeats, so that every index,
transpose or concatenation of the codes can be applied to it as it stands.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def as_metadata(value: Any, shape: tuple[int, ...], name: str, *, positive: bool = False) -> np.ndarray:
    """A user's scale or offset, checked, copied, and in the compact form for `shape`."""
    if isinstance(value, float) and math.isfinite(value) and (value > 0 or (value < 0 and not positive)):
        return np.array(value)  # the common case, without the checks of arrays
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected a real number or array of them, not {array.dtype}")
    array = np.array(array, dtype=np.float64)
    if array.ndim:
        if array.ndim > len(shape) or np.broadcast_shapes(array.shape, shape) != shape:
            raise ValueError(f"{name}: shape {array.shape} does not broadcast to the array's shape {shape}")
        array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: must be finite, got {_first(array, ~np.isfinite(array))}")
    if positive and not (array > 0).all():
        raise ValueError(f"{name}: must be greater than 0, got {_first(array, array <= 0)}")
    if name == "scale" and (array == 0).any():
        raise ValueError("scale: must not be 0")
    return array


def _first(array: np.ndarray, where: np.ndarray) -> str:
    return f"{array[where].flat[0]:g}"


def full(meta: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The metadata of every element: a read-only view of the array's shape."""
    return np.broadcast_to(meta, shape)


def compact(meta: np.ndarray) -> np.ndarray:
    """Drop repetition: axes of stride 0 get length 1; what repeats everywhere becomes 0-d."""
    if meta.ndim == 0 or meta.size == 0:
        return meta
    repeats = [stride == 0 or n == 1 for stride, n in zip(meta.strides, meta.shape, strict=True)]
    if all(repeats):
        return meta[(0,) * meta.ndim + (...,)]
    return meta[tuple(slice(0, 1) if repeat else slice(None) for repeat in repeats)]


def take(meta: np.ndarray, shape: tuple[int, ...], index: Any) -> np.ndarray:
    """Metadata of ``codes[index]``."""
    if meta.ndim == 0:
        return meta
    return moved(meta, full(meta, shape)[index])


def smallest(meta: np.ndarray) -> np.ndarray:
    """Compact form of metadata that was moved element by element: axes of equal values get length 1.

    Repetition shows as a stride of 0 in views only; copies have to be compared.
    """
    if meta.ndim == 0 or meta.size == 0:
        return meta
    repeats = [True] * meta.ndim
    for axis, n in enumerate(meta.shape):
        head = meta[(slice(None),) * axis + (slice(0, 1),)]
        repeats[axis] = n == 1 or bool((meta == head).all())
        if repeats[axis]:
            meta = head
    return np.array(meta[(0,) * meta.ndim] if all(repeats) else meta)


def moved(meta: np.ndarray, result: Any) -> np.ndarray:
    """Metadata after a function that moves elements: `result` is what it made of the full `meta`."""
    array = np.asarray(result)
    return compact(array) if np.may_share_memory(array, meta) else smallest(array)


def varies(meta: np.ndarray, axis: int) -> bool:
    """Whether elements along an axis have metadata of their own."""
    return meta.ndim > 0 and meta.shape[axis] > 1


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two metadata are equal as they stand (equal values in another layout count as different)."""
    return a is b or (a.shape == b.shape and bool(np.array_equal(a, b)))


def plain(meta: np.ndarray) -> Any:
    """As users see it: a float, or an array."""
    return float(meta) if meta.ndim == 0 else meta
