"""Outputs of operators are rounded in place, in one pass that also makes the codes, and only where it is needed.

A ReLU, a maximum or a concatenation of values on a grid is on that grid: nothing is rounded. Codes are made where they
were wanted in the first step: by autograd, or by a ReLU, whose codes follow from those of its input.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lpnum.formats import FloatFormat, Format

from .codes import is_dense
from .operators import INPUT, Call, Source
from .saved import CodeStore, Demand, SavedCodes
from .slots import Slot

__all__ = ["RoundedOutputs"]

RELU = {"relu", "relu_"}
KEEPS_GRID = RELU | {
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "cat", "concat", "concatenate", "chunk", "split", "tensor_split", "unbind",
}  # fmt: skip


class RoundedOutputs:
    """Rounds what the operators of a forward pass return.

    Parameters
    ----------
    slots : dict of source to Slot
        Those of the outputs.
    store : CodeStore
        Where codes are noted for autograd to save.
    """

    def __init__(self, slots: dict[Source, Slot], store: CodeStore) -> None:
        self.slots, self.store = slots, store
        self._demands = {slot: Demand() for slot in slots.values()}
        self.begin(saving=False)

    def begin(self, *, saving: bool) -> None:
        """A forward pass begins; `saving`: autograd follows it."""
        self._saving = saving
        self._on_grid: dict[Source, tuple[Slot, Format, weakref.ref[SavedCodes]]] = {}  # not scaled ones
        self._codes_made: list[Demand] = []
        self._running: tuple[Slot, SavedCodes | None] | None = None

    def end(self) -> None:
        """Learn whose codes nobody wanted."""
        for demand in self._codes_made:
            demand.known = True
        self.begin(saving=False)

    # ---- one operator ------------------------------------------------------------------------------------------------

    def run(self, call: Call, sources: Sequence[Source], touched: set[Source], measure: bool) -> Any:
        """The result of an operator that takes these outputs, rounded.

        `touched`: outputs of which there are views; `measure`: the errors of rounding.
        """
        slot = self.slots.get((call.index, 0))
        on_grid = self._grid_kept(call, sources, touched, slot)
        if call.kind.saves_result and slot is not None:
            self._running = slot, on_grid[0] if on_grid and call.name in RELU else None
        inputs = None if on_grid else {tensor.untyped_storage().data_ptr() for tensor in call.tensors}
        try:
            result = call.run()
        finally:
            self._running = None
        if inputs is None:
            for k, output in enumerate(call.outputs(result)):
                if measure:
                    self.slots[call.index, k].measure(output)
                self._note_on_grid(output, (call.index, k))
            return result
        outputs = call.outputs(result)
        for k, output in enumerate(outputs):
            shared = output.untyped_storage().data_ptr() in inputs
            if not is_dense(output) or (shared and not any(output is tensor for tensor in call.tensors)):
                # A view of what another operator returned, in another format than that, needs memory of its own.
                result = _replaced(result, output, output := output.clone(memory_format=torch.contiguous_format))
            if measure:
                self.slots[call.index, k].measure(output)
            self.round_(output, (call.index, k))
        return result

    def _grid_kept(
        self, call: Call, sources: Sequence[Source], touched: set[Source], slot: Slot | None
    ) -> list[SavedCodes | None]:
        """The codes of the inputs, if the result of the call is on the grid without rounding."""
        if call.name not in KEEPS_GRID or slot is None or slot.scaled or not touched.isdisjoint(sources):
            return []
        if len(sources) != sum(tensor.is_floating_point() for tensor in call.tensors):
            return []  # a constant among them
        found = [self._on_grid.get(source) for source in sources]
        if any(entry is None or entry[1] != slot.fmt or entry[0].rounding != slot.rounding for entry in found):
            return []
        return [entry[2]() for entry in found if entry is not None]

    def _note_on_grid(self, output: Tensor, source: Source) -> None:
        slot = self.slots[source]
        saved = self.store.find(output) if self._saving and output.numel() else None
        if not isinstance(saved, SavedCodes):
            saved = SavedCodes(None, slot.fmt, 1.0, output.dtype, self._demands[slot])
        self._keep(output, source, slot, saved)

    def codes_of_result(self, tensor: Tensor) -> SavedCodes | None:
        """Codes of what autograd saves and does not know: results of the running operator; others stay as they are."""
        if self._running is None:
            return None
        slot, before = self._running
        if before is not None and before.codes is not None and _sign_is_top_bit(slot.fmt):
            if before.demand is not None:
                before.demand.wanted = True
            codes = before.codes.view(torch.int8) if before.codes.dtype == torch.uint8 else before.codes
            return SavedCodes(codes.clamp_min(0).view(before.codes.dtype), slot.fmt, 1.0, tensor.dtype)
        codes, scale = slot.round_into(None, tensor)
        return SavedCodes(codes, slot.fmt, scale, tensor.dtype)

    def round_(self, output: Tensor, source: Source) -> None:
        """Round an output in place, behind autograd's back: to it, this is what the operator returned."""
        slot = self.slots[source] if source[0] != INPUT else self.slots[INPUT, 0]
        saved = self.store.find(output) if self._saving else None
        if isinstance(saved, SavedCodes) and saved.codes is not None:
            saved.write_to(output)
        else:
            demand = self._demands[slot]
            codes, scale = slot.round_into(output, output, codes=self._saving and (demand.wanted or not demand.known))
            saved = SavedCodes(codes, slot.fmt, scale, output.dtype, demand)
            if codes is not None:
                self._codes_made.append(demand)
        self._keep(output, source, slot, saved)

    def _keep(self, output: Tensor, source: Source, slot: Slot, saved: SavedCodes) -> None:
        if not slot.scaled:
            self._on_grid[source] = slot, saved.fmt, weakref.ref(saved)
        if self._saving:
            self.store.keep(output, saved)


def _sign_is_top_bit(fmt: Format) -> bool:
    """Whether a code is that of a negative number where it is negative as an integer, and 0 is the code of zero."""
    return isinstance(fmt, FloatFormat) and fmt.signed and fmt.has_negative_zero and fmt.bits in (8, 16)


def _replaced(result: Any, old: Tensor, new: Tensor) -> Any:
    """A result with another tensor in the place of one."""
    if isinstance(result, (tuple, list)):
        return type(result)(new if item is old else item for item in result)
    return new if result is old else result
