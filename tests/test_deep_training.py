"""Training under a plan against a network that rounds everything in plain sight, and steps that are left out."""

from __future__ import annotations

import math
from typing import Any

import pytest

import lpnum

torch = pytest.importorskip("torch")

from deep_training import assert_same, batch, parts, state_of, step, to_grid  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lpnum_optim.deep import output_gradients, rounded_outputs  # noqa: E402
from lpnum_optim.deep.candidates import FP434, FP520, FP690, OCP  # noqa: E402
from lpnum_optim.deep.loss_scaling import LossScale  # noqa: E402
from lpnum_optim.deep.plan import PrecisionPlan  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# ---- the oracle: every rounding is a node of the graph ---------------------------------------------------------------


class Rounded(torch.autograd.Function):
    """Values onto one grid, the gradient onto another, times a factor."""

    @staticmethod
    def forward(ctx, x, forward, backward, factor=1.0):
        """Onto the grid."""
        ctx.backward_to, ctx.factor = backward, factor
        return forward(x)

    @staticmethod
    def backward(ctx, gradient):
        """Onto the other grid."""
        return ctx.backward_to(gradient) * ctx.factor, None, None, None


class Sigmoid(torch.autograd.Function):
    """Its derivative follows from its result: the rounded one."""

    @staticmethod
    def forward(ctx, x, forward):
        """Rounded."""
        y = forward(torch.sigmoid(x))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, gradient):
        """From the rounded result."""
        return torch.ops.aten.sigmoid_backward(gradient, *ctx.saved_tensors), None


class Oracle:
    """A small residual network with every tensor rounded."""

    def __init__(self, net, formats, rounding, loss_scale, scaled=False):
        self.net, self.scale = net, loss_scale
        p, y, gp, gy = ((lambda x, f=f: to_grid(x, f, rounding, scaled)) for f in formats)
        self.parameter = lambda w: Rounded.apply(w, p, gp, 1 / loss_scale)
        self.output = lambda x: Rounded.apply(x, y, gy)
        self.input = y

    def norm(self, x, layer):
        """Batch normalization."""
        return self.output(
            functional.batch_norm(
                x, None, None, self.parameter(layer.weight), self.parameter(layer.bias), True, 0.0, layer.eps
            )
        )

    def conv(self, x, layer):
        """Convolution."""
        return self.output(functional.conv2d(x, self.parameter(layer.weight), None, layer.stride, layer.padding))

    def __call__(self, x):
        """Logits."""
        net = self.net
        x = self.output(torch.relu(self.norm(self.conv(self.input(x), net.conv), net.norm)))
        x = self.output(functional.max_pool2d(x, 2))
        y = self.output(torch.relu(self.norm(self.conv(x, net.conv1), net.norm1)))
        y = self.norm(self.conv(y, net.conv2), net.norm2)
        x = self.output(torch.relu(self.output(y + x)))
        x = self.output(torch.cat([x, self.output(Sigmoid.apply(x, self.input))], 1))
        x = self.output(functional.adaptive_avg_pool2d(x, 1)).flatten(1)
        x = self.output(functional.linear(x, self.parameter(net.head.weight), self.parameter(net.head.bias)))
        return Rounded.apply(x, lambda v: v.clone(), lambda g: g, self.scale)


class Net(nn.Module):
    """What the oracle computes, as anybody writes it."""

    def __init__(self, inplace):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv1, self.norm1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(16, 10)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x):
        """Logits."""
        x = self.relu(self.norm(self.conv(x)))
        x = functional.max_pool2d(x, 2)
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y = y + x if not self.relu.inplace else y.add_(x)
        x = self.relu(y)
        x = torch.cat([x, torch.sigmoid(x)], 1)
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


PAPER_FORMATS = FP434, FP434, FP690, FP520
OCP_FORMATS = lpnum.float8_e4m3fn, lpnum.float8_e4m3fn, lpnum.bfloat16, lpnum.float8_e5m2
CASES = {
    "paper": ({}, PAPER_FORMATS, "nearest-away", False),
    "OCP": (OCP, OCP_FORMATS, "nearest-even", False),
    "fixed point, scaled": ({"low": "fixed8", "high": "fixed16", "rounding": "nearest-even"}, (lpnum.fixed8,) * 4,
                            "nearest-even", True),
    "paper, scaled": ({}, PAPER_FORMATS, "nearest-away", True),
}  # fmt: skip


@pytest.mark.parametrize("inplace", [False, True], ids=["out of place", "in place"])
@pytest.mark.parametrize("case", CASES)
def test_a_step_equals_that_of_a_network_that_rounds_in_plain_sight(case, inplace, simd_level):
    arguments, formats, rounding, scaled = CASES[case]
    net, loss_scale = Net(inplace), 1.0 if scaled else 1024.0
    x, y = batch()
    oracle = Oracle(net, formats, rounding, loss_scale, scaled)
    expected = oracle(x)
    functional.cross_entropy(expected, y).backward()
    gradients = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    plan = PrecisionPlan.uniform(net, x, **arguments)
    image = x.clone()
    with plan.apply(net, optimizer, loss_scale=LossScale(loss_scale), scaled=scaled) as training:
        for _ in range(2):  # the second pass knows which codes are wanted
            net.zero_grad()
            out = net(x)
            torch.testing.assert_close(out, expected, rtol=0, atol=0)
            functional.cross_entropy(out, y).backward()
            for name, p in net.named_parameters():
                torch.testing.assert_close(p.grad, gradients[name], rtol=0, atol=0, msg=lambda m, n=name: f"{n}: {m}")
        optimizer.step()
    assert training.skipped == 0
    assert torch.equal(x, image)


def test_outputs_of_every_operator_lie_on_the_grid():
    net, optimizer, x, _, plan = parts()
    seen: list[Any] = []
    hooks = [
        child.register_forward_hook(
            lambda module, args, out: seen.append((type(module).__name__, out.detach().clone()))
        )
        for child in net.modules()
        if not list(child.children())
    ]
    with plan.apply(net, optimizer):
        seen.clear()
        net(x)
    for hook in hooks:
        hook.remove()
    assert len(seen) > 10
    for name, values in seen:
        assert torch.equal(values, to_grid(values, FP434)), name


class Odd(nn.Module):
    """Outputs that are views, parts, sums over a broadcast axis, and constants between them."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 8), nn.Linear(4, 6), nn.Linear(6, 3)
        self.row = nn.Linear(8, 8)

    def forward(self, x):
        """Logits."""
        x = torch.relu(self.first(x) + self.row(x[:1]))  # a gradient that is a sum over the batch
        a, b = x.chunk(2, 1)
        self.parts = a, b
        x = self.second(torch.relu(a) + b.roll(1, 1))
        self.joined = torch.cat([torch.relu(x), torch.full((x.shape[0], 2), 0.3)], 1)
        return torch.add(self.third(x), 1.7, alpha=3) + self.joined.sum(1, keepdim=True)


def test_views_parts_constants_and_broadcasts_are_rounded_as_everything_else(monkeypatch):
    results = []
    for everything in (False, True):
        if everything:
            monkeypatch.setattr(rounded_outputs, "KEEPS_GRID", set())
            monkeypatch.setattr(output_gradients, "HANDS_ON", set())
        torch.manual_seed(2)
        net, x = Odd(), torch.randn(16, 8)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        with PrecisionPlan.uniform(net, x).apply(net, optimizer, loss_scale=LossScale(32.0)) as training:
            out = net(x)
            out.square().mean().backward()
            for tensor in (*net.parts, net.joined, out):
                assert torch.equal(tensor, to_grid(tensor, FP434))
        results.append([out, *(p.grad for p in net.parameters())])
        assert not any(slot.lost for slot in training.slots)
    assert_same(*results)


def test_a_view_in_another_format_leaves_what_it_is_a_view_of():
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(8, 8), nn.Linear(4, 3)

        def forward(self, x):
            self.whole = torch.relu(self.first(x))
            self.parts = self.whole.chunk(2, 1)
            return self.last(self.parts[0] + self.parts[1])

    net, x = Halves(), torch.randn(16, 8)
    plan = PrecisionPlan.uniform(net, x)
    number = next(op.index for op in plan.operators if op.function == "relu")
    plan.low = [tensor.source[0] not in (number - 1, number) for tensor in plan.tensors]
    with plan.apply(net, torch.optim.SGD(net.parameters(), 0.1)):
        net(x).sum().backward()
    assert torch.equal(net.whole, to_grid(net.whole, FP690))
    assert not torch.equal(net.whole, to_grid(net.whole, FP434))
    assert torch.equal(torch.cat(net.parts, 1), to_grid(net.whole, FP434))


def test_tensors_of_different_levels_get_their_own_formats():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    x = torch.randn(32, 6)
    plan = PrecisionPlan.operator_based(net, x)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    low = {tensor.name: level for tensor, level in zip(plan.tensors, plan.low, strict=True) if tensor.kind == "output"}
    outputs = {}
    with plan.apply(net, optimizer):
        for name, child in net.named_children():
            child.register_forward_hook(lambda m, a, out, n=name: outputs.__setitem__(n, out.detach().clone()))
        net(x)
    assert low["1:relu:1"]
    assert not low["0:linear:0"]
    assert torch.equal(outputs["1"], to_grid(outputs["1"], FP434))
    assert torch.equal(outputs["0"], to_grid(outputs["0"], FP690))
    assert not torch.equal(outputs["0"], to_grid(outputs["0"], FP434))


def test_parameters_stay_in_float32_and_move_by_less_than_their_format_could_tell():
    net, optimizer, x, y, plan = parts()
    optimizer.param_groups[0]["lr"] = 1e-5
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    with plan.apply(net, optimizer):
        step(net, optimizer, x, y)
    for name, p in net.named_parameters():
        assert p.dtype == torch.float32
        assert p.is_leaf
        assert not torch.equal(p, before[name])
        assert float((p - before[name]).detach().abs().max()) < 1e-3
        assert not torch.equal(p.detach(), to_grid(p, FP434)) or float(p.detach().abs().max()) == 0


def test_training_learns_what_float32_learns():
    torch.manual_seed(3)
    x = torch.randn(256, 16)
    y = (x[:, :4].sum(1) > 0).long() + 2 * (x[:, 4:8].prod(1) > 0).long()
    losses = []
    for with_plan in (False, True):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        if with_plan:
            with PrecisionPlan.uniform(net, x).apply(net, optimizer) as training:
                for _ in range(150):
                    last = step(net, optimizer, x, y)
            assert training.steps == 150
            assert training.skipped < 10
        else:
            for _ in range(150):
                last = step(net, optimizer, x, y)
        losses.append(last)
    assert losses[0] < 0.1
    assert losses[1] < 0.2


# ---- steps that are left out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["input NaN", "loss NaN", "loss infinite", "huge loss", "NaN in the weights' gradient"])
def test_a_lost_step_is_counted_and_leaves_weights_and_momentum_alone(bad):
    net, optimizer, x, y, plan = parts()
    with plan.apply(net, optimizer, promotion=None) as training:
        step(net, optimizer, x, y)
        before, scale = state_of(net, optimizer), training.loss_scale.scale
        optimizer.zero_grad()
        broken = x.clone()
        if bad == "input NaN":
            broken[3, 1, 2, 2] = math.nan
        loss = functional.cross_entropy(net(broken), y)
        loss = loss * {"loss NaN": math.nan, "loss infinite": math.inf, "huge loss": 1e30}.get(bad, 1.0)
        loss.backward()
        if bad == "NaN in the weights' gradient":
            next(iter(net.parameters())).grad[0, 0, 0, 0] = math.nan
        optimizer.step()
        assert training.skipped == 1
        assert training.steps == 2
        assert_same(state_of(net, optimizer), before)
        assert training.loss_scale.scale == (scale if bad == "input NaN" else scale / 2) or math.isnan(float(loss))
        step(net, optimizer, x, y)
        assert training.skipped == 1
        assert not torch.equal(state_of(net, optimizer)[0], before[0])


def test_an_overflow_of_the_loss_scale_halves_it_until_gradients_fit():
    net, optimizer, x, y, plan = parts()
    with plan.apply(net, optimizer, loss_scale=LossScale(2.0**24)) as training:
        for _ in range(12):
            step(net, optimizer, x, y)
    assert 0 < training.skipped < 12
    assert training.loss_scale.scale == 2.0 ** (24 - training.skipped)


def test_outputs_beyond_the_range_saturate_and_promote_and_are_no_lost_step():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(16, 6)
    optimizer = torch.optim.SGD(net.parameters(), 1e-4)
    with PrecisionPlan.uniform(net, x).apply(net, optimizer) as training:
        out = net(x * 1e3)
        out.square().mean().backward()
        optimizer.step()
        promoted = {slot.tensor.name for slot in training.slots if slot.promotions}
    assert {"input", "0:linear:0"} <= promoted
    assert training.skipped == 0
