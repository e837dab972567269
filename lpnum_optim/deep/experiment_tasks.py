"""What the experiments train: a network, its loss, the data, and how they are measured."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import models, transforms
from .batches import Batches
from .images import channel_statistics, load_images
from .text import Text, load_text, text_batches
from .transforms import Transform

__all__ = ["Measured", "Task", "image_task", "measure", "text_task"]

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """A network and its data.

    Attributes
    ----------
    make_model : function
        The network with new weights, drawn from torch's generator.
    loss : function of outputs and targets
        Mean over the batch.
    batches : function of a seed
        Of the training data, in an order that depends on the seed and the epoch (``set_epoch``).
    fixed, test : iterables of (inputs, targets)
        A part of the training data, and data to test on, always in the same batches.
    facts : dict
        What tells these data from others, for checkpoints.
    """

    make_model: Callable[[], nn.Module]
    loss: Loss
    batches: Callable[[int], Any]
    fixed: Iterable[tuple[Tensor, Tensor]]
    test: Iterable[tuple[Tensor, Tensor]]
    facts: dict[str, Any]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats; classes are the last dimension of the outputs.

    >>> float(cross_entropy(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64)))
    1.3862943649291992
    """
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


@dataclass(frozen=True)
class Measured:
    """Mean loss, and the share of targets that are the largest output."""

    loss: float
    accuracy: float


def measure(model: nn.Module, loss: Loss, batches: Iterable[tuple[Tensor, Tensor]], *, train_mode: bool) -> Measured:
    """Measure without a trace: buffers (statistics of batch normalization), modes and torch's generator stay.

    In training mode, batch normalization uses the statistics of each batch, as in the objective that training
    minimizes; in evaluation mode its running averages.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    random = torch.get_rng_state()
    total = correct = count = 0.0
    model.train(train_mode)
    try:
        with torch.no_grad():
            for inputs, targets in batches:
                outputs = model(inputs)
                total += float(loss(outputs, targets)) * targets.numel()
                correct += float((outputs.argmax(-1) == targets).sum())
                count += targets.numel()
            for buffer, before in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(before)
    finally:
        for module, mode in modes:
            module.training = mode
        torch.set_rng_state(random)
    return Measured(total / count, correct / count)


class ChannelsLast:
    """Batches of images in the memory order in which convolutions run fastest on a CPU (about 1.3 times)."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Order and augmentation of this epoch."""
        self.batches.set_epoch(epoch)

    def __iter__(self) -> Any:
        for inputs, targets in self.batches:
            yield inputs.contiguous(memory_format=torch.channels_last), targets


def image_task(
    folder: Path, *, model: str = "resnet14", width: float = 1.0, images: int | None = None,
    test_images: int | None = None, measure_images: int = 2000, batch_size: int = 128, augment: bool = False,
) -> Task:  # fmt: skip
    """Classification of the images in a folder (see `load_images`), scaled to 32 x 32 where they are not."""
    train, test = load_images(folder, split="train"), load_images(folder, split="test")
    shape = tuple(getattr(train.images, "shape", (0, 3)))
    if shape[1] != 3:
        raise ValueError(f"{str(folder)!r} has images of {shape[1]} channel(s); the networks take 3 (red, green, blue)")
    sized = shape[-2:] == (32, 32)
    resized: list[Transform] = [] if sized else [transforms.Resize(32), transforms.CenterCrop(32)]
    random: list[Transform] = [transforms.Crop(4), transforms.Flip()] if augment else []
    normalized = transforms.Normalize(*channel_statistics(train))
    classes = len(train.classes)
    count = min(len(train), images or len(train))

    def batches(data: Any, chosen: list[Transform], limit: int | None, seed: int | None) -> ChannelsLast:
        transform = transforms.Compose(*chosen, normalized)
        return ChannelsLast(
            Batches(data, batch_size, transform=transform, limit=limit, shuffle=seed is not None, seed=seed or 0)
        )

    return Task(
        lambda: models.MODELS[model](classes, width),
        cross_entropy,
        lambda seed: batches(train, [*resized, *random], count, seed),
        batches(train, resized, min(count, measure_images), None),
        batches(test, resized, test_images, None),
        {
            "model": model, "width": width, "images": count, "test_images": min(len(test), test_images or len(test)),
            "measured_images": min(count, measure_images), "batch_size": batch_size, "augment": augment,
            "labels_crc32": zlib.crc32(train.labels.numpy().tobytes()),
        },
    )  # fmt: skip


def text_task(
    file: Path, *, windows: int | None = None, test_windows: int | None = None, measure_windows: int = 512,
    hidden: int = 128, layers: int = 2, batch_size: int = 32, length: int = 64,
) -> Task:  # fmt: skip
    """The next characters in windows of a text, each read from a state of zeros; the last tenth is for tests."""
    text = load_text(file)
    train, test = text.split(0.1)
    characters = len(text.characters)
    count = min(windows or len(train), (len(train) - 1) // length)

    def fixed(part: Text, limit: int | None) -> Batches:
        return text_batches(part, batch_size, length, shuffle=False, limit=limit)

    return Task(
        lambda: models.CharLSTM(characters, hidden, layers),
        cross_entropy,
        lambda seed: text_batches(train, batch_size, length, limit=count, seed=seed),
        fixed(train, min(count, measure_windows)),
        fixed(test, test_windows),
        {
            "model": "lstm", "hidden": hidden, "layers": layers, "windows": count, "test_windows": test_windows,
            "measured_windows": min(count, measure_windows), "batch_size": batch_size, "length": length,
            "text_crc32": zlib.crc32(text.codes.numpy().tobytes()),
        },
    )  # fmt: skip
