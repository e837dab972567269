"""The operators of a forward pass, in the order in which they run, for any module: nothing is rewritten.

A ``TorchFunctionMode`` sees every call of a torch function while the network runs, also those that no module makes
(``x + y``, ``torch.cat``). What it cannot see is work outside of torch's functions: custom ``autograd.Function``s, code
compiled by ``torch.compile`` or ``torch.jit``; tensors that come from there are refused by name.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

__all__ = ["Operator", "OperatorMode", "UntraceableError", "trace"]


INPUT = -1  # number of the network's input among the operators


class UntraceableError(RuntimeError):
    """The network does something that a precision assignment cannot follow."""


@dataclass(frozen=True)
class Kind:
    """What the assignment has to know about a function.

    gemm : whether products are summed (a group of tensors starts at its output)
    parameters : positions and names of the arguments that may be parameters
    saves_result : whether the backward pass needs the function's own result
    """

    name: str
    gemm: bool = False
    parameters: tuple[tuple[int, str], ...] = ()
    saves_result: bool = False


def _weights(first: int) -> tuple[tuple[int, str], ...]:
    return (first, "weight"), (first + 1, "bias")


GEMM = Kind("gemm", gemm=True, parameters=_weights(1))
BATCH_NORM = Kind("norm", parameters=_weights(3))
NORM = Kind("norm", parameters=_weights(2))
ACTIVATION, POOL, ADD, CAT, SPLIT, LOSS, OTHER = map(
    Kind, ("activation", "pool", "add", "cat", "split", "loss", "other")
)
SAVED_ACTIVATION = Kind("activation", saves_result=True)
PRELU = Kind("activation", parameters=((1, "weight"),))
EMBEDDING = Kind("embedding", parameters=((1, "weight"),))

# By the last part of the function's name: torch.relu, Tensor.relu_, nn.functional.relu do the same.
KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"), GEMM
    ),
    **dict.fromkeys(("matmul", "__matmul__", "mm", "bmm", "einsum"), Kind("gemm", gemm=True)),
    "batch_norm": BATCH_NORM, "layer_norm": NORM, "group_norm": NORM, "instance_norm": BATCH_NORM, "rms_norm": NORM,
    **dict.fromkeys(
        ("relu6", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "gelu", "silu", "mish", "softplus", "hardswish",
         "hardsigmoid", "clamp"), ACTIVATION
    ),
    **dict.fromkeys(("relu", "relu_", "elu", "selu", "celu", "sigmoid", "tanh", "softmax"), SAVED_ACTIVATION),
    "prelu": PRELU, "embedding": EMBEDDING,
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
         "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool2d", "mean"), POOL
    ),
    **dict.fromkeys(("add", "add_", "__add__", "__iadd__", "__radd__", "sub", "sub_", "__sub__", "__rsub__"), ADD),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), CAT),
    **dict.fromkeys(("chunk", "split", "tensor_split", "unbind"), SPLIT),
    **dict.fromkeys(("log_softmax", "nll_loss", "cross_entropy", "mse_loss", "binary_cross_entropy_with_logits"), LOSS),
}  # fmt: skip

# The same elements in another shape or order: no operators, whether or not they copy.
VIEWS = {
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "permute",
    "transpose", "t", "movedim", "swapaxes", "contiguous", "clone", "detach", "to", "type_as", "float", "expand",
    "expand_as", "narrow", "select", "__getitem__", "pixel_shuffle", "channel_shuffle", "roll", "flip", "repeat",
    "identity", "pad", "requires_grad_",
}  # fmt: skip
# What returns no tensor of the network.
QUESTIONS = {"dim", "size", "numel", "stride", "is_contiguous", "backward", "item", "tolist", "__len__",
             "register_hook", "isnan", "isfinite"}  # fmt: skip

# Recurrent functions are one call with a list of weights: their inner tensors are out of reach.
OPAQUE = {"lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward", "scaled_dot_product_attention"}


Source = tuple[int, int]


@dataclass
class Operator:
    """One call in a forward pass.

    Attributes
    ----------
    index : int
        Position among the operators.
    kind, function : str
        The kind, and the name of the torch function.
    module : str
        Name of the innermost module that made the call.
    inputs : list of (int, int)
        The outputs it takes: number of the operator and which of its outputs; operator -1 is the network's input.
    parameters : list of str
        Names of the parameters it takes.
    shapes : list of tuples
        Of its outputs.
    """

    index: int
    kind: Kind
    function: str
    module: str
    inputs: list[Source]
    parameters: list[str]
    shapes: list[tuple[int, ...]]

    @property
    def size(self) -> int:
        """Elements of all outputs."""
        return sum(math.prod(shape) for shape in self.shapes)

    def same_call(self, other: Operator) -> bool:
        """Whether both are the same place of the network; sizes may differ in the first axis, the batch."""
        mine, theirs = ([shape[1:] for shape in op.shapes] for op in (self, other))
        return (self.function, self.inputs, self.parameters, mine) == (
            other.function, other.inputs, other.parameters, theirs,
        )  # fmt: skip


Handler = Callable[["Call"], Any]


@dataclass
class Call:
    """A call about to be made: a handler may replace the arguments, run it with `run` and change its outputs."""

    mode: OperatorMode
    index: int
    kind: Kind
    name: str
    function: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    parameters: list[tuple[Any, str]] = field(default_factory=list)  # where in args or kwargs, and the name

    def run(self) -> Any:
        """The result of the function itself."""
        return self.function(*self.args, **self.kwargs)

    @staticmethod
    def outputs(result: Any) -> list[Tensor]:
        """The tensors of a result that hold numbers of the network (a pooling also returns places)."""
        return [tensor for tensor in _tensors(result) if tensor.is_floating_point()]

    def argument(self, place: Any) -> Any:
        """The argument at a place of `parameters`."""
        return self.args[place] if isinstance(place, int) else self.kwargs[place]

    def replace(self, place: Any, value: Any) -> None:
        """Pass another value there."""
        if isinstance(place, int):
            self.args[place] = value
        else:
            self.kwargs[place] = value


class OperatorMode(TorchFunctionMode):
    """Follows the tensors that descend from the network's input and tells a handler about every operator.

    Parameters
    ----------
    module : nn.Module
        Whose parameters are known by name.
    handler : callable(Call) -> result, optional
        Runs the call; by default nothing is changed.
    """

    def __init__(self, module: nn.Module, handler: Handler | None = None) -> None:
        super().__init__()
        self.handler = handler or Call.run
        self.names = {id(p): name for name, p in module.named_parameters(remove_duplicate=False)}
        self.path: list[str] = []
        self.operators: list[Operator] = []
        self._made: dict[int, tuple[Source, weakref.ref[Tensor]]] = {}  # by id, which may be used again

    def start(self, inputs: Any) -> None:
        """A forward pass begins with these tensors."""
        self.operators, self._made = [], {}
        for position, tensor in enumerate(_tensors(inputs)):
            self._remember(tensor, (INPUT, position))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every torch function called while the mode is active comes here."""
        kwargs = kwargs or {}
        sources = _tensors((args, kwargs))
        known = [source for source in map(self._source, sources) if source is not None]
        name = resolve_name(func) or getattr(func, "__name__", str(func))
        short = name.rsplit(".", 1)[-1]
        if not known or short in QUESTIONS or short.startswith("__get"):
            return self._pass_on(func, args, kwargs, known)
        kind = None if short in VIEWS else KINDS.get(short)
        if short in OPAQUE:
            raise UntraceableError(
                f"{name} in {self._where()} is one call for a whole network inside; a precision assignment works for "
                "convolutions, linear layers, norms, activations, pooling, sums and concatenations"
            )
        call = Call(self, len(self.operators), kind or OTHER, short, func, list(args), dict(kwargs))
        for position, argument in call.kind.parameters:
            place: Any = position if position < len(args) else argument
            value = call.argument(place) if place in kwargs or isinstance(place, int) else None
            if isinstance(value, Tensor) and id(value) in self.names:
                call.parameters.append((place, self.names[id(value)]))
        self._refuse_strangers(sources, name)
        if short in VIEWS:
            return self._pass_on(func, args, kwargs, known)
        result = self.handler(call)
        self._note(call, known, result)
        return result

    def _remember(self, tensor: Tensor, source: Source) -> None:
        self._made[id(tensor)] = source, weakref.ref(tensor)

    def _source(self, tensor: Tensor) -> Source | None:
        """Which operator made this tensor."""
        source, reference = self._made.get(id(tensor), (None, None))
        return source if reference is not None and reference() is tensor else None

    def _where(self) -> str:
        return self.path[-1] if self.path and self.path[-1] else "the network"

    def _refuse_strangers(self, sources: list[Tensor], name: str) -> None:
        """A tensor that needs a gradient but is neither parameter nor output was made where the mode cannot see."""
        for tensor in sources:
            if tensor.grad_fn is not None and id(tensor) not in self.names and self._source(tensor) is None:
                raise UntraceableError(
                    f"{name} in {self._where()} takes a tensor of shape {tuple(tensor.shape)} made by "
                    f"{tensor.grad_fn.name()}, which no torch function seen here returned: a custom autograd.Function "
                    "or compiled code? Leave that module out of the plan, or write it with torch functions"
                )

    def _pass_on(self, func: Any, args: Any, kwargs: Any, known: list[Source]) -> Any:
        """Call without an operator; what comes out belongs to the operator that made the first known input."""
        result = func(*args, **kwargs)
        if known:
            for tensor in _tensors(result):
                if self._source(tensor) is None:
                    self._remember(tensor, known[0])
        return result

    def _note(self, call: Call, known: list[Source], result: Any) -> None:
        outputs = call.outputs(result)
        names = [parameter for _, parameter in call.parameters]
        shapes = [tuple(t.shape) for t in outputs]
        self.operators.append(Operator(call.index, call.kind, call.name, self._where(), known, names, shapes))
        for position, tensor in enumerate(outputs):
            self._remember(tensor, (call.index, position))

    def _enter(self, name: str, module: nn.Module, args: Any) -> None:
        self.path.append(name)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.path.pop()

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Keep `path` up to date with hooks on every submodule, so that errors and reports can name places."""
        handles = []
        for name, child in module.named_modules():
            handles.append(child.register_forward_pre_hook(partial(self._enter, name)))
            handles.append(child.register_forward_hook(self._leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, (tuple, list)) else []


def trace(module: nn.Module, example_batch: Any) -> list[Operator]:
    """The operators of one forward pass in evaluation mode; parameters, buffers and modes are as before afterwards.

    Parameters
    ----------
    module : nn.Module
    example_batch : tensor, or tuple of tensors
        The arguments of the forward pass.

    Raises
    ------
    UntraceableError
        The network uses something that cannot be followed; the message names the place.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    >>> [(op.function, op.size, op.parameters) for op in trace(net, torch.zeros(2, 3, 8, 8))]
    [('conv2d', 576, ['0.weight', '0.bias']), ('batch_norm', 576, ['1.weight', '1.bias']), ('relu', 576, []),
     ('linear', 20, ['4.weight', '4.bias'])]
    """
    arguments = example_batch if isinstance(example_batch, tuple) else (example_batch,)
    modes = {child: child.training for child in module.modules()}
    mode = OperatorMode(module)
    module.eval()
    try:
        with mode.watching(module), mode:
            mode.start(arguments)
            module(*arguments)
    finally:
        for child, training in modes.items():
            child.training = training
    return mode.operators
