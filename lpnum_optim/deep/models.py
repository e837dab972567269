"""The networks of the experiments, for 32 x 32 images, and a character model.

`resnet`: He et al. 2016, section 4.2 (6n + 2 layers). `resnet18`, `mobilenet_v2`, `shufflenet_v2`, `squeezenet`: the
forms that the precision-assignment paper (Lee, Sharma, Aiken 2023) trains, whose first convolutions have stride 1. All
take a width multiplier. They are ordinary modules; nothing in them knows of low precision.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MODELS", "CharLSTM", "mobilenet_v2", "resnet", "resnet18", "shufflenet_v2", "squeezenet"]


def conv_norm(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution of the same size, without bias, and batch normalization."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (a 1 x 1 convolution where the shape changes)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_norm(inputs, outputs, 3, stride), nn.ReLU(inplace=True), *conv_norm(outputs, outputs, 3)
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv_norm(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """relu(body(x) + shortcut(x))."""
        return functional.relu(self.body(x) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """A 3 x 3 convolution, stages of residual blocks, global average, linear layer."""

    def __init__(self, widths: list[int], blocks: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [*conv_norm(3, widths[0], 3), nn.ReLU(inplace=True)]
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for k in range(blocks):
                layers.append(ResidualBlock(inputs, width, 2 if stage and k == 0 else 1))
                inputs = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes)."""
        return self.classifier(torch.flatten(functional.adaptive_avg_pool2d(self.features(x), 1), 1))


def scaled(width: float, *channels: int) -> list[int]:
    """Channels times the multiplier, at least 1."""
    return [max(1, int(c * width)) for c in channels]


def resnet(classes: int = 10, width: float = 1.0, n: int = 2) -> ResNet:
    """ResNet of 6n + 2 layers for small images: 0.175 million parameters for n = 2.

    >>> sum(p.numel() for p in resnet().parameters())
    175258
    """
    return ResNet(scaled(width, 16, 32, 64), n, classes)


def resnet18(classes: int = 10, width: float = 1.0) -> ResNet:
    """ResNet-18 with a 3 x 3 first convolution.

    >>> sum(p.numel() for p in resnet18(100).parameters())
    11220132
    """
    return ResNet(scaled(width, 64, 128, 256, 512), 2, classes)


class InvertedResidual(nn.Module):
    """1 x 1 expansion, 3 x 3 per channel, 1 x 1 projection; with a shortcut at stride 1."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = expansion * inputs
        self.body = nn.Sequential(
            *conv_norm(inputs, hidden), nn.ReLU(inplace=True),
            *conv_norm(hidden, hidden, 3, stride, groups=hidden), nn.ReLU(inplace=True),
            *conv_norm(hidden, outputs),
        )  # fmt: skip
        self.shortcut: nn.Module | None = None
        if stride == 1:
            self.shortcut = nn.Identity() if inputs == outputs else nn.Sequential(*conv_norm(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """body(x), plus shortcut(x) where there is one."""
        y = self.body(x)
        return y if self.shortcut is None else y + self.shortcut(x)


class MobileNetV2(nn.Module):
    """Inverted residual blocks (Sandler et al. 2018) with the strides of small images."""

    # expansion, channels, blocks, stride of the first block
    STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, classes: int, width: float) -> None:
        super().__init__()
        inputs, last = scaled(width, 32, 1280)
        layers: list[nn.Module] = [*conv_norm(3, inputs, 3), nn.ReLU(inplace=True)]
        for expansion, channels, blocks, stride in self.STAGES:
            (outputs,) = scaled(width, channels)
            for k in range(blocks):
                layers.append(InvertedResidual(inputs, outputs, expansion, stride if k == 0 else 1))
                inputs = outputs
        self.features = nn.Sequential(*layers, *conv_norm(inputs, last), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes)."""
        return self.classifier(torch.flatten(functional.avg_pool2d(self.features(x), 4), 1))


def mobilenet_v2(classes: int = 10, width: float = 1.0) -> MobileNetV2:
    """MobileNet-v2.

    >>> sum(p.numel() for p in mobilenet_v2(100).parameters())
    2412212
    """
    return MobileNetV2(classes, width)


def shuffle(x: Tensor, groups: int = 2) -> Tensor:
    """Interleave the channels of the groups."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleUnit(nn.Module):
    """Half of the channels pass through three convolutions, the other half passes by; then both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            *conv_norm(half, half), nn.ReLU(inplace=True),
            *conv_norm(half, half, 3, groups=half),
            *conv_norm(half, half), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Channels of the same number and size."""
        passing, worked = x.chunk(2, dim=1)
        return shuffle(torch.cat([passing, self.body(worked)], 1))


class ShuffleDown(nn.Module):
    """Both branches are convolved with stride 2; the number of channels becomes `outputs`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.left = nn.Sequential(
            *conv_norm(inputs, inputs, 3, 2, groups=inputs), *conv_norm(inputs, half), nn.ReLU(inplace=True)
        )
        self.right = nn.Sequential(
            *conv_norm(inputs, half), nn.ReLU(inplace=True),
            *conv_norm(half, half, 3, 2, groups=half),
            *conv_norm(half, half), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Channels at half the height and width."""
        return shuffle(torch.cat([self.left(x), self.right(x)], 1))


class ShuffleNetV2(nn.Module):
    """Shuffle units (Ma et al. 2018) with a first convolution of 1 x 1, as used for small images."""

    def __init__(self, classes: int, width: float) -> None:
        super().__init__()
        (inputs,) = scaled(width, 24)
        layers: list[nn.Module] = [*conv_norm(3, inputs), nn.ReLU(inplace=True)]
        for channels, units in zip((116, 232, 464), (3, 7, 3), strict=True):
            outputs = 2 * scaled(width, channels // 2)[0]
            layers += [ShuffleDown(inputs, outputs), *(ShuffleUnit(outputs) for _ in range(units))]
            inputs = outputs
        (last,) = scaled(width, 1024)
        self.features = nn.Sequential(*layers, *conv_norm(inputs, last), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes)."""
        return self.classifier(torch.flatten(functional.avg_pool2d(self.features(x), 4), 1))


def shufflenet_v2(classes: int = 10, width: float = 1.0) -> ShuffleNetV2:
    """ShuffleNet-v2."""
    return ShuffleNetV2(classes, width)


class Fire(nn.Module):
    """A 1 x 1 squeeze, then 1 x 1 and 3 x 3 convolutions side by side."""

    def __init__(self, inputs: int, outputs: int, squeeze: int) -> None:
        super().__init__()
        half = outputs // 2
        self.squeeze = nn.Sequential(nn.Conv2d(inputs, squeeze, 1), nn.BatchNorm2d(squeeze), nn.ReLU(inplace=True))
        self.one = nn.Sequential(nn.Conv2d(squeeze, half, 1), nn.BatchNorm2d(half))
        self.three = nn.Sequential(nn.Conv2d(squeeze, half, 3, padding=1), nn.BatchNorm2d(half))

    def forward(self, x: Tensor) -> Tensor:
        """Concatenation of the two branches."""
        x = self.squeeze(x)
        return functional.relu(torch.cat([self.one(x), self.three(x)], 1), inplace=True)


class SqueezeNet(nn.Module):
    """Fire modules (Iandola et al. 2016) with batch normalization."""

    def __init__(self, classes: int, width: float) -> None:
        super().__init__()
        inputs, *channels = scaled(width, 96, 128, 128, 256, 256, 384, 384, 512, 512)
        squeeze = scaled(width, 16, 16, 32, 32, 48, 48, 64, 64)
        channels = [2 * (c // 2) for c in channels]
        self.stem = nn.Sequential(
            nn.Conv2d(3, inputs, 3, padding=1), nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.fires = nn.ModuleList()
        for outputs, narrow in zip(channels, squeeze, strict=True):
            self.fires.append(Fire(inputs, outputs, narrow))
            inputs = outputs
        self.classifier = nn.Conv2d(inputs, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes)."""
        x = self.stem(x)
        for k, fire in enumerate(self.fires):
            x = fire(x)
            if k in (2, 6):
                x = functional.max_pool2d(x, 2)
        return torch.flatten(functional.adaptive_avg_pool2d(self.classifier(x), 1), 1)


def squeezenet(classes: int = 10, width: float = 1.0) -> SqueezeNet:
    """SqueezeNet with batch normalization."""
    return SqueezeNet(classes, width)


class CharLSTM(nn.Module):
    """Embedding (as a linear map of one-hot characters), LSTM layers, linear layer over the characters."""

    def __init__(self, characters: int, hidden: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.classifier = nn.Linear(hidden, characters)

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """Logits of shape (batch, length, characters) for characters of shape (batch, length)."""
        return self.classifier(self.lstm(self.embedding(x), state)[0])


MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet14": resnet,
    "resnet20": partial(resnet, n=3),
    "resnet32": partial(resnet, n=5),
    "resnet18": resnet18,
    "squeezenet": squeezenet,
    "shufflenet_v2": shufflenet_v2,
    "mobilenet_v2": mobilenet_v2,
}
