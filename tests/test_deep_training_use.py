"""What users do under a plan: exceptions, evaluation, several passes, gradients they hold, optimizers of all kinds."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from deep_training import assert_same, batch, parts, state_of, step, to_grid  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lpnum_optim.deep import models  # noqa: E402
from lpnum_optim.deep.candidates import FP434, FP520, FP690  # noqa: E402
from lpnum_optim.deep.loss_scaling import LossScale  # noqa: E402
from lpnum_optim.deep.operators import UntraceableError  # noqa: E402
from lpnum_optim.deep.plan import PrecisionPlan  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


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
