"""Losses of linear models: one row of a table each.

A loss is a function l(m, y) of the margin m = x.w + b and the target y; the softmax loss has one margin per class. A
new loss is its formula with its derivative, a bound on its second derivative, the number of its compiled form and a
check of its targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._checks import choice, real

Vector = NDArray[np.float64]
Evaluated = tuple[Vector, Vector]  # values (n,) and slopes, of the shape of the margins


@dataclass(frozen=True)
class Loss:
    """l(m, y) on arrays of samples.

    Attributes
    ----------
    name : str
    kernel_id : int
        Number of the compiled form in ``lpnum_optim._core.epochs``.
    curvature : float
        Upper bound of the second derivative (softmax: of its largest eigenvalue) with respect to m.
    formula : callable(margins, targets, parameter) -> (values, slopes)
        Margins of shape (n,), or (n, n_classes) where `per_class`; values (n,), slopes of the shape of the margins.
    check : callable(y, loss) -> (targets, classes)
        Checks the targets and returns them as the kernels want them, with the labels they stand for (None: numbers).
    parameter : float
        Huber: where the parabola ends. Others: 0.
    per_class : bool
        Whether there is one margin per class.
    second : callable(slopes, parameter) -> array
        Second derivative, told from the slope; not for losses with one margin per class.
    """

    name: str
    kernel_id: int
    curvature: float
    formula: Callable[[Vector, Vector, float], Evaluated]
    check: Callable[[NDArray[Any], str], tuple[Vector, Vector | None]]
    parameter: float = 0.0
    per_class: bool = False
    second: Callable[[Vector, float], Vector] = lambda slopes, _: np.ones_like(slopes)

    def evaluate(self, margins: Vector, targets: Vector) -> Evaluated:
        """Values and slopes."""
        return self.formula(margins, targets, self.parameter)

    def value(self, margins: Vector, targets: Vector) -> Vector:
        """l(m, y), of shape (n,)."""
        return self.evaluate(margins, targets)[0]

    def derivative(self, margins: Vector, targets: Vector) -> Vector:
        """Derivative in the margins, of their shape."""
        return self.evaluate(margins, targets)[1]


def squared(margins: Vector, targets: Vector, _: float = 0.0) -> Evaluated:
    """Return (m - y)^2 / 2."""
    residual = margins - targets
    return 0.5 * residual * residual, residual


def huber(margins: Vector, targets: Vector, delta: float) -> Evaluated:
    """Return r^2 / 2 for abs(r) <= delta, else delta (abs(r) - delta / 2); r = m - y."""
    residual = margins - targets
    slope = np.clip(residual, -delta, delta)
    return slope * (residual - 0.5 * slope), slope


def logistic(margins: Vector, targets: Vector, _: float = 0.0) -> Evaluated:
    """Return log(1 + exp(-y m)), y in {-1, +1}, with slope -y / (1 + exp(y m)).

    Written with exp(-|y m|), so it neither overflows nor loses relative accuracy in the tails: differences of two of
    these slopes drive a bit-centered step, and their error would be its floor.
    """
    agreement = targets * margins
    small = np.exp(-np.abs(agreement))
    values = np.log1p(small) - np.minimum(agreement, 0.0)
    return values, -targets * np.where(agreement >= 0, small, 1.0) / (1.0 + small)


def softmax(margins: Vector, targets: Vector, _: float = 0.0) -> Evaluated:
    """Return log(sum_c exp(m_c)) - m_y, y a class number, with slopes p_c - [c = y].

    The slope of the own class is minus the sum of the other probabilities: 1 - p_y would lose the tail.
    """
    rows = np.arange(len(margins))
    own = targets.astype(np.intp)
    shifted = margins - margins.max(axis=1, keepdims=True)
    slopes = np.exp(shifted)
    total = slopes.sum(axis=1)
    values = np.log(total) - shifted[rows, own]
    slopes /= total[:, None]
    slopes[rows, own] = 0.0
    slopes[rows, own] = -slopes.sum(axis=1)
    return values, slopes


def numbers(y: NDArray[Any], loss: str) -> tuple[Vector, None]:
    """Regression takes every finite target."""
    return y, None


def two_classes(y: NDArray[Any], loss: str) -> tuple[Vector, Vector]:
    """{-1, +1} as they are, {0, 1} as {-1, +1}; anything else, or only one class, is refused."""
    classes = _at_least_two(y, loss, " (-1 and +1, or 0 and 1)")
    if len(classes) == 2 and classes[1] == 1 and classes[0] in (-1, 0):
        return np.where(y == 1, 1.0, -1.0), classes
    raise ValueError(
        f"FiniteSum: labels {_shown(classes)}; the logistic loss takes -1 and +1, or 0 and 1. "
        "For one class against the rest pass y == that_class; for all classes at once loss='softmax'"
    )


def many_classes(y: NDArray[Any], loss: str) -> tuple[Vector, Vector]:
    """Distinct numbers, in ascending order, become 0, 1, 2, ..."""
    classes = _at_least_two(y, loss, "")
    if len(classes) > 100 and len(classes) > len(y) // 2:
        raise ValueError(
            f"FiniteSum: {len(y)} samples have {len(classes)} different labels {_shown(classes)}; the softmax loss "
            "takes classes. For numbers to be predicted use loss='squared' or 'huber'"
        )
    return np.searchsorted(classes, y).astype(np.float64), classes


def _at_least_two(y: NDArray[Any], loss: str, allowed: str) -> Vector:
    classes = np.unique(y)
    if len(classes) == 1:
        raise ValueError(
            f"FiniteSum: all {len(y)} labels are {classes[0]:g}; the {loss} loss needs samples of "
            f"{'both' if loss == 'logistic' else 'at least two'} classes{allowed}"
        )
    return classes


def _shown(classes: Vector) -> str:
    return "{" + ", ".join(f"{c:g}" for c in classes[:6]) + (", ...}" if len(classes) > 6 else "}")


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("squared", 0, 1.0, squared, numbers),
        Loss(
            "logistic", 1, 0.25, logistic, two_classes, second=lambda slopes, _: np.abs(slopes) * (1 - np.abs(slopes))
        ),
        Loss("softmax", 2, 0.5, softmax, many_classes, per_class=True),
        Loss(
            "huber",
            3,
            1.0,
            huber,
            numbers,
            1.35,
            second=lambda slopes, delta: np.where(np.abs(slopes) < delta, 1.0, 0.0),
        ),
    )
}


def get_loss(name: str, huber_delta: float | None = None) -> Loss:
    """The row of `LOSSES` called `name`.

    >>> get_loss("logistic").curvature
    0.25
    """
    loss = LOSSES[choice("FiniteSum", "loss", name, LOSSES)]
    if huber_delta is not None and loss.name == "huber":
        loss = replace(loss, parameter=real("FiniteSum", "huber_delta", huber_delta))
    return loss
