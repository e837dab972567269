"""Batches and transforms: what happens to an image depends on (seed, epoch, index) alone."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lpnum_optim import deep  # noqa: E402
from lpnum_optim.deep import transforms  # noqa: E402
from lpnum_optim.deep.draws import Draws, permutation  # noqa: E402

AUGMENT = transforms.Compose(
    transforms.Crop(2), transforms.Flip(), transforms.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
)


def images(n: int = 23, size: tuple[int, int] = (8, 9)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).integers(0, 256, (n, 3, *size)).astype(np.uint8))


def labelled(n: int = 23) -> tuple[torch.Tensor, torch.Tensor]:
    return images(n), torch.arange(n)


def by_index(batches: deep.Batches, epoch: int) -> dict[int, torch.Tensor]:
    batches.set_epoch(epoch)
    return {int(label): image for inputs, targets in batches for image, label in zip(inputs, targets, strict=True)}


@pytest.mark.parametrize("transform", [AUGMENT, transforms.RandomResizedCrop(5), transforms.Crop(0, 6)])
def test_an_image_is_changed_alike_in_any_batch_order_and_thread(transform: transforms.Transform) -> None:
    data = labelled()
    one = by_index(deep.Batches(data, 5, transform=transform, seed=3), 2)
    for other in (
        deep.Batches(data, 23, transform=transform, seed=3),
        deep.Batches(data, 1, transform=transform, seed=3, shuffle=False),
        deep.Batches(data, 4, transform=transform, seed=3, workers=3),
    ):
        again = by_index(other, 2)
        assert again.keys() == one.keys() == set(range(23))
        assert all(torch.equal(one[k], again[k]) for k in one)
    for differs in (by_index(deep.Batches(data, 5, transform=transform, seed=4), 2),
                    by_index(deep.Batches(data, 5, transform=transform, seed=3), 3)):  # fmt: skip
        assert any(not torch.equal(one[k], differs[k]) for k in one)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("position", [0, 1, 3, 6])
def test_a_resumed_pass_goes_on_where_it_was(position: int, workers: int) -> None:
    def make() -> deep.Batches:
        return deep.Batches(labelled(), 4, transform=AUGMENT, seed=9, workers=workers)

    whole = make()
    expected = [batch for _ in range(3) for batch in whole]
    first, got = make(), []
    got += list(first)
    for k, batch in enumerate(first):
        got.append(batch)
        if k + 1 == position:
            break
    second = make()
    state = first.state_dict()
    if position == 0:
        got = got[:6]
        state = {**state, "epoch": 1, "position": 0}
    assert (state["epoch"], state["position"]) == (1, position)
    second.load_state_dict(state)
    got += list(second)
    assert second.epoch == 2
    got += list(second)
    assert len(got) == len(expected) == 18
    for (x, y), (u, v) in zip(got, expected, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


def test_a_state_of_other_batches_is_refused() -> None:
    state = deep.Batches(labelled(), 4).state_dict()
    for other in (deep.Batches(labelled(), 5), deep.Batches(labelled(), 4, seed=1), deep.Batches(labelled(22), 4)):
        with pytest.raises(ValueError, match=r"load_state_dict: (batch_size|seed|samples) was \d+ and is \d+; make"):
            other.load_state_dict(state)


def test_every_sample_comes_once_in_an_order_of_its_own_each_epoch(seed: int) -> None:
    batches = deep.Batches(labelled(), 5, seed=seed)
    orders = [torch.cat([targets for _, targets in batches]).tolist() for _ in range(4)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert [len(targets) for _, targets in batches] == [5, 5, 5, 5, 3]
    whole = deep.Batches(labelled(), 5, drop_last=True)
    assert len(whole) == len(list(whole)) == 4


def test_a_limit_chooses_the_same_samples_for_every_seed_and_is_nested() -> None:
    def chosen(limit: int, seed: int, epoch: int = 0) -> set[int]:
        return set(by_index(deep.Batches(labelled(), 4, limit=limit, seed=seed), epoch))

    assert chosen(9, 0) == chosen(9, 7) == chosen(9, 7, 5)
    assert len(chosen(9, 0)) == 9
    assert chosen(9, 0) < chosen(14, 0)
    assert chosen(100, 0) == set(range(23))


def test_crop_gives_every_window_of_the_padded_image_equally_often() -> None:
    # 9 windows, 9000 draws: the largest of 9 deviations exceeds 5 standard deviations with probability 5e-6.
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3)
    n = 9000
    windows = transforms.Crop(1)(image.expand(n, 1, 3, 3), Draws(0, 0, np.arange(n)))
    padded = torch.zeros(5, 5, dtype=torch.uint8)
    padded[1:4, 1:4] = image
    at = [padded[i : i + 3, j : j + 3] for i in range(3) for j in range(3)]
    counts = [int((windows == window).flatten(1).all(1).sum()) for window in at]
    assert sum(counts) == n
    assert max(abs(count - n / 9) for count in counts) < 5 * (n * 8 / 81) ** 0.5


def test_flip_turns_the_share_that_was_asked_for() -> None:
    data, n = images(1).expand(4000, 3, 8, 9), 4000
    turned = (transforms.Flip(0.3)(data, Draws(1, 0, np.arange(n))) == data.flip(3)).flatten(1).all(1)
    assert abs(int(turned.sum()) - 0.3 * n) < 5 * (n * 0.21) ** 0.5
    kept = transforms.Flip(0)(data, Draws(1, 0, np.arange(n)))
    assert torch.equal(kept, data)
    assert torch.equal(transforms.Flip(1)(data, Draws(1, 0, np.arange(n))), data.flip(3))


def test_transforms_leave_the_data_alone() -> None:
    data = labelled()
    before = data[0].clone()
    for transform in (None, AUGMENT, transforms.Flip(1), transforms.Normalize(0.5, 0.5)):
        for inputs, _ in deep.Batches(data, 5, transform=transform, shuffle=False):
            inputs.zero_()
    assert torch.equal(data[0], before)


def test_normalize_is_the_formula_in_float32() -> None:
    x = images(4)
    mean, std = np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.3, 0.4])
    y = (x.numpy().astype(np.float32) / np.float32(255) - mean[:, None, None]) / std[:, None, None]
    assert np.array_equal(transforms.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])(x).numpy(), y)


def test_channel_statistics_are_those_of_float64() -> None:
    x = images(50)
    mean, std = deep.channel_statistics(x)
    values = x.numpy().astype(np.float64) / 255
    assert np.allclose(mean, values.mean((0, 2, 3)), rtol=1e-13)
    assert np.allclose(std, values.std((0, 2, 3)), rtol=1e-12)


def test_permutations_are_uniform_on_three_elements() -> None:
    # 6 orders, 6000 draws, 5 standard deviations: false alarm 3e-6.
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(6000):
        order = tuple(permutation(0, epoch, 3).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert max(abs(count - 1000) for count in counts.values()) < 5 * (6000 * 5 / 36) ** 0.5


def test_splitmix64_gives_the_published_sequence() -> None:
    # First outputs of the reference implementation for the seed 1234567.
    from lpnum_optim.deep import draws

    gamma = np.uint64(draws.GAMMA)
    states = np.uint64(1234567) + gamma * np.arange(1, 4, dtype=np.uint64)
    assert draws._mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_inputs_and_targets_of_any_type_keep_their_values() -> None:
    batches = deep.Batches((np.arange(6, dtype=np.uint8).reshape(3, 2), [0.5, 1.5, -1.0]), 3, shuffle=False)
    ((inputs, targets),) = list(batches)
    assert inputs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert inputs.dtype == torch.uint8
    assert targets.tolist() == [0.5, 1.5, -1.0]
    pair = torch.ones(3, 2, dtype=torch.bfloat16, requires_grad=True), np.arange(3, dtype=np.int8)
    ((inputs, targets),) = list(deep.Batches(pair, 3))
    assert inputs.dtype == torch.bfloat16
    assert targets.dtype == torch.int64


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"data": (torch.zeros(3, 2), torch.zeros(4))},
            ValueError,
            r"Batches: 3 inputs and 4 targets; expected as many",
        ),
        ({"data": (torch.zeros(0, 2), torch.zeros(0))}, ValueError, r"the number of samples = 0"),
        ({"batch_size": 0}, ValueError, r"batch_size = 0; expected an integer >= 1"),
        ({"batch_size": 24, "drop_last": True}, ValueError, r"23 samples make no batch of 24; choose a smaller"),
        ({"limit": 0}, ValueError, r"limit = 0"),
        ({"seed": -1}, ValueError, r"seed = -1; expected an integer in 0\.\.18446744073709551615"),
        ({"workers": -1}, ValueError, r"workers = -1"),
        ({"transform": 3}, TypeError, r"transform = 3; expected a Transform or a function"),
    ],
)
def test_what_makes_no_batches_is_said(change: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        deep.Batches(**{"data": labelled(), "batch_size": 4, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "state", [{"epoch": -1}, {"position": 7}, {"position": -1}, {"epoch": 0.5}, {"position": None}]
)
def test_a_state_that_cannot_be_is_refused(state: dict[str, object]) -> None:
    batches = deep.Batches(labelled(), 4)
    before = batches.state_dict()
    with pytest.raises((ValueError, TypeError), match=r"load_state_dict: (epoch|position) = .*; expected an integer"):
        batches.load_state_dict({**before, **state})  # type: ignore[arg-type]
    assert batches.state_dict() == before


def test_a_pass_that_was_left_starts_again() -> None:
    batches = deep.Batches(labelled(), 4, transform=AUGMENT)
    first = next(iter(batches))
    assert batches.state_dict()["position"] == 1
    again = list(batches)
    assert torch.equal(first[0], again[0][0])
    assert len(again) == 6
    batches.set_epoch(0)
    assert torch.equal(first[0], next(iter(batches))[0])


def test_an_error_in_a_thread_comes_where_its_batch_would() -> None:
    def fails(inputs: torch.Tensor) -> torch.Tensor:
        if (inputs == 9).any():
            raise ArithmeticError("nine")
        return inputs

    data = torch.arange(20), torch.arange(20)
    seen: list[int] = []
    batches = deep.Batches(data, 4, transform=fails, shuffle=False, workers=2)
    with pytest.raises(ArithmeticError, match="nine"):
        seen.extend(int(target) for _, targets in batches for target in targets)
    assert seen == list(range(8))
