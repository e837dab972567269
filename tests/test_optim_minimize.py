"""`minimize` as a user meets it: the result, the history, callbacks, interruption, divergence, wrong arguments."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import lpnum
from lpnum_optim import METHODS, FiniteSum, FunctionSum, ProgressBar, State, Trace, minimize
from lpnum_optim.callbacks import HISTORY

rng = np.random.default_rng(3)
X = lpnum.array(rng.standard_normal((120, 8)), dtype=lpnum.fixed8)
Y = X.dequantize() @ np.arange(1.0, 9.0) + rng.standard_normal(120)
PROBLEM = FiniteSum(X, Y, l2=0.01)
START = float(np.linalg.norm(PROBLEM.gradient(np.zeros(8))))

every_method = pytest.mark.parametrize("method", METHODS)


def generic(problem: FiniteSum = PROBLEM) -> FunctionSum:
    return FunctionSum(
        problem.n_samples, problem.n_features, problem.sample_gradient, problem.gradient, problem.objective
    )


@every_method
@pytest.mark.parametrize("engine", ["compiled", "readable"])
def test_the_result_and_its_history_fit_together(method: str, engine: str) -> None:
    r = minimize(PROBLEM, method, epochs=4, engine=engine)
    history = r.history
    assert tuple(history) == HISTORY
    assert {len(column) for column in history.values()} == {5}
    assert history["epoch"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(np.diff(history["passes"]), 2.0 if "svrg" in method or method == "halp" else 1.0)
    assert (np.diff(history["seconds"]) > 0).all()
    assert history["seconds"][0] == 0
    best = int(np.argmin(history["grad_norm"]))
    assert r.grad_norm == history["grad_norm"][best]
    assert r.fun == history["objective"][best] == PROBLEM.objective(r.x)
    assert r.grad_norm == float(np.linalg.norm(PROBLEM.gradient(r.x)))
    assert r.x.dtype == np.float64
    np.testing.assert_array_equal(np.asarray(r.iterate), r.x)
    assert r.n_epochs == 4
    assert not r.converged
    assert r["success"] is r.converged
    low = METHODS[method].iterate.quantized
    assert isinstance(r.iterate, lpnum.LPArray) == low
    for name in ("scale", "saturated", "range_used"):
        assert np.isnan(history[name]).all() != low
    if low:
        assert (history["scale"] > 0).all()
        assert ((history["saturated"] >= 0) & (history["saturated"] <= 1)).all()
        assert ((history["range_used"] >= 0) & (history["range_used"] <= 1)).all()
    assert "4 epochs are used up" in r.message
    assert method in repr(r)
    assert "history" in dir(r)


@every_method
def test_function_sums_take_every_method(method: str) -> None:
    r = minimize(generic(), method, epochs=6)
    assert r.grad_norm < 0.3 * START
    assert r.step_size == pytest.approx(minimize(PROBLEM, method, epochs=0).step_size, rel=0.01)
    # Without cached margins a variance-reduced step costs two gradients.
    assert r.history["passes"][-1] == 6 * (3 if METHODS[method].gradient.__name__ == "VarianceReduced" else 1)


def test_a_function_sum_need_not_be_a_linear_model() -> None:
    centers = rng.standard_normal((30, 3))

    def grad_i(i: int, w: np.ndarray) -> np.ndarray:  # of sqrt(1 + |w - c_i|^2)
        return (w - centers[i]) / np.sqrt(1 + np.sum((w - centers[i]) ** 2))

    r = minimize(FunctionSum(30, 3, grad_i), "halp", bits=8, tol=1e-9, epochs=200)
    assert r.converged
    assert np.isnan(r.fun)
    assert np.linalg.norm(np.mean([grad_i(i, r.x) for i in range(30)], axis=0)) <= 1e-9


@every_method
def test_a_zero_gradient_at_the_start_is_success_at_once(method: str) -> None:
    r = minimize(FiniteSum(X, np.zeros(120)), method)
    assert r.converged
    assert r.n_epochs == 0
    assert r.message == "the gradient is zero"
    assert not r.x.any()
    assert len(r.history["epoch"]) == 1


def test_data_without_any_information_have_nothing_to_minimize() -> None:
    assert minimize(FiniteSum(np.zeros((4, 2)), np.ones(4))).converged


def test_constant_and_empty_columns_are_harmless() -> None:
    values = np.column_stack([X.dequantize(), np.ones(120), np.zeros(120)])
    problem = FiniteSum(lpnum.array(values, dtype=lpnum.fixed8), Y)
    r = minimize(problem, "halp", tol=1e-9, epochs=80)
    assert r.converged
    assert r.x[-1] == 0


def test_tol_is_an_absolute_gradient_norm() -> None:
    r = minimize(PROBLEM, "halp", tol=1e-3)
    assert r.converged
    assert r.status == 0
    assert r.grad_norm <= 1e-3 < r.history["grad_norm"][-2]
    assert minimize(PROBLEM, "halp", tol=2 * START).n_epochs == 0


def test_a_start_is_respected() -> None:
    x0 = np.arange(8.0)
    for method in ("svrg", "halp"):
        assert minimize(PROBLEM, method, x0=x0, epochs=0).x.tolist() == x0.tolist()
    fixed = minimize(PROBLEM, "lp-svrg", x0=x0, epochs=0, scale=0.25)
    assert fixed.x.tolist() == x0.tolist()
    assert (fixed.iterate.codes == 4 * x0).all()
    assert x0.tolist() == list(range(8))


@every_method
@pytest.mark.parametrize("make", [lambda: PROBLEM, generic], ids=["FiniteSum", "FunctionSum"])
def test_ctrl_c_returns_the_best_so_far(method: str, make: Any) -> None:
    def interrupt(state: State) -> None:
        if state.epoch == 3:
            raise KeyboardInterrupt

    r = minimize(make(), method, callback=interrupt, epochs=20)
    assert r.status == 4
    assert "interrupted" in r.message
    assert r.n_epochs == 3
    assert r.grad_norm == np.min(r.history["grad_norm"]) < START
    assert r.grad_norm == float(np.linalg.norm(PROBLEM.gradient(r.x)))


@pytest.mark.parametrize("method", ["sgd", "lp-svrg", "halp"])
@pytest.mark.parametrize("calls", [1, 250, 3000])
def test_ctrl_c_within_an_epoch_loses_nothing(method: str, calls: int) -> None:
    counted = 0

    def grad_i(i: int, w: np.ndarray) -> np.ndarray:
        nonlocal counted
        counted += 1
        if counted == calls:
            raise KeyboardInterrupt
        return PROBLEM.sample_gradient(i, w)

    problem = FunctionSum(120, 8, grad_i, PROBLEM.gradient, PROBLEM.objective)
    r = minimize(problem, method, epochs=50, step_size=0.5 / PROBLEM.lipschitz)
    assert r.status == 4
    assert r.grad_norm <= START
    assert r.fun == PROBLEM.objective(r.x)


@pytest.mark.parametrize("method", ["sgd", "svrg"])
@pytest.mark.parametrize("problem", [PROBLEM, generic()], ids=["FiniteSum", "FunctionSum"])
def test_divergence_is_said_and_the_best_iterate_returned(method: str, problem: Any) -> None:
    with np.errstate(all="ignore"):
        r = minimize(problem, method, step_size=20 / PROBLEM.lipschitz, epochs=100)
    assert r.status == 2
    assert not r.converged
    assert "diverged in epoch" in r.message
    assert "try a smaller one" in r.message
    assert r.n_epochs < 100
    assert np.isfinite(r.x).all()
    assert r.grad_norm == np.min(r.history["grad_norm"]) <= START


def test_a_fixed_grid_says_that_the_run_that_sizes_it_diverged() -> None:
    r = minimize(PROBLEM, "lp-svrg", step_size=20 / PROBLEM.lipschitz)
    assert r.status == 2
    assert "sizes the grid diverged" in r.message


def test_the_automatic_scale_undoes_epochs_of_a_grid_too_coarse() -> None:
    r = minimize(PROBLEM, "halp", bits=3, epochs=60)
    assert "undone because the grid was too coarse" in r.message
    assert (r.history["grad_norm"] <= 4.0 * START).all()


def test_callbacks_see_every_epoch_and_may_stop() -> None:
    seen: list[State] = []
    trace = Trace(keep_x=True)

    def stop(state: State) -> bool:
        seen.append(state)
        return state.epoch == 2

    r = minimize(PROBLEM, "halp", callback=[stop, trace])
    assert [state.epoch for state in seen] == [0, 1, 2]
    assert r.status == 3
    assert "stopped by the callback after epoch 2" in r.message
    for name in HISTORY:
        np.testing.assert_array_equal(trace.history[name], r.history[name])
    for state, x in zip(seen, trace.x, strict=True):
        assert PROBLEM.objective(x) == state.objective
        np.testing.assert_array_equal(state.gradient, PROBLEM.gradient(x))
    assert minimize(PROBLEM, callback=lambda state: True).n_epochs == 0
    assert minimize(PROBLEM, callback=lambda state: None, epochs=2).n_epochs == 2


def test_the_trace_of_nothing_is_empty() -> None:
    assert {len(column) for column in Trace().history.values()} == {0}


def test_a_scale_may_be_given_as_number_or_function() -> None:
    fixed = minimize(PROBLEM, "halp", scale=0.01, epochs=3)
    assert (fixed.history["scale"] == 0.01).all()
    epochs: list[int] = []

    def scale(state: State) -> float:
        epochs.append(state.epoch)
        return 0.1 * 0.5**state.epoch

    r = minimize(PROBLEM, "halp", scale=scale, epochs=3)
    assert epochs == [0, 1, 2]
    assert r.history["scale"].tolist() == [0.1, 0.1, 0.05, 0.025]
    once = minimize(PROBLEM, "lp-svrg", scale=scale, epochs=3)
    assert epochs == [0, 1, 2, 0]
    assert (once.history["scale"] == 0.1).all()


def test_the_grid_of_a_fixed_method_holds_the_minimum() -> None:
    minimum = minimize(PROBLEM, "svrg", epochs=60).x
    for bits in (8, 12):
        grid = minimize(PROBLEM, "lp-svrg", bits=bits, epochs=1).iterate
        reach = grid.scale * (2 ** (bits - 1) - 1)
        assert np.abs(minimum).max() < reach < 2 * np.abs(minimum).max()


def test_seeds_decide_everything() -> None:
    a, b, c = (minimize(PROBLEM, "halp", epochs=3, seed=seed).x for seed in (5, 5, 6))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    assert (minimize(PROBLEM, "halp", epochs=3, seed=None).x != minimize(PROBLEM, "halp", epochs=3, seed=None).x).any()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"method": "hapl"}, ValueError, "unknown method 'hapl'; allowed: sgd, lp-sgd.*Did you mean 'halp'"),
        ({"method": 3}, ValueError, "unknown method 3"),
        ({"bits": 1}, ValueError, "bits = 1; expected an integer in 2..16"),
        ({"bits": 17}, ValueError, "bits = 17"),
        ({"bits": 8.0}, TypeError, r"bits = 8.0 \(float\)"),
        ({"bits": True}, TypeError, "bits"),
        ({"epochs": -1}, ValueError, "epochs = -1"),
        ({"step_size": 0.0}, ValueError, "step_size = 0.0; expected a finite number > 0"),
        ({"step_size": np.nan}, ValueError, "step_size"),
        ({"step_size": "big"}, ValueError, "expected 'auto' or a positive number"),
        ({"inner_steps": 0}, ValueError, "inner_steps = 0"),
        ({"scale": -0.5}, ValueError, "scale = -0.5; expected a finite number > 0"),
        ({"scale": "wide"}, ValueError, "scale = 'wide'"),
        ({"scale": lambda state: -1.0}, ValueError, r"scale\(state\) = -1.0"),
        ({"scale": 0.1, "mu": 1.0}, ValueError, "pass one of them"),
        ({"scale": 0.1, "method": "svrg"}, ValueError, "keeps its iterate in full precision"),
        ({"mu": 0.0}, ValueError, "mu = 0.0"),
        ({"mu": 1.0, "method": "lp-svrg"}, ValueError, "rule of method 'halp'"),
        ({"tol": -1.0}, ValueError, "tol = -1.0"),
        ({"x0": np.zeros(7)}, ValueError, r"x0 has shape \(7,\); expected \(8,\)"),
        ({"x0": np.full(8, np.nan)}, ValueError, "x0 holds 8 NaN"),
        ({"seed": -1}, ValueError, "seed = -1"),
        ({"seed": 0.5}, TypeError, "seed"),
        ({"rounding": "stochastik"}, ValueError, "unknown rounding.*Did you mean 'stochastic'"),
        ({"engine": "fast"}, ValueError, "unknown engine 'fast'; allowed: auto, compiled, readable"),
        ({"engine": "compiled", "rounding": "nearest-even"}, ValueError, "rounds stochastically only"),
        ({"callback": 3}, TypeError, "not iterable|not callable"),
        ({"callback": [3]}, TypeError, "callback 3 is not callable"),
    ],
)
def test_wrong_arguments_are_refused_with_advice(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        minimize(PROBLEM, **options)


@pytest.mark.parametrize(
    ("problem", "error", "says"),
    [
        (X, TypeError, "problem is a LPArray; pass a FiniteSum"),
        (generic(), ValueError, "compiled' cannot run this: it needs a FiniteSum"),
    ],
)
def test_problems_without_a_compiled_epoch_are_refused_there(problem: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        minimize(problem, "halp", engine="compiled")


def test_float_data_run_low_precision_iterates_on_the_readable_engine() -> None:
    r = minimize(FiniteSum(X.dequantize(), Y, l2=0.01), "halp", epochs=4)
    assert r.grad_norm < 0.1 * START


def test_a_progress_bar_is_a_callback(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    minimize(PROBLEM, "halp", epochs=3, progress=True)
    out, err = capsys.readouterr()
    assert "halp" in err
    assert not out
    minimize(PROBLEM, "halp", epochs=3, callback=ProgressBar(disable=True))
    assert capsys.readouterr() == ("", "")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r'pip install "lpnum\[optim\]"'):
        minimize(PROBLEM, progress=True)
