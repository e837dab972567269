"""Losses and problems: gradients against finite differences, 8-bit data against the same data in float64, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lpnum
from lpnum_optim import FiniteSum, FunctionSum
from lpnum_optim.data_kinds import quantize_sparse
from lpnum_optim.losses import LOSSES

rng = np.random.default_rng(7)
X = rng.standard_normal((40, 6))
LABELS = np.where(X[:, 0] + 0.3 * rng.standard_normal(40) > 0, 1.0, -1.0)
SQUARED = X @ np.arange(6.0) + 0.1
CLASSES = np.array([2.0, 5.0, 9.0])[np.argmax(X[:, :3], axis=1)]
TARGETS = {"squared": SQUARED, "huber": SQUARED, "logistic": LABELS, "softmax": CLASSES}


@pytest.mark.parametrize("name", LOSSES)
@given(margin=st.floats(-30, 30), others=st.tuples(st.floats(-30, 30), st.floats(-30, 30)), positive=st.booleans())
def test_a_derivative_is_the_slope_of_its_value(
    name: str, margin: float, others: tuple[float, float], positive: bool
) -> None:
    loss, h = LOSSES[name], 1e-5
    y = np.array([1.0 if positive else 0.0 if loss.per_class else -1.0])
    at = lambda m: np.array([[m, *others]]) if loss.per_class else np.array([m])  # noqa: E731
    value = lambda m: float(loss.value(at(m), y)[0])  # noqa: E731
    slope = float(loss.derivative(at(margin), y).flat[0])
    assert slope == pytest.approx((value(margin + h) - value(margin - h)) / (2 * h), abs=2e-6)
    other = float(loss.derivative(at(margin + 1e-3), y).flat[0])
    assert abs(other - slope) <= loss.curvature * 1e-3 * (1 + 1e-9) + 1e-15


@pytest.mark.parametrize("m", [-800.0, -40.0, 0.0, 40.0, 800.0])
def test_the_logistic_loss_neither_overflows_nor_loses_its_tail(m: float) -> None:
    loss, one = LOSSES["logistic"], np.array([1.0])
    with np.errstate(all="raise", under="ignore"):
        slope = loss.derivative(np.array([m]), one)[0]
        value = loss.value(np.array([m]), one)[0]
    assert np.isfinite(value)
    exact = -np.exp(-m) if m >= 40 else -1.0 if m <= -40 else -0.5
    assert slope == pytest.approx(exact, rel=1e-12)


def numeric_gradient(problem: FiniteSum, w: np.ndarray, h: float = 1e-6) -> np.ndarray:
    flat = []
    for k in range(w.size):
        e = np.zeros(w.size)
        e[k] = h
        e = e.reshape(w.shape)
        flat.append((problem.objective(w + e) - problem.objective(w - e)) / (2 * h))
    return np.array(flat).reshape(w.shape)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_gradient_is_the_derivative_of_the_objective(loss: str, l2: float) -> None:
    problem = FiniteSum(X, TARGETS[loss], loss, l2)
    w = rng.standard_normal(problem.shape)
    np.testing.assert_allclose(problem.gradient(w), numeric_gradient(problem, w), rtol=1e-6, atol=1e-8)
    mean = np.mean([problem.sample_gradient(i, w) for i in range(40)], axis=0)
    np.testing.assert_allclose(problem.gradient(w), mean, rtol=1e-12, atol=1e-14)
    e = problem.evaluate(w)
    assert e.objective == problem.objective(w)
    assert e.grad_norm == pytest.approx(float(np.linalg.norm(mean)))


@pytest.mark.parametrize("loss", LOSSES)
def test_no_component_gradient_changes_faster_than_lipschitz(loss: str) -> None:
    problem = FiniteSum(X, TARGETS[loss], loss, 0.1)
    a, b = rng.standard_normal((2, *problem.shape))
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
    "ufixed4": lpnum.array(np.abs(X[:, :3]), dtype=lpnum.ufixed4),
    "float8": lpnum.array(X[:, :3], dtype=lpnum.float8_e4m3fn),
    "ufixed16": lpnum.array(np.abs(X[:, :3]), dtype=lpnum.ufixed16),
    "int16": (np.arange(120).reshape(40, 3) * 300).astype(np.int16),
    "float16": X[:, :3].astype(np.float16),
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
    if kind != "columns":
        assert low.lipschitz == pytest.approx(exact.lipschitz)
    kinds = {
        "int8": "int8", "uint8": "uint8", "bits": "uint8", "bool": "uint8", "fixed8": "int8", "ufixed8": "uint8",
        "fixed4": "int4", "ufixed4": "uint4", "binary point": "int8", "columns": "int8", "fixed16": "int16",
        "int16": "int16", "ufixed16": "float32", "float8": "float32", "float32": "float32", "float16": "float32",
    }  # fmt: skip
    assert low.data.kind == kinds.get(kind, "float64")
    np.testing.assert_allclose(low.data.values(), values, rtol=1e-15)
    sizes = {"int8": 1, "uint8": 1, "int4": 2 / 3, "uint4": 2 / 3, "int16": 2, "float32": 4, "float64": 8}
    assert low.data_nbytes == round(values.size * sizes[low.data.kind])  # 4-bit rows of 3 take 2 bytes


def test_short_codes_are_stretched_without_changing_a_value() -> None:
    rows, step = FiniteSum(CODES["bits"], LABELS).kernel_data[:2]
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
        ((X, np.ones(40), "softmax"), ValueError, "at least two classes"),
        ((X[[0] * 300], np.arange(300), "softmax"), ValueError, "300 different labels.*loss='squared'"),
        ((X, np.arange(40), "logistic"), ValueError, r"labels \{0, 1, 2.*y == that_class"),
        (
            (X, LABELS, "logistik"),
            ValueError,
            "unknown loss 'logistik'; allowed: squared, logistic, softmax, huber. Did you mean",
        ),
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


def sparse_matrix() -> Any:
    sparse = pytest.importorskip("scipy.sparse")
    return sparse.csr_array(np.where(np.abs(X) > 0.7, X, 0.0))


@pytest.mark.parametrize("kind", ["float64", "float32", "int8", "uint8", "codes", "column codes", "csc", "coo"])
def test_sparse_data_give_the_gradient_of_their_values(kind: str) -> None:
    X = sparse_matrix()
    if "codes" in kind:
        data = quantize_sparse(X, lpnum.fixed8, axis=1 if "column" in kind else None)
        assert data.codes.data.dtype == np.int8
        values = data.codes.toarray() * np.asarray(data.scale)
        np.testing.assert_allclose(values, X.toarray(), atol=np.max(data.scale) / 2)
    else:
        data = X.asformat(kind) if kind in ("csc", "coo") else (X * 20).astype(kind)
        values = data.toarray().astype(np.float64)
    problem, dense = (FiniteSum(x, LABELS, "logistic", 0.1, intercept=True) for x in (data, values))
    w = rng.standard_normal(7)
    np.testing.assert_allclose(problem.gradient(w), dense.gradient(w), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(problem.sample_gradient(3, w), dense.sample_gradient(3, w), rtol=1e-12, atol=1e-14)
    assert problem.data.is_sparse
    if kind != "column codes":
        assert problem.lipschitz == pytest.approx(dense.lipschitz)


def damaged(change: str) -> Any:
    X = sparse_matrix()
    if change == "pointers":
        X.indptr[5] = X.indptr[-1] + 3
    elif change == "number":
        X.indices[4] = 17
    elif change == "negative":
        X.indices[4] = -1
    elif change == "unsorted":
        row = slice(*X.indptr[[int(np.argmax(np.diff(X.indptr) > 1)), int(np.argmax(np.diff(X.indptr) > 1)) + 1]])
        X.indices[row] = X.indices[row][::-1].copy()
    elif change == "duplicate":
        k = int(X.indptr[int(np.argmax(np.diff(X.indptr) > 1))])
        X.indices[k + 1] = X.indices[k]
    else:
        X.data[2] = np.nan
    return X


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("pointers", "row pointers.*damaged"),
        ("number", r"reach from 0 to 17; allowed are 0\.\.5"),
        ("negative", "reach from -1"),
        ("unsorted", "sum_duplicates"),
        ("duplicate", "sum_duplicates"),
        ("nan", "1 NaN or infinite"),
    ],
)
def test_damaged_sparse_data_are_refused_with_advice(change: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FiniteSum(damaged(change), LABELS)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (np.ones(39), r"sample_weight has shape \(39,\); expected \(40,\)"),
        (np.zeros(40), "all sample weights are zero"),
        (np.r_[-1.0, np.ones(39)], r"sample_weight\[0\] = -1; weights must not be negative"),
        (np.r_[np.nan, np.ones(39)], "sample_weight holds 1 NaN"),
    ],
)
def test_bad_weights_are_refused_with_advice(weights: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FiniteSum(X, LABELS, sample_weight=weights)


@pytest.mark.parametrize("loss", LOSSES)
def test_integer_weights_are_repetitions(loss: str) -> None:
    counts = rng.integers(0, 4, 40)
    weighted = FiniteSum(X, TARGETS[loss], loss, 0.2, intercept=True, sample_weight=counts)
    repeated = FiniteSum(np.repeat(X, counts, axis=0), np.repeat(TARGETS[loss], counts), loss, 0.2, intercept=True)
    w = rng.standard_normal(weighted.shape)
    assert weighted.objective(w) == pytest.approx(repeated.objective(w), rel=1e-13)
    np.testing.assert_allclose(weighted.gradient(w), repeated.gradient(w), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_an_intercept_is_a_column_of_ones_without_penalty(loss: str) -> None:
    problem = FiniteSum(X, TARGETS[loss], loss, 0.3, l1=0.1, intercept=True)
    w = rng.standard_normal(problem.shape)
    coef, intercept = problem.split(w)
    ones = FiniteSum(np.column_stack([X, np.ones(40)]), TARGETS[loss], loss)
    penalty = 0.15 * np.sum(coef**2) + 0.1 * np.abs(coef).sum()
    assert problem.objective(w) == pytest.approx(ones.objective(w) + penalty)
    expected = ones.gradient(w)
    expected[..., :-1] += 0.3 * coef
    np.testing.assert_allclose(problem.gradient(w), expected, rtol=1e-12, atol=1e-14)
    assert np.shape(intercept) == np.shape(problem.split(w)[0])[:-1]


@pytest.mark.parametrize("kind", ["minmax", "one"])
@pytest.mark.parametrize("loss", LOSSES)
def test_offsets_of_the_columns_belong_to_the_intercept(loss: str, kind: str) -> None:
    shifted = X + 5 * np.arange(6)
    data = (
        lpnum.array(shifted, dtype=lpnum.fixed8, axis=1, calibration="minmax")
        if kind == "minmax"
        else lpnum.array(shifted, dtype=lpnum.fixed8, offset=10.0)
    )
    problem, exact = (FiniteSum(x, TARGETS[loss], loss, 0.1, intercept=True) for x in (data, data.dequantize()))
    assert problem.data.kind == "int8"
    w = rng.standard_normal(problem.shape)
    np.testing.assert_allclose(problem.gradient(w), exact.gradient(w), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(problem.gradient(w), numeric_gradient(problem, w), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(problem.at(problem.point(w)), w, rtol=1e-13, atol=1e-13)
    assert FiniteSum(data, TARGETS[loss], loss).data.kind == "float64"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_intercepts_fitted_to_margins_leave_no_slope(loss: str, weighted: bool) -> None:
    problem = FiniteSum(X, TARGETS[loss], loss, 0.1, intercept=True, sample_weight=rng.random(40) if weighted else None)
    w = 0.3 * rng.standard_normal(problem.shape)
    before = problem.evaluate(w)
    point, best = problem.evaluate_with_best_intercept(problem.point(w))
    again = problem.evaluate(problem.at(point))
    np.testing.assert_array_equal(best.gradient, again.gradient)
    assert best.objective == again.objective < before.objective
    np.testing.assert_array_equal(point.coef, problem.point(w).coef)
    for _ in range(4):  # as at the snapshots of a run: Newton's method goes on where it stopped
        point, best = problem.evaluate_with_best_intercept(point)
    assert np.abs(best.gradient[..., -1]).max() < 1e-8


@pytest.mark.parametrize("loss", LOSSES)
def test_the_proximal_mapping_vanishes_where_subgradients_do(loss: str) -> None:
    problem = FiniteSum(X, TARGETS[loss], loss, l1=100.0, intercept=loss == "huber")
    w = np.zeros(problem.shape)
    residual = problem.evaluate(w).residual
    assert not residual[..., :6].any()
    np.testing.assert_array_equal(residual[..., 6:], problem.gradient(w)[..., 6:])


def test_threads_do_not_change_a_bit() -> None:
    data = lpnum.array(rng.standard_normal((4000, 300)), dtype=lpnum.fixed8)
    problem = FiniteSum(data, np.arange(4000) % 7, "softmax", intercept=True)
    w = rng.standard_normal(problem.shape)
    one = problem.evaluate(w)
    lpnum.set_num_threads(3)
    try:
        three = problem.evaluate(w)
    finally:
        lpnum.set_num_threads(1)
    np.testing.assert_array_equal(one.gradient, three.gradient)
    np.testing.assert_array_equal(one.slopes, three.slopes)
    assert one.objective == three.objective


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
