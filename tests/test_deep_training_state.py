"""Training under a plan is continued from its state bit for bit."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lpnum_optim.deep.plan import PrecisionPlan  # noqa: E402
from lpnum_optim.deep.promotion import ErrorPromotion, OverflowPromotion  # noqa: E402
from lpnum_optim.deep.slots import Slot  # noqa: E402


class Parts:
    """A network, its optimizer and a plan in force, and steps of them."""

    def __init__(self, rule: str) -> None:
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9)
        self.x = torch.randn(16, 6, generator=torch.Generator().manual_seed(2))
        plan = PrecisionPlan.uniform(self.model, self.x)
        promotion = OverflowPromotion(0.01) if rule == "overflow" else ErrorPromotion(5e-4, 0.9, 1)
        self.context = plan.apply(self.model, self.optimizer, promotion=promotion, scaled=rule == "error")
        self.training = self.context.__enter__()

    def steps(self, first: int, last: int) -> list[float]:
        """Outputs far beyond the range in step 2 overflow and are promoted; errors change in all steps."""
        losses = []
        for k in range(first, last):
            self.optimizer.zero_grad()
            loss = self.model(self.x * (1e4 if k == 2 else 1.0)).square().mean()
            loss.backward()
            self.optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    def state(self) -> dict[str, object]:
        """Of all three."""
        return {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "training": self.training.state_dict(),
        }  # fmt: skip

    def load(self, state: dict) -> None:
        """Into all three."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.training.load_state_dict(state["training"])


@pytest.mark.parametrize("rule", ["overflow", "error"])
def test_continued_training_gives_the_same_losses_levels_and_weights(rule: str, tmp_path: object) -> None:
    whole = Parts(rule)
    expected = whole.steps(0, 8)
    first = Parts(rule)
    begun = first.steps(0, 4)
    torch.save(first.state(), f"{tmp_path}/state.pt")
    first.context.__exit__(None, None, None)
    second = Parts(rule)
    second.load(torch.load(f"{tmp_path}/state.pt", weights_only=True))
    assert begun + second.steps(4, 8) == expected
    assert second.training.state_dict() == whole.training.state_dict()
    assert sum(slot.promotions for slot in whole.training.slots) > 0
    assert 0.0 <= second.training.low_ratio == whole.training.low_ratio < 1.0
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_state_of_another_network_is_refused_and_nothing_changes() -> None:
    ours = Parts("overflow")
    before = ours.training.state_dict()
    model = nn.Sequential(nn.Linear(6, 3))
    other = PrecisionPlan.uniform(model, ours.x, "high")
    with other.apply(model, torch.optim.SGD(model.parameters(), 0.1)) as training:
        state = training.state_dict()
    with pytest.raises(ValueError, match="Make the plan as it was made"):
        ours.training.load_state_dict(state)
    assert ours.training.state_dict() == before


def test_a_tensor_that_error_promotion_has_promoted_comes_back_and_one_that_began_high_stays() -> None:
    ours = Parts("error")
    slots: list[Slot] = [slot for slot in ours.training.slots if slot.tensor.kind == "output"][:2]
    slots[1].is_low = False  # by the plan
    rule = ErrorPromotion(1e-3)
    for error, levels in ((1e-2, [False, False]), (6e-4, [False, False]), (1e-4, [True, False])):
        for slot in slots:
            slot.error = error
        rule.after_step(slots)
        assert [slot.is_low for slot in slots] == levels
