"""Every loss with intercept, weights, penalties, column scales, samplings and batches: the same optimum as SciPy's."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest

import lpnum
from lpnum_optim import FiniteSum, minimize
from lpnum_optim.losses import LOSSES

optimize = pytest.importorskip("scipy.optimize")

N, D = 120, 5
every_loss = pytest.mark.parametrize("loss", LOSSES)


@cache
def made(seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """X, targets of every loss, weights."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D))
    line = X @ np.array([2.0, -1.0, 0.0, 0.5, 0.0]) + 0.7
    noise = rng.standard_normal(N)
    targets = {
        "squared": line + noise,
        "huber": line + noise * np.where(rng.random(N) < 0.1, 20, 1),
        "logistic": (line + 2 * noise > 0).astype(float),
        "softmax": np.digitize(line + 2 * noise, [-1.0, 1.5]) * 10.0,
    }
    return X, targets, rng.random(N) * np.where(rng.random(N) < 0.1, 0, 2)


def problem_of(loss: str, *, columns: bool = False, intercept: bool = True, weights: bool = True, l1: float = 0.0,
               l2: float = 0.05, low: bool = True) -> FiniteSum:  # fmt: skip
    X, targets, given = made()
    if columns:
        X = X * np.array([1.0, 30.0, 0.2, 5.0, 1e-1])
    data: Any = lpnum.array(X, dtype=lpnum.fixed8, axis=1 if columns else None) if low else X
    return FiniteSum(
        data, targets[loss], loss, l2, l1=l1, intercept=intercept, sample_weight=given if weights else None
    )


def optimum(problem: FiniteSum) -> np.ndarray:
    """By L-BFGS on positive and negative parts (for the L1 penalty), polished by Newton's method."""
    d, shape = problem.n_features, problem.shape
    size = int(np.prod(shape))
    penalized = np.zeros(shape)
    penalized[..., :d] = problem.l1
    penalized = penalized.ravel()

    def split(u: np.ndarray) -> tuple[float, np.ndarray]:
        w = (u[:size] - u[size:]).reshape(shape)
        e = problem.evaluate(w)
        smooth = e.objective - problem.l1 * np.abs(w[..., :d]).sum()
        g = e.gradient.ravel()
        return smooth + penalized @ (u[:size] + u[size:]), np.r_[g + penalized, -g + penalized]

    tight = {"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-12, "maxfun": 10**6}
    u = optimize.minimize(split, np.zeros(2 * size), jac=True, method="L-BFGS-B", bounds=[(0, None)] * (2 * size),
                          options=tight).x  # fmt: skip
    w = u[:size] - u[size:]
    w[np.abs(w) < 1e-7] = 0.0
    free = (w != 0) | (penalized == 0)

    def residual(v: np.ndarray) -> np.ndarray:
        full = w.copy()
        full[free] = v
        g = problem.gradient(full.reshape(shape)).ravel() + penalized * np.sign(full)
        return g[free]

    for _ in range(6):  # Newton with a Jacobian by differences; least squares: the softmax shift may be free
        v, h = w[free], 1e-6
        g = residual(v)
        J = np.array([(residual(v + h * e) - residual(v - h * e)) / (2 * h) for e in np.eye(len(v))])
        w[free] = v - np.linalg.lstsq(J, g, rcond=1e-10)[0]
    return w.reshape(shape)


@every_loss
@pytest.mark.parametrize("l1", [0.0, 0.03])
@pytest.mark.parametrize("columns", [False, True], ids=["one scale", "columns"])
@pytest.mark.parametrize("extras", [False, True], ids=["plain", "intercept and weights"])
def test_full_precision_and_8_bits_reach_the_optimum_of_scipy(
    loss: str, l1: float, columns: bool, extras: bool
) -> None:
    problem = problem_of(loss, columns=columns, intercept=extras, weights=extras, l1=l1)
    reference = problem.objective(optimum(problem))
    start = np.linalg.norm(problem.evaluate(np.zeros(problem.shape)).residual)
    for method, engine in (("svrg", "auto"), ("halp", "auto")):
        r = minimize(problem, method, epochs=150, tol=1e-9 * start, engine=engine, inner_steps=2 * len(problem.y))
        assert r.converged, (method, r.message, r.grad_norm / start)
        assert r.fun == pytest.approx(reference, abs=1e-12, rel=1e-10)
        assert r.fun >= reference - 1e-12 * max(1.0, abs(reference))
        assert r.fun == problem.objective(r.x)
        np.testing.assert_array_equal(np.asarray(r.iterate), problem.point(r.x).coef)


@every_loss
@pytest.mark.parametrize("sampling", ["replacement", "shuffle", "importance"])
@pytest.mark.parametrize("batch", [1, 7])
def test_every_sampling_and_batch_reaches_the_optimum(loss: str, sampling: str, batch: int) -> None:
    problem = problem_of(loss, columns=True)
    start = np.linalg.norm(problem.gradient(np.zeros(problem.shape)))
    for method in ("svrg", "halp"):
        r = minimize(problem, method, epochs=200, tol=1e-8 * start, sampling=sampling, batch_size=batch)
        assert r.converged, (method, r.message, r.grad_norm / start)


@every_loss
def test_engines_agree_to_rounding_in_full_precision(loss: str) -> None:
    for columns, intercept, weights, l1, (sampling, batch) in itertools.product(
        (False, True), (False, True), (False, True), (0.0, 0.02),
        (("replacement", 1), ("shuffle", 1), ("importance", 1), ("replacement", 4)),
    ):  # fmt: skip
        problem = problem_of(loss, columns=columns, intercept=intercept, weights=weights, l1=l1)
        for method in ("sgd", "svrg"):
            a, b = (
                minimize(problem, method, epochs=2, engine=engine, sampling=sampling, batch_size=batch, inner_steps=30)
                for engine in ("auto", "readable")
            )
            assert np.linalg.norm(a.history["grad_norm"] - b.history["grad_norm"]) <= 1e-11 * a.history["grad_norm"][0]
            assert np.linalg.norm(a.x - b.x) <= 1e-11 * np.linalg.norm(b.x)


@every_loss
@pytest.mark.parametrize("data", ["float32", "float64", "int16", "fixed4", "float8", "csr", "csr codes", "offsets"])
def test_every_kind_of_data_reaches_its_optimum_with_an_8_bit_iterate(loss: str, data: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    from lpnum_optim.data_kinds import quantize_sparse

    X, targets, _ = made()
    thin = np.where(np.abs(X) > 0.5, X, 0)
    values: Any = {
        "float32": lambda: X.astype(np.float32),
        "float64": lambda: X,
        "int16": lambda: lpnum.array(X, dtype=lpnum.fixed16),
        "fixed4": lambda: lpnum.array(X, dtype=lpnum.fixed4, axis=1),
        "float8": lambda: lpnum.array(X, dtype=lpnum.float8_e4m3fn),
        "csr": lambda: sparse.csr_array(thin),
        "csr codes": lambda: quantize_sparse(sparse.csr_array(thin), lpnum.fixed8, axis=1),
        "offsets": lambda: lpnum.array(X + 3, dtype=lpnum.fixed8, axis=1, calibration="minmax"),
    }[data]()
    problem = FiniteSum(values, targets[loss], loss, 0.05, intercept=True)
    start = np.linalg.norm(problem.gradient(np.zeros(problem.shape)))
    r = minimize(problem, "halp", epochs=100, tol=1e-9 * start)
    assert r.converged, r.message
    assert r.iterate.codes.dtype == np.int8


@pytest.mark.parametrize("method", ["svrg", "halp"])
@every_loss
def test_l1_gives_exact_zeros(loss: str, method: str) -> None:
    problem = problem_of(loss, l1=0.08)
    reference = problem.at(problem.centered(problem.point(optimum(problem))))
    r = minimize(problem, method, epochs=150, tol=1e-10)
    assert r.converged
    np.testing.assert_array_equal(r.x == 0, reference == 0)
    assert (reference == 0).any()
    np.testing.assert_allclose(r.x, reference, atol=1e-8)


def test_float32_iterates_have_the_floor_of_float32() -> None:
    problem = problem_of("squared")
    coarse, fine = (minimize(problem, "svrg", epochs=60, dtype=dtype).grad_norm for dtype in (np.float32, np.float64))
    assert fine < 1e-12
    assert 1e-9 < coarse < 1e-4
