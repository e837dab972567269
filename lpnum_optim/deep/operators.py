"""The operators of a forward pass, in the order in which they run, for any module: nothing is rewritten.

A ``TorchFunctionMode`` sees every call of a torch function while the network runs, also those that no module makes
(``x + y``, ``torch.cat``). What runs without gradients inside of a pass with them, or on detached tensors, only looks
on: it is no operator. What the mode cannot see is work outside of torch's functions: custom ``autograd.Function``s,
code compiled by ``torch.compile`` or ``torch.jit``; tensors that come from there are refused by name.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from .nested import tensors_in
from .operator_kinds import CUTS, KINDS, OPAQUE, OTHER, QUESTIONS, VIEW, VIEWS, Kind
from .unchanged import unchanged

__all__ = ["Operator", "OperatorMode", "UntraceableError", "trace"]


INPUT = -1  # number of the network's input among the operators


class UntraceableError(RuntimeError):
    """The network does something that a precision assignment cannot follow."""


Source = tuple[int, int]


@dataclass
class Operator:
    """One call in a forward pass.

    Attributes
    ----------
    index : int
        Position among the operators.
    kind : Kind
    function : str
        Name of the torch function.
    module : str
        Name of the innermost module that made the call.
    inputs : list of (int, int)
        The outputs it takes: number of the operator and which of its outputs; operator -1 is the network's input.
    parameters : list of str
        Names of the parameters it takes.
    shapes : list of tuples
        Of its outputs; none for the view of a parameter.
    """

    index: int
    kind: Kind
    function: str
    module: str
    inputs: list[Source]
    parameters: list[str]
    shapes: list[tuple[int, ...]]

    def __str__(self) -> str:
        takes = f"({', '.join(self.parameters)})" if self.parameters else ""
        return f"{self.function}{takes} in {self.module or 'the network'}"

    @property
    def size(self) -> int:
        """Elements of all outputs."""
        return sum(math.prod(shape) for shape in self.shapes)


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

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return tensors_in((self.args, self.kwargs))

    def run(self) -> Any:
        """The result of the function itself."""
        return self.function(*self.args, **self.kwargs)

    def outputs(self, result: Any) -> list[Tensor]:
        """The tensors of a result that hold numbers of the network (a pooling also returns places)."""
        if self.kind is VIEW:
            return []
        if self.name == "__setitem__":  # returns nothing, but writes
            result = self.args[0]
        return [tensor for tensor in tensors_in(result) if tensor.is_floating_point()]

    def replace(self, place: Any, value: Any) -> None:
        """Pass another value there."""
        if isinstance(place, int):
            self.args[place] = value
        else:
            self.kwargs[place] = value

    def expect(self, planned: Sequence[Operator]) -> None:
        """Refuse a call that is not the planned one at its position: same function, same parameters."""
        if self.index < len(planned):
            operator = planned[self.index]
            if operator.function == self.name and operator.parameters == [name for _, name in self.parameters]:
                return
            was = str(operator)
        else:
            was = "the end of the network"
        names = ", ".join(name for _, name in self.parameters)
        raise UntraceableError(
            f"operator {self.index} is {self.name}{f'({names})' * bool(names)} in {self.mode.where()} here, and was "
            f"{was} when the plan was made: a plan holds for one path through the network. Does it branch on values, "
            "or in evaluation mode? Evaluate other paths outside of `apply`"
        )


class OperatorMode(TorchFunctionMode):
    """Follows the tensors that descend from the network's input or parameters and tells a handler about every operator.

    Parameters
    ----------
    module : nn.Module
        Whose parameters are known by name.
    handler : callable(Call) -> result, optional
        Runs the call; by default nothing is changed.
    viewed : callable(list of sources), optional
        Told of the outputs of which something that is no operator has made a view or a copy.
    """

    def __init__(
        self, module: nn.Module, handler: Handler | None = None, viewed: Callable[[list[Source]], None] | None = None
    ) -> None:
        super().__init__()
        self.viewed = viewed
        self.handler = handler or Call.run
        self.names = {id(p): name for name, p in module.named_parameters()}
        self.path: list[str] = []
        self.operators: list[Operator] = []
        self._made: dict[int, tuple[Source, weakref.ref[Tensor]]] = {}  # by id, which may be used again
        self._with_gradients = True

    def start(self, inputs: Any) -> None:
        """A forward pass begins with these tensors."""
        self.operators, self._made = [], {}
        self._with_gradients = torch.is_grad_enabled()
        for position, tensor in enumerate(tensors_in(inputs)):
            self._remember(tensor, (INPUT, position))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every torch function called while the mode is active comes here."""
        kwargs = kwargs or {}
        if torch.is_grad_enabled() != self._with_gradients:  # looks on, as hooks that collect statistics do
            return func(*args, **kwargs)
        sources = tensors_in((args, kwargs))
        known = [source for source in map(self.source, sources) if source is not None]
        parameters = [(place, self.names[id(value)]) for place, value in (*enumerate(args), *kwargs.items())
                      if id(value) in self.names]  # fmt: skip
        name = _name(func)
        short = name.rsplit(".", 1)[-1]
        view = short in VIEWS
        if short in CUTS:
            return func(*args, **kwargs)
        if not (known or parameters) or short in QUESTIONS or short.startswith("__get__") or (view and not parameters):
            return self._pass_on(func, args, kwargs, known)
        if short in OPAQUE:
            raise UntraceableError(
                f"{name} in {self.where()} is one call for a whole network inside; a precision assignment works for "
                "convolutions, linear layers, norms, activations, pooling, sums and concatenations"
            )
        self._refuse_strangers(sources, f"{name} in {self.where()}")
        kind = VIEW if view else KINDS.get(short, OTHER)
        call = Call(self, len(self.operators), kind, short, func, list(args), dict(kwargs), parameters)
        result = self.handler(call)
        self._note(call, known, result)
        return result

    def source(self, tensor: Tensor) -> Source | None:
        """Which operator made this tensor, and which of its outputs it is."""
        source, reference = self._made.get(id(tensor), (None, None))
        return source if reference is not None and reference() is tensor else None

    def where(self) -> str:
        """Name of the module that runs."""
        return self.path[-1] if self.path and self.path[-1] else "the network"

    def finish(self, output: Any) -> None:
        """A forward pass has returned this, and it must come from operators that were seen."""
        self._refuse_strangers(tensors_in(output), "the result of the network")

    def _remember(self, tensor: Tensor, source: Source) -> None:
        self._made[id(tensor)] = source, weakref.ref(tensor)

    def _refuse_strangers(self, tensors: list[Tensor], what: str) -> None:
        """A tensor that needs a gradient but is neither parameter nor output was made where the mode cannot see."""
        for tensor in tensors:
            made_by = tensor.grad_fn
            if made_by is not None and id(tensor) not in self.names and self.source(tensor) is None:
                raise UntraceableError(
                    f"{what}: a tensor of shape {tuple(tensor.shape)} made by {made_by.name()}, which is no torch "
                    "function: a custom autograd.Function or compiled code? Leave that module out of the network that "
                    "the plan is for, or write it with torch functions"
                )

    def _pass_on(self, func: Any, args: Any, kwargs: Any, known: list[Source]) -> Any:
        """Call without an operator; what comes out belongs to the operator that made the first known input."""
        result = func(*args, **kwargs)
        if known:
            made = tensors_in(result)
            if made and self.viewed is not None:
                self.viewed(known)
            for tensor in made:
                if self.source(tensor) is None:
                    self._remember(tensor, known[0])
        return result

    def _note(self, call: Call, known: list[Source], result: Any) -> None:
        outputs = call.outputs(result)
        names = [parameter for _, parameter in call.parameters]
        shapes = [tuple(t.shape) for t in outputs]
        where = self.path[-1] if self.path else ""
        self.operators.append(Operator(call.index, call.kind, call.name, where, known, names, shapes))
        for position, tensor in enumerate(outputs or tensors_in(result)):
            self._remember(tensor, (call.index, position))

    def _enter(self, name: str, module: nn.Module, args: Any) -> None:
        self.path.append(name)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.path.pop()

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Keep `path` up to date with hooks on every submodule, so that errors and reports can name places."""
        handles = []
        self.path = []
        for name, child in module.named_modules():
            handles.append(child.register_forward_pre_hook(partial(self._enter, name)))
            handles.append(child.register_forward_hook(self._leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _name(func: Any) -> str:
    """Of a torch function; of an attribute (``x.T``) its name as that of a view, if it is one."""
    name = resolve_name(func) or getattr(func, "__name__", str(func))
    attribute = name.removesuffix(".__get__")
    return attribute if attribute.rsplit(".", 1)[-1] in VIEWS else name


def refuse_compiled(module: nn.Module) -> None:
    """Compiled code calls no torch function that could be seen."""
    for name, child in module.named_modules():
        compiled = type(child).__name__ == "OptimizedModule" or getattr(child, "_compiled_call_impl", None) is not None
        if compiled or isinstance(child, torch.jit.ScriptModule):
            raise UntraceableError(
                f"{name or 'the network'} is compiled ({type(child).__name__}); a precision assignment needs the "
                "module itself: pass the network as it was before torch.compile or torch.jit"
            )


def trace(module: nn.Module, example_batch: Any) -> list[Operator]:
    """The operators of one forward pass as in training; the module is as before afterwards.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode it is traced in training mode; in training mode, submodules keep the mode they are in.
    example_batch : tensor, or tuple of tensors
        The arguments of the forward pass. Parameters and batch on the device "meta" cost neither time nor memory.

    Returns
    -------
    list of Operator
        In the order in which they run.

    Raises
    ------
    UntraceableError
        The network uses something that cannot be followed; the message names the place.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    >>> for op in trace(net, torch.zeros(2, 3, 8, 8)):
    ...     print(op.function, op.size, op.parameters)
    conv2d 576 ['0.weight', '0.bias']
    batch_norm 576 ['1.weight', '1.bias']
    relu 576 []
    linear 20 ['4.weight', '4.bias']
    """
    refuse_compiled(module)
    arguments = example_batch if isinstance(example_batch, tuple) else (example_batch,)
    mode = OperatorMode(module)
    with unchanged(module), torch.enable_grad(), mode.watching(module):
        if not module.training:
            module.train()
        mode.start(arguments)
        with mode:
            mode.finish(module(*arguments))
    if not any(op.kind.gemm for op in mode.operators):
        raise UntraceableError("the network has no convolution, linear layer or matrix product to assign formats to")
    return mode.operators
