"""Anderson acceleration of the snapshots: what it is, what it saves, and where it stays away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lpnum
from lpnum_optim import FiniteSum, FunctionSum, minimize
from lpnum_optim import anderson as module
from lpnum_optim.anderson import Anderson, margins_at
from lpnum_optim.datasets import synthetic
from lpnum_optim.evaluation import Point


def problem_of(loss: str, *, d: int = 12, n: int = 150, intercept: bool = True, l2: float = 0.02) -> FiniteSum:
    rng = np.random.default_rng(3)
    X = lpnum.array(rng.standard_normal((n, d)), dtype=lpnum.fixed8)
    m = X.dequantize() @ rng.standard_normal(d) + rng.standard_normal(n)
    y = np.digitize(m, [-1.0, 1.0]) if loss == "softmax" else np.sign(m) if loss == "logistic" else m
    return FiniteSum(X, y, loss, l2, intercept=intercept)


def snapshots(problem: FiniteSum, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.standard_normal(problem.shape) for _ in range(count)]


def test_the_start_minimizes_a_quadratic_over_the_space_through_the_snapshots() -> None:
    problem = problem_of("squared")
    for depth in (1, 2, 4):
        rule, points = Anderson(problem, depth), snapshots(problem, 6)
        for w in points:
            start, _ = rule.start(problem.point(w), problem.evaluate(w))
        gradient = problem.gradient(problem.at(start))
        for k in range(depth):  # orthogonal to all differences remembered
            direction = points[-1 - k] - points[-2 - k]
            cosine = np.vdot(gradient, direction) / np.linalg.norm(gradient) / np.linalg.norm(direction)
            assert abs(cosine) < 1e-9
        assert problem.objective(problem.at(start)) < min(problem.objective(w) for w in points[-depth - 1 :])


@pytest.mark.parametrize("loss", ["squared", "logistic", "softmax", "huber"])
@pytest.mark.parametrize("kept", [True, False])
def test_the_margins_are_those_of_the_start(loss: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept differences are float32: relative to the step they are exact to 2^-24 times the factors."""
    if not kept:
        monkeypatch.setattr(module, "MEMORY_SHARE", 0.0)
        monkeypatch.setattr(module, "MEMORY_BYTES", 0)
    problem = problem_of(loss)
    rule = Anderson(problem, 3)
    assert rule.keep_margins == kept
    for w in snapshots(problem, 5):
        start, margins = rule.start(problem.point(w), problem.evaluate(w))
    expected = problem.evaluate(problem.at(start)).margins
    assert expected is not None
    assert margins is not None
    assert margins.shape == expected.shape
    np.testing.assert_allclose(margins, expected, rtol=0, atol=1e-5 if kept else 1e-12)
    np.testing.assert_allclose(margins_at(problem, start), expected, rtol=0, atol=1e-12)


def test_nothing_is_combined_of_equal_broken_or_forgotten_snapshots() -> None:
    problem = problem_of("squared")
    rule = Anderson(problem, 3)
    w = snapshots(problem, 1)[0]
    point, evaluation = problem.point(w), problem.evaluate(w)
    for _ in range(3):
        assert rule.start(point, evaluation)[0] is point
    other = problem.evaluate(2 * w)
    assert rule.start(problem.point(2 * w), other)[0] is not point
    rule.forget()
    assert rule.start(point, evaluation)[0] is point
    bad = Point(np.full_like(point.coef, np.inf), point.intercept)
    assert rule.start(bad, evaluation)[0] is bad


@pytest.mark.parametrize("method", ["svrg", "halp"])
@pytest.mark.parametrize("engine", ["compiled", "readable"])
def test_accelerated_runs_reach_the_same_minimum(method: str, engine: str) -> None:
    problem = problem_of("squared", n=60, d=5, l2=0.3)
    exact = minimize(problem, "svrg", epochs=200, tol=1e-13, acceleration=0).x
    r = minimize(problem, method, epochs=40, tol=1e-11, acceleration=5, engine=engine)
    assert r.converged
    np.testing.assert_allclose(r.x, exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize("bits", [8, 16])
def test_acceleration_saves_epochs_where_few_directions_are_flat(bits: int) -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((800, 20))
    X[:, :3] *= 0.08
    problem = FiniteSum(lpnum.array(X, dtype=lpnum.fixed8), rng.standard_normal(800) + X @ np.ones(20), l2=0.0)
    tol = 1e-8 * float(np.linalg.norm(problem.gradient(np.zeros(20))))
    options: dict[str, Any] = {"tol": tol, "epochs": 200, "bits": bits}
    plain, fast = (minimize(problem, "halp", acceleration=depth, **options) for depth in (0, 5))
    assert fast.converged
    assert fast.n_epochs < 0.6 * plain.n_epochs


def test_a_function_sum_is_accelerated_on_request() -> None:
    inner = synthetic(3, n=60, d=5).problem()
    functions = FunctionSum(60, 5, inner.sample_gradient, inner.gradient)
    r = minimize(functions, "halp", epochs=25, tol=1e-8, acceleration=3, seed=1)
    assert r.converged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acceleration": "much"}, "acceleration = 'much'; expected 'auto' or an integer of at least 0"),
        ({"acceleration": -1}, "acceleration = -1"),
        ({"acceleration": 2, "method": "sgd"}, "combines snapshots, which 'sgd' does not take; pass 0"),
    ],
)
def test_bad_accelerations_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        minimize(synthetic(0, n=50, d=3).problem(), **options)


def test_an_l1_penalty_is_not_accelerated() -> None:
    data = synthetic(0, n=80, d=4)
    problem = FiniteSum(data.X, data.y, l1=0.1)
    assert minimize(problem, epochs=2).n_epochs == 2
    with pytest.raises(ValueError, match="needs a smooth problem"):
        minimize(problem, acceleration=2)
