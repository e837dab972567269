"""A slot: the place of one tensor in every step, with its format, its scale and what was seen there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpnum.formats import Format

from .assignment import TrainingTensor
from .codes import decode, encode, may_overflow, overflow_share, power_of_two_scale

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

    @property
    def promoted(self) -> bool:
        """Whether it began low and is high now."""
        return self.promotions > 0 and not self.is_low

    def begin_step(self) -> None:
        """Forget the last step."""
        self.overflow, self.error, self.lost = 0.0, math.nan, False

    def encoded(self, tensor: Tensor) -> tuple[Tensor, float]:
        """Codes and scale of a tensor that takes this place."""
        tensor = tensor.detach()
        if self.scaled:
            scale = power_of_two_scale(tensor, self.fmt)
            self.lost = self.lost or not math.isfinite(scale)
            scale = scale if math.isfinite(scale) else 1.0
            return encode(tensor, self.fmt, scale=scale, rounding=self.rounding, nan=0.0), scale
        codes = encode(tensor, self.fmt, rounding=self.rounding, nan=self.fmt.max)  # NaN looks like an overflow
        if may_overflow(codes, self.fmt):
            share = overflow_share(tensor, self.fmt)
            self.overflow, self.lost = max(self.overflow, share), self.lost or share > 0.0
        return codes, 1.0

    def measure(self, tensor: Tensor) -> None:
        """Error that the low format makes of these values, relative to their sum of squares."""
        tensor = tensor.detach()
        power = float(torch.linalg.vector_norm(tensor.float())) ** 2
        if not 0.0 < power < math.inf:
            return
        scale = power_of_two_scale(tensor, self.low) if self.scaled else 1.0
        rounded = decode(encode(tensor, self.low, scale=scale, rounding=self.rounding, nan=0.0), self.low, scale=scale)
        self.error = float(torch.linalg.vector_norm(rounded - tensor.float())) ** 2 / power
