"""What a linear model says of rows, from their margins (n, n_outputs): functions that the workers of Dask can load."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def as_it_is(margins: Vector) -> Vector:
    """The margins."""
    return margins


def first_column(margins: Vector) -> Vector:
    """The only margin."""
    return margins[:, 0]


def most_probable(classes: NDArray[Any], margins: Vector) -> NDArray[Any]:
    """The class with the largest margin; one margin is that of the second class."""
    chosen = (margins[:, 0] > 0).astype(np.intp) if margins.shape[1] == 1 else margins.argmax(axis=1)
    return classes[chosen]


def log_probabilities(margins: Vector) -> Vector:
    """Logarithms of the probabilities of all classes, accurate where these are tiny.

    >>> log_probabilities(np.array([[800.0]]))
    array([[-800.,   -0.]])
    """
    if margins.shape[1] == 1:
        return -np.logaddexp(0.0, np.concatenate([margins, -margins], axis=1))
    largest = margins.max(axis=1)
    return margins - (largest + np.log(np.exp(margins - largest[:, None]).sum(axis=1)))[:, None]


def probabilities(margins: Vector) -> Vector:
    """Probabilities of all classes."""
    return np.exp(log_probabilities(margins))
