"""Where the optimizers for torch converge to, and what the formats, rules and groups do for it."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import lpnum  # noqa: E402
from lpnum_optim import deep  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def least_squares(seed=0, n=96, d=8):
    """Gaussian rows, noise 0.5: strongly convex, with gradients of the batches that differ at the minimum."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    w = torch.randn(d, 1, generator=generator, dtype=torch.float64)
    return x, x @ w + 0.5 * torch.randn(n, 1, generator=generator, dtype=torch.float64)


def gradient_norms(method, epochs=20, lr=0.06, size=8, data=None, loss=functional.mse_loss, **options):
    """Norm of the full gradient (with the penalty) after every epoch of two passes, and the optimizer."""
    x, y = least_squares() if data is None else data
    torch.manual_seed(0)
    model = nn.Linear(x.shape[1], y.shape[1]).double()
    optimizer = method(model.parameters(), lr, **options)
    order = torch.Generator().manual_seed(1)
    norms = []
    whole = deep.closure(model, loss, x, y)
    for _ in range(epochs):
        if hasattr(optimizer, "snapshot"):
            optimizer.snapshot(whole)
        for _ in range(2 * len(x) // size):
            rows = torch.randint(0, len(x), (size,), generator=order)
            optimizer.step(deep.closure(model, loss, x[rows], y[rows]))
        whole()
        decay = optimizer.param_groups[0]["weight_decay"]
        norms.append(sum(float((p.grad + decay * p.detach()).square().sum()) for p in model.parameters()) ** 0.5)
    return np.array(norms), optimizer


def test_halp_converges_linearly_in_8_bits_where_fixed_grids_stall():
    svrg, _ = gradient_norms(deep.SVRG)
    halp, optimizer = gradient_norms(deep.HALP)
    assert {optimizer.state[p]["codes"].dtype for p in optimizer.rules} == {torch.int8}
    assert halp[-1] < 1e-10
    # Linear: on a logarithmic scale both fall by like amounts until float64 ends it.
    falling = svrg > 1e-12
    rates = [np.polyfit(np.arange(falling.sum()), np.log(norms[falling]), 1)[0] for norms in (svrg, halp)]
    assert rates[1] < 0.75 * rates[0] < 0
    for method in (deep.LPSVRG, deep.LPSGD):
        norms, _ = gradient_norms(method, epochs=10)
        assert norms[-5:].min() > 1e-2, method


@pytest.mark.parametrize(
    ("name", "reached"),
    [("fixed16", 1e-10), ("float8_e4m3fn", 1e-9), ("float8_e5m2", 1e-7), ("float8_e3m4", 1e-9), ("fixed4", 1e-5)],
)
def test_formats_of_halp(name, reached):
    norms, optimizer = gradient_norms(deep.HALP, format=name)
    assert norms[-1] < reached
    fmt = lpnum.format(name)
    for p in optimizer.rules:
        assert optimizer.state[p]["codes"].element_size() == fmt.storage.itemsize


def test_a_format_without_a_name_survives_a_saved_state():
    fmt = lpnum.minifloat(3, 2)
    p = nn.Parameter(torch.ones(4))
    optimizer = deep.LPSGD([p], 0.1, format=fmt)
    p.grad = torch.arange(4.0)
    optimizer.step()
    other = deep.LPSGD([nn.Parameter(p.detach().clone())], 0.1)
    other.load_state_dict(optimizer.state_dict())
    (q,) = other.param_groups[0]["params"]
    p.grad, q.grad = torch.ones(4), torch.ones(4)
    optimizer.step()
    other.step()
    assert torch.equal(p, q)
    assert len(torch.unique(other.state[q]["codes"])) > 1


def test_the_rule_of_the_paper_puts_the_end_of_the_grid_at_the_gradient_over_mu():
    _, optimizer = gradient_norms(deep.HALP, epochs=1, mu=2.0, weight_decay=0.1)
    assert not optimizer.rules
    x, y = least_squares()
    torch.manual_seed(0)
    model = nn.Linear(8, 1).double()
    deep.closure(model, functional.mse_loss, x, y)()
    for p, q in zip(optimizer.param_groups[0]["params"], model.parameters(), strict=True):
        expected = float(torch.linalg.vector_norm(q.grad + 0.1 * q.detach())) / 2.0 / 127
        assert optimizer.state[p]["scale"] == pytest.approx(expected, rel=1e-12)
    assert gradient_norms(deep.HALP, mu=2.0)[0][-1] < 1e-10


def test_rounding_to_nearest_freezes_small_steps():
    norms, optimizer = gradient_norms(deep.HALP, epochs=4, lr=1e-3, rounding="nearest-even", scale=0.5)
    assert all(not optimizer.state[p]["codes"].any() for p in optimizer.param_groups[0]["params"])
    assert norms[-1] == norms[0]
    assert gradient_norms(deep.HALP, epochs=4, lr=1e-3, scale=0.01)[0][-1] < 0.9 * norms[0]


def test_weight_decay_reaches_the_minimum_of_the_penalized_problem():
    optimize = pytest.importorskip("scipy.optimize")
    x, y = least_squares()
    decay = 0.3
    features = np.hstack([x.numpy(), np.ones((len(x), 1))])

    def objective(w):
        residual = features @ w - y.numpy()[:, 0]
        return np.mean(residual**2) + 0.5 * decay * w @ w, 2 * features.T @ residual / len(residual) + decay * w

    best = optimize.minimize(objective, np.zeros(9), jac=True, method="BFGS", options={"gtol": 1e-10})
    for options in ({"format": "float8_e4m3fn"}, {"momentum": 0.5, "lr": 0.03}):
        _, optimizer = gradient_norms(deep.HALP, weight_decay=decay, **options)
        weight, bias = optimizer.param_groups[0]["params"]
        found = np.append(weight.detach().numpy()[0], bias.item())
        np.testing.assert_allclose(found, best.x, rtol=0, atol=1e-8)
        assert objective(found)[0] <= best.fun * (1 + 1e-12)


def test_logistic_regression_reaches_the_loss_of_svrg_in_float32():
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    x = torch.from_numpy((digits.data / 16).astype(np.float32))[:600]
    y = torch.from_numpy(digits.target)[:600]
    losses = {}
    for method in (deep.SVRG, deep.HALP, deep.LPSVRG):
        torch.manual_seed(0)
        model = nn.Linear(64, 10)
        optimizer = method(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-2)
        order = torch.Generator().manual_seed(1)
        for _ in range(14):
            optimizer.snapshot(deep.closure(model, functional.cross_entropy, x, y))
            for rows in torch.randperm(600, generator=order).split(30):
                optimizer.step(deep.closure(model, functional.cross_entropy, x[rows], y[rows]))
        with torch.no_grad():
            penalty = 0.5e-2 * sum(float(p.double().square().sum()) for p in model.parameters())
            losses[method] = float(functional.cross_entropy(model(x), y)) + penalty
    assert losses[deep.HALP] == pytest.approx(losses[deep.SVRG], rel=1e-5)
    assert losses[deep.LPSVRG] > losses[deep.SVRG] * (1 + 1e-4)


def test_groups_have_options_of_their_own():
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(3, 1)).double()
    wide, narrow, plain, fixed = (list(layer.parameters()) for layer in model)
    optimizer = deep.HALP(
        [{"params": wide, "format": "fixed16"}, {"params": narrow, "format": "float8_e5m2", "momentum": 0.5}],
        lr=0.02,
        weight_decay=1e-3,
    )
    optimizer.add_param_group({"params": plain, "format": None, "lr": 0.01})
    optimizer.add_param_group({"params": fixed, "scale": 2.0**-10})
    x, y = least_squares(d=6)
    call = deep.closure(model, functional.mse_loss, x, y)
    first = optimizer.snapshot(call)
    for _ in range(20):
        optimizer.step(call)
    assert optimizer.snapshot(call) < first
    assert [optimizer.state[p[0]]["codes"].dtype for p in (wide, narrow, fixed)] == [
        torch.int16,
        torch.uint8,
        torch.int8,
    ]
    assert "codes" not in optimizer.state[plain[0]]
    assert optimizer.state[fixed[0]]["scale"] == 2.0**-10
    assert ["momentum_buffer" in optimizer.state[p[0]] for p in (wide, narrow, plain, fixed)] == [
        False,
        True,
        False,
        False,
    ]
    with pytest.raises(ValueError, match="fixed9"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "format": "fixed9"})
    assert len(optimizer.param_groups) == 4


@pytest.mark.parametrize("method", [deep.LPSGD, deep.HALP])
def test_memory_layout_does_not_matter(method):
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 3).double().to(memory_format=memory_format)
        optimizer = method(model.parameters(), 0.1, rounding="nearest-even", scale=2.0**-12, format="fixed16")
        x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        call = deep.closure(model, functional.mse_loss, x, torch.ones(2, 4, 3, 3, dtype=torch.float64))
        if method is deep.HALP:
            optimizer.snapshot(call)
        for _ in range(5):
            optimizer.step(call)
        results.append(model.weight.detach())
    assert not results[1].is_contiguous()
    torch.testing.assert_close(results[0], results[1].contiguous(), rtol=0, atol=2.0**-11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_parameters_of_16_bits_keep_their_dtype(dtype):
    p = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=dtype))
    optimizer = deep.HALP([p], 0.1)

    def call():
        p.grad = None
        loss = p.float().square().sum()
        loss.backward()
        return loss

    for _ in range(6):
        optimizer.snapshot(call)
        for _ in range(5):
            optimizer.step(call)
    assert p.dtype == dtype
    assert optimizer.state[p]["snapshot"].dtype == dtype
    assert float(p.detach().abs().max()) < 1e-2


def test_a_grid_around_zero_grows_with_the_weights():
    p = nn.Parameter(torch.zeros(20))
    optimizer = deep.LPSGD([p], 0.05)
    target = torch.linspace(-30.0, 30.0, 20)
    for _ in range(400):
        p.grad = p.detach() - target
        optimizer.step()
    assert float((p.detach() - target).abs().max()) < 2.0


def test_the_learned_range_follows_the_learning_rate():
    _, optimizer = gradient_norms(deep.HALP, epochs=4)
    rule = next(iter(optimizer.rules.values()))
    ratio, lr = rule.rule.ratio, rule.lr
    rule.begin(1.0, lr / 10, 1, 1.0)
    assert rule.rule.ratio == pytest.approx(ratio / 10)
    rule.begin(1.0, 0.0, 1, 1.0)  # a scheduler may pass through 0
    rule.begin(1.0, lr, 1, 1.0)
    assert rule.rule.ratio == pytest.approx(ratio)


def test_a_full_gradient_of_zero_leaves_the_grid_to_the_first_step():
    first, last = nn.Linear(4, 6), nn.Linear(6, 1)
    nn.init.zeros_(last.weight)  # nothing comes back through it
    model = nn.Sequential(first, nn.Tanh(), last)
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    optimizer = deep.HALP(model.parameters(), 0.2)
    call = deep.closure(model, functional.mse_loss, x, x[:, :1].tanh())
    optimizer.snapshot(call)
    assert optimizer.state[first.weight]["scale"] == 0.0
    for _ in range(20):
        optimizer.step(call)
    assert optimizer.state[first.weight]["scale"] > 0.0
    assert optimizer.state[first.weight]["codes"].any()
    losses = []
    for _ in range(15):
        losses.append(optimizer.snapshot(call))
        for _ in range(20):
            optimizer.step(call)
    assert losses[-1] < 0.1 * losses[0]


def test_a_parameter_unfrozen_within_an_epoch_asks_for_a_snapshot():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    optimizer = deep.HALP(model.parameters(), 0.1)
    call = deep.closure(model, functional.mse_loss, torch.ones(4, 3), torch.ones(4, 1))
    optimizer.snapshot(call)
    model[0].requires_grad_(True)
    with pytest.raises(RuntimeError, match="call snapshot again"):
        optimizer.step(call)
    optimizer.snapshot(call)
    optimizer.step(call)
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    optimizer.step(call)
    assert torch.equal(before, model[0].weight)


def test_a_copy_of_network_and_optimizer_goes_on_alike():
    model = nn.Linear(3, 2)
    optimizer = deep.HALP(model.parameters(), 0.1, momentum=0.5)
    x, y = torch.randn(8, 3), torch.randn(8, 2)
    optimizer.snapshot(deep.closure(model, functional.mse_loss, x, y))
    optimizer.step(deep.closure(model, functional.mse_loss, x, y))
    other, other_optimizer = copy.deepcopy((model, optimizer))
    for network, method in ((model, optimizer), (other, other_optimizer)):
        for _ in range(5):
            method.step(deep.closure(network, functional.mse_loss, x, y))
    assert torch.equal(model.weight, other.weight)
    assert model.weight is not other.weight


def test_what_is_not_a_list_of_closures_is_refused():
    p = nn.Parameter(torch.ones(2))
    optimizer = deep.SVRG([p], 0.1)
    call = deep.closure(nn.Linear(1, 1), functional.mse_loss, torch.ones(1, 1), torch.ones(1, 1))
    for wrong in (3, [call], [(call, 0)], [(call, "a")], [(3, 4)]):
        with pytest.raises(TypeError, match="closure, batch size"):
            optimizer.snapshot(wrong)
    with pytest.raises(ValueError, match="no closures"):
        optimizer.snapshot([])
    with pytest.raises(TypeError, match="called at two points"):
        optimizer.step(None)
    with pytest.raises(TypeError, match="must return the loss"):
        deep.SGD([p], 0.1).step(lambda: None)


def test_a_state_of_another_optimizer_or_model_is_refused():
    def made(method, shape):
        p = nn.Parameter(torch.ones(shape))
        optimizer = method([p], 0.1, momentum=0.5)
        p.grad = torch.ones(shape)
        optimizer.step()
        return optimizer

    one = made(deep.LPSGD, (2, 3))
    with pytest.raises(ValueError, match="one of SGD; expected one of LPSGD"):
        one.load_state_dict(made(deep.SGD, (2, 3)).state_dict())
    with pytest.raises(ValueError, match="another library"):
        one.load_state_dict(made(torch.optim.SGD, (2, 3)).state_dict())
    damaged = one.state_dict()
    del damaged["lpnum"]["stream"]
    before = copy.deepcopy(one.state_dict()["lpnum"])
    with pytest.raises(ValueError, match=r"damaged.*stream"):
        one.load_state_dict(damaged)
    assert str(one.state_dict()["lpnum"]) == str(before)
    with pytest.raises(ValueError, match="another model"):
        one.load_state_dict(made(deep.LPSGD, (3, 2)).state_dict())
