"""What the optimizers share: groups, movement with momentum and weight decay, what is left out, saving and loading."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lpnum import codec
from lpnum import rounding as roundings
from lpnum.random import CounterRNG

from .._checks import choice, integer
from .codes import is_dense
from .iterates import Floats, IterateStorage
from .optimizer_options import checked_group
from .passes import Network
from .tensor_scales import restored_rule

__all__ = ["Optimizer"]

EXTRA = "lpnum"  # key of what belongs to no parameter, in a state_dict


class Optimizer(torch.optim.Optimizer):
    """Base of the optimizers; `storage` is one half of a method, `step` and `snapshot` are the other.

    Attributes
    ----------
    skipped : int
        Steps left out because the loss or a gradient was not finite.
    steps : int
        Steps taken since the last snapshot (since the start, where there are none).
    run_steps : int
        Steps between two looks at the codes, after which a grid may change.
    rules : dict
        The rule of the scale of each tensor.
    """

    storage: ClassVar[Any] = Floats()
    RUNS = 16  # runs of an epoch
    LOOK_EVERY = 16  # steps of a run, where there are no epochs

    def __init__(
        self, params: Any, defaults: dict[str, Any], *, rounding: str = "stochastic", seed: int = 0,
        module: nn.Module | None = None,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        self._network = Network(module)
        self._rounding = choice(name, "rounding", rounding, roundings.ROUNDING_MODES)
        self._rng = CounterRNG(integer(name, "seed", seed, 0, 2**64 - 1))
        self.rules: dict[Tensor, Any] = {}
        self.skipped = self.steps = 0
        self.had_steps = False
        self.run_steps = self.LOOK_EVERY
        self._versions: dict[Tensor, int] = {}
        options = self.storage.options
        super().__init__(params, {key: value for key, value in defaults.items() if key in _COMMON or key in options})

    # ---- groups ------------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with options of its own."""
        where = type(self).__name__
        super().add_param_group(param_group)
        try:
            group = checked_group(self.param_groups[-1], where, self.storage.options)
            for p in group["params"] if self._storage_of(group).coded else ():
                _check_parameter(p, where)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def _storage_of(self, group: dict[str, Any]) -> IterateStorage:
        storage: IterateStorage = self.storage
        if group.get("format", "") is None:
            storage = storage.in_floats
        return storage

    def _trained(self) -> list[nn.Parameter]:
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]

    # ---- a step ------------------------------------------------------------------------------------------------------

    @property
    def _looks(self) -> bool:
        """Whether this step begins a run, so that grids may change."""
        return self.steps > 0 and self.steps % self.run_steps == 0

    def _move(self, parameters: list[nn.Parameter], gradients: list[Tensor]) -> None:
        """Weight decay and momentum; then every storage takes its step."""
        policy = codec.make_policy(self._rounding, "clamp", self._rng)
        gradient_of = dict(zip(parameters, gradients, strict=True))
        looks = self._looks
        for group in self.param_groups:
            storage = self._storage_of(group)
            moving = [p for p in group["params"] if p in gradient_of]
            updates = [gradient_of[p] for p in moving]
            if group["weight_decay"] and moving:
                updates = list(torch._foreach_add(updates, [p.data for p in moving], alpha=group["weight_decay"]))
            if group["momentum"] and moving:
                updates = self._with_momentum(moving, updates, group["momentum"])
            for p, update in zip(moving, updates, strict=True):
                storage.move(p, update, group, self, policy, looks)
                if storage.coded:
                    self._versions[p] = p._version
        self.steps += 1

    def _with_momentum(self, moving: list[nn.Parameter], updates: list[Tensor], momentum: float) -> list[Tensor]:
        states = [self.state[p] for p in moving]
        for p, state in zip(moving, states, strict=True):
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        buffers = [state["momentum_buffer"] for state in states]
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, updates)
        return buffers

    def _skip(self, buffers: list[tuple[Tensor, Tensor]]) -> None:
        self._network.restore(buffers)
        self.skipped += 1

    def _begin_epoch(self, batches: int) -> None:
        """The last epoch tells the length of the next one; the first one is taken to visit every batch once."""
        self.had_steps = self.steps > 0
        self.run_steps = max(1, math.ceil((self.steps or batches) / self.RUNS))
        self.steps = 0

    def _leave(self, p: nn.Parameter) -> None:
        """The tensor has no part in the steps that follow."""
        for name in ("full_gradient", "snapshot", "codes", "scale", "delta"):
            self.state.get(p, {}).pop(name, None)
        self.rules.pop(p, None)
        self._versions.pop(p, None)

    def _check_unchanged(self) -> None:
        """Weights written from outside are noticed; codes would bring back the old ones."""
        for group in self.param_groups:
            storage = self._storage_of(group)
            if not storage.coded:
                continue
            for p in group["params"]:
                state = self.state.get(p, {})
                if self._versions.get(p, -1) == p._version or not ("codes" in state or "delta" in state):
                    continue
                values = torch.empty_like(p.data)
                storage.rewrite(p, group, self, values)
                if not torch.equal(values, p.data):
                    self._changed_outside(p, group)
                self._versions[p] = p._version

    def _changed_outside(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        if "snapshot" in self.state[p]:
            raise RuntimeError(
                f"{type(self).__name__}.step: a parameter of shape {tuple(p.shape)} was changed since the last step; "
                "call snapshot(closures) after loading or changing weights"
            )
        self.state[p].pop("codes")  # the next step rounds the new weights onto a grid of their own
        self.rules.pop(p, None)

    # ---- saving and loading ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, beside the weights: tensors and plain values.

        Codes keep their dtype; under "lpnum" are the random counter, the number of steps, and what is known of scales.
        """
        packed = super().state_dict()
        index = {p: k for k, p in enumerate(p for group in self.param_groups for p in group["params"])}
        packed[EXTRA] = {
            "optimizer": type(self).__name__,
            "seed": self._rng.seed,
            "stream": self._rng.stream,
            "skipped": self.skipped,
            "steps": self.steps,
            "run_steps": self.run_steps,
            "rules": {index[p]: rule.state() for p, rule in self.rules.items()},
        }
        return packed

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave, bit for bit, given the same weights and random state of torch."""
        where = f"{type(self).__name__}.load_state_dict"
        extra = state_dict.get(EXTRA)
        if not isinstance(extra, dict) or extra.get("optimizer") != type(self).__name__:
            found = extra.get("optimizer") if isinstance(extra, dict) else "another library"
            raise ValueError(f"{where}: the state is one of {found}; expected one of {type(self).__name__}")
        parameters = [p for group in self.param_groups for p in group["params"]]
        for k, state in state_dict["state"].items():
            if k < len(parameters):
                _check_state(state, parameters[k], where)
        try:  # all of it before anything changes
            rng = CounterRNG(extra["seed"], extra["stream"])
            counts = {name: extra[name] for name in ("skipped", "steps", "run_steps")}
            rules = {parameters[k]: restored_rule(saved) for k, saved in extra["rules"].items()}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{where}: the part {EXTRA!r} of the state is damaged ({error!r})") from None
        super().load_state_dict(state_dict)
        # torch casts to the parameter's dtype, and shares what needs no cast.
        for k, state in state_dict["state"].items():
            self.state[parameters[k]] = {name: copy.deepcopy(value) for name, value in state.items()}
        self._rng, self.rules, self._versions = rng, rules, {}
        self.skipped, self.steps, self.run_steps = counts["skipped"], counts["steps"], counts["run_steps"]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **super().__getstate__()}


_COMMON = ("lr", "momentum", "weight_decay")


def _check_parameter(p: Tensor, where: str) -> None:
    allowed = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    if p.device.type != "cpu" or p.dtype not in allowed:
        raise TypeError(
            f"{where}: a parameter of {p.dtype} on {p.device}; codes are computed for floats of 16 to 64 bits on the "
            "CPU. Give its group format=None"
        )
    if not is_dense(p):
        raise ValueError(
            f"{where}: a parameter of shape {tuple(p.shape)} and strides {p.stride()} has gaps or shares elements; "
            "set p.data = p.data.contiguous()"
        )


def _check_state(state: dict[str, Any], p: Tensor, where: str) -> None:
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape != p.shape:
            raise ValueError(
                f"{where}: {name} has shape {tuple(value.shape)}, its parameter {tuple(p.shape)}; "
                "the state is one of another model, or the parameters are in another order"
            )
