"""Why a run diverged, in words: steps that are too large, or NaN that came from outside."""

from __future__ import annotations

from typing import Any

import numpy as np

from .data import DataMatrix
from .evaluation import Evaluation, Point
from .gradients import NotFiniteError
from .problem import FiniteSum

# Steps that are too large lead this many times farther than anywhere before, long before numbers overflow.
FAR = 1e6


def divergence(
    problem: Any, point: Point, evaluation: Evaluation, best: Point, norms: tuple[float, float], step_size: float,
    centered: bool, error: NotFiniteError | None = None,
) -> str:  # fmt: skip
    """Where the numbers went wrong in an epoch, and what to do.

    Parameters
    ----------
    point, evaluation
        Where the epoch ended.
    best : Point
        The point with the smallest gradient.
    norms : (float, float)
        Gradient norms after the epoch and at the start.
    centered : bool
        Whether the iterate is bit-centered.
    error : NotFiniteError, optional
        What ended the epoch early.
    """
    outside = _from_outside(problem, point, evaluation, best, error)
    if outside:
        return outside
    advice = f"step_size = {step_size:.3g}: try a smaller one"
    if centered:
        advice += ", or a larger mu, a smaller scale, or more bits"
    return f"gradient norm {norms[0]:.3g}, {norms[1]:.3g} at the start; {advice}"


def _from_outside(
    problem: Any, point: Point, evaluation: Evaluation, best: Point, error: NotFiniteError | None
) -> str:  # fmt: skip
    """The row or the function that gives NaN although the iterate is nowhere special; empty if there is none."""
    sample, where = (None, point) if error is None else (error.sample, error.point)
    if error is None and np.isfinite(evaluation.gradient).all():
        return ""
    if isinstance(problem, FiniteSum):
        row = spoiled_row(problem.data) if isinstance(getattr(problem, "data", None), DataMatrix) else None
        if row is None:
            return ""
        return (
            f"row {row} of X holds NaN or infinity, which it did not when the problem was made: the data have changed "
            "during the run"
        )
    if not (np.isfinite(where.coef).all() and np.abs(where.coef).max() <= FAR * (1.0 + np.abs(best.coef).max())):
        return ""
    name = "the full gradient" if sample is None else f"the gradient of component {sample}"
    return f"{name} of the FunctionSum is NaN or infinite at a finite w near the best one"


def spoiled_row(data: DataMatrix) -> int | None:
    """The first row of a matrix of floats with a value that is not finite.

    >>> spoiled_row(DataMatrix(np.array([[1.0], [np.inf], [np.nan]])))
    1
    """
    if data.rows.dtype.kind != "f":
        return None
    for start, stop in data.blocks():
        first, last = (start, stop) if data.indptr is None else (data.indptr[start], data.indptr[stop])
        bad = ~np.isfinite(data.rows[first:last])
        if bad.any():
            place = int(first + np.argwhere(bad)[0, 0])
            return place if data.indptr is None else int(np.searchsorted(data.indptr, place, side="right")) - 1
    return None
