"""Folders of class folders: read lazily, decoded as Pillow does, every unusable file named."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pillow = pytest.importorskip("PIL.Image")

from lpnum_optim import deep  # noqa: E402
from lpnum_optim.deep import transforms  # noqa: E402
from lpnum_optim.deep.draws import Draws  # noqa: E402


def picture(k: int, rows: int | None = None, columns: int | None = None) -> np.ndarray:
    """Smooth, so that a resized one can be compared; sizes differ."""
    rows, columns = rows or 20 + k % 5, columns or 31 - 2 * (k % 4)
    y, x = np.mgrid[:rows, :columns]
    channels = [127 + 120 * np.sin((c + 1) * x / 9 + y / (5 + k)) for c in range(3)]
    return np.stack(channels, -1).astype(np.uint8)


def tree(folder: Path, classes: dict[str, int], start: int = 0) -> Path:
    """Class folders with so many png files each."""
    k = start
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pillow.fromarray(picture(k)).save(folder / name / f"{i:03d}.png")
            k += 1
    return folder


def test_images_and_classes_come_in_the_order_of_the_names(tmp_path: Path) -> None:
    tree(tmp_path / "train", {"n02": 3, "n01": 2, "n10": 1})
    tree(tmp_path / "val", {"n01": 1, "n10": 2}, start=50)
    train, test = deep.load_images(tmp_path), deep.load_images(tmp_path, "test")
    assert train.classes == test.classes == ["n01", "n02", "n10"]
    assert train.labels.tolist() == [0, 0, 1, 1, 1, 2]
    assert test.labels.tolist() == [0, 2, 2]
    assert len(train) == len(train.images) == 6
    order = [3, 4, 0, 1, 2, 5]
    for image, k in zip(train.images.read(range(6)), order, strict=True):
        assert image.dtype == torch.uint8
        assert np.array_equal(image.permute(1, 2, 0).numpy(), picture(k))
    (last,) = test.images.read([2])
    assert np.array_equal(last.permute(1, 2, 0).numpy(), picture(52))


def test_class_folders_directly_have_no_splits(tmp_path: Path) -> None:
    tree(tmp_path / "cats and dogs", {"cat": 2, "dog": 1})
    assert deep.load_images(tmp_path / "cats and dogs").labels.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match=r"holds class folders directly, so there is no split to choose; leave split"):
        deep.load_images(tmp_path / "cats and dogs", "test")
    tree(tmp_path / "sets" / "val", {"cat": 1})
    assert len(deep.load_images(tmp_path / "sets" / "val", "test")) == 1
    with pytest.raises(ValueError, match="no split to choose"):
        deep.load_images(tmp_path / "sets" / "val", "train")
    with pytest.raises(FileNotFoundError, match=r"'.*sets' has no folder train for the split 'train'"):
        deep.load_images(tmp_path / "sets")


def test_images_may_lie_deeper_and_other_files_beside_them(tmp_path: Path) -> None:
    tree(tmp_path / "train", {"a/images": 2, "b/images/more": 1, ".cache": 1})
    (tmp_path / "train/a/boxes.txt").write_text("0 0 1 1")
    (tmp_path / "train/README").write_text("text")
    images = deep.load_images(tmp_path)
    assert images.labels.tolist() == [0, 0, 1]
    assert images.classes == ["a", "b"]


def test_a_class_that_training_does_not_have_is_refused(tmp_path: Path) -> None:
    tree(tmp_path / "train", {"a": 1, "b": 1})
    tree(tmp_path / "val", {"a": 1, "images": 1})
    for path in (tmp_path, tmp_path / "val"):
        with pytest.raises(ValueError, match=r"val/images' is no class of '.*train' \(1 such folders\)"):
            deep.load_images(path, "test")


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    tree(tmp_path / "train", {"a": 1, "b": 0})
    with pytest.raises(ValueError, match=r"no image in '.*train/b' \(looked for \.jpg, .*remove the folder"):
        deep.load_images(tmp_path)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind, modes in {
        "jpeg": "RGB L CMYK YCbCr", "png": "RGB L LA P 1 RGBA", "bmp": "RGB L P 1", "ppm": "RGB L 1",
        "TIFF": "RGB L LA P 1 RGBA CMYK", "webp": "RGB RGBA",
    }.items() for mode in modes.split()],
)  # fmt: skip
def test_every_mode_of_8_bits_becomes_three_channels(kind: str, mode: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = tmp_path / f"a/0.{kind}"
    pillow.fromarray(picture(0)).convert(mode).save(path)
    (got,) = deep.load_images(tmp_path).images.read([0])
    with pillow.open(path) as saved:
        assert np.array_equal(got.permute(1, 2, 0).numpy(), np.asarray(saved.convert("RGB")))


def test_a_palette_with_transparency_keeps_its_colors(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    image = pillow.fromarray(picture(0)).convert("P")
    image.save(tmp_path / "a/0.png", transparency=bytes(range(256)))
    (got,) = deep.load_images(tmp_path).images.read([0])
    assert np.array_equal(got.permute(1, 2, 0).numpy(), np.asarray(image.convert("RGB")))


def test_without_pillow_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"a": 1})
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"lpnum\[torch\]"):
        deep.load_images(tmp_path)


def test_files_that_are_no_images_are_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/0.txt").write_text("text")
    with pytest.raises(FileNotFoundError, match="no data set of images"):
        deep.load_images(tmp_path)


def test_a_damaged_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 4})
    whole = (tmp_path / "a/001.png").read_bytes()
    (tmp_path / "a/001.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a/002.png").write_bytes(b"no image")
    pillow.fromarray(np.full((4, 4), 60000, np.uint16)).save(tmp_path / "a/003.png")
    images = deep.load_images(tmp_path)
    assert len(images.images.read([0])) == 1
    for k, message in ((1, "is no readable image: .*Copy it again"), (2, "is no readable image"),
                       (3, "has pixels of mode 'I;16'; expected 8 bits per channel")):  # fmt: skip
        with pytest.raises(ValueError, match=rf"a/00{k}\.png' {message}"):
            images.images.read([k])
    (tmp_path / "a/000.png").unlink()
    for workers in (0, 2):
        with pytest.raises(FileNotFoundError, match=r"a/000\.png' is gone; load the folder again"):
            list(deep.Batches(images, 1, shuffle=False, workers=workers))


def test_a_cut_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for kind in ("jpg", "png"):
        path = tmp_path / f"a/0.{kind}"
        pillow.fromarray(picture(0)).save(path)
        whole = path.read_bytes()
        images = deep.load_images(tmp_path).images
        for size in range(0, len(whole) - 20, 53):
            path.write_bytes(whole[:size])
            with pytest.raises(ValueError, match=rf"0\.{kind}' is no readable image"):
                images.read([0])
        path.unlink()


AUGMENT = transforms.Compose(
    transforms.RandomResizedCrop(16), transforms.Flip(), transforms.Normalize([0.5] * 3, [0.25] * 3)
)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_files_of_different_sizes_become_batches(workers: int, tmp_path: Path) -> None:
    data = deep.load_images(tree(tmp_path, {"a": 5, "b": 6}))
    one = {}
    for k in range(11):
        (image,) = data.images.read([k])
        one[k] = AUGMENT([image], Draws(7, 2, [k]))[0]
    batches = deep.Batches(data, 4, transform=AUGMENT, seed=7, workers=workers)
    batches.set_epoch(2)
    seen = []
    for number, (inputs, targets) in enumerate(batches):
        where = batches.indices(2, number)
        assert inputs.shape == (len(where), 3, 16, 16)
        assert torch.equal(inputs, torch.stack([one[k] for k in where.tolist()]))
        assert torch.equal(targets, data.labels[torch.from_numpy(where)])
        seen += where.tolist()
    assert sorted(seen) == list(range(11))
    with pytest.raises(ValueError, match=r"Batches: images of different shapes .* put CenterCrop, RandomResizedCrop"):
        list(deep.Batches(data, 4))


def test_the_usual_evaluation_of_imagenet_gives_one_size(tmp_path: Path) -> None:
    data = deep.load_images(tree(tmp_path, {"a": 3, "b": 3}))
    evaluate = transforms.Compose(transforms.Resize(18), transforms.CenterCrop(16))
    (batch,) = [inputs for inputs, _ in deep.Batches(data, 6, transform=evaluate, shuffle=False)]
    assert batch.shape == (6, 3, 16, 16)
    for k in range(6):
        image = pillow.fromarray(picture(k))
        scale = 18 / min(image.size)
        size = tuple(18 if side == min(image.size) else int(18 * side / min(image.size)) for side in image.size)
        small = np.asarray(image.resize(size, pillow.Resampling.BILINEAR)).astype(int)
        top, left = round((small.shape[0] - 16) / 2), round((small.shape[1] - 16) / 2)
        expected = small[top : top + 16, left : left + 16].transpose(2, 0, 1)
        assert scale < 1
        assert np.abs(batch[k].numpy() - expected).max() <= 1


def test_statistics_of_files_are_those_of_their_pixels(tmp_path: Path) -> None:
    data = deep.load_images(tree(tmp_path, {"a": 3, "b": 2}))
    pixels = np.concatenate([picture(k).reshape(-1, 3) for k in range(5)]) / 255
    mean, std = deep.channel_statistics(data)
    assert np.allclose(mean, pixels.mean(0), rtol=1e-13)
    assert np.allclose(std, pixels.std(0), rtol=1e-12)
    first, _ = deep.channel_statistics(data, limit=1)
    assert np.allclose(first, picture(0).reshape(-1, 3).mean(0) / 255, rtol=1e-13)
