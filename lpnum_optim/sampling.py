"""Which samples the steps of an epoch visit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLINGS = ("replacement", "shuffle", "importance")

# Importance sampling mixes in this much of the uniform distribution: no sample is visited less often than half of the
# time, and no weight exceeds 2.
UNIFORM = 0.5


def probabilities(lipschitz: NDArray[np.float64]) -> NDArray[np.float64]:
    """p_i proportional to a mix of 1 and L_i.

    >>> probabilities(np.array([0.0, 1.0, 3.0])).round(3).tolist()
    [0.167, 0.292, 0.542]
    """
    n, total = len(lipschitz), float(lipschitz.sum())
    if not total > 0:
        return np.full(n, 1.0 / n)
    mixed: NDArray[np.float64] = UNIFORM / n + (1.0 - UNIFORM) * lipschitz / total
    return mixed


def draw(
    rng: np.random.Generator, n: int, count: int, sampling: str, cumulative: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """`count` sample numbers.

    "replacement": independent and uniform. "shuffle": one permutation of all samples after the other. "importance":
    independent with the probabilities whose cumulative sums are given.

    >>> draw(np.random.default_rng(0), 3, 6, "shuffle").tolist()
    [2, 0, 1, 2, 1, 0]
    """
    if sampling == "shuffle":
        rounds = [rng.permutation(n) for _ in range(-(-count // n))]
        return np.concatenate(rounds)[:count].astype(np.int64, copy=False)
    if cumulative is not None:
        found = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
        return np.minimum(found, n - 1).astype(np.int64, copy=False)
    return rng.integers(0, n, count)
