"""The tracer sees the operators of networks written in all the usual ways, and says what it cannot follow."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext

import pytest

torch = pytest.importorskip("torch", reason="lpnum_optim.deep is for PyTorch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lpnum_optim.deep import UntraceableError  # noqa: E402
from lpnum_optim.deep.operators import INPUT, trace  # noqa: E402

IMAGES = torch.zeros(4, 3, 8, 8)


def seen(module: nn.Module, batch=IMAGES) -> list[tuple[str, list, list[str]]]:
    return [(op.function, op.inputs, op.parameters) for op in trace(module, batch)]


class _Network(nn.Module):
    """Its parts are attributes, its forward pass a function."""

    def __init__(self, forward, **parts) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


def test_a_sequence_of_modules_is_a_chain() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten(),
        nn.Linear(36, 2),
    )  # fmt: skip
    assert seen(net) == [
        ("conv2d", [(INPUT, 0)], ["0.weight", "0.bias"]),
        ("batch_norm", [(0, 0)], ["1.weight", "1.bias"]),
        ("relu", [(1, 0)], []),
        ("max_pool2d", [(2, 0)], []),
        ("dropout", [(3, 0)], []),
        ("linear", [(4, 0)], ["6.weight", "6.bias"]),
    ]


def test_sums_concatenations_and_splits_that_no_module_makes_are_operators() -> None:
    def forward(self, x):
        y = self.conv(x)
        a, b = y.chunk(2, dim=1)
        z = torch.cat([functional.relu(a), b], 1) + y
        z += y
        return z.mean((2, 3)) @ self.head.weight.t()

    ops = trace(_Network(forward, conv=nn.Conv2d(3, 4, 1), head=nn.Linear(4, 2, bias=False)), IMAGES)
    functions = [(op.kind.name, op.inputs) for op in ops]
    assert functions == [
        ("gemm", [(INPUT, 0)]),
        ("split", [(0, 0)]),
        ("activation", [(1, 0)]),
        ("cat", [(2, 0), (1, 1)]),
        ("add", [(3, 0), (0, 0)]),
        ("add", [(4, 0), (0, 0)]),
        ("pool", [(5, 0)]),
        ("view", []),
        ("gemm", [(6, 0), (7, 0)]),
    ]
    assert ops[7].parameters == ["head.weight"]
    assert ops[7].shapes == []


def test_views_are_no_operators_and_lead_to_what_made_them() -> None:
    def forward(self, x):
        y = self.conv(x).permute(0, 2, 3, 1).reshape(-1, 4)[1:].T.T
        return self.head(y.unsqueeze(0).squeeze(0).contiguous())

    ops = trace(_Network(forward, conv=nn.Conv2d(3, 4, 1), head=nn.Linear(4, 2)), IMAGES)
    assert [op.function for op in ops] == ["conv2d", "linear"]
    assert ops[1].inputs == [(0, 0)]


def test_every_parameter_that_an_operator_takes_is_found_wherever_it_stands() -> None:
    def forward(self, x):
        y = functional.conv2d(input=x, weight=self.w, bias=self.b)
        y = self.gain * functional.layer_norm(y, [8, 8], bias=None, weight=self.norm)
        return functional.prelu(y, self.slope).flatten(1) @ self.out

    net = _Network(forward)
    for name, shape in {
        "w": (2, 3, 1, 1),
        "b": (2,),
        "gain": (1, 2, 1, 1),
        "norm": (8, 8),
        "slope": (2,),
        "out": (128, 3),
    }.items():
        setattr(net, name, nn.Parameter(torch.ones(shape)))
    assert [op.parameters for op in trace(net, IMAGES)] == [["w", "b"], ["norm"], ["gain"], ["slope"], ["out"]]


def test_weights_that_are_computed_from_parameters_are_followed() -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.ReLU(), nn.Conv2d(4, 1, 1))
    ops = trace(net, IMAGES)
    conv = next(op for op in ops if op.function == "conv2d")
    made = [ops[source[0]] for source in conv.inputs if source[0] >= 0]
    assert {"0.parametrizations.weight.original0", "0.parametrizations.weight.original1"} == {
        name for op in made for name in op.parameters
    }


def test_parameters_shared_by_several_uses_have_one_name() -> None:
    layer = nn.Linear(3, 3, bias=False)
    ops = trace(nn.Sequential(OrderedDict(a=layer, b=nn.ReLU(), c=layer)), torch.zeros(2, 3))
    assert [op.parameters for op in ops] == [["a.weight"], [], ["a.weight"]]


def test_several_inputs_and_outputs_in_tuples_and_dictionaries_are_followed() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x, y):
            return {"sum": self.a(x) + self.b(y), "parts": (self.a(y),)}

    ops = trace(Two(), (torch.zeros(2, 3), torch.zeros(2, 3)))
    assert [op.inputs for op in ops] == [[(INPUT, 0)], [(INPUT, 1)], [(0, 0), (1, 0)], [(INPUT, 1)]]


def test_operators_know_the_module_that_called_them() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Linear(3, 1))
    assert [op.module for op in trace(net, torch.zeros(2, 3))] == ["0.0", "0.1", "1"]


def test_the_path_of_training_is_traced() -> None:
    def forward(self, x):
        y = self.head(x)
        return y + self.extra(x) if self.training else y

    net = _Network(forward, head=nn.Linear(3, 2), extra=nn.Linear(3, 2)).eval()
    assert len(trace(net, torch.zeros(2, 3))) == 3
    assert not net.training
    assert not net.head.training


def test_what_hooks_and_detached_branches_look_at_is_no_operator() -> None:
    def forward(self, x):
        y = self.head(x)
        with torch.no_grad():
            self.running = y.mean() + 1
        return y / y.detach().abs().amax()

    net = _Network(forward, head=nn.Linear(3, 3), running=None)
    net.head.register_forward_hook(lambda module, args, output: print(end=str(output.detach().std() * 0)))
    assert [op.function for op in trace(net, torch.rand(2, 3))] == ["linear", "div"]


class _Double(torch.autograd.Function):
    """Work that no torch function does."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


@pytest.mark.parametrize("last", [False, True])
def test_a_custom_autograd_function_is_refused_by_name(last: bool) -> None:
    def forward(self, x):
        y = _Double.apply(self.first(x))
        return y if last else self.second(y)

    net = _Network(forward, first=nn.Linear(3, 3), second=nn.Linear(3, 1))
    with pytest.raises(UntraceableError, match="DoubleBackward"), torch.no_grad():
        trace(net, torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("layer", "batch"),
    [
        (nn.LSTM(3, 4), torch.zeros(5, 2, 3)),
        (nn.GRU(3, 4), torch.zeros(5, 2, 3)),
        (nn.RNN(3, 4), torch.zeros(5, 2, 3)),
        (nn.LSTMCell(3, 4), torch.zeros(2, 3)),
        (nn.TransformerEncoderLayer(4, 2, 8), torch.zeros(5, 2, 4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_recurrent_and_attention_layers_are_refused_with_their_place(layer: nn.Module, batch: torch.Tensor) -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = layer

        def forward(self, x):
            return self.core(x)

    with pytest.raises(UntraceableError, match=r"in core.* is one call for a whole network inside"):
        trace(Inside(), batch)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_compiled_modules_are_refused_before_they_run() -> None:
    scripted = nn.Sequential(torch.jit.trace(nn.Linear(3, 3), torch.zeros(2, 3)), nn.ReLU())
    with pytest.raises(UntraceableError, match="0 is compiled"):
        trace(scripted, torch.zeros(2, 3))
    wrapped = nn.Sequential(nn.ReLU(), nn.Linear(3, 3))
    wrapped[1].compile()
    with pytest.raises(UntraceableError, match="1 is compiled"):
        trace(wrapped, torch.zeros(2, 3))


def test_a_network_without_products_has_nothing_to_assign() -> None:
    with pytest.raises(UntraceableError, match="no convolution, linear layer or matrix product"):
        trace(nn.ReLU(), torch.zeros(2, 3))


def state(net: nn.Module):
    tensors = {name: (id(t), t.clone()) for name, t in (*net.named_parameters(), *net.named_buffers())}
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in net.modules()]
    gradients = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    return tensors, hooks, gradients, [m.training for m in net.modules()], torch.random.get_rng_state()


def same(before, after) -> bool:
    tensors = all(
        before[0][name][0] == after[0][name][0] and torch.equal(before[0][name][1], after[0][name][1])
        for name in before[0]
    )
    gradients = all((a is None and b is None) or torch.equal(a, b) for a, b in zip(before[2], after[2], strict=True))
    return (tensors and gradients and before[0].keys() == after[0].keys() and before[1] == after[1]
            and before[3] == after[3] and torch.equal(before[4], after[4]))  # fmt: skip


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_as_before_also_after_an_exception(fails: bool, training: bool) -> None:
    armed: list[int] = []

    class Failing(nn.Module):
        def forward(self, x):
            if fails and armed:
                raise RuntimeError("on purpose")
            return x

    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.BatchNorm2d(4, momentum=None), Failing()
    )
    net.train(training)
    net[3].eval()
    net(torch.randn(4, 3, 8, 8)).sum().backward()
    net[1].register_forward_hook(lambda *_: None)
    armed.append(1)
    batch = torch.randn(4, 3, 8, 8)
    before = state(net)
    with pytest.raises(RuntimeError, match="on purpose") if fails else nullcontext():
        trace(net, batch)
    assert same(before, state(net))
