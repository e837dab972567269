"""Adam and AdamW with 8-bit moments: torch's own with moments in floats, parameters of every kind."""

from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch")

from adam_reference import STATE  # noqa: E402

from lpnum_optim.deep import Adam8bit, AdamW8bit  # noqa: E402

# ---- against torch's Adam --------------------------------------------------------------------------------------------


def parameters(dtype=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(7,), (40, 33), (3, 5, 3, 3), ()]
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype or torch.float32)) for shape in shapes]


def set_gradients(params, generator):
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.3}, {"maximize": True, "weight_decay": 0.1}, {"eps": 0.1}])
@pytest.mark.parametrize(("ours", "torchs"), [(Adam8bit, torch.optim.Adam), (AdamW8bit, torch.optim.AdamW)])
def test_the_first_step_is_torchs(ours, torchs, options):
    one, other = parameters(), parameters()
    for params, kind in ((one, ours), (other, torchs)):
        set_gradients(params, torch.Generator().manual_seed(5))
        kind(params, lr=0.01, **options).step()
    for p, q in zip(one, other, strict=True):
        assert torch.allclose(p, q, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("size", [1e-16, 1e-10, 1.0, 1e10, 9e18])
def test_gradients_of_any_size_give_finite_weights_of_the_size_of_the_step(simd_level, size):
    g = torch.randn(100, generator=torch.Generator().manual_seed(0)) * size / 5
    w = torch.nn.Parameter(torch.zeros(100))
    optimizer = Adam8bit([w], lr=0.01, eps=1e-37)
    for _ in range(20):
        w.grad = g
        optimizer.step()
    assert optimizer.skipped == 0
    assert torch.isfinite(w).all()
    assert float(w.detach().abs().max()) < 0.3


def test_weight_decay_is_decoupled_in_adamw_alone():
    decayed = {}
    for kind in (Adam8bit, AdamW8bit):
        w = torch.nn.Parameter(torch.full((100,), 2.0))
        optimizer = kind([w], lr=0.1, weight_decay=0.5)
        for _ in range(3):
            w.grad = torch.zeros(100)
            optimizer.step()
        decayed[kind] = float(w.detach()[0])
    assert (w == w[0]).all()  # of AdamW: no rounding
    assert decayed[AdamW8bit] == pytest.approx(2 * 0.95**3, rel=1e-6)
    assert decayed[Adam8bit] == pytest.approx(2 - 0.3, rel=5e-3)  # as for a gradient of one sign: steps of lr


@pytest.mark.parametrize("kind", [Adam8bit, AdamW8bit])
def test_constant_gradients_take_steps_of_the_learning_rate(kind):
    w = torch.nn.Parameter(torch.zeros(1000))
    g = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    optimizer = kind([w], lr=0.01, weight_decay=0.0)
    for _ in range(300):
        w.grad = g
        optimizer.step()
    # The mean of 1 / sqrt(v) is above that of the mean of v: by a hundredth.
    assert float((w.detach() / -(3.0 * g.sign())).sub(1).abs().mean()) < 0.07  # codes of v are 6 to 12 % apart
    assert float((w.detach() / -(3.0 * g.sign())).mean()) == pytest.approx(1.0, abs=0.02)


def trained(kind, seed, steps=400, **options):
    """Loss of a small network after training."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(512, 20, generator=generator)
    y = (x[:, :3].prod(1) > 0).long() + (x[:, 4] > 0.5).long()
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(20, 48), torch.nn.Tanh(), torch.nn.Linear(48, 3))
    optimizer = kind(net.parameters(), lr=0.005, **options)
    for _ in range(steps):
        batch = torch.randint(512, (64,), generator=generator)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
        optimizer.step()
    return float(torch.nn.functional.cross_entropy(net(x), y).detach())


def test_a_network_trains_as_with_moments_in_floats(seed):
    exact = trained(torch.optim.AdamW, seed, weight_decay=0.01)
    ours = trained(AdamW8bit, seed, weight_decay=0.01)
    assert exact < 0.7
    assert ours == pytest.approx(exact, rel=0.05)


def test_a_badly_scaled_quadratic_is_minimized_as_with_moments_in_floats():
    """Curvatures from 1e-6 to 1e2 side by side in one block, which a common step of the codes could not hold."""
    losses = {}
    for kind in (torch.optim.Adam, Adam8bit):
        scale = torch.logspace(-6, 2, 64)
        w = torch.nn.Parameter(torch.ones(64))
        optimizer = kind([w], lr=0.02)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
        for _ in range(500):
            optimizer.zero_grad()
            (0.5 * scale * w.square()).sum().backward()
            optimizer.step()
            schedule.step()
        losses[kind] = float(w.detach().abs().max())
    assert losses[torch.optim.Adam] < 0.02
    assert losses[Adam8bit] < 0.04


# ---- parameters of all kinds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 2.0**63])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_gradient_that_is_not_finite_skips_the_step_and_is_counted(dtype, bad):
    params = parameters(dtype)
    optimizer = AdamW8bit(params, lr=0.1)
    generator = torch.Generator().manual_seed(0)
    set_gradients(params, generator)
    optimizer.step()
    before = copy.deepcopy(([p.detach() for p in params], optimizer.state_dict()["state"]))
    params[1].grad.view(-1)[-1] = bad
    optimizer.step()
    assert optimizer.skipped == 1
    assert all(torch.equal(p, q) for p, q in zip(params, before[0], strict=True))
    after = optimizer.state_dict()["state"]
    assert all(after[k]["step"] == 1 for k in after)
    assert all(torch.equal(after[k][key], before[1][k][key]) for k in after for key in STATE)
    set_gradients(params, generator)
    optimizer.step()
    assert optimizer.skipped == 1
    assert not torch.equal(params[1], before[0][1])
    other = AdamW8bit(parameters(dtype), lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    assert other.skipped == 1


def test_sparse_gradients_are_refused():
    embedding = torch.nn.Embedding(10, 4, sparse=True)
    dense = torch.nn.Parameter(torch.zeros(3))
    optimizer = Adam8bit([dense, *embedding.parameters()])
    (embedding(torch.tensor([1, 2])).sum() + dense.sum()).backward()
    with pytest.raises(TypeError, match=r"\(10, 4\) is sparse; use sparse=False"):
        optimizer.step()
    assert not dense.any()
    assert not optimizer.state


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_make_the_steps_of_float32(dtype):
    single, other = parameters(), parameters(dtype)
    for p, q in zip(single, other, strict=True):
        p.data = q.data.to(torch.float32)
    one, two = AdamW8bit(single, lr=0.01, weight_decay=0.1), AdamW8bit(other, lr=0.01, weight_decay=0.1)
    for p, q in zip(single, other, strict=True):
        q.grad = torch.randn(q.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        p.grad = q.grad.to(torch.float32)
    one.step()
    two.step()
    for p, q in zip(single, other, strict=True):
        assert q.dtype == dtype
        assert torch.allclose(p.to(dtype), q, rtol=1e-6)
        assert all(torch.equal(one.state[p][key], two.state[q][key]) for key in STATE)


def test_float64_parameters_move_by_less_than_float32_resolves():
    w = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = Adam8bit([w], lr=1e-12)
    w.grad = torch.ones(3, dtype=torch.float64)
    optimizer.step()
    assert ((1 - w.detach()) / 1e-12 - 1).abs().max() < 1e-3


@pytest.mark.parametrize("layout", ["transposed", "channels_last", "sliced"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strides_of_parameters_and_gradients_do_not_matter(layout, dtype):
    value = torch.randn((6, 5, 4, 3), generator=torch.Generator().manual_seed(0)).to(dtype)
    if layout == "transposed":
        w = value.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0)
    elif layout == "channels_last":
        w = value.contiguous(memory_format=torch.channels_last)
    else:
        w = torch.empty((12, 5, 4, 6), dtype=dtype)[::2, :, :, 1::2].copy_(value)
    w = torch.nn.Parameter(w)
    assert not w.is_contiguous()
    plain = torch.nn.Parameter(value.clone())
    optimizers = AdamW8bit([w], lr=0.1), AdamW8bit([plain], lr=0.1)
    for k in range(3):
        g = torch.randn(value.shape, generator=torch.Generator().manual_seed(k)).to(dtype)
        w.grad, plain.grad = g.clone(), g.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert (w - plain).abs().max() <= 0.02  # other random bits and blocks; steps of 0.1
    assert optimizers[0].state[w]["exp_avg"].shape == value.shape
    assert optimizers[0].state[w]["exp_avg"].untyped_storage().nbytes() == value.numel()


def test_a_state_keeps_its_layout_when_the_parameter_changes_it():
    results = []
    for change in (False, True):
        w = torch.nn.Parameter(torch.ones(4, 6, 5, 5))
        optimizer = Adam8bit([w])
        for k in range(4):
            if change and k == 2:
                w.data = w.data.contiguous(memory_format=torch.channels_last)
            w.grad = torch.randn(w.shape, generator=torch.Generator().manual_seed(k))
            optimizer.step()
        results.append(w.detach())
    assert torch.equal(*results)


def test_frozen_unused_and_empty_parameters_stay_without_a_state():
    frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    unused, empty, used = (torch.nn.Parameter(torch.ones(n)) for n in (4, 0, 5))
    optimizer = AdamW8bit([frozen, unused, empty, used], weight_decay=0.5)
    (used.sum() + empty.sum()).backward()
    optimizer.step()
    assert list(optimizer.state) == [used]
    assert torch.equal(frozen, torch.ones(3))
    assert torch.equal(unused.detach(), torch.ones(4))
    optimizer.load_state_dict(optimizer.state_dict())
    AdamW8bit([empty]).step()


def test_groups_have_options_of_their_own_and_may_come_later():
    a, b = (torch.nn.Parameter(torch.ones(50)) for _ in range(2))
    optimizer = AdamW8bit([a], lr=0.1, weight_decay=0.0)
    a.grad = torch.ones(50)
    optimizer.step()
    optimizer.add_param_group({"params": [b], "lr": 0.01, "maximize": True})
    a.grad, b.grad = torch.ones(50), torch.ones(50)
    optimizer.step()
    assert float(a.detach().mean()) == pytest.approx(0.8, abs=0.005)
    assert torch.allclose(b.detach(), torch.full((50,), 1.01))
    other = AdamW8bit([{"params": [a]}, {"params": [b]}])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[a]["step"] == 2
    assert other.state[b]["step"] == 1


def test_closures_and_schedulers_work_as_with_torch():
    w = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = Adam8bit([w], lr=torch.tensor(0.3))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=100)  # moves beta1 as well

    def closure():
        optimizer.zero_grad()
        loss = w.square().sum()
        loss.backward()
        return loss

    first = float(optimizer.step(closure).detach())
    assert first == pytest.approx(13.0)
    for _ in range(99):
        schedule.step()
        optimizer.step(closure)
    assert float(closure().detach()) < 1e-3


def test_a_gradient_scaler_leaves_out_its_overflows_and_scales_back():
    w = torch.nn.Parameter(torch.ones(40))
    plain = torch.nn.Parameter(torch.ones(40))
    optimizer, other = AdamW8bit([w], lr=0.1), AdamW8bit([plain], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for k in range(3):
        w.grad = torch.linspace(0.5, 1, 40) * 2.0**10
        if k == 1:
            w.grad[3] = math.inf
        scaler.scale(torch.zeros(()))
        scaler.step(optimizer)
        scaler.update(2.0**10)
        if k != 1:
            plain.grad = torch.linspace(0.5, 1, 40)
            other.step()
    assert optimizer.skipped == 0  # the scaler did not ask for that step
    assert torch.equal(w, plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amsgrad": True}, "amsgrad is not supported"),
        ({"eps": 0.0}, "eps must be positive"),
        ({"lr": -1.0}, "lr must be at least 0"),
        ({"lr": math.nan}, "lr must be at least 0"),
        ({"betas": (1.0, 0.9)}, "beta1 must be at least 0 and below 1"),
        ({"betas": (0.9, -0.1)}, "beta2 must be"),
        ({"weight_decay": -1}, "weight_decay must be"),
        ({"seed": -1}, "seed must be an integer"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    w = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match=message):
        Adam8bit([w], **options)
    if "seed" not in options:
        optimizer = Adam8bit([torch.nn.Parameter(torch.ones(3))])
        with pytest.raises(ValueError, match=message):
            optimizer.add_param_group({"params": [w], **options})
        assert len(optimizer.param_groups) == 1
        optimizer.param_groups[0].update(options)
        with pytest.raises(ValueError, match=message):
            optimizer.step()


@pytest.mark.parametrize("w", [torch.ones(3, dtype=torch.complex64), torch.ones(3, device="meta")])
def test_parameters_that_have_no_kernel_are_refused(w):
    with pytest.raises(TypeError, match="expected float32, float64, bfloat16, float16 on the CPU"):
        AdamW8bit([torch.nn.Parameter(w)])
