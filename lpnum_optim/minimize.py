"""`minimize`: one loop for all methods; a method is a gradient estimate times an iterate storage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lpnum.random import CounterRNG

from . import _options as options
from ._checks import choice
from .anderson import Anderson
from .callbacks import Callback, ProgressBar, State, Trace, call_all
from .evaluation import Evaluation, Point
from .gradients import GradientEstimate, Stochastic, VarianceReduced
from .grid_control import Report
from .iterates import BitCentered, FullPrecision, IterateStorage, Quantized
from .problem import FiniteSum, FunctionSum
from .result import CONVERGED, DIVERGED, EPOCHS_EXHAUSTED, INTERRUPTED, STOPPED, MinimizeResult
from .sampling import draw
from .scale_rules import Automatic, Given, ScaleRule, paper_rule
from .steps import Steps

Vector = NDArray[np.float64]


class Method(NamedTuple):
    """A row of the table of methods."""

    gradient: type[Any]
    iterate: type[Any]
    summary: str


METHODS: dict[str, Method] = {
    "sgd": Method(Stochastic, FullPrecision, "stochastic gradient, full precision"),
    "lp-sgd": Method(Stochastic, Quantized, "stochastic gradient, fixed low-precision grid"),
    "svrg": Method(VarianceReduced, FullPrecision, "variance-reduced gradient, full precision"),
    "lp-svrg": Method(VarianceReduced, Quantized, "variance-reduced gradient, fixed low-precision grid"),
    "halp": Method(VarianceReduced, BitCentered, "variance-reduced gradient, bit-centered low-precision iterate"),
}

# A gradient this many times the larger of those at the start and at zero means that the step is too large (or a given
# grid too coarse): the iterates of convex problems otherwise stay where gradients are comparable.
DIVERGENCE = 1e6

# The grid of lp-sgd and lp-svrg has to hold the minimum, whose size is not known: a few epochs in full precision tell
# it; a quarter more leaves room for what is still missing.
CALIBRATION_EPOCHS, CALIBRATION_MARGIN = 5, 1.25


def minimize(
    problem: FiniteSum | FunctionSum,
    method: str = "halp",
    *,
    bits: int = 8,
    epochs: int = 50,
    step_size: float | str = "auto",
    inner_steps: int | None = None,
    scale: float | str | Callable[[State], float] = "auto",
    mu: float | None = None,
    tol: float = 0.0,
    x0: ArrayLike | None = None,
    seed: int | None = 0,
    rounding: str = "stochastic",
    batch_size: int = 1,
    sampling: str = "replacement",
    dtype: Any = np.float64,
    callback: Callback | Sequence[Callback] | None = None,
    progress: bool = False,
    engine: str = "auto",
    acceleration: int | str = "auto",
) -> MinimizeResult:
    r"""Minimize a finite sum with a method of the table `METHODS`.

    An epoch takes the full gradient at a snapshot and then `inner_steps` steps on single samples i (or batches),

    .. math:: w \leftarrow Q\left(w - \alpha g_i(w)\right)

    with :math:`g_i` the gradient estimate and Q the rounding of the iterate storage (the identity in full precision).
    An L1 penalty adds its proximal map before the rounding. Where X has one scale s_j per column, coordinates are
    measured in units of c_j = max(s) / s_j: the step of coordinate j is :math:`\alpha c_j^2`, a diagonal
    preconditioner that costs nothing.

    Parameters
    ----------
    problem : FiniteSum or FunctionSum
    method : {"sgd", "lp-sgd", "svrg", "lp-svrg", "halp"}
    bits : int in 2..16
        Bits per coordinate of a low-precision iterate.
    epochs : int
        Number of epochs at most.
    step_size : float or "auto"
        alpha; "auto" is 0.5 / L with L = ``problem.lipschitz`` (less for importance sampling and batches), for a
        `FunctionSum` ``problem.probe_lipschitz``.
    inner_steps : int, optional
        Steps per epoch, by default n_samples / batch_size, for every method.
    scale : float, callable or "auto"
        Distance of neighboring values of a low-precision iterate, or a function of the `State` that returns it, called
        before every epoch of "halp" and once for "lp-sgd" and "lp-svrg". "auto": `scale_rules.Automatic` for "halp";
        for the fixed grids 1.25 times the largest coordinate after 5 epochs of full-precision SVRG (not counted in the
        passes of the history).
    mu : float, optional
        For "halp": the rule of the paper, ``scale = |full gradient|_2 / mu / (2^(bits-1) - 1)``, in place of "auto".
    tol : float
        Stop when the Euclidean norm of the full gradient is at most `tol` (absolute, like ``gtol`` in SciPy). With an
        L1 penalty the norm of the proximal gradient mapping, everywhere.
    x0 : array of shape ``problem.shape``, optional
        Start, by default zero. A fixed grid rounds it.
    seed : int or None
        Determines the samples and all random bits of stochastic rounding. None: fresh entropy.
    rounding : str
        Rounding of a low-precision iterate. "nearest-even" freezes as soon as steps are below half of `scale`; it is
        there for experiments.
    batch_size : int
        Samples per step.
    sampling : {"replacement", "shuffle", "importance"}
        Independent samples; all samples in a new random order again and again; or independent ones with probabilities
        that grow with the curvature of f_i (for rows of very different length), correctly weighted.
    dtype : {np.float64, np.float32}
        Of the iterate of methods in full precision between two full gradients.
    callback : callable or list of callables
        Called as ``callback(state)`` with a `State` at the start and after every epoch; True stops.
    progress : bool
        Show a progress bar on stderr.
    engine : {"auto", "compiled", "readable"}
        "compiled" runs the steps of a `FiniteSum` in C, 8-bit iterates on 8-bit or 4-bit data in integer arithmetic;
        "readable" is the same algorithm on NumPy and `lpnum.LPArray`. "auto" takes the compiled one where it exists.
        Both take the same samples. In full precision they agree to rounding; in low precision they converge alike but
        with other codes, because the integer epoch rounds its factor of x_i too and lays out its random bits otherwise.

    acceleration : int or "auto"
        How many differences of snapshots Anderson acceleration combines to where the steps of an epoch start (see
        `anderson.Anderson`), 0 for the snapshot itself, which is the textbook's method. "auto": 5 for "halp" with
        ``scale="auto"`` on a smooth `FiniteSum`, else 0. "svrg" and "halp" take a number.

    Returns
    -------
    MinimizeResult
        `x` is the iterate with the smallest full gradient, also after divergence or Ctrl-C; see `MinimizeResult`.

    Raises
    ------
    ValueError, TypeError
        Unknown names, values out of range, shapes that do not fit. The message says what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import lpnum
    >>> from lpnum_optim import FiniteSum, minimize
    >>> rng = np.random.default_rng(0)
    >>> X = lpnum.array(rng.standard_normal((200, 10)), dtype=lpnum.fixed8)
    >>> problem = FiniteSum(X, rng.standard_normal(200))
    >>> r = minimize(problem, method="halp", bits=8, tol=1e-10)
    >>> r.converged, r.iterate.codes.dtype, bool(np.linalg.norm(problem.gradient(r.x)) <= 1e-10)
    (True, dtype('int8'), True)
    """
    row = METHODS[choice("minimize", "method", method, METHODS)]
    o = options.check(
        problem, method, row.iterate,
        bits=bits, epochs=epochs, step_size=step_size, inner_steps=inner_steps, scale=scale, mu=mu, tol=tol, x0=x0,
        seed=seed, rounding=rounding, engine=engine, batch_size=batch_size, sampling=sampling, dtype=dtype,
        acceleration=acceleration,
    )  # fmt: skip
    callbacks = options.callbacks(callback)
    bar = ProgressBar(label=f"{method} {o.bits}-bit" if row.iterate.quantized else method) if progress else None
    run = _Run(problem, method, row, o, [*callbacks, *([bar] if bar else [])])
    try:
        run.start()
        run.loop()
    except KeyboardInterrupt:
        run.end(INTERRUPTED, "interrupted by the keyboard; the best iterate so far is returned")
    finally:
        if bar:
            bar.close()
    return run.result()


class _Run:
    """One minimization: the loop and its bookkeeping.

    What a run that goes on has to know is the iterate, the rule of the scale, the two random generators, the counters,
    the record and the best point; everything else follows from the problem and the options.
    """

    def __init__(self, problem: Any, method: str, row: Method, o: options.Options, callbacks: list[Callback]) -> None:
        self.problem, self.method, self.row, self.o = problem, method, row, o
        self.trace = Trace()
        self.callbacks: list[Callback] = [self.trace, *callbacks]
        self.passes = self.seconds = 0.0
        self.epoch = self.undone = 0
        self.anderson = Anderson(problem, o.acceleration) if o.acceleration else None
        self.status, self.message = EPOCHS_EXHAUSTED, ""
        self.steps = Steps(float("nan"))
        self.cumulative: Vector | None = None
        self.point: Point = problem.point(o.x0)
        self.iterate: IterateStorage = FullPrecision(self.point)
        self.scale = float("nan")
        self.rule: ScaleRule = Given(1.0)
        self.evaluation: Evaluation = problem.evaluate(o.x0)
        self.report = Report(float("nan"), float("nan"))
        self.best_norm = self.good_norm = float("inf")
        self._keep_best()

    def start(self) -> None:
        """Row 0 of the history; the step size and the grid, which need the gradient at the start."""
        o, norm = self.o, self.evaluation.grad_norm
        if not np.isfinite(norm):
            raise ValueError(
                f"minimize: the gradient at the start has norm {norm}; scale the data or choose another x0"
            )
        self.reference = norm if not np.any(o.x0) else max(norm, self.problem.evaluate(np.zeros_like(o.x0)).grad_norm)
        if norm <= o.tol:
            call_all(self.callbacks, self._state())
            self.end(CONVERGED, _reached(norm, o.tol))
            return
        self.steps, self.cumulative = options.steps_of(self.problem, o)
        self.rng = CounterRNG(o.seed)
        self.samples = np.random.default_rng(o.seed)
        self.estimate: GradientEstimate = self.row.gradient(self.problem, self.steps.factors)
        if self.row.iterate.quantized:
            self.rule = self._scale_rule()
            self.scale = self.rule.start(self._state_in_codes())
        self.iterate = self.row.iterate(
            self.point, bits=o.bits, scale=self.scale, rounding=o.rounding, rng=self.rng, columns=self.problem.columns,
            dtype=o.dtype,
        )  # fmt: skip
        self.report = self.iterate.observe()
        stored = self.iterate.value()
        if (stored.coef != self.point.coef).any():  # a fixed grid, or float32, has rounded the start
            self.point = stored
            self.evaluation = self.problem.evaluate(self.problem.at(stored))
        self._keep_best()
        if call_all(self.callbacks, self._state()):
            self.end(STOPPED, "stopped by the callback at the start")

    def loop(self) -> None:
        """Epoch after epoch until something ends it."""
        o = self.o
        while not self.message:
            if self.epoch == o.epochs:
                self.end(EPOCHS_EXHAUSTED, f"the {o.epochs} epochs are used up; gradient norm {self.best_norm:.3g}")
                break
            started = time.perf_counter()
            self.estimate.take_snapshot(self.point, self.evaluation)
            if self.epoch > 0 and self.row.iterate.centered:
                self.scale = self.rule.start(self._state_in_codes())
            if self.anderson is not None:
                start, margins = self.anderson.start(self.point, self.evaluation)
                self.estimate.start_from(start, margins)
                if start is not self.point:
                    self.iterate.move_to(start)
            self.iterate.begin_epoch(self.scale)
            self._inner_steps()
            self._recenter()
            norm = self.evaluation.grad_norm
            self.epoch += 1
            self.passes += self.estimate.passes(o.drawn)
            if self.rule.finish(self._norm_in_codes()):
                self.undone += 1
                self.iterate.move_to(self.good_point)
                self._evaluate(self.good_point)
                if self.anderson is not None:
                    self.anderson.forget()
            self.seconds += time.perf_counter() - started
            self._keep_best()
            stop = call_all(self.callbacks, self._state())
            if not self.evaluation.grad_norm <= DIVERGENCE * self.reference:
                self.end(DIVERGED, self._divergence(norm))
            elif stop:
                self.end(STOPPED, f"stopped by the callback after epoch {self.epoch}")
            if self.evaluation.grad_norm <= o.tol:
                self.end(CONVERGED, _reached(self.evaluation.grad_norm, o.tol))

    def _recenter(self) -> None:
        """Where the steps have led: the next snapshot, and the pass over the data there."""
        end = self.iterate.value()
        point = self.problem.centered(end)
        if self.problem.l1 and self.row.iterate.centered:
            point = point._replace(coef=_without_noise(point.coef, self.iterate.scale * self.problem.columns))
        if not self.row.iterate.quantized or self.row.iterate.centered:  # a fixed grid would round again
            if point is not end:
                self.iterate.move_to(point)
                point = self.iterate.value()
        else:
            point = end
        self._evaluate(point, self.row.gradient is VarianceReduced and point.intercept is not None)
        self.iterate.intercept = self.point.intercept

    def _evaluate(self, point: Point, fit_intercept: bool = False) -> None:
        """The pass over the data at a new point; a run that has diverged may be anywhere."""
        self.point = point
        self.estimate.release()
        w = self.problem.at(point)
        if not np.isfinite(w).all():
            nowhere = np.full_like(w, np.inf)
            self.evaluation = Evaluation(float("inf"), nowhere, nowhere, Point(nowhere))
            return
        del self.evaluation
        with np.errstate(over="ignore", invalid="ignore"):
            if fit_intercept:
                self.point, self.evaluation = self.problem.evaluate_with_best_intercept(point)
            else:
                self.evaluation = self.problem.evaluate(w)

    def _inner_steps(self) -> None:
        """The steps of one epoch: one compiled call, or the readable loop."""
        o = self.o
        samples = draw(self.samples, self.problem.n_samples, o.drawn, o.sampling, self.cumulative)
        control = self.rule.control
        if o.compiled:
            terms = self.estimate.linear_terms(self.iterate.center)
            self.report = self.iterate.run_compiled(self.problem, terms, self.steps, samples, control)
            return
        for k, run in enumerate(control.split(samples.reshape(-1, o.batch_size))):
            if k > 0 and (factor := control.next_factor()) != 1.0:
                self.iterate.change_scale(factor)
            self.report = self._readable_run(run)
            control.observe(self.report)
        self.iterate.settle(control)
        self.report = self.report._replace(saturated=control.saturated)

    def _readable_run(self, batches: NDArray[np.int64]) -> Report:
        """The inner loop of every method; with a bit-centered array it is all of HALP between two re-centerings."""
        iterate, control = self.iterate, self.rule.control
        averaging = control.averaging
        for samples in batches:
            w = iterate.value()
            iterate.subtract(self.steps.step(w, self.estimate(samples, w)))
            if averaging:
                control.add(iterate.relative())
        return iterate.observe()

    def _scale_rule(self) -> ScaleRule:
        o = self.o
        if o.mu is not None:
            return paper_rule(o.mu, o.bits)
        if not isinstance(o.scale, str):
            return Given(o.scale if self.row.iterate.centered else _once(o.scale, self._state_in_codes()))
        if self.row.iterate.centered:
            return Automatic(o.bits, self.steps.size, o.inner_steps)
        run = minimize(
            self.problem, "svrg", epochs=CALIBRATION_EPOCHS, step_size=self.steps.size, inner_steps=o.inner_steps,
            x0=o.x0, seed=o.seed, batch_size=o.batch_size, sampling=o.sampling,
        )  # fmt: skip
        if run.status == INTERRUPTED:
            raise KeyboardInterrupt
        if run.status == DIVERGED:
            self.end(DIVERGED, f"the full-precision run that sizes the grid {run.message}")
        points = (self.problem.point(run.x).coef, self.point.coef)
        reach = max(float(np.max(np.abs(coef / self.problem.columns))) for coef in points)
        return Given(CALIBRATION_MARGIN * reach / (2 ** (o.bits - 1) - 1) if reach else 1.0)

    def _state(self) -> State:
        e = self.evaluation
        return State(
            self.method, self.epoch, self.o.epochs, self.passes, self.seconds, self.problem.at(self.point), e.residual,
            e.objective, e.grad_norm, self.iterate.scale, self.report.saturated, self.report.range_used,
        )  # fmt: skip

    def _state_in_codes(self) -> State:
        """The state as the rules of the scale see it: what the codes stand for, in their units."""
        state, problem = self._state(), self.problem
        columns = problem.columns
        gradient = state.gradient[..., : problem.n_features] * columns
        return replace(state, x=self.point.coef / columns, gradient=gradient, grad_norm=self._norm_in_codes())

    def _norm_in_codes(self) -> float:
        """Norm of the residual in the units of the codes, which differ from column to column.

        An epoch is judged by it: good steps in these units may lengthen the gradient in those of w.
        """
        residual = self.evaluation.residual
        if np.ndim(self.problem.columns):
            residual = residual.copy()
            residual[..., : self.problem.n_features] *= self.problem.columns
        return float(np.linalg.norm(residual))

    def _keep_best(self) -> None:
        """The best iterate, by its gradient norm, survives what follows; so does where an undone epoch returns to."""
        e = self.evaluation
        if not self.trace.rows or e.grad_norm < self.best_norm:
            self.best_point, self.best_norm, self.best_objective = self.point, e.grad_norm, e.objective
            self.best_array = self.iterate.array.copy()
        norm = self._norm_in_codes()
        if not self.trace.rows or norm < self.good_norm:
            self.good_point, self.good_norm = self.point, norm

    def _divergence(self, norm: float) -> str:
        advice = f"step_size = {self.steps.size:.3g}: try a smaller one"
        if self.row.iterate.centered:
            advice += ", or a larger mu, a smaller scale, or more bits"
        return (
            f"diverged in epoch {self.epoch}: gradient norm {norm:.3g}, {self.reference:.3g} at the start; {advice}. "
            "The best iterate is returned"
        )

    def end(self, status: int, message: str) -> None:
        """Note why the run is over; the first reason counts."""
        if not self.message or status == CONVERGED:
            self.status, self.message = status, message

    def result(self) -> MinimizeResult:
        """The best iterate and the history."""
        message = self.message
        if self.undone:
            message += f"; {self.undone} epochs undone because the grid was too coarse"
        if self.epoch and self.status in (CONVERGED, EPOCHS_EXHAUSTED):
            message += self.problem.said_of_data
        return MinimizeResult(
            x=self.problem.at(self.best_point), iterate=self.best_array, fun=self.best_objective,
            grad_norm=self.best_norm, n_epochs=self.epoch, converged=self.status == CONVERGED, status=self.status,
            message=message, step_size=self.steps.size, method=self.method, history=self.trace.history,
        )  # fmt: skip


def _without_noise(coef: Vector, grain: Vector | float) -> Vector:
    """Zero where the value is not told from zero by the grid: the proximal map gave 0, or a neighbor by rounding."""
    return np.where(np.abs(coef) <= grain, 0.0, coef)


def _once(scale: float | Callable[[State], float], state: State) -> float:
    return scale(state) if callable(scale) else scale


def _reached(norm: float, tol: float) -> str:
    if norm == 0.0:
        return "the gradient is zero"
    return f"gradient norm {norm:.3g} <= tol = {tol:.3g}"
