"""Training under a plan against a network that rounds everything in plain sight, and everything that may go wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import lpnum

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lpnum_optim.deep import models  # noqa: E402
from lpnum_optim.deep.candidates import FP434, FP520, FP690, OCP  # noqa: E402
from lpnum_optim.deep.loss_scaling import LossScale  # noqa: E402
from lpnum_optim.deep.operators import UntraceableError  # noqa: E402
from lpnum_optim.deep.plan import PrecisionPlan  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


# ---- the oracle: every rounding is a node of the graph ---------------------------------------------------------------


def to_grid(x, fmt, rounding="nearest-away", scaled=False):
    values = x.detach().float().contiguous().numpy()
    scale = 1.0
    if scaled and values.size and np.abs(values).max() > 0:
        scale = 2.0 ** math.ceil(math.log2(float(np.abs(values).max()) / fmt.max))
    codes = lpnum.encode(values.astype(np.float64) / scale, fmt, rounding=rounding)
    return torch.tensor(lpnum.decode(codes, fmt, np.float64) * scale).to(x.dtype)


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


def batch(n=16, size=12, classes=10):
    return torch.randn(n, 3, size, size), torch.randint(0, classes, (n,))


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


def parts(model=None, n=16, **keywords):
    """A network, its optimizer, a batch and a plan in which everything is low."""
    net = model or models.resnet(width=0.25, n=1)
    x, y = batch(n)
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    return net, optimizer, x, y, PrecisionPlan.uniform(net, x, **keywords)


def step(net, optimizer, x, y):
    optimizer.zero_grad()
    loss = functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


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


def state_of(net, optimizer):
    return [t.detach().clone() for t in (*net.parameters(), *(s["momentum_buffer"] for s in optimizer.state.values()))]


def assert_same(now, before):
    assert len(now) == len(before)
    for a, b in zip(now, before, strict=True):
        assert torch.equal(a, b)


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


# ---- what users do ---------------------------------------------------------------------------------------------------


def test_everything_is_taken_off_again():
    net, optimizer, x, y, plan = parts()
    plain = net.eval()(x)
    net.train()
    with plan.apply(net, optimizer):
        step(net, optimizer, x, y)
        assert "step" in optimizer.__dict__
    assert "step" not in optimizer.__dict__
    assert type(optimizer).step is torch.optim.SGD.step
    assert not any(p._backward_hooks for p in net.parameters())
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    out = net.eval()(x)
    assert not torch.equal(out.detach(), to_grid(out, FP434))
    assert not torch.equal(plain, out)


def test_an_exception_inside_leaves_nothing_behind():
    net, optimizer, x, y, plan = parts()
    weights = [p.detach().clone() for p in net.parameters()]

    def fails():
        with plan.apply(net, optimizer):
            functional.cross_entropy(net(x), y).backward()
            raise KeyError("user")

    with pytest.raises(KeyError):
        fails()
    assert_same([p.detach() for p in net.parameters()], weights)
    assert "step" not in optimizer.__dict__
    step(net, optimizer, x, y)


def test_an_exception_in_the_forward_pass_can_be_caught_and_training_goes_on():
    class Fails(nn.Module):
        fail = False

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            x = torch.relu(self.a(x))
            if self.fail:
                raise ZeroDivisionError
            return self.b(x)

    net = Fails()
    x, y = torch.randn(8, 4), torch.randint(0, 2, (8,))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    plan = PrecisionPlan.uniform(net, x)
    with plan.apply(net, optimizer) as training:
        first = functional.cross_entropy(net(x), y)
        net.fail = True
        with pytest.raises(ZeroDivisionError):
            net(x)
        assert torch.equal(torch.sigmoid(x), torch.sigmoid(x.clone()))  # no mode is left on
        net.fail = False
        again = functional.cross_entropy(net(x), y)
        assert torch.equal(first, again)
        again.backward()
        optimizer.step()
        assert training.skipped == 0


def test_batches_may_change_their_size():
    net, optimizer, x, y, plan = parts()
    with plan.apply(net, optimizer) as training:
        for n in (16, 5, 1, 16):
            assert math.isfinite(step(net, optimizer, x[:n].repeat(2, 1, 1, 1), y[:n].repeat(2)))
    assert training.skipped == 0


def test_evaluation_inside_uses_the_formats_and_disturbs_nothing():
    net, optimizer, x, y, plan = parts()
    other_net, other_optimizer, _, _, other_plan = parts()
    other_net.load_state_dict(net.state_dict())
    with plan.apply(net, optimizer), other_plan.apply(other_net, other_optimizer):
        for k in range(4):
            optimizer.zero_grad()
            loss = functional.cross_entropy(net(x), y)
            if k % 2:
                net.eval()
                with torch.no_grad() if k == 1 else torch.inference_mode():
                    out = net(x[:3])
                    assert torch.equal(out, to_grid(out, FP434))
                net.train()
            loss.backward()
            optimizer.step()
            step(other_net, other_optimizer, x, y)
    assert_same(state_of(net, optimizer), state_of(other_net, other_optimizer))


def test_gradients_add_up_over_several_backward_passes():
    net, optimizer, x, y, plan = parts(nn.Sequential(nn.Flatten(), nn.Linear(432, 16), nn.ReLU(), nn.Linear(16, 10)))
    with plan.apply(net, optimizer, loss_scale=LossScale(256.0)):
        halves = []
        for part in (slice(8), slice(8, 16)):
            optimizer.zero_grad()
            functional.cross_entropy(net(x[part]), y[part]).backward()
            halves.append([p.grad.clone() for p in net.parameters()])
        optimizer.zero_grad()
        for part in (slice(8), slice(8, 16)):
            functional.cross_entropy(net(x[part]), y[part]).backward()
        for p, a, b in zip(net.parameters(), *halves, strict=True):
            assert torch.equal(p.grad, a + b)


def test_several_forward_passes_may_come_before_one_backward_pass():
    """Two branches through one network: the gradient is the sum of both."""
    net, optimizer, x, _, plan = parts(nn.Sequential(nn.Flatten(), nn.Linear(432, 16), nn.ReLU(), nn.Linear(16, 10)))
    with plan.apply(net, optimizer, loss_scale=LossScale(1.0, growth_interval=None)):
        a, b = net(x), net(x.flip(0))
        target = b.detach().clone()
        ((a - b).square().mean()).backward()
        together = [p.grad.clone() for p in net.parameters()]
        optimizer.zero_grad()
        a = net(x)
        difference = 2 * (a.detach() - target) / a.numel()
        a.backward(difference)
        net(x.flip(0)).backward(-difference)
        for p, both in zip(net.parameters(), together, strict=True):
            torch.testing.assert_close(p.grad, both, rtol=1e-5, atol=1e-7)


def test_a_graph_can_be_kept_and_used_twice():
    net, optimizer, x, y, plan = parts()
    with plan.apply(net, optimizer):
        loss = functional.cross_entropy(net(x), y)
        loss.backward(retain_graph=True)
        once = [p.grad.clone() for p in net.parameters()]
        loss.backward()
        for p, gradient in zip(net.parameters(), once, strict=True):
            assert torch.equal(p.grad, 2 * gradient)


def test_second_derivatives_are_refused():
    net, optimizer, x, y, plan = parts()
    with plan.apply(net, optimizer):
        loss = functional.cross_entropy(net(x), y)
        with pytest.raises(RuntimeError, match="create_graph=True under a precision plan"):
            torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
        step(net, optimizer, x, y)


def test_a_gradient_that_somebody_else_holds_is_not_changed():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.a(x), self.b(x)

    net = Two()
    x = torch.randn(8, 4)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    seen = []
    with PrecisionPlan.uniform(net, x).apply(net, optimizer, loss_scale=LossScale(1.0, growth_interval=None)):
        a, b = net(x)
        a.register_hook(seen.append)
        mine = torch.randn(8, 4) / 3
        copy = mine.clone()
        (a + b).backward(mine)
    assert torch.equal(mine, copy)
    assert torch.equal(seen[0], to_grid(copy, FP520))


def test_every_tensor_of_a_nested_output_is_scaled_once():
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            features = torch.relu(self.a(x))
            return {"logits": self.b(features), "more": [features, 3]}

    x = torch.randn(8, 4)
    found = []
    for scale in (1.0, 4096.0):
        torch.manual_seed(1)
        net = Nested()
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        plan = PrecisionPlan.uniform(net, x, low=FP690, high=FP690)
        with plan.apply(net, optimizer, loss_scale=LossScale(scale)):
            out = net(x)
            assert out["more"][1] == 3
            (out["logits"].square().mean() + out["more"][0].square().mean()).backward()
        found.append([p.grad.clone() for p in net.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_a_penalty_on_the_parameters_is_not_scaled():
    net = nn.Linear(4, 2)
    x = torch.randn(8, 4)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with PrecisionPlan.uniform(net, x).apply(net, optimizer):
        (net(x).sum() * 0 + 3 * net.weight.square().sum()).backward()
    torch.testing.assert_close(net.weight.grad, 6 * net.weight.detach())


def test_a_frozen_parameter_gets_no_gradient():
    net, optimizer, x, y, plan = parts()
    frozen = next(iter(net.parameters())).requires_grad_(False)
    before = frozen.clone()
    with plan.apply(net, optimizer):
        step(net, optimizer, x, y)
    assert frozen.grad is None
    assert torch.equal(frozen, before)


def test_an_input_that_wants_a_gradient_gets_it():
    net, optimizer, x, y, plan = parts(nn.Sequential(nn.Flatten(), nn.Linear(432, 10)))
    x.requires_grad_()
    with plan.apply(net, optimizer, loss_scale=LossScale(64.0)):
        functional.cross_entropy(net(x), y).backward()
    assert x.grad is not None
    assert torch.equal(x.grad, to_grid(x.grad, FP520))


def test_optimizers_with_closures_work_and_leave_out_lost_steps():
    net, _, x, y, plan = parts(nn.Sequential(nn.Flatten(), nn.Linear(432, 16), nn.ReLU(), nn.Linear(16, 10)))
    optimizer = torch.optim.LBFGS(net.parameters(), 0.05, max_iter=3)
    factor = 1.0

    def closure():
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(x), y) * factor
        loss.backward()
        return loss

    with plan.apply(net, optimizer, loss_scale=LossScale(64.0)) as training:
        first = float(optimizer.step(closure).detach())
        for _ in range(5):
            last = float(optimizer.step(closure).detach())
        assert last < first
        before = [p.detach().clone() for p in net.parameters()]
        factor = math.nan
        assert math.isnan(float(optimizer.step(closure).detach()))
        assert training.skipped == 1
        assert_same([p.detach() for p in net.parameters()], before)


def test_learning_rate_schedules_work():
    net, optimizer, x, y, plan = parts()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    inside = optimizer.__dict__.get("step")
    with plan.apply(net, optimizer):
        for _ in range(3):
            step(net, optimizer, x, y)
            scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.05 / 8
    assert optimizer.__dict__.get("step") == inside


def test_a_network_that_leaves_its_path_is_refused_and_survives():
    class Branches(nn.Module):
        longer = False

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = torch.relu(self.a(x))
            x = self.b(x)
            return torch.tanh(x) if self.longer else x

    net = Branches()
    x, y = torch.randn(8, 4), torch.randint(0, 4, (8,))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    plan = PrecisionPlan.uniform(net, x)
    with plan.apply(net, optimizer):
        before = [p.detach().clone() for p in net.parameters()]
        net.longer = True
        with pytest.raises(UntraceableError, match="one path"):
            net(x)
        net.longer = False
        assert_same([p.detach() for p in net.parameters()], before)
        step(net, optimizer, x, y)


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet_v2", "mobilenet_v2", "resnet18"])
def test_the_networks_of_the_paper_train_as_with_every_rounding_done(name, monkeypatch):
    """What is left out because it would change nothing changes nothing."""
    from lpnum_optim.deep import output_gradients, rounded_outputs

    results = []
    for everything in (False, True):
        if everything:
            monkeypatch.setattr(rounded_outputs, "KEEPS_GRID", set())
            monkeypatch.setattr(output_gradients, "HANDS_ON", set())
        torch.manual_seed(5)
        net = models.MODELS[name](classes=10, width=0.1)
        x, y = batch(4, 32)
        optimizer = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9)
        with PrecisionPlan.uniform(net, x).apply(net, optimizer, loss_scale=LossScale(64.0)) as training:
            losses = [step(net, optimizer, x, y) for _ in range(2)]
        results.append((losses, state_of(net, optimizer), training.skipped))
    assert results[0][0] == results[1][0]
    assert results[0][2] == results[1][2] == 0
    assert_same(results[0][1], results[1][1])


def test_bf16_autocast_inside_keeps_bf16_and_the_grid():
    net, optimizer, x, y, plan = parts()
    kinds = set()
    with plan.apply(net, optimizer, loss_scale=LossScale(256.0)) as training:
        for child in net.modules():
            if isinstance(child, nn.Conv2d):
                child.register_forward_hook(
                    lambda m, a, out: kinds.add((out.dtype, torch.equal(out, to_grid(out, FP434))))
                )
        for _ in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
    assert kinds == {(torch.bfloat16, True)}
    assert training.skipped == 0
