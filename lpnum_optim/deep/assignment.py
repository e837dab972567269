"""Which tensor of a training step gets which format: the tensors, their groups, and the ways to choose.

Four kinds of tensor belong to a step (Lee, Sharma, Aiken 2023): the low-precision copy of every parameter, the output
of every operator, and the gradients of both. Master weights, momentum, statistics and accumulators are not assigned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

import lpnum
from lpnum.formats import Format

from .operators import INPUT, Operator, Source

__all__ = ["OCP", "PAPER", "Candidates", "TrainingTensor", "demoted", "groups_of", "operator_based", "tensors_of"]

# The kinds, with the letters of the paper's code: P, Y, GP, GY.
PARAMETER, OUTPUT, PARAMETER_GRADIENT, OUTPUT_GRADIENT = KINDS = "P", "Y", "GP", "GY"
Kind = str


@dataclass(frozen=True)
class Candidates:
    """What "low" and "high" mean for each kind of tensor.

    Attributes
    ----------
    low, high : dict of kind ("P", "Y", "GP", "GY") to format
    rounding : str
        Of all of them.
    """

    low: Mapping[Kind, Format]
    high: Mapping[Kind, Format]
    rounding: str = "nearest-even"

    @classmethod
    def of(cls, low: Any, high: Any, rounding: str = "nearest-even") -> Candidates:
        """From formats or their names: one for all kinds, or a dictionary with all four."""
        return cls(_per_kind(low, "low"), _per_kind(high, "high"), rounding)


def _per_kind(formats: Any, what: str) -> dict[Kind, Format]:
    if isinstance(formats, Mapping):
        if set(formats) != set(KINDS):
            raise ValueError(
                f"{what}: formats for {', '.join(map(repr, formats))}; expected one for each of {', '.join(KINDS)}"
            )
        return {kind: lpnum.format(formats[kind]) for kind in KINDS}
    return dict.fromkeys(KINDS, lpnum.format(formats))


FP434 = lpnum.minifloat(4, 3, bias=11, specials="none")
FP520 = lpnum.minifloat(5, 2, bias=15, specials="none")
FP690 = lpnum.minifloat(6, 9, bias=31, specials="none")

# FP(4,3,4), FP(5,2,0) and FP(6,9,0) of the paper: 8 and 16 bits without special values, ties away from zero; gradients
# of parameters are never low.
PAPER = Candidates.of(
    {PARAMETER: FP434, OUTPUT: FP434, OUTPUT_GRADIENT: FP520, PARAMETER_GRADIENT: FP690}, FP690, "nearest-away"
)
# The OCP pair of 8-bit formats, with bfloat16 above them.
OCP = Candidates.of(
    {PARAMETER: lpnum.float8_e4m3fn, OUTPUT: lpnum.float8_e4m3fn, OUTPUT_GRADIENT: lpnum.float8_e5m2,
     PARAMETER_GRADIENT: lpnum.bfloat16}, lpnum.bfloat16,
)  # fmt: skip


@dataclass(frozen=True)
class TrainingTensor:
    """A tensor of a training step.

    Attributes
    ----------
    kind : {"P", "Y", "GP", "GY"}
    name : str
        Of the parameter; of an output, ``module:function:number`` of its operator ("input" is the network's).
    source : (int, int)
        Of an output: number of the operator that makes it (-1: the input), and which of its outputs it is. Of a
        parameter: number of the operator that takes it, and which of its parameters it is.
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
    """All tensors of a step; a parameter belongs to the group of the operator that feeds the one that takes it."""
    groups = groups_of(operators)
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters(remove_duplicate=False)}
    tensors = [TrainingTensor(kind, "input", (INPUT, 0), 0, input_size) for kind in (OUTPUT, OUTPUT_GRADIENT)]
    for op in operators:
        name = f"{op.module}:{op.function}:{op.index}"
        feeding = groups[op.inputs[-1][0]]
        tensors += [
            TrainingTensor(kind, parameter, (op.index, k), feeding, sizes[parameter])
            for k, parameter in enumerate(op.parameters)
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
        if is_low and candidates.low[tensor.kind].bits < candidates.high[tensor.kind].bits:
            narrow += tensor.size
    return narrow / total if total else 0.0


def demoted(
    tensors: Sequence[TrainingTensor], order: Sequence[int], ratio: float, candidates: Candidates
) -> list[bool]:
    """Which tensors are low after whole groups, in this order, were demoted until `ratio` is reached."""
    chosen: set[int] = set()
    remaining = list(order)
    low = [False] * len(tensors)
    while remaining and low_ratio(tensors, low, candidates) < ratio - 1e-12:
        chosen.add(remaining.pop(0))
        low = [tensor.group in chosen for tensor in tensors]
    return low


def by_size(tensors: Sequence[TrainingTensor], decreasing: bool = True) -> list[int]:
    """Groups ordered by their number of elements."""
    sizes: dict[int, int] = {}
    for tensor in tensors:
        sizes[tensor.group] = sizes.get(tensor.group, 0) + tensor.size
    return sorted(sizes, key=lambda group: -sizes[group] if decreasing else sizes[group])


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
    return [
        {
            PARAMETER: tensor.source[0] in numbers,
            OUTPUT: tensor.source in feeding,
            OUTPUT_GRADIENT: tensor.source[0] in numbers,
            PARAMETER_GRADIENT: False,
        }[tensor.kind]
        for tensor in tensors
    ]
