"""Runs on Dask arrays that end, are killed, meet damage, and go on to the same bits; sampling by importance there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_runs import same

import lpnum
from lpnum_optim import METHODS, Checkpoint, FiniteSum, minimize
from lpnum_optim import checkpoint as files

dask = pytest.importorskip("dask", reason="needs dask")
da = pytest.importorskip("dask.array", reason="needs dask")

rng = np.random.default_rng(6)
VALUES = rng.standard_normal((200, 5)) * np.where(rng.random((200, 1)) < 0.1, 6.0, 1.0)
LINE = VALUES @ [2.0, -1.0, 0.5, 0.0, 1.0] + 0.4
NUMBERS = LINE + rng.standard_normal(200)
LABELS = np.digitize(LINE + rng.standard_normal(200), [-1.0, 1.0])
WEIGHTS = rng.random(200)
ROWS = (60, 0, 90, 49, 1)


@pytest.fixture(autouse=True)
def synchronous() -> Iterator[None]:
    """Without threads, where a test does not say otherwise."""
    with dask.config.set(scheduler="synchronous"):
        yield


def chunked(X: Any, rows: Any = ROWS) -> Any:
    return da.from_array(X, chunks=(rows, X.shape[1]), asarray=False)


def problem(X: Any = None, y: Any = NUMBERS, loss: str = "squared", **how: Any) -> FiniteSum:
    X = lpnum.array(VALUES, dtype=lpnum.fixed8) if X is None else X
    return FiniteSum(chunked(X), y, loss, **{"l2": 0.02, **how})


PROBLEMS = {
    "squared": problem,
    "softmax": lambda: problem(None, LABELS, "softmax", intercept=True),
    "logistic with weights": lambda: problem(
        None, da.from_array(LABELS > 1, chunks=77), "logistic", intercept=True,
        sample_weight=da.from_array(WEIGHTS, chunks=200),
    ),
    "elastic net": lambda: problem(l1=0.1, intercept=True),
    "columns with offsets": lambda: problem(
        lpnum.array(VALUES + 3.0, dtype=lpnum.fixed8, axis=1, offset=np.full((1, 5), 3.0)), intercept=True
    ),
    "float32": lambda: problem(VALUES.astype(np.float32)),
    "one chunk": lambda: FiniteSum(chunked(VALUES, (200,)), NUMBERS, l2=0.02),
}  # fmt: skip


def resumed(make: Any, method: str, path: Path, cuts: tuple[int, ...] = (1, 3), epochs: int = 6, **how: Any) -> Any:
    """The result of a run that ended after each of the cuts and went on from the file, each time with a new problem."""
    for cut in cuts:
        minimize(make(), method, epochs=cut, checkpoint=path, resume=True, **how)
    return minimize(make(), method, epochs=epochs, resume=path, **how)


@pytest.mark.parametrize(("name", "method"), [*((name, "halp") for name in PROBLEMS), ("softmax", "svrg")])
def test_a_run_on_chunks_that_goes_on_is_the_run_that_never_stopped(name: str, method: str, tmp_path: Path) -> None:
    make = PROBLEMS[name]
    same(resumed(make, method, tmp_path / "a.npz", epochs=5), minimize(make(), method, epochs=5))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *((method, {"sampling": "shuffle", "batch_size": 2}) for method in METHODS),
        *((method, {"sampling": "importance"}) for method in ("sgd", "svrg", "halp")),
        ("halp", {"bits": 3, "inner_steps": 600}),  # epochs are undone
        ("halp", {"engine": "readable", "inner_steps": 40}),
        ("halp", {"mu": 0.5}),
        ("halp", {"acceleration": 0}),
        ("svrg", {"dtype": np.float32, "acceleration": 3}),
        ("lp-svrg", {"scale": 0.05, "bits": 12}),
    ],
)
def test_every_method_and_option_goes_on_with_the_same_bits_on_chunks(
    method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    whole = minimize(problem(), method, epochs=5, **options)
    same(resumed(problem, method, tmp_path / "a.npz", (2,), 5, **options), whole)


def test_chunks_that_take_fewer_steps_go_on_with_as_few(tmp_path: Path) -> None:
    # every chunk sees one feature alone, so epochs are undone
    X = np.kron(np.eye(4), np.ones((50, 1))) * VALUES[:, :1] + 0.05 * VALUES[:, :4]

    def make() -> FiniteSum:
        return FiniteSum(chunked(X, (50,) * 4), NUMBERS)

    how = {"inner_steps": 3200, "acceleration": 0}
    whole = minimize(make(), "svrg", epochs=12, **how)
    assert "undone" in whole.message
    same(resumed(make, "svrg", tmp_path / "a.npz", (3, 7), 12, **how), whole)
    state = files.read(tmp_path / "a.npz")["state"]
    assert 0 < state["rule"]["share_of_steps"] < 1


def test_a_run_goes_on_under_another_scheduler(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    whole = minimize(problem(), epochs=5)
    minimize(problem(), epochs=2, checkpoint=path)
    with dask.config.set(scheduler="threads", num_workers=3):
        same(minimize(problem(), epochs=5, resume=path), whole)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: problem(l2=0.03), "l2 was 0.02 and is 0.03"),
        (lambda: problem(y=NUMBERS + 1e-9), "targets was"),
        (lambda: problem(VALUES), "kind of data was 'int8' and is 'float64'"),
        (lambda: problem(lpnum.array(VALUES[::-1].copy(), dtype=lpnum.fixed8)), "data was"),
        (lambda: problem(sample_weight=WEIGHTS), "sample weights was None"),
        (
            lambda: FiniteSum(chunked(lpnum.array(VALUES, dtype=lpnum.fixed8), (100, 100)), NUMBERS, l2=0.02),
            "chunks was 4 and is 2; rows of the chunks was",
        ),
        (
            lambda: FiniteSum(lpnum.array(VALUES, dtype=lpnum.fixed8), NUMBERS, l2=0.02),
            "kind was 'ChunkedSum' and is 'FiniteSum'",
        ),
    ],
)
def test_other_chunks_are_named(other: Any, says: str, tmp_path: Path) -> None:
    minimize(problem(), epochs=2, checkpoint=tmp_path / "a.npz")
    with pytest.raises(ValueError, match=says):
        minimize(other(), epochs=4, resume=tmp_path / "a.npz")


def test_a_damaged_state_of_the_chunks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    minimize(problem(), epochs=2, checkpoint=path)
    for name, hostile in (
        ("rules", []), ("rules", [{}] * 4), ("rules", None), ("share_of_steps", 0.0), ("share_of_steps", "text"),
        ("best", None), ("scales", np.zeros(3)), ("scales", [1.0]),
    ):  # fmt: skip
        content = files.read(path)
        content["state"]["rule"][name] = hostile
        files.write(tmp_path / "hostile.npz", content)
        with pytest.raises(ValueError, match=r"hostile\.npz' is damaged"):
            minimize(problem(), epochs=4, resume=tmp_path / "hostile.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut, damaged, or no checkpoint"):
        minimize(problem(), epochs=4, resume=path)


def test_a_chunk_that_turns_bad_leaves_a_checkpoint_of_the_epochs_before(tmp_path: Path) -> None:
    path, bad = tmp_path / "a.npz", []

    def load(k: int) -> np.ndarray:
        return VALUES[100 * k : 100 * k + 100] * (np.nan if bad and k else 1.0)

    def make() -> FiniteSum:
        blocks = [da.from_delayed(dask.delayed(load, pure=False)(k), (100, 5), dtype=float) for k in range(2)]
        return FiniteSum(da.concatenate(blocks), NUMBERS, l2=0.02)

    whole = minimize(make(), epochs=7)
    with pytest.raises(ValueError, match=r"chunk 1 \(rows 100 to 199\)"):
        minimize(make(), epochs=7, checkpoint=path, callback=lambda state: bad.append(1) if state.epoch == 3 else None)
    bad.clear()
    assert files.read(path)["state"]["epoch"] == 3
    same(minimize(make(), epochs=7, resume=path), whole)


def test_importance_on_chunks_is_unbiased_and_takes_longer_steps() -> None:
    whole = FiniteSum(lpnum.array(VALUES, dtype=lpnum.fixed8), NUMBERS, l2=0.02)
    one = problem()
    assert one.importance().lipschitz < 0.7 * one.lipschitz
    several = minimize(one, sampling="importance", tol=1e-9, epochs=200)
    assert several.converged
    assert several.step_size > 1.4 * minimize(one, epochs=1).step_size
    assert np.linalg.norm(whole.gradient(several.x)) < 2e-9
    undivided = FiniteSum(chunked(lpnum.array(VALUES, dtype=lpnum.fixed8), (200,)), NUMBERS, l2=0.02)
    assert undivided.importance().lipschitz == pytest.approx(whole.importance().lipschitz, rel=1e-12)


# --- processes -------------------------------------------------------------------------------------------------------

CLIENT = """
    import sys
    import dask, numpy as np
    import dask.array as da
    from lpnum_optim import Checkpoint, FiniteSum, minimize
    address, path, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    def load(k):
        return np.random.default_rng(k).integers(-127, 128, (500, 8)).astype(np.int8)
    X = da.concatenate([da.from_delayed(dask.delayed(load)(k), (500, 8), dtype=np.int8) for k in range(4)])
    y = np.random.default_rng(9).standard_normal(2000)
    def tell(state):
        if state.epoch == 3:
            print("three", flush=True)
    def run():
        r = minimize(FiniteSum(X, y, l2=1.0), epochs=epochs, callback=tell, resume=True, inner_steps=200,
                     acceleration=0, checkpoint=Checkpoint(path, every=1))
        print(r.status, r.n_epochs, r.x.tobytes().hex(), flush=True)
    if address == "threads":
        dask.config.set(scheduler="threads")
        run()
    else:
        from distributed import Client
        with Client(address, timeout=60):
            run()
"""


def client(address: str, path: Path, epochs: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", textwrap.dedent(CLIENT), address, str(path), str(epochs)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def killed_and_resumed(address: str, folder: Path) -> tuple[list[str], list[str]]:
    """What a client process says that went on after another one was killed, and one that ran from start to end."""
    path = folder / "a.npz"
    with client(address, path, 10**9) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "three\n"
        child.send_signal(signal.SIGKILL)
    epoch = files.read(path)["state"]["epoch"]
    assert epoch >= 2
    ends = []
    for where in (path, folder / "new"):
        with client(address, where, epoch + 4) as child:
            ends.append(child.communicate(timeout=100)[0].split()[-3:])
    assert ends[0][:2] == ["1", str(epoch + 4)]
    return ends[0], ends[1]


@pytest.mark.slow
def test_a_client_that_is_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    first, second = killed_and_resumed("threads", tmp_path)
    assert first == second


@pytest.mark.slow
def test_a_client_of_a_cluster_that_is_killed_goes_on_from_another_process(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    ) as cluster:
        first, second = killed_and_resumed(cluster.scheduler_address, tmp_path)
    assert first == second
    with client("threads", tmp_path / "other", int(first[1])) as child:  # and neither do processes matter
        assert child.communicate(timeout=100)[0].split()[-3:] == first


@pytest.mark.slow
def test_a_client_that_is_killed_after_a_worker_was_killed_goes_on(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs distributed")
    path, victims = tmp_path / "a.npz", []
    whole = minimize(problem(), epochs=8)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    )

    def kill(state: Any) -> None:
        if state.epoch == 2 and not victims:
            victims.append(next(one.pid for one in cluster.workers.values() if one.pid))
            os.kill(victims[0], signal.SIGKILL)
        if state.epoch == 4:
            raise ZeroDivisionError("the end of the client")

    with cluster, distributed.Client(cluster, timeout=60) as here, dask.config.set(scheduler=here):
        here.wait_for_workers(2, timeout=60)
        with pytest.raises(ZeroDivisionError):
            minimize(problem(), epochs=8, callback=kill, checkpoint=Checkpoint(path, every=1))
        assert files.read(path)["state"]["epoch"] == 3
        same(minimize(problem(), epochs=8, resume=path), whole)
    assert victims
