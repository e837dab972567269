"""Adam and AdamW whose moments are kept as 8-bit codes: 2.06 bytes of state for a parameter instead of 8."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from lpnum_optim._moments import adam as _kernels
from lpnum_optim.deep import moments

__all__ = ["Adam8bit", "AdamW8bit", "state_bytes"]

_LARGEST_GRADIENT = 2.0**63  # above, its square is beyond what the scales of the second moment hold
_MAX_STEPS = 1 << 40  # random streams of a parameter
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Adam8bit(Optimizer):
    """Adam (Kingma and Ba 2015) with 8-bit moments; use it as ``torch.optim.Adam``.

    A step computes in float32 what ``torch.optim.Adam`` computes, then rounds both moments stochastically to one byte
    per element, with two 1-byte scales for every 32 elements: 2.0625 bytes for a parameter.

    Parameters
    ----------
    params : iterable of parameters, of (name, parameter) pairs or of parameter groups
        On the CPU, of float32, float64, bfloat16 or float16 and any strides.
    lr, betas, eps, weight_decay, maximize
        As in ``torch.optim.Adam``, all of them per parameter group; `eps` must be positive.
    amsgrad : bool
        Must be False: a third moment is not kept.
    seed : int
        Of the random bits. The same seed, parameters and gradients give the same bits on every machine.
    decoupled_weight_decay : bool
        Weight decay as in AdamW.

    Attributes
    ----------
    skipped : int
        Steps left out because a gradient had NaN, infinity or a magnitude of at least 2**63. Such a step changes
        neither parameters nor moments.

    Raises
    ------
    ValueError
        For an option out of range, also when it is set in a parameter group.
    TypeError
        For a parameter that is not of real floating point, or not on the CPU; for sparse gradients.

    Notes
    -----
    The second moment ``v`` has an unsigned float of 5 exponent and 3 mantissa bits for every element, and a power of
    two for 32 of them. It changes by a thousandth in a step, far less than its codes are apart: rounding to nearest
    would not let it move, stochastic rounding keeps its expectation. Where ``v > 0``, its code is not 0.

    The first moment ``m`` is kept as 8-bit fixed point relative to ``sqrt(v)`` (rounded to a power of two), the
    measure in which the update has it, so that an element with small gradients has as good an ``m`` as
    its neighbors with large ones.

    The parameters' layout is that of their states; a parameter of another layout is copied for the step and back.
    ``state_dict`` holds all that a step depends on: training goes on from it bit for bit.

    References
    ----------
    Dettmers, Lewis, Shleifer, Zettlemoyer, "8-bit Optimizers via Block-wise Quantization", ICLR 2022.

    Examples
    --------
    >>> model = torch.nn.Linear(100, 10)
    >>> optimizer = Adam8bit(model.parameters(), lr=0.01)
    >>> model(torch.ones(1, 100)).square().sum().backward()
    >>> optimizer.step()
    >>> state_bytes(optimizer), 2 * sum(p.numel() for p in model.parameters())
    (2086, 2020)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | torch.Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        seed: int = 0,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 64:
            raise ValueError(f"{type(self).__name__}: seed must be an integer from 0 to 2**64 - 1, not {seed!r}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "seed": seed,
            "decoupled_weight_decay": decoupled_weight_decay,
            "skipped": 0,
        }
        super().__init__(params, defaults)

    @property
    def skipped(self) -> int:
        """Steps left out because of a gradient that is not finite."""
        return self.param_groups[0]["skipped"]  # in a group, so that it is saved, copied and pickled with them

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, as in torch; its moments begin at 0 with its first step."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            _numbers_of(group, type(self).__name__)
            for p in group["params"]:
                _check_parameter(p, type(self).__name__)
        except Exception:
            del self.param_groups[-1]
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # Optimizer.load_state_dict makes every tensor of a state one of the parameter's dtype; all of these hold the
        # integers up to 256, so that nothing is lost.
        for values in self.state.values():
            values.update({key: values[key].to(dtype) for key, dtype in moments.DTYPES.items() if key in values})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state that `state_dict` gave; the next steps have the same bits as without the interruption.

        Raises
        ------
        ValueError
            For the state of another optimizer or of parameters of other sizes; nothing is changed then.
        """
        _check_state(state_dict, self.param_groups, type(self).__name__)
        super().load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step on all parameters that have a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss anew, with gradients.

        Returns
        -------
        The closure's value, None without one.

        Raises
        ------
        TypeError
            For a sparse gradient; parameters and state are as before.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        where = type(self).__name__
        numbers = [_numbers_of(group, where) for group in self.param_groups]
        if not all(_is_usable(p, where) for group in self.param_groups for p in group["params"]):
            for group in self.param_groups:
                group["skipped"] += 1
            return loss
        ordinal = 0
        for group, given in zip(self.param_groups, numbers, strict=True):
            for k, p in enumerate(group["params"]):
                if p.grad is not None and p.numel():
                    self._step_of(p, given, ordinal + k)
            ordinal += len(group["params"])
        return loss

    def _step_of(self, p: torch.Tensor, numbers: dict[str, Any], ordinal: int) -> None:
        state = self.state[p]
        if not state:
            state.update(moments.new_state(p))
        state["step"] += 1
        t, lr, beta1, beta2 = state["step"], numbers["lr"], numbers["beta1"], numbers["beta2"]
        decay = numbers["weight_decay"]
        decoupled = numbers["decoupled_weight_decay"]
        given = {
            "sign": -1.0 if numbers["maximize"] else 1.0,
            "l2": 0.0 if decoupled else decay,
            "keep": 1.0 - lr * decay if decoupled else 1.0,
            "beta1": beta1,
            "beta2": beta2,
            "step_size": lr / (1.0 - beta1**t),
            "correction": math.sqrt(1.0 - beta2**t),
            "epsilon": numbers["eps"],
            "seed": numbers["seed"],
            "stream": ordinal * _MAX_STEPS + t,
        }
        moments.step(p, state, given)

    def moments(self, parameter: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The first and the second moment of a parameter as stored, in float32; zeros before its first step.

        >>> w = torch.nn.Parameter(torch.zeros(3))
        >>> optimizer = Adam8bit([w])
        >>> w.grad = torch.tensor([1.0, 0.0, -2.0])
        >>> optimizer.step()
        >>> [[round(value, 4) for value in moment.tolist()] for moment in optimizer.moments(w)]
        [[0.0996, 0.0, -0.2012], [0.001, 0.0, 0.0039]]
        """
        if not any(parameter is p for group in self.param_groups for p in group["params"]):
            raise ValueError(f"{type(self).__name__}.moments: the tensor is not one of the optimizer's parameters")
        return moments.values(self.state.get(parameter) or moments.new_state(parameter))


def _numbers_of(group: dict[str, Any], where: str) -> dict[str, Any]:
    """The numbers of a parameter group, checked: schedulers and users may have changed them."""
    numbers = {key: float(group[key]) for key in ("lr", "eps", "weight_decay")}
    numbers["beta1"], numbers["beta2"] = map(float, group["betas"])
    limits = {"lr": math.inf, "weight_decay": math.inf, "beta1": 1.0, "beta2": 1.0}
    for key, limit in limits.items():
        if not 0.0 <= numbers[key] < limit:
            raise ValueError(f"{where}: {key} must be at least 0 and below {limit}, not {numbers[key]!r}")
    if not 2.0**-126 <= numbers["eps"] < math.inf:
        raise ValueError(f"{where}: eps must be positive (a normal float32, and finite), not {group['eps']!r}")
    if group["amsgrad"]:
        raise ValueError(f"{where}: amsgrad is not supported: it needs a third moment; use torch.optim.AdamW for it")
    return numbers | {key: group[key] for key in ("maximize", "seed", "decoupled_weight_decay")}


def _check_parameter(p: torch.Tensor, where: str) -> None:
    if p.dtype not in _DTYPES or p.device.type != "cpu":
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise TypeError(
            f"{where}: a parameter of shape {tuple(p.shape)} is of {p.dtype} on {p.device}; "
            f"expected {allowed} on the CPU"
        )


def _is_usable(p: torch.Tensor, where: str) -> bool:
    """Whether there is no gradient, or one whose squares are finite."""
    gradient = p.grad
    if gradient is None or not p.numel():
        return True
    if gradient.is_sparse or gradient.layout is not torch.strided:
        raise TypeError(
            f"{where}: the gradient of a parameter of shape {tuple(p.shape)} is sparse; use sparse=False in the layer, "
            "or torch.optim.SparseAdam"
        )
    if gradient.dtype == torch.float32 and gradient.is_contiguous():
        return _kernels.largest_magnitude(moments.in_memory_order(gradient)) < _LARGEST_GRADIENT
    return bool((gradient.abs() < _LARGEST_GRADIENT).all())


def _check_state(state_dict: dict[str, Any], groups: list[dict[str, Any]], where: str) -> None:
    numbers = [k for group in state_dict["param_groups"] for k in group["params"]]
    parameters = [p for group in groups for p in group["params"]]
    if len(numbers) != len(parameters):
        return  # torch says what is wrong
    for k, p in zip(numbers, parameters, strict=True):
        state = state_dict["state"].get(k)
        if not state:
            continue
        if not moments.DTYPES.keys() <= state.keys():
            raise ValueError(
                f"{where}.load_state_dict: the state of parameter {k} has {sorted(state)}, not the codes of "
                f"8-bit moments; it is another optimizer's"
            )
        wanted = {key: tuple(value.shape) for key, value in moments.new_state(p).items() if key in moments.DTYPES}
        got = {key: tuple(state[key].shape) for key in moments.DTYPES}
        if got != wanted:
            raise ValueError(f"{where}.load_state_dict: parameter {k} has a state of shapes {got}; expected {wanted}")


class AdamW8bit(Adam8bit):
    """AdamW (Loshchilov and Hutter 2019) with 8-bit moments; use it as ``torch.optim.AdamW``.

    `Adam8bit` with decoupled weight decay; see there for parameters, attributes and notes.

    Examples
    --------
    >>> w = torch.nn.Parameter(torch.ones(4))
    >>> optimizer = AdamW8bit([w], lr=0.1, weight_decay=0.5)
    >>> w.grad = torch.tensor([1.0, -1.0, 1e-3, 0.0])
    >>> optimizer.step()
    >>> w.data
    tensor([0.8500, 1.0500, 0.8500, 0.9500])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | torch.Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, seed=seed, decoupled_weight_decay=True
        )


def state_bytes(optimizer: Optimizer) -> int:
    """Bytes of all tensors in the state of any optimizer of torch, the steps' counters left out.

    >>> w = torch.nn.Parameter(torch.zeros(1024))
    >>> w.grad = torch.ones(1024)
    >>> for kind in (AdamW8bit, torch.optim.AdamW):
    ...     optimizer = kind([w])
    ...     optimizer.step()
    ...     print(state_bytes(optimizer) / w.numel())
    2.0625
    8.0
    """
    tensors = [
        value
        for state in optimizer.state.values()
        for key, value in state.items()
        if isinstance(value, torch.Tensor) and key != "step"
    ]
    return sum(tensor.element_size() * tensor.numel() for tensor in tensors)
