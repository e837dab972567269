"""Losses of linear models: one row of a table each.

A loss is a function l(m, y) of the margin m = x.w and the target y. A new loss is its formula, its derivative, a bound
on its second derivative, the number of its compiled form and a check of its targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._checks import choice

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """l(m, y), elementwise on arrays of shape (n_samples,).

    Attributes
    ----------
    name : str
    kernel_id : int
        Number of the compiled form in ``lpnum_optim._core.epochs``.
    curvature : float
        Upper bound of the second derivative with respect to m.
    value, derivative : callable(margins, targets) -> array of shape (n_samples,)
    targets : callable(y) -> array of shape (n_samples,)
        Checks the targets and returns them as the kernels want them.
    """

    name: str
    kernel_id: int
    curvature: float
    value: Callable[[Vector, Vector], Vector]
    derivative: Callable[[Vector, Vector], Vector]
    targets: Callable[[Vector], Vector]


def squared(margins: Vector, targets: Vector) -> Vector:
    """Return (m - y)^2 / 2."""
    residual = margins - targets
    return 0.5 * residual * residual


def squared_derivative(margins: Vector, targets: Vector) -> Vector:
    """Return m - y."""
    return margins - targets


def logistic(margins: Vector, targets: Vector) -> Vector:
    """Return log(1 + exp(-y m)), y in {-1, +1}."""
    return np.logaddexp(0.0, -targets * margins)


def logistic_derivative(margins: Vector, targets: Vector) -> Vector:
    """Return -y / (1 + exp(y m)).

    Written with exp(-|y m|), so it neither overflows nor loses relative accuracy in the tails: differences of two of
    these values drive a bit-centered step, and their error would be its floor.
    """
    agreement = targets * margins
    small = np.exp(-np.abs(agreement))
    return -targets * np.where(agreement >= 0, small, 1.0) / (1.0 + small)


def any_targets(y: Vector) -> Vector:
    """Regression takes every finite target."""
    return y


def two_classes(y: Vector) -> Vector:
    """{-1, +1} as they are, {0, 1} as {-1, +1}; anything else, or only one class, is refused."""
    classes = np.unique(y)
    if len(classes) == 1:
        raise ValueError(
            f"FiniteSum: all {len(y)} labels are {classes[0]:g}; the logistic loss needs samples of both classes "
            "(-1 and +1, or 0 and 1)"
        )
    if len(classes) == 2 and classes[1] == 1 and classes[0] in (-1, 0):
        return np.where(y == 1, 1.0, -1.0)
    shown = ", ".join(f"{c:g}" for c in classes[:6]) + (", ..." if len(classes) > 6 else "")
    raise ValueError(
        f"FiniteSum: labels {{{shown}}}; the logistic loss takes -1 and +1, or 0 and 1. "
        "For one class against the rest pass y == that_class"
    )


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("squared", 0, 1.0, squared, squared_derivative, any_targets),
        Loss("logistic", 1, 0.25, logistic, logistic_derivative, two_classes),
    )
}


def get_loss(name: str) -> Loss:
    """The row of `LOSSES` called `name`.

    >>> get_loss("logistic").curvature
    0.25
    """
    return LOSSES[choice("FiniteSum", "loss", name, LOSSES)]
