"""Fitting a linear model in the units of its data: scaled features, a start and an end that suit them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._features import prepare
from ._stopping import HeldOut, SmallGradient
from .callbacks import Callback
from .checkpoint import Checkpoint
from .losses import get_loss
from .minimize import minimize
from .problem import FiniteSum
from .result import CONVERGED, MinimizeResult

Vector = NDArray[np.float64]

# Steps of an epoch at least: of few samples more than two rounds are taken, for the full gradient then costs less.
FEWEST_STEPS = 10_000

# Importance sampling has to lengthen the steps by this factor.
IMPORTANCE_GAIN = 1.25


class LinearFit(NamedTuple):
    """A fitted linear model: margins are ``x @ coef.T + intercept``.

    coef, intercept : (d,) and () for one margin, (C, d) and (C,) for C classes
    result : of `minimize`, with `x` as it stands for the scaled features
    relative : norms of the gradient after every epoch, relative to the model without features
    """

    coef: Vector
    intercept: Vector
    result: MinimizeResult
    relative: Vector


def fit_linear(
    X: Any,
    y: Vector,
    loss: str,
    *,
    l2: float = 0.0,
    l1: float = 0.0,
    intercept: bool = True,
    weights: Vector | None = None,
    huber_delta: float = 1.35,
    data_format: Any = None,
    method: str = "halp",
    bits: int | str = "auto",
    epochs: int = 1000,
    tol: float = 1e-7,
    seed: int = 0,
    start: tuple[Vector, Vector] | None = None,
    held_out: HeldOut | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    resume: str | os.PathLike[str] | bool | None = None,
) -> LinearFit:
    """Minimize `FiniteSum(X, y, loss, ...)`, features scaled.

    Parameters
    ----------
    X : ndarray, LPArray or CSR matrix
    y : (n,) array
        Numbers; -1 and +1 for the logistic loss; 0 .. C-1 for softmax.
    data_format : fixed-point format or None
        See `_features.prepare`.
    tol : float
        See `_stopping.SmallGradient`.
    start : (coef, intercept), optional
        Default: zero, and the best intercept for that.
    held_out : HeldOut, optional
        Decides when to stop, and which epoch's model is the result.
    checkpoint, resume
        As for `minimize`.
    """
    row = get_loss(loss, huber_delta)
    prepared = prepare(X, data_format, center=intercept, weights=weights, ridge=l2 / row.curvature)
    problem = FiniteSum(
        prepared.data, y, loss, l2, l1=l1, intercept=intercept, sample_weight=weights, huber_delta=huber_delta
    )
    constant = null_intercept(loss, y, weights)
    null = prepared.pack(np.zeros(problem.coef_shape), constant if intercept else None)
    small = SmallGradient(problem, tol, null, _typical_slope(row.per_class or loss == "logistic", y))
    every: list[Callback] = [small, *callbacks]
    if held_out is not None:
        held_out.model, held_out.shape = lambda x: prepared.unpack(x, intercept), problem.shape
        every.append(held_out)
    result = minimize(
        problem, method, bits=bits, epochs=epochs, seed=seed, progress=progress, callback=every,
        checkpoint=checkpoint, resume=resume,
        inner_steps=max(FEWEST_STEPS, 2 * problem.n_samples), sampling=_sampling(problem),
        x0=null if start is None else prepared.pack(start[0], start[1] if intercept else None),
    )  # fmt: skip
    if small.reached:
        reason = f"the gradient norm is {small.relative[-1]:.2g} of that without features; tol = {tol:g}"
        _, *more = result.message.split("; ")  # more bits, epochs undone, a checkpoint that was not written
        result.update(status=CONVERGED, converged=True, success=True, message="; ".join([reason, *more]))
    result["x"] = small.best_x if held_out is None else held_out.best_x
    return LinearFit(*prepared.unpack(result.x, intercept), result, small.relative)


def _sampling(problem: FiniteSum) -> str:
    """By importance where rows differ so much in length that it allows longer steps; drawing takes time, too."""
    penalty = problem.penalty_lipschitz
    uniform, weighted = problem.lipschitz - penalty, problem.importance().lipschitz - penalty
    return "importance" if uniform > IMPORTANCE_GAIN * weighted else "replacement"


def null_intercept(loss: str, y: Vector, weights: Vector | None) -> Vector:
    """The best intercept without features: log odds, centered log shares of the classes, the mean or the median."""
    if loss == "logistic":
        positive = np.average(y > 0, weights=weights)
        return np.asarray(np.log(positive) - np.log1p(-positive))
    if loss == "softmax":
        shares = np.log(np.bincount(y.astype(np.intp), weights))
        return shares - shares.mean()
    if loss == "huber":
        return np.asarray(np.median(y))
    return np.asarray(np.average(y, weights=weights))


def _typical_slope(classes: bool, y: Vector) -> float:
    return 1.0 if classes else float(np.sqrt(np.mean(np.square(y))))
