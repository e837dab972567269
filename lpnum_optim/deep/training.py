"""Training under a precision assignment: what `PrecisionPlan.apply` switches on.

While the root module's forward pass runs, every operator's output is rounded in place to its format and a hook on it
rounds the gradient that comes back; parameters are replaced by their rounded copies for the call. What autograd saves
are the codes. The user's loop stays as it is: ``loss.backward(); optimizer.step()``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .assignment import OUTPUT, OUTPUT_GRADIENT, PARAMETER, PARAMETER_GRADIENT
from .codes import decode, is_dense
from .loss_scaling import LossScale
from .operators import INPUT, Call, Operator, OperatorMode, UntraceableError
from .promotion import Promotion
from .report import Report, ReportRow
from .saved import CodeStore, SavedCodes, SavedTensorHooks
from .slots import Slot
from .step_statistics import StepStatistics, share_of_low

__all__ = ["Training"]

Key = tuple[str, tuple[int, int]]  # kind and source of a tensor


class _LowCopy(torch.autograd.Function):
    """A parameter's rounded copy; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, values: Tensor) -> Tensor:
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], None


class Training:
    """The state of training under a plan; `PrecisionPlan.apply` makes it.

    Attributes
    ----------
    slots : list of Slot
        All assigned tensors.
    loss_scale : LossScale
    statistics : StepStatistics
        Average low ratio, largest overflows.
    steps, skipped : int
        Steps of the optimizer, and how many of them were left out because a gradient overflowed.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        operators: list[Operator],
        slots: list[Slot],
        *,
        promotion: Promotion | None,
        loss_scale: LossScale,
        name: str = "training",
        min_numel: int = 1024,
    ) -> None:
        self.module, self.optimizer, self.operators, self.slots = module, optimizer, operators, slots
        self.promotion, self.loss_scale, self.name = promotion, loss_scale, name
        self.statistics = StepStatistics(slots)
        self.steps = self.skipped = 0
        self._by_key: dict[Key, Slot] = {(slot.tensor.kind, slot.tensor.source): slot for slot in slots}
        self._parameter_slots = {slot.tensor.name: slot for slot in slots if slot.tensor.kind == PARAMETER}
        self._gradient_slots = {slot.tensor.name: slot for slot in slots if slot.tensor.kind == PARAMETER_GRADIENT}
        self._store = CodeStore()
        self._hooks = SavedTensorHooks(self._encode_saved, self._store, min_numel)
        self._saving: Slot | None = None  # of the result that a call saves before it returns it
        self._mode = OperatorMode(module, self._handle)
        self._forward: ExitStack | None = None
        self._measuring = False

    # ---- switching on and off ----------------------------------------------------------------------------------------

    @contextmanager
    def active(self) -> Iterator[Training]:
        """Hooks on the module, its parameters and the optimizer; all gone afterwards, whatever happens."""
        with ExitStack() as stack:
            stack.enter_context(self._mode.watching(self.module))
            for handle in (
                self.module.register_forward_pre_hook(self._begin_forward, prepend=True, with_kwargs=True),
                self.module.register_forward_hook(self._end_forward, always_call=True),
            ):
                stack.callback(handle.remove)
            for name, parameter in self.module.named_parameters():
                if parameter.requires_grad:
                    stack.callback(parameter.register_hook(self._gradient_hook(name)).remove)
            step = self.optimizer.step
            self.optimizer.step = self._step(step)
            stack.callback(lambda: self.optimizer.__dict__.pop("step", None))
            stack.callback(self._leave_forward)
            yield self

    def _begin_forward(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        self._leave_forward()
        self._forward = ExitStack()
        if torch.is_grad_enabled():
            hooks = torch.autograd.graph.saved_tensors_hooks(self._hooks.pack, self._hooks.unpack)
            self._forward.enter_context(hooks)
        every = self.promotion.measure_every if self.promotion else 0
        self._measuring = bool(every) and self.steps % every == 0 and torch.is_grad_enabled()
        args = tuple(map(self._low_input, args))
        kwargs = {name: self._low_input(value) for name, value in kwargs.items()}
        self._forward.enter_context(self._mode)
        self._mode.start((args, kwargs))
        return args, kwargs

    def _end_forward(self, module: nn.Module, args: Any, output: Any) -> None:
        self._leave_forward()
        if output is not None and len(self._mode.operators) != len(self.operators):
            raise UntraceableError(
                f"the network ran {len(self._mode.operators)} operators, {len(self.operators)} when the plan was made; "
                "a plan holds for one path through the network"
            )
        if isinstance(output, Tensor) and output.requires_grad and self.loss_scale.scale != 1.0:
            output.register_hook(lambda gradient: gradient * self.loss_scale.scale)

    def _leave_forward(self) -> None:
        if self._forward is not None:
            forward, self._forward = self._forward, None
            forward.close()

    # ---- one operator ------------------------------------------------------------------------------------------------

    def _handle(self, call: Call) -> Any:
        """Run a call with rounded parameters and round what it returns."""
        call.expect(self.operators)
        for place, name in call.parameters:
            call.replace(place, self._low_copy(call.argument(place), self._parameter_slots[name]))
        self._saving = self._by_key[OUTPUT, (call.index, 0)] if call.kind.saves_result else None
        try:
            result = call.run()
        finally:
            self._saving = None
        for k, output in enumerate(call.outputs(result)):
            self._round_output(output, (call.index, k))
        return result

    def _encode_saved(self, tensor: Tensor) -> SavedCodes | None:
        """Codes of what autograd saves and no operator made: results of the running call; others stay as they are."""
        if self._saving is None:
            return None
        return self._rounded(tensor, self._saving)

    def _rounded(self, tensor: Tensor, slot: Slot) -> SavedCodes:
        codes, scale = slot.encoded(tensor)
        return SavedCodes(codes, slot.fmt, scale, tensor.dtype)

    def _low_copy(self, parameter: Tensor, slot: Slot) -> Tensor:
        if self._measuring:
            slot.measure(parameter)
        saved = self._rounded(parameter.detach(), slot)
        copy = saved.values()
        if parameter.requires_grad and torch.is_grad_enabled():
            copy = _LowCopy.apply(parameter, copy)
        self._remember(copy, saved)
        return copy

    def _low_input(self, value: Any) -> Any:
        """A rounded copy of an argument of the network: the batch itself is the caller's."""
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        copy = self._low_copy(value, self._by_key[OUTPUT, (INPUT, 0)])
        if copy.requires_grad:
            copy.register_hook(self._round_gradient(self._by_key[OUTPUT_GRADIENT, (INPUT, 0)]))
        return copy

    def _round_output(self, output: Tensor, source: tuple[int, int]) -> None:
        slot = self._by_key[OUTPUT, source]
        if self._measuring:
            slot.measure(output)
        if is_dense(output):  # parts of a split are views of rounded values
            found = self._store.find(output)
            saved = found if isinstance(found, SavedCodes) else self._rounded(output, slot)
            # Written behind autograd's back: to it, this is what the operator returned.
            decode(saved.codes, saved.fmt, scale=saved.scale, out=output.detach())
            self._remember(output, saved)
        if output.requires_grad:
            output.register_hook(self._round_gradient(self._by_key[OUTPUT_GRADIENT, source]))

    def _remember(self, tensor: Tensor, saved: SavedCodes) -> None:
        """The codes live as long as the tensor, or what autograd saves of it."""
        self._store.add(tensor, saved)
        tensor._lpnum_codes = saved

    @staticmethod
    def _round_gradient(slot: Slot) -> Any:
        def hook(gradient: Tensor) -> Tensor:
            codes, scale = slot.encoded(gradient)
            return decode(codes, slot.fmt, scale=scale, dtype=gradient.dtype)

        return hook

    # ---- one step ----------------------------------------------------------------------------------------------------

    def _gradient_hook(self, name: str) -> Any:
        slot = self._gradient_slots.get(name)

        def hook(gradient: Tensor) -> Tensor:
            if slot is not None:
                gradient = self._round_gradient(slot)(gradient)
            return gradient / self.loss_scale.scale if self.loss_scale.scale != 1.0 else gradient

        return hook

    def _step(self, step: Any) -> Any:
        def checked(*args: Any, **kwargs: Any) -> Any:
            self.steps += 1
            lost = any(slot.lost for slot in self.slots if slot.tensor.kind in (OUTPUT_GRADIENT, PARAMETER_GRADIENT))
            lost = lost or not self._finite_gradients()
            result = None
            if lost:
                self.skipped += 1
            else:
                result = step(*args, **kwargs)
            self.loss_scale.after_step(lost)
            self.statistics.after_step(lost)
            if self.promotion is not None:
                self.promotion.after_step(self.slots)
            for slot in self.slots:
                slot.begin_step()
            return result

        return checked

    def _finite_gradients(self) -> bool:
        return all(
            bool(torch.isfinite(p.grad).all())
            for group in self.optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        )

    # ---- to be continued ---------------------------------------------------------------------------------------------

    @property
    def low_ratio(self) -> float:
        """Share of the elements that are at a format narrower than their high one, now."""
        return share_of_low(self.slots)

    def report(self) -> Report:
        """Every tensor with its format now, the bytes of a step, overflows and promotions so far."""
        rows = (
            ReportRow.of(
                slot.tensor, slot.fmt, slot.high, promoted=slot.promoted,
                overflow=overflow, error=error, promotions=slot.promotions,
            )
            for slot, overflow, error in zip(self.slots, self.statistics.overflow, self.statistics.error, strict=True)
        )  # fmt: skip
        average = self.statistics.mean_low_ratio if self.steps else None
        return Report(self.name, tuple(rows), self.low_ratio, self.steps, self.skipped, average)

    def state_dict(self) -> dict[str, Any]:
        """Levels of the tensors, loss scale and counts; the plan, the model and the optimizer have their own."""
        return {
            "tensors": [f"{slot.tensor.kind} {slot.tensor.name} {slot.tensor.source[1]}" for slot in self.slots],
            "low": [slot.is_low for slot in self.slots],
            "promotions": [slot.promotions for slot in self.slots],
            "loss_scale": self.loss_scale.state_dict(),
            "steps": self.steps,
            "skipped": self.skipped,
            "statistics": self.statistics.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue training under a plan that was made in the same way for the same network.

        Raises
        ------
        ValueError
            If the state is that of other tensors. Nothing has changed then.
        """
        here = self.state_dict()["tensors"]
        if state["tensors"] != here:
            pairs = zip(state["tensors"], here, strict=False)
            first = next((f"{a!r}, here {b!r}" for a, b in pairs if a != b), "their number")
            raise ValueError(
                f"Training.load_state_dict: the state is of {len(state['tensors'])} tensors, this plan has {len(here)}"
                f"; the first difference: {first}. Make the plan as it was made for the state"
            )
        for slot, low, promotions in zip(self.slots, state["low"], state["promotions"], strict=True):
            slot.is_low, slot.promotions = bool(low), int(promotions)
        self.loss_scale.load_state_dict(state["loss_scale"])
        self.steps, self.skipped = int(state["steps"]), int(state["skipped"])
        self.statistics.load_state_dict(state["statistics"])
