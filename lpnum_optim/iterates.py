"""Iterate storage: how w is kept between steps. One half of the table of methods (the other: `gradients`).

Every storage takes a step in two ways: ``storage.array -= step`` in the readable loop, and `run_compiled`, a whole
epoch in one compiled call for linear models.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import lpnum
from lpnum import LPArray
from lpnum.random import CounterRNG

from ._core.epochs import float_epoch, lowbit_epoch
from .data import DataMatrix
from .gradients import LinearTerms
from .grid_control import GridControl, Report
from .problem import FiniteSum

Vector = NDArray[np.float64]


class IterateStorage(Protocol):
    """How the iterate is stored."""

    array: Any

    @property
    def scale(self) -> float:
        """Distance of neighboring values, NaN in full precision."""

    @property
    def center(self) -> Vector | None:
        """The offset the codes are relative to; None for zero."""

    def value(self) -> Vector:
        """The iterate as a new float64 vector."""

    def begin_epoch(self, scale: float) -> None:
        """Prepare the grid for an epoch."""

    def move_to(self, w: Vector) -> None:
        """Put the iterate at w (back at a snapshot, after an epoch that is undone)."""

    def change_scale(self, factor: float) -> None:
        """Same values on a grid `factor` times as wide."""

    def observe(self) -> Report:
        """Saturation and range of the codes as they are now."""

    def run_compiled(
        self, problem: FiniteSum, terms: LinearTerms, step_size: float, samples: NDArray[np.int64], control: GridControl
    ) -> Report:
        """An epoch in one compiled call, which changes the grid as `control` says and keeps its record."""


class FullPrecision:
    """A float64 vector."""

    quantized = centered = False

    def __init__(self, x0: Vector, **_: Any) -> None:
        self.array: Vector = x0.copy()

    scale = float("nan")
    center = None

    def value(self) -> Vector:
        """A copy of the vector."""
        return self.array.copy()

    def begin_epoch(self, scale: float) -> None:
        """Nothing to prepare."""

    def move_to(self, w: Vector) -> None:
        """Overwrite the vector."""
        self.array[:] = w

    def change_scale(self, factor: float) -> None:
        """There is no grid."""

    def observe(self) -> Report:
        """There is no grid."""
        return Report(float("nan"), float("nan"))

    def run_compiled(
        self, problem: FiniteSum, terms: LinearTerms, step_size: float, samples: NDArray[np.int64], control: GridControl
    ) -> Report:
        """The float epoch, with w itself as z."""
        float_epoch(
            DataMatrix(*problem.kernel_data), problem.y, *terms, self.array,
            step_size=step_size, l2=problem.l2, loss=problem.loss.kernel_id, samples=samples,
        )  # fmt: skip
        return self.observe()


class Quantized:
    """Low-precision codes on one fixed grid around zero."""

    quantized, centered = True, False

    def __init__(self, x0: Vector, *, bits: int, scale: float, rounding: str, rng: CounterRNG) -> None:
        self.rng = rng
        self.array: LPArray = lpnum.zeros(
            len(x0), dtype=lpnum.fixed(bits), scale=scale, offset=self._first_offset(x0), rounding=rounding, rng=rng
        )
        self.move_to(x0)

    @staticmethod
    def _first_offset(x0: Vector) -> Vector | None:
        return None  # zero

    @property
    def scale(self) -> float:
        """Distance of neighboring values."""
        return float(self.array.scale)

    @property
    def center(self) -> Vector | None:
        """The grid is centered at zero."""
        return None

    def value(self) -> Vector:
        """The decoded codes."""
        return np.asarray(self.array.dequantize(), dtype=np.float64)

    def begin_epoch(self, scale: float) -> None:
        """The grid stays."""

    def move_to(self, w: Vector) -> None:
        """Round w to the nearest point of the grid (a start should not depend on the seed)."""
        self.array.codes[...] = lpnum.encode(w / self.scale, self.array.format, rounding="nearest-even")

    def change_scale(self, factor: float) -> None:
        """Round the values onto a grid `factor` times as wide.

        The codes alone are re-scaled: next to a large offset the differences of a fine grid would drown in float64.
        """
        w = self.array
        z = LPArray(w.codes, w.format, w.scale, rounding=w.rounding, rng=self.rng).rescale(scale=w.scale * factor)
        self._put(z.codes, float(z.scale))

    def _put(self, codes: NDArray[Any], scale: float) -> None:
        w = self.array
        self.array = LPArray(codes, w.format, scale, w.offset, rounding=w.rounding, rng=self.rng)

    def observe(self) -> Report:
        """Saturation and range of the codes as they are now."""
        at_end = self._at_end()
        largest = float(np.max(np.abs(self.array.codes.astype(np.int64))))
        return Report(float(np.mean(at_end)), min(1.0, largest / self.array.format.code_max), at_end)

    def _at_end(self) -> NDArray[np.bool_]:
        codes, fmt = self.array.codes, self.array.format
        return (codes == fmt.code_max) | (codes == fmt.code_min)

    def run_compiled(
        self, problem: FiniteSum, terms: LinearTerms, step_size: float, samples: NDArray[np.int64], control: GridControl
    ) -> Report:
        """The integer epoch on the codes, in place."""
        fmt = self.array.format
        saturated, range_used, _ = lowbit_epoch(
            DataMatrix(*problem.kernel_data), problem.y, *terms, self.array.codes, self.scale,
            step_size=step_size, l2=problem.l2, loss=problem.loss.kernel_id, samples=samples,
            code_min=fmt.code_min, code_max=fmt.code_max, seed=self.rng.seed, stream=self.rng.next_stream(),
            control=control,
        )  # fmt: skip
        if control.change != 1.0:
            self._put(self.array.codes, self.scale * control.change)
        return Report(saturated, range_used, self._at_end())


class BitCentered(Quantized):
    """Bit centering: a float64 offset and low-precision codes, re-centered and re-scaled each epoch."""

    centered = True

    @staticmethod
    def _first_offset(x0: Vector) -> Vector | None:
        return x0.copy()

    @property
    def center(self) -> Vector | None:
        """The offset."""
        return np.asarray(self.array.offset, dtype=np.float64)

    def begin_epoch(self, scale: float) -> None:
        """Move the offset to the current values, zero the codes, take the new scale."""
        self.array.recenter(scale=scale)

    def move_to(self, w: Vector) -> None:
        """Move the offset to w, zero the codes."""
        self.array = lpnum.zeros(
            len(w), dtype=self.array.format, scale=self.scale, offset=w, rounding=self.array.rounding, rng=self.rng
        )
