"""What `minimize` returns."""

from __future__ import annotations

from typing import Any, NamedTuple

from .evaluation import Point

CONVERGED, EPOCHS_EXHAUSTED, DIVERGED, STOPPED, INTERRUPTED = range(5)


class Best(NamedTuple):
    """The point with the smallest gradient so far, what is known there, and a copy of the iterate as it is stored."""

    point: Point
    norm: float
    objective: float
    array: Any


class MinimizeResult(dict[str, Any]):
    """A dictionary whose items are attributes too, like `scipy.optimize.OptimizeResult`.

    Attributes
    ----------
    x : float64 array of shape (n_features,)
        The iterate with the smallest full gradient.
    iterate : lpnum.LPArray or array
        The same as it is stored by the method.
    fun, grad_norm : float
        Objective and norm of the full gradient at `x`.
    n_epochs : int
        Epochs done.
    converged : bool
        Whether the gradient norm reached `tol` (also as `success`).
    status : int
        0 converged, 1 epochs used up, 2 diverged, 3 stopped by a callback, 4 interrupted.
    message : str
        Why it ended.
    step_size : float
        The step used; NaN if none was needed.
    history : dict of arrays of equal length
        Row 0 is the start: epoch, passes, seconds, objective, grad_norm, scale, saturated, range_used.
    """

    def __init__(self, **items: Any) -> None:
        super().__init__(success=items["converged"], **items)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"MinimizeResult has no attribute {name!r}; it has {', '.join(self)}") from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self})

    def __repr__(self) -> str:
        shown = {key: value for key, value in self.items() if key != "history"}
        width = max(map(len, shown))
        lines = [f"{key:>{width}}: {value!r}" for key, value in shown.items()]
        lines.append(f"{'history':>{width}}: {len(self['history']['epoch'])} rows of {', '.join(self['history'])}")
        return "\n".join(lines)
