"""The estimators on Dask arrays: the minimum of the undivided data, predictions chunk by chunk."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lpnum

pytest.importorskip("sklearn")
dask = pytest.importorskip("dask", reason="needs dask")
da = pytest.importorskip("dask.array", reason="needs dask")

from scipy import sparse  # noqa: E402
from sklearn.base import clone  # noqa: E402

from lpnum_optim import METHODS, FiniteSum  # noqa: E402
from lpnum_optim._features import prepare  # noqa: E402
from lpnum_optim._fitting import _sampling  # noqa: E402
from lpnum_optim.distributed import ChunkError  # noqa: E402
from lpnum_optim.linear_model import LPLogisticRegression, LPRidge  # noqa: E402

rng = np.random.default_rng(11)
N, D = 300, 5
X = rng.standard_normal((N, D)) * [1.0, 40.0, 0.1, 1.0, 1.0] + [0.0, 9.0, 2.0, 0.0, 1.0]
LINE = (X - X.mean(axis=0)) @ [1.0, 0.03, 8.0, 0.0, -1.0]
NUMBERS = LINE + rng.standard_normal(N) + 5.0
TWO = np.where(LINE + rng.standard_normal(N) > 0, "yes", "no")
THREE = np.digitize(LINE + rng.standard_normal(N), [-1.0, 1.0]) * 10
WEIGHTS = rng.random(N) * (rng.random(N) < 0.9)
ROWS = (110, 0, 90, 99, 1)


@pytest.fixture(autouse=True)
def synchronous() -> Iterator[None]:
    """Without threads, where a test does not say otherwise."""
    with dask.config.set(scheduler="synchronous"):
        yield


def chunked(X: Any, rows: tuple[int, ...] = ROWS) -> Any:
    if not sparse.issparse(X):
        return da.from_array(X, chunks=(rows, X.shape[1]), asarray=False)
    ends = np.cumsum(rows)
    parts = [X[end - size : end] for size, end in zip(rows, ends, strict=True) if size]  # as da.concatenate does
    meta = sparse.csr_matrix((0, 0), dtype=X.dtype)
    return da.concatenate([da.from_delayed(dask.delayed(p), p.shape, meta=meta, dtype=X.dtype) for p in parts])


KINDS: dict[str, Any] = {
    "float64": X,
    "float32": X.astype(np.float32),
    "float16": X.astype(np.float16),
    "int8": np.rint(30 * (X - X.mean(axis=0)) / X.std(axis=0)).clip(-127, 127).astype(np.int8),
    "uint8": np.rint(20 + 5 * (X - X.mean(axis=0)) / X.std(axis=0)).clip(0, 255).astype(np.uint8),
    "int64": np.rint(20 * X / X.std(axis=0)).astype(np.int64),
    "bool": X.mean(axis=0) < X,
    "codes": lpnum.array(X, dtype=lpnum.fixed8, axis=1),
    "sparse": sparse.csr_matrix(X * (X > 1.0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_give_the_model_of_the_undivided_data(kind: str) -> None:
    data = KINDS[kind]
    models: list[tuple[Any, Any]] = [(LPRidge(random_state=0), NUMBERS)]
    if kind in ("float32", "uint8", "sparse"):
        models.append((LPLogisticRegression(C=0.1, random_state=0), THREE))
    for model, y in models:
        whole = clone(model).fit(data, y, WEIGHTS)
        parts = clone(model).fit(chunked(data), da.from_array(y, chunks=77), da.from_array(WEIGHTS, chunks=100))
        assert parts.result_.converged, parts.result_.message
        np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=0, atol=3e-5 * np.abs(whole.coef_).max())
        np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-4, atol=1e-4)
        assert parts.n_features_in_ == D
        # what is predicted of chunks is what is predicted of arrays
        lazy = parts.predict(chunked(data))
        assert isinstance(lazy, da.Array)
        assert (lazy.shape, lazy.chunks, lazy.dtype) == ((N,), chunked(data).chunks[:1], y.dtype)
        np.testing.assert_allclose(lazy.compute(), parts.predict(data), rtol=1e-12, atol=1e-12)
        assert parts.score(chunked(data), da.from_array(y, chunks=50)) == pytest.approx(parts.score(data, y), rel=1e-12)


@pytest.mark.parametrize("data_format", ["fixed8", "ufixed8", "fixed16", None])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_features_are_scaled_as_those_of_one_array(data_format: Any, intercept: bool, weighted: bool) -> None:
    data = np.column_stack([X, np.full(N, 0.1), np.zeros(N)])  # constants, too
    data = np.abs(data) if data_format == "ufixed8" and not intercept else data
    how: dict[str, Any] = {"center": intercept, "weights": WEIGHTS if weighted else None, "ridge": 1e-3}
    for whole in (data, data.astype(np.float32)):
        one, many = prepare(whole, data_format, **how), prepare(chunked(whole), data_format, **how)
        blocks = [block for block in many.data.to_delayed().ravel() if block.compute().shape[0]]
        if one.shift is None:
            assert many.shift is None
        else:
            np.testing.assert_allclose(many.shift, one.shift, rtol=1e-12, atol=1e-14)
        if data_format is None:
            rows = np.concatenate([block.compute().rows for block in blocks])
            np.testing.assert_allclose(rows, one.data.rows, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(blocks[0].compute().columns, one.data.columns, rtol=1e-10)
        else:
            codes = np.concatenate([block.compute().codes for block in blocks]).astype(int)
            assert np.abs(codes - one.data.codes.astype(int)).max() <= 1  # a tie may fall to the other side
            assert np.mean(codes != one.data.codes) < 1e-3
            np.testing.assert_allclose(blocks[0].compute().scale, one.data.scale, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_on_chunks(method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LPLogisticRegression(method=method, max_iter=5, random_state=0).fit(chunked(X), TWO)
    assert model.score(chunked(X), TWO) > 0.8


def test_margins_and_probabilities_of_chunks_are_those_of_arrays() -> None:
    for y in (TWO, THREE):
        model = LPLogisticRegression(random_state=0).fit(X, y)
        for name in ("decision_function", "predict_proba", "predict_log_proba", "predict"):
            lazy, now = getattr(model, name)(chunked(X)), getattr(model, name)(X)
            assert isinstance(lazy, da.Array)
            assert (lazy.shape, lazy.dtype) == (now.shape, now.dtype)
            if now.dtype.kind == "f":
                np.testing.assert_allclose(lazy.compute(), now, rtol=1e-12, atol=1e-14)
            else:
                np.testing.assert_array_equal(lazy.compute(), now)
            assert lazy[5:120].compute().shape == now[5:120].shape


def test_the_scheduler_changes_no_bit_and_a_fit_on_chunks_goes_on_from_its_file(tmp_path: Path) -> None:
    path, model = tmp_path / "fit.npz", LPLogisticRegression(C=0.1, random_state=0)
    whole = clone(model).fit(chunked(X), THREE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clone(model).set_params(max_iter=3).fit(chunked(X), THREE, checkpoint=path)
    with dask.config.set(scheduler="threads", num_workers=3):
        again = clone(model).fit(chunked(X), THREE, checkpoint=path, resume=True)
    np.testing.assert_array_equal(again.coef_, whole.coef_)
    assert again.n_iter_ == whole.n_iter_
    with pytest.raises(ValueError, match="rows of the chunks was"):
        clone(model).fit(chunked(X, (100, 100, 50, 50)), THREE, resume=path)


def test_long_rows_are_drawn_by_importance() -> None:
    rare = np.where(rng.random((N, 1)) < 0.03, 30.0, 1.0) * rng.standard_normal((N, D))
    y = rare @ np.ones(D) + rng.standard_normal(N)
    assert _sampling(FiniteSum(chunked(rare), y)) == _sampling(FiniteSum(rare, y)) == "importance"
    assert _sampling(FiniteSum(chunked(np.sign(rare)), y)) == "replacement"
    model = LPRidge(alpha=0.1, random_state=0).fit(chunked(rare), y)
    assert model.result_.converged
    np.testing.assert_allclose(model.coef_, LPRidge(alpha=0.1, tol=1e-10).fit(rare, y).coef_, rtol=1e-5)


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_nan_in_a_chunk_is_named_with_its_row() -> None:
    bad = X.copy()
    bad[205, 2] = np.nan
    for data_format in (None, "fixed8"):
        with pytest.raises(ChunkError, match=r"chunk 3 \(rows 200 to 298\): X holds 1 NaN .*row 205") as caught:
            LPRidge(data_format=data_format).fit(chunked(bad), NUMBERS)
        assert (caught.value.chunk, caught.value.row) == (3, 205)
    values = sparse.csr_matrix(bad)
    with pytest.raises(ChunkError, match=r"chunk 2 .*X\.data holds 1 NaN.*row 205"):
        LPRidge().fit(chunked(values), NUMBERS)


def test_arrays_that_cannot_be_taken_say_what_to_do() -> None:
    good = chunked(X)
    model = LPRidge(random_state=0).fit(good, NUMBERS)
    cases: list[tuple[type[Exception], str, Any]] = [
        (ValueError, r"early_stopping=True holds out", lambda: LPRidge(early_stopping=True).fit(good, NUMBERS)),
        (ValueError, r"chunks along the columns", lambda: LPRidge().fit(good.rechunk((100, 2)), NUMBERS)),
        (ValueError, r"compute_chunk_sizes", lambda: LPRidge().fit(good[good[:, 0] > 0], NUMBERS)),
        (ValueError, r"X has shape \(300,\)", lambda: LPRidge().fit(good[:, 0], NUMBERS)),
        (ValueError, r"inconsistent numbers of samples", lambda: LPRidge().fit(good, NUMBERS[1:])),
        (ValueError, r"sample_weight has shape", lambda: LPRidge().fit(good, NUMBERS, WEIGHTS[1:])),
        (ValueError, r"requires y", lambda: LPRidge().fit(good, None)),
        (ValueError, r"expecting 5 features", lambda: model.predict(good[:, :3])),
        (ValueError, r"chunks along the columns", lambda: model.predict(good.rechunk((100, 2)))),
        (ValueError, r"only one class", lambda: LPLogisticRegression().fit(good, np.ones(N))),
        (TypeError, r"pass a|pass dask|pass X", lambda: LPRidge().fit(dask.delayed(X), NUMBERS)),
        (
            ChunkError, r"X holds a LPArray, but its Dask array told of ndarray; pass meta=",
            lambda: LPRidge().fit(good.map_blocks(lpnum.array, meta=np.empty((0, 0))), NUMBERS),
        ),
    ]  # fmt: skip
    for error, says, call in cases:
        with pytest.raises(error, match=says):
            call()


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_fit_on_a_cluster_survives_a_worker_with_the_same_bits_and_predicts_there() -> None:
    distributed = pytest.importorskip("distributed", reason="needs distributed")
    whole = LPLogisticRegression(C=0.1, random_state=0).fit(chunked(X), THREE)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    )
    victims: list[int] = []

    def kill(state: Any) -> None:
        if state.epoch == 3 and not victims:
            victims.append(next(one.pid for one in cluster.workers.values() if one.pid))
            os.kill(victims[0], signal.SIGKILL)

    with cluster, distributed.Client(cluster, timeout=60) as client, dask.config.set(scheduler=client):
        client.wait_for_workers(2, timeout=60)
        model = LPLogisticRegression(C=0.1, random_state=0, callbacks=kill).fit(chunked(X), THREE)
        predicted = model.predict(chunked(X)).compute()
    assert victims
    np.testing.assert_array_equal(model.coef_, whole.coef_)
    np.testing.assert_array_equal(predicted, whole.predict(X))
