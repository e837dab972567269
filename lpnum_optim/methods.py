"""The table of methods: a gradient estimate times an iterate storage."""

from __future__ import annotations

from typing import Any, NamedTuple

from .gradients import Stochastic, VarianceReduced
from .iterates import BitCentered, FullPrecision, Quantized


class Method(NamedTuple):
    """A row of the table of methods."""

    gradient: type[Any]
    iterate: type[Any]
    summary: str


METHODS: dict[str, Method] = {
    "sgd": Method(Stochastic, FullPrecision, "stochastic gradient, full precision"),
    "lp-sgd": Method(Stochastic, Quantized, "stochastic gradient, fixed low-precision grid"),
    "svrg": Method(VarianceReduced, FullPrecision, "variance-reduced gradient, full precision"),
    "lp-svrg": Method(VarianceReduced, Quantized, "variance-reduced gradient, fixed low-precision grid"),
    "halp": Method(VarianceReduced, BitCentered, "variance-reduced gradient, bit-centered low-precision iterate"),
}
