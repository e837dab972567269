"""Iterate storage of the optimizers for torch: how a parameter is kept between steps.

One half of the table of methods. The storages have no attributes: a tensor's part is in the optimizer's ``state[p]``,
its rule of the scale in ``rules[p]``. ``p.data`` always holds the values, for the forward pass.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lpnum.rounding import Policy

from .iterate_codes import ends, new_codes, quantize, same_layout, subtract, write_values
from .optimizer_options import format_of
from .tensor_scales import CenteredScale, FixedScale

__all__ = ["BitCentered", "Floats", "IterateStorage", "OnFixedGrid"]

Group = dict[str, Any]


class IterateStorage(Protocol):
    """How a parameter is kept."""

    options: tuple[str, ...]  # of a group, beside those of every optimizer
    coded: bool  # the parameter follows what is kept beside it
    in_floats: Any  # the same storage without a format

    def begin_epoch(self, p: nn.Parameter, group: Group, run: Any) -> None:
        """Prepare the grid; ``state[p]`` has the new snapshot and full gradient."""

    def move(self, p: nn.Parameter, update: Tensor, group: Group, run: Any, policy: Policy, look: bool) -> None:
        """Take the step ``-lr * update``; `look` at the codes before, to see whether the grid serves."""

    def rewrite(self, p: nn.Parameter, group: Group, run: Any, out: Tensor) -> None:
        """The values as the storage knows them."""


class Floats:
    """The parameter itself."""

    options: tuple[str, ...] = ()
    coded = False
    in_floats: Any = None

    def begin_epoch(self, p: nn.Parameter, group: Group, run: Any) -> None:
        """Nothing to prepare."""

    def move(self, p: nn.Parameter, update: Tensor, group: Group, run: Any, policy: Policy, look: bool) -> None:
        """In floats."""
        p.add_(update, alpha=-float(group["lr"]))

    def rewrite(self, p: nn.Parameter, group: Group, run: Any, out: Tensor) -> None:
        """The parameter."""
        out.copy_(p.data)


class FloatCentered(Floats):
    """Offset plus z, both in floats: what bit centering does with the identity in place of the rounding."""

    coded = True

    def begin_epoch(self, p: nn.Parameter, group: Group, run: Any) -> None:
        """The offset is the snapshot; z starts at 0."""
        run.state[p]["delta"] = torch.zeros_like(p, memory_format=torch.preserve_format)

    def move(self, p: nn.Parameter, update: Tensor, group: Group, run: Any, policy: Policy, look: bool) -> None:
        """Z moves, the parameter follows."""
        run.state[p]["delta"].add_(update, alpha=-float(group["lr"]))
        self.rewrite(p, group, run, p.data)

    def rewrite(self, p: nn.Parameter, group: Group, run: Any, out: Tensor) -> None:
        """Offset + z."""
        torch.add(run.state[p]["snapshot"], run.state[p]["delta"], out=out)


class _Coded:
    """Codes on a grid, rounded once per step."""

    coded = True

    def _offset(self, state: dict[str, Any]) -> Tensor | None:
        return None

    def _observed(self, p: nn.Parameter, group: Group, run: Any, *, last: bool = False) -> float:
        """Let the tensor's rule look at the codes; the factor on the scale."""
        rule = run.rules.get(p)
        if rule is None:
            return 1.0
        return rule.observe(ends(run.state[p]["codes"], format_of(group), rule.control.crowded), last=last)

    def move(self, p: nn.Parameter, update: Tensor, group: Group, run: Any, policy: Policy, look: bool) -> None:
        """One pass for the codes, one for the values."""
        state, fmt, lr, data = run.state[p], format_of(group), float(group["lr"]), p.data
        old = state["scale"]
        if lr == 0.0:
            return
        if look:
            state["scale"] = old * self._observed(p, group, run)
        subtract(state["codes"], fmt, old, same_layout(update, data), lr, policy, state["scale"])
        write_values(state["codes"], fmt, state["scale"], self._offset(state), data)
        torch.autograd.graph.increment_version(p)

    def rewrite(self, p: nn.Parameter, group: Group, run: Any, out: Tensor) -> None:
        """Offset + scale * decode(codes)."""
        state = run.state[p]
        write_values(state["codes"], format_of(group), state["scale"], self._offset(state), out)


class OnFixedGrid(_Coded):
    """Codes on a grid around zero."""

    options = ("format", "scale")
    in_floats = Floats()

    def begin(self, p: nn.Parameter, group: Group, run: Any, policy: Policy, reach: float) -> None:
        """Round the parameter onto its grid."""
        fmt, state = format_of(group), run.state[p]
        if group["scale"] is not None:
            state["scale"] = group["scale"]
        else:
            rule = run.rules[p] = FixedScale()
            largest = float(p.data.abs().amax()) if p.numel() else 0.0
            state["scale"] = rule.begin(largest, reach) / fmt.max
        state["codes"] = new_codes(p.data, fmt)
        quantize(state["codes"], fmt, state["scale"], p.data, policy)

    def begin_epoch(self, p: nn.Parameter, group: Group, run: Any) -> None:
        """The grid stays."""

    def move(self, p: nn.Parameter, update: Tensor, group: Group, run: Any, policy: Policy, look: bool) -> None:
        """The first step rounds the parameter onto its grid."""
        if "codes" not in run.state[p]:
            step = float(group["lr"]) * float(update.abs().amax()) if p.numel() else 0.0
            self.begin(p, group, run, policy, step * run.LOOK_EVERY / (1.0 - group["momentum"]))
        super().move(p, update, group, run, policy, look)


class BitCentered(_Coded):
    """Codes around the snapshot."""

    options = ("format", "mu", "scale")
    in_floats = FloatCentered()

    def _offset(self, state: dict[str, Any]) -> Tensor | None:
        offset: Tensor = state["snapshot"]
        return offset

    def begin_epoch(self, p: nn.Parameter, group: Group, run: Any) -> None:
        """Codes of zero on the grid of the new epoch."""
        state = run.state[p]
        if "codes" not in state:
            state["codes"] = new_codes(p.data, format_of(group))
        elif p in run.rules and run.had_steps and state["scale"] > 0.0:
            self._observed(p, group, run, last=True)
            run.rules[p].finish()
        state["codes"].zero_()
        state["scale"] = 0.0
        gradient = state["full_gradient"]
        if group["weight_decay"]:
            gradient = gradient.add(p.data, alpha=group["weight_decay"])
        self._choose(p, group, run, gradient)

    def _choose(self, p: nn.Parameter, group: Group, run: Any, update: Tensor) -> None:
        """The grid of an epoch that begins with steps along `update`; still none where that is zero."""
        if group["scale"] is not None:
            run.state[p]["scale"] = group["scale"]
            return
        largest = float(update.abs().amax()) if update.numel() else 0.0
        if largest == 0.0:
            return
        if group["mu"] is not None:
            end = float(torch.linalg.vector_norm(update, dtype=torch.float64)) / group["mu"]
        else:
            rule = run.rules.get(p)
            if rule is None:
                rule = run.rules[p] = CenteredScale(format_of(group).bits)
            end = rule.begin(largest, float(group["lr"]), run.run_steps, 1.0 / (1.0 - group["momentum"]))
        run.state[p]["scale"] = end / format_of(group).max

    def move(self, p: nn.Parameter, update: Tensor, group: Group, run: Any, policy: Policy, look: bool) -> None:
        """A full gradient of zero tells no grid; the first step that is not zero does."""
        if run.state[p]["scale"] == 0.0:
            self._choose(p, group, run, update)
            if run.state[p]["scale"] == 0.0:
                return
        super().move(p, update, group, run, policy, look)
