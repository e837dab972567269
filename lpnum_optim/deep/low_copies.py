"""The low-precision copies of a network's parameters, and the way back of their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .codes import is_dense
from .saved import CodeStore, SavedCodes
from .slots import Slot

__all__ = ["LowCopies", "refuse_second_derivatives"]


def refuse_second_derivatives() -> None:
    """Gradients are rounded outside of autograd's sight."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "a backward pass with create_graph=True under a precision plan: the rounding of gradients has no "
            "derivative. Compute second derivatives outside of `apply`"
        )


class _Copied(torch.autograd.Function):
    """All copies at once: parameters in, rounded copies out; gradients pass through, rounded."""

    @staticmethod
    def forward(ctx: Any, copies: LowCopies, *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.copies = copies
        ctx.set_materialize_grads(False)
        results = tuple(copies.rounded(parameters))
        ctx.mark_non_differentiable(*(r for r, p in zip(results, parameters, strict=True) if not p.requires_grad))
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        refuse_second_derivatives()
        return None, *ctx.copies.gradients(gradients)


@dataclass
class _Entry:
    """A parameter and its slots."""

    name: str
    parameter: nn.Parameter
    slot: Slot
    gradient_slot: Slot


class LowCopies:
    """Makes the copies for a forward pass; small parameters share one pass of rounding.

    Parameters
    ----------
    module : nn.Module
    slots, gradient_slots : dict of name to Slot
        Of the parameters that take part in a step.
    store : CodeStore
        Where the codes of copies are noted, for autograd to save.
    min_numel : int
        Smaller ones are not saved as codes.
    inverse_scale : callable() -> float
        What gradients are multiplied by: 1 / loss scale, a power of two.
    """

    def __init__(
        self, module: nn.Module, slots: dict[str, Slot], gradient_slots: dict[str, Slot], store: CodeStore,
        min_numel: int, inverse_scale: Callable[[], float],
    ) -> None:  # fmt: skip
        self.entries = [
            _Entry(name, parameter, slots[name], gradient_slots[name])
            for name, parameter in module.named_parameters()
            if name in slots
        ]
        self.store, self.min_numel, self.inverse_scale = store, min_numel, inverse_scale
        self._by_name: dict[str, Tensor] = {}
        self._codes: dict[str, SavedCodes] = {}

    def __contains__(self, name: str) -> bool:
        """Whether a parameter has a copy."""
        return any(entry.name == name for entry in self.entries)

    def __getitem__(self, name: str) -> Tensor:
        """The copy of a parameter."""
        return self._by_name[name]

    def make(self, measure: bool) -> None:
        """Copies of what the parameters are now."""
        if measure:
            for entry in self.entries:
                entry.slot.measure(entry.parameter)
        if self.entries:
            parameters = [entry.parameter for entry in self.entries]
            made = _Copied.apply(self, *parameters) if torch.is_grad_enabled() else self.rounded(parameters)
            self._by_name = {entry.name: copy for entry, copy in zip(self.entries, made, strict=True)}
        for name, codes in self._codes.items() if torch.is_grad_enabled() else ():
            self.store.keep(self._by_name[name], codes)
        self._codes = {}

    def forget(self) -> None:
        """The forward pass is over; autograd keeps what it needs."""
        self._by_name = {}

    def rounded(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Rounded values of all of them; notes the codes of the large ones."""
        self._codes = {}
        slots = [entry.slot for entry in self.entries]
        small, results = self._small(parameters, slots)
        for k, (entry, parameter) in enumerate(zip(self.entries, parameters, strict=True)):
            if k in small:
                continue
            dense = parameter if is_dense(parameter) else parameter.contiguous()
            out = torch.empty_like(dense)
            codes, scale = entry.slot.round_into(out, dense, codes=True)
            self._codes[entry.name] = SavedCodes(codes, entry.slot.fmt, scale, out.dtype)
            results[k] = out
        return [results[k] for k in range(len(parameters))]

    def _small(self, tensors: Sequence[Tensor | None], slots: Sequence[Slot]) -> tuple[set[int], dict[int, Tensor]]:
        """Round what is small together, format by format; which ones, and their values."""
        groups: dict[Any, list[int]] = {}
        for k, (tensor, slot) in enumerate(zip(tensors, slots, strict=True)):
            if tensor is not None and tensor.numel() < self.min_numel and not slot.scaled:
                groups.setdefault((slot.fmt, tensor.dtype), []).append(k)
        results: dict[int, Tensor] = {}
        for members in groups.values():
            sources = [tensors[k].detach().reshape(-1) for k in members]  # type: ignore[union-attr]
            flat = torch.cat(sources)
            slots[members[0]].round_together(flat, [(slots[k], s) for k, s in zip(members, sources, strict=True)])
            for k, part in zip(members, flat.split([s.numel() for s in sources]), strict=True):
                results[k] = part.view(tensors[k].shape)  # type: ignore[union-attr]
        return set(results), results

    def gradients(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients of the copies, rounded and freed from the loss scale: those of the parameters."""
        slots = [entry.gradient_slot for entry in self.entries]
        small, results = self._small(gradients, slots)
        for k, (slot, gradient) in enumerate(zip(slots, gradients, strict=True)):
            if gradient is not None and k not in small:
                dense = gradient if is_dense(gradient) else gradient.contiguous()
                results[k] = torch.empty_like(dense)
                slot.round_into(results[k], dense, codes=False)
        factor = self.inverse_scale()
        if factor != 1.0 and results:
            torch._foreach_mul_(list(results.values()), factor)
        return [results.get(k) for k in range(len(gradients))]


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no element of any of them is infinite or NaN."""
    present = list(tensors)
    if not present:
        return True
    norms = torch._foreach_norm(present, float("inf"))
    return bool(torch.isfinite(torch.stack([norm.float() for norm in norms])).all())
