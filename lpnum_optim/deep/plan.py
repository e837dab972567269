"""`PrecisionPlan`: which tensor of a network's training gets which format."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from . import assignment
from .assignment import TrainingTensor
from .candidates import PAPER, PARAMETER, Candidates, FormatsPerKind, range_problem
from .gradient_errors import Loss, gradient_errors
from .loss_scaling import LossScale
from .operators import Operator, refuse_compiled, trace
from .promotion import ErrorPromotion, Promotion, promotion_rule
from .report import Report, ReportRow
from .slots import Slot
from .step_statistics import only_training_counts
from .training import Training

__all__ = ["PrecisionPlan"]

ORDERS = "size", "error-per-byte", "size-increasing", "random"


class PrecisionPlan:
    """An assignment of formats to the tensors of a network's training steps.

    Four kinds of tensor are assigned: the copy of every parameter that takes part in a step, the output of every
    operator (and the network's input), and the gradients of both. Master weights, the optimizer's state, statistics of
    batch normalization and accumulators stay as they are. Make one with `demote`, `uniform` or `operator_based`; train
    under it with `apply`.

    The network is not rewritten. It is traced once, in training mode, on the example batch, and is afterwards as it was
    before. A plan holds for one path through the network; batches of any size, and images of any size that the network
    takes, may follow. What cannot be followed is an `UntraceableError` that names the place: recurrent layers and fused
    attention (one call for a whole network inside), custom functions of autograd, compiled modules.

    Attributes
    ----------
    name : str
    operators : list of Operator
        As they run.
    tensors : list of TrainingTensor
        All assigned tensors.
    low : list of bool
        The level of each.
    candidates : Candidates
        What low and high mean.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
    >>> plan = PrecisionPlan.demote(net, torch.zeros(128, 3, 8, 8), ratio=0.8)
    >>> round(plan.low_ratio, 3)
    0.837
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> with plan.apply(net, optimizer) as training:
    ...     loss = nn.functional.cross_entropy(net(torch.rand(128, 3, 8, 8)), torch.zeros(128, dtype=torch.int64))
    ...     loss.backward()
    ...     optimizer.step()
    >>> training.steps, training.skipped
    (1, 0)

    Sources: Lee, Sharma, Aiken, "Training with mixed-precision floating-point assignments", TMLR 06/2023 (groups,
    demotion by size, promotion); Sun et al., "Hybrid 8-bit floating point", NeurIPS 2019 (`operator_based`).
    """

    def __init__(
        self, operators: Sequence[Operator], tensors: Sequence[TrainingTensor], low: Sequence[bool],
        candidates: Candidates, name: str,
    ) -> None:  # fmt: skip
        self.operators, self.tensors, self.low = list(operators), list(tensors), list(low)
        self.candidates, self.name = candidates, name

    def __repr__(self) -> str:
        low = sum(low and self.candidates.saves(t.kind) > 0 for t, low in zip(self.tensors, self.low, strict=True))
        return f"<PrecisionPlan {self.name}: {low} of {len(self.low)} tensors low, {self.low_ratio:.1%}>"

    # ---- making a plan -----------------------------------------------------------------------------------------------

    @classmethod
    def demote(
        cls, model: nn.Module, example_batch: Any, ratio: float = 0.9, *, low: FormatsPerKind = PAPER["low"],
        high: FormatsPerKind = PAPER["high"], rounding: str = PAPER["rounding"], order: str = "size", seed: int = 0,
        loss: Loss | None = None, scaled: bool = False,
    ) -> PrecisionPlan:  # fmt: skip
        """Precision demotion: whole groups of tensors become low, in an order, until `ratio` of the elements is.

        A group begins at the network's input and at the output of every convolution, linear layer or matrix product;
        the outputs that follow and the parameters that they feed, with the gradients of all, belong to it.

        Parameters
        ----------
        model : nn.Module
        example_batch : tensor, or tuple of tensors
            The arguments of the forward pass; of the batch size in training, which decides how much the activations
            weigh against the parameters. Model and batch may be on the device "meta".
        ratio : float
            Between 0 and 1. Where gradients of parameters are never low, as in the paper, 1 is not reached: then all
            groups are low.
        low, high : format, its name, or dict of those
            One for all tensors, or one for each of "parameter", "output", "parameter-gradient", "output-gradient". By
            default those of the paper: FP(4,3,4), FP(5,2,0) for gradients of outputs, and FP(6,9,0) above them and for
            gradients of parameters. ``demote(model, batch, **OCP)`` takes float8_e4m3fn, float8_e5m2 and bfloat16.
        rounding : str
            As in `lpnum.encode`, but not "stochastic".
        order : {"size", "error-per-byte", "size-increasing", "random"}
            Largest groups first, as in the paper; those first that change the gradient of the example batch least for
            every byte that they save; smallest first; or a permutation drawn from `seed`.
        seed : int
            Of the order "random".
        loss : callable(output) -> scalar tensor, optional
            Of the order "error-per-byte", which takes one forward and backward pass per group, and at least two more.
            By default cross-entropy with random classes in dimension 1 of the output (squared distance to random
            numbers where there are fewer than 2).
        scaled : bool
            Of the order "error-per-byte": whether tensors will have scales, as in `apply`.

        Returns
        -------
        PrecisionPlan

        Raises
        ------
        UntraceableError
            The network does something that cannot be followed.
        ValueError
            `ratio`, formats or `order` that make no plan.

        Examples
        --------
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        >>> for ratio in (0.1, 0.5, 0.9):
        ...     print(PrecisionPlan.demote(net, torch.zeros(32, 64), ratio))
        <PrecisionPlan demote 0.1: 6 of 16 tensors low, 46.5%>
        <PrecisionPlan demote 0.5: 10 of 16 tensors low, 73.9%>
        <PrecisionPlan demote 0.9: 12 of 16 tensors low, 74.7%>
        >>> PrecisionPlan.demote(net, torch.rand(32, 64), 0.1, order="error-per-byte")
        <PrecisionPlan demote 0.1 by error-per-byte: 6 of 16 tensors low, 46.5%>
        """
        candidates = Candidates.of(low, high, rounding)
        if not 0.0 <= ratio <= 1.0:
            raise ValueError(f"PrecisionPlan.demote: ratio = {ratio}; expected 0 .. 1")
        if order not in ORDERS:
            raise ValueError(f"PrecisionPlan.demote: order = {order!r}; expected one of {', '.join(map(repr, ORDERS))}")
        operators, tensors = cls._traced(model, example_batch)
        if order == "random":
            groups = assignment.shuffled(tensors, seed)
        elif order == "error-per-byte":
            arguments = example_batch if isinstance(example_batch, tuple) else (example_batch,)
            errors = gradient_errors(model, arguments, operators, tensors, candidates, loss=loss, scaled=scaled)
            groups = assignment.by_error(tensors, errors, candidates)
        else:
            groups = assignment.by_size(tensors, decreasing=order == "size")
        levels = assignment.demoted(tensors, groups, ratio, candidates)
        name = f"demote {ratio:g}" + ("" if order == "size" else f" by {order}")
        return cls(operators, tensors, levels, candidates, name)

    @classmethod
    def uniform(
        cls, model: nn.Module, example_batch: Any, level: str = "low", *, low: FormatsPerKind = PAPER["low"],
        high: FormatsPerKind = PAPER["high"], rounding: str = PAPER["rounding"],
    ) -> PrecisionPlan:  # fmt: skip
        """Baseline: all tensors at one level.

        Parameters
        ----------
        model, example_batch, low, high, rounding
            As of `demote`.
        level : {"low", "high"}

        Examples
        --------
        >>> net = nn.Linear(8, 4)
        >>> PrecisionPlan.uniform(net, torch.zeros(2, 8)), PrecisionPlan.uniform(net, torch.zeros(2, 8), "high")
        (<PrecisionPlan uniform low: 6 of 8 tensors low, 70.0%>, <PrecisionPlan uniform high: 0 of 8 tensors low, 0.0%>)
        """
        if level not in ("low", "high"):
            raise ValueError(f"PrecisionPlan.uniform: level = {level!r}; expected 'low' or 'high'")
        candidates = Candidates.of(low, high, rounding)
        operators, tensors = cls._traced(model, example_batch)
        return cls(operators, tensors, [level == "low"] * len(tensors), candidates, f"uniform {level}")

    @classmethod
    def operator_based(
        cls, model: nn.Module, example_batch: Any, *, exempt_ends: bool = True, low: FormatsPerKind = PAPER["low"],
        high: FormatsPerKind = PAPER["high"], rounding: str = PAPER["rounding"],
    ) -> PrecisionPlan:  # fmt: skip
        """Baseline: what enters a convolution, linear layer or matrix product is low (HFP8).

        These are its operands, its parameters and, in the backward pass, the gradient of its output.

        Parameters
        ----------
        model, example_batch, low, high, rounding
            As of `demote`.
        exempt_ends : bool
            Whether the first and the last of these operators stay high with what they take, as in HFP8.

        Examples
        --------
        >>> net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> plan = PrecisionPlan.operator_based(net, torch.zeros(64, 8))
        >>> [tensor.name for tensor, low in zip(plan.tensors, plan.low) if low]
        ['1:relu:1', '2.weight', '2.bias', '2:linear:2']
        """
        candidates = Candidates.of(low, high, rounding)
        operators, tensors = cls._traced(model, example_batch)
        levels = assignment.operator_based(operators, tensors, exempt_ends)
        return cls(operators, tensors, levels, candidates, "operator-based")

    @staticmethod
    def _traced(model: nn.Module, example_batch: Any) -> tuple[list[Operator], list[TrainingTensor]]:
        arguments = example_batch if isinstance(example_batch, tuple) else (example_batch,)
        operators = trace(model, arguments)
        input_size = sum(t.numel() for t in arguments if isinstance(t, Tensor) and t.is_floating_point())
        return operators, assignment.tensors_of(operators, input_size, model)

    # ---- looking at it, training under it ----------------------------------------------------------------------------

    @property
    def low_ratio(self) -> float:
        """Share of the elements that are low."""
        return assignment.low_ratio(self.tensors, self.low, self.candidates)

    def report(self) -> Report:
        """Every tensor with its kind, group, format and bytes, and their totals; as text, CSV or picture.

        Returns
        -------
        Report

        Examples
        --------
        >>> print(PrecisionPlan.demote(nn.Linear(4, 3), torch.zeros(100_000, 4), 0.5).report())
        demote 0.5: 4 of 8 tensors low, 57.1 % of the elements
                        MiB   of float32    of 16 bits
        float32        5.34
        16 bits        2.67       2.00 x
        this           1.91       2.80 x        1.40 x
          FP(6,9,0) 1.14, FP(4,3,4) 0.38, FP(5,2,0) 0.38
        <BLANKLINE>
        tensor     kind                group  level  format     elements   bytes
        input      output                  0  low    FP(4,3,4)    400000  400000
        input      output-gradient         0  low    FP(5,2,0)    400000  400000
        weight     parameter               0  low    FP(4,3,4)        12      12
        weight     parameter-gradient      0  high   FP(6,9,0)        12      24
        bias       parameter               0  low    FP(4,3,4)         3       3
        bias       parameter-gradient      0  high   FP(6,9,0)         3       6
        :linear:0  output                  1  high   FP(6,9,0)    300000  600000
        :linear:0  output-gradient         1  high   FP(6,9,0)    300000  600000
        """
        rows = (
            ReportRow.of(
                t, (self.candidates.low if low else self.candidates.high)[t.kind], self.candidates.high[t.kind]
            )
            for t, low in zip(self.tensors, self.low, strict=True)
        )
        return Report(self.name, tuple(rows), self.low_ratio)

    @contextmanager
    def apply(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, promotion: Promotion | str | None = "overflow",
        scaled: bool | None = None, loss_scale: LossScale | None = None,
    ) -> Iterator[Training]:  # fmt: skip
        """Train under the plan within the block.

        The loop stays as it is: forward pass, ``loss.backward()``, ``optimizer.step()``. A step whose gradients
        overflow or are not finite is left out and counted. Leaving the block, also by an exception, takes everything
        off the model and the optimizer again.

        Parameters
        ----------
        model : nn.Module
            The network that the plan was made for, or one with the same operators and parameters.
        optimizer : torch.optim.Optimizer
            Of the model's parameters, which stay in full precision.
        promotion : {"overflow", "error"}, Promotion or None
            "overflow": the paper's rule, `OverflowPromotion`. "error": `ErrorPromotion`, which also takes tensors back.
        scaled : bool, optional
            Whether every tensor gets a power of two as its scale, so that its largest element fits into the format. By
            default with "error", but not otherwise.
        loss_scale : LossScale, optional
            By default dynamic, from 65536; none where tensors are scaled.

        Yields
        ------
        Training
            Counts of steps, the levels now, `Training.report`.

        Raises
        ------
        ValueError
            Another network than the plan's; an optimizer of another one; a model that trains under a plan already.
        UntraceableError
            From the forward pass, when it leaves the path that was traced. The step has not changed the weights then.

        Warns
        -----
        UserWarning
            A format has too little range for tensors without scales.
        """
        rule = promotion_rule(promotion)
        if scaled is None:
            scaled = isinstance(rule, ErrorPromotion)
        self._check(model, optimizer)
        if not scaled:
            self._warn_of_narrow_ranges()
        if loss_scale is None:
            loss_scale = LossScale(1.0, growth_interval=None) if scaled else LossScale()
        slots = [
            Slot(t, self.candidates.low[t.kind], self.candidates.high[t.kind], low, self.candidates.rounding, scaled)
            for t, low in zip(self.tensors, self.low, strict=True)
        ]
        training = Training(
            model, optimizer, self.operators, slots, promotion=rule, loss_scale=loss_scale, name=self.name
        )
        with training.active(), only_training_counts(model, slots):
            yield training

    def _check(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        refuse_compiled(model)
        if any(isinstance(getattr(hook, "__self__", None), Training) for hook in model._forward_pre_hooks.values()):
            raise ValueError("PrecisionPlan.apply: the model trains under a plan already; leave that block first")
        own = {id(parameter) for parameter in model.parameters()}
        if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
            raise ValueError("PrecisionPlan.apply: the optimizer has no parameter of the model")
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        for tensor in self.tensors:
            if tensor.kind == PARAMETER and sizes.get(tensor.name) != tensor.size:
                found = f"has {sizes[tensor.name]} elements" if tensor.name in sizes else "does not exist"
                raise ValueError(
                    f"PrecisionPlan.apply: the plan knows a parameter {tensor.name!r} of {tensor.size} elements, which "
                    f"{found} in this model; a plan holds for the network that it was made for"
                )

    def _warn_of_narrow_ranges(self) -> None:
        formats = {
            (t.kind, (self.candidates.low if low else self.candidates.high)[t.kind])
            for t, low in zip(self.tensors, self.low, strict=True)
        }
        problems = sorted({problem for kind, fmt in formats if (problem := range_problem(fmt, kind))})
        if problems:
            warnings.warn(
                f"PrecisionPlan.apply: {'; '.join(problems)}: without scales much would become 0 or the largest value. "
                "Pass scaled=True, or formats with more exponent bits",
                stacklevel=4,
            )
