"""Transforms of sizes: against Pillow, against slicing, and the ranges of the random ones."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lpnum_optim.deep import transforms  # noqa: E402
from lpnum_optim.deep.draws import Draws  # noqa: E402


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("before", "after"), [((32, 32), (64, 64)), ((40, 50), (17, 23)), ((50, 40), (50, 20))])
def test_resize_is_pillows(before: tuple[int, int], after: tuple[int, int], channels: int) -> None:
    pillow = pytest.importorskip("PIL.Image")
    batch = images(5, channels, *before)
    resized = transforms.Resize(after)(batch)
    assert resized.dtype == torch.uint8
    for image, got in zip(batch, resized, strict=True):
        for channel, other in zip(image.numpy(), got.numpy(), strict=True):
            expected = np.asarray(pillow.fromarray(channel).resize(after[::-1], pillow.Resampling.BILINEAR))
            assert np.abs(other.astype(int) - expected).max() <= 1  # both round twice, but not at the same places


def test_a_batch_is_resized_as_its_images_are() -> None:
    batch = images(6, 3, 30, 41)
    together = transforms.Resize(20)(batch)
    assert together.shape == (6, 3, 20, 27)
    assert all(torch.equal(a, b) for a, b in zip(together, transforms.Resize(20)(list(batch)), strict=True))
    assert transforms.Resize(30)(batch) is batch
    assert transforms.Resize(15)(batch.transpose(2, 3)).shape == (6, 3, 20, 15)
    halves = transforms.Resize((15, 41))(batch.float() / 255)
    assert halves.dtype == torch.float32


@pytest.mark.parametrize(("rows", "columns", "size"), [(10, 12, 6), (11, 12, (4, 5)), (6, 6, 6)])
def test_center_crop_is_the_window_in_the_middle(rows: int, columns: int, size: int | tuple[int, int]) -> None:
    batch = images(3, 3, rows, columns)
    height, width = size if isinstance(size, tuple) else (size, size)
    top, left = round((rows - height) / 2), round((columns - width) / 2)
    got = transforms.CenterCrop(size)(batch)
    assert torch.equal(got, batch[:, :, top : top + height, left : left + width])
    assert torch.equal(transforms.CenterCrop(size)(list(batch)), got)


def test_random_crops_of_lists_are_those_of_batches() -> None:
    batch, draws = images(9, 3, 12, 14), Draws(1, 2, np.arange(9))
    for crop in (transforms.Crop(3), transforms.Crop(0, 7), transforms.Crop(2, (16, 5)), transforms.Flip(),
                 transforms.RandomResizedCrop(8)):  # fmt: skip
        together = crop(batch, draws)
        apart = crop(list(batch), draws)
        assert all(torch.equal(a, b) for a, b in zip(together, apart, strict=True)), crop


@pytest.mark.parametrize("shape", [(60, 60), (60, 40), (200, 10), (1, 1), (3, 500)])
def test_random_parts_are_within_the_image_and_the_ranges(shape: tuple[int, int]) -> None:
    n, (rows, columns) = 2000, shape
    crop = transforms.RandomResizedCrop(8, scale=(0.2, 0.45), ratio=(0.5, 2.0))
    boxes = np.array(list(crop._boxes(np.full(n, rows), np.full(n, columns), Draws(0, 0, np.arange(n)))))
    top, left, height, width = boxes.T
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (top + height <= rows).all()
    assert (left + width <= columns).all()
    area, ratio = height * width / (rows * columns), width / height
    if shape == (60, 60):  # the first attempt always fits; 5 standard deviations and the rounding to pixels
        assert 0.18 < area.min() < 0.21
        assert 0.43 < area.max() < 0.47
        assert abs(area.mean() - 0.325) < 5 * (0.25**2 / 12 / n) ** 0.5 + 0.001
        assert 0.48 < ratio.min() < 0.51
        assert 1.95 < ratio.max() < 2.06
        assert abs(np.log(ratio).mean()) < 5 * (np.log(4) ** 2 / 12 / n) ** 0.5 + 0.001
        places = (top / (rows - height), left / (columns - width))
        assert all(abs(place.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5 + 0.001 for place in places)
    elif shape == (60, 40):  # what does not fit is drawn again
        assert 0.18 < area.min() < area.max() < 0.47
        assert 0.47 < ratio.min() < ratio.max() < 2.06
        assert len(np.unique(boxes, axis=0)) > 0.9 * n
    else:  # no attempt can fit: the largest part in the middle whose ratio is allowed
        expected = {(200, 10): (90, 0, 20, 10), (1, 1): (0, 0, 1, 1), (3, 500): (0, 247, 3, 6)}[shape]
        assert (boxes == expected).all()


def test_the_same_image_has_other_parts_in_other_epochs_and_places() -> None:
    batch = images(1, 3, 30, 30).expand(4, 3, 30, 30)
    crop = transforms.RandomResizedCrop(9)
    twice = transforms.Compose(crop, crop)
    results = [crop(batch, Draws(0, epoch, [3, 4, 5, 6])) for epoch in range(3)]
    results.append(crop(batch, Draws(1, 0, [3, 4, 5, 6])))
    results.append(transforms.Compose(lambda x: x, crop)(batch, Draws(0, 0, [3, 4, 5, 6])))
    flat = torch.cat(results).flatten(1).numpy()
    assert len(np.unique(flat, axis=0)) == len(flat)
    assert twice(batch, Draws(0, 0, [3, 4, 5, 6])).shape == (4, 3, 9, 9)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: transforms.Crop(-1), ValueError, r"Crop: padding = -1; expected an integer >= 0"),
        (lambda: transforms.Crop(0, (3, 4, 5)), ValueError, r"Crop: size = \(3, 4, 5\); expected an integer or"),
        (lambda: transforms.Crop(0, 0), ValueError, r"Crop: height = 0"),
        (lambda: transforms.Flip(1.5), ValueError, r"Flip: probability = 1.5; expected 0 to 1"),
        (lambda: transforms.Resize("big"), ValueError, r"Resize: size = 'big'"),
        (lambda: transforms.Resize(2.5), TypeError, r"Resize: size = 2.5"),
        (lambda: transforms.RandomResizedCrop(8, scale=(0.5, 2)), ValueError, r"scale = \(0.5, 2\); expected 0 < low"),
        (lambda: transforms.RandomResizedCrop(8, ratio=(2, 1)), ValueError, r"ratio = \(2, 1\); expected 0 < low"),
        (lambda: transforms.Normalize([0.5], [0.0]), ValueError, r"std = \[0.0\]; expected .* std > 0"),
        (lambda: transforms.Normalize([0.5] * 3, [1.0]), ValueError, r"expected as many"),
        (lambda: transforms.Normalize([0.5] * 2, [1.0] * 2)(images(1, 3, 4, 4)), ValueError, r"2 means, .* 3 channels"),
        (lambda: transforms.Compose(3), TypeError, r"Compose: 3 is neither a transform nor a function"),
        (lambda: transforms.Flip()(images(1, 3, 4, 4)), TypeError, r"Flip: random, so it needs draws=Draws"),
        (lambda: transforms.Flip()(images(2, 3, 4, 4), Draws(0, 0, [1])), ValueError, r"for 1 images, but 2 images"),
        (lambda: transforms.Resize(3)(images(3, 4, 4)), ValueError, r"shape \(3, 4, 4\); .* image is images\[None\]"),
        (lambda: transforms.CenterCrop(5)(images(1, 3, 4, 6)), ValueError, r"5 x 5 is larger than an image of 4 x 6"),
        (lambda: transforms.Crop(1, 7)(images(1, 3, 4, 6), Draws(0, 0, [1])), ValueError,
         r"size 7 x 7 is larger than the image of 4 x 6 with padding 1; put Resize before"),
        (lambda: transforms.Normalize(0.5, 0.5)([images(3, 4, 4), images(3, 4, 5)]), ValueError,
         r"different shapes \(3, 4, 4\) and \(3, 4, 5\) \(number 1 of the batch\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]
