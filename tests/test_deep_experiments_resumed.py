"""Experiments that go on: interrupted, continued, out of time, shared by two processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from deep_experiments import FIVE, SMALL_TEXT, interrupt_after, lstm, no_picture, rows_of, write_images, write_text  # noqa: E402
from torch import nn  # noqa: E402

from lpnum_optim.deep import cli_commands, cli_report, experiment_runs  # noqa: E402
from lpnum_optim.deep.cli import INTERRUPTED, main  # noqa: E402
from lpnum_optim.deep.experiment_methods import Hyperparameters, MethodTrainer  # noqa: E402
from lpnum_optim.deep.experiment_plans import PlanTrainer  # noqa: E402
from lpnum_optim.deep.experiment_runs import Deadline, Run, RunFiles  # noqa: E402
from lpnum_optim.deep.experiment_tasks import image_task, text_task  # noqa: E402


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_report, "plot_curves", no_picture)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("ticks", [1, 20])
def test_an_interrupted_and_resumed_experiment_gives_the_same_rows(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ticks: int
) -> None:
    assert lstm(text, tmp_path / "whole", "--epochs", "3") == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, ticks)
        assert lstm(text, tmp_path / "parts", "--epochs", "3") == INTERRUPTED
    assert "--resume" in capsys.readouterr().err
    assert not list((tmp_path / "parts" / "runs").glob(".*"))  # nothing half
    assert lstm(text, tmp_path / "parts", "--epochs", "3", "--resume") == 0
    assert rows_of(tmp_path / "parts") == rows_of(tmp_path / "whole")
    assert len(rows_of(tmp_path / "whole")) == 5 * 4


def trained(make: Callable[[], Any], epochs: int, through_files: Path | None) -> list[dict[str, Any]]:
    """Rows of a run whose trainer lives on, or is made anew from a file before every epoch."""
    torch.manual_seed(1)
    trainer, rows = make(), []
    for epoch in range(1, epochs + 1):
        trainer.train(epoch, lambda: None)
        rows.append(trainer.measure())
        if through_files is not None:
            torch.save({"trainer": trainer.state_dict(), "random": torch.get_rng_state()}, through_files)
            trainer.close()
            torch.manual_seed(7)
            trainer, state = make(), torch.load(through_files, weights_only=True)
            trainer.load_state_dict(state["trainer"])
            torch.set_rng_state(state["random"])
    trainer.close()
    return rows


@pytest.mark.parametrize("method", [*FIVE, "adamw", "adamw8bit"])
def test_the_state_of_a_method_is_all_it_needs(method: str, text: Path, tmp_path: Path) -> None:
    task = text_task(text, windows=24, hidden=6, layers=1, batch_size=4, length=8)
    chosen = Hyperparameters(0.05, 0.9, 1e-3, "cosine", snapshot_every=0.7)
    run = Run(method, "fixed8", 5)

    def make() -> MethodTrainer:
        trainer = MethodTrainer(run, task, chosen, 3)
        trainer.model.embedding = nn.Sequential(trainer.model.embedding, nn.Dropout(0.2))  # torch's random numbers
        return trainer

    assert trained(make, 3, tmp_path / "state.pt") == trained(make, 3, None)


@pytest.mark.parametrize("plan", ["demote-0.9", "error-0.9"])
def test_the_state_of_a_plan_is_all_it_needs(plan: str, images: Path, tmp_path: Path) -> None:
    task = image_task(images, width=0.25, batch_size=12, measure_images=12, test_images=4, augment=True)

    def make() -> PlanTrainer:
        return PlanTrainer(Run(plan, "paper", 0), task, Hyperparameters(0.1, 0.9, 5e-4, "step"), 2)

    assert trained(make, 2, tmp_path / "state.pt") == trained(make, 2, None)


def test_finished_runs_are_not_repeated_and_more_epochs_continue_them(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lstm(text, tmp_path, "--methods", "sgd", "--epochs", "2") == 0
    assert not (tmp_path / "results.png").exists()
    before = rows_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(MethodTrainer, "train", lambda *ignored: pytest.fail("trained again"))
        assert lstm(text, tmp_path, "--methods", "sgd", "--epochs", "2") == 0
    assert rows_of(tmp_path) == before
    assert lstm(text, tmp_path, "--methods", "sgd", "--epochs", "3", "--resume") == 0
    assert rows_of(tmp_path)[:3] == before
    assert len(rows_of(tmp_path)) == 4


def test_all_runs_come_equally_far_before_the_time_is_used_up(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class SomeTicks(Deadline):
        left = 2 * (6 + 12) + 3  # two epochs of both methods, and a part of the third

        def check(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise experiment_runs.DeadlineError

    monkeypatch.setattr(cli_commands, "Deadline", SomeTicks)
    options = ["--methods", "halp", "sgd", "--batch-size", "4", "--epochs", "9"]
    assert lstm(text, tmp_path / "parts", *options) == 0
    reached = rows_of(tmp_path / "parts")
    assert [(row["method"], row["epoch"]) for row in reached] == [
        (m, f"{e}") for m in ("halp", "sgd") for e in range(3)
    ]
    assert "halp-fixed8-seed3 (2 of 9)" in capsys.readouterr().err
    monkeypatch.undo()
    assert lstm(text, tmp_path / "whole", *options[:-1], "2") == 0
    assert rows_of(tmp_path / "whole") == reached


def test_a_used_up_budget_keeps_no_half_epoch(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lstm(text, tmp_path, "--methods", "sgd", "--budget-minutes", "1e-9") == 1
    assert "no results" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*.pt"))


def test_a_run_that_another_process_works_on_is_left_to_it(text: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with RunFiles(tmp_path, Run("sgd", "float32", 3)).claimed() as ours:
        assert ours
        assert lstm(text, tmp_path, "--methods", "sgd", "svrg", "--epochs", "1") == 0
        assert {row["method"] for row in rows_of(tmp_path)} == {"svrg"}
    assert lstm(text, tmp_path, "--methods", "sgd", "svrg", "--epochs", "1") == 0
    assert {row["method"] for row in rows_of(tmp_path)} == {"sgd", "svrg"}


@pytest.mark.slow
def test_two_processes_share_the_runs_and_give_the_rows_of_one(text: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    options = ["--epochs", "3", "--batch-size", "1"]
    module = [sys.executable, "-m", "lpnum_optim.deep", "lstm"]
    command = [*module, "--text", str(text), "--lr", "0.5", *SMALL_TEXT, *options]
    both = [
        subprocess.Popen([*command, "--resume", "--out", str(tmp_path / "both")], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    lines = [process.communicate(timeout=300)[1].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    trained = [[line.split(":")[0] for line in own if " epoch " in line] for own in lines]
    assert len(set(trained[0] + trained[1])) == len(trained[0]) + len(trained[1]) == 15  # no epoch twice
    assert lstm(text, tmp_path / "one", *options) == 0
    assert main(["report", str(tmp_path / "both")]) == 0
    assert rows_of(tmp_path / "both") == rows_of(tmp_path / "one")
