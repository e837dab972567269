"""The compiled pass over the rows: equal to its specification bit for bit, accurate, the same for any threads."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import sparse

import lpnum
from lpnum_optim import FiniteSum, _evaluation_reference
from lpnum_optim._core import epochs
from lpnum_optim.data import DataMatrix
from lpnum_optim.data_kinds import as_data_matrix

SQUARED, LOGISTIC, SOFTMAX, HUBER = range(4)
KINDS = ["int8", "uint8", "int16", "int4", "uint4", "float32", "float64", "sparse int8", "sparse float32"]


def matrix(rng, n, d, kind):
    name = kind.split()[-1]
    if name.startswith("float"):
        rows = rng.normal(size=(n, d)).astype(name)
    elif name.endswith("int4"):
        fmt = lpnum.fixed4 if name == "int4" else lpnum.ufixed4
        low = -8 if name == "int4" else 0
        codes = rng.integers(low, low + 16, (n, d)).astype(fmt.storage)
        return DataMatrix(lpnum.pack(codes, fmt), 0.3, packed=name, n_features=d)
    else:
        info = np.iinfo(name)
        rows = rng.integers(info.min, info.max, (n, d), endpoint=True).astype(name)
        rows[0] = info.min  # all products with the largest digits
    if not kind.startswith("sparse"):
        return DataMatrix(rows, 0.3)
    rows[rng.random((n, d)) < 0.7] = 0
    return as_data_matrix(sparse.csr_matrix(rows), False)._replace(step=0.3)


def case(rng, n, d, kind, loss, weighted):
    outputs = 3 if loss == SOFTMAX else 1
    y = rng.integers(0, 3, n).astype(float) if loss == SOFTMAX else rng.choice([-1.0, 1.0], n)
    scale = {"int8": 300.0, "uint8": 300.0, "int16": 1e5}.get(kind, 5.0) * math.sqrt(d)
    v = rng.normal(size=(outputs, d)) * 10.0 ** rng.integers(-6, 1, (outputs, d)) / scale * 10
    x = matrix(rng, n, d, kind)
    weights = rng.random(n) if weighted else None
    return x, y, v, rng.normal(size=outputs), weights


def run(x, y, v, b, **options):
    n = x.shape[0]
    margins, slopes, rows = np.full((n, len(v)), 7.0), np.full((n, len(v)), 7.0), np.empty_like(v)
    losses, slope_sums = epochs.evaluate_rows(x, y, v, b, margins=margins, slopes=slopes, rows=rows, **options)
    return losses, slope_sums, rows, margins, slopes


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_equals_its_specification_bit_for_bit(kind, simd_level, seed):
    shapes = [(1, 1), (3, 2), (9, 17), (70, 64), (131, 65), (66, 130), (21, 200)]
    for k, (n, d) in enumerate(shapes):
        loss = (k + seed) % 4
        rng = np.random.default_rng([seed, k])
        x, y, v, b, weights = case(rng, n, d, kind, loss, k % 2 == 0)
        start, stop = (0, n) if k % 3 else (n // 3, n)
        options = {"loss": loss, "loss_parameter": 1.5, "block": 64, "start": start, "stop": stop, "weights": weights}
        got = run(x, y, v, b, **options)
        expected = _evaluation_reference.evaluate_rows(x, y, v, b, **options)
        for name, have, want in zip(["losses", "slope sums", "rows", "margins", "slopes"], got, expected, strict=True):
            have = have[start:stop] if name in ("margins", "slopes") else have
            np.testing.assert_array_equal(have, want, err_msg=f"{name} of {n} x {d}, loss {loss}")
        assert (got[3][:start] == 7.0).all()
        assert (got[3][stop:] == 7.0).all()


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_extreme_codes_and_long_rows_stay_exact(kind, simd_level):
    """Sums of the lanes over several chunks of a row and all lines of a block, with the largest digits."""
    for n, d in ((3, 20000), (1000, 3)):
        rows = np.full((n, d), np.iinfo(kind).min if kind == "int8" else 255, kind)
        for v in (1.0, -1.0, 2.0 - 2.0**-52, -math.ldexp(0x20808080808080, -54)):  # the last one's digits are -128
            vector = np.full((1, d), v)
            _, slope_sums, sums, margins, _ = run(DataMatrix(rows), np.zeros(n), vector, np.zeros(1), loss=SQUARED,
                                                  block=1024, start=0, stop=n)  # fmt: skip
            unit = Fraction(2) ** (math.frexp(v)[1] - 54)
            exact = int(rows[0, 0]) * d * round(Fraction(v) / unit) * unit
            assert (margins == float(exact)).all()
            np.testing.assert_allclose(sums, float(rows[0, 0]) * slope_sums[0], rtol=2e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_accurate_to_float64(kind, simd_level):
    rng = np.random.default_rng(1)
    x, y, v, b, _ = case(rng, 300, 40, kind, SQUARED, False)
    _, _, rows, margins, slopes = run(x, y, v, b, loss=SQUARED, block=128, start=0, stop=300)
    codes = x.codes(0, 300)
    dense = [[Fraction(float(a)) for a in row] for row in (codes.toarray() if x.is_sparse else codes)]
    step = Fraction(x.step)
    for j in (0, 39):
        exact = step * sum(dense[i][j] * Fraction(slopes[i, 0]) for i in range(300))
        size = step * sum(abs(dense[i][j]) for i in range(300)) * Fraction(np.abs(slopes).max())
        assert abs(Fraction(rows[0, j]) - exact) <= Fraction(2) ** -51 * size
    exact = step * sum(a * Fraction(w) for a, w in zip(dense[5], v[0], strict=True)) + Fraction(b[0])
    size = step * sum(abs(a) for a in dense[5]) * Fraction(np.abs(v).max()) + abs(Fraction(b[0]))
    assert abs(Fraction(margins[5, 0]) - exact) <= Fraction(2) ** -51 * size


def test_values_are_accurate_in_both_tails(simd_level):
    margins = np.concatenate([-np.logspace(-20, 2.8, 200), np.logspace(-20, 2.8, 200), [0.0]])
    n = len(margins)
    for y in (np.ones(n), -np.ones(n)):
        losses = [
            run(DataMatrix(margins[i : i + 1, None]), y[i : i + 1], np.ones((1, 1)), np.zeros(1), loss=LOGISTIC,
                block=64, start=0, stop=1)[0]
            for i in range(n)
        ]  # fmt: skip
        np.testing.assert_allclose(losses, np.logaddexp(0.0, -y * margins), rtol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", [SQUARED, LOGISTIC, SOFTMAX, HUBER])
def test_nan_and_infinity_propagate(kind, loss, simd_level):
    rng = np.random.default_rng(2)
    x, y, v, b, _ = case(rng, 20, 9, kind, loss, False)
    options = {"loss": loss, "loss_parameter": 1.0, "block": 64, "start": 0, "stop": 20}
    v[0] = np.nan
    losses, slope_sums, rows, margins, slopes = run(x, y, v, b, **options)
    touched = np.ones(20, bool) if not x.is_sparse else np.diff(x.indptr) > 0
    assert math.isnan(losses)
    assert math.isnan(slope_sums[0])
    assert np.isnan(rows).any()
    assert np.isnan(margins[touched, 0]).all()
    assert np.isnan(slopes[touched]).all()
    v[:] = 1e306
    v[0, ::2] = -1e307
    if loss == SQUARED:
        assert not math.isfinite(run(x, y, v, b, **options)[0])


def test_huge_and_tiny_vectors_keep_their_accuracy(simd_level):
    rows = np.array([[1, -2, 3], [100, 50, -128]], np.int8)
    for scale in (1e-290, 1e-150, 1e150, 1e290):
        v = np.array([[0.1, 0.2, 0.3]]) * scale
        margins = run(DataMatrix(rows), np.zeros(2), v, np.zeros(1), loss=-1, block=64, start=0, stop=2)[3]
        if scale > 1e-280:
            np.testing.assert_allclose(margins[:, 0] / scale, rows @ [0.1, 0.2, 0.3], rtol=1e-14)
        else:
            np.testing.assert_allclose(margins[:, 0], rows @ v[0], atol=2.0**-940)


def test_a_pass_with_known_margins_and_the_parts_alone_give_the_same_bits(simd_level):
    rng = np.random.default_rng(3)
    for kind in KINDS:
        x, y, v, b, weights = case(rng, 90, 33, kind, SOFTMAX, True)
        options = {"block": 64, "start": 0, "stop": 90, "weights": weights}
        whole = run(x, y, v, b, loss=SOFTMAX, **options)
        margins = np.empty((90, 3))
        epochs.evaluate_rows(x, y, v, np.zeros(3), loss=-1, margins=margins, **options)
        slopes, rows = np.empty((90, 3)), np.empty_like(v)
        losses, sums = epochs.evaluate_rows(
            x, y, v, b, loss=SOFTMAX, margins=margins, slopes=slopes, known=True, rows=rows, **options
        )
        alone = epochs.evaluate_rows(x, y, v, b, loss=SOFTMAX, **options)[0]
        assert losses == whole[0] == alone
        for have, want in zip((sums, rows, margins, slopes), whole[1:], strict=True):
            np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_threads_do_not_change_a_bit_of_an_evaluation(loss):
    rng = np.random.default_rng(4)
    X = rng.integers(0, 256, (12000, 401)).astype(np.uint8)
    y = rng.integers(0, 2 if loss == "logistic" else 4, 12000)
    problem = FiniteSum(X, y, loss, intercept=True, sample_weight=rng.random(12000))
    w = rng.normal(size=problem.shape) / 1000
    try:
        results = []
        for threads in (1, 2, 3):
            lpnum.set_num_threads(threads)
            results.append(problem.evaluate(w))
    finally:
        lpnum.set_num_threads(1)
    for other in results[1:]:
        assert other.objective == results[0].objective
        np.testing.assert_array_equal(other.gradient, results[0].gradient)
        np.testing.assert_array_equal(other.margins, results[0].margins)
        np.testing.assert_array_equal(other.slopes, results[0].slopes)


BAD = [
    ({"x": np.ones((2, 2))}, TypeError, "x is a ndarray"),
    ({"targets": np.ones(3)}, ValueError, "targets: length 3; expected 2"),
    ({"v": np.ones((1, 3))}, ValueError, r"v: shape \(1, 3\); expected \(1, 2\)"),
    ({"v": np.ones((2, 2))}, ValueError, "loss 0 with 2 outputs"),
    ({"intercept": np.ones(2)}, ValueError, "intercept: length 2; expected 1"),
    ({"weights": np.ones(1)}, ValueError, "weights: length 1; expected 2"),
    ({"margins": np.ones((2, 2))}, ValueError, "margins: shape"),
    ({"rows": np.ones(3)}, ValueError, "rows: 1 dimensions|rows: length"),
    ({"loss": 4}, ValueError, "loss 4; allowed"),
    ({"block": 0}, ValueError, "block = 0; allowed 1..4096"),
    ({"block": 4097}, ValueError, "block = 4097"),
    ({"stop": 3}, ValueError, "rows 0 to 3; x has 2"),
    ({"start": 2, "stop": 1}, ValueError, "rows 2 to 1"),
    ({"known": True}, ValueError, "known margins"),
    ({"loss": 3}, ValueError, "loss_parameter"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD)
def test_bad_arguments_are_refused(changes, error, message):
    args = {
        "x": DataMatrix(np.ones((2, 2), np.int8)), "targets": np.ones(2), "v": np.ones((1, 2)),
        "intercept": np.zeros(1), "loss": 0, "block": 64, "start": 0, "stop": 2,
    }  # fmt: skip
    with pytest.raises(error, match=message):
        epochs.evaluate_rows(**{**args, **changes})
