"""`minimize` on chunks: the loop is that of `minimize`, the steps of an epoch are taken where the chunks are."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _chunks as chunks
from ._dask_arguments import dask_package
from .checkpoint import Entry, damaged
from .distributed import ChunkedEvaluation, ChunkedSum, tree_sum
from .gradients import VarianceReduced
from .grid_control import GridControl, Report
from .run import Run
from .scale_rules import Automatic, ScaleRule

Vector = NDArray[np.float64]


class ChunkRules:
    """A rule of the scale for every chunk, and how many of its steps a chunk takes.

    Parameters
    ----------
    rules : list of ScaleRule
        One for each chunk, or one for all.
    guarded : bool
        Whether an epoch that goes too far is undone: for the methods that converge.
    """

    # Factors on the share of the steps after an epoch that was undone, and after one that was not.
    FEWER, MORE = 0.5, 1.02
    # As in `Automatic`.
    WORSE = 4.0
    exhausted = False  # the chunks take fewer steps instead

    def __init__(self, rules: list[ScaleRule], guarded: bool) -> None:
        self.rules, self.guarded = rules, guarded
        self.control = GridControl()  # each chunk has its own
        self.share_of_steps = 1.0
        self.too_far = False
        self.best = np.inf
        self.scales = [float("nan")]

    def start(self, state: Any) -> float:
        """Scales of all chunks; the largest one."""
        self.scales = [rule.start(state) for rule in self.rules]
        return max(self.scales)

    def grid(self, k: int) -> tuple[float, GridControl]:
        """Scale and control of chunk k."""
        k %= len(self.rules)
        return self.scales[k], self.rules[k].control

    def state(self) -> dict[str, Any]:
        """What all rules have learned, the share of the steps, the smallest gradient norm, the scales."""
        return {
            "rules": [rule.state() for rule in self.rules],
            "share_of_steps": self.share_of_steps,
            "best": self.best,
            "scales": np.array(self.scales),
        }

    def restore(self, saved: Entry) -> None:
        """Take over what `state` gave."""
        states = saved.entries("rules", len(self.rules))
        if len(states) != len(self.rules):
            raise damaged(saved.where, f"holds {len(states)} rules of the scale; expected {len(self.rules)}")
        for rule, state in zip(self.rules, states, strict=True):
            rule.restore(state)
        self.share_of_steps, self.best = min(1.0, saved.positive("share_of_steps")), saved.real("best")
        self.scales = saved.array("scales", (len(self.rules),), finite=False).tolist()

    def finish(self, grad_norm: float) -> bool:
        """Let all rules learn; True if the epoch has to be undone."""
        verdicts = [rule.finish(grad_norm) for rule in self.rules]  # all of them learn
        undo = any(verdicts)
        undo |= self.guarded and (self.too_far or not grad_norm <= self.WORSE * self.best)
        self.best = min(self.best, grad_norm)
        self.share_of_steps = self.share_of_steps * self.FEWER if undo else min(1.0, self.share_of_steps * self.MORE)
        return bool(undo)


class ChunkedRun(Run):
    """One minimization on a `ChunkedSum`."""

    UNDONE = "the mean of the chunks went too far, or a grid was too coarse"
    problem: ChunkedSum
    rule: ScaleRule
    evaluation: Any

    def start(self) -> None:
        """As always; the gradient at the start is the first to be compared with."""
        super().start()
        if isinstance(self.rule, ChunkRules):
            self.rule.best = self._norm_in_codes()

    @property
    def _guarded(self) -> bool:
        converges = self.row.gradient is VarianceReduced and (
            self.row.iterate.centered or not self.row.iterate.quantized
        )
        return converges and len(self.problem.chunks) > 1

    def scale_rule(self) -> ScaleRule:
        """A rule for every chunk; methods without a grid have rules of the steps, too."""
        o = self.o
        if self.row.iterate.centered:  # a chunk's own number of steps bounds how far it goes
            self.o = replace(o, inner_steps=max(map(self._steps_of, range(len(self.problem.chunks)))))
        rule = super().scale_rule()
        self.o = o
        rules: list[ScaleRule] = [rule]
        if isinstance(rule, Automatic):
            rules = [copy.deepcopy(rule) for _ in self.problem.chunks]
        return ChunkRules(rules, self._guarded)

    def _steps_of(self, k: int) -> int:
        """Steps of chunk k: its share by rows."""
        share = self.rule.share_of_steps if isinstance(self.rule, ChunkRules) else 1.0
        problem = self.problem
        return max(1, round(share * self.o.inner_steps * problem.sizes[k] / problem.n_samples))

    def _inner_steps(self) -> None:
        """The steps of one epoch on all chunks, and the mean of where they lead."""
        o, problem, rule, evaluation = self.o, self.problem, self.rule, self.evaluation
        assert isinstance(rule, ChunkRules)
        assert isinstance(evaluation, ChunkedEvaluation)
        start = problem.at(self.iterate.value())
        parts = [chunks.Part(share, self._steps_of(k), *rule.grid(k)) for k, share in enumerate(problem.shares)]
        epoch = chunks.Epoch(
            self.row.gradient, self.row.iterate, problem.at(self.point), evaluation.gradient, start, self.steps,
            {"bits": o.bits, "rounding": o.rounding, "dtype": o.dtype}, o.sampling, o.compiled, (o.seed, self.epoch),
            parts,
        )  # fmt: skip
        displacement, outcomes = self._run_chunks(evaluation.values, epoch)
        for one, outcome in zip(rule.rules, outcomes, strict=False):
            one.control = outcome.control
        taken = sum(part.inner_steps for part in parts) * o.batch_size
        self.passes += (taken - o.drawn) / problem.n_samples  # what the loop will count is o.drawn
        reports = [outcome.report for outcome in outcomes]
        self.report = Report(
            float(np.dot(problem.shares, [report.saturated for report in reports])),
            max(report.range_used for report in reports),
        )
        if self.row.iterate.centered:
            self.iterate.begin_epoch(max(rule.grid(k)[0] * one.control.change for k, one in enumerate(outcomes)))
        self.iterate.move_to(problem.point(start + displacement))

    def _run_chunks(self, values: list[Any], epoch: chunks.Epoch) -> chunks.Moved:
        """The steps of all chunks."""
        dask = dask_package()
        run, shared = dask.delayed(chunks.run_epoch, pure=False), dask.delayed(epoch, pure=False, traverse=False)
        each = zip(self.problem.chunks, values, strict=True)
        moved: chunks.Moved = tree_sum(
            [run(chunk, value, shared, k) for k, (chunk, value) in enumerate(each)]
        ).compute()
        return moved

    def _recenter(self) -> None:
        """As always; then whether f has grown, by the trapezoidal rule on the two gradients."""
        before, gradient = self.problem.at(self.point), self.evaluation.gradient
        super()._recenter()
        rule, after = self.rule, self.problem.at(self.point)
        assert isinstance(rule, ChunkRules)
        with np.errstate(over="ignore", invalid="ignore"):
            change = 0.5 * np.sum((gradient + self.evaluation.gradient) * (after - before))
            if self.problem.l1:
                d = self.problem.n_features
                change += self.problem.l1 * np.sum(np.abs(after[..., :d]) - np.abs(before[..., :d]))
        rule.too_far = not change <= 0
