"""The loop of `minimize`: epoch after epoch, the bookkeeping, and what ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpnum.random import CounterRNG

from . import _options as options
from .anderson import Anderson
from .callbacks import Callback, State, Trace, call_all
from .checkpoint import Saver
from .diagnosis import divergence
from .evaluation import Evaluation, Point
from .gradients import GradientEstimate, NotFiniteError, VarianceReduced
from .grid_control import Report
from .inner_loop import run_steps
from .iterates import FullPrecision, IterateStorage
from .methods import Method
from .result import CONVERGED, DIVERGED, EPOCHS_EXHAUSTED, INTERRUPTED, STOPPED, Best, MinimizeResult
from .resume import state_of
from .sampling import draw
from .scale_rules import Automatic, Given, ScaleRule, paper_rule
from .steps import Steps

Vector = NDArray[np.float64]

# A gradient this many times the larger of those at the start and at zero means that the step is too large (or a given
# grid too coarse): the iterates of convex problems otherwise stay where gradients are comparable.
DIVERGENCE = 1e6

# The grid of lp-sgd and lp-svrg has to hold the minimum, whose size is not known: a few epochs in full precision tell
# it; a quarter more leaves room for what is still missing.
CALIBRATION_EPOCHS, CALIBRATION_MARGIN = 5, 1.25


class Run:
    """One minimization: the loop and its bookkeeping. `resume` says what of it is the state."""

    UNDONE = "the grid was too coarse"

    def __init__(self, problem: Any, method: str, row: Method, o: options.Options, callbacks: list[Callback]) -> None:
        self.problem, self.method, self.row, self.o = problem, method, row, o
        self.trace = Trace()
        self.callbacks: list[Callback] = [self.trace, *callbacks]
        self.passes = self.seconds = 0.0
        self.epoch = self.undone = 0
        self.raised_at = 0  # epoch after which the iterate got more bits
        self.anderson = Anderson(problem, o.acceleration) if o.acceleration else None
        self.status, self.message = EPOCHS_EXHAUSTED, ""
        self.steps = Steps(float("nan"))
        self.cumulative: Vector | None = None
        self.point: Point = problem.point(o.x0)
        self.iterate: IterateStorage = FullPrecision(self.point)
        self.scale = float("nan")
        self.rule: ScaleRule = Given(1.0)
        self.evaluation: Evaluation
        self.report = Report(float("nan"), float("nan"))
        self.best: Best | None = None
        self.good_point, self.good_norm = self.point, float("inf")
        self.fitted = False
        self.stopped = False  # by a callback, before the run was resumed
        self.saver: Saver | None = None

    def start(self) -> None:
        """Row 0 of the history; the step size and the grid, which need the gradient at the start."""
        o = self.o
        at_zero = self.problem.evaluate(np.zeros_like(o.x0)).grad_norm if np.any(o.x0) else 0.0
        self.evaluation = self.problem.evaluate(o.x0)
        norm = self.evaluation.grad_norm
        if not np.isfinite(norm):
            raise ValueError(
                f"minimize: the gradient at the start has norm {norm}; scale the data or choose another x0"
            )
        self._keep_best()
        self.reference = max(norm, at_zero)
        if norm <= o.tol:
            call_all(self.callbacks, self._state())
            self._judge()
            return
        self.steps, self.cumulative = options.steps_of(self.problem, o)
        self.rng = CounterRNG(o.seed)
        self.samples = np.random.default_rng(o.seed)
        self.estimate: GradientEstimate = self.row.gradient(self.problem, self.steps.factors)
        self.rule = self.scale_rule()
        if self.row.iterate.quantized:
            self.scale = self.rule.start(self._state_in_codes())
        self.iterate = self.new_iterate()
        self.report = self.iterate.observe()
        stored = self.iterate.value()
        if (stored.coef != self.point.coef).any():  # a fixed grid, or float32, has rounded the start
            self.point = stored
            self.evaluation = self.problem.evaluate(self.problem.at(stored))
        self._keep_best()
        self._judge(call_all(self.callbacks, self._state()))

    def loop(self) -> None:
        """Epoch after epoch until something ends it."""
        self._judge(self.stopped)
        while not self.message:
            started = time.perf_counter()
            self.estimate.take_snapshot(self.point, self.evaluation)
            if self.epoch > 0 and self.row.iterate.centered:
                self.scale = self.rule.start(self._state_in_codes())
            if self.anderson is not None:
                start, margins = self.anderson.start(self.point, self.evaluation)
                assert isinstance(self.estimate, VarianceReduced)  # the others refuse acceleration
                self.estimate.start_from(start, margins)
                del margins  # the estimate gives them up before the next evaluation needs the memory
                if start is not self.point:
                    self.iterate.move_to(start)
            self.iterate.begin_epoch(self.scale)
            try:
                self._inner_steps()
            except NotFiniteError as error:
                self.end(DIVERGED, self._divergence(error))
                break
            self._recenter()
            self.epoch += 1
            self.passes += self.estimate.passes(self.o.drawn)
            if self.rule.finish(self._norm_in_codes()):
                self.undone += 1
                self.iterate.move_to(self.good_point)
                self._evaluate(self.good_point)
                if self.anderson is not None:
                    self.anderson.forget()
                if self.o.may_raise_bits and self.rule.exhausted:
                    self._raise_bits()
            self.seconds += time.perf_counter() - started
            self._keep_best()
            stop = call_all(self.callbacks, self._state())
            if self.saver and np.isfinite(self.evaluation.grad_norm):
                self.saver.after_epoch(self.epoch, lambda: state_of(self))
            self._judge(stop)

    def new_iterate(self) -> IterateStorage:
        """The present point as the method stores it."""
        o = self.o
        iterate: IterateStorage = self.row.iterate(
            self.point, bits=o.bits, scale=self.scale, rounding=o.rounding, rng=self.rng, columns=self.problem.columns,
            dtype=o.dtype,
        )  # fmt: skip
        return iterate

    def _raise_bits(self) -> None:
        """Go on from here with more bits and a rule that begins to learn."""
        self.o = replace(self.o, bits=options.RAISED_BITS, may_raise_bits=False)
        self.raised_at = self.epoch
        self.rule, self.iterate = self.scale_rule(), self.new_iterate()

    def _judge(self, stop: bool = False) -> None:
        """Whether the run ends where it stands."""
        o, norm = self.o, self.evaluation.grad_norm
        if norm <= o.tol:
            self.end(CONVERGED, _reached(norm, o.tol))
        elif not norm <= DIVERGENCE * self.reference:
            self.end(DIVERGED, self._divergence())
        elif stop:
            when = f"after epoch {self.epoch}" if self.epoch else "at the start"
            self.end(STOPPED, f"stopped by the callback {when}")
        elif self.epoch >= o.epochs:
            assert self.best is not None
            self.end(EPOCHS_EXHAUSTED, f"the {o.epochs} epochs are used up; gradient norm {self.best.norm:.3g}")

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
        self.point, self.fitted = point, fit_intercept
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
        """The steps of one epoch."""
        o = self.o
        samples = draw(self.samples, self.problem.n_samples, o.drawn, o.sampling, self.cumulative)
        self.report = run_steps(
            self.problem, self.iterate, self.estimate, self.steps, samples, self.rule.control, o.compiled
        )

    def scale_rule(self) -> ScaleRule:
        """The rule that the options ask for; for a fixed grid it may take a run in full precision."""
        o = self.o
        if not self.row.iterate.quantized:
            return Given(1.0)  # of nothing
        if o.mu is not None:
            return paper_rule(o.mu, o.bits)
        if not isinstance(o.scale, str):
            return Given(o.scale if self.row.iterate.centered else _once(o.scale, self._state_in_codes()))
        if self.row.iterate.centered:
            return Automatic(o.bits, self.steps.size, o.inner_steps)
        from .minimize import minimize

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
        if self.best is None or not self.trace.rows or e.grad_norm < self.best.norm:
            self.best = Best(self.point, e.grad_norm, e.objective, self.iterate.array.copy())
        norm = self._norm_in_codes()
        if not self.trace.rows or norm < self.good_norm:
            self.good_point, self.good_norm = self.point, norm

    def _divergence(self, error: NotFiniteError | None = None) -> str:
        assert self.best is not None
        why = divergence(
            self.problem, self.point, self.evaluation, self.best.point, (self.evaluation.grad_norm, self.reference),
            self.steps.size, self.row.iterate.centered, error,
        )  # fmt: skip
        return f"diverged in epoch {self.epoch + (error is not None)}: {why}. The best iterate is returned"

    def save(self) -> None:
        """Write the last checkpoint, if it is not written yet."""
        if self.saver is not None:
            self.saver.close()

    def failed(self, error: Exception) -> None:
        """Save what can be saved, and give the exception the result so far."""
        if self.best is None:
            return
        with suppress(Exception):  # it must not hide the error
            self.save()
        self.end(STOPPED, f"ended by {type(error).__name__} in epoch {self.epoch + 1}")
        with suppress(AttributeError, TypeError):
            error.result = self.result()  # type: ignore[attr-defined]
            error.add_note("minimize: the best iterate so far is in the attribute `result` of this exception")

    def end(self, status: int, message: str) -> None:
        """Note why the run is over; the first reason counts."""
        if not self.message or status == CONVERGED:
            self.status, self.message = status, message

    def result(self) -> MinimizeResult:
        """The best iterate and the history."""
        message = self.message
        if self.undone:
            message += f"; {self.undone} epochs undone because {self.UNDONE}"
        if self.raised_at:
            narrow, first = options.AUTOMATIC_BITS, self.raised_at + 1
            message += f"; {self.o.bits} bits from epoch {first} on, because no {narrow}-bit grid led further"
        if self.epoch and self.status in (CONVERGED, EPOCHS_EXHAUSTED):
            message += self.problem.said_of_data
        if self.saver:
            message += self.saver.note
        best = self.best
        assert best is not None
        return MinimizeResult(
            x=self.problem.at(best.point), iterate=best.array, fun=best.objective, grad_norm=best.norm,
            n_epochs=self.epoch, converged=self.status == CONVERGED, status=self.status, message=message,
            step_size=self.steps.size, method=self.method, history=self.trace.history,
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
