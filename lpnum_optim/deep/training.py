"""Training under a precision assignment: what `PrecisionPlan.apply` switches on.

While the root module's forward pass runs, every operator's output is rounded in place to its format, and its gradient
when it comes back; parameters are replaced by their rounded copies for the call. What autograd saves are the codes. The
user's loop stays as it is: ``loss.backward(); optimizer.step()``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from .assignment import OUTPUT, OUTPUT_GRADIENT, PARAMETER, PARAMETER_GRADIENT
from .codes import is_dense
from .loss_scaling import LossScale
from .low_copies import LowCopies, all_finite
from .nested import tensors_in, with_tensors
from .operators import INPUT, Call, Operator, OperatorMode, Source, UntraceableError
from .output_gradients import OutputGradients
from .promotion import Promotion
from .report import Report, ReportRow
from .rounded_outputs import RoundedOutputs
from .saved import CodeStore, SavedTensorHooks
from .slots import Slot
from .step_statistics import StepStatistics, share_of_low

__all__ = ["Training"]


class _LostStep(Exception):  # noqa: N818 - no error, but the end of a step
    """A gradient of a closure cannot be used."""

    def __init__(self, loss: Any, overflowed: bool) -> None:
        super().__init__()
        self.loss, self.overflowed = loss, overflowed


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
        Steps of the optimizer, and how many of them were left out because a gradient overflowed, or a value was
        infinite or NaN.
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
        store = CodeStore()
        parameters, gradients = (
            {slot.tensor.name: slot for slot in slots if slot.tensor.kind == kind}
            for kind in (PARAMETER, PARAMETER_GRADIENT)
        )
        self._copies = LowCopies(module, parameters, gradients, store, min_numel, lambda: 1.0 / self.loss_scale.scale)
        self._outputs = RoundedOutputs(self._of_kind(OUTPUT), store)
        self._gradients = OutputGradients(self._of_kind(OUTPUT_GRADIENT))
        self._hooks = SavedTensorHooks(self._outputs.codes_of_result, store, min_numel)
        self._mode = OperatorMode(module, self._handle, lambda sources: self._gradients.viewed.update(sources))
        self._forward: ExitStack | None = None
        self._measuring = self._is_active = False

    def _of_kind(self, kind: str) -> dict[Source, Slot]:
        return {slot.tensor.source: slot for slot in self.slots if slot.tensor.kind == kind}

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
                if parameter.requires_grad and name not in self._copies:
                    stack.callback(parameter.register_hook(self._without_scale).remove)
            stack.enter_context(self._steps_checked())
            stack.callback(self._leave_forward)
            stack.callback(self._hooks.forget)
            yield self

    @contextmanager
    def _steps_checked(self) -> Iterator[None]:
        """In the place of the optimizer's `step`, which may be wrapped already (by a learning rate scheduler)."""
        step, own = self.optimizer.step, self.optimizer.__dict__.get("step")
        ours = wraps(step)(lambda *args, **kwargs: self._checked_step(step, *args, **kwargs))
        self.optimizer.step = ours
        self._is_active = True
        try:
            yield
        finally:
            self._is_active = False
            if self.optimizer.step is ours:  # else somebody has wrapped it in the block: it only hands on from now on
                if own is None:
                    del self.optimizer.__dict__["step"]
                else:
                    self.optimizer.step = own

    def _begin_forward(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        self._leave_forward()
        self._hooks.forget()
        saving = torch.is_grad_enabled()
        every = self.promotion.measure_every if self.promotion else 0
        self._measuring = bool(every) and self.steps % every == 0 and saving
        self._outputs.begin(saving=saving)
        self._gradients.begin()
        self._copies.make(self._measuring)
        args, kwargs = with_tensors((args, kwargs), self._rounded_input)
        self._mode.start((args, kwargs))
        for position, tensor in enumerate(tensors_in((args, kwargs))):
            self._gradients.made(tensor, (INPUT, position))
        self._forward = ExitStack()
        if saving:
            hooks = torch.autograd.graph.saved_tensors_hooks(self._hooks.pack, self._hooks.unpack)
            self._forward.enter_context(hooks)
        self._forward.enter_context(self._mode)
        return args, kwargs

    def _rounded_input(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor that the network takes; the user's own stays as it is."""
        if not tensor.is_floating_point():
            return tensor
        if self._measuring:
            self._outputs.slots[INPUT, 0].measure(tensor)
        copy = tensor.clone(memory_format=torch.preserve_format if is_dense(tensor) else torch.contiguous_format)
        self._outputs.round_(copy, (INPUT, 0))
        return copy

    def _end_forward(self, module: nn.Module, args: Any, output: Any) -> Any:
        if output is None:  # an exception
            self._leave_forward()
            return None
        try:
            if len(self._mode.operators) != len(self.operators):
                raise UntraceableError(
                    f"the network ran {len(self._mode.operators)} operators, {len(self.operators)} when the plan was "
                    "made; a plan holds for one path through the network"
                )
            if torch.is_grad_enabled():
                output = self._gradients.scaled(output, self._mode.source, lambda: self.loss_scale.scale)
                self._gradients.end()
            self._outputs.end()
        finally:
            self._leave_forward()
        return output

    def _leave_forward(self) -> None:
        if self._forward is not None:
            forward, self._forward = self._forward, None
            forward.close()
        self._copies.forget()
        self._outputs.begin(saving=False)
        self._gradients.begin()

    # ---- one operator ------------------------------------------------------------------------------------------------

    def _handle(self, call: Call) -> Any:
        """Run a call with rounded parameters and round what it returns."""
        call.expect(self.operators)
        sources = [source for source in map(self._mode.source, call.tensors) if source is not None]
        for place, name in call.parameters:
            call.replace(place, self._copies[name])
        self._gradients.taken(call, sources)
        result = self._outputs.run(call, sources, self._gradients.viewed, self._measuring)
        for k, output in enumerate(call.outputs(result)):
            self._gradients.made(output, (call.index, k))
        return result

    # ---- one step ----------------------------------------------------------------------------------------------------

    def _without_scale(self, gradient: Tensor) -> Tensor:
        """Gradient of a parameter that no operator takes by itself."""
        return gradient / self.loss_scale.scale if self.loss_scale.scale != 1.0 else gradient

    def _checked_step(self, step: Any, closure: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The optimizer's step, if the gradients can be used; then what follows from what the step saw."""
        if not self._is_active:
            return step(*(() if closure is None else (closure,)), *args, **kwargs)
        self.steps += 1
        self._hooks.forget()
        result = None
        if closure is None:
            overflowed, lost = self._losses()
            if not lost:
                result = step(*args, **kwargs)
        else:
            result, overflowed, lost = self._step_with_closure(step, closure, args, kwargs)
        self.skipped += lost
        self.loss_scale.after_step(overflowed)
        self.statistics.after_step(lost)
        if self.promotion is not None:
            self.promotion.after_step(self.slots)
        for slot in self.slots:
            slot.begin_step()
        return result

    def _losses(self) -> tuple[bool, bool]:
        """Whether a gradient overflowed, and whether the step is lost."""
        overflowed = any(slot.lost for slot in self.slots if slot.is_gradient) or not all_finite(
            parameter.grad for parameter in self._optimized() if parameter.grad is not None
        )
        return overflowed, overflowed or any(slot.lost for slot in self.slots)

    def _optimized(self) -> list[Tensor]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _step_with_closure(self, step: Any, closure: Any, args: Any, kwargs: Any) -> tuple[Any, bool, bool]:
        """A step that computes its gradients itself is broken off by a lost one, and the weights are put back."""
        before = [parameter.detach().clone() for parameter in self._optimized()]

        def guarded() -> Any:
            loss = closure()
            overflowed, lost = self._losses()
            if lost:
                raise _LostStep(loss, overflowed)
            return loss

        try:
            return step(guarded, *args, **kwargs), False, False
        except _LostStep as end:
            with torch.no_grad():
                for parameter, values in zip(self._optimized(), before, strict=True):
                    parameter.copy_(values)
            return end.loss, end.overflowed, True

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
