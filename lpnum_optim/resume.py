"""The state of a run between two epochs, as dictionaries of numbers and arrays, and a run that goes on from it.

What a run has to know is the iterate, the rule of the scale, the two random generators, the counters, the record and
the best point; everything else follows from the problem and the options, which have to be the same.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np

from lpnum import LPArray
from lpnum.random import CounterRNG

from . import _fingerprint as fingerprint
from . import _options as options
from .callbacks import HISTORY
from .checkpoint import Checkpoint, Entry, Saver, damaged, read
from .evaluation import Point
from .result import Best

# The objective and the gradient at the saved point are computed again. With the same bits they are equal; another
# processor or BLAS may round sums of floats otherwise, but not by more than this.
OBJECTIVE_TOLERANCE, GRADIENT_TOLERANCE = 1e-9, 1e-7


def found(resume: str | os.PathLike[str] | bool | None, checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """What the file of the argument `resume` holds; None for a run from the beginning."""
    if resume is None or resume is False:
        return None
    if resume is True:
        if checkpoint is None:
            raise ValueError("minimize: resume=True goes on from the file of checkpoint=, which is not given")
        if not os.path.exists(checkpoint.path):
            return None
        resume = checkpoint.path
    if not isinstance(resume, str | os.PathLike):
        raise TypeError(f"minimize: resume is a {type(resume).__name__}; pass the path of a checkpoint, or True")
    content = read(resume)
    content["path"] = os.fspath(resume)
    return content


def wanted(checkpoint: str | os.PathLike[str] | Checkpoint | None) -> Checkpoint | None:
    """The argument `checkpoint`."""
    return checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


def seed_of(seed: int | None, saved: dict[str, Any] | None) -> int | None:
    """The seed of the saved run where the caller leaves it open."""
    if seed is None and saved is not None and isinstance(saved["options"], dict):
        known = saved["options"].get("seed")
        return known if type(known) is int else None
    return seed


def saver(run: Any, checkpoint: Checkpoint | None) -> Saver | None:
    """What writes the checkpoints of a run."""
    if checkpoint is None:
        return None
    header = {
        "problem": fingerprint.of_problem(run.problem),
        "options": fingerprint.of_options(run.method, run.o),
    }
    return Saver(checkpoint, header)


# ---- out of a run --------------------------------------------------------------------------------------------------


def state_of(run: Any) -> dict[str, Any]:
    """The state of a run after an epoch; later epochs do not change what is in it."""
    best = run.best
    return {
        "epoch": run.epoch,
        "undone": run.undone,
        "raised_at": run.raised_at,
        "passes": run.passes,
        "seconds": run.seconds,
        "fitted": run.fitted,
        "step_size": run.steps.size,
        "reference": run.reference,
        "scale": run.scale,
        "saturated": run.report.saturated,
        "range_used": run.report.range_used,
        "objective": run.evaluation.objective,
        "grad_norm": run.evaluation.grad_norm,
        "samples": run.samples.bit_generator.state,
        "rng": {"seed": run.rng.seed, "stream": run.rng.stream},
        "point": _point_state(run.point),
        "good": {"point": _point_state(run.good_point), "norm": run.good_norm},
        "iterate": run.iterate.state(),
        "rule": run.rule.state(),
        "best": {
            "point": _point_state(best.point), "norm": best.norm, "objective": best.objective, "array": best.array,
        },
        "history": np.array(run.trace.rows, dtype=np.float64),
        "anderson": None if run.anderson is None else run.anderson.state(),
        "callbacks": [
            {"type": type(callback).__name__, "state": callback.state()} for callback in _stateful(run.callbacks)
        ],
    }  # fmt: skip


def _point_state(point: Point) -> dict[str, Any]:
    return {"coef": point.coef.copy(), "intercept": None if point.intercept is None else point.intercept.copy()}


def _stateful(callbacks: list[Any]) -> list[Any]:
    return [one for one in callbacks if callable(getattr(one, "state", None)) and callable(getattr(one, "restore", 0))]


# ---- into a run ----------------------------------------------------------------------------------------------------


def restore(run: Any, content: dict[str, Any]) -> None:
    """Put a run where the saved one stood, in place of its start.

    Raises
    ------
    ValueError
        If the checkpoint is of another problem or of other options, or contradicts itself.
    """
    where = f"minimize: resume: {content['path']!r}"
    o, problem = run.o, run.problem
    differences = fingerprint.differences(content["problem"], fingerprint.of_problem(problem))
    differences += fingerprint.differences(content["options"], fingerprint.of_options(run.method, o))
    if differences:
        raise ValueError(f"{where} is the checkpoint of another run: {'; '.join(differences[:6])}")
    s = Entry(content["state"], where)
    run.epoch, run.undone = s.integer("epoch"), s.integer("undone")
    run.passes, run.seconds, run.reference = s.real("passes"), s.real("seconds"), s.real("reference")
    run.report = run.report._replace(saturated=s.real("saturated"), range_used=s.real("range_used"))
    run.trace.rows = _rows(s.array("history", (run.epoch + 1, len(HISTORY)), finite=False))
    run.steps, run.cumulative = options.steps_of(problem, replace(o, step_size=s.positive("step_size")))
    run.estimate = run.row.gradient(problem, run.steps.factors)
    _restore_generators(run, s)
    run.point = _point(s.entry("point"), problem, where)
    _evaluate(run, s, where)
    _restore_grid(run, s)
    good, best = s.entry("good"), s.entry("best")
    run.good_point, run.good_norm = _point(good.entry("point"), problem, where), good.real("norm")
    run.best = Best(
        _point(best.entry("point"), problem, where), best.real("norm"), best.real("objective"),
        best.codes("array", run.iterate.array) if isinstance(run.iterate.array, LPArray)
        else best.array("array", problem.coef_shape, run.iterate.array.dtype),
    )  # fmt: skip
    if run.anderson is not None:
        run.anderson.restore(s.entry("anderson"))
    run.stopped = _restore_callbacks(run.callbacks, s["callbacks"], where)


def _rows(history: Any) -> list[tuple[float, ...]]:
    return [(int(row[0]), *map(float, row[1:])) for row in history]


def _restore_generators(run: Any, s: Entry) -> None:
    rng = s.entry("rng")
    run.samples = np.random.default_rng(0)
    try:
        run.rng = CounterRNG(rng.integer("seed"), rng.integer("stream"))
        run.samples.bit_generator.state = s["samples"]
    except (TypeError, ValueError, LookupError, OverflowError, AttributeError) as error:
        raise damaged(s.where, f"holds random generators that do not exist ({error})") from None


def _point(s: Entry, problem: Any, where: str) -> Point:
    intercept = (problem.n_outputs,) if problem.has_intercept else None
    return Point(s.array("coef", problem.coef_shape), s.optional("intercept", intercept))


def _evaluate(run: Any, s: Entry, where: str) -> None:
    """The pass over the data that the saved run had made; it tells whether the data are still the same."""
    # In the way it was evaluated there: with an intercept that was fitted, offsets and rounding enter otherwise.
    run.fitted = s["fitted"] is True and run.point.intercept is not None
    if run.fitted:
        run.evaluation = run.problem.evaluate_with_intercept(run.point)
    else:
        run.evaluation = run.problem.evaluate(run.problem.at(run.point))
    start = run.trace.rows[0]
    here, there = run.evaluation.objective, s.real("objective")
    size = max(abs(there), abs(start[HISTORY.index("objective")]))
    norm, norm_there = run.evaluation.grad_norm, s.real("grad_norm")
    same_norm = abs(norm - norm_there) <= GRADIENT_TOLERANCE * run.reference
    if not same_norm or abs(here - there) > OBJECTIVE_TOLERANCE * size:
        raise ValueError(
            f"{where}: the data or functions of the problem have changed: at the saved iterate the objective was "
            f"{there:.12g} and is {here:.12g}, the gradient norm was {norm_there:.6g} and is {norm:.6g}"
        )


def _restore_grid(run: Any, s: Entry) -> None:
    """The iterate and the rule of its scale."""
    run.raised_at = s.integer("raised_at")
    if run.raised_at:
        if not run.o.may_raise_bits:
            raise damaged(s.where, f"holds raised_at = {run.raised_at}")
        run.o = replace(run.o, bits=options.RAISED_BITS, may_raise_bits=False)
    o = run.o
    run.scale = s.real("scale")
    if run.row.iterate.quantized:
        s.positive("scale")
        if not run.row.iterate.centered:  # its grid was chosen once, perhaps by a run of its own
            run.o = replace(o, scale=run.scale)
    run.rule = run.scale_rule()
    run.o = o
    run.rule.restore(s.entry("rule"))
    run.iterate = run.new_iterate()
    run.iterate.restore(s.entry("iterate"))


def _restore_callbacks(callbacks: list[Any], states: Any, where: str) -> bool:
    """Give every callback the state of the first one of its type that is left; the others begin anew.

    True if one of them had ended the run, and would do so again.
    """
    stopped = False
    left = [Entry(state, where) for state in states] if isinstance(states, list) else []
    for callback in _stateful(callbacks):
        for k, state in enumerate(left):
            if state["type"] == type(callback).__name__:
                try:
                    stopped |= callback.restore(left.pop(k)["state"]) is True
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from None
                break
    return stopped
