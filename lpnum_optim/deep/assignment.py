"""Which tensor of a training step gets which format: the tensors, their groups, and the ways to choose.

Four kinds of tensor belong to a step (Lee, Sharma, Aiken 2023): the low-precision copy of every parameter, the output
of every operator, and the gradients of both. Master weights, momentum, statistics and accumulators are not assigned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from .candidates import KINDS, OUTPUT, OUTPUT_GRADIENT, PARAMETER, PARAMETER_GRADIENT, Candidates, Kind
from .operator_kinds import VIEW
from .operators import INPUT, Operator, Source

__all__ = ["KINDS", "OUTPUT", "OUTPUT_GRADIENT", "PARAMETER", "PARAMETER_GRADIENT", "TrainingTensor", "demoted",
           "groups_of", "low_ratio", "operator_based", "tensors_of"]  # fmt: skip


@dataclass(frozen=True)
class TrainingTensor:
    """A tensor of a training step.

    Attributes
    ----------
    kind : {"parameter", "output", "parameter-gradient", "output-gradient"}
    name : str
        Of the parameter; of an output, ``module:function:number`` of its operator ("input" is the network's).
    source : (int, int)
        Of an output: number of the operator that makes it (-1: the input), and which of its outputs it is. Of a
        parameter: number of the operator that takes it first, and which of its parameters it is.
    group : int
        Tensors of one group change their level together.
    size : int
        Elements, at the example's batch size.
    """

    kind: Kind
    name: str
    source: Source
    group: int
    size: int


def groups_of(operators: Sequence[Operator]) -> dict[int, int]:
    """Group of every operator's output; a new one starts at the input and at every output of a sum of products."""
    groups, current = {INPUT: 0}, 0
    for op in operators:
        current += op.kind.gemm
        groups[op.index] = current
    return groups


def tensors_of(operators: Sequence[Operator], input_size: int, module: nn.Module) -> list[TrainingTensor]:
    """All tensors of a step; a parameter belongs to the group of the operator that feeds the one that takes it.

    A parameter that is used several times is counted once, at its first use.
    """
    groups = groups_of(operators)
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    tensors = [TrainingTensor(kind, "input", (INPUT, 0), 0, input_size) for kind in (OUTPUT, OUTPUT_GRADIENT)]
    for op in operators:
        name = f"{op.module}:{op.function}:{op.index}"
        feeding = groups[op.inputs[-1][0] if op.inputs else op.index]
        for k, parameter in enumerate(op.parameters):
            if parameter in sizes:
                size = sizes.pop(parameter)
                tensors += [
                    TrainingTensor(kind, parameter, (op.index, k), feeding, size)
                    for kind in (PARAMETER, PARAMETER_GRADIENT)
                ]
        tensors += [
            TrainingTensor(kind, name, (op.index, k), groups[op.index], math.prod(shape))
            for k, shape in enumerate(op.shapes)
            for kind in (OUTPUT, OUTPUT_GRADIENT)
        ]
    return tensors


def low_ratio(tensors: Iterable[TrainingTensor], low: Iterable[bool], candidates: Candidates) -> float:
    """Share of the elements that are at a format narrower than their high one."""
    total = narrow = 0
    for tensor, is_low in zip(tensors, low, strict=True):
        total += tensor.size
        if is_low and candidates.saves(tensor.kind):
            narrow += tensor.size
    return narrow / total if total else 0.0


def demoted(
    tensors: Sequence[TrainingTensor], order: Sequence[int], ratio: float, candidates: Candidates
) -> list[bool]:
    """Which tensors are low after whole groups, in this order, were demoted until `ratio` is reached."""
    gains = dict.fromkeys(order, 0)
    for tensor in tensors:
        gains[tensor.group] += tensor.size * bool(candidates.saves(tensor.kind))
    wanted = (ratio - 1e-12) * sum(tensor.size for tensor in tensors)
    reached, chosen = 0, set()
    for group in order:
        if reached >= wanted:
            break
        reached += gains[group]
        chosen.add(group)
    return [tensor.group in chosen for tensor in tensors]


def by_size(tensors: Sequence[TrainingTensor], decreasing: bool = True) -> list[int]:
    """Groups ordered by their number of elements."""
    sizes: dict[int, int] = {}
    for tensor in tensors:
        sizes[tensor.group] = sizes.get(tensor.group, 0) + tensor.size
    return sorted(sizes, key=lambda group: -sizes[group] if decreasing else sizes[group])


def by_error(tensors: Sequence[TrainingTensor], errors: Mapping[int, float], candidates: Candidates) -> list[int]:
    """Groups ordered by their error in the low formats, per byte that these save; smallest first."""
    saved = dict.fromkeys(errors, 0)
    for tensor in tensors:
        saved[tensor.group] += tensor.size * candidates.saves(tensor.kind)
    return sorted(errors, key=lambda group: errors[group] / saved[group] if saved[group] else math.inf)


def shuffled(tensors: Sequence[TrainingTensor], seed: int) -> list[int]:
    """Groups in random order."""
    groups = sorted({tensor.group for tensor in tensors})
    return [int(g) for g in np.random.default_rng(seed).permutation(groups)]


def operator_based(
    operators: Sequence[Operator], tensors: Sequence[TrainingTensor], exempt_ends: bool = True
) -> list[bool]:
    """What goes into a sum of products is low: its operands, parameters and the gradient of its output (HFP8).

    The first and the last of these operators, and what lies between them and the ends of the network, stay high.
    """
    gemms = [op for op in operators if op.kind.gemm]
    inner = gemms[1:-1] if exempt_ends else gemms
    numbers = {op.index for op in inner}
    feeding = {source for op in inner for source in op.inputs}
    views = {op.index for op in operators if op.kind is VIEW and (op.index, 0) in feeding}
    return [
        {
            PARAMETER: tensor.source[0] in numbers | views,
            OUTPUT: tensor.source in feeding,
            OUTPUT_GRADIENT: tensor.source[0] in numbers,
            PARAMETER_GRADIENT: False,
        }[tensor.kind]
        for tensor in tensors
    ]
