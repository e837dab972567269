"""What quantizing did to an array, counted part by part: errors, clipped values, values that became 0."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass
class Report:
    """What quantizing did. Errors are ``dequantized - value``, over the values that are finite numbers."""

    count: int = 0
    nan: int = 0
    infinite: int = 0
    saturated: int = 0  # beyond the ends of the grid, after rounding
    zeroed: int = 0  # not 0 before, 0 after
    max_abs_error: float = 0.0
    rms_error: float = 0.0
    signal_to_noise_db: float = math.inf
    bytes_before: int = 0
    bytes_after: int = 0  # of codes, scale and offset
    value_range: tuple[float, float] = (math.inf, -math.inf)
    error_range: tuple[float, float] = (math.inf, -math.inf)
    # sums of squares, kept as (largest magnitude, sum of (x / largest)**2) so that no square leaves float64
    _squares: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)

    def add(self, values: np.ndarray, dequantized: np.ndarray) -> None:
        """Take in one part (float arrays of one shape)."""
        values = np.asarray(values, np.float64)
        finite = np.isfinite(values)
        self.count += values.size
        self.nan += int(np.isnan(values).sum())
        self.infinite += int(np.isinf(values).sum())
        self.zeroed += int((finite & (values != 0) & (dequantized == 0)).sum())
        values, dequantized = values[finite], dequantized[finite]
        if not values.size:
            return
        errors = finite_errors(values, dequantized)
        self.value_range = _wider(self.value_range, values)
        self.error_range = _wider(self.error_range, errors)
        self._add_squares("values", values)
        self._add_squares("errors", errors)
        number = self.count - self.nan - self.infinite
        self.max_abs_error = self._squares["errors"][0]
        self.rms_error = self._root("errors") / math.sqrt(number)
        signal, noise = self._root("values"), self._root("errors")
        self.signal_to_noise_db = (
            math.inf if noise == 0 else -math.inf if signal == 0 or noise == math.inf else 20 * _log10(signal, noise)
        )

    def _add_squares(self, name: str, x: np.ndarray) -> None:
        largest, total = self._squares.get(name, (0.0, 0.0))
        now = float(np.abs(x).max())
        if math.inf in (now, largest):
            self._squares[name] = math.inf, math.inf
        elif now > 0:
            top = max(now, largest)
            total = total * (largest / top) ** 2 + float(np.sum(np.square(x / top)))
            self._squares[name] = top, total
        else:
            self._squares[name] = largest, total

    def _root(self, name: str) -> float:
        largest, total = self._squares[name]
        return largest * math.sqrt(total)

    def as_dict(self) -> dict[str, Any]:
        """The numbers for JSON, which has no infinity: null there."""
        plain = {key: value for key, value in asdict(self).items() if not key.startswith("_") and "range" not in key}
        return {key: value if math.isfinite(value) else None for key, value in plain.items()}

    def text(self) -> str:
        """The numbers for people."""
        decibels = "exact" if self.signal_to_noise_db == math.inf else f"{self.signal_to_noise_db:.2f} dB"
        rows = [
            ("values", f"{self.count}"),
            ("max abs error", f"{self.max_abs_error:.6g}"),
            ("rms error", f"{self.rms_error:.6g}"),
            ("signal to noise", decibels),
            ("saturated", self._share(self.saturated)),
            ("zeroed", self._share(self.zeroed)),
            ("NaN", self._share(self.nan)),
        ]
        if self.infinite:
            rows.append(("infinite", self._share(self.infinite)))
        ratio = f" ({self.bytes_after / self.bytes_before:.1%})" if self.bytes_before else ""
        rows.append(("bytes", f"{self.bytes_before} -> {self.bytes_after}{ratio}"))
        return "\n".join(f"  {name:<17}{value}" for name, value in rows)

    def _share(self, n: int) -> str:
        return f"{n} ({100 * n / self.count:.3g}%)" if n else "0"


def finite_errors(values: np.ndarray, dequantized: np.ndarray) -> np.ndarray:
    """Errors of finite values; one that became infinite or NaN has an infinite error."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(np.isfinite(dequantized), dequantized - values, np.inf)


def _log10(a: float, b: float) -> float:
    return math.log10(a) - math.log10(b)  # the ratio itself may leave float64


def _wider(span: tuple[float, float], x: np.ndarray) -> tuple[float, float]:
    return min(span[0], float(x.min())), max(span[1], float(x.max()))
