"""`bits_needed`: how many bits an iterate needs on a problem, by the theory's bound and by trial."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ._checks import real
from .minimize import minimize
from .problem import FiniteSum

WIDTHS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
TRIAL_EPOCHS = 7
# A width serves if it needs at most this many times the epochs of full precision, where that is slower than asked for.
EPOCHS_FACTOR = 1.25
# Up to this many features the smallest eigenvalue of the Hessian of a squared loss is computed; beyond, mu is l2.
EXACT_FEATURES = 200


@dataclass(frozen=True)
class BitsNeeded:
    """What `bits_needed` found.

    Attributes
    ----------
    bound : int or None
        Bits that suffice by theory; None if no strong convexity is known, without which there is no bound.
    measured : int or None
        Smallest width that served in the trial; None if none did.
    rate : float
        The contraction per epoch asked for.
    kappa : float
        Condition number L / mu of the bound.
    n_features : int
        d of the bound: number of coordinates that are rounded.
    full_precision_rate : float
        Contraction of the gradient norm per epoch of SVRG in float64.
    trials : dict
        Width: contraction of the gradient norm per epoch of HALP.
    """

    bound: int | None
    measured: int | None
    rate: float
    kappa: float
    n_features: int
    full_precision_rate: float
    trials: dict[int, float]

    def __repr__(self) -> str:
        bound = "none (mu = 0)" if self.bound is None else f"{self.bound} bits"
        trials = ", ".join(f"{bits}: {rate:.2f}" for bits, rate in self.trials.items())
        measured = "none of them" if self.measured is None else f"{self.measured} bits"
        return (
            f"BitsNeeded(rate={self.rate:g})\n"
            f"  bound (derived): {bound}, for d = {self.n_features}, kappa = {self.kappa:.3g}\n"
            f"  measured: {measured}; contraction per epoch {trials}; float64 {self.full_precision_rate:.2f}"
        )


def bits_needed(problem: FiniteSum, rate: float = 0.5) -> BitsNeeded:
    r"""How many bits HALP needs on a problem.

    The bound (derived from the analysis of SVRG by Johnson and Zhang, with the variance of stochastic rounding added;
    for the paper's rule of the scale, objective values, steps of gamma / (4 L (1 + gamma)) and epochs of at least
    16 kappa (1 + gamma) / gamma^2 steps):

    .. math:: b \ge 1 + \log_2\left(1 + \sqrt{4 d \kappa^2 (1 + \gamma) / \gamma^2}\right)

    with gamma the contraction per epoch (`rate`), d the number of coordinates, :math:`\kappa = L / \mu`, L the largest
    Lipschitz constant of a component's gradient (``problem.lipschitz``) and mu the strong convexity: l2, for a squared
    loss of at most 200 features the smallest eigenvalue of the Hessian. It is a sufficient number and a pessimistic
    one: it grows as log2(kappa sqrt(d)), while the automatic scale makes do with 6 to 8 bits on most problems.

    Therefore a trial: 7 epochs from zero at growing widths, with the default step, scale and seed, until a width
    contracts the gradient norm per epoch by `rate`, or, where full precision is slower than that, needs at most 1.25
    times its epochs. The cost is that of at most 77 epochs and 200 full gradients; the same problem always gets the
    same answer.

    Parameters
    ----------
    problem : FiniteSum
    rate : float in (0, 1)
        Contraction per epoch wanted.

    Returns
    -------
    BitsNeeded

    Raises
    ------
    TypeError, ValueError
        No `FiniteSum`, or a rate out of range.

    Examples
    --------
    >>> import lpnum
    >>> from lpnum_optim import FiniteSum, bits_needed
    >>> rng = np.random.default_rng(0)
    >>> X = lpnum.array(rng.standard_normal((1000, 20)), dtype=lpnum.fixed8)
    >>> needed = bits_needed(FiniteSum(X, rng.standard_normal(1000)))
    >>> needed.bound, needed.measured <= 8
    (12, True)
    """
    if not isinstance(problem, FiniteSum):
        raise TypeError(f"bits_needed: problem is a {type(problem).__name__}; pass a FiniteSum")
    rate = real("bits_needed", "rate", rate)
    if not rate < 1:
        raise ValueError(f"bits_needed: rate = {rate:g}; allowed: 0 < rate < 1, the contraction per epoch")
    d = int(np.prod(problem.coef_shape))
    mu = strong_convexity(problem)
    kappa = problem.lipschitz / mu if mu else math.inf
    full = contraction(problem, "svrg", 16)
    enough = max(rate, full ** (1 / EPOCHS_FACTOR))
    trials: dict[int, float] = {}
    for bits in WIDTHS:
        trials[bits] = contraction(problem, "halp", bits)
        if trials[bits] <= enough:
            break
    measured = bits if trials[bits] <= enough else None
    return BitsNeeded(theoretical_bound(d, kappa, rate), measured, rate, kappa, d, full, trials)


def theoretical_bound(d: int, kappa: float, rate: float) -> int | None:
    """The formula of `bits_needed`, rounded up; None for kappa = inf.

    >>> theoretical_bound(100, 307.0, 0.5)
    15
    """
    if not math.isfinite(kappa):
        return None
    return math.ceil(1 + math.log2(1 + math.sqrt(4 * d * kappa**2 * (1 + rate) / rate**2)))


def strong_convexity(problem: FiniteSum) -> float:
    """A lower bound mu of the curvature of f, in units of the columns; 0 if none is known.

    l2 times the smallest squared unit of a column, and for the squared loss of few features the smallest eigenvalue.
    """
    penalty = problem.l2 * float(np.min(np.square(problem.columns)))
    d = problem.n_features
    if problem.loss.name != "squared" or problem.has_intercept or d > EXACT_FEATURES:
        return penalty
    hessian = np.empty((d, d))
    at_zero = problem.gradient(np.zeros(problem.shape))
    for j, unit in enumerate(np.eye(d)):
        hessian[j] = problem.gradient(unit) - at_zero
    hessian *= np.multiply.outer(columns := np.broadcast_to(problem.columns, (d,)), columns)
    eigenvalues = np.linalg.eigvalsh(0.5 * (hessian + hessian.T))
    noise = 1e-13 * d * float(eigenvalues[-1])
    return max(penalty, float(eigenvalues[0]) if eigenvalues[0] > noise else 0.0)


def contraction(problem: FiniteSum, method: str, bits: int) -> float:
    """Geometric mean of the contraction of the gradient norm per epoch, without the first, which learns the scale."""
    run = minimize(problem, method, bits=bits, epochs=TRIAL_EPOCHS)
    norms = np.minimum.accumulate(run.history["grad_norm"])
    falling = norms > 1e-12 * norms[0]  # below, the floor of float64
    last = max(int(np.count_nonzero(falling)) - 1, 1)
    first = min(1, last - 1)
    return min(1.0, float((norms[last] / norms[first]) ** (1 / (last - first)))) if norms[first] else 0.0
