"""The arguments of `minimize`, checked and completed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._checks import choice, integer, real, vector
from .callbacks import Callback
from .problem import FiniteSum, FunctionSum

ROUNDINGS = ("stochastic", "nearest-even", "nearest-away", "towards-zero", "towards-positive", "towards-negative")
ENGINES = ("auto", "compiled", "readable")


@dataclass(frozen=True)
class Options:
    """The checked arguments; `step_size` is None where it is to be chosen, `compiled` says which engine runs."""

    bits: int
    epochs: int
    step_size: float | None
    inner_steps: int
    scale: float | str | Callable[[Any], float]
    mu: float | None
    tol: float
    x0: NDArray[np.float64]
    seed: int
    rounding: str
    compiled: bool


def check(problem: FiniteSum | FunctionSum, method: str, storage: type[Any], **given: Any) -> Options:
    """Check everything that can be checked before the first gradient."""
    if not isinstance(problem, (FiniteSum, FunctionSum)):
        raise TypeError(
            f"minimize: problem is a {type(problem).__name__}; pass a FiniteSum (linear models) or a FunctionSum"
        )
    where = "minimize"
    bits = integer(where, "bits", given["bits"], 2, 16)
    scale, mu = given["scale"], given["mu"]
    if isinstance(scale, str) and scale != "auto":
        raise ValueError(f"minimize: scale = {scale!r}; expected 'auto', a positive number, or a function of the state")
    if not isinstance(scale, str) and not callable(scale):
        scale = real(where, "scale", scale)
    if mu is not None:
        mu = real(where, "mu", mu)
        if not storage.centered:
            raise ValueError(f"minimize: mu = {mu:g} is a rule of method 'halp'; {method!r} takes scale= at most")
        if scale != "auto":
            raise ValueError("minimize: both mu and scale are given; pass one of them")
    if scale != "auto" and not storage.quantized:
        raise ValueError(f"minimize: method {method!r} keeps its iterate in full precision; leave scale='auto'")
    step = given["step_size"]
    if isinstance(step, str) and step != "auto":
        raise ValueError(f"minimize: step_size = {step!r}; expected 'auto' or a positive number")
    inner_steps = given["inner_steps"]
    seed = given["seed"]
    x0 = given["x0"]
    rounding = choice(where, "rounding", given["rounding"], ROUNDINGS)
    return Options(
        bits=bits,
        epochs=integer(where, "epochs", given["epochs"], 0),
        step_size=None if isinstance(step, str) else real(where, "step_size", step),
        inner_steps=2 * problem.n_samples if inner_steps is None else integer(where, "inner_steps", inner_steps, 1),
        scale=scale,
        mu=mu,
        tol=real(where, "tol", given["tol"], zero=True),
        x0=np.zeros(problem.n_features) if x0 is None else vector(where, "x0", x0, problem.n_features),
        seed=_entropy() if seed is None else integer(where, "seed", seed, 0, 2**64 - 1),
        rounding=rounding,
        compiled=_use_compiled(problem, storage, rounding, choice(where, "engine", given["engine"], ENGINES)),
    )


def _entropy() -> int:
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def _use_compiled(problem: FiniteSum | FunctionSum, storage: type[Any], rounding: str, engine: str) -> bool:
    """Whether the compiled epoch serves this combination; an error if it was asked for and does not."""
    if engine == "readable":
        return False
    reason = ""
    if not isinstance(problem, FiniteSum):
        reason = "it needs a FiniteSum"
    elif storage.quantized and not problem.kernel_data.is_codes:
        reason = (
            "low-precision iterates need 8-bit data with one scale and no offset: lpnum.array(X, dtype=lpnum.fixed8)"
        )
    elif storage.quantized and rounding != "stochastic":
        reason = f"it rounds stochastically only, not {rounding!r}"
    if reason and engine == "compiled":
        raise ValueError(f"minimize: engine='compiled' cannot run this: {reason}; or pass engine='readable'")
    return not reason


def automatic_step(problem: FiniteSum | FunctionSum, options: Options) -> float:
    """0.5 / L: the largest step at which SVRG and HALP are fast on all problems tried; both break beyond 1 / L."""
    if isinstance(problem, FiniteSum):
        lipschitz = problem.lipschitz
    else:
        lipschitz = problem.probe_lipschitz(options.x0, options.seed)
    if not (np.isfinite(lipschitz) and lipschitz > 0):
        raise ValueError(f"minimize: no step size follows from the Lipschitz constant {lipschitz}; pass step_size=")
    return 0.5 / lipschitz


def callbacks(callback: Callback | Sequence[Callback] | None) -> list[Callback]:
    """The `callback` argument as a list."""
    items = [] if callback is None else [callback] if callable(callback) else list(callback)
    for item in items:
        if not callable(item):
            raise TypeError(
                f"minimize: callback {item!r} is not callable; pass a function of the state, or a list of them"
            )
    return items
