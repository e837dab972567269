"""The steps of one epoch on samples that are drawn: one compiled call, or the readable loop."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gradients import GradientEstimate
from .grid_control import GridControl, Report
from .iterates import IterateStorage
from .steps import Steps


def run_steps(
    problem: Any, iterate: IterateStorage, estimate: GradientEstimate, steps: Steps, samples: NDArray[np.int64],
    control: GridControl, compiled: bool,
) -> Report:  # fmt: skip
    """Steps on these samples, in the order given; what the grid saw.

    Parameters
    ----------
    estimate : GradientEstimate
        With the snapshot taken.
    samples : (steps * batch,) array
    control : GridControl
        How the grid may change on the way; keeps the record.
    compiled : bool
        Whether the compiled loop runs.
    """
    if compiled:
        return iterate.run_compiled(problem, estimate.linear_terms(iterate.center), steps, samples, control)
    report = Report(float("nan"), float("nan"))
    for k, run in enumerate(control.split(samples.reshape(-1, steps.batch))):
        if k > 0 and (factor := control.next_factor()) != 1.0:
            iterate.change_scale(factor)
        report = _readable_run(iterate, estimate, steps, run, control)
        control.observe(report)
    iterate.settle(control)
    return report._replace(saturated=control.saturated)


def _readable_run(
    iterate: IterateStorage, estimate: GradientEstimate, steps: Steps, batches: NDArray[np.int64], control: GridControl
) -> Report:
    """The inner loop of every method; with a bit-centered array it is all of HALP between two re-centerings."""
    averaging = control.averaging
    for samples in batches:
        w = iterate.value()
        iterate.subtract(steps.step(w, estimate(samples, w)))
        if averaging:
            control.add(iterate.relative())
    return iterate.observe()
