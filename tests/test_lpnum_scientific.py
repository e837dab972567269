"""LPArrays in SciPy, pandas, scikit-learn and Matplotlib: the format is kept, values come out, or an error says so."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lpnum

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(40, 6))
KINDS = {
    "fixed8": {"dtype": lpnum.fixed8},
    "rows": {"dtype": lpnum.fixed8, "axis": 0},
    "float8": {"dtype": lpnum.float8_e4m3fn},
}


@pytest.fixture(params=list(KINDS))
def x(request: pytest.FixtureRequest) -> lpnum.LPArray:
    """One array of each kind: fixed point, a scale for each row, small floats."""
    return lpnum.array(VALUES, **KINDS[request.param])


ROWS = lpnum.array(VALUES, **KINDS["rows"])  # for what asks for the values and leaves the array behind


# --- SciPy -----------------------------------------------------------------------------------------------------------

UFUNCS = (
    "beta boxcox cbrt digamma ellipk entr erf erfc erfcx eval_legendre exp10 exp2 expit expm1 gamma gammaln huber i0 "
    "i0e j0 j1 jv kv log1p log_expit log_ndtr logit ndtr ndtri rel_entr rgamma sici xlogy y0"
)


@pytest.mark.parametrize("name", UFUNCS.split())
def test_ufuncs_of_scipy_keep_the_format_and_are_rounded_once(name: str) -> None:
    special = pytest.importorskip("scipy.special", reason="needs scipy")
    ufunc = getattr(special, name)
    positive = lpnum.array(np.abs(VALUES) / 4 + 0.05, dtype=lpnum.float8_e5m2) * 0.5  # scale 0.5: within (0, 1)
    first = (2,) * (ufunc.nin - 1)  # orders and the like
    arguments = (*first, positive) if name not in ("beta", "boxcox", "rel_entr") else (positive + 1, *first)
    result = ufunc(*arguments)
    exact = ufunc(*(np.asarray(a) for a in arguments))
    for one, values in zip(
        result if isinstance(result, tuple) else (result,), exact if isinstance(exact, tuple) else (exact,), strict=True
    ):
        assert isinstance(one, lpnum.LPArray)
        assert one.format == positive.format
        # half a step of 2 mantissa bits, or of the smallest values of the grid; beyond its range the largest
        scale, fmt = float(np.max(one.scale)), one.format
        offset = one._offset
        error = np.abs(one.dequantize() - np.clip(values, offset - scale * fmt.max, offset + scale * fmt.max))
        assert (error <= np.maximum(np.abs(values - offset) / 8, scale * fmt.smallest_subnormal / 2) * 1.0001).all()


def test_ufuncs_of_scipy_write_into_an_array_on_its_grid(x: lpnum.LPArray) -> None:
    special = pytest.importorskip("scipy.special", reason="needs scipy")
    out = lpnum.zeros(x.shape, scale=1 / 128)
    assert special.expit(x, out=out) is out
    expected = lpnum.zeros(x.shape, scale=1 / 128)
    expected[...] = special.expit(x.dequantize())
    np.testing.assert_array_equal(out.codes, expected.codes)


WIDE_IN_SCIPY: dict[str, Callable[[Any], Any]] = {
    "special.logsumexp": lambda x: scipy("special").logsumexp(x, axis=1),
    "special.softmax": lambda x: scipy("special").softmax(x, axis=1),
    "stats.zscore": lambda x: scipy("stats").zscore(x),
    "stats.ttest_1samp": lambda x: scipy("stats").ttest_1samp(x, 0.0).pvalue,
    "stats.pearsonr": lambda x: scipy("stats").pearsonr(x[:, 0], x[:, 1]).statistic,
    "stats.norm.logpdf": lambda x: scipy("stats").norm.logpdf(x),
    "stats.rankdata": lambda x: scipy("stats").rankdata(x),
    "stats.gaussian_kde": lambda x: scipy("stats").gaussian_kde(x[:, 0])(x[:5, 1]),
    "stats.iqr": lambda x: scipy("stats").iqr(x),
    "signal.fftconvolve": lambda x: scipy("signal").fftconvolve(x[:, 0], x[:, 1]),
    "signal.convolve": lambda x: scipy("signal").convolve(x[:, 0], x[:, 1]),
    "signal.lfilter": lambda x: scipy("signal").lfilter([1.0, 0.5], [1.0], x, axis=0),
    "signal.welch": lambda x: scipy("signal").welch(x[:, 0], nperseg=8)[1],
    "signal.find_peaks": lambda x: scipy("signal").find_peaks(x[:, 0])[0],
    "signal.savgol_filter": lambda x: scipy("signal").savgol_filter(x[:, 0], 5, 2),
    "signal.detrend": lambda x: scipy("signal").detrend(x, axis=0),
    "signal.resample": lambda x: scipy("signal").resample(x[:, 0], 10),
    "fft.dct": lambda x: scipy("fft").dct(x),
    "ndimage.gaussian_filter": lambda x: scipy("ndimage").gaussian_filter(x, 1.0),
    "ndimage.zoom": lambda x: scipy("ndimage").zoom(x, 2),
    "linalg.svdvals": lambda x: scipy("linalg").svdvals(x),
    "linalg.solve": lambda x: scipy("linalg").solve(x[:6] + 10 * np.eye(6), x[:6, 0]),
    "spatial.cdist": lambda x: scipy("spatial.distance").cdist(x, x),
    "interpolate.CubicSpline": lambda x: scipy("interpolate").CubicSpline(np.arange(40.0), x)(0.5),
    "integrate.simpson": lambda x: scipy("integrate").simpson(np.asarray(x), axis=0),
    "optimize.nnls": lambda x: scipy("optimize").nnls(x, x[:, 0])[0],
    "optimize.lsq_linear": lambda x: scipy("optimize").lsq_linear(x, x[:, 0]).x,
    "sparse.csr_array": lambda x: scipy("sparse").csr_array(x).toarray(),
    "sparse.coo_matrix": lambda x: scipy("sparse").coo_matrix(x).toarray(),
}


def scipy(module: str) -> Any:
    return pytest.importorskip(f"scipy.{module}", reason="needs scipy")


@pytest.mark.parametrize("name", WIDE_IN_SCIPY)
def test_other_functions_of_scipy_compute_with_the_values(name: str) -> None:
    result, expected = WIDE_IN_SCIPY[name](ROWS), WIDE_IN_SCIPY[name](ROWS.dequantize())
    assert type(result) is type(expected)
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-11)


def test_sparse_matrices_multiply_the_values_from_both_sides(x: lpnum.LPArray) -> None:
    sparse = scipy("sparse")
    values, left, right = x.dequantize(), RNG.random((5, 40)) * (RNG.random((5, 40)) < 0.2), np.diag(np.arange(6.0))
    for make in (sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.csr_matrix):
        np.testing.assert_allclose(make(left) @ x, left @ values, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(x @ make(right), values @ right, rtol=1e-12)
        np.testing.assert_allclose(x[0] @ make(right), values[0] @ right, rtol=1e-12)
        np.testing.assert_allclose(x.T @ make(left.T), values.T @ left.T, rtol=1e-12, atol=1e-12)
    mask = sparse.csr_array(values > 0)
    for product in (x * mask, mask * x, mask.multiply(x), np.multiply(x, mask)):
        assert sparse.issparse(product)
        np.testing.assert_array_equal(product.toarray(), values * (values > 0))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name", ["add", "sub", "truediv"])
def test_operations_with_sparse_matrices_that_would_be_dense_are_refused(name: str, swapped: bool) -> None:
    x, s = lpnum.array(VALUES), scipy("sparse").csr_array(VALUES * (VALUES > 0))
    function = getattr(operator, name)
    with pytest.raises(TypeError, match=r"no operation of LPArray with scipy\.sparse.*S\.toarray\(\)"):
        function(s, x) if swapped else function(x, s)


def test_linear_operators_multiply_with_the_codes() -> None:
    linalg, x = scipy("sparse.linalg"), lpnum.array(VALUES)
    a = linalg.LinearOperator(x.shape, matvec=lambda v: x @ v, rmatvec=lambda v: x.T @ v, dtype=x.dtype)
    solution = linalg.lsqr(a, VALUES[:, 0], atol=1e-12, btol=1e-12)[0]
    np.testing.assert_allclose(solution, np.linalg.lstsq(x.dequantize(), VALUES[:, 0])[0], rtol=1e-8, atol=1e-8)
    with pytest.raises(TypeError, match="type not understood"):
        linalg.aslinearoperator(x)


# --- pandas ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pd() -> Any:
    return pytest.importorskip("pandas", reason="needs pandas")


def test_pandas_stores_the_values_as_it_does_for_np_asarray(x: lpnum.LPArray, pd: Any) -> None:
    values = x.dequantize()
    pd.testing.assert_frame_equal(pd.DataFrame(x), pd.DataFrame(values))
    pd.testing.assert_series_equal(pd.Series(x[0]), pd.Series(values[0]))
    pd.testing.assert_index_equal(pd.Index(x[0]), pd.Index(values[0]))
    frame = pd.DataFrame({"a": np.arange(40.0)})
    frame["b"] = x[:, 0]
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": np.arange(40.0), "b": values[:, 0]}))
    series = pd.Series(x[0])
    series.iloc[0] = 99.0  # a copy: the array does not follow
    np.testing.assert_array_equal(x.dequantize(), values)


def test_arrays_are_made_of_pandas_objects(pd: Any) -> None:
    from lpnum.testing import assert_same

    assert_same(lpnum.array(pd.DataFrame(VALUES)), lpnum.array(VALUES))
    assert_same(lpnum.array(pd.Series(VALUES[0]), dtype="float8_e5m2"), lpnum.array(VALUES[0], dtype="float8_e5m2"))
    w = lpnum.zeros(6, scale=0.01)
    w[...] = pd.Series(VALUES[0])
    w -= pd.Series(VALUES[1], index=list("abcdef"))
    expected = lpnum.zeros(6, scale=0.01)
    expected[...] = VALUES[0]
    expected -= VALUES[1]
    assert_same(w, expected)


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "truediv", "pow", "floordiv", "mod", "gt", "eq", "matmul", "maximum", "hypot"]
)
def test_operations_with_pandas_objects_are_those_of_the_exact_values(x: lpnum.LPArray, pd: Any, name: str) -> None:
    x = abs(x[:6]) + 0.5
    function = getattr(operator, name) if hasattr(operator, name) else getattr(np, name)
    labels = list("abcdef")
    frame, series = pd.DataFrame(np.abs(VALUES[:6]) + 0.1, index=labels, columns=labels), pd.Series(np.arange(1.0, 7.0))
    for other, mine in ((frame, x), (series, x[0]), (series.set_axis(labels), x[0])):
        for a, b in ((mine, other), (other, mine)):
            result, expected = (function(*(v.dequantize() if p and v is mine else v for v in (a, b))) for p in (0, 1))
            assert type(result) is type(expected)
            if isinstance(expected, pd.Series | pd.DataFrame):
                assert all(result.axes[k].equals(expected.axes[k]) for k in range(expected.ndim))
            np.testing.assert_allclose(result, expected, rtol=1e-13)


def test_masks_and_statistics_of_pandas_work_with_arrays(x: lpnum.LPArray, pd: Any) -> None:
    row = x[0]
    np.testing.assert_array_equal(row[pd.Series(row > 0)].dequantize(), row.dequantize()[row.dequantize() > 0])
    assert not pd.isna(x).any()
    assert list(pd.cut(row, 3)) == list(pd.cut(row.dequantize(), 3))


# --- scikit-learn ----------------------------------------------------------------------------------------------------

ESTIMATORS = {
    "LogisticRegression": ("linear_model", {}, "predict_proba"),
    "Ridge": ("linear_model", {}, "predict"),
    "SGDClassifier": ("linear_model", {"random_state": 0}, "predict"),
    "SVC": ("svm", {}, "decision_function"),
    "RandomForestClassifier": ("ensemble", {"n_estimators": 5, "random_state": 0}, "predict_proba"),
    "HistGradientBoostingClassifier": ("ensemble", {"max_iter": 3}, "predict_proba"),
    "KNeighborsClassifier": ("neighbors", {}, "predict_proba"),
    "GaussianNB": ("naive_bayes", {}, "predict_proba"),
    "PCA": ("decomposition", {"n_components": 2}, "transform"),
    "KMeans": ("cluster", {"n_clusters": 2, "n_init": 1, "random_state": 0}, "predict"),
    "StandardScaler": ("preprocessing", {}, "transform"),
    "PolynomialFeatures": ("preprocessing", {}, "transform"),
}


@pytest.fixture
def sklearn() -> Callable[[str], Any]:
    """Import a module of scikit-learn, or skip."""
    return lambda module: pytest.importorskip(f"sklearn.{module}", reason="needs scikit-learn")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_take_arrays_for_their_values(sklearn: Callable[[str], Any], name: str) -> None:
    module, parameters, method = ESTIMATORS[name]
    estimator, y = getattr(sklearn(module), name)(**parameters), VALUES[:, 0] > 0
    results = [getattr(estimator.fit(data, y), method)(data) for data in (ROWS, ROWS.dequantize())]
    assert type(results[0]) is np.ndarray
    np.testing.assert_array_equal(*results)


def test_arrays_are_targets_weights_and_scores_and_are_split_as_arrays(sklearn: Callable[[str], Any]) -> None:
    x, linear, selection = lpnum.array(VALUES), sklearn("linear_model"), sklearn("model_selection")
    target, weight = lpnum.array(VALUES @ np.ones(6)), abs(x[:, 0])
    coefficients = [
        linear.Ridge().fit(x, y, sample_weight=w).coef_
        for y, w in ((target, weight), (target.dequantize(), weight.dequantize()))
    ]
    np.testing.assert_array_equal(*coefficients)
    parts = selection.train_test_split(x, target, random_state=0)
    assert all(isinstance(part, lpnum.LPArray) for part in parts)
    assert all(part.same_grid(whole) for part, whole in zip(parts, (x, x, target, target), strict=True))
    scores = [selection.cross_val_score(linear.Ridge(), a, target.dequantize(), cv=3) for a in (x, x.dequantize())]
    np.testing.assert_array_equal(*scores)
    metrics = sklearn("metrics")
    assert metrics.mean_squared_error(target, target.dequantize()) == 0
    assert metrics.roc_auc_score(VALUES[:, 0] > 0, x[:, 0]) > 0.99
    pipeline = sklearn("pipeline").make_pipeline(sklearn("preprocessing").StandardScaler(), linear.Ridge())
    assert pipeline.fit(x, target).score(x, target) > 0.99


# --- Matplotlib ------------------------------------------------------------------------------------------------------

PLOTS: dict[str, Callable[[Any, Any], Any]] = {
    "plot": lambda ax, x: ax.plot(x[0], x[1]),
    "plot columns": lambda ax, x: ax.plot(x),
    "semilogy": lambda ax, x: ax.semilogy(abs(x[0]) + 0.1),
    "scatter": lambda ax, x: ax.scatter(x[0], x[1], c=x[2], s=abs(x[3]) * 10),
    "imshow": lambda ax, x: ax.imshow(x),
    "pcolormesh": lambda ax, x: ax.pcolormesh(x),
    "contour": lambda ax, x: ax.contour(x),
    "hist": lambda ax, x: ax.hist(x[0]),
    "hist of columns": lambda ax, x: ax.hist(x),
    "hist2d": lambda ax, x: ax.hist2d(x[:, 0], x[:, 1]),
    "bar": lambda ax, x: ax.bar(np.arange(6), x[0]),
    "errorbar": lambda ax, x: ax.errorbar(np.arange(6), x[0], yerr=abs(x[1])),
    "fill_between": lambda ax, x: ax.fill_between(np.arange(6), x[0], x[1]),
    "boxplot": lambda ax, x: ax.boxplot(x),
    "step": lambda ax, x: ax.step(np.arange(6), x[0]),
    "stem": lambda ax, x: ax.stem(x[0]),
    "ecdf": lambda ax, x: ax.ecdf(x[0]),
    "limits and text": lambda ax, x: (ax.set_xlim(x.min(), x.max()), ax.axhline(x[0, 0]), ax.text(x[0, 0], 0, "x")),
}


@pytest.fixture
def plt() -> Iterator[Any]:
    matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib")
    matplotlib.use("agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


@pytest.mark.parametrize("name", PLOTS)
def test_matplotlib_draws_the_picture_of_the_values(plt: Any, name: str) -> None:
    pictures = []
    for data in (ROWS, ROWS.dequantize()):
        figure, ax = plt.subplots(figsize=(2, 2), dpi=50)
        PLOTS[name](ax, data)
        figure.canvas.draw()
        pictures.append(np.asarray(figure.canvas.buffer_rgba()).copy())
    np.testing.assert_array_equal(*pictures)
    blank = plt.figure(figsize=(2, 2), dpi=50)
    blank.canvas.draw()
    assert not np.array_equal(pictures[0], np.asarray(blank.canvas.buffer_rgba()))


def test_histograms_count_every_value(x: lpnum.LPArray, plt: Any) -> None:
    counts, edges, _ = plt.subplots()[1].hist(x.ravel(), bins=7)
    np.testing.assert_array_equal(counts, np.histogram(x.dequantize(), 7)[0])
    np.testing.assert_array_equal(edges, np.histogram(x.dequantize(), 7)[1])


# --- objects that lpnum does not know -------------------------------------------------------------------------------


def test_block_arrays_meet_other_libraries_as_arrays_do() -> None:
    b = lpnum.array(np.linspace(-3, 3, 640).reshape(10, 64), dtype=lpnum.mxfp4)
    values = b.dequantize()
    masked = np.ma.masked_array(values, mask=values > 0)
    np.testing.assert_array_equal((b + masked).mask, masked.mask)
    assert not (b == None).any()  # noqa: E711
    sparse = scipy("sparse").csr_array(np.eye(64))
    np.testing.assert_allclose(b @ sparse, values, rtol=1e-12)
    with pytest.raises(TypeError, match=r"BlockArray with scipy\.sparse"):
        b + sparse
    assert isinstance(scipy("special").expit(b), type(b))
    frame = pytest.importorskip("pandas", reason="needs pandas").DataFrame(values)
    np.testing.assert_array_equal((frame * b).to_numpy(), values * values)
    np.testing.assert_array_equal((b - frame).to_numpy(), 0 * values)


class Unknown:
    """Neither a number nor an array."""


@pytest.mark.parametrize("other", [Unknown(), None, "text", {1: 2}, 1j, Fraction(1, 3)], ids=lambda v: type(v).__name__)
def test_an_operand_that_nobody_understands_is_a_type_error_that_names_it(other: object) -> None:
    x = lpnum.ones(3)
    for function in (operator.add, operator.mul, operator.matmul, np.maximum):
        for operands in ((x, other), (other, x)):
            with pytest.raises(TypeError, match=rf"LPArray with .*{type(other).__name__}"):
                function(*operands)
    with pytest.raises(TypeError, match=rf"LPArray with .*{type(other).__name__}"):
        x += other


@pytest.mark.parametrize("other", [None, "text", 1j, 0.5 + 0j, Fraction(1, 2)], ids=repr)
def test_equality_with_what_is_no_number_of_ours_is_numpys(other: object) -> None:
    x = lpnum.array([0.5, 1.0], scale=0.5)
    for function in (operator.eq, operator.ne):
        for operands in ((x, other), (other, x)):
            expected = function(*(np.asarray(v) if v is x else v for v in operands))
            result = function(*operands)
            assert type(result) is np.ndarray
            np.testing.assert_array_equal(result, expected)


def test_masks_are_not_lost(x: lpnum.LPArray) -> None:
    masked = np.ma.masked_array(np.full(x.shape, 2.0), mask=x > 0)
    for function in (operator.add, operator.mul, np.maximum, operator.gt):
        for operands in ((x, masked), (masked, x)):
            result, expected = (function(*(w(v) if v is x else v for v in operands)) for w in (lambda v: v, np.asarray))
            assert type(result) is np.ma.MaskedArray
            np.testing.assert_array_equal(result.mask, expected.mask)
            np.testing.assert_array_equal(result.compressed(), expected.compressed())


class WithUnit(np.ndarray):
    """A subclass that says what ufuncs of it are, as quantities with units do."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return f"{ufunc.__name__} with a unit"


def test_subclasses_with_ufuncs_of_their_own_are_asked_and_others_are_arrays(tmp_path: Path) -> None:
    x, quantity = lpnum.ones(3), np.arange(3.0).view(WithUnit)
    assert x + quantity == "add with a unit"
    assert quantity * x == "multiply with a unit"
    assert np.maximum(x, quantity) == "maximum with a unit"
    mapped = np.memmap(tmp_path / "values", np.float64, "w+", shape=(3,))
    mapped[:] = [1.0, 2.0, 3.0]
    assert isinstance(x * mapped, lpnum.LPArray)
    np.testing.assert_array_equal((x * mapped).dequantize(), [1.0, 2.0, 3.0])


class Reflecting:
    """A type with a ufunc protocol of its own."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return f"{ufunc.__name__} by the other"


def test_types_that_take_part_in_numpys_protocol_are_asked() -> None:
    x, other = lpnum.ones(3), Reflecting()
    assert np.add(x, other) == np.add(other, x) == "add by the other"
    assert x * other == "multiply by the other"  # type: ignore[operator]


class Refusing:
    """A type that takes no part in ufuncs: Python's operators ask it."""

    __array_ufunc__ = None

    def __radd__(self, other: Any) -> str:
        return "added by the other"


def test_types_that_opt_out_of_ufuncs_get_their_reflected_operator() -> None:
    assert lpnum.ones(3) + Refusing() == "added by the other"  # type: ignore[operator]
    with pytest.raises(TypeError):
        np.add(lpnum.ones(3), Refusing())
