"""What autograd keeps, as codes: shared, freed, and the gradients that follow from the decoded values."""

from __future__ import annotations

import math
import weakref

import pytest

import lpnum

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lpnum_optim.deep import models  # noqa: E402
from lpnum_optim.deep.codes import decode, encode, power_of_two_scale  # noqa: E402
from lpnum_optim.deep.memory import peak_memory  # noqa: E402
from lpnum_optim.deep.saved import (  # noqa: E402
    CodeStore,
    SavedCodes,
    SavedIntegers,
    SavedTensorHooks,
    compressed_activations,
)

E4M3 = lpnum.float8_e4m3fn


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def rounded(x, fmt=E4M3):
    """What the backward pass sees of x."""
    scale = power_of_two_scale(x, fmt)
    return decode(encode(x, fmt, scale=scale), fmt, scale=scale, dtype=x.dtype)


@pytest.fixture
def made(monkeypatch):
    """The code tensors that the block made, in order."""
    found = []
    add = CodeStore.add

    def note(self, tensor, saved):
        found.append(saved)
        return add(self, tensor, saved)

    monkeypatch.setattr(CodeStore, "add", note)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("fmt", [E4M3, lpnum.float8_e5m2, lpnum.fixed8], ids=repr)
def test_the_backward_pass_computes_with_the_rounded_values(fmt, dtype):
    x = torch.randn(5000, dtype=dtype, requires_grad=True)
    w = torch.randn(5000, dtype=dtype, requires_grad=True)
    with compressed_activations(fmt):
        y = x * 1.5
        z = y * (w * 2)
    z.sum().backward()
    torch.testing.assert_close(x.grad, rounded((w * 2).detach(), fmt) * 1.5, rtol=0, atol=0)
    torch.testing.assert_close(w.grad, rounded((x * 1.5).detach(), fmt) * 2, rtol=0, atol=0)


def test_the_forward_pass_computes_with_the_values_as_they_are():
    net, x = models.resnet(width=0.5, n=1), torch.randn(4, 3, 16, 16)
    net.eval()
    plain = net(x)
    with compressed_activations(min_numel=1):
        assert torch.equal(net(x), plain)


def test_gradients_of_a_network_are_close_and_point_the_same_way():
    net, x, y = models.resnet(n=1), torch.randn(8, 3, 16, 16), torch.randint(0, 10, (8,))
    functional.cross_entropy(net(x), y).backward()
    plain = torch.cat([p.grad.flatten() for p in net.parameters()])
    net.zero_grad()
    with compressed_activations("float8_e4m3fn"):
        loss = functional.cross_entropy(net(x), y)
    loss.backward()
    ours = torch.cat([p.grad.flatten() for p in net.parameters()])
    assert float(functional.cosine_similarity(plain, ours, dim=0)) > 0.995
    assert 0.9 < float(ours.norm() / plain.norm()) < 1.1
    assert not torch.equal(plain, ours)


def test_stochastic_rounding_leaves_the_gradient_unbiased():
    x = torch.full((20_000,), 1.05)
    w = torch.ones(20_000, requires_grad=True)
    with compressed_activations(E4M3, scale=1.0, rounding="stochastic", rng=7):
        loss = (w * x).sum()
    loss.backward()
    assert set(w.grad.tolist()) == {1.0, 1.125}
    assert abs(float(w.grad.mean()) - 1.05) < 0.005


def test_a_tensor_saved_twice_is_encoded_once(made):
    x = torch.randn(6000, requires_grad=True)
    with compressed_activations():
        y = torch.relu(x)  # saves its result
        z = (y * y).sum() + torch.sin(y).sum()  # three times the same tensor
    assert len(made) == 1
    z.backward()
    y = rounded(torch.relu(x.detach()))
    torch.testing.assert_close(x.grad, (y > 0) * (2 * y + torch.cos(y)))


def test_a_tensor_changed_in_place_is_encoded_again(made):
    w = torch.randn(6000, requires_grad=True)
    buffer = torch.full((6000,), 2.0)
    with compressed_activations():
        first = (w * buffer).sum()
        buffer.fill_(3.0)
        second = (w * buffer).sum()
    assert len(made) == 2
    (first + second).backward()
    assert w.grad.unique().tolist() == [5.0]


def test_views_of_one_storage_are_told_apart(made):
    w = torch.randn(6000, requires_grad=True)
    x = torch.arange(1.0, 13.0).repeat_interleave(1000)
    with compressed_activations():
        loss = (w * x[:6000]).sum() + (w * x[6000:]).sum() + (w.view(60, 100) * x[:6000].view(60, 100)).sum()
    assert len(made) == 3
    loss.backward()
    torch.testing.assert_close(w.grad, 2 * rounded(x[:6000]) + rounded(x[6000:]), rtol=0, atol=0)


def test_a_strided_part_and_an_expanded_tensor_are_kept_as_they_are(made):
    w = torch.ones(100, 100, requires_grad=True)
    part, row = torch.randn(100, 200)[:, ::2], torch.randn(100).expand(100, 100)
    with compressed_activations():
        loss = (w * part).sum() + (w * row).sum()
    assert made == []
    loss.backward()
    torch.testing.assert_close(w.grad, part + row, rtol=0, atol=0)


def test_parameters_and_their_views_are_kept_as_they_are(made):
    layer = nn.Linear(100, 100)
    x = torch.randn(10, 100, requires_grad=True)
    with compressed_activations():
        y = layer(x).sum() + (x @ layer.weight.t()).sum()
    assert made == []
    y.backward()
    torch.testing.assert_close(x.grad, 2 * layer.weight.sum(0).expand(10, 100))


def test_places_of_pooled_maxima_are_kept_in_two_bytes_without_loss(made):
    x = torch.randn(8, 4, 32, 32, requires_grad=True)
    with compressed_activations():
        y = functional.max_pool2d(x, 2)
    integers = [saved for saved in made if isinstance(saved, SavedIntegers)]
    assert [saved.narrow.dtype for saved in integers] == [torch.int16]
    y.sum().backward()
    assert x.grad.sum() == y.numel()
    assert torch.equal(x.grad.bool(), functional.interpolate(y, scale_factor=2).eq(x))


@pytest.mark.parametrize(("largest", "dtype"), [(2**15 - 1, torch.int16), (2**15, torch.int32), (2**31, None)])
def test_integers_take_the_narrowest_type_that_holds_them(largest, dtype):
    hooks = SavedTensorHooks(lambda tensor: None, CodeStore(), 1)
    x = torch.tensor([-3, largest, 0])
    packed = hooks.pack(x)
    assert (packed is x) if dtype is None else (packed.narrow.dtype == dtype)
    assert torch.equal(hooks.unpack(packed), x)
    assert hooks.unpack(packed).dtype == torch.int64


def test_small_tensors_are_kept_as_they_are(made):
    x = torch.randn(100, requires_grad=True)
    with compressed_activations(min_numel=101):
        y = (x * x).sum()
    y.backward()
    assert made == []
    assert torch.equal(x.grad, 2 * x.detach())
    with pytest.raises(ValueError, match="min_numel = 0"), compressed_activations(min_numel=0):
        pass


def test_a_format_as_wide_as_the_tensor_leaves_it(made):
    x = torch.randn(5000, dtype=torch.bfloat16, requires_grad=True)
    with compressed_activations(lpnum.float16):
        y = (x * x).sum()
    y.backward()
    assert made == []


def three_sines(x):
    with compressed_activations():
        return torch.sin(torch.sin(torch.sin(x * 1.0))).sum()


def test_activations_are_freed_and_only_their_codes_are_kept():
    x = torch.randn(100_000, requires_grad=True)
    ours = peak_memory(lambda: three_sines(x))
    assert 300_000 <= ours.kept <= 301_000  # three inputs of sines, and the sum
    assert peak_memory(lambda: torch.sin(torch.sin(torch.sin(x * 1.0))).sum()).kept >= 1_200_000


def test_codes_are_freed_by_the_backward_pass(made):
    loss = three_sines(torch.randn(100_000, requires_grad=True))
    references = [weakref.ref(saved.codes) for saved in made]
    made.clear()
    assert all(reference() is not None for reference in references)
    loss.backward()
    assert [reference() for reference in references] == [None] * 3


def test_a_place_in_memory_used_again_is_not_taken_for_the_tensor_before(made):
    w = torch.randn(50_000, requires_grad=True)
    losses = []
    with compressed_activations():
        for k in range(20):  # each of these may lie where the last one did
            x = torch.full((50_000,), float(k))
            losses.append((w * x).sum())
            del x
    torch.stack(losses).sum().backward()
    expected = sum(rounded(torch.full((50_000,), float(k))) for k in range(20))
    torch.testing.assert_close(w.grad, expected, rtol=0, atol=0)


def test_the_store_forgets_what_is_dead():
    store = CodeStore()
    for _ in range(1000):
        x = torch.randn(10)
        store.add(x, SavedCodes(encode(x, E4M3), E4M3, 1.0, torch.float32))
    assert len(store._entries) <= 128


def test_the_graph_can_be_used_twice():
    x = torch.randn(5000, requires_grad=True)
    with compressed_activations():
        y = torch.sin(x * 1.0).sum()
    y.backward(retain_graph=True)
    once = x.grad.clone()
    y.backward()
    assert torch.equal(x.grad, 2 * once)


def test_second_derivatives_are_those_of_the_rounded_values():
    x = torch.randn(5000, requires_grad=True)
    with compressed_activations():
        y = ((x * 1.0) ** 3).sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(first.detach(), 3 * rounded(x.detach()) ** 2)
    assert float((second - 6 * x.detach()).abs().max()) < 6 * 0.07 * float(x.detach().abs().max())


def test_nested_blocks_take_the_inner_format_and_give_the_outer_one_back(made):
    x = torch.randn(5000, requires_grad=True)
    with compressed_activations("float8_e4m3fn"):
        torch.sin(x * 1.0)
        with compressed_activations("float8_e5m2"):
            torch.sin(x * 1.0)
        torch.sin(x * 1.0)
    assert [saved.fmt for saved in made] == [E4M3, lpnum.float8_e5m2, E4M3]


def test_an_exception_inside_switches_the_block_off(made):
    x = torch.randn(5000, requires_grad=True)
    with pytest.raises(ZeroDivisionError), compressed_activations():
        1 / 0  # noqa: B018
    y = torch.sin(x * 1.0).sum()
    assert made == []
    y.backward()
    assert torch.equal(x.grad, torch.cos(x.detach()))


@pytest.mark.parametrize("scale", [None, 1.0])
@pytest.mark.parametrize("fmt", [E4M3, lpnum.fixed8], ids=repr)
def test_a_nan_is_no_error_and_reaches_the_gradient(fmt, scale):
    x = torch.randn(5000)
    x[17] = math.nan
    w = torch.ones(5000, requires_grad=True)
    with compressed_activations(fmt, scale=scale):
        loss = (w * x).sum()
    loss.backward()
    assert math.isnan(float(loss.detach()))
    assert torch.isnan(w.grad).nonzero().tolist() == [[17]]


def test_an_infinity_reaches_the_gradient():
    x = torch.full((5000,), 2.0)
    x[17] = math.inf
    w = torch.ones(5000, requires_grad=True)
    with compressed_activations():
        loss = (w * x).sum()
    loss.backward()
    assert w.grad.unique().tolist() == [2.0, math.inf]


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match="float9"), compressed_activations("float9"):
        pass


def test_channels_last_tensors_keep_their_order(made):
    conv = nn.Conv2d(8, 8, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(4, 8, 12, 12).contiguous(memory_format=torch.channels_last).requires_grad_()
    with compressed_activations(min_numel=512):
        y = conv(torch.relu(x))
    assert all(saved.codes.is_contiguous(memory_format=torch.channels_last) for saved in made)
    y.sum().backward()
    conv.weight.grad, ours = None, conv.weight.grad
    conv(rounded(torch.relu(x.detach()))).sum().backward()
    torch.testing.assert_close(ours, conv.weight.grad)


def test_saved_bytes_of_resnet14_are_those_of_the_codes():
    net, x = models.resnet(), torch.randn(16, 3, 32, 32)
    loss_of = lambda: functional.cross_entropy(net(x), torch.zeros(16, dtype=torch.long))  # noqa: E731
    plain = peak_memory(loss_of)

    def compressed():
        with compressed_activations(min_numel=1024):
            return loss_of()

    ours = peak_memory(compressed)
    assert 3.5 < plain.kept / ours.kept < 4.0  # a quarter, but for statistics and small tensors
