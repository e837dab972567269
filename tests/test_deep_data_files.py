"""Data sets of images in files: what is read is what was written; what is missing or damaged is named."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import deep_data_files as files  # noqa: E402

from lpnum_optim import deep  # noqa: E402

IMAGES = np.zeros((3, 4, 4), np.uint8)
PROTOCOLS = ["python2", "2", "3", "4", "5"]


@pytest.mark.parametrize("above", [False, True], ids=["folder", "above"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cifar10_comes_in_the_official_order(protocol: str, above: bool, tmp_path: Path) -> None:
    folder = files.cifar10(tmp_path, protocol=protocol)
    train = deep.load_images(tmp_path if above else folder)
    assert train.images.dtype == torch.uint8
    assert np.array_equal(train.images.flatten(1).numpy(), np.concatenate([files.pixels(6, k) for k in range(5)]))
    assert train.labels.tolist() == [(k + 3 * i) % 10 for k in range(5) for i in range(6)]
    assert train.labels.dtype == torch.int64
    assert train.classes == [name.decode() for name in files.NAMES10]
    images, labels = deep.load_images(str(folder), "test")
    assert images.shape == (6, 3, 32, 32)
    assert torch.equal(images.flatten(1), torch.from_numpy(files.pixels(6, 5)))
    assert labels.tolist() == [(5 + 3 * i) % 10 for i in range(6)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cifar100_has_fine_and_coarse_labels(protocol: str, tmp_path: Path) -> None:
    files.cifar100(tmp_path, protocol=protocol)
    for k, split in enumerate(("train", "test")):
        fine, coarse = deep.load_images(tmp_path, split), deep.load_images(tmp_path, split, coarse=True)
        assert torch.equal(fine.images.flatten(1), torch.from_numpy(files.pixels(7, 10 + k)))
        assert fine.labels.tolist() == [99 - i for i in range(7)]
        assert coarse.labels.tolist() == list(range(7))
        assert (len(fine.classes), len(coarse.classes)) == (100, 20)
        assert (fine.classes[99], coarse.classes[3]) == ("fine99", "coarse03")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_mnist_is_gray_images_in_one_channel(below: str, packed: bool, tmp_path: Path) -> None:
    files.mnist(tmp_path / below, packed=packed)
    for k, split in enumerate(("train", "test")):
        images, labels = deep.load_images(tmp_path, split)
        expected = np.random.default_rng(k).integers(0, 256, (5, 28, 28)).astype(np.uint8)
        assert np.array_equal(images.numpy(), expected[:, None])
        assert labels.tolist() == list(range(k, 5 + k))


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 1), (9, 8, 3), (3, 9, 8)])
@pytest.mark.parametrize("label_shape", [(), (1,)])
def test_npz_of_keras_comes_with_channels_first(
    shape: tuple[int, ...], label_shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = files.keras(tmp_path / "set.npz", shape, label_shape)
    for k, split in enumerate(("train", "test")):
        images, labels = deep.load_images(path, split)
        written = np.random.default_rng(k).integers(0, 256, (4 + k, *shape)).astype(np.uint8)
        expected = {(9, 8): written[:, None], (3, 9, 8): written}.get(shape)
        expected = written.transpose(0, 3, 1, 2) if expected is None else expected
        assert np.array_equal(images.numpy(), expected)
        assert images.is_contiguous()
        assert labels.tolist() == list(range(4 + k))


def test_loading_takes_the_memory_of_the_pixels_and_of_one_file_twice(tmp_path: Path) -> None:
    folder = files.cifar10(tmp_path, n=300)
    size = (folder / "data_batch_1").stat().st_size
    deep.load_images(folder)
    tracemalloc.start()
    try:
        pixels = deep.load_images(folder).images.numel()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pixels < peak < pixels + 2.2 * size


def _change(name: str, **entries: Any) -> Callable[[Path], None]:
    """A spoiler: other entries in one of CIFAR-10's files (None: without it)."""

    def spoil(folder: Path) -> None:
        content = {
            b"labels": [0] * 6, b"data": files.pixels(6, 0),
            b"num_cases_per_batch": 6, b"label_names": files.NAMES10,
        }  # fmt: skip
        content |= {key.encode(): value for key, value in entries.items()}
        files.dump(folder / name, {key: value for key, value in content.items() if value is not None})

    return spoil


def _truncate(name: str, size: int) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:size])

    return spoil


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("data_batch_3", lambda at: (at / "data_batch_3").unlink(), r"no file .*part of the train set.*unpack"),
        ("batches.meta", lambda at: (at / "batches.meta").unlink(), r"no file .*names of the classes"),
        ("data_batch_2", _truncate("data_batch_2", 0), r"\(0 bytes\) is truncated or damaged: it ends without"),
        ("data_batch_2", _truncate("data_batch_2", 5000), r"\(5000 bytes\) is truncated .* at byte .* for 18432 bytes"),
        ("data_batch_5", lambda at: (at / "data_batch_5").write_bytes(b"<html>404"), r"asks for the instruction b'<'"),
        ("data_batch_1", _change("data_batch_1", data=None), r"has no entry 'data'; it holds label_names, labels"),
        ("data_batch_1", _change("data_batch_1", labels=None), r"has no entry 'labels'"),
        ("data_batch_4", _change("data_batch_4", data=files.pixels(5, 0), labels=[0] * 5),
         r"holds 5 images; batches\.meta says 6\. The file is incomplete"),
        ("data_batch_4", _change("data_batch_4", data=files.pixels(6, 0)[:, :3071]),
         r"'data' is uint8 \(6, 3071\); expected uint8 \(n, 3072\)"),
        ("data_batch_4", _change("data_batch_4", data=files.pixels(6, 0).astype(np.int64)), r"'data' is int64"),
        ("data_batch_4", _change("data_batch_4", data=b"abc"), r"'data' is bytes"),
        ("data_batch_4", _change("data_batch_4", labels=[0] * 5), r"labels of shape \(5,\).* expected 6 integers"),
        ("data_batch_4", _change("data_batch_4", labels=[0, 1, 2, 10, 3, -1]),
         r"2 labels outside 0\.\.9, the first 10 at image 3"),
        ("data_batch_4", _change("data_batch_4", labels=[0.5] * 6), r"expected 6 integers"),
        ("data_batch_4", _change("data_batch_4", labels=[[1], 2, 3, 4, 5, 6]), r"labels of shape"),
        ("data_batch_4", _change("data_batch_4", labels={b"a": 1}), r"labels of shape"),
        ("data_batch_4", _change("data_batch_4", labels=[2**80] * 6), r"labels of shape"),
        ("batches.meta", _change("batches.meta", num_cases_per_batch=[6]), r"'num_cases_per_batch' is no integer"),
        ("batches.meta", _change("batches.meta", label_names=[]), r"'label_names' is no list of names"),
        ("batches.meta", _change("batches.meta", label_names=None), r"has no entry 'label_names'"),
        ("batches.meta", _change("batches.meta", num_cases_per_batch=None), r"has no entry 'num_cases_per_batch'"),
    ],
)  # fmt: skip
def test_a_damaged_cifar_file_is_named(name: str, spoil: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    folder = files.cifar10(tmp_path)
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        deep.load_images(folder)
    assert f"{name}'" in str(caught.value)


@pytest.mark.parametrize(("name", "split"), [("meta", "train"), ("train", "train"), ("test", "test")])
def test_a_missing_file_of_cifar100_is_named(name: str, split: str, tmp_path: Path) -> None:
    folder = files.cifar100(tmp_path)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"no file '.*cifar-100-python.{name}' \(.*; unpack the data set's"):
        deep.load_images(tmp_path, split)


def test_no_cut_and_no_changed_byte_crashes(tmp_path: Path, seed: int) -> None:
    # Every cut is an error. A changed byte may be a pixel's, a label's or a name's: the set stays well formed.
    folder = files.cifar10(tmp_path, n=1)
    path = folder / "test_batch"
    whole = path.read_bytes()
    rng = np.random.default_rng(seed)
    structure = [k for k in range(len(whole)) if k < 150 or k > len(whole) - 150]
    for k in [*structure[seed % 2 :: 2], *rng.integers(0, len(whole), 9)]:
        path.write_bytes(whole[:k])
        with pytest.raises(ValueError, match="test_batch"):
            deep.load_images(folder, "test")
    for _ in range(250):
        damaged = bytearray(whole)
        for k in rng.choice(structure, rng.integers(1, 4)):
            damaged[k] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            images, labels = deep.load_images(folder, "test")
        except ValueError as error:
            assert "test_batch" in str(error)  # noqa: PT017
        else:
            assert images.shape == (1, 3, 32, 32)
            assert 0 <= int(labels[0]) < 10


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: b"", r"it begins with nothing, not 00 00 08 03"),
        (lambda c: c[:10], r"ends within its header"),
        (lambda c: c[:-1], r"5 x 28 x 28 = 3920 bytes, but holds 3919 bytes\. It is truncated"),
        (lambda c: c + b"x", r"3920 bytes, but holds more"),
        (lambda c: b"\0\0\x0d\x03" + c[4:], r"it begins with 00 00 0d 03"),
        (lambda c: c[:4] + b"\xff" * 12 + c[16:], r"4294967295 x 4294967295 x 4294967295"),
        (lambda c: gzip.compress(c)[:-20], r"no whole idx file"),
        (lambda c: gzip.compress(c)[:5], r"no whole idx file"),
        (lambda c: gzip.compress(c)[:-6] + b"123456", r"no whole idx file"),
        (lambda c: gzip.compress(c[:-5]), r"but holds 3915 bytes"),
        (lambda c: c[:4] + b"\0" * 12, r"0 x 0 x 0 pixels: no image"),
        (None, r"no file .*nor with \.gz"),
    ],
)
def test_a_damaged_idx_file_is_named(spoil: Callable[[bytes], bytes] | None, message: str, tmp_path: Path) -> None:
    path = files.mnist(tmp_path) / "train-images-idx3-ubyte"
    content = path.read_bytes()
    path.unlink()
    if spoil is not None:
        path.write_bytes(spoil(content))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        deep.load_images(tmp_path)
    assert "train-images-idx3-ubyte'" in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3], r"labels of shape \(4,\).*expected 5"),
        ([0, 1, 2, 3, 10], r"1 labels outside 0\.\.9, the first 10"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels: list[int], message: str, tmp_path: Path) -> None:
    files.mnist(tmp_path)
    files.idx(tmp_path / "train-labels-idx1-ubyte", np.array(labels, np.uint8))
    with pytest.raises(ValueError, match=f"train-labels-idx1-ubyte' has {message}"):
        deep.load_images(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": IMAGES}, r"no array 'y_train'; it holds x_train\. Expected x_train, y_train"),
        ({"X": IMAGES, "y": IMAGES}, r"no array 'x_train'; it holds X, y"),
        ({"x_train": IMAGES.astype(float), "y_train": [0, 1, 2]}, r"'x_train' .* is float64 \(3, 4, 4\); expected"),
        ({"x_train": np.zeros((3, 4, 4, 4), np.uint8), "y_train": [0, 1, 2]}, r"is uint8 \(3, 4, 4, 4\)"),
        ({"x_train": IMAGES[:0], "y_train": []}, r"is uint8 \(0, 4, 4\)"),
        ({"x_train": IMAGES, "y_train": [0.0, 1.0, 2.0]}, r"labels of shape \(3,\) and type float64"),
        ({"x_train": IMAGES, "y_train": [0, 2**31, 1]}, r"1 labels outside 0\.\.65535"),
        ({"x_train": IMAGES, "y_train": [0, None, 1]}, r"no readable npz"),
    ],
)
def test_an_unusable_npz_is_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        deep.load_images(path)
    assert "set.npz'" in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 100, -1, -100])
def test_a_truncated_npz_is_named(size: int, tmp_path: Path) -> None:
    path = files.keras(tmp_path / "set.npz", (9, 8))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"set\.npz' is no readable npz file: .*Copy it again"):
        deep.load_images(path)


def test_a_path_without_a_set_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file or folder '.*nowhere'; expected a folder of CIFAR-10"):
        deep.load_images(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no data set of images in .*; expected a folder of CIFAR-10"):
        deep.load_images(tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    for path in (tmp_path, tmp_path / "cifar-10-python.tar.gz"):
        with pytest.raises(FileNotFoundError, match=r"Unpack '.*cifar-10-python\.tar\.gz' first"):
            deep.load_images(path)


def test_a_folder_of_two_sets_is_not_guessed(tmp_path: Path) -> None:
    files.cifar10(tmp_path)
    files.cifar100(tmp_path)
    with pytest.raises(ValueError, match=r"several data sets: CIFAR-10 in .* and CIFAR-100 in .*; give the folder"):
        deep.load_images(tmp_path)
    with pytest.raises(ValueError, match=r"coarse labels are of CIFAR-100"):
        deep.load_images(tmp_path / "cifar-10-batches-py", coarse=True)
    with pytest.raises(ValueError, match=r"unknown split 'val'; allowed: train, test"):
        deep.load_images(tmp_path / "cifar-10-batches-py", "val")
