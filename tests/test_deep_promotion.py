"""Tensors change their level during training: for good where values overflow, and back where errors are small again."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="lpnum_optim.deep is for PyTorch")

from torch import nn  # noqa: E402

from lpnum_optim.deep import ErrorPromotion, OverflowPromotion, PrecisionPlan  # noqa: E402
from lpnum_optim.deep.loss_scaling import LossScale  # noqa: E402


class Passing(nn.Module):
    """Two layers that pass on what they get."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False)
        for layer in (self.a, self.b):
            layer.weight.data = torch.eye(10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """b(a(x) / 2)."""
        return self.b(self.a(x) / 2)


class Run:
    """Steps that change no weight: only levels."""

    def __init__(self, promotion, **options) -> None:
        self.net = Passing()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.0)
        plan = PrecisionPlan.uniform(self.net, torch.ones(20, 10))
        self.context = plan.apply(
            self.net, self.optimizer, promotion=promotion, loss_scale=LossScale(1.0, None), **options
        )
        self.training = self.context.__enter__()
        self.training.slots[0].is_low = False  # the input passes as it is

    def step(self, x: torch.Tensor) -> set[str]:
        """Names of the tensors that are promoted after a step with this batch."""
        self.optimizer.zero_grad()
        (self.net(x).mean() * 1e-3).backward()
        self.optimizer.step()
        return {f"{s.tensor.kind} {s.tensor.name}" for s in self.training.slots if s.promoted}


def with_large(number: int, value: float = 31.0) -> torch.Tensor:
    """200 elements, of which so many reach `value` after the first layer."""
    x = torch.zeros(200)
    x[:number] = value
    return x.reshape(20, 10)


@pytest.mark.parametrize(("number", "value", "promoted"), [(2, 31.0, True), (1, 31.0, False), (200, 30.9, False)])
def test_a_share_of_theta_at_the_overflow_threshold_promotes(number: int, value: float, promoted: bool) -> None:
    # 2 of 200 elements are 0.01; 31 is halfway between the largest value, 30, and the next one if there was one.
    run = Run(OverflowPromotion(0.01))
    found = run.step(with_large(number, value))
    assert found == ({"output a:linear:0"} if promoted else set())


def test_overflow_promotes_one_tensor_for_good_and_neither_its_group_nor_its_gradient() -> None:
    run = Run("overflow")
    assert run.step(with_large(50, 50.0)) == {"output a:linear:0"}
    for _ in range(3):
        assert run.step(with_large(0)) == {"output a:linear:0"}
    slots = {(s.tensor.kind, s.tensor.name): s for s in run.training.slots}
    assert sum(s.promotions for s in slots.values()) == 1
    assert slots["output-gradient", "a:linear:0"].is_low
    assert slots["output", "a:linear:0"].fmt.bits == 16


def test_parameters_are_promoted_by_their_own_overflow() -> None:
    run = Run("overflow")
    run.net.b.weight.data[0, :2] = 100.0
    assert run.step(with_large(0)) == {"parameter b.weight"}


def test_gradients_are_never_promoted_their_overflow_costs_the_step() -> None:
    run = Run("overflow")
    run.optimizer.zero_grad()
    (run.net(with_large(0)).mean() * 1e9).backward()
    run.optimizer.step()
    assert run.training.skipped == 1
    assert not any(s.promoted for s in run.training.slots)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5])
def test_a_threshold_that_is_no_share_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="OverflowPromotion: threshold"):
        OverflowPromotion(threshold)


# ---- by error --------------------------------------------------------------------------------------------------------

FINE = torch.linspace(0.5, 1.0, 200).reshape(20, 10)


def test_error_promotes_what_the_low_format_damages_and_takes_it_back() -> None:
    run = Run(ErrorPromotion(threshold=2e-3, measure_every=1), scaled=False)
    tiny = FINE * 2.0**-15  # below half of the smallest subnormal, 2**-14: zeros in 8 bits, exact in 16
    first, second, third = (f"output {name}" for name in ("a:linear:0", ":div:1", "b:linear:2"))
    assert run.step(FINE) == set()
    assert run.step(tiny) == {first}  # the others took zeros, which have no error
    assert run.step(tiny) == {first, second}
    assert run.step(tiny) == {first, second, third}
    assert run.step(FINE) == set()
    assert run.step(tiny) == {first}
    assert next(s for s in run.training.slots if s.tensor.name == "a:linear:0").promotions == 2


def test_between_release_and_threshold_a_tensor_stays_where_it_is() -> None:
    def at(binade: int) -> torch.Tensor:  # spacing 2**-13: relative errors grow towards small values
        return torch.linspace(1.0, 2.0, 200).reshape(20, 10) * 2.0**binade

    run = Run(ErrorPromotion(threshold=5e-3, release=0.2, measure_every=1), scaled=False)
    place = "output a:linear:0"
    assert place not in run.step(at(-11))  # was low, stays low
    error = run.training.statistics.error[[s.tensor.name for s in run.training.slots].index("a:linear:0")]
    assert 1e-3 < error < 5e-3
    assert place in run.step(at(-13))
    assert place in run.step(at(-11))  # was high, stays high
    assert place not in run.step(at(-2))


def test_errors_are_measured_in_every_so_many_steps_only() -> None:
    run = Run(ErrorPromotion(measure_every=3), scaled=False)
    tiny = FINE * 2.0**-15
    assert [bool(run.step(x)) for x in (FINE, tiny, tiny, tiny)] == [False, False, False, True]


def test_with_scales_range_is_no_problem_and_only_spread_is() -> None:
    for factor in (2.0**-40, 1.0, 2.0**40):
        run = Run("error")
        assert all(s.scaled for s in run.training.slots)
        assert run.step(FINE * factor) == set()
        assert run.training.skipped == 0
    run = Run(ErrorPromotion(threshold=1e-4, measure_every=1), scaled=True)
    assert run.step(torch.full((20, 10), 0.5)) == set()
    assert run.step(torch.cat([torch.full((1,), 2.0**20), torch.full((199,), 2.0)]).reshape(20, 10)) == set()


def test_scales_are_powers_of_two_that_fit_the_largest_element() -> None:
    run = Run("error")
    outputs = []
    run.net.register_forward_hook(lambda module, args, output: outputs.append(output.detach().clone()))
    with torch.no_grad():
        run.net(FINE * 3e5)
    exact = FINE * 3e5 / 2
    assert float(((outputs[0] - exact) / exact).abs().max()) < 2.0**-4 * 4  # four roundings to 3 bits


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"release": 0.0}, {"release": 1.5}, {"measure_every": 0}], ids=str
)
def test_wrong_numbers_of_the_error_rule_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="ErrorPromotion: threshold"):
        ErrorPromotion(**options)


def test_rules_have_names_and_anything_else_is_refused() -> None:
    plan, net = PrecisionPlan.uniform(Passing(), torch.ones(2, 10)), Passing()
    optimizer = torch.optim.SGD(net.parameters())
    for rule, error in (("colour", ValueError), (3, TypeError)):
        with pytest.raises(error, match="promotion"), plan.apply(net, optimizer, promotion=rule):
            pass
    for rule, kind, scaled in (("overflow", OverflowPromotion, False), ("error", ErrorPromotion, True)):
        with plan.apply(net, optimizer, promotion=rule) as training:
            assert isinstance(training.promotion, kind)
            assert {s.scaled for s in training.slots} == {scaled}
            assert training.loss_scale.scale == (1.0 if scaled else 65536.0)


def test_evaluation_does_not_change_levels() -> None:
    run = Run("overflow")
    with torch.no_grad():
        run.net(with_large(100, 50.0))
    assert run.step(with_large(0)) == set()
