"""Random numbers as a function of (seed, epoch, index of the image): the same in any batch, order or thread.

SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): the word of an index is
that element of the generator's sequence, and a chain of its mixing function over seed, epoch and place makes the start.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draws", "permutation"]

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64, on arrays, whose products wrap around."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _start(key: int, part: int) -> int:
    """The start of another sequence."""
    return int(_mix(np.array([(key + GAMMA * (part % (1 << 64) + 1)) & MASK], np.uint64))[0])


class Draws:
    """The random numbers of some images in an epoch.

    Parameters
    ----------
    seed, epoch : int
    indices : sequence of n int
        Which images: places in the data set, not in the batch.

    Examples
    --------
    >>> Draws(0, 3, [5, 6, 7]).integers(0, 10)
    array([8, 3, 5])
    >>> Draws(0, 3, [7]).integers(0, 10)            # the same image, the same number
    array([5])
    """

    __slots__ = ("_key", "indices")

    def __init__(self, seed: int, epoch: int, indices: object) -> None:
        self.indices = np.asarray(indices, np.int64).ravel()
        self._key = _start(_start(0, seed), epoch)

    def at(self, place: int) -> Draws:
        """Other numbers for the same images: what each of several transforms takes."""
        return self._like(self.indices, _start(self._key, place))

    def __getitem__(self, k: int) -> Draws:
        """Those of the k-th of the images."""
        return self._like(self.indices[k : k + 1], self._key)

    @staticmethod
    def _like(indices: NDArray[np.int64], key: int) -> Draws:
        other = Draws.__new__(Draws)
        other.indices, other._key = indices, key
        return other

    def words(self, number: int) -> NDArray[np.uint64]:
        """64 random bits per image; `number` tells the draws of one transform apart."""
        start = np.uint64(_start(self._key, number))
        return _mix((self.indices.astype(np.uint64) + np.uint64(1)) * np.uint64(GAMMA) + start)

    def uniform(self, number: int, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """A float64 in [low, high) per image."""
        return low + (high - low) * ((self.words(number) >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def integers(self, number: int, count: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """An integer in 0..count-1 per image (count at most 2**31); probabilities are equal to 2**-32."""
        high = self.words(number) >> np.uint64(32)
        return ((high * np.asarray(count, np.uint64)) >> np.uint64(32)).astype(np.int64)


def permutation(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """0..n-1 in random order, the same on every machine and with every version of NumPy and torch.

    >>> permutation(0, 0, 6), permutation(0, 1, 6)
    (array([3, 4, 2, 5, 1, 0]), array([2, 4, 0, 1, 5, 3]))
    """
    return np.argsort(Draws(seed, epoch, np.arange(n)).at(n).words(0), kind="stable").astype(np.int64)
