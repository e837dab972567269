"""Fits of the estimators and of the command line that are ended, killed and damaged, and go on to the same bits."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lpnum

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lpnum_optim import Checkpoint
from lpnum_optim import checkpoint as files
from lpnum_optim.cli import main
from lpnum_optim.linear_model import LPLogisticRegression, LPRidge
from lpnum_optim.model_file import load_model

rng = np.random.default_rng(8)
X = rng.standard_normal((120, 5)) * [1.0, 30.0, 0.2, 1.0, 1.0] + 2.0
LINE = (X - 2.0) @ [1.0, -0.05, 3.0, 0.0, 0.5]
NUMBERS = LINE + rng.standard_normal(120)
TWO = np.where(LINE + rng.standard_normal(120) > 0, "yes", "no")
THREE = np.digitize(LINE + rng.standard_normal(120), [-1.0, 1.0])
WEIGHTS = rng.random(120)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CASES: dict[str, tuple[Any, Any, Any]] = {
    "two classes": (LPLogisticRegression(random_state=3), X, TWO),
    "three classes": (LPLogisticRegression(C=0.1, random_state=3), X.astype(np.float32), THREE),
    "svrg": (LPLogisticRegression(method="svrg", random_state=3), X, TWO),
    "balanced, without intercept": (
        LPLogisticRegression(class_weight="balanced", fit_intercept=False, random_state=3), X, THREE
    ),
    "early stopping": (LPLogisticRegression(C=100.0, early_stopping=True, random_state=3, tol=0.0), X, THREE),
    "ridge": (LPRidge(random_state=3), X, NUMBERS),
    "lasso on 8-bit data": (LPRidge(alpha=3.0, l1_ratio=1.0, data_format="fixed8", random_state=3), X, NUMBERS),
    "codes": (LPRidge(random_state=3), lpnum.array(X - 2.0, dtype=lpnum.fixed8, axis=1), NUMBERS),
    "sparse": (LPRidge(random_state=3), sparse.csr_matrix(X * (X > 2.0)), NUMBERS),
}  # fmt: skip


def refit(model: Any, epochs: int, X: Any, y: Any, **how: Any) -> Any:
    """A new estimator with these parameters and `max_iter`, fitted: nothing but the file connects the fits."""
    again = type(model)(**{**model.get_params(), "max_iter": epochs})
    return again.fit(X, y, **how)


def same(a: Any, b: Any) -> None:
    """Equal to the last bit, but for the clock."""
    for name in ("coef_", "intercept_", "n_iter_"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.history_.keys() == b.history_.keys()
    for name in set(a.history_) - {"seconds"}:
        np.testing.assert_array_equal(a.history_[name], b.history_[name], err_msg=name)
    assert a.result_.message == b.result_.message


@pytest.mark.parametrize("case", CASES)
def test_a_fit_that_goes_on_gives_the_model_of_one_that_never_stopped(case: str, tmp_path: Path) -> None:
    model, data, y = CASES[case]
    path = tmp_path / "fit.npz"
    whole = refit(model, 200, data, y)
    assert whole.n_iter_ > 4
    for epochs in (1, 4):
        refit(model, epochs, data, y, checkpoint=path, resume=True)
    same(refit(model, 200, data, y, checkpoint=path, resume=True), whole)


@pytest.mark.parametrize("case", ["two classes", "early stopping", "lasso on 8-bit data"])
def test_a_fit_that_was_done_is_at_its_end_again_without_an_epoch(case: str, tmp_path: Path) -> None:
    model, data, y = CASES[case]
    seen: list[Any] = []
    first = refit(model, 200, data, y, checkpoint=tmp_path / "fit.npz")
    model = type(model)(**{**model.get_params(), "callbacks": seen.append})
    same(refit(model, 200, data, y, resume=tmp_path / "fit.npz"), first)
    assert not seen


def test_a_smaller_tol_goes_on_where_the_larger_one_ended(tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"
    first = LPRidge(random_state=0, tol=1e-4).fit(X, NUMBERS, checkpoint=path)
    seen: list[int] = []
    again = LPRidge(random_state=0, tol=1e-9, callbacks=lambda state: seen.append(state.epoch))
    again.fit(X, NUMBERS, resume=path)
    assert seen[0] == first.n_iter_ + 1
    same(again, LPRidge(random_state=0, tol=1e-9).fit(X, NUMBERS))


def test_the_random_state_none_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"
    model = LPLogisticRegression(early_stopping=True, tol=0.0)
    first = refit(model, 2, X, THREE, checkpoint=path)
    again, other = (refit(model, 9, X, THREE, resume=path) for _ in range(2))
    same(again, other)
    np.testing.assert_array_equal(again.history_["validation_loss"][:3], first.history_["validation_loss"])


@pytest.mark.parametrize(
    ("parameters", "y", "says"),
    [
        ({"C": 2.0}, TWO, "l2 was "),
        ({"bits": 7}, TWO, "bits was 8 and is 7"),
        ({"random_state": 4}, TWO, "seed was "),
        ({"early_stopping": True}, TWO, "sample weights was None"),
        ({"data_format": "fixed8"}, TWO, "kind of data was 'float64' and is 'int8'"),
        ({}, THREE, "loss was 'logistic' and is 'softmax'"),
        ({}, TWO[::-1], "targets was"),
    ],
)
def test_other_data_and_parameters_are_named(parameters: dict[str, Any], y: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"
    LPLogisticRegression(random_state=3, max_iter=2).fit(X, TWO, checkpoint=path)
    with pytest.raises(ValueError, match=f"is the checkpoint of another run: .*{says}"):
        LPLogisticRegression(**{"random_state": 3, **parameters}).fit(X, y, resume=path)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system's own error for every longer file, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_a_fit_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"
    model = LPLogisticRegression(random_state=3)
    refit(model, 2, X, TWO, checkpoint=path)
    before = path.read_bytes()
    with files_of_at_most(2000), pytest.warns(RuntimeWarning, match="could not be written .*the run goes on"):
        full = refit(model, 200, X, TWO, checkpoint=Checkpoint(path, every=1), resume=True)
    assert path.read_bytes() == before
    assert full.result_.converged
    assert "tol = 1e-07; the checkpoint could not be written" in full.result_.message
    whole = refit(model, 200, X, TWO)
    np.testing.assert_array_equal(full.coef_, whole.coef_)
    same(refit(model, 200, X, TWO, resume=path), whole)


def test_a_file_cut_in_half_is_refused_and_costs_no_model(tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"
    model = LPRidge(random_state=3).fit(X, NUMBERS, checkpoint=path)
    coef, half = model.coef_, path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    for how in ({"resume": path}, {"checkpoint": path, "resume": True}, {"checkpoint": path}):
        with pytest.raises(
            ValueError, match=r"fit\.npz' (is cut, damaged, or no checkpoint|exists and is not a whole)"
        ):
            model.fit(X, NUMBERS, **how)
        assert path.read_bytes() == half
        assert model.coef_ is coef


def test_states_of_the_estimators_own_callbacks_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"
    model = LPLogisticRegression(random_state=3, early_stopping=True)
    refit(model, 2, X, TWO, checkpoint=path)
    for kind, name, hostile in (
        ("SmallGradient", "norms", np.zeros(0)), ("SmallGradient", "best_x", np.zeros(3)),
        ("SmallGradient", "norms", [1.0]), ("HeldOut", "losses", None), ("HeldOut", "waited", -1),
        ("HeldOut", "best_x", np.full(6, np.nan)),
    ):  # fmt: skip
        content = files.read(path)
        next(one for one in content["state"]["callbacks"] if one["type"] == kind)["state"][name] = hostile
        files.write(tmp_path / "hostile.npz", content)
        with pytest.raises(ValueError, match=rf"hostile\.npz': {kind}: the saved state is damaged: it holds .*{name}"):
            refit(model, 4, X, TWO, resume=tmp_path / "hostile.npz")


def test_ctrl_c_leaves_the_best_model_and_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"

    def interrupt(state: Any) -> None:
        if state.epoch == 3:
            raise KeyboardInterrupt

    model = LPLogisticRegression(random_state=3, callbacks=interrupt)
    with pytest.raises(KeyboardInterrupt, match="best iterate"):
        model.fit(X, TWO, checkpoint=path)
    assert model.coef_.shape == (1, 5)
    whole = LPLogisticRegression(random_state=3).fit(X, TWO)
    same(LPLogisticRegression(random_state=3).fit(X, TWO, resume=path), whole)


def test_pipelines_pass_the_file_on(tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"
    how: dict[str, Any] = {"lpridge__checkpoint": path, "lpridge__sample_weight": WEIGHTS}
    make_pipeline(StandardScaler(), LPRidge(random_state=3, max_iter=2)).fit(X, NUMBERS, **how)
    again = make_pipeline(StandardScaler(), LPRidge(random_state=3)).fit(X, NUMBERS, lpridge__resume=True, **how)
    whole = make_pipeline(StandardScaler(), LPRidge(random_state=3)).fit(X, NUMBERS, lpridge__sample_weight=WEIGHTS)
    same(again[-1], whole[-1])


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", X=X, y=THREE)
    return tmp_path / "data.npz"


def fit(data: Path, out: str, *more: Any) -> int:
    return main(["fit", str(data), "--out", str(data.parent / out), *map(str, more)])


def equal_models(a: Path, b: Path) -> None:
    first, second = load_model(a), load_model(b)
    np.testing.assert_array_equal(first.coef, second.coef)
    np.testing.assert_array_equal(first.intercept, second.intercept)
    assert first.fit == second.fit


def test_the_command_goes_on_to_the_same_model(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, folder = data.parent / "state.npz", data.parent
    assert fit(data, "whole.npz") == 0
    assert fit(data, "part.npz", "--checkpoint", state, "--epochs", 3, "--resume") == 0
    assert "not converged" in capsys.readouterr().err
    assert files.read(state)["state"]["epoch"] == 3
    for _ in range(2):  # the second time there is nothing left to do
        assert fit(data, "again.npz", "--checkpoint", state, "--resume") == 0
        equal_models(folder / "again.npz", folder / "whole.npz")
        (folder / "again.npz").unlink()


def test_the_command_keeps_a_checkpoint_that_it_is_not_told_to_resume(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = data.parent / "state.npz"
    assert fit(data, "m.npz", "--checkpoint", state, "--epochs", 2) == 0
    before = state.read_bytes()
    cases: tuple[tuple[tuple[Any, ...], int, str], ...] = (
        (("--checkpoint", state), 1, "state.npz' exists; add --resume to go on from it, or remove it"),
        (("--resume",), 2, "needs --checkpoint FILE"),
        (("--checkpoint", data.parent / "m.npz"), 1, "are both to go to"),
        (("--checkpoint", state, "--resume", "--l2", 3), 1, "checkpoint of another run: l2 was"),
        (("--checkpoint", data, "--resume"), 1, "data.npz'"),
        (("--checkpoint", data.parent / "none/state.npz"), 1, "folder of '"),
        (("--out", data.parent / "none/m.npz"), 1, "folder of '"),
    )
    capsys.readouterr()
    for arguments, code, says in cases:
        assert fit(data, "m.npz", *arguments) == code
        said = capsys.readouterr().err
        assert says in said
        assert "Traceback" not in said
    assert state.read_bytes() == before
    state.write_bytes(before[: len(before) // 2])
    assert fit(data, "m.npz", "--checkpoint", state, "--resume") == 1
    assert "state.npz' is cut, damaged, or no checkpoint" in capsys.readouterr().err


COMMAND = """
    import os, signal, sys
    import numpy as np
    from lpnum_optim import callbacks, checkpoint
    from lpnum_optim.cli import main
    epoch, what = int(sys.argv[1]), sys.argv[2]
    call_all = callbacks.call_all
    import lpnum_optim.run as run
    def spy(each, state):
        if state.epoch == epoch:
            if what == "full":
                import resource
                resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            else:
                os.kill(os.getpid(), getattr(signal, what))
        return call_all(each, state)
    run.call_all = spy
    checkpoint.SECONDS = 0.0
    sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("what", ["SIGKILL", "SIGINT", "full"])
def test_a_command_that_is_killed_interrupted_or_out_of_disk_loses_nothing(data: Path, what: str) -> None:
    folder, state = data.parent, data.parent / "state.npz"
    arguments = ["fit", str(data), "--out", str(folder / "m.npz"), "--checkpoint", str(state)]
    command = [sys.executable, "-c", textwrap.dedent(COMMAND), "5", what, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert "Traceback" not in done.stderr
    if what == "SIGKILL":
        assert done.returncode == -signal.SIGKILL
    else:
        assert done.returncode == 1
        assert (f"the state is in {state}; --resume goes on" if what == "SIGINT" else "File too large") in done.stderr
        assert what == "SIGINT" or "lpnum_optim: warning: minimize: the checkpoint" in done.stderr
    assert not (folder / "m.npz").exists()
    assert 4 <= files.read(state)["state"]["epoch"] <= 5
    assert main([*arguments, "--resume"]) == 0
    assert fit(data, "whole.npz") == 0
    equal_models(folder / "m.npz", folder / "whole.npz")


def test_the_summary_says_that_the_disk_was_full(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with files_of_at_most(4000), warnings.catch_warnings():
        warnings.simplefilter("default")
        code = fit(data, "m.npz", "--checkpoint", data.parent / "state.npz", "--json")
    out, err = capsys.readouterr()
    assert code == 0
    assert "the last state is not on the disk" in json.loads(out)["message"]
    assert "warning: minimize: the checkpoint" in err
    assert not os.path.exists(data.parent / "state.npz")
