"""The state of Adam and AdamW with 8-bit moments: saving and going on, its bytes, its values, what is refused."""

from __future__ import annotations

import copy
import io
import pickle

import pytest

import lpnum

torch = pytest.importorskip("torch")

from adam_reference import STATE, first_moment, second_moment  # noqa: E402

from lpnum_optim.deep import Adam8bit, AdamW8bit, state_bytes  # noqa: E402
from lpnum_optim.deep.moments import in_memory_order  # noqa: E402


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.Flatten(), torch.nn.Linear(80, 33)
    )


def step_once(net, optimizer, k):
    x = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(k)).to(next(net.parameters()).dtype)
    optimizer.zero_grad()
    net(x).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("how", ["torch.save", "deepcopy", "pickle"])
def test_training_goes_on_bit_for_bit(how, dtype):
    net = network().to(dtype)
    optimizer = AdamW8bit(net.parameters(), lr=0.01, seed=11)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    for k in range(5):
        step_once(net, optimizer, k)
        schedule.step()
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, file)
    if how == "torch.save":
        file.seek(0)
        saved = torch.load(file, weights_only=True)
        other = network(seed=1).to(dtype)
        other_optimizer = AdamW8bit(other.parameters(), lr=0.5, seed=12)
        other_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(other_optimizer, 20)
        other.load_state_dict(saved["net"])
        other_optimizer.load_state_dict(saved["optimizer"])
        other_schedule.load_state_dict(saved["schedule"])
    elif how == "deepcopy":
        other, other_optimizer, other_schedule = copy.deepcopy((net, optimizer, schedule))
    else:
        other, other_optimizer, other_schedule = pickle.loads(pickle.dumps((net, optimizer, schedule)))
    for k in range(5, 10):
        for one in ((net, optimizer), (other, other_optimizer)):
            step_once(*one, k)
        schedule.step()
        other_schedule.step()
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        for key in STATE:
            assert optimizer.state[p][key].dtype == other_optimizer.state[q][key].dtype
            assert torch.equal(optimizer.state[p][key], other_optimizer.state[q][key])


def test_the_seed_decides_the_random_bits():
    results = []
    for seed in (0, 0, 1):
        net = network()
        optimizer = Adam8bit(net.parameters(), seed=seed)
        for k in range(4):
            step_once(net, optimizer, k)
        results.append(torch.cat([p.detach().reshape(-1) for p in net.parameters()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_equal_parameters_have_random_bits_of_their_own():
    params = [torch.nn.Parameter(torch.zeros(1000)) for _ in range(3)]
    optimizer = Adam8bit([{"params": params[:1]}, {"params": params[1:]}])
    for p in params:
        p.grad = torch.linspace(0.1, 1, 1000)
    optimizer.step()
    codes = [optimizer.state[p]["exp_avg_sq"] for p in params]
    assert not any(torch.equal(codes[a], codes[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_a_state_takes_at_most_2_2_bytes_for_a_parameter():
    for n, most in ((1, 4), (2080, 2.0625 * 2080), (100_000, 2.0625 * 100_000)):
        w = torch.nn.Parameter(torch.zeros(n))
        w.grad = torch.ones(n)
        optimizer = AdamW8bit([w])
        optimizer.step()
        assert state_bytes(optimizer) <= most
        assert sum(t.untyped_storage().nbytes() for t in optimizer.state[w].values() if torch.is_tensor(t)) <= most
    from lpnum_optim.deep.models import CharLSTM

    net = CharLSTM(65)
    optimizer = AdamW8bit(net.parameters())
    net(torch.zeros(1, 2, dtype=torch.long)).sum().backward()
    optimizer.step()
    assert state_bytes(optimizer) / sum(p.numel() for p in net.parameters()) <= 2.07


@pytest.mark.parametrize("shape", [(), (70,), (4, 3, 5, 5)])
def test_moments_give_the_stored_values_whatever_the_layout(shape):
    w = torch.nn.Parameter(
        torch.zeros(shape).movedim(1, -1).contiguous().movedim(-1, 1) if len(shape) > 1 else torch.zeros(shape)
    )
    optimizer = Adam8bit([w])
    assert [moment.shape for moment in optimizer.moments(w)] == [w.shape, w.shape]
    assert not any(moment.any() for moment in optimizer.moments(w))
    for k in range(30):
        generator = torch.Generator().manual_seed(k)
        w.grad = torch.randn(shape, generator=generator) * torch.logspace(-7, 3, w.numel()).reshape(shape)
        optimizer.step()
    m_codes, m_scales, v_codes, v_scales = (in_memory_order(optimizer.state[w][key]) for key in STATE)
    v = second_moment(v_codes, v_scales)
    for moment, wanted in zip(optimizer.moments(w), (first_moment(m_codes, m_scales, v), v), strict=True):
        assert moment.stride() == w.stride()
        assert (in_memory_order(moment) == wanted).all()
    with pytest.raises(ValueError, match="not one of the optimizer's parameters"):
        optimizer.moments(torch.zeros(3))


def test_states_of_others_are_refused_and_nothing_changes():
    net = network()
    optimizer = AdamW8bit(net.parameters())
    step_once(net, optimizer, 0)
    before = copy.deepcopy(optimizer.state_dict())
    torchs = torch.optim.AdamW(net.parameters())
    step_once(net, torchs, 0)
    with pytest.raises(ValueError, match="not the codes of 8-bit moments"):
        optimizer.load_state_dict(torchs.state_dict())
    smaller = copy.deepcopy(before)
    smaller["state"][0]["exp_avg"] = smaller["state"][0]["exp_avg"][:1]
    with pytest.raises(ValueError, match="shapes"):
        optimizer.load_state_dict(smaller)
    after = optimizer.state_dict()
    assert all(torch.equal(after["state"][k][key], before["state"][k][key]) for k in before["state"] for key in STATE)


def test_threads_do_not_change_the_bits():
    results = []
    for threads in (1, 3):
        lpnum.set_num_threads(threads)
        try:
            w = torch.nn.Parameter(torch.zeros(400_001))
            optimizer = Adam8bit([w], weight_decay=0.1)
            for k in range(2):
                w.grad = torch.randn(w.shape, generator=torch.Generator().manual_seed(k))
                optimizer.step()
        finally:
            lpnum.set_num_threads(1)
        results.append((w.detach(), *(optimizer.state[w][key] for key in STATE)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
