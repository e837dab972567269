"""Faults: cut, damaged and hostile checkpoints, a full disk, Ctrl-C, exceptions, NaN from outside: nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_runs import PROBLEM, VALUES, Y, same

import lpnum
from lpnum_optim import METHODS, Checkpoint, FiniteSum, FunctionSum, minimize
from lpnum_optim import checkpoint as files

every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "run.npz"
    minimize(PROBLEM, epochs=3, checkpoint=path, inner_steps=40)
    return path


def refused(path: Path) -> str | None:
    """The error of reading a file, which must be a ValueError that names it; None if it can be read."""
    try:
        files.read(path)
    except ValueError as error:
        said = str(error)
    else:
        return None
    assert str(path) in said
    return said


def test_a_file_that_is_cut_is_refused_wherever_it_ends(written: Path, tmp_path: Path) -> None:
    whole, path = written.read_bytes(), tmp_path / "cut.npz"
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert refused(path) is not None, length
    with pytest.raises(ValueError, match="cut, damaged, or no checkpoint"):
        minimize(PROBLEM, inner_steps=40, resume=path)


def test_a_changed_byte_is_noticed_or_harmless(written: Path, tmp_path: Path) -> None:
    whole, path, noticed = written.read_bytes(), tmp_path / "flipped.npz", 0
    expected = json.dumps(files.read(written), default=repr)
    places = range(0, len(whole), 53)
    for place in places:
        data = bytearray(whole)
        data[place] ^= 0x20
        path.write_bytes(data)
        if refused(path) is None:
            assert json.dumps(files.read(path), default=repr) == expected, place
        else:
            noticed += 1
    assert noticed > len(places) // 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cut, damaged, or no checkpoint"),
        (b"PK\x03\x04 and no more", "cut, damaged, or no checkpoint"),
        (b"\x00" * 1000, "is not a zip archive"),
        ({"x": np.zeros(3)}, "not a checkpoint of minimize"),
        ({"checkpoint": np.zeros(3)}, "not a checkpoint of minimize"),
        ({"checkpoint": b"{}"}, "has the version None"),
        ({"checkpoint": b'{"version": 99}'}, "has version 99 of the layout"),
        ({"checkpoint": b'{"version": 1}'}, "expected the fields"),
        ({"checkpoint": b"[" * 100_000}, "cannot be read"),
    ],
)
def test_foreign_files_are_refused(content: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        lpnum.save(path, {k: np.frombuffer(v, np.uint8) if isinstance(v, bytes) else v for k, v in content.items()})
    assert says in str(refused(path))


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values of a tree."""
    if isinstance(tree, dict):
        return [place for key, value in tree.items() for place in leaves(value, (*path, key))] + [path]
    if isinstance(tree, list):
        return [place for k, value in enumerate(tree) for place in leaves(value, (*path, k))] + [path]
    return [path]


HOSTILE = (
    None, -1, 2**70, 1.5, "text", [], {}, float("nan"), np.zeros(0), np.zeros((3, 3), np.int8), np.full(6, np.nan),
    lpnum.zeros(6, dtype=lpnum.fixed16), lpnum.zeros(5),
)  # fmt: skip


def test_no_value_in_a_file_leads_to_anything_but_a_run_or_a_clear_error(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "hostile.npz"
    whole = files.read(written)
    places = [place for place in leaves(whole) if place]
    tried = 0
    for k, place in enumerate(places):
        for hostile in (HOSTILE[k % len(HOSTILE)], HOSTILE[(k + 5) % len(HOSTILE)]):
            content = files.read(written)
            inner = content
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = hostile
            files.write(path, content)
            tried += 1
            try:
                r = minimize(PROBLEM, inner_steps=40, epochs=4, resume=path)
            except ValueError as error:
                said, good = str(error), False
            else:
                said, good = "", bool(np.isfinite(r.x).all())
            assert good or "hostile.npz" in said, (place, said)
    assert tried > 60
    assert whole.keys() == {"problem", "options", "state"}


def test_a_file_cannot_ask_for_more_memory_than_it_has_bytes(written: Path, tmp_path: Path) -> None:
    content = files.read(written)
    files.write(tmp_path / "a.npz", content)
    data = (tmp_path / "a.npz").read_bytes()
    shape = b"'shape': (4, 8), "
    assert data.count(shape) == 1  # the history
    (tmp_path / "a.npz").write_bytes(data.replace(shape, b"'shape': (1<<40),"))
    assert refused(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(data.replace(shape, b"'shape': (9**9,),"))
    assert refused(tmp_path / "a.npz")


def test_a_full_disk_costs_no_epoch_and_the_older_checkpoint_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    minimize(PROBLEM, epochs=2, checkpoint=path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # the system's own error for every longer file
        with pytest.warns(RuntimeWarning, match="could not be written .*File too large.*the run goes on") as said:
            r = minimize(PROBLEM, epochs=6, checkpoint=Checkpoint(path, every=1), resume=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(said) == 1
    assert r.n_epochs == 6
    assert "the checkpoint could not be written 5 times" in r.message
    assert "the last state is not on the disk" in r.message
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
    whole = minimize(PROBLEM, epochs=6)
    np.testing.assert_array_equal(r.x, whole.x)
    same(minimize(PROBLEM, epochs=6, resume=path), whole)


@pytest.mark.filterwarnings("ignore:minimize. the checkpoint:RuntimeWarning")
def test_a_disk_that_has_room_again_gets_the_next_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    fsync, left = os.fsync, [2]

    def full(descriptor: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    r = minimize(PROBLEM, epochs=5, checkpoint=Checkpoint(path, every=1))
    assert "the checkpoint could not be written 2 times" in r.message
    assert "No space left on device" in r.message
    assert "but later it was" in r.message
    assert files.read(path)["state"]["epoch"] == 5


def test_a_folder_that_vanishes_is_a_failed_write(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with pytest.warns(RuntimeWarning, match="could not be written"):
        r = minimize(PROBLEM, epochs=3, checkpoint=folder / "a.npz", callback=lambda state: _remove(folder))
    assert r.n_epochs == 3


def _remove(folder: Path) -> None:
    if folder.exists():
        folder.rmdir()


def test_ctrl_c_while_writing_leaves_the_older_file_and_returns_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    replace, calls = os.replace, [0]

    def interrupted(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        replace(*arguments)

    monkeypatch.setattr(os, "replace", interrupted)
    r = minimize(PROBLEM, epochs=20, checkpoint=Checkpoint(path, every=1))
    assert r.status == 4
    assert r.n_epochs == 3
    assert r.grad_norm == r.history["grad_norm"].min()
    assert files.read(path)["state"]["epoch"] == 3  # written again after the interrupt
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
    same(minimize(PROBLEM, epochs=7, resume=path), minimize(PROBLEM, epochs=7))


def test_ctrl_c_in_the_middle_of_an_epoch_saves_the_end_of_the_last_one(tmp_path: Path) -> None:
    path, counted = tmp_path / "a.npz", [0]

    def grad_i(i: int, w: np.ndarray) -> np.ndarray:
        counted[0] += 1
        if counted[0] == 500:
            raise KeyboardInterrupt
        return PROBLEM.sample_gradient(i, w)

    def problem() -> FunctionSum:
        return FunctionSum(90, 6, grad_i, PROBLEM.gradient, PROBLEM.objective)

    how: dict[str, Any] = {"step_size": 0.5 / PROBLEM.lipschitz, "inner_steps": 60}
    r = minimize(problem(), epochs=30, checkpoint=path, **how)
    assert r.status == 4
    assert 0 < r.n_epochs < 30
    assert files.read(path)["state"]["epoch"] == r.n_epochs
    same(minimize(problem(), epochs=12, resume=path, **how), minimize(problem(), epochs=12, **how))


@every_method
@pytest.mark.parametrize("calls", [2, 5, 9])
def test_ctrl_c_in_the_full_gradient_returns_the_best(method: str, calls: int, tmp_path: Path) -> None:
    path, counted = tmp_path / "a.npz", [0]

    def full(w: np.ndarray) -> np.ndarray:
        counted[0] += 1
        if counted[0] == calls:
            raise KeyboardInterrupt
        return PROBLEM.gradient(w)

    problem = FunctionSum(90, 6, PROBLEM.sample_gradient, full, PROBLEM.objective)
    r = minimize(problem, method, epochs=20, checkpoint=path, inner_steps=30)
    assert r.status == 4
    assert r.n_epochs < calls
    assert r.fun == PROBLEM.objective(r.x)
    if r.n_epochs:
        assert files.read(path)["state"]["epoch"] == r.n_epochs
        assert r.grad_norm == r.history["grad_norm"].min()
    counted[0] = calls
    same(
        minimize(problem, method, epochs=11, inner_steps=30, checkpoint=path, resume=True),
        minimize(problem, method, epochs=11, inner_steps=30),
    )


# A shell's background jobs ignore SIGINT, and so would a child of theirs.
CHILD = """
    import signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import numpy as np
    from lpnum_optim import Checkpoint, FiniteSum, minimize
    rng = np.random.default_rng(0)
    X = rng.integers(-127, 128, (2000, 50)).astype(np.int8)
    problem = FiniteSum(X, X @ np.ones(50) + 99 * rng.standard_normal(2000), l2=0.1)
    def tell(state):
        if state.epoch == 3:
            print("three", flush=True)
    r = minimize(problem, "sgd", epochs=int(sys.argv[2]), callback=tell, resume=True,
                 checkpoint=Checkpoint(sys.argv[1], every=1))
    print(r.status, r.n_epochs, r.x.tobytes().hex())
"""


def _child(path: Path, epochs: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", textwrap.dedent(CHILD), str(path), str(epochs)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_interrupted_or_killed_loses_nothing(tmp_path: Path, kind: signal.Signals) -> None:
    path = tmp_path / "a.npz"
    with _child(path, 10**9) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "three\n"
        time.sleep(0.05)
        child.send_signal(kind)
        rest = child.stdout.read()
    epoch = files.read(path)["state"]["epoch"]
    assert epoch >= 2
    if kind == signal.SIGINT:
        status, done, _ = rest.split()
        assert status == "4"
        assert int(done) in (epoch, epoch + 1)
    ends = []
    for where in (path, tmp_path / "new"):
        with _child(where, epoch + 3) as child:
            ends.append(child.communicate(timeout=60)[0].split()[-3:])
    assert ends[0] == ends[1]
    assert ends[0][:2] == ["1", str(epoch + 3)]


# ---- exceptions and NaN ----------------------------------------------------------------------------------------------


@every_method
def test_an_exception_of_a_callback_carries_the_result(method: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"

    def broken(state: Any) -> None:
        if state.epoch == 3:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        minimize(PROBLEM, method, epochs=9, callback=broken, checkpoint=path)
    r = caught.value.result  # type: ignore[attr-defined]
    assert r.n_epochs == 3
    assert r.grad_norm == r.history["grad_norm"].min() == float(np.linalg.norm(PROBLEM.gradient(r.x)))
    assert "ZeroDivisionError" in r.message
    assert "result" in caught.value.__notes__[0]
    assert files.read(path)["state"]["epoch"] == 2  # the callback has not seen the third epoch to its end
    same(minimize(PROBLEM, method, epochs=9, resume=path), minimize(PROBLEM, method, epochs=9))


def test_an_exception_before_the_first_gradient_is_as_it_was() -> None:
    def broken(w: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError) as caught:
        minimize(FunctionSum(90, 6, PROBLEM.sample_gradient, broken))
    assert not hasattr(caught.value, "result")


@every_method
def test_data_that_turn_nan_are_named_by_their_row(method: str, tmp_path: Path) -> None:
    stored = np.memmap(tmp_path / "X", np.float32, "w+", shape=VALUES.shape)
    stored[:] = VALUES

    def spoil(state: Any) -> None:
        if state.epoch == 3:
            stored[17, 2] = np.nan

    path = tmp_path / "a.npz"
    r = minimize(FiniteSum(stored, Y, l2=0.01), method, epochs=9, callback=spoil, checkpoint=Checkpoint(path, every=1))
    assert r.status == 2
    assert r.n_epochs == 4
    assert "diverged in epoch 4: row 17 of X holds NaN or infinity" in r.message
    assert "have changed during the run" in r.message
    assert "step" not in r.message
    assert r.grad_norm == np.nanmin(r.history["grad_norm"])
    clean = FiniteSum(VALUES.astype(np.float32), Y, l2=0.01)
    assert np.linalg.norm(clean.gradient(r.x)) == pytest.approx(r.grad_norm, rel=1e-9)
    assert files.read(path)["state"]["epoch"] == 3  # the last one that was finite
    same(minimize(clean, method, epochs=9, resume=path), minimize(clean, method, epochs=9))


@every_method
@pytest.mark.parametrize("what", ["component", "full"])
def test_functions_that_turn_nan_end_the_run_and_are_named(method: str, what: str) -> None:
    spoiled = False

    def grad_i(i: int, w: np.ndarray) -> np.ndarray:
        return PROBLEM.sample_gradient(i, w) * (np.nan if spoiled and what == "component" and i == 17 else 1.0)

    def full(w: np.ndarray) -> np.ndarray:
        return PROBLEM.gradient(w) * (np.nan if spoiled and what == "full" else 1.0)

    def spoil(state: Any) -> None:
        nonlocal spoiled
        spoiled = state.epoch == 3

    problem = FunctionSum(90, 6, grad_i, full, PROBLEM.objective)
    r = minimize(problem, method, epochs=9, callback=spoil, sampling="shuffle")
    assert r.status == 2
    name = "the gradient of component 17" if what == "component" else "the full gradient"
    assert f"diverged in epoch 4: {name} of the FunctionSum is NaN or infinite" in r.message
    assert r.fun == PROBLEM.objective(r.x)
    assert np.isfinite(r.x).all()


def test_nan_in_the_rows_of_the_readable_loop_is_named_too() -> None:
    values = VALUES.copy()

    def spoil(state: Any) -> None:
        if state.epoch == 2:
            values[5] = np.inf

    r = minimize(FiniteSum(values, Y, l2=0.01), "lp-svrg", engine="readable", epochs=5, callback=spoil)
    assert r.status == 2
    assert "diverged in epoch 3: row 5 of X holds NaN" in r.message
