"""Gradients of operators' outputs are rounded on their way back, where they are not on the grid already.

A hook on the autograd node that made an output rounds the sum of all gradients that reach it. Where that output went
into one operator alone, whose backward pass hands on the elements of its own, rounded gradient (a ReLU, a sum), there
is nothing to round: the hook is left out.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .codes import is_dense
from .low_copies import refuse_second_derivatives
from .nested import tensors_in, with_tensors
from .operators import INPUT, Call, Source, UntraceableError
from .slots import Slot

__all__ = ["OutputGradients"]

# Their backward pass hands on elements of the gradient, or zeros.
HANDS_ON = {
    "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "clamp", "add", "add_", "__add__", "__iadd__", "cat", "concat",
    "concatenate",
}  # fmt: skip
JOINS = {"cat", "concat", "concatenate"}  # whose inputs have other shapes than the result


class OutputGradients:
    """Hooks for the gradients of one forward pass's outputs, decided when the pass is over.

    Parameters
    ----------
    slots : dict of source to Slot
        Those of the gradients.
    """

    def __init__(self, slots: dict[Source, Slot]) -> None:
        self.slots = slots
        self.begin()

    def begin(self) -> None:
        """A forward pass begins; what is left of one that failed is forgotten."""
        self._made: dict[Source, tuple[weakref.ref[Tensor], Any, int, torch.Size]] = {}
        self._taken: dict[Source, list[Call]] = {}
        self.viewed: set[Source] = set()  # outputs of which there are views

    def taken(self, call: Call, sources: Iterable[Source]) -> None:
        """An operator takes these outputs."""
        for source in sources:
            self._taken.setdefault(source, []).append(call)

    def made(self, tensor: Tensor, source: Source) -> None:
        """An operator has returned this."""
        if tensor.requires_grad:
            self._made[source] = weakref.ref(tensor), tensor.grad_fn, tensor.output_nr, tensor.shape

    def end(self) -> None:
        """The forward pass has ended: now it is known where every output went."""
        for source, (reference, node, number, _) in self._made.items():
            tensor = reference()
            held = tensor is not None and tensor.grad_fn is node  # somebody may still do something with it
            if held or not self._on_the_grid(source):
                node.register_prehook(_rounds(self._slot(source), number))
        self.begin()

    def scaled(self, output: Any, source_of: Any, scale: Callable[[], float]) -> Any:
        """What the network returns; the gradients that come in there are multiplied by the scale of that moment."""
        found = tensors_in(output)
        if not found:
            raise UntraceableError(
                f"the network returns a {type(output).__name__}, in which no tensor is found; it has to be a tensor, or "
                "tuples, lists or dictionaries of them"
            )
        hooked: set[tuple[Any, int]] = set()

        def one(tensor: Tensor) -> Tensor:
            if not tensor.requires_grad or tensor.grad_fn is None:
                return tensor
            if source_of(tensor) in self._taken:  # gradients from inside reach it as well
                return _Scaled.apply(tensor, scale)
            key = tensor.grad_fn, tensor.output_nr
            if key not in hooked:
                hooked.add(key)
                tensor.grad_fn.register_prehook(_multiplies(scale, tensor.output_nr))
            return tensor

        if any(source_of(tensor) in self._taken for tensor in found):
            return with_tensors(output, one)
        for tensor in found:
            one(tensor)
        return output

    def _slot(self, source: Source) -> Slot:
        return self.slots[source if source[0] != INPUT else (INPUT, 0)]  # all inputs are one

    def _on_the_grid(self, source: Source) -> bool:
        calls = self._taken.get(source, [])
        if len(calls) != 1 or source in self.viewed or calls[0].name not in HANDS_ON or "alpha" in calls[0].kwargs:
            return False
        after = calls[0].index, 0
        if after not in self._made:
            return False
        slot, next_slot = self._slot(source), self.slots[after]
        same_shape = calls[0].name in JOINS or self._made[source][3] == self._made[after][3]
        return same_shape and (slot.fmt, slot.scaled, slot.rounding) == (
            next_slot.fmt, next_slot.scaled, next_slot.rounding,
        )  # fmt: skip


def _references(tensor: Tensor) -> tuple[int, int, int]:
    """How many hold the tensor, its memory and its Python object."""
    storage = tensor.untyped_storage()
    return tensor._use_count(), torch._C._storage_Use_Count(storage._cdata), sys.getrefcount(tensor)


@lru_cache(maxsize=1)
def _references_of_owned() -> tuple[int, int, int]:
    """What `_references` says in a hook of a gradient that nobody else holds."""
    seen: list[tuple[int, int, int]] = []

    def hook(gradients: Any) -> None:
        gradient = gradients[0]
        seen.append(_references(gradient))

    with torch.enable_grad():
        x = torch.ones(2, requires_grad=True)
        y = x * 1.0
        y.grad_fn.register_prehook(hook)
        torch.autograd.grad((y * 2.0).square().sum(), x)
    return seen[0]


def _rounds(slot: Slot, number: int) -> Any:
    """A hook that rounds the gradient of output `number` of a node, in place where it belongs to the node alone."""
    owned = _references_of_owned()

    def hook(gradients: Any) -> Any:
        gradient = gradients[number]
        if gradient is None:
            return None
        refuse_second_derivatives()
        if _references(gradient) == owned and is_dense(gradient):
            slot.round_into(gradient, gradient, codes=False)
            return None
        source = gradient if is_dense(gradient) else gradient.contiguous()
        rounded = torch.empty_like(source)
        slot.round_into(rounded, source, codes=False)
        return *gradients[:number], rounded, *gradients[number + 1 :]

    return hook


def _multiplies(scale: Callable[[], float], number: int) -> Any:
    """A hook that scales the gradient of output `number` of a node."""

    def hook(gradients: Any) -> Any:
        gradient, factor = gradients[number], scale()
        if gradient is None or factor == 1.0:
            return None
        return *gradients[:number], gradient * factor, *gradients[number + 1 :]

    return hook


class _Scaled(torch.autograd.Function):
    """The tensor itself; its gradient is multiplied."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, scale: Callable[[], float]) -> Tensor:
        ctx.scale = scale
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] * ctx.scale(), None
