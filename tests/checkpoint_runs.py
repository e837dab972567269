"""Runs that tests of checkpoints end and go on with, and what "the same result" means."""

from __future__ import annotations

import numpy as np

import lpnum
from lpnum_optim import FiniteSum, FunctionSum, MinimizeResult

rng = np.random.default_rng(4)
VALUES = rng.standard_normal((90, 6))
X = lpnum.array(VALUES, dtype=lpnum.fixed8)
Y = VALUES @ np.arange(1.0, 7.0) + rng.standard_normal(90)
PROBLEM = FiniteSum(X, Y, l2=0.01)


def same(a: MinimizeResult, b: MinimizeResult) -> None:
    """Equal to the last bit, but for the clock."""
    for key in ("x", "fun", "grad_norm", "n_epochs", "status", "message", "step_size", "method"):
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)
    assert type(a.iterate) is type(b.iterate)
    if isinstance(a.iterate, lpnum.LPArray):
        for part in ("codes", "scale", "offset"):
            np.testing.assert_array_equal(getattr(a.iterate, part), getattr(b.iterate, part))
        assert a.iterate.format == b.iterate.format
    else:
        assert a.iterate.dtype == b.iterate.dtype
        np.testing.assert_array_equal(a.iterate, b.iterate)
    for name in a.history:
        if name != "seconds":
            np.testing.assert_array_equal(a.history[name], b.history[name], err_msg=name)


def functions(problem: FiniteSum = PROBLEM) -> FunctionSum:
    return FunctionSum(
        problem.n_samples, problem.n_features, problem.sample_gradient, problem.gradient, problem.objective
    )
