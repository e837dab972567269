"""Plans by error per byte: what is left for last, what the errors are, what measuring them leaves alone."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="lpnum_optim.deep is for PyTorch")

from deep_networks import batch, sequential  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lpnum_optim.deep import PrecisionPlan  # noqa: E402
from lpnum_optim.deep.gradient_errors import gradient_errors  # noqa: E402
from lpnum_optim.deep.loss_scaling import LossScale  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def outlying() -> nn.Module:
    """Its middle layer has outputs that FP(4,3,4) does not hold."""
    net = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    with torch.no_grad():
        net[2].weight *= 300.0
        net[4].weight /= 300.0
    return net


def test_demotion_by_error_per_byte_leaves_for_last_what_the_format_does_not_hold() -> None:
    net, x = outlying(), torch.randn(64, 16)
    y = torch.randint(10, (64,))
    by_size = PrecisionPlan.demote(net, x, 0.3)
    by_error = PrecisionPlan.demote(net, x, 0.3, order="error-per-byte", loss=lambda o: functional.cross_entropy(o, y))
    middle = next(t.group for t in by_size.tensors if t.name == "2:linear:2")

    def groups(plan: PrecisionPlan) -> set[int]:
        return {t.group for t, low in zip(plan.tensors, plan.low, strict=True) if low}

    assert middle in groups(by_size)
    assert middle not in groups(by_error)
    assert by_error.low_ratio >= 0.3
    assert "error-per-byte" in by_error.name


def test_errors_of_groups_are_changes_of_the_gradient_in_a_step_under_a_plan() -> None:
    net, x, y = outlying(), torch.randn(64, 16), torch.randint(10, (64,))
    plan = PrecisionPlan.uniform(net, x)

    def gradient(low: list[bool]) -> torch.Tensor:
        found = copy.deepcopy(net)
        under = PrecisionPlan(plan.operators, plan.tensors, low, plan.candidates, "")
        optimizer = torch.optim.SGD(found.parameters())
        with under.apply(found, optimizer, promotion=None, loss_scale=LossScale(65536.0, None)):
            functional.cross_entropy(found(x), y).backward()
        return torch.cat([p.grad.flatten() for p in found.parameters()]).double()

    errors = gradient_errors(
        net, (x,), plan.operators, plan.tensors, plan.candidates, loss=lambda o: functional.cross_entropy(o, y)
    )
    exact = gradient([False] * len(plan.low))
    for group, error in errors.items():
        change = gradient([t.group == group for t in plan.tensors]) - exact
        assert error == pytest.approx(float(change.square().sum() / exact.square().sum()), rel=1e-9)


def test_measuring_errors_leaves_the_network_its_gradients_and_torchs_random_state_alone() -> None:
    net, (x, y) = sequential().eval(), batch()
    functional.cross_entropy(net(x), y).backward()
    before = copy.deepcopy((net.state_dict(), [p.grad for p in net.parameters()], torch.random.get_rng_state()))
    first, second = (PrecisionPlan.demote(net, x, 0.5, order="error-per-byte") for _ in range(2))
    assert first.low == second.low
    assert not any(m.training for m in net.modules())
    assert all(torch.equal(before[0][name], value) for name, value in net.state_dict().items())
    assert all(torch.equal(a, p.grad) for a, p in zip(before[1], net.parameters(), strict=True))
    assert torch.equal(before[2], torch.random.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_errors_cannot_be_measured_without_values_gradients_or_a_finite_loss() -> None:
    with torch.device("meta"):
        ghost, nothing = nn.Linear(4, 3), torch.zeros(2, 4)
    frozen = nn.Linear(4, 3).requires_grad_(False)
    for net, x, loss, message in (
        (ghost, nothing, None, "'meta' has no values"),
        (frozen, torch.ones(2, 4), None, "no parameter of the model requires a gradient"),
        (nn.Linear(4, 3), torch.ones(2, 4), lambda o: o.sum() * float("nan"), "the loss on the example batch is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            PrecisionPlan.demote(net, x, 0.5, order="error-per-byte", loss=loss)
