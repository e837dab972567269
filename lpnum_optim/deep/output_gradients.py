"""Gradients of operators' outputs are rounded on their way back, where they are not on the grid already.

A hook on an output rounds the sum of all gradients that reach it, before hooks of the user's see it. Where that output
went into one operator alone, whose backward pass hands on the elements of its own, rounded gradient (a ReLU, a sum),
there is nothing to round.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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

# Their backward pass hands on elements of the gradient, or zeros. (That of a concatenation hands on parts with gaps,
# which the next operator would sum in another order: no saving is worth other bits.)
HANDS_ON = {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "clamp", "add", "add_", "__add__", "__iadd__"}


@dataclass
class _Made:
    """An output, as long as somebody holds it, and its hook."""

    reference: weakref.ref[Tensor]
    node: Any
    shape: torch.Size
    hook: _GradientHook

    def still_there(self) -> Tensor | None:
        """The tensor, if it has not been overwritten by an operator in place."""
        tensor = self.reference()
        return tensor if tensor is not None and tensor.grad_fn is self.node else None


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
        self._made: dict[Source, _Made] = {}
        self._taken: dict[Source, list[tuple[int, bool]]] = {}  # by which operator; whether it hands on gradients
        self.viewed: set[Source] = set()  # outputs of which there are views

    def taken(self, call: Call, sources: Iterable[Source]) -> None:
        """An operator takes these outputs."""
        hands_on = call.name in HANDS_ON and "alpha" not in call.kwargs
        for source in sources:
            self._taken.setdefault(source, []).append((call.index, hands_on))

    def made(self, tensor: Tensor, source: Source) -> None:
        """An operator has returned this."""
        if tensor.requires_grad:
            hook = _GradientHook(self._slot(source))
            tensor.register_hook(hook)
            self._made[source] = _Made(weakref.ref(tensor), tensor.grad_fn, tensor.shape, hook)

    def end(self) -> None:
        """The forward pass has ended: now it is known where every output went."""
        for source, made in self._made.items():
            held = made.still_there() is not None  # somebody may yet do something with it
            made.hook.rounds = held or not self._on_the_grid(source)
        self.begin()

    def scaled(self, output: Any, source_of: Any, scale: Callable[[], float]) -> Any:
        """What the network returns; the gradients that come in there are multiplied by the scale of that moment."""
        found = tensors_in(output)
        if not found:
            raise UntraceableError(
                f"the network returns a {type(output).__name__}, in which no tensor is found; it has to be a tensor, "
                "or tuples, lists or dictionaries of them"
            )
        seen: set[int] = set()

        def one(tensor: Tensor) -> Tensor:
            if not tensor.requires_grad or id(tensor) in seen:
                return tensor
            source = source_of(tensor)
            if source in self._taken or tensor.grad_fn is None:  # gradients from inside reach it as well
                return _Scaled.apply(tensor, scale)
            seen.add(id(tensor))
            made = self._made.get(source)
            if made is not None and made.still_there() is tensor:
                made.hook.scale = scale
            else:
                tensor.register_hook(lambda gradient: gradient * scale())
            return tensor

        if any(source_of(tensor) in self._taken or tensor.grad_fn is None for tensor in found):
            return with_tensors(output, one)
        for tensor in found:
            one(tensor)
        return output

    def _slot(self, source: Source) -> Slot:
        return self.slots[source if source[0] != INPUT else (INPUT, 0)]  # all inputs are one

    def _on_the_grid(self, source: Source) -> bool:
        takers = self._taken.get(source, [])
        if len(takers) != 1 or not takers[0][1] or source in self.viewed:
            return False
        after = takers[0][0], 0
        if after not in self._made:
            return False
        slot, next_slot = self._slot(source), self.slots[after]
        same_shape = self._made[source].shape == self._made[after].shape  # else it was summed
        return same_shape and (slot.fmt, slot.scaled, slot.rounding) == (
            next_slot.fmt, next_slot.scaled, next_slot.rounding,
        )  # fmt: skip


def _references(tensor: Tensor) -> tuple[int, int, int]:
    """How many hold the tensor, its memory and its Python object."""
    storage = tensor.untyped_storage()
    return tensor._use_count(), torch._C._storage_Use_Count(storage._cdata), sys.getrefcount(tensor)


class _GradientHook:
    """Rounds the gradient of an output, in place where nobody else holds it.

    Attributes
    ----------
    slot : Slot
    rounds : bool
        Whether there is anything to round.
    scale : callable() -> float, optional
        What the gradient is multiplied by before, where it comes in from outside of the network.
    """

    __slots__ = "rounds", "scale", "slot"

    def __init__(self, slot: Slot) -> None:
        self.slot, self.rounds = slot, True
        self.scale: Callable[[], float] | None = None

    def __call__(self, gradient: Tensor) -> Tensor | None:
        if not self.rounds and self.scale is None:
            return None
        refuse_second_derivatives()
        if self.scale is not None and (factor := self.scale()) != 1.0:
            gradient = gradient * factor
            out = gradient
        elif _references(gradient) == _references_of_owned() and is_dense(gradient):
            out = gradient
        else:
            gradient = gradient if is_dense(gradient) else gradient.contiguous()
            out = torch.empty_like(gradient)
        self.slot.round_into(out, gradient, codes=False)
        return out


class _Probe(_GradientHook):
    """Sees what `_references` says in a hook of a gradient that nobody else holds."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = (0, 0, 0)

    def __call__(self, gradient: Tensor) -> None:
        self.seen = _references(gradient)


@lru_cache(maxsize=1)
def _references_of_owned() -> tuple[int, int, int]:
    """Counts that depend on torch's version, and so are measured."""
    probe = _Probe()
    with torch.enable_grad():
        x = torch.ones(2, requires_grad=True)
        y = x * 1.0
        y.register_hook(probe)
        torch.autograd.grad((y * 2.0).square().sum(), x)
    return probe.seen


class _Scaled(torch.autograd.Function):
    """The tensor itself; its gradient is multiplied."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, scale: Callable[[], float]) -> Tensor:
        ctx.scale = scale
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] * ctx.scale(), None
