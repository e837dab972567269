"""Checkpoints: a run that goes on gives the same bits; another problem and other options are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_runs import PROBLEM, VALUES, X, Y, functions, same
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import lpnum
from lpnum._core import kernels
from lpnum_optim import METHODS, Checkpoint, EarlyStopping, FiniteSum, Trace, anderson, minimize
from lpnum_optim import checkpoint as files
from lpnum_optim._core import epochs

CLASSES = np.argmax(VALUES[:, :3] + 0.5 * np.random.default_rng(5).standard_normal((90, 3)), axis=1)

every_method = pytest.mark.parametrize("method", METHODS)


def resumed(problem: Any, method: str, path: Path, cuts: tuple[int, ...] = (2, 3), epochs: int = 6, **how: Any) -> Any:
    """The result of a run that ended after each of the cuts and went on from the file."""
    for cut in cuts:
        minimize(problem, method, epochs=cut, checkpoint=path, resume=True, **how)
    return minimize(problem, method, epochs=epochs, resume=path, **how)


# ---- the same bits ---------------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("engine", ["compiled", "readable"])
@pytest.mark.parametrize("sampling", ["replacement", "shuffle", "importance"])
def test_a_run_that_goes_on_is_the_run_that_never_stopped(
    method: str, engine: str, sampling: str, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"engine": engine, "sampling": sampling, "inner_steps": 50, "seed": 7}
    same(resumed(PROBLEM, method, tmp_path / "a.npz", **how), minimize(PROBLEM, method, epochs=6, **how))


PROBLEMS = {
    "softmax": lambda: FiniteSum(X, CLASSES, "softmax", l2=0.1, intercept=True),
    "logistic with weights": lambda: FiniteSum(
        X, Y > 0, "logistic", l2=0.1, intercept=True, sample_weight=np.arange(1.0, 91.0)
    ),
    "huber, columns": lambda: FiniteSum(lpnum.array(VALUES, dtype=lpnum.fixed8, axis=1), Y, "huber", l2=0.1),
    "columns with offsets": lambda: FiniteSum(
        lpnum.array(VALUES + 3.0, dtype=lpnum.fixed8, axis=1, offset=np.full((1, 6), 3.0)), Y, l2=0.1, intercept=True
    ),
    "elastic net": lambda: FiniteSum(X, Y, l2=0.01, l1=0.1, intercept=True),
    "float32 data": lambda: FiniteSum(VALUES.astype(np.float32), Y, l2=0.01),
    "4-bit data": lambda: FiniteSum(lpnum.array(VALUES, dtype=lpnum.fixed4), Y, l2=0.01),
    "sparse data": lambda: FiniteSum(sparse.csr_array(VALUES * (VALUES > 0)), Y, l2=0.01),
    "functions": functions,
}


@every_method
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_kind_of_problem_goes_on_with_the_same_bits(name: str, method: str, tmp_path: Path) -> None:
    problem = PROBLEMS[name]()
    how: dict[str, Any] = {"inner_steps": 60, "batch_size": 2 if name == "float32 data" else 1}
    same(resumed(problem, method, tmp_path / "a.npz", **how), minimize(problem, method, epochs=6, **how))


def shrinking(state: Any) -> float:
    return 0.02 * 0.5**state.epoch


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("halp", {"mu": 0.5}),
        ("halp", {"scale": 0.01}),
        ("halp", {"scale": shrinking}),
        ("halp", {"bits": 3}),  # epochs are undone
        ("halp", {"bits": 16, "acceleration": 2}),
        ("halp", {"acceleration": 0}),
        ("halp", {"rounding": "nearest-even", "engine": "readable", "scale": 0.001}),
        ("svrg", {"dtype": np.float32}),
        ("svrg", {"acceleration": 3}),
        ("lp-svrg", {"scale": 0.05, "bits": 12}),
        ("lp-svrg", {"scale": shrinking}),
        ("lp-sgd", {"x0": np.arange(6.0)}),
        ("sgd", {"step_size": 0.01, "x0": np.arange(6.0)}),
    ],
)
def test_every_option_goes_on_with_the_same_bits(method: str, options: dict[str, Any], tmp_path: Path) -> None:
    how = {"inner_steps": 60, **options}
    whole = minimize(PROBLEM, method, epochs=12, **how)
    same(resumed(PROBLEM, method, tmp_path / "a.npz", (1, 4, 9), 12, **how), whole)


@settings(max_examples=25)
@given(
    cut=st.integers(1, 7), method=st.sampled_from(list(METHODS)), bits=st.integers(3, 16), batch=st.integers(1, 7),
    seed=st.integers(0, 2**64 - 1), steps=st.integers(1, 200), shuffle=st.booleans(),
)  # fmt: skip
def test_any_run_may_end_anywhere(
    tmp_path: Path, cut: int, method: str, bits: int, seed: int, batch: int, steps: int, shuffle: bool
) -> None:
    path = tmp_path / "a.npz"
    path.unlink(missing_ok=True)
    how: dict[str, Any] = {"bits": bits, "seed": seed, "batch_size": batch, "inner_steps": steps}
    how["sampling"] = "shuffle" if shuffle else "replacement"
    same(resumed(PROBLEM, method, path, (cut,), 8, **how), minimize(PROBLEM, method, epochs=8, **how))


def test_accelerated_runs_that_keep_no_margins_go_on_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anderson, "MEMORY_BYTES", 0)
    for name in ("softmax", "columns with offsets"):
        problem, path = PROBLEMS[name](), tmp_path / f"{name}.npz"
        same(resumed(problem, "halp", path, (1, 5), 10), minimize(problem, "halp", epochs=10))
        assert files.read(path)["state"]["anderson"]["last"]["margins"] is None


@pytest.mark.parametrize("method", ["lp-svrg", "halp"])
def test_a_run_may_go_on_at_another_simd_level(method: str, tmp_path: Path) -> None:
    path, levels = tmp_path / "a.npz", kernels.simd_levels()
    before = kernels.simd_level(), epochs.simd_level()
    whole = minimize(PROBLEM, method, epochs=len(levels) + 1)
    try:
        for k, level in enumerate(levels, 1):
            kernels.set_simd_level(level)
            epochs.set_simd_level(kernels.SIMD_LEVELS.index(level))
            minimize(PROBLEM, method, epochs=k, checkpoint=path, resume=True)
    finally:
        kernels.set_simd_level(kernels.SIMD_LEVELS[before[0]])
        epochs.set_simd_level(before[1])
    same(minimize(PROBLEM, method, epochs=len(levels) + 1, resume=path), whole)


def test_the_seed_of_fresh_entropy_is_part_of_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    first = minimize(PROBLEM, epochs=3, seed=None, checkpoint=path)
    same(minimize(PROBLEM, epochs=5, seed=None, resume=path), minimize(PROBLEM, epochs=5, seed=None, resume=path))
    again = minimize(PROBLEM, epochs=5, seed=None, resume=path)
    np.testing.assert_array_equal(again.history["grad_norm"][:4], first.history["grad_norm"])
    with pytest.raises(ValueError, match=r"seed was \d+ and is 0"):
        minimize(PROBLEM, epochs=5, resume=path)


def test_a_run_that_had_converged_is_at_its_end_again(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    first = minimize(PROBLEM, tol=1e-6, checkpoint=path)
    calls: list[Any] = []
    again = minimize(PROBLEM, tol=1e-6, resume=path, callback=calls.append)
    same(first, again)
    assert first.converged
    assert not calls
    better = minimize(PROBLEM, tol=1e-9, resume=path)
    assert better.converged
    assert better.n_epochs > first.n_epochs
    same(better, minimize(PROBLEM, tol=1e-9))
    assert minimize(PROBLEM, epochs=1, resume=path).n_epochs == first.n_epochs  # fewer epochs do not take any back


def test_only_new_epochs_are_shown_to_callbacks_and_the_history_has_all(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    trace = Trace()
    minimize(PROBLEM, epochs=3, checkpoint=path)
    r = minimize(PROBLEM, epochs=5, resume=path, checkpoint=path, callback=trace)
    assert trace.history["epoch"].tolist() == [4, 5]
    assert r.history["epoch"].tolist() == [0, 1, 2, 3, 4, 5]
    assert (np.diff(r.history["seconds"]) > 0).all()


def test_early_stopping_goes_on_counting(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    kinds: list[Any] = ["grad_norm", lambda state: abs(state.epoch - 2)]
    for monitor in kinds:
        path.unlink(missing_ok=True)
        whole = minimize(PROBLEM, "sgd", callback=EarlyStopping(4, monitor=monitor), epochs=60)
        assert whole.status == 3
        minimize(PROBLEM, "sgd", callback=EarlyStopping(4, monitor=monitor), epochs=3, checkpoint=path)
        early = EarlyStopping(4, monitor=monitor)
        same(minimize(PROBLEM, "sgd", callback=[lambda state: None, early], epochs=60, resume=path), whole)
        assert early.best_epoch == whole.n_epochs - 4
        assert early.best_x.shape == (6,)


# ---- when it is written ----------------------------------------------------------------------------------------------


def test_every_so_many_epochs_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = files.write

    def spy(path: Any, content: dict[str, Any]) -> None:
        written.append(content["state"]["epoch"])
        write(path, content)

    monkeypatch.setattr(files, "write", spy)
    minimize(PROBLEM, epochs=8, checkpoint=Checkpoint(tmp_path / "a", every=3))
    assert written == [3, 6, 8]
    written.clear()
    minimize(PROBLEM, epochs=4, checkpoint=Checkpoint(tmp_path / "a", seconds=0))
    assert written == [1, 2, 3, 4]
    written.clear()
    minimize(PROBLEM, epochs=4, checkpoint=Checkpoint(tmp_path / "a", every=4))
    assert written == [4]  # and not once more at the end
    written.clear()
    minimize(PROBLEM, epochs=4, checkpoint=str(tmp_path / "a"), callback=lambda state: state.epoch == 2)
    assert written == [2]
    written.clear()
    minimize(PROBLEM, epochs=0, checkpoint=tmp_path / "a")
    assert not written


def test_resume_true_begins_where_there_is_nothing_yet(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    same(minimize(PROBLEM, epochs=3, checkpoint=path, resume=True), minimize(PROBLEM, epochs=3))
    same(minimize(PROBLEM, epochs=5, checkpoint=path, resume=True), minimize(PROBLEM, epochs=5))
    same(minimize(PROBLEM, epochs=5, resume=False), minimize(PROBLEM, epochs=5))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"resume": True}, ValueError, "which is not given"),
        ({"resume": 3}, TypeError, "resume is a int"),
        ({"resume": "none/such.npz"}, FileNotFoundError, "such.npz"),
        ({"checkpoint": 3}, TypeError, "path is a int"),
        ({"checkpoint": "a.safetensors"}, ValueError, "would be an npz file"),
        ({"checkpoint": "none/such.npz"}, FileNotFoundError, "folder of 'none/such.npz' does not exist"),
    ],
)
def test_wrong_paths_are_refused_at_once(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        minimize(PROBLEM, **options)


def test_wrong_intervals_are_refused() -> None:
    with pytest.raises(ValueError, match="every = 0"):
        Checkpoint("a", every=0)
    with pytest.raises(ValueError, match=r"seconds = -1\.0"):
        Checkpoint("a", seconds=-1)


def test_other_files_are_not_overwritten(tmp_path: Path) -> None:
    for name, content in (("text", b"my thesis"), ("data.npz", None)):
        path = tmp_path / name
        if content is None:
            lpnum.save(path, X)
            content = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ValueError, match="exists and is not a whole checkpoint"):
            minimize(PROBLEM, checkpoint=path)
        assert path.read_bytes() == content


# ---- another problem, other options ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "run.npz"
    minimize(PROBLEM, epochs=3, checkpoint=path, inner_steps=40)
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bits": 7}, "bits was 8 and is 7"),
        ({"method": "svrg"}, "method was 'halp' and is 'svrg'"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"batch_size": 2}, "batch_size was 1 and is 2"),
        ({"sampling": "shuffle"}, "sampling was 'replacement' and is 'shuffle'"),
        ({"step_size": 0.1}, "step_size was 'auto' and is 0.1"),
        ({"inner_steps": 41}, "inner_steps was 40 and is 41"),
        ({"mu": 0.1}, "mu was None and is 0.1"),
        ({"scale": shrinking}, "scale was 'auto' and is 'a function'"),
        ({"x0": np.ones(6)}, "x0 was"),
        ({"acceleration": 1}, "acceleration was 5 and is 1"),
        ({"engine": "readable"}, "compiled was True and is False"),
    ],
)
def test_other_options_are_named(written: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        minimize(PROBLEM, **{"inner_steps": 40, "resume": written, **options})
    assert "run.npz' is the checkpoint of another run" in str(error.value)


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (FiniteSum(X, Y, l2=0.02), "l2 was 0.01 and is 0.02"),
        (FiniteSum(X, Y, "huber", l2=0.01), "loss was 'squared' and is 'huber'"),
        (FiniteSum(X, Y, l2=0.01, intercept=True), "intercept was False and is True"),
        (FiniteSum(X, Y, l2=0.01, sample_weight=np.arange(90)), "sample weights was None"),
        (FiniteSum(X[1:], Y[1:], l2=0.01), "samples was 90 and is 89"),
        (FiniteSum(X.dequantize(), Y, l2=0.01), "kind of data was 'int8' and is 'float64'"),
        (FiniteSum(X, Y + 1e-9, l2=0.01), "targets was"),
        (FiniteSum(X[::-1].copy(), Y, l2=0.01), "data was"),
        (functions(), "kind was 'FiniteSum' and is 'FunctionSum'"),
    ],
)
def test_another_problem_is_named(written: Path, problem: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        minimize(problem, inner_steps=40, resume=written)


def test_functions_and_large_data_that_have_changed_are_noticed_by_their_values(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    minimize(functions(), epochs=2, checkpoint=path, inner_steps=10)
    other = FiniteSum(X, Y + 0.001, l2=0.01)
    with pytest.raises(ValueError, match="data or functions of the problem have changed: at the saved iterate"):
        minimize(functions(other), epochs=4, resume=path, inner_steps=10)
