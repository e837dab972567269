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
from .sampling import SAMPLINGS
from .steps import Steps

ROUNDINGS = ("stochastic", "nearest-even", "nearest-away", "towards-zero", "towards-positive", "towards-negative")
# Differences of snapshots that Anderson acceleration remembers: beyond five hardly anything is gained.
ACCELERATION = 5
# What "auto" begins with, and what follows where no 8-bit grid serves.
AUTOMATIC_BITS, RAISED_BITS = 8, 16
ENGINES = ("auto", "compiled", "readable")


@dataclass(frozen=True)
class Options:
    """The checked arguments; `step_size` is None where it is to be chosen, `compiled` says which engine runs."""

    bits: int
    may_raise_bits: bool
    epochs: int
    step_size: float | None
    inner_steps: int
    scale: float | str | Callable[[Any], float]
    mu: float | None
    tol: float
    x0: NDArray[np.float64]
    seed: int
    rounding: str
    engine: str
    compiled: bool
    batch_size: int
    sampling: str
    dtype: np.dtype[Any]
    acceleration: int

    @property
    def drawn(self) -> int:
        """Samples of an epoch."""
        return self.inner_steps * self.batch_size


def check(problem: FiniteSum | FunctionSum, method: str, storage: type[Any], **given: Any) -> Options:
    """Check everything that can be checked before the first gradient."""
    if not isinstance(problem, (FiniteSum, FunctionSum)):
        raise TypeError(
            f"minimize: problem is a {type(problem).__name__}; pass a FiniteSum (linear models) or a FunctionSum"
        )
    where = "minimize"
    bits, automatic_bits = given["bits"], given["bits"] == "auto"
    if isinstance(bits, str) and not automatic_bits:
        raise ValueError(f"minimize: bits = {bits!r}; expected 'auto' or an integer in 2..16")
    bits = AUTOMATIC_BITS if automatic_bits else integer(where, "bits", bits, 2, 16)
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
    engine = choice(where, "engine", given["engine"], ENGINES)
    batch_size = integer(where, "batch_size", given["batch_size"], 1, problem.n_samples)
    steps_per_epoch = max(1, problem.n_samples // batch_size)
    rounding = choice(where, "rounding", given["rounding"], ROUNDINGS)
    return Options(
        bits=bits,
        may_raise_bits=automatic_bits and storage.centered and isinstance(scale, str) and mu is None,
        epochs=integer(where, "epochs", given["epochs"], 0),
        step_size=None if isinstance(step, str) else real(where, "step_size", step),
        inner_steps=steps_per_epoch if inner_steps is None else integer(where, "inner_steps", inner_steps, 1),
        scale=scale,
        mu=mu,
        tol=real(where, "tol", given["tol"], zero=True),
        x0=np.zeros(problem.shape) if x0 is None else _start(x0, problem.shape),
        seed=_entropy() if seed is None else integer(where, "seed", seed, 0, 2**64 - 1),
        rounding=rounding,
        engine=engine,
        compiled=_use_compiled(problem, storage, rounding, engine),
        batch_size=batch_size,
        sampling=_sampling(problem, given["sampling"]),
        dtype=_dtype(given["dtype"], method, storage),
        acceleration=_acceleration(problem, given["acceleration"], method, storage, scale == "auto" and mu is None),
    )


def _acceleration(
    problem: FiniteSum | FunctionSum, given: int | str, method: str, storage: type[Any], automatic_scale: bool
) -> int:
    """How many differences of snapshots are combined; by default only where nothing else is the caller's choice."""
    smooth = problem.l1 == 0
    if isinstance(given, str):
        if given != "auto":
            raise ValueError(f"minimize: acceleration = {given!r}; expected 'auto' or an integer of at least 0")
        usual = isinstance(problem, FiniteSum) and smooth and storage.centered and automatic_scale
        return ACCELERATION if usual else 0
    depth = integer("minimize", "acceleration", given, 0)
    if depth and method not in ("svrg", "halp"):
        raise ValueError(f"minimize: acceleration = {depth} combines snapshots, which {method!r} does not take; pass 0")
    if depth and not smooth:
        raise ValueError(f"minimize: acceleration = {depth} needs a smooth problem, this one has an L1 penalty; pass 0")
    return depth


def _start(x0: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if np.shape(x0) != shape:
        what = f"minimize: x0 has shape {np.shape(x0)}; expected {shape}"
        raise ValueError(what + (", one row per class" if len(shape) > 1 else ""))
    return vector("minimize", "x0", np.ravel(x0), int(np.prod(shape))).reshape(shape)


def _sampling(problem: FiniteSum | FunctionSum, given: str) -> str:
    sampling = choice("minimize", "sampling", given, SAMPLINGS)
    if sampling == "importance" and not isinstance(problem, FiniteSum):
        raise ValueError(
            "minimize: sampling='importance' needs the curvature of every f_i, which a FunctionSum does not tell; "
            "use 'replacement' or 'shuffle'"
        )
    return sampling


def _dtype(given: Any, method: str, storage: type[Any]) -> np.dtype[Any]:
    try:
        dtype = np.dtype(given)
    except TypeError:
        dtype = np.dtype(object)
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"minimize: dtype = {given!r}; the iterate is kept in np.float32 or np.float64")
    if dtype != np.float64 and storage.quantized:
        raise ValueError(f"minimize: dtype is of the methods in full precision; {method!r} keeps its iterate in bits=")
    return dtype


def _entropy() -> int:
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def _use_compiled(problem: FiniteSum | FunctionSum, storage: type[Any], rounding: str, engine: str) -> bool:
    """Whether the compiled epoch serves this combination; an error if it was asked for and does not."""
    if engine == "readable":
        return False
    reason = ""
    if not isinstance(problem, FiniteSum):
        reason = "it needs a FiniteSum"
    elif storage.quantized and rounding != "stochastic":
        reason = f"it rounds stochastically only, not {rounding!r}"
    if reason and engine == "compiled":
        raise ValueError(f"minimize: engine='compiled' cannot run this: {reason}; or pass engine='readable'")
    return not reason


def steps_of(problem: FiniteSum | FunctionSum, options: Options) -> tuple[Steps, NDArray[np.float64] | None]:
    """The steps, and the cumulative probabilities of the samples if these are not drawn uniformly.

    The automatic size is 0.5 / L: the largest step at which SVRG and HALP are fast on all problems tried; both break
    beyond 1 / L. L is that of the estimate: the largest L_i; with importance sampling of factor_i L_i; with batches of
    B between the largest L_i and that of f itself, L_max / B + (1 - 1 / B) L_f (Gower et al. 2019, SGD: General
    Analysis and Improved Rates, for independent samples).
    """
    batch = options.batch_size
    if not isinstance(problem, FiniteSum):
        size = options.step_size
        if size is None:
            size = _half_inverse(problem.probe_lipschitz(options.x0, options.seed))
        return Steps(size, batch=batch), None
    factors = cumulative = None
    largest = problem.lipschitz
    if options.sampling == "importance":
        factors, cumulative, largest = problem.importance()
    size = options.step_size
    if size is None:
        if batch > 1:
            largest = largest / batch + (1.0 - 1.0 / batch) * problem.smoothness
        size = _half_inverse(largest)
    intercept = size * problem.intercept_unit**2 if problem.has_intercept else 0.0
    return Steps(size, problem.columns, intercept, problem.l1, batch, factors), cumulative


def _half_inverse(lipschitz: float) -> float:
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
