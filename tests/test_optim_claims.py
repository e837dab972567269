"""What problems promise: full accuracy in 8 bits, preconditioning by column scales, memory, what rounding does."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import lpnum
from lpnum_optim import FiniteSum, minimize

every_seed = pytest.mark.parametrize("seed", range(3))


def regression(seed: int, n: int = 600, d: int = 30) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X @ rng.standard_normal(d), rng


@every_seed
@pytest.mark.parametrize("intercept", [False, True])
def test_softmax_in_8_bits_reaches_1e_10_of_the_start(seed: int, intercept: bool) -> None:
    X, _, rng = regression(seed)
    labels = np.argmax(X @ rng.standard_normal((30, 5)) + 2 * rng.standard_normal((600, 5)), axis=1)
    problem = FiniteSum(lpnum.array(X, dtype=lpnum.fixed8), labels, "softmax", 1e-2, intercept=intercept)
    start = np.linalg.norm(problem.gradient(np.zeros(problem.shape)))
    r = minimize(problem, "halp", bits=8, epochs=100, tol=1e-10 * start)
    assert r.converged
    assert r.iterate.codes.dtype == np.int8
    assert np.abs(r.x.mean(axis=0)).max() < 1e-12  # the class shift is gone


@every_seed
def test_huber_in_8_bits_reaches_1e_10_of_the_start(seed: int) -> None:
    X, line, rng = regression(seed)
    y = line + 3 + rng.standard_t(1.5, 600)
    problem = FiniteSum(lpnum.array(X, dtype=lpnum.fixed8), y, "huber", intercept=True)
    start = np.linalg.norm(problem.gradient(np.zeros(problem.shape)))
    r = minimize(problem, "halp", bits=8, epochs=100, tol=1e-10 * start)
    assert r.converged


@every_seed
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_column_scales_precondition(seed: int, loss: str) -> None:
    """Columns spread over 1e3: HALP in units of the columns converges, on the same values in float32 it does not."""
    X, line, rng = regression(seed, d=20)
    X = X * np.logspace(0, -3, 20)
    y = line + (1 if loss == "squared" else 10) * rng.standard_normal(600)
    y = y if loss == "squared" else (y > 0).astype(float)
    columns = lpnum.array(X, dtype=lpnum.fixed8, axis=1)
    l2 = 0.0 if loss == "squared" else 1e-9
    good = FiniteSum(columns, y, loss, l2, intercept=True)
    plain = FiniteSum(columns.dequantize().astype(np.float32), y, loss, l2, intercept=True)
    reference = minimize(good, "svrg", epochs=150).fun
    fast, slow = (minimize(p, "halp", epochs=40) for p in (good, plain))
    start = fast.history["objective"][0] - reference
    assert abs(fast.fun - reference) < 1e-12 * start
    assert slow.fun - reference > 1e-5 * start


def test_rounding_the_data_moves_the_optimum_and_16_bits_or_floats_do_not() -> None:
    X, line, rng = regression(0)
    y = line + rng.standard_normal(600)
    exact = np.linalg.lstsq(X, y, rcond=None)[0]
    rounded = FiniteSum(lpnum.array(X, dtype=lpnum.fixed8), y)
    r = minimize(rounded, "halp", tol=1e-10)
    assert "as stored in lpnum.fixed8" in r.message
    error = rounded.quantization_error(X, r.x)
    assert error.distance == pytest.approx(np.linalg.norm(r.x - exact) / np.linalg.norm(exact), rel=1e-3)
    f = rounded.on(X)
    assert error.excess == pytest.approx(f.objective(r.x) - f.objective(exact), rel=1e-3)
    assert error.objective == f.objective(r.x)
    assert error.distance > 1e-4
    for data, reached in ((X, 1e-12), (X.astype(np.float32), 1e-6), (lpnum.array(X, dtype=lpnum.fixed16), 1e-4)):
        r = minimize(FiniteSum(data, y), "halp", tol=1e-12)
        assert r.converged
        assert r.iterate.codes.dtype == np.int8
        assert np.linalg.norm(r.x - exact) < reached * np.linalg.norm(exact)


@pytest.mark.parametrize("loss", ["squared", "logistic", "softmax", "huber"])
def test_the_same_problem_on_other_data_keeps_everything_else(loss: str) -> None:
    X, line, rng = regression(1)
    y = {"logistic": line > 0, "softmax": np.digitize(line, [-2, 3]) * 5 - 3}.get(loss, line)
    a = FiniteSum(X, y, loss, 0.1, l1=0.2, intercept=True, sample_weight=rng.random(600), huber_delta=0.3)
    w = rng.standard_normal(a.shape)
    np.testing.assert_array_equal(a.on(X).gradient(w), a.gradient(w))
    assert a.on(X).objective(w) == a.objective(w)
    np.testing.assert_array_equal(a.labels, y)


MEMORY = """
import numpy as np, resource, sys
import lpnum
from lpnum_optim import FiniteSum, minimize
n, d = 60000, 512
rng = np.random.default_rng(0)
X = np.empty((n, d), np.uint8)
for k in range(0, n, 1000):
    X[k : k + 1000] = rng.integers(0, 256, (1000, d), dtype=np.uint8)
y = (X[:, 0] > 128).astype(float)
minimize(FiniteSum(X[:500], y[:500], "logistic", 1.0), "halp", epochs=1)  # imports, tables
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
r = minimize(FiniteSum(X, y, "logistic", 1.0, intercept=INTERCEPT), "halp", epochs=2, tol=0.0)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024 / X.nbytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kilobytes on Linux")
@pytest.mark.parametrize("intercept", [False, True])
def test_a_fit_takes_less_than_a_third_of_the_data_in_addition(intercept: bool) -> None:
    script = MEMORY.replace("INTERCEPT", str(intercept))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.3, done.stdout


def test_a_nan_that_appears_later_does_not_lose_the_best_iterate() -> None:
    X, line, _ = regression(2)
    X = X.copy()
    problem = FiniteSum(X, line + 1.0, l2=0.1)

    def spoil(state: Any) -> None:
        if state.epoch == 3:
            X[5, 5] = np.nan

    r = minimize(problem, "svrg", epochs=20, callback=spoil)
    assert r.status == 2
    assert "diverged in epoch 4" in r.message
    assert np.isfinite(r.x).all()
    assert r.grad_norm == r.history["grad_norm"][3]
