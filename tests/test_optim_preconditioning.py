"""One scale per column is a diagonal preconditioner: ill-conditioned data converge in 8 bits."""

from __future__ import annotations

import numpy as np

import lpnum
from lpnum_optim import FiniteSum, minimize


def test_columns_that_spread_over_1000_converge_with_column_scales_alone() -> None:
    """The same values: float32 data with an 8-bit iterate crawl, codes with one scale per column are solved."""
    rng = np.random.default_rng(0)
    n, d = 1000, 30
    units = 1e3 ** -np.linspace(0, 1, d)
    X = lpnum.array(rng.standard_normal((n, d)) * units, dtype=lpnum.fixed8, axis=1)
    values = X.dequantize()
    weights = rng.standard_normal(d) / units
    y = values @ weights + rng.standard_normal(n)
    plain, scaled = FiniteSum(values.astype(np.float32), y), FiniteSum(X, y)
    assert np.shape(scaled.columns) == (d,)
    exact = np.linalg.lstsq(values, y, rcond=None)[0]

    def error(problem: FiniteSum, method: str, epochs: int) -> float:
        x = minimize(problem, method, epochs=epochs).x
        return float(np.linalg.norm((x - exact) * units) / np.linalg.norm(exact * units))

    assert error(scaled, "halp", 30) < 1e-10
    assert error(plain, "halp", 30) > 0.1
    assert error(plain, "svrg", 30) > 0.1  # not a matter of bits
