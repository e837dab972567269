"""Memory of training steps: what is counted, and that saved codes and plans really make it smaller."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from lpnum_optim.deep import PrecisionPlan  # noqa: E402
from lpnum_optim.deep.memory import peak_memory, resident_growth  # noqa: E402
from lpnum_optim.deep.models import mobilenet_v2, resnet  # noqa: E402
from lpnum_optim.deep.saved import compressed_activations  # noqa: E402

torch.set_num_threads(1)


class LiveStorages(TorchDispatchMode):
    """A count of its own: bytes of all storages that operators made and that still live."""

    def __init__(self):
        super().__init__()
        self.live, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.live[storage._cdata] = torch.multiprocessing.reductions.StorageWeakRef(storage), storage.nbytes()
        self.live = {key: entry for key, entry in self.live.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        return result


class Step:
    """A training step of a network."""

    def __init__(self, network, batch):
        torch.manual_seed(0)
        self.network, self.images = network, torch.randn(batch, 3, 32, 32)
        self.labels = torch.randint(10, (batch,))
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.01)

    def __call__(self):
        """Forward, backward, update."""
        self.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self.network(self.images), self.labels).backward()
        self.optimizer.step()


def peak_of(step):
    step()  # what is made once
    return peak_memory(step).peak


def test_the_peak_is_that_of_a_count_of_living_storages():
    x = torch.randn(64, 256)
    weights = [torch.randn(256, 256, requires_grad=True) for _ in range(4)]

    def forward():
        y = x
        for w in weights:
            y = torch.tanh(y @ w)
        return y

    with LiveStorages() as count:
        result = forward()
    measured = peak_memory(forward)
    assert measured.peak == count.peak
    # tanh saves its results, and the products are freed at once.
    assert measured.kept == 4 * result.numel() * 4


def test_memory_from_before_is_not_counted():
    before = torch.ones(1000)
    assert peak_memory(lambda: before.add_(1)).peak < 100
    # The result, and a scalar on the way to it.
    peak, kept = peak_memory(lambda: before + 1)
    assert kept == 4000 <= peak < 4100


@pytest.mark.parametrize("mode", ["saved", "plan"])
def test_codes_more_than_halve_the_peak_of_resnet14(mode):
    step = Step(resnet(), 128)
    plain = peak_of(step)
    if mode == "saved":
        with compressed_activations():
            small = peak_of(step)
    else:
        with PrecisionPlan.uniform(step.network, step.images).apply(step.network, step.optimizer, promotion=None):
            small = peak_of(step)
    assert plain > 2.1 * small


@pytest.mark.slow
def test_mobilenet_needs_a_third():
    step = Step(mobilenet_v2(width=0.25), 128)
    plain = peak_of(step)
    with PrecisionPlan.uniform(step.network, step.images).apply(step.network, step.optimizer, promotion=None):
        assert plain > 3.0 * peak_of(step)


def test_the_process_grows_by_what_it_touches():
    growth = resident_growth(lambda: torch.ones(8_000_000))
    if growth is None:
        pytest.skip("the system does not tell the process's memory")
    assert 30e6 < growth < 40e6
    assert resident_growth(lambda: None) < 1e6
