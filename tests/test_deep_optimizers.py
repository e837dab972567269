"""The optimizers for torch: what every method does with closures, bad steps, saved states and options."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lpnum_optim import deep  # noqa: E402

METHODS = [deep.SGD, deep.LPSGD, deep.SVRG, deep.LPSVRG, deep.HALP]
LOW = [deep.LPSGD, deep.LPSVRG, deep.HALP]
REDUCED = [deep.SVRG, deep.LPSVRG, deep.HALP]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Small(nn.Module):
    """A network with everything that two passes of a step must share: batch statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(3 * 16, 4)

    def forward(self, x):
        """Logits of shape (n, 4)."""
        return self.last(self.drop(functional.relu(self.norm(self.conv(x)))).flatten(1))


def batches(n=40, size=8):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 1, 4, 4, generator=generator)
    y = torch.randint(0, 4, (n,), generator=generator)
    return list(zip(x.split(size), y.split(size), strict=True))


def closure_of(model, batch):
    return deep.closure(model, functional.cross_entropy, *batch)


def snapshot(optimizer, model, data):
    if hasattr(optimizer, "snapshot"):
        return optimizer.snapshot(deep.closures(model, functional.cross_entropy, data))
    return None


def train(model, optimizer, data, *, epochs=1, scheduler=None):
    for _ in range(epochs):
        snapshot(optimizer, model, data)
        for batch in data:
            optimizer.step(closure_of(model, batch))
        if scheduler is not None:
            scheduler.step()


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def equal_bits(a, b):
    return all(x.dtype == y.dtype and x.numpy().tobytes() == y.numpy().tobytes() for x, y in zip(a, b, strict=True))


def same(a, b) -> bool:
    """Whether two states are equal: dictionaries and lists of tensors and plain values."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a.dtype == b.dtype and torch.equal(a, b) if torch.is_tensor(a) else a == b


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file)  # with weights_only, the default: plain values and tensors


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inside", [False, True], ids=["between epochs", "in the middle of an epoch"])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(method, inside):
    data = batches()

    def make():
        torch.manual_seed(3)
        model = Small()
        options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3, "module": model}
        optimizer = method(model.parameters(), **options, **({"seed": 5} if method in LOW else {}))
        return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)

    def second_half(model, optimizer, scheduler):
        for batch in data[3 * inside :]:
            optimizer.step(closure_of(model, batch))
        scheduler.step()
        train(model, optimizer, data, epochs=3, scheduler=scheduler)

    model, optimizer, scheduler = make()
    train(model, optimizer, data, epochs=2, scheduler=scheduler)
    snapshot(optimizer, model, data)
    if inside:
        for batch in data[:3]:
            optimizer.step(closure_of(model, batch))
    saved = through_a_file(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
         "random": torch.get_rng_state()}
    )  # fmt: skip
    second_half(model, optimizer, scheduler)

    resumed, other, other_scheduler = make()
    resumed.load_state_dict(saved["model"])
    other.load_state_dict(saved["optimizer"])
    other_scheduler.load_state_dict(saved["scheduler"])
    torch.set_rng_state(saved["random"])
    second_half(resumed, other, other_scheduler)

    assert equal_bits(list(model.state_dict().values()), list(resumed.state_dict().values()))
    assert same(optimizer.state_dict(), other.state_dict())


@pytest.mark.parametrize("method", LOW)
def test_codes_take_one_byte_and_are_what_the_weights_are_made_of(method):
    model = Small()
    optimizer = method(model.parameters(), 0.1, module=model)
    train(model, optimizer, batches(), epochs=2)
    for p in model.parameters():
        state = optimizer.state[p]
        assert state["codes"].element_size() == 1
        assert state["codes"].nbytes == p.numel()
        offset = state["snapshot"].double() if method is deep.HALP else 0.0
        expected = (offset + state["scale"] * state["codes"].double()).float()
        assert torch.equal(expected, p.data)
        assert len(torch.unique(state["codes"])) > 1


@pytest.mark.parametrize("method", METHODS)
def test_a_step_with_a_loss_that_is_not_finite_is_left_out_and_counted(method):
    model = Small()
    optimizer = method(model.parameters(), 0.1, momentum=0.9, module=model)
    data = batches()
    train(model, optimizer, data)
    before, buffers = weights(model), [b.clone() for b in model.buffers()]
    momentum = [optimizer.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    bad = (torch.full_like(data[0][0], float("nan")), data[0][1])
    loss = optimizer.step(closure_of(model, bad))
    assert loss.isnan()
    assert optimizer.skipped == 1
    assert equal_bits(before, weights(model))
    assert equal_bits(buffers, list(model.buffers()))
    assert equal_bits(momentum, [optimizer.state[p]["momentum_buffer"] for p in model.parameters()])
    optimizer.step(closure_of(model, data[0]))
    assert not equal_bits(before, weights(model))
    assert all(torch.isfinite(w).all() for w in weights(model))


@pytest.mark.parametrize("method", METHODS)
def test_an_infinite_gradient_of_a_finite_loss_leaves_the_step_out(method):
    w = nn.Parameter(torch.ones(3))
    optimizer = method([w], 0.1)

    def call(scale=1.0):
        w.grad = None
        loss = (w * torch.tensor([1.0, 1.0, scale])).sum()
        loss.backward()
        return torch.tensor(1.0)

    if method in REDUCED:
        optimizer.snapshot(call)
    optimizer.step(call)
    before = w.detach().clone()
    assert optimizer.step(lambda: call(float("inf"))) == 1
    assert optimizer.skipped == 1
    assert torch.equal(before, w)


@pytest.mark.parametrize("method", METHODS)
def test_a_closure_that_forgets_backward_is_an_error_that_changes_nothing(method):
    model = Small()
    optimizer = method(model.parameters(), 0.1, module=model)
    data = batches()
    train(model, optimizer, data)
    before, state = weights(model), copy.deepcopy(optimizer.state_dict())
    with pytest.raises(RuntimeError, match=r"no gradient.*loss\.backward\(\)"):
        optimizer.step(lambda: functional.cross_entropy(model(data[0][0]), data[0][1]))
    assert equal_bits(before, weights(model))
    if method in REDUCED:
        with pytest.raises(RuntimeError, match=r"snapshot: .*loss\.backward\(\)"):
            optimizer.snapshot([(lambda: torch.tensor(1.0), 8)])
    assert same(optimizer.state_dict(), state)
    assert equal_bits(before, weights(model))


@pytest.mark.parametrize("method", REDUCED)
def test_a_step_before_the_first_snapshot_says_what_to_call(method):
    model = Small()
    optimizer = method(model.parameters(), 0.1)
    with pytest.raises(RuntimeError, match=r"call snapshot\(closures\)"):
        optimizer.step(closure_of(model, batches()[0]))


@pytest.mark.parametrize("method", REDUCED)
def test_a_snapshot_that_is_not_finite_is_an_error_that_changes_nothing(method):
    model = Small()
    optimizer = method(model.parameters(), 0.1, module=model)
    data = batches()
    train(model, optimizer, data)
    before, buffers = weights(model), [b.clone() for b in model.buffers()]
    full = [optimizer.state[p]["full_gradient"].clone() for p in model.parameters()]
    with pytest.raises(FloatingPointError, match="not finite"):
        snapshot(optimizer, model, [*data, (data[0][0] * float("inf"), data[0][1])])
    assert equal_bits(before, weights(model))
    assert equal_bits(buffers, list(model.buffers()))
    assert equal_bits(full, [optimizer.state[p]["full_gradient"] for p in model.parameters()])
    optimizer.step(closure_of(model, data[0]))


@pytest.mark.parametrize("method", REDUCED)
def test_both_gradients_of_a_step_see_the_same_masks_and_only_the_second_moves_the_statistics(method):
    model = Small()
    optimizer = method(model.parameters(), 0.1, module=model)
    data = batches()
    fresh = [b.clone() for b in model.buffers()]
    snapshot(optimizer, model, data)
    assert equal_bits(fresh, list(model.buffers()))
    masks = []
    model.drop.register_forward_hook(lambda module, args, out: masks.append((out != 0) | (args[0] == 0)))
    reference = copy.deepcopy(model)
    state = torch.get_rng_state()
    optimizer.step(closure_of(model, data[0]))
    after = torch.get_rng_state()
    assert len(masks) == 2
    assert bool((~masks[0]).any())
    assert torch.equal(masks[0], masks[1])  # at the first step both passes are at the snapshot, so relu agrees too
    torch.set_rng_state(state)
    reference(data[0][0])  # one pass at the same weights
    assert equal_bits(list(reference.buffers()), list(model.buffers()))
    assert torch.equal(torch.get_rng_state(), after)


def test_the_first_estimate_of_an_epoch_is_the_full_gradient():
    model = Small().double()
    optimizer = deep.SVRG(model.parameters(), 0.1, module=model)
    data = [(x.double(), y) for x, y in batches()]
    model.drop.p = 0.0
    snapshot(optimizer, model, data)
    optimizer.step(closure_of(model, data[0]))
    for p in model.parameters():
        torch.testing.assert_close(p.grad, optimizer.state[p]["full_gradient"], rtol=1e-12, atol=1e-15)


def test_the_full_gradient_weights_batches_by_their_size():
    model = nn.Linear(3, 1).double()
    x, y = torch.randn(10, 3, dtype=torch.float64), torch.randn(10, 1, dtype=torch.float64)
    optimizer = deep.HALP(model.parameters(), 0.1)
    loss = optimizer.snapshot(
        deep.closures(model, functional.mse_loss, zip(x.split(4), y.split(4), strict=True))  # 4, 4, 2
    )
    call = deep.closure(model, functional.mse_loss, x, y)
    assert loss == pytest.approx(float(call()), rel=1e-13)
    for p in model.parameters():
        torch.testing.assert_close(optimizer.state[p]["full_gradient"], p.grad, rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_frozen_and_unused_parameters_are_left_alone(method):
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "frozen": nn.Linear(2, 2), "unused": nn.Linear(3, 2)})
    model["frozen"].requires_grad_(False)
    optimizer = method(model.parameters(), 0.1, momentum=0.5, weight_decay=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    x = torch.randn(6, 3)

    def call():
        model.zero_grad()
        loss = model["frozen"](model["used"](x)).square().mean()
        loss.backward()
        return loss

    for _ in range(2):
        if method in REDUCED:
            optimizer.snapshot(call)
        optimizer.step(call)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) != name.startswith("used"), name
        assert (p in optimizer.state and len(optimizer.state[p]) > 0) == name.startswith("used")


def test_without_a_format_halp_is_svrg_to_float_rounding():
    data = [(x.double(), y) for x, y in batches()]
    results = []
    for method, options in ((deep.SVRG, {}), (deep.HALP, {"format": None})):
        torch.manual_seed(0)
        model = Small().double()
        optimizer = method(model.parameters(), 0.1, momentum=0.5, weight_decay=1e-2, module=model, **options)
        train(model, optimizer, data, epochs=4)
        results.append(weights(model))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert not equal_bits(*results)  # they do not run the same code


def test_sgd_is_that_of_torch():
    data = batches()
    results = []
    for method in (deep.SGD, torch.optim.SGD):
        torch.manual_seed(0)
        model = Small()
        train(model, method(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2), data, epochs=2)
        results.append(weights(model))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_weights_changed_from_outside_are_noticed():
    model = nn.Linear(3, 2)
    data = [(torch.randn(4, 3), torch.randn(4, 2))]
    call = deep.closure(model, functional.mse_loss, *data[0])
    optimizer = deep.HALP(model.parameters(), 0.1)
    optimizer.snapshot(call)
    optimizer.step(call)
    with torch.no_grad():
        model.weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="call snapshot"):
        optimizer.step(call)
    optimizer.snapshot(call)
    optimizer.step(call)

    low = deep.LPSGD(model.parameters(), 1e-4)
    low.step(call)
    with torch.no_grad():
        model.weight.fill_(100.0)
    low.step(call)
    np.testing.assert_allclose(model.weight.detach(), 100.0, rtol=0.02)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, "lr = -1"),
        ({"lr": float("nan")}, ValueError, "lr = nan"),
        ({"momentum": 1.0}, ValueError, "momentum = 1"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay"),
        ({"format": "fixed7"}, ValueError, "fixed7"),
        ({"format": "ufixed8"}, ValueError, "signed"),
        ({"format": 8}, TypeError, "format"),
        ({"mu": 0.0}, ValueError, "mu = 0"),
        ({"mu": 1.0, "scale": 1.0}, ValueError, "mu and scale"),
        ({"rounding": "up"}, ValueError, "rounding"),
        ({"seed": -1}, ValueError, "seed"),
        ({"module": 3}, TypeError, "module"),
    ],
)
def test_options_out_of_range_are_refused_with_what_is_allowed(options, error, message):
    with pytest.raises(error, match=message):
        deep.HALP([nn.Parameter(torch.ones(2))], **{"lr": 0.1, **options})
