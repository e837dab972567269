"""Losses and problems: gradients against finite differences, 8-bit data against the same data in float64, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lpnum
from lpnum_optim import FiniteSum, FunctionSum
from lpnum_optim.losses import LOSSES

rng = np.random.default_rng(7)
X = rng.standard_normal((40, 6))
LABELS = np.where(X[:, 0] + 0.3 * rng.standard_normal(40) > 0, 1.0, -1.0)
TARGETS = {"squared": X @ np.arange(6.0) + 0.1, "logistic": LABELS}


@pytest.mark.parametrize("name", LOSSES)
@given(margin=st.floats(-30, 30), positive=st.booleans())
def test_a_derivative_is_the_slope_of_its_value(name: str, margin: float, positive: bool) -> None:
    loss, h = LOSSES[name], 1e-5
    y = np.array([1.0 if positive else -1.0])
    value = lambda m: float(loss.value(np.array([m]), y)[0])  # noqa: E731
    slope = float(loss.derivative(np.array([margin]), y)[0])
    assert slope == pytest.approx((value(margin + h) - value(margin - h)) / (2 * h), abs=1e-7)
    other = float(loss.derivative(np.array([margin + 1e-3]), y)[0])
    assert abs(other - slope) <= loss.curvature * 1e-3 * (1 + 1e-9)


@pytest.mark.parametrize("m", [-800.0, -40.0, 0.0, 40.0, 800.0])
def test_the_logistic_loss_neither_overflows_nor_loses_its_tail(m: float) -> None:
    loss, one = LOSSES["logistic"], np.array([1.0])
    with np.errstate(all="raise", under="ignore"):
        slope = loss.derivative(np.array([m]), one)[0]
        value = loss.value(np.array([m]), one)[0]
    assert np.isfinite(value)
    exact = -np.exp(-m) if m >= 40 else -1.0 if m <= -40 else -0.5
    assert slope == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_gradient_is_the_derivative_of_the_objective(loss: str, l2: float) -> None:
    problem = FiniteSum(X, TARGETS[loss], loss, l2)
    w, h = rng.standard_normal(6), 1e-6
    numeric = [(problem.objective(w + h * e) - problem.objective(w - h * e)) / (2 * h) for e in np.eye(6)]
    np.testing.assert_allclose(problem.gradient(w), numeric, rtol=1e-6, atol=1e-8)
    mean = np.mean([problem.sample_gradient(i, w) for i in range(40)], axis=0)
    np.testing.assert_allclose(problem.gradient(w), mean, rtol=1e-12, atol=1e-14)
    e = problem.evaluate(w)
    assert e.objective == problem.objective(w)
    assert e.grad_norm == pytest.approx(float(np.linalg.norm(mean)))


@pytest.mark.parametrize("loss", LOSSES)
def test_no_component_gradient_changes_faster_than_lipschitz(loss: str) -> None:
    problem = FiniteSum(X, TARGETS[loss], loss, 0.1)
    a, b = rng.standard_normal((2, 6))
    rates = [
        np.linalg.norm(problem.sample_gradient(i, a) - problem.sample_gradient(i, b)) / np.linalg.norm(a - b)
        for i in range(40)
    ]
    assert max(rates) <= problem.lipschitz * (1 + 1e-12)
    longest = int(np.argmax((X**2).sum(axis=1)))
    assert problem.lipschitz == pytest.approx(LOSSES[loss].curvature * X[longest] @ X[longest] + 0.1)


def fixed4(values: np.ndarray) -> lpnum.LPArray:
    array = lpnum.zeros(values.shape, dtype=lpnum.fixed4, scale=0.4)
    array[...] = values
    return array


CODES = {
    "int8": (np.arange(-60, 60).reshape(40, 3) % 100 - 50).astype(np.int8),
    "uint8": (np.arange(120).reshape(40, 3) * 2).astype(np.uint8),
    "bits": (np.arange(120).reshape(40, 3) % 2).astype(np.uint8),
    "bool": np.arange(120).reshape(40, 3) % 3 == 0,
    "fixed8": lpnum.array(X[:, :3], dtype=lpnum.fixed8),
    "ufixed8": lpnum.array(np.abs(X[:, :3]), dtype=lpnum.ufixed8),
    "fixed4": fixed4(X[:, :3]),
    "binary point": lpnum.array(X[:, :3], dtype=lpnum.fixed(8, frac=5)),
    "fixed16": lpnum.array(X[:, :3], dtype=lpnum.fixed16),
    "offset": lpnum.array(X[:, :3], dtype=lpnum.fixed8, offset=0.5),
    "columns": lpnum.array(X[:, :3], dtype=lpnum.fixed8, axis=1),
    "float32": X[:, :3].astype(np.float32),
    "int64": np.arange(120).reshape(40, 3) - 60,
    "strided": X[:, ::2],
    "fortran": np.asfortranarray(X[:, :3]),
}


@pytest.mark.parametrize("kind", CODES)
def test_every_kind_of_data_gives_the_gradient_of_its_values(kind: str) -> None:
    data = CODES[kind]
    values = np.asarray(data, dtype=np.float64)
    w = np.array([0.5, -1.0, 0.25])
    low, exact = FiniteSum(data, LABELS, "logistic", 0.1), FiniteSum(values, LABELS, "logistic", 0.1)
    np.testing.assert_allclose(low.gradient(w), exact.gradient(w), rtol=1e-6 if kind == "float32" else 1e-12)
    assert low.lipschitz == pytest.approx(exact.lipschitz)
    stays_8_bit = kind in ("int8", "uint8", "bits", "bool", "fixed8", "ufixed8", "fixed4", "binary point")
    assert low.kernel_data.is_codes == stays_8_bit
    if stays_8_bit:
        assert low.data_nbytes == values.size


def test_short_codes_are_stretched_without_changing_a_value() -> None:
    rows, step = FiniteSum(CODES["bits"], LABELS).kernel_data
    assert set(np.unique(rows)) == {0, 127}
    np.testing.assert_array_equal(rows * step, np.asarray(CODES["bits"], dtype=np.float64))


def test_labels_0_and_1_mean_minus_1_and_1() -> None:
    a, b = FiniteSum(X, LABELS, "logistic"), FiniteSum(X, LABELS > 0, "logistic")
    np.testing.assert_array_equal(a.gradient(np.ones(6)), b.gradient(np.ones(6)))


def bad(value: float) -> np.ndarray:
    broken = X.copy()
    broken[3, 2] = value
    return broken


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((bad(np.nan), LABELS), ValueError, r"1 NaN or infinite values, the first at index \(3, 2\)"),
        ((bad(np.inf), LABELS), ValueError, "NaN or infinite"),
        ((X, np.append(LABELS[:-1], np.nan)), ValueError, r"y holds 1 NaN.*\(39,\)"),
        ((X[0], LABELS), ValueError, r"X has shape \(6,\); expected \(n_samples, n_features\)"),
        ((X[:0], LABELS[:0]), ValueError, "empty"),
        ((X[:, :0], LABELS), ValueError, "empty"),
        ((X, LABELS[:-1]), ValueError, r"y has shape \(39,\).*expected \(40,\)"),
        ((X, LABELS[:, None]), ValueError, r"y.ravel\(\)"),
        ((X, np.ones(40), "logistic"), ValueError, "all 40 labels are 1.*both classes"),
        ((X, np.arange(40), "logistic"), ValueError, r"labels \{0, 1, 2.*y == that_class"),
        ((X, LABELS, "logistik"), ValueError, "unknown loss 'logistik'; allowed: squared, logistic. Did you mean"),
        ((X, LABELS, "squared", -1.0), ValueError, "l2 = -1.0; expected a finite number >= 0"),
        ((X, LABELS, "squared", np.nan), ValueError, "l2"),
        ((X, LABELS, "squared", "a"), TypeError, "l2"),
        ((X.astype(complex), LABELS), TypeError, "complex"),
        ((np.full((40, 2), "a"), LABELS), TypeError, "dtype"),
    ],
)
def test_bad_data_is_refused_with_advice(arguments: tuple, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        FiniteSum(*arguments)


def test_sparse_data_are_refused_with_advice() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="toarray"):
        FiniteSum(sparse.csr_array(X), LABELS)


def test_a_point_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"w has shape \(5,\); expected \(6,\)"):
        FiniteSum(X, LABELS).gradient(np.zeros(5))


def test_a_function_sum_averages_its_components() -> None:
    linear = FiniteSum(X, TARGETS["squared"], l2=0.2)
    functions = FunctionSum(40, 6, linear.sample_gradient)
    w = rng.standard_normal(6)
    np.testing.assert_allclose(functions.gradient(w), linear.gradient(w), rtol=1e-12)
    assert np.isnan(functions.objective(w))
    assert FunctionSum(40, 6, linear.sample_gradient, objective=linear.objective).objective(w) == linear.objective(w)


def test_the_probe_finds_the_lipschitz_constant_of_a_linear_model() -> None:
    linear = FiniteSum(X, TARGETS["squared"], l2=0.2)
    functions = FunctionSum(40, 6, linear.sample_gradient)
    assert functions.probe_lipschitz(np.zeros(6)) == pytest.approx(linear.lipschitz, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: FunctionSum(0, 2, lambda i, w: w), ValueError, "n = 0; expected an integer >= 1"),
        (lambda: FunctionSum(3, 2.5, lambda i, w: w), TypeError, "dim = 2.5"),
        (lambda: FunctionSum(3, 2, None), TypeError, "grad_i = None is not callable"),
        (lambda: FunctionSum(3, 2, lambda i, w: w, full_grad=3), TypeError, "full_grad"),
        (lambda: FunctionSum(3, 2, lambda i, w: w[:1]).gradient([1, 2]), ValueError, r"grad_i returned shape \(1,\)"),
    ],
)
def test_bad_functions_are_refused(make: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()  # type: ignore[operator]
