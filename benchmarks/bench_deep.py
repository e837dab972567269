"""Training steps of networks: memory and time under a plan of 8 bits against float32, and of the optimizers.

Without torch these are left out.
"""

from __future__ import annotations

import statistics
import time
from typing import ClassVar

try:
    import torch

    from lpnum_optim import deep
    from lpnum_optim.deep import models
except ImportError:
    torch = None

timer = time.process_time  # of this process alone: other work on the machine counts less

BATCH = 128


class _Network:
    """A network with its optimizer and one batch of random images."""

    def __init__(self, name: str, width: float, optimizer: str | None = None) -> None:
        if torch is None:
            raise NotImplementedError  # how asv is told to skip; no test of ours is left out by it
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.module = models.MODELS[name](10, width)
        self.images, self.labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
        make = torch.optim.SGD if optimizer is None else getattr(deep, optimizer)
        self.optimizer = make(self.module.parameters(), lr=0.01, momentum=0.9)
        self.closure = deep.closure(self.module, torch.nn.functional.cross_entropy, self.images, self.labels)

    def step(self) -> None:
        """Forward, backward, update."""
        self.optimizer.step(self.closure)

    def seconds(self) -> float:
        """Time of the process for one step."""
        begin = time.process_time()
        self.step()
        return time.process_time() - begin


class StepUnderPlan:
    """A training step with all tensors at the paper's 8-bit formats, against the same step in float32."""

    params: ClassVar[list[str]] = ["resnet14 1", "mobilenet_v2 0.25"]
    param_names: ClassVar[list[str]] = ["network, width"]
    timeout = 300

    def setup(self, network: str) -> None:
        name, width = network.split()
        self.network = _Network(name, float(width))
        self.plan = deep.PrecisionPlan.uniform(self.network.module, self.network.images)
        self.network.step()

    def track_memory_ratio(self, network: str) -> float:
        """Peak of the allocator in float32, over that under the plan."""
        plain = deep.peak_memory(self.network.step).peak
        with self.plan.apply(self.network.module, self.network.optimizer, promotion=None):
            self.network.step()
            return plain / deep.peak_memory(self.network.step).peak

    def track_time_ratio(self, network: str) -> float:
        """Median time of a step under the plan, over that in float32; taken in turn."""
        plain, under_plan = [], []
        for _ in range(5):
            plain.append(self.network.seconds())
            with self.plan.apply(self.network.module, self.network.optimizer, promotion=None):
                self.network.step()
                under_plan.append(self.network.seconds())
        return statistics.median(under_plan) / statistics.median(plain)


class OptimizerStep:
    """A step of ResNet-14; those with snapshots pass through the network twice."""

    params: ClassVar[list[str]] = ["SGD", "LPSGD", "SVRG", "LPSVRG", "HALP"]
    param_names: ClassVar[list[str]] = ["optimizer"]

    def setup(self, name: str) -> None:
        self.network = _Network("resnet14", 1.0, name)
        if hasattr(self.network.optimizer, "snapshot"):
            self.network.optimizer.snapshot(self.network.closure)
        self.network.step()

    def time_step(self, name: str) -> None:
        self.network.step()
