"""LPLogisticRegression and LPRidge: scikit-learn's minima, on all kinds of data, at the price of the data."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lpnum

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lpnum_optim import METHODS, State
from lpnum_optim.linear_model import LPLogisticRegression, LPRidge


def objective(model: Any, X: Any, y: Any, *, C: float | None = None, weights: Any = None) -> float:
    """The documented objective of a fitted model (scikit-learn's or ours), in float64."""
    w = np.ones(len(y)) if weights is None else np.asarray(weights)
    penalty = float(np.sum(np.square(model.coef_)))
    if C is None:
        return float(w @ np.square(model.predict(X) - y) + model.alpha * penalty)
    margins = X @ model.coef_.T + model.intercept_
    if margins.shape[1] == 1:
        margins = np.concatenate([np.zeros_like(margins), margins], axis=1)
    labels = np.searchsorted(model.classes_, y)
    losses = np.logaddexp.reduce(margins, axis=1) - margins[np.arange(len(y)), labels]
    return float(C * (w @ losses) + 0.5 * penalty)


def reference(C: float, **more: Any) -> LogisticRegression:
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=1000, **more)


LOADERS: dict[str, tuple[Callable[..., Any], float]] = {
    "breast_cancer": (load_breast_cancer, 0.1), "iris": (load_iris, 1.0), "wine": (load_wine, 1.0),
    "digits": (load_digits, 0.01),
}  # fmt: skip


@pytest.mark.parametrize("name", LOADERS)
def test_logistic_regression_has_the_minimum_and_the_test_accuracy_of_scikit_learn(name: str) -> None:
    load, C = LOADERS[name]
    X, y = load(return_X_y=True)
    if name == "breast_cancer":
        X = StandardScaler().fit_transform(X)
    train, test, labels, test_labels = train_test_split(X, y, random_state=0, stratify=y)
    ours = LPLogisticRegression(C=C, random_state=0).fit(train, labels)
    theirs = reference(C).fit(train, labels)
    best = objective(theirs, train, labels, C=C)
    assert abs(objective(ours, train, labels, C=C) / best - 1) < 1e-8
    assert ours.score(test, test_labels) == theirs.score(test, test_labels)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-3 * np.abs(theirs.coef_).max())
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape
    np.testing.assert_allclose(ours.predict_proba(test), theirs.predict_proba(test), atol=1e-3)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_ridge_has_the_minimum_of_scikit_learn(alpha: float, intercept: bool) -> None:
    X, y = load_diabetes(return_X_y=True)
    ours = LPRidge(alpha=alpha, fit_intercept=intercept, random_state=0).fit(X, y)
    theirs = Ridge(alpha=alpha, fit_intercept=intercept).fit(X, y)
    assert abs(objective(ours, X, y) / objective(theirs, X, y) - 1) < 1e-12
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5 * np.abs(theirs.coef_).max())
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-6)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-6)


def test_weights_are_those_of_scikit_learn() -> None:
    X, y = load_wine(return_X_y=True)
    rng = np.random.default_rng(0)
    sample_weight = rng.integers(0, 4, len(y)).astype(float)
    for class_weight in (None, "balanced", {0: 0.5, 1: 2.0, 2: 1.0}):
        ours = LPLogisticRegression(C=0.1, class_weight=class_weight, random_state=0).fit(X, y, sample_weight)
        theirs = reference(0.1, class_weight=class_weight).fit(X, y, sample_weight)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-3 * np.abs(theirs.coef_).max())
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)


def test_l1_ratio_is_the_elastic_net() -> None:
    X, y = load_diabetes(return_X_y=True)
    ours = LPRidge(alpha=20.0, l1_ratio=0.9, random_state=0).fit(X, y)
    theirs = ElasticNet(alpha=20.0 / len(y), l1_ratio=0.9, tol=1e-12, max_iter=100_000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4 * np.abs(theirs.coef_).max())
    assert np.array_equal(ours.coef_ == 0, theirs.coef_ == 0)
    assert 0 < np.count_nonzero(ours.coef_) < len(ours.coef_)


def digits() -> tuple[Any, Any]:
    return load_digits(return_X_y=True)


KINDS: dict[str, Callable[[Any], Any]] = {
    "uint8": lambda X: X.astype(np.uint8),
    "int8": lambda X: X.astype(np.int8),
    "int16": lambda X: X.astype(np.int16),
    "float32": lambda X: X.astype(np.float32),
    "fortran": np.asfortranarray,
    "LPArray": lambda X: lpnum.array(X, dtype=lpnum.ufixed8, scale=1.0),
    "LPArray by column": lambda X: lpnum.array(X, dtype=lpnum.fixed8, scale=np.full((1, 64), 0.5), axis=1),
    "csr": sparse.csr_array,
    "csr of int8": lambda X: sparse.csr_array(X.astype(np.int8)),
    "DataFrame": lambda X: pytest.importorskip("pandas").DataFrame(X).add_prefix("p"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_the_data_changes_nothing_but_the_cost(kind: str) -> None:
    X, y = digits()
    y = y % 2
    data = KINDS[kind](X)
    model = LPLogisticRegression(C=0.003, random_state=0).fit(data, y)
    expected = reference(0.003).fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=2e-4 * np.abs(expected.coef_).max())
    np.testing.assert_allclose(model.decision_function(data), X @ model.coef_[0] + model.intercept_[0], rtol=1e-12)
    assert np.array_equal(model.predict(data), model.predict(X if kind != "DataFrame" else data))
    assert model.n_features_in_ == 64
    assert hasattr(model, "feature_names_in_") == (kind == "DataFrame")


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("data_format", ["fixed8", lpnum.fixed16, "ufixed8", "fixed4"])
def test_a_data_format_gives_the_minimum_of_the_rounded_data(data_format: Any, dense: bool) -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((400, 6)) * np.logspace(-2, 2, 6) + (0 if not dense else np.arange(6) * 100)
    X = X if dense else np.abs(X) * (rng.random(X.shape) < 0.5)
    y = X / X.std(axis=0) @ rng.standard_normal(6) + rng.standard_normal(400)
    model = LPRidge(alpha=1e-6, data_format=data_format, random_state=0).fit(X if dense else sparse.csr_array(X), y)
    fmt = lpnum.format(data_format)
    low = X.mean(axis=0) if fmt.signed else X.min(axis=0)
    low = low if dense else np.zeros(6)
    scale = np.abs(X - low).max(axis=0) / fmt.code_max
    rounded = low + scale * lpnum.decode(lpnum.encode((X - low) / scale, fmt), fmt, dtype=np.float64)
    expected = Ridge(alpha=1e-6, solver="svd").fit(rounded, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-4)
    assert model.intercept_ == pytest.approx(expected.intercept_, rel=1e-4, abs=1e-4)


def test_features_of_very_different_size_are_no_obstacle() -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((300, 8)) * np.logspace(-4, 4, 8) + np.logspace(3, -3, 8)
    y = (X / X.std(axis=0)) @ rng.standard_normal(8) + 0.1 * rng.standard_normal(300) + 1e3
    ours, theirs = LPRidge(alpha=1e-3, random_state=0).fit(X, y), Ridge(alpha=1e-3, solver="svd").fit(X, y)
    assert ours.result_.converged
    assert ours.n_iter_ < 60
    np.testing.assert_allclose(ours.coef_ * X.std(axis=0), theirs.coef_ * X.std(axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("y", [np.zeros(30), np.full(30, 1e6 / 3)])
def test_targets_without_information_give_coefficients_without_it(y: Any) -> None:
    X = np.random.default_rng(0).standard_normal((30, 3))
    model = LPRidge(random_state=0).fit(X, y)
    np.testing.assert_allclose(model.coef_, 0, atol=1e-12 * max(1.0, y[0]))
    assert model.intercept_ == pytest.approx(y[0], rel=1e-12)


def test_the_same_seed_gives_the_same_model() -> None:
    X, y = load_iris(return_X_y=True)
    models = [LPLogisticRegression(random_state=seed).fit(X, y) for seed in (0, 0, 1)]
    assert np.array_equal(models[0].coef_, models[1].coef_)
    assert not np.array_equal(models[0].coef_, models[2].coef_)


def test_pipelines_searches_and_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = load_breast_cancer(as_frame=True)
    pipeline = make_pipeline(StandardScaler(), LPLogisticRegression(random_state=0, tol=1e-4))
    pipeline.set_output(transform="pandas")
    search = GridSearchCV(pipeline, {"lplogisticregression__C": [0.01, 0.1]}, cv=3)
    search.fit(frame.data, frame.target.map({0: "malignant", 1: "benign"}))
    assert search.best_score_ > 0.97
    model = search.best_estimator_[-1]
    assert list(model.feature_names_in_) == list(frame.data.columns)
    assert set(search.predict(frame.data)) == {"malignant", "benign"}
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(pandas.DataFrame(np.zeros((1, 30))).add_prefix("x"))


def test_fitted_models_survive_pickling_and_cloning() -> None:
    X, y = load_iris(return_X_y=True)
    model = LPLogisticRegression(C=0.5, data_format=lpnum.fixed8, random_state=0).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_log_proba(X), model.predict_log_proba(X))
    assert again.result_.message == model.result_.message
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    assert not hasattr(fresh, "coef_")


def test_a_warm_start_goes_on_where_the_last_fit_ended() -> None:
    X, y = load_wine(return_X_y=True)
    cold = LPLogisticRegression(random_state=0).fit(X, y)
    warm = LPLogisticRegression(random_state=0, warm_start=True).fit(X, y)
    assert warm.fit(X, y).n_iter_ == 0
    assert warm.set_params(C=1.1).fit(X, y).n_iter_ < cold.n_iter_
    with pytest.raises(ValueError, match="warm_start"):
        warm.fit(X[:, :5], y)


def test_the_history_tells_what_happened() -> None:
    X, y = load_iris(return_X_y=True)
    model = LPLogisticRegression(random_state=0).fit(X, y)
    lengths = {len(values) for values in model.history_.values()}
    assert lengths == {model.n_iter_ + 1}
    assert model.history_["relative_gradient"][-1] <= model.tol < model.history_["relative_gradient"][-2]
    assert objective(model, X, y, C=1.0) / len(y) == pytest.approx(model.history_["objective"][-1], rel=1e-9)


def test_early_stopping_keeps_the_best_model_of_the_held_out_samples() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 60))
    y = (X[:, 0] + 0.5 * rng.standard_normal(120) > 0).astype(int)
    model = LPLogisticRegression(C=100.0, early_stopping=True, validation_fraction=0.3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X, y)
    losses = model.history_["validation_loss"]
    assert len(losses) == model.n_iter_ + 1
    assert losses.argmin() == model.n_iter_ - model.n_iter_no_change
    test = train_test_split(np.arange(120), test_size=0.3, random_state=np.random.RandomState(0), stratify=y)[1]
    own = -model.predict_log_proba(X[test])[np.arange(len(test)), y[test]]
    assert own.mean() == pytest.approx(losses.min(), rel=1e-9)


def test_callbacks_see_every_epoch_and_may_stop() -> None:
    X, y = load_diabetes(return_X_y=True)
    seen: list[State] = []

    def third(state: State) -> bool:
        seen.append(state)
        return state.epoch == 3

    model = LPRidge(callbacks=third, tol=0.0, random_state=0).fit(X, y)
    assert [state.epoch for state in seen] == [0, 1, 2, 3]
    assert model.n_iter_ == 3


def test_ctrl_c_leaves_the_best_model() -> None:
    X, y = load_wine(return_X_y=True)

    def interrupt(state: State) -> None:
        if state.epoch == 5:
            raise KeyboardInterrupt

    model = LPLogisticRegression(callbacks=[interrupt], random_state=0)
    with pytest.raises(KeyboardInterrupt, match="best iterate"):
        model.fit(X, y)
    assert model.score(X, y) > 0.9


def test_too_few_epochs_are_told_with_advice() -> None:
    X, y = load_wine(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match=r"not converged after 2 epochs.*larger max_iter"):
        LPLogisticRegression(max_iter=2).fit(X, y)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns(method: str) -> None:
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LPLogisticRegression(method=method, max_iter=20, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"method": "hapl"}, "Did you mean 'halp'"),
        ({"bits": 1}, "bits = 1"),
        ({"max_iter": 0}, "max_iter = 0"),
        ({"tol": -1.0}, "tol = -1"),
        ({"C": 0.0}, "C = 0.0"),
        ({"l1_ratio": 1.5}, "l1_ratio = 1.5"),
        ({"data_format": "float8_e4m3fn"}, "fixed-point format"),
        ({"data_format": "ufixed8", "fit_intercept": False}, "no negative values"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction = 1.0"),
        ({"class_weight": {0: 0.0}}, "class .*0.* has no samples of positive weight"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], says: str) -> None:
    X = np.random.default_rng(0).standard_normal((20, 2))
    with pytest.raises(ValueError, match=says):
        LPLogisticRegression(**parameters).fit(X, np.arange(20) % 2)


def test_low_precision_arrays_are_checked_like_others() -> None:
    model = LPRidge(random_state=0).fit(lpnum.array(np.eye(4)), np.arange(4.0))
    for bad, says in (
        (lpnum.array(np.ones(4)), "Reshape your data"),
        (lpnum.array(np.ones((3, 5))), "expecting 4 features"),
        (lpnum.array([[np.nan, 1, 1, 1]], dtype=lpnum.float8_e4m3fn), "NaN"),
    ):
        with pytest.raises(ValueError, match=says):
            model.predict(bad)
    with pytest.raises(ValueError, match="0 sample"):
        model.fit(lpnum.array(np.ones((0, 4))), [])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        model.fit(lpnum.array(np.eye(4)), np.arange(5.0))


@pytest.mark.parametrize(("classes", "n"), [(2, 20_000), pytest.param(10, 60_000, marks=pytest.mark.slow)])
def test_memory_stays_near_that_of_the_8_bit_data(classes: int, n: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n, 784), dtype=np.uint8)
    y = rng.integers(0, classes, len(X))
    model = LPLogisticRegression(C=1e-6, max_iter=2, tol=1e-2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        tracemalloc.start()
        try:
            model.fit(X, y)
            peak_of_fit = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            model.predict(X)
            peak_of_predict = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak_of_fit < 0.3 * X.nbytes  # beside the data themselves
    assert peak_of_predict < 0.3 * X.nbytes


def test_without_scikit_learn_the_error_names_the_extra() -> None:
    program = "import sys; sys.modules['sklearn'] = None\nimport lpnum_optim\nimport lpnum_optim.linear_model"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert 'lpnum_optim.linear_model needs scikit-learn; install it with: pip install "lpnum[optim]"' in done.stderr
