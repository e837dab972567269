"""`bits_needed`: the bound is the formula, the advice is what a trial shows."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lpnum
from lpnum_optim import FiniteSum, FunctionSum, bits_needed, minimize
from lpnum_optim.bits_needed import strong_convexity, theoretical_bound
from lpnum_optim.datasets import synthetic


def test_the_bound_is_the_formula() -> None:
    assert theoretical_bound(100, 307.0, 0.5) == 15  # the reference problem, whose kappa is 307
    assert theoretical_bound(100, math.inf, 0.5) is None
    for d, kappa, rate in ((1, 1.0, 0.9), (10_000, 1e4, 0.3)):
        b = theoretical_bound(d, kappa, rate)
        assert b is not None
        # Where it comes from: at T = 16 kappa (1 + gamma) / gamma^2 rounding may take half of gamma^2 / (1 + gamma).
        assert 2 * d * kappa**2 / (2 ** (b - 1) - 1) ** 2 <= 0.5 * rate**2 / (1 + rate) * (1 + 1e-9)
        assert 2 * d * kappa**2 / (2 ** (b - 2) - 1) ** 2 > 0.5 * rate**2 / (1 + rate) if b > 2 else True


def test_strong_convexity_is_the_smallest_curvature_that_is_known() -> None:
    data = synthetic(0, n=300, d=8)
    X = data.X.dequantize()
    smallest = float(np.linalg.eigvalsh(X.T @ X / 300)[0])
    assert strong_convexity(FiniteSum(data.X, data.y)) == pytest.approx(smallest, rel=1e-9)
    assert strong_convexity(FiniteSum(data.X, data.y, l2=0.3)) == pytest.approx(smallest + 0.3, rel=1e-9)
    assert strong_convexity(FiniteSum(data.X, data.y > 0, "logistic", 0.3)) == 0.3
    assert strong_convexity(FiniteSum(data.X, data.y > 0, "logistic")) == 0.0
    assert strong_convexity(FiniteSum(np.ones((10, 2)), np.arange(10.0))) == 0.0  # a flat direction


def test_the_advice_serves_and_is_deterministic() -> None:
    problem = synthetic(1, n=600, d=30).problem()
    needed = bits_needed(problem, rate=0.5)
    assert needed == bits_needed(problem, rate=0.5)
    assert needed.measured is not None
    assert needed.bound is not None
    assert needed.measured <= 8 < needed.bound
    assert list(needed.trials)[-1] == needed.measured
    enough = max(0.5, needed.full_precision_rate**0.8)
    assert [rate <= enough for rate in needed.trials.values()] == [False] * (len(needed.trials) - 1) + [True]
    r = minimize(problem, "halp", bits=needed.measured, epochs=60, tol=1e-9)
    assert r.converged
    assert f"measured: {needed.measured} bits" in repr(needed)
    assert "bound (derived): " in repr(needed)


def test_a_slower_rate_needs_no_more_bits() -> None:
    problem = synthetic(2, n=400, d=20).problem()
    fast, slow = (bits_needed(problem, rate) for rate in (0.3, 0.9))
    assert fast.measured is not None
    assert slow.measured is not None
    assert slow.measured < fast.measured
    assert slow.bound is not None
    assert fast.bound is not None
    assert slow.bound <= fast.bound


def test_without_strong_convexity_there_is_advice_and_no_bound() -> None:
    data = synthetic(1, n=200, d=6)
    needed = bits_needed(FiniteSum(data.X, data.y > 0, "logistic"))
    assert needed.bound is None
    assert needed.measured is not None
    assert "none (mu = 0)" in repr(needed)


def test_bad_arguments_are_named() -> None:
    problem = FiniteSum(lpnum.array(np.eye(3), dtype=lpnum.fixed8), np.ones(3))
    for rate in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="bits_needed: rate"):
            bits_needed(problem, rate)
    with pytest.raises(TypeError, match="pass a FiniteSum"):
        bits_needed(FunctionSum(2, 1, lambda i, w: w))  # type: ignore[arg-type]
