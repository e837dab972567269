"""The counter-based generator behind stochastic rounding: bits = f(seed, stream, element index).

Every operation that rounds stochastically uses one *stream* of the generator; element ``i`` of its result (in C order)
uses word ``i`` of that stream. The same seed therefore gives the same codes on every machine, SIMD level and memory
layout. The function is ARS-7 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11).
"""

from __future__ import annotations

import os

import numpy as np

from lpnum._core import kernels

__all__ = ["CounterRNG", "as_rng"]

_LIMIT = 1 << 64


class CounterRNG:
    """Counter-based random bits with a seed and a running stream number.

    Parameters
    ----------
    seed : int, optional
        0 to 2**64 - 1; fresh entropy from the operating system if not given.
    stream : int
        The stream that the next operation will use.

    Examples
    --------
    >>> rng = lpnum.random.CounterRNG(seed=1)
    >>> rng.words(3)
    array([25417, 51699, 34515], dtype=uint16)
    >>> x = np.full(8, 0.3)
    >>> lpnum.encode(x, lpnum.fixed8, rounding="stochastic", rng=rng)
    array([0, 1, 0, 1, 0, 0, 1, 0], dtype=int8)
    >>> rng.stream                                    # each operation takes the next stream
    1
    """

    __slots__ = ("seed", "stream")

    def __init__(self, seed: int | None = None, stream: int = 0) -> None:
        if seed is None:
            seed = int.from_bytes(os.urandom(8), "little")
        for name, value in (("seed", seed), ("stream", stream)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < _LIMIT:
                raise ValueError(f"CounterRNG: {name} must be an integer from 0 to 2**64 - 1, not {value!r}")
        self.seed = int(seed)
        self.stream = int(stream)

    def __repr__(self) -> str:
        return f"CounterRNG(seed={self.seed}, stream={self.stream})"

    def next_stream(self) -> int:
        """Number of the stream for one operation; the next call gives the following one."""
        stream = self.stream
        self.stream = (stream + 1) % _LIMIT
        return stream

    def words(self, n: int, bits: int = 16, start: int = 0) -> np.ndarray:
        """Words ``start`` to ``start + n - 1`` of the current stream, without advancing it.

        Parameters
        ----------
        n : int
            How many.
        bits : {16, 32}
            Width of a word.
        start : int
            Index of the first.

        Returns
        -------
        ndarray of shape (n,), uint16 or uint32
        """
        if bits not in (16, 32):
            raise ValueError(f"CounterRNG.words: bits must be 16 or 32, not {bits!r}")
        out = np.empty(n, dtype=np.uint16 if bits == 16 else np.uint32)
        if n:
            kernels.random_words(self.seed, self.stream, start, out if bits == 16 else out.view(np.uint8))
        return out


def as_rng(rng: object) -> CounterRNG:
    """A generator from what users pass as ``rng=``: None (fresh entropy), a seed, NumPy's Generator, or itself."""
    if isinstance(rng, CounterRNG):
        return rng
    if rng is None:
        return CounterRNG()
    if isinstance(rng, np.random.Generator):
        return CounterRNG(int(rng.integers(2**63)))
    if isinstance(rng, int | np.integer) and not isinstance(rng, bool):
        return CounterRNG(int(rng))
    raise TypeError(
        f"rng: expected None, a seed, lpnum.random.CounterRNG or numpy.random.Generator, not {type(rng).__name__}"
    )
