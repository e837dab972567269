"""Networks as people write them, and a batch for each of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


def sequential() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.1),
        nn.Conv2d(8, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 10),
    )  # fmt: skip


class Functional(nn.Module):
    """Functions of the forward pass in place of modules; in-place sums; a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        identity = x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.bn2(self.conv2(x))
        x += identity
        x = functional.dropout(functional.relu_(x), 0.1, self.training)
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


class Branches(nn.Module):
    """Concatenated branches, split channels, a gate, a list of layers, a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.branches = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.SiLU())])
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.gain = nn.Parameter(torch.ones(8, 1, 1))
        self.head = nn.Linear(8 * 16, 10, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.stem(x).relu()
        parts = x.chunk(2, dim=1)
        x = torch.cat([branch(part) for branch, part in zip(self.branches, parts, strict=True)], dim=1) + x
        x = x * self.gate(x) * self.gain
        x = functional.avg_pool2d(x, 2)
        return x.permute(0, 2, 3, 1).reshape(len(x), -1) @ self.head.weight.t()


STYLES: dict[str, Callable[[], nn.Module]] = {"sequential": sequential, "functional": Functional, "branches": Branches}


def batch(n: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(n, 1, 8, 8), torch.randint(10, (n,))
