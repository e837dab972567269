"""Iterate storage: how w is kept between steps. One half of the table of methods (the other: `gradients`).

Every storage takes a step in two ways: `subtract` in the readable loop, and `run_compiled`, a whole epoch in one
compiled call for linear models. The intercept is a float64 number in all of them (one per class): there is nothing to
save on.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import lpnum
from lpnum import LPArray
from lpnum.random import CounterRNG

from ._core.epochs import float_epoch, lowbit_epoch
from .checkpoint import Entry
from .evaluation import Point
from .gradients import LinearTerms
from .grid_control import GridControl, Report
from .problem import FiniteSum
from .steps import Steps

Vector = NDArray[np.float64]


class IterateStorage(Protocol):
    """How the iterate is stored."""

    array: Any
    intercept: Vector | None

    @property
    def scale(self) -> float:
        """Distance of neighboring values in units of the columns, NaN in full precision."""

    @property
    def center(self) -> Vector | None:
        """The offset the codes are relative to; None for zero."""

    def value(self) -> Point:
        """The iterate as new float64 arrays."""

    def begin_epoch(self, scale: float) -> None:
        """Prepare the grid for an epoch."""

    def move_to(self, point: Point) -> None:
        """Put the iterate at a point (after re-centering the classes, or back at a snapshot)."""

    def change_scale(self, factor: float) -> None:
        """Same values on a grid `factor` times as wide."""

    def relative(self) -> Vector:
        """The coefficients relative to the center, in units of the columns."""

    def settle(self, control: GridControl) -> None:
        """Take the mean over the end of an epoch for the value, where there is one."""

    def subtract(self, step: Point) -> None:
        """Take a step of the readable loop."""

    def observe(self) -> Report:
        """Saturation and range of the codes as they are now."""

    def run_compiled(
        self, problem: FiniteSum, terms: LinearTerms, steps: Steps, samples: NDArray[np.int64], control: GridControl
    ) -> Report:
        """An epoch in one compiled call, which changes the grid as `control` says and keeps its record."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; a copy."""

    def restore(self, saved: Entry) -> None:
        """Take over what `state` gave."""


class FullPrecision:
    """A float64 (or float32) array."""

    quantized = centered = False

    def __init__(self, start: Point, *, dtype: Any = np.float64, **_: Any) -> None:
        self.array: NDArray[Any] = start.coef.astype(dtype)
        self.intercept = None if start.intercept is None else start.intercept.copy()

    scale = float("nan")
    center = None

    def value(self) -> Point:
        """A copy of the array."""
        return Point(self.array.astype(np.float64), None if self.intercept is None else self.intercept.copy())

    def begin_epoch(self, scale: float) -> None:
        """Nothing to prepare."""

    def move_to(self, point: Point) -> None:
        """Overwrite the array."""
        self.array[...] = point.coef
        self.intercept = None if point.intercept is None else point.intercept.copy()

    def change_scale(self, factor: float) -> None:
        """There is no grid."""

    def relative(self) -> Vector:
        """The array."""
        return self.array.astype(np.float64)

    def settle(self, control: GridControl) -> None:
        """The last iterate is the result of an epoch."""

    def subtract(self, step: Point) -> None:
        """Take a step."""
        self.array -= step.coef
        self.intercept = _changed(self.intercept, None if step.intercept is None else -step.intercept)

    def observe(self) -> Report:
        """There is no grid."""
        return Report(float("nan"), float("nan"))

    def run_compiled(
        self, problem: FiniteSum, terms: LinearTerms, steps: Steps, samples: NDArray[np.int64], control: GridControl
    ) -> Report:
        """The float epoch, with w itself as z."""
        columns = problem.columns
        z = self.array if problem.data.columns is None else (self.array / columns).astype(self.array.dtype)
        change = _no_change(self.intercept)
        float_epoch(
            problem.data, problem.y, terms.margins, terms.anchors, terms.direction * columns, z,
            **steps.of_kernel(problem, samples, terms, None, change),
        )  # fmt: skip
        if z is not self.array:
            self.array[...] = z * columns
        self.intercept = _changed(self.intercept, change)
        return self.observe()

    def state(self) -> dict[str, Any]:
        """The array and the intercept."""
        return {"array": self.array.copy(), "intercept": None if self.intercept is None else self.intercept.copy()}

    def restore(self, saved: Entry) -> None:
        """Take over the array and the intercept."""
        self.array = saved.array("array", self.array.shape, self.array.dtype)
        self.intercept = saved.optional("intercept", None if self.intercept is None else self.intercept.shape)


class Quantized:
    """Low-precision codes on one fixed grid around zero."""

    quantized, centered = True, False

    def __init__(
        self, start: Point, *, bits: int, scale: float, rounding: str, rng: CounterRNG, columns: Any = 1.0, **_: Any
    ) -> None:
        self.rng, self.columns = rng, columns
        self.array: LPArray = lpnum.zeros(
            start.coef.shape, dtype=lpnum.fixed(bits), scale=scale * columns, offset=self._first_offset(start.coef),
            rounding=rounding, rng=rng,
        )  # fmt: skip
        self._scale = scale
        self.move_to(start)

    @staticmethod
    def _first_offset(coef: Vector) -> Vector | None:
        return None  # zero

    @property
    def scale(self) -> float:
        """Distance of neighboring values in units of the columns."""
        return self._scale

    @property
    def center(self) -> Vector | None:
        """The grid is centered at zero."""
        return None

    def value(self) -> Point:
        """The decoded codes."""
        coef = np.asarray(self.array.dequantize(), dtype=np.float64)
        return Point(coef, None if self.intercept is None else self.intercept.copy())

    def begin_epoch(self, scale: float) -> None:
        """The grid stays."""

    def move_to(self, point: Point) -> None:
        """Round to the nearest point of the grid (a start should not depend on the seed)."""
        codes = point.coef / (self._scale * self.columns)
        self.array.codes[...] = lpnum.encode(codes, self.array.format, rounding="nearest-even")
        self.intercept = None if point.intercept is None else point.intercept.copy()

    def change_scale(self, factor: float) -> None:
        """Round the values onto a grid `factor` times as wide.

        The codes alone are re-scaled: next to a large offset the differences of a fine grid would drown in float64.
        """
        w = self.array
        z = LPArray(w.codes, w.format, 1.0, rounding=w.rounding, rng=self.rng).rescale(scale=factor)
        self._put(z.codes, self._scale * factor)

    def relative(self) -> Vector:
        """The codes in units of the columns."""
        return self.array.codes * self._scale

    def _put(self, codes: NDArray[Any], scale: float) -> None:
        w, self._scale = self.array, scale
        self.array = LPArray(codes, w.format, scale * self.columns, w.offset, rounding=w.rounding, rng=self.rng)

    def subtract(self, step: Point) -> None:
        """Take a step and round it."""
        self.array -= step.coef
        self.intercept = _changed(self.intercept, None if step.intercept is None else -step.intercept)

    def observe(self) -> Report:
        """Saturation and range of the codes as they are now."""
        at_end = self._at_end()
        largest = float(np.max(np.abs(self.array.codes.astype(np.int64))))
        return Report(float(np.mean(at_end)), min(1.0, largest / self.array.format.code_max), at_end)

    def _at_end(self) -> NDArray[np.bool_]:
        codes, fmt = self.array.codes, self.array.format
        return (codes == fmt.code_max) | (codes == fmt.code_min)

    def run_compiled(
        self, problem: FiniteSum, terms: LinearTerms, steps: Steps, samples: NDArray[np.int64], control: GridControl
    ) -> Report:
        """The integer epoch on the codes, in place."""
        fmt, columns = self.array.format, problem.columns
        change = _no_change(self.intercept)
        center = None if self.center is None else self.center / columns
        saturated, range_used, _ = lowbit_epoch(
            problem.kernel_data, problem.y, terms.margins, terms.anchors, terms.direction * columns,
            self.array.codes, self._scale,
            code_min=fmt.code_min, code_max=fmt.code_max, seed=self.rng.seed, stream=self.rng.next_stream(),
            control=control, **steps.of_kernel(problem, samples, terms, center, change),
        )  # fmt: skip
        if control.change != 1.0:
            self._put(self.array.codes, self._scale * control.change)
        self.intercept = _changed(self.intercept, change)
        self.settle(control)
        return Report(saturated, range_used, self._at_end())

    def settle(self, control: GridControl) -> None:
        """A fixed grid holds no mean."""

    def state(self) -> dict[str, Any]:
        """Codes, scale, offset and intercept."""
        intercept = None if self.intercept is None else self.intercept.copy()
        return {"array": self.array.copy(), "scale": self._scale, "intercept": intercept}

    def restore(self, saved: Entry) -> None:
        """Take over codes, scale, offset and intercept, and none of the policies."""
        w, own = saved.codes("array", self.array), self.array
        self.array = LPArray(w.codes, w.format, w.scale, w.offset, rounding=own.rounding, rng=self.rng)
        self._scale = saved.positive("scale")
        self.intercept = saved.optional("intercept", None if self.intercept is None else self.intercept.shape)


class BitCentered(Quantized):
    """Bit centering: a float64 offset and low-precision codes, re-centered and re-scaled each epoch."""

    centered = True

    @staticmethod
    def _first_offset(coef: Vector) -> Vector | None:
        return coef.copy()

    @property
    def center(self) -> Vector | None:
        """The offset."""
        return np.asarray(self.array.offset, dtype=np.float64)

    def settle(self, control: GridControl) -> None:
        """Where the mean of an epoch's end was taken, move the offset so that the value becomes the mean."""
        if control.mean is not None:
            w = self.array
            offset = self.center + (control.mean - self.relative()) * self.columns
            self.array = LPArray(w.codes, w.format, w.scale, offset, rounding=w.rounding, rng=self.rng)

    def begin_epoch(self, scale: float) -> None:
        """Move the offset to the current values, zero the codes, take the new scale."""
        self.array.recenter(scale=scale * self.columns)
        self._scale = scale

    def move_to(self, point: Point) -> None:
        """Move the offset to the point, zero the codes."""
        self.array = lpnum.zeros(
            point.coef.shape, dtype=self.array.format, scale=self._scale * self.columns, offset=point.coef,
            rounding=self.array.rounding, rng=self.rng,
        )  # fmt: skip
        self.intercept = None if point.intercept is None else point.intercept.copy()


def _no_change(intercept: Vector | None) -> Vector | None:
    """The intercept relative to its value at the beginning of an epoch, for the kernels."""
    return None if intercept is None else np.zeros_like(intercept)


def _changed(intercept: Vector | None, change: Vector | None) -> Vector | None:
    return None if intercept is None or change is None else intercept + change
