"""Which samples the steps of an epoch visit."""

from __future__ import annotations

from typing import NamedTuple

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


class Importance(NamedTuple):
    """Drawing by importance.

    factors : 1 / (n p_i), of the gradients of the samples, so that their mean is unbiased; None for uniform p_i
    cumulative : cumulative sums of the p_i
    lipschitz : the largest of factor_i L_i
    """

    factors: NDArray[np.float64] | None = None
    cumulative: NDArray[np.float64] | None = None
    lipschitz: float = float("nan")


def by_importance(lipschitz: NDArray[np.float64]) -> Importance:
    """With the `probabilities` of these L_i.

    >>> round(by_importance(np.array([1.0, 1.0, 4.0])).lipschitz, 3)  # in place of 4
    2.667
    """
    p = probabilities(lipschitz)
    factors = 1.0 / (len(lipschitz) * p)
    return Importance(factors, np.cumsum(p), float((factors * lipschitz).max()))


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
