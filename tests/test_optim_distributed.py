"""Problems on Dask arrays: the values, gradients and optimum of the undivided problem, whatever happens to workers."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lpnum
from lpnum_optim import FiniteSum, MinimizeResult, minimize
from lpnum_optim.losses import LOSSES

dask = pytest.importorskip("dask", reason="needs dask")
da = pytest.importorskip("dask.array", reason="needs dask")
sparse = pytest.importorskip("scipy.sparse", reason="needs scipy")

from lpnum_optim._chunked_run import ChunkRules  # noqa: E402
from lpnum_optim.distributed import ChunkedSum, ChunkError  # noqa: E402

N, D = 400, 6
ROWS = (90, 160, 0, 149, 1)


@pytest.fixture(autouse=True)
def synchronous() -> Iterator[None]:
    """Without threads, where a test does not say otherwise."""
    with dask.config.set(scheduler="synchronous"):
        yield


def made(seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """X, targets of every loss, weights."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D))
    line = X @ np.array([2.0, -1.0, 0.0, 0.5, 0.0, 1.0]) + 0.7
    noise = rng.standard_normal(N)
    targets = {
        "squared": line + noise,
        "huber": line + noise * np.where(rng.random(N) < 0.1, 20, 1),
        "logistic": (line + 2 * noise > 0).astype(float),
        "softmax": np.digitize(line + 2 * noise, [-1.0, 1.5]) * 10.0,
    }
    return X, targets, rng.random(N) * np.where(rng.random(N) < 0.1, 0, 2)


def chunked(X: Any, rows: Any = ROWS) -> Any:
    return da.from_array(X, chunks=(rows, X.shape[1]), asarray=False)


KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "int8": lambda X: np.rint(20 * X).astype(np.int8),
    "fixed8": lambda X: lpnum.array(X, dtype=lpnum.fixed8),
    "fixed8 columns": lambda X: lpnum.array(X * [1, 30, 0.2, 5, 0.1, 1], dtype=lpnum.fixed8, axis=1),
    "ufixed8 offsets": lambda X: lpnum.array(X + 3, dtype=lpnum.ufixed8, axis=1, calibration="minmax"),
    "fixed4": lambda X: lpnum.array(X, dtype=lpnum.fixed4),
    "float8": lambda X: lpnum.array(X, dtype=lpnum.float8_e4m3fn),
}


@pytest.mark.parametrize(("loss", "kind"), [*zip(2 * list(LOSSES), KINDS, strict=True), ("softmax", "fixed8 columns")])
def test_values_and_gradients_are_those_of_the_undivided_problem(loss: str, kind: str) -> None:
    X, targets, weights = made()
    X = KINDS[kind](X)
    options: dict[str, Any] = {"loss": loss, "l2": 0.05, "intercept": True, "sample_weight": weights}
    whole = FiniteSum(X, targets[loss], **options)
    problem = FiniteSum(chunked(X), targets[loss], **options)
    assert isinstance(problem, ChunkedSum)
    assert problem.shape == whole.shape
    assert (problem.n_samples, problem.n_features) == (N, D)
    w = np.random.default_rng(1).standard_normal(whole.shape)
    here, there = problem.evaluate(w), whole.evaluate(w)
    np.testing.assert_allclose(here.gradient, there.gradient, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(here.objective, there.objective, rtol=1e-13)
    np.testing.assert_allclose(problem.objective(w), there.objective, rtol=1e-13)
    np.testing.assert_allclose(problem.sample_gradient(300, w), whole.sample_gradient(300, w), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(problem.lipschitz, whole.lipschitz, rtol=1e-12)
    np.testing.assert_allclose(problem.intercept_unit, whole.intercept_unit, rtol=1e-12)
    np.testing.assert_allclose(problem.sample_lipschitz, whole.sample_lipschitz, rtol=1e-12)
    assert 0.5 * whole.smoothness < problem.smoothness <= 2 * whole.smoothness
    assert problem.data_nbytes == whole.data_nbytes
    assert here.margins is None
    assert len(here.values) == 4


def test_sparse_chunks_are_taken_as_they_are() -> None:
    X, targets, _ = made()
    X = X * (np.random.default_rng(2).random(X.shape) < 0.4)
    blocks = [sparse.csr_array(part) for part in np.split(X, [150])]
    X_dask = da.concatenate(
        [da.from_delayed(dask.delayed(b), b.shape, dtype=float, meta=sparse.csr_array((0, 0))) for b in blocks]
    )
    problem, whole = (FiniteSum(rows, targets["logistic"], "logistic", 0.05) for rows in (X_dask, X))
    w = np.linspace(-1, 1, D)
    np.testing.assert_allclose(problem.gradient(w), whole.gradient(w), rtol=1e-12, atol=1e-14)
    assert np.linalg.norm(whole.gradient(minimize(problem, tol=1e-10).x)) < 2e-10


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_halp_on_chunks_reaches_the_optimum_of_the_undivided_problem(loss: str, order: str) -> None:
    X, targets, weights = made()
    y = targets[loss]
    if order == "sorted":
        by_label = np.argsort(y)
        X, y, weights = X[by_label], y[by_label], weights[by_label]
    X = lpnum.array(X, dtype=lpnum.fixed8)
    options: dict[str, Any] = {"loss": loss, "l2": 0.05, "intercept": True, "sample_weight": weights}
    whole, problem = FiniteSum(X, y, **options), FiniteSum(chunked(X, (150, 150, 100)), y, **options)
    r = minimize(problem, "halp", bits=8, tol=1e-9, epochs=400)
    assert r.converged, r.message
    assert np.linalg.norm(whole.gradient(r.x)) < 2e-9
    assert r.iterate.codes.dtype == np.int8
    assert np.array_equal(r.iterate.dequantize().ravel()[:3], problem.split(r.x)[0].ravel()[:3])


def test_an_l1_penalty_gives_the_same_zeros() -> None:
    X, targets, _ = made()
    X = lpnum.array(X, dtype=lpnum.fixed8)
    whole, problem = (FiniteSum(x, targets["squared"], l1=0.3, intercept=True) for x in (X, chunked(X)))
    a, b = (minimize(p, tol=1e-8, epochs=300) for p in (whole, problem))
    assert a.converged
    assert b.converged
    np.testing.assert_allclose(a.x, b.x, atol=1e-7)
    assert 0 < np.count_nonzero(a.x == 0) == np.count_nonzero(b.x == 0)


def test_chunks_may_have_grids_of_their_own() -> None:
    X, targets, _ = made()
    plain = da.from_array(X * [1, 30, 0.2, 5, 0.1, 1], chunks=(100, D))
    low = plain.map_blocks(lambda block: lpnum.array(block, axis=1), meta=lpnum.zeros((0, 0)))
    whole = FiniteSum(np.asarray(low.compute().dequantize()), targets["squared"], l2=1e-3)
    r = minimize(FiniteSum(low, targets["squared"], l2=1e-3), tol=1e-8, epochs=200)
    assert r.converged, r.message
    assert np.linalg.norm(whole.gradient(r.x)) < 2e-8


@pytest.mark.parametrize("method", ["sgd", "lp-sgd", "svrg", "lp-svrg", "halp"])
def test_every_method_and_both_engines_run_on_chunks(method: str) -> None:
    X, targets, _ = made()
    problem = FiniteSum(chunked(lpnum.array(X, dtype=lpnum.fixed8)), da.from_array(targets["squared"], chunks=77))
    start = problem.evaluate(np.zeros(D)).grad_norm
    for engine in ("compiled", "readable"):
        r = minimize(problem, method, epochs=6, engine=engine, inner_steps=N, batch_size=2, sampling="shuffle")
        assert r.grad_norm < (1e-2 if method in ("svrg", "halp") else 0.3) * start
        assert r.history["epoch"][-1] == 6


def test_a_zero_gradient_moves_no_chunk() -> None:
    # differences between chunks do not matter at the optimum: the first step of each is the full gradient
    X = np.kron(np.eye(4), np.ones((10, 1)))
    problem = FiniteSum(chunked(X, (10, 10, 10, 10)), X @ [1.0, 2.0, 3.0, 4.0])
    r = minimize(problem, "svrg", x0=[1.0, 2.0, 3.0, 4.0], epochs=3)
    assert r.converged
    assert r.grad_norm == 0
    gradients = [chunk.compute().gradient([1.0, 2.0, 3.0, 5.0]) for chunk in problem.chunks]
    assert not np.allclose(gradients[0], gradients[3])


def one_feature_each() -> ChunkedSum:
    """Every chunk sees one feature of four: three of four chunks go much too far in every direction."""
    rng = np.random.default_rng(0)
    X = np.kron(np.eye(4), np.ones((200, 1))) * rng.standard_normal((800, 1)) + 0.05 * rng.standard_normal((800, 4))
    problem = FiniteSum(chunked(lpnum.array(X), (200,) * 4), X.sum(axis=1) + rng.standard_normal(800))
    assert isinstance(problem, ChunkedSum)
    return problem


def test_steps_that_do_not_contract_are_undone_and_become_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = one_feature_each()
    for method in ("svrg", "halp"):
        r = minimize(problem, method, tol=1e-9, epochs=300, inner_steps=6400)
        assert r.converged, r.message
        assert "undone" in r.message
        assert r.history["passes"][-1] < 8 * r.n_epochs  # fewer steps than 8 n, and the full gradient
        assert r.grad_norm <= r.history["grad_norm"].min()
    monkeypatch.setattr(ChunkRules, "finish", lambda self, norm: False)
    assert not minimize(problem, "svrg", tol=1e-9, epochs=60, inner_steps=6400, acceleration=0).converged


def test_neither_threads_nor_their_number_change_a_bit() -> None:
    X, targets, weights = made()
    X = lpnum.array(X, dtype=lpnum.fixed8, axis=1)
    results: list[MinimizeResult] = []
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler, num_workers=3):
            problem = FiniteSum(
                chunked(X, (50,) * 8), targets["logistic"], "logistic", 0.01, intercept=True, sample_weight=weights
            )
            results.append(minimize(problem, epochs=4, seed=5))
    assert np.array_equal(results[0].x, results[1].x)
    assert np.array_equal(results[0].history["objective"], results[1].history["objective"])
    other = minimize(problem, epochs=4, seed=6)
    assert not np.array_equal(other.x, results[0].x)


def test_the_client_receives_nothing_of_the_size_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    sizeof = pytest.importorskip("dask.sizeof").sizeof
    rng = np.random.default_rng(0)
    X = da.from_array(lpnum.array(rng.standard_normal((5000, 20))), chunks=(1000, 20))
    received = []
    compute = dask.base.compute

    def counted(*arguments: Any, **options: Any) -> Any:
        results = compute(*arguments, **options)
        received.append(sizeof(results))
        return results

    monkeypatch.setattr(dask, "compute", counted)
    monkeypatch.setattr(dask.base, "compute", counted)  # of x.compute()
    r = minimize(FiniteSum(X, rng.standard_normal(5000), intercept=True), epochs=3)
    assert r.n_epochs == 3
    assert len(received) >= 5
    assert max(received) < 5000  # bytes: not one per sample


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_chunk_that_is_not_finite_is_named_with_its_first_row() -> None:
    X, targets, weights = made()
    y = targets["squared"]
    damaged = X.copy()
    damaged[[270, 300], 3] = np.nan
    with pytest.raises(
        ChunkError, match=r"chunk 3 \(rows 250 to 398\): X holds 2 NaN .* index \(20, 3\).*row 270"
    ) as e:
        FiniteSum(chunked(damaged), y)
    assert (e.value.chunk, e.value.row) == (3, 270)
    y = y.copy()
    y[95] = np.inf
    with pytest.raises(ChunkError, match=r"chunk 1 \(rows 90 to 249\): y holds 1 NaN .*row 95"):
        FiniteSum(chunked(X), y)
    with pytest.raises(ChunkError, match=r"chunk 0 .*sample_weight\[7\] = -1; weights must not"):
        FiniteSum(chunked(X), targets["squared"], sample_weight=np.where(np.arange(N) == 7, -1, weights))
    codes = lpnum.array(X, dtype=lpnum.float8_e4m3fn)
    codes.codes[399, 0] = 0x7F
    with pytest.raises(ChunkError, match=r"chunk 4 .*row 399"):
        FiniteSum(chunked(codes), targets["squared"])


def test_nan_that_arrives_during_a_fit_is_an_error_that_keeps_the_best_point() -> None:
    X, targets, _ = made()
    loads = []

    def load(k: int) -> np.ndarray:
        loads.append(k)
        block = X[200 * k : 200 * k + 200].copy()
        if len(loads) > 20:
            block[5] = np.nan
        return block

    blocks = [da.from_delayed(dask.delayed(load, pure=False)(k), (200, D), dtype=float) for k in range(2)]
    problem = FiniteSum(da.concatenate(blocks), targets["squared"])
    with pytest.raises(ChunkError, match=r"row (205|5)\)") as e:
        minimize(problem, epochs=50)
    best = e.value.result
    assert best.n_epochs >= 2
    assert best.grad_norm == best.history["grad_norm"].min() < best.history["grad_norm"][0]


def test_arrays_that_cannot_be_taken_say_what_to_do() -> None:
    X, targets, _ = made()
    y, X = targets["squared"], X[:, :4]
    good = da.from_array(X, chunks=(100, 4))
    cases: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (ValueError, r"2 chunks along the columns.*rechunk\(\{1: -1\}\)", lambda: FiniteSum(good.rechunk((100, 2)), y)),
        (ValueError, r"sizes .* unknown; X\.compute_chunk_sizes\(\)", lambda: FiniteSum(good[good[:, 0] > 0], y)),
        (ValueError, r"sizes .* unknown; y\.compute", lambda: FiniteSum(good, good[good[:, 0] > 0][:, 0])),
        (ValueError, r"y has shape \(399,\)", lambda: FiniteSum(good, y[1:])),
        (ValueError, r"sample_weight has shape \(2,\)", lambda: FiniteSum(good, y, sample_weight=[1, 2])),
        (ValueError, "all sample weights are zero", lambda: FiniteSum(good, y, sample_weight=np.zeros(N))),
        (ValueError, r"X has shape \(400,\)", lambda: FiniteSum(good[:, 0], y)),
        (ValueError, "X is empty", lambda: FiniteSum(good[:0], y[:0])),
        (ValueError, "labels .*needs samples of both", lambda: FiniteSum(good, np.ones(N), "logistic")),
        (ValueError, "takes -1 and .1", lambda: FiniteSum(good, np.arange(N) % 3, "logistic")),
        (TypeError, r"Dask Delayed; pass dask\.array\.from_delayed", lambda: FiniteSum(dask.delayed(X), y)),
        (ChunkError, r"told \(100, 4\)", lambda: FiniteSum(good.map_blocks(lambda b: b[1:], chunks=good.chunks), y)),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


def test_labels_that_a_chunk_does_not_have_are_known_to_it() -> None:
    X, targets, _ = made()
    y = np.sort(targets["softmax"])
    problem = FiniteSum(chunked(X), y, "softmax")
    assert problem.classes is not None
    assert problem.classes.tolist() == [0, 10, 20]
    assert all(chunk.compute().shape == (3, D) for chunk in problem.chunks)


def test_an_error_of_a_chunk_is_pickled_with_its_numbers() -> None:
    error = pickle.loads(pickle.dumps(ChunkError("text", 3, 17)))
    assert (str(error), error.chunk, error.row) == ("text", 3, 17)


# --- processes -------------------------------------------------------------------------------------------------------


def from_files(fatal: Path | None = None) -> tuple[Any, Any]:
    """X and y as Dask arrays of chunks that are made where they are needed, as those of files are.

    The first process that loads chunk 2 dies while the file `fatal` exists.
    """

    def load(k: int) -> tuple[lpnum.LPArray, np.ndarray]:
        if k == 2 and fatal is not None and fatal.exists():
            fatal.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        rng = np.random.default_rng(k)
        X = lpnum.array(rng.standard_normal((300, 8)), dtype=lpnum.fixed8, scale=1 / 32)
        return X, (X @ np.arange(8.0) + rng.standard_normal(300) > 0).astype(float)

    loaded = [dask.delayed(load, pure=False)(k) for k in range(6)]
    meta = lpnum.zeros((0, 0), dtype=lpnum.fixed8)
    X = [da.from_delayed(part[0], (300, 8), meta=meta) for part in loaded]
    return da.concatenate(X), da.concatenate([da.from_delayed(part[1], (300,), dtype=float) for part in loaded])


def fit(fatal: Path | None = None, **options: Any) -> MinimizeResult:
    X, y = from_files(fatal)
    return minimize(FiniteSum(X, y, "logistic", 0.01, intercept=True), tol=1e-9, seed=1, **options)


@pytest.fixture(scope="module")
def one_process() -> MinimizeResult:
    with dask.config.set(scheduler="synchronous"):
        return fit()


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two processes; what is lost is started again."""
    distributed = pytest.importorskip("distributed", reason="needs distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    )
    with cluster, distributed.Client(cluster, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        yield cluster, client


@pytest.mark.slow
def test_processes_give_the_bits_of_one_process_and_keep_the_chunks(cluster: Any, one_process: MinimizeResult) -> None:
    _, client = cluster
    sizeof = pytest.importorskip("dask.sizeof").sizeof
    received = []

    with dask.config.set(scheduler=client):
        gather = client.gather
        client.gather = lambda *a, **k: received.append(gather(*a, **k)) or received[-1]
        try:
            r = fit()
        finally:
            del client.gather
    assert one_process.converged
    assert np.array_equal(r.x, one_process.x)
    assert received
    assert max(map(sizeof, received)) < 3000  # bytes; a chunk has 2,400 codes and as many bytes of targets


@pytest.mark.slow
def test_a_worker_that_dies_in_a_task_is_no_loss(cluster: Any, one_process: MinimizeResult, tmp_path: Path) -> None:
    _, client = cluster
    fatal = tmp_path / "fatal"
    fatal.touch()
    with dask.config.set(scheduler=client):
        r = fit(fatal)
    assert not fatal.exists()
    assert np.array_equal(r.x, one_process.x)


@pytest.mark.slow
@pytest.mark.parametrize("restarted", [True, False])
def test_a_fit_survives_the_loss_of_a_worker_with_the_same_bits(
    cluster: Any, one_process: MinimizeResult, restarted: bool
) -> None:
    cluster, client = cluster
    client.wait_for_workers(2, timeout=60)
    victims: list[int] = []

    def kill(state: Any) -> None:
        # chunks, margins and slopes of this worker are lost; with a Nanny, another process takes its place
        if state.epoch == 3 and not victims:
            nanny = next(one for one in cluster.workers.values() if one.pid)
            if not restarted:
                nanny.close_gracefully()  # it does not replace a process that goes away
            victims.append(nanny.pid)
            os.kill(nanny.pid, signal.SIGKILL)

    with dask.config.set(scheduler=client):
        r = fit(callback=kill)
    assert victims
    assert r.converged, r.message
    assert np.array_equal(r.x, one_process.x)
    assert np.array_equal(r.history["objective"], one_process.history["objective"])
