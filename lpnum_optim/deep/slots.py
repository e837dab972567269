"""A slot: the place of one tensor in every step, with its format, its scale and what was seen there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpnum.formats import Format

from .assignment import TrainingTensor
from .candidates import OUTPUT_GRADIENT, PARAMETER_GRADIENT
from .codes import decode, encode, power_of_two_scale, round_into

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
        Whether a value of the step was NaN, or that of a gradient infinite or (unscaled) beyond the range.
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

    def __post_init__(self) -> None:
        self.is_gradient = self.tensor.kind in (OUTPUT_GRADIENT, PARAMETER_GRADIENT)

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

    def round_into(self, out: Tensor | None, tensor: Tensor, *, codes: bool = True) -> tuple[Tensor | None, float]:
        """Round a dense tensor that takes this place into `out` (if any, perhaps itself); its codes and its scale."""
        fmt, scale = self.fmt, 1.0
        if self.scaled:
            scale = power_of_two_scale(tensor, fmt)
            if not math.isfinite(scale):
                self.lost, scale = self.lost or self.is_gradient, 1.0
        # In a format without NaN it becomes the largest value; the step is lost anyway.
        rounded = round_into(
            out, tensor, fmt, scale=scale, rounding=self.rounding, nan=scale * fmt.max, codes=codes
        )  # fmt: skip
        if rounded.beyond:
            if not self.scaled:
                self.overflow = max(self.overflow, rounded.beyond / tensor.numel())
            self.lost = self.lost or rounded.nan > 0 or (self.is_gradient and not self.scaled)
        return rounded.codes, scale

    @staticmethod
    def round_together(flat: Tensor, members: list[tuple[Slot, Tensor]]) -> None:
        """Round the values of several slots of one format, which lie one after the other, in place and in one pass."""
        first = members[0][0]
        rounded = round_into(flat, flat, first.fmt, rounding=first.rounding, nan=first.fmt.max, codes=False)
        if rounded.beyond:
            for slot, tensor in members:
                slot.round_into(None, tensor, codes=False)  # which of them it was

    def measure(self, tensor: Tensor) -> None:
        """Error that the low format makes of these values, relative to their sum of squares."""
        tensor = tensor.detach()
        power = float(torch.linalg.vector_norm(tensor.float())) ** 2
        if not 0.0 < power < math.inf:
            return
        scale = power_of_two_scale(tensor, self.low) if self.scaled else 1.0
        rounded = decode(encode(tensor, self.low, scale=scale, rounding=self.rounding, nan=0.0), self.low, scale=scale)
        self.error = float(torch.linalg.vector_norm(rounded - tensor.float())) ** 2 / power
