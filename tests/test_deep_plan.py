"""Training under a plan: networks in the usual styles as they are, formats that really occur, errors that say what."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="lpnum_optim.deep is for PyTorch")

from deep_networks import STYLES, batch, sequential  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lpnum_optim.deep import OCP, PrecisionPlan, UntraceableError  # noqa: E402
from lpnum_optim.deep.codes import decode, encode  # noqa: E402
from lpnum_optim.deep.loss_scaling import LossScale  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=STYLES)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return STYLES[request.param]()


def on_grid(values: torch.Tensor, fmt) -> bool:
    values = values.detach().float()
    return torch.equal(decode(encode(values, fmt), fmt), values)


def train(net: nn.Module, plan: PrecisionPlan | None, steps: int = 3, lr: float = 0.05, **options):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    data = [
        (torch.rand(32, 1, 8, 8, generator=generator), torch.randint(10, (32,), generator=generator))
        for _ in range(steps)
    ]
    losses = []

    def loop() -> None:
        for x, y in data:
            optimizer.zero_grad()
            loss = functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))

    if plan is None:
        loop()
        return losses
    with plan.apply(net, optimizer, **options) as training:
        loop()
    return losses, training


@pytest.mark.parametrize("options", [{}, {"promotion": "error"}, {"promotion": None, "scaled": True}], ids=str)
def test_networks_in_every_style_train_as_they_are(network: nn.Module, options: dict) -> None:
    twin = copy.deepcopy(network)
    plan = PrecisionPlan.uniform(network, batch()[0])
    random = torch.random.get_rng_state()
    losses, training = train(network, plan, 10, loss_scale=LossScale(256.0, None), **options)
    torch.random.set_rng_state(random)  # the same dropout
    assert (training.steps, training.skipped) == (10, 0)
    assert losses == pytest.approx(train(twin, None, 10), abs=0.06)
    assert all(torch.isfinite(p).all() for p in network.parameters())


@pytest.mark.parametrize("level", ["low", "high"])
def test_every_output_and_every_gradient_is_on_the_grid_of_its_format(network: nn.Module, level: str) -> None:
    x, y = batch()
    plan = PrecisionPlan.uniform(network, x, level)
    formats = getattr(plan.candidates, level)
    outputs, nodes, gradients, scale = [], [], [], 512.0

    def look(module: nn.Module, args: object, output: torch.Tensor) -> None:
        outputs.append(on_grid(output, formats["output"]))
        nodes.append(output.grad_fn)

    def look_back(found: tuple) -> None:
        gradients.append(all(on_grid(g, formats["output-gradient"]) for g in found if g is not None))

    for module in network.modules():
        if not list(module.children()) and not isinstance(module, nn.Flatten):
            module.register_forward_hook(look)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with plan.apply(network, optimizer, loss_scale=LossScale(scale, None)):
        logits = network(x)
        for node in nodes:  # what reaches the backward pass of the operators
            node.register_prehook(look_back)
        functional.cross_entropy(logits, y).backward()
    assert len(outputs) > 4
    assert len(gradients) > 4
    assert all(outputs)
    assert all(gradients)
    for parameter in network.parameters():
        assert on_grid(scale * parameter.grad, formats["parameter-gradient"])


def test_gradients_of_parameters_may_be_low_too(network: nn.Module) -> None:
    x, y = batch()
    plan = PrecisionPlan.uniform(network, x, low="float8_e5m2", high="bfloat16", rounding="nearest-even")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with plan.apply(network, optimizer, loss_scale=LossScale(512.0, None)):
        functional.cross_entropy(network(x), y).backward()
    for parameter in network.parameters():
        assert on_grid(512.0 * parameter.grad, plan.candidates.low["parameter-gradient"])


def test_operators_compute_with_rounded_parameters_and_inputs_but_the_masters_stay() -> None:
    net = nn.Linear(16, 4)
    x = torch.rand(8, 16)
    master, given = net.weight.detach().clone(), x.clone()
    plan = PrecisionPlan.uniform(net, x)
    fmt = plan.candidates.low["output"]

    def rounded(t: torch.Tensor) -> torch.Tensor:
        return decode(encode(t.detach(), fmt, rounding="nearest-away"), fmt)

    with plan.apply(net, torch.optim.SGD(net.parameters(), lr=0.1)), torch.no_grad():
        found = net(x)
    expected = rounded(functional.linear(rounded(x), rounded(net.weight), rounded(net.bias)))
    assert torch.equal(found, expected)
    assert not torch.equal(found, net(x))
    assert torch.equal(net.weight, master)
    assert torch.equal(x, given)


@pytest.mark.parametrize(("fails", "scheduled"), [(False, False), (True, False), (False, True)])
def test_leaving_the_block_takes_everything_off_also_after_an_exception(
    network: nn.Module, fails: bool, scheduled: bool
) -> None:
    x, y = batch()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    if scheduled:
        torch.optim.lr_scheduler.StepLR(optimizer, 5)

    def state() -> tuple:
        hooks = [
            [len(getattr(m, name)) for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")]
            for m in network.modules()
        ]
        tensors = [(name, id(t)) for name, t in (*network.named_parameters(), *network.named_buffers())]
        modes = [m.training for m in network.modules()]
        on_parameters = [len(p._backward_hooks or ()) for p in network.parameters()]
        return hooks, tensors, modes, on_parameters, optimizer.step, optimizer.__dict__.get("step")

    def step() -> None:
        with PrecisionPlan.demote(network, x, 0.7).apply(network, optimizer):
            functional.cross_entropy(network(x), y).backward()
            if fails:
                network(torch.zeros(4, 3, 8, 8))
            optimizer.step()

    network.eval()
    before = state()
    if fails:
        with pytest.raises(RuntimeError):
            step()
    else:
        step()
    assert state() == before
    reference = copy.deepcopy(network)
    assert torch.equal(network(x), reference(x))
    optimizer.zero_grad()
    functional.cross_entropy(network(x), y).backward()
    functional.cross_entropy(reference(x), y).backward()
    for a, b in zip(network.parameters(), reference.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_batches_and_images_of_other_sizes_may_follow_the_example() -> None:
    net = sequential()
    plan = PrecisionPlan.demote(net, batch(32)[0], 0.9)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with plan.apply(net, optimizer, loss_scale=LossScale(64.0, None)) as training:
        for shape in ((32, 1, 8, 8), (7, 1, 8, 8), (16, 1, 12, 10)):
            optimizer.zero_grad()
            functional.cross_entropy(net(torch.rand(shape)), torch.zeros(shape[0], dtype=torch.int64)).backward()
            optimizer.step()
    assert (training.steps, training.skipped) == (3, 0)


class Branching(nn.Module):
    """Its path depends on the values."""

    def __init__(self, same_function: bool) -> None:
        super().__init__()
        self.a, self.b, self.same_function = nn.Linear(4, 4), nn.Linear(4, 4), same_function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Linear layer a, or what comes in place of it."""
        if float(x.detach()[0, 0]) > 0:
            return self.a(x)
        return self.b(x) if self.same_function else self.a(torch.tanh(x))


@pytest.mark.parametrize("same_function", [True, False])
def test_a_branch_on_values_is_an_error_when_it_is_taken_and_the_weights_survive(same_function: bool) -> None:
    net = Branching(same_function)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    before = copy.deepcopy(net.state_dict())
    plan = PrecisionPlan.uniform(net, torch.ones(2, 4))
    with (
        pytest.raises(UntraceableError, match=r"operator 0 is .*was linear\(a.weight, a.bias\) in a when the plan"),
        plan.apply(net, optimizer),
    ):
        net(-torch.ones(2, 4))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    net(-torch.ones(2, 4)).sum().backward()  # and it works as ever


def test_a_path_that_ends_early_is_an_error() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.early = nn.Linear(4, 4), nn.Linear(4, 4), False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            return x if self.early else self.b(x)

    net = Early()
    plan = PrecisionPlan.uniform(net, torch.ones(2, 4))
    net.early = True
    with pytest.raises(UntraceableError, match="ran 1 operators"), plan.apply(net, torch.optim.SGD(net.parameters())):
        net(torch.ones(2, 4))


def test_a_loss_that_is_not_a_number_costs_the_step_but_not_the_weights() -> None:
    net = sequential()
    x, y = batch()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    weights = copy.deepcopy([p.detach() for p in net.parameters()])
    with PrecisionPlan.uniform(net, x).apply(net, optimizer) as training:
        (functional.cross_entropy(net(x), y) * float("nan")).backward()
        optimizer.step()
    assert (training.steps, training.skipped) == (1, 1)
    assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))


def test_a_plan_of_another_network_is_refused() -> None:
    plan = PrecisionPlan.uniform(nn.Linear(4, 3), torch.ones(2, 4))
    for other, message in (
        (nn.Linear(5, 3), "'weight' of 12 elements, which has 15 elements"),
        (sequential(), "'weight' of 12 elements, which does not exist"),
    ):
        optimizer = torch.optim.SGD(other.parameters())
        with pytest.raises(ValueError, match=message), plan.apply(other, optimizer):
            pass


def test_a_model_trains_under_one_plan_at_a_time_and_with_its_own_optimizer() -> None:
    net, other = nn.Linear(4, 3), nn.Linear(4, 3)
    plan, optimizer = PrecisionPlan.uniform(net, torch.ones(2, 4)), torch.optim.SGD(net.parameters())
    with (
        plan.apply(net, optimizer),
        pytest.raises(ValueError, match="under a plan already"),
        plan.apply(net, optimizer),
    ):
        pass
    with pytest.raises(ValueError, match="no parameter of the model"), plan.apply(other, optimizer):
        pass
    with plan.apply(net, optimizer):
        pass


@pytest.mark.parametrize("low", ["fixed8", "float4_e2m1fn", "float6_e2m3fn", "float8_e3m4"])
def test_formats_of_too_little_range_are_warned_of_unless_tensors_have_scales(low: str) -> None:
    net = sequential()
    plan = PrecisionPlan.uniform(net, batch()[0], low=low, high="bfloat16")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with pytest.warns(UserWarning, match=f"{low} for tensors of kind .*scaled=True"), plan.apply(net, optimizer):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with plan.apply(net, optimizer, scaled=True):
            pass
        with PrecisionPlan.uniform(net, batch()[0], **OCP).apply(net, optimizer):
            pass
        with PrecisionPlan.uniform(net, batch()[0], "high", low=low, high="bfloat16").apply(net, optimizer):
            pass


def test_steps_that_are_always_left_out_are_told() -> None:
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with PrecisionPlan.uniform(net, torch.ones(2, 4)).apply(net, optimizer) as training:
        for step in range(60):
            (net(torch.ones(2, 4)).sum() * float("inf")).backward()
            with pytest.warns(UserWarning, match="the last 50 steps were left out") if step == 49 else nullcontext():
                optimizer.step()
    assert training.skipped == training.steps == 60


# ---- training for real -----------------------------------------------------------------------------------------------


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    datasets = pytest.importorskip("sklearn.datasets", reason="bundled data")
    X, y = datasets.load_digits(return_X_y=True)
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(1))
    return torch.tensor(X / 8.0 - 1.0, dtype=torch.float32).reshape(-1, 1, 8, 8)[order], torch.tensor(y)[order]


@cache
def accuracy(make_plan: Callable | None, promotion: str | None = None) -> float:
    """On 397 digits after 4 epochs of 1400, from the same start in the same order."""
    X, y = digits()
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def loop() -> None:
        for epoch in range(4):
            for rows in torch.randperm(1400, generator=torch.Generator().manual_seed(epoch)).split(64):
                optimizer.zero_grad()
                functional.cross_entropy(net(X[rows]), y[rows]).backward()
                optimizer.step()

    if make_plan is None:
        loop()
    else:
        plan = make_plan(net, X[:64])
        with plan.apply(net, optimizer, promotion=promotion) as training:
            loop()
        assert training.skipped < 10
        assert training.report().mean_low_ratio > 0.9 * plan.low_ratio
    net.eval()
    with torch.no_grad():
        return float((net(X[1400:]).argmax(1) == y[1400:]).float().mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make_plan", "promotion"),
    [
        pytest.param(lambda net, x: PrecisionPlan.demote(net, x, 0.9), "overflow", id="demote-size"),
        pytest.param(
            lambda net, x: PrecisionPlan.demote(net, x, 0.7, order="error-per-byte"), "overflow", id="demote-error"
        ),
        pytest.param(lambda net, x: PrecisionPlan.uniform(net, x, **OCP), "error", id="uniform-ocp-scaled"),
        pytest.param(PrecisionPlan.operator_based, None, id="operator-based"),
    ],
)
def test_digits_are_learned_under_a_plan_as_in_float32(make_plan: Callable, promotion: str | None) -> None:
    exact = accuracy(None)
    assert exact > 0.95
    assert accuracy(make_plan, promotion) > exact - 0.015
