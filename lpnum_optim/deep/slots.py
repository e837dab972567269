"""A slot: the place of one tensor in every step, with its format, its scale and what was seen there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpnum.formats import Format

from .assignment import TrainingTensor
from .codes import decode, encode, overflow_threshold

__all__ = ["Slot"]


@dataclass(eq=False)
class Slot:
    """One assigned tensor.

    Attributes
    ----------
    tensor : TrainingTensor
    low, high : format
    is_low : bool
        The level now.
    scaled : bool
        Whether every tensor gets a power of two as its scale, so that it uses the range of the format.
    promotions : int
        How often it was promoted.
    overflow : float
        Largest share of elements beyond the range in the step, of the values before rounding.
    error : float
        Relative squared error of rounding to the low format, where it was measured in the step; NaN otherwise.
    lost : bool
        Whether a value of the step was NaN, infinite or (unscaled) beyond the range.
    """

    tensor: TrainingTensor
    low: Format
    high: Format
    is_low: bool
    rounding: str = "nearest-even"
    scaled: bool = False
    promotions: int = field(default=0, init=False)
    overflow: float = field(default=0.0, init=False)
    error: float = field(default=math.nan, init=False)
    lost: bool = field(default=False, init=False)

    @property
    def fmt(self) -> Format:
        """The format in force."""
        return self.low if self.is_low else self.high

    @property
    def bits(self) -> int:
        """Bits per element now."""
        return self.fmt.bits

    def begin_step(self) -> None:
        """Forget the last step."""
        self.overflow, self.error, self.lost = 0.0, math.nan, False

    def observe(self, tensor: Tensor, fmt: Format) -> float:
        """Look at the values before they are rounded to `fmt`; returns the scale for them."""
        if tensor.numel() == 0:
            return 1.0
        low, high = torch.aminmax(tensor)
        largest = max(-float(low), float(high))  # NaN compares false below
        if self.scaled and 0.0 < largest < math.inf:
            return 2.0 ** math.ceil(math.log2(largest / fmt.max))
        threshold = overflow_threshold(fmt)
        if not largest < threshold:
            inside = float(torch.count_nonzero(tensor.abs() < threshold))
            self.overflow = max(self.overflow, 1.0 - inside / tensor.numel())
            self.lost = True
        return 1.0

    def encoded(self, tensor: Tensor) -> tuple[Tensor, float]:
        """Codes and scale of a tensor that takes this place."""
        tensor = tensor.detach()
        scale = self.observe(tensor, self.fmt)
        return encode(tensor, self.fmt, scale=scale, rounding=self.rounding, nan=0.0), scale

    def measure(self, tensor: Tensor) -> None:
        """Error that the low format makes of these values, relative to their sum of squares."""
        tensor = tensor.detach()
        power = float(torch.linalg.vector_norm(tensor.float())) ** 2
        if not 0.0 < power < math.inf:
            return
        scale = self.observe(tensor, self.low)
        rounded = decode(encode(tensor, self.low, scale=scale, rounding=self.rounding, nan=0.0), self.low, scale=scale)
        self.error = float(torch.linalg.vector_norm(rounded - tensor.float())) ** 2 / power
