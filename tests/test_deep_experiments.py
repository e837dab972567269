"""The experiments on the command line: what runs write, what they refuse, what is measured and reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deep_experiments import (  # noqa: E402
    FIVE,
    SMALL_IMAGES,
    interrupt_after,
    lstm,
    no_picture,
    rows_of,
    write_images,
    write_text,
)
from torch import nn  # noqa: E402

from lpnum_optim.deep import cli_report, experiment_runs  # noqa: E402
from lpnum_optim.deep.cli import INTERRUPTED, main  # noqa: E402
from lpnum_optim.deep.experiment_plans import planned  # noqa: E402
from lpnum_optim.deep.experiment_report import curves, read_rows, table  # noqa: E402
from lpnum_optim.deep.experiment_tasks import cross_entropy, image_task, measure  # noqa: E402


@pytest.fixture(autouse=True)
def _pictures_where_they_are_meant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "picture" not in request.node.name:
        monkeypatch.setattr(cli_report, "plot_curves", no_picture)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


# ---- what runs write -------------------------------------------------------------------------------------------------


def test_resnet14_trains_all_five_methods_and_writes_csv_picture_and_table(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data-dir", str(images), "--epochs", "2", "--snapshot-every", "0.5", "--lr", "sgd=0.2,halp=0.05"]
    assert main(["resnet14", *options, *SMALL_IMAGES, "--augment", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "results.csv")
    assert sorted({(row["method"], row["format"]) for row in rows}) == sorted(
        (method, "float32" if method in ("sgd", "svrg") else "fixed8") for method in FIVE
    )
    for row in rows:
        # Per epoch: one evaluation for stochastic gradients; two, and two snapshots, for variance-reduced ones.
        assert row["passes"] == row["epoch"] * (1 if "sgd" in row["method"] else 4)
        assert np.isfinite([row["train_loss"], row["train_loss_eval"], row["test_loss"]]).all()
        assert 0 <= row["test_accuracy"] <= 1
        assert (row["skipped"], row["seed"]) == (0, 3)
    starts = {row["train_loss"] for row in rows if row["epoch"] == 0}
    ends = {row["train_loss"] for row in rows if row["epoch"] == 2}
    assert (len(starts), len(ends)) == (1, 5)
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert printed.startswith("| method | seeds | epochs | training loss |")
    assert "| halp fixed8 | 1 | 2 |" in printed


def test_plan_trains_under_every_kind_of_plan_and_draws_a_picture(images: Path, tmp_path: Path) -> None:
    plans = ["float32", "uniform16", "uniform8", "operator-based", "demote-0.5", "demote-0.5-no-promotion", "error-1"]
    options = ["--data-dir", str(images), "--epochs", "1", "--plans", *plans]
    assert main(["plan", *options, *SMALL_IMAGES, "--out", str(tmp_path)]) == 0
    last = {row["method"]: row for row in read_rows(tmp_path / "results.csv") if row["epoch"] == 1}
    assert set(last) == set(plans)
    ratios = {name: row["low_ratio"] for name, row in last.items()}
    assert ratios["float32"] == ratios["uniform16"] == 0.0 < ratios["operator-based"] < 0.5 <= ratios["demote-0.5"]
    assert ratios["demote-0.5"] < 0.99 < ratios["uniform8"]
    assert last["float32"]["loss_scale"] == 1.0 < last["uniform8"]["loss_scale"]
    assert (tmp_path / "results.png").exists()


def test_adamw_and_its_8_bit_form_are_methods_too(text: Path, tmp_path: Path) -> None:
    assert lstm(text, tmp_path, "--methods", "adamw", "adamw8bit", "--lr", "0.01", "--epochs", "1") == 0
    last = {row["method"]: float(row["train_loss"]) for row in rows_of(tmp_path) if row["epoch"] == "1"}
    assert last["adamw8bit"] != last["adamw"] == pytest.approx(last["adamw8bit"], rel=0.05)


def test_formats_apply_to_low_precision_methods_only_and_float32_is_the_method_without_rounding(
    text: Path, tmp_path: Path
) -> None:
    formats = ["float32", "fixed16", "float8_e4m3fn"]
    assert lstm(text, tmp_path, "--methods", "svrg", "halp", "--formats", *formats, "--epochs", "2") == 0
    last = {
        (row["method"], row["format"]): float(row["train_loss"]) for row in rows_of(tmp_path) if row["epoch"] == "2"
    }
    assert set(last) == {("svrg", "float32"), *(("halp", fmt) for fmt in formats)}
    assert last["halp", "float32"] == pytest.approx(last["svrg", "float32"], rel=1e-5)
    assert len(set(last.values())) >= 3


# ---- what is refused, and what goes wrong ----------------------------------------------------------------------------


def test_begun_runs_and_other_settings_are_refused(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 8)
        assert lstm(text, tmp_path, "--methods", "sgd", "--epochs", "9", "--batch-size", "4") == INTERRUPTED
    assert lstm(text, tmp_path, "--methods", "sgd", "--epochs", "9", "--batch-size", "4") == 1
    assert "pass --resume" in capsys.readouterr().err
    assert lstm(text, tmp_path, "--methods", "sgd", "--epochs", "9", "--batch-size", "8", "--resume") == 1
    assert "batch_size = 4 there, 8 here" in capsys.readouterr().err


def test_a_run_that_a_process_with_other_settings_has_begun_meanwhile_is_not_continued(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = experiment_runs.Runs.check

    def check_then_other(self: experiment_runs.Runs, *, resume: bool) -> None:
        check(self, resume=resume)
        monkeypatch.setattr(experiment_runs.Runs, "check", check)
        assert lstm(text, tmp_path, "--methods", "sgd", "--epochs", "1", "--measure-windows", "3") == 0

    monkeypatch.setattr(experiment_runs.Runs, "check", check_then_other)
    assert lstm(text, tmp_path, "--methods", "sgd", "--epochs", "2") == 1
    assert "measured_windows = 3 there, 24 here" in capsys.readouterr().err
    assert len(rows_of(tmp_path)) == 2


def test_a_damaged_checkpoint_is_named(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lstm(text, tmp_path, "--methods", "sgd", "--epochs", "1") == 0
    file = tmp_path / "runs" / "sgd-float32-seed3.pt"
    file.write_bytes(file.read_bytes()[:1000])
    assert lstm(text, tmp_path, "--methods", "sgd", "--epochs", "2", "--resume") == 1
    assert "sgd-float32-seed3.pt cannot be read" in capsys.readouterr().err


def test_a_run_that_diverges_stops_and_the_others_go_on(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--methods", "svrg", "sgd", "--lr", "svrg=1e38,sgd=0.1", "--epochs", "3"]
    assert lstm(text, tmp_path, *options) == 0
    assert "stopped in epoch 1: the training loss is inf" in capsys.readouterr().err
    epochs = {method: [r["epoch"] for r in rows_of(tmp_path) if r["method"] == method] for method in ("svrg", "sgd")}
    assert epochs == {"svrg": ["0", "1"], "sgd": ["0", "1", "2", "3"]}
    assert lstm(text, tmp_path, *options) == 0  # nothing left to do


@pytest.mark.parametrize(
    "options",
    [
        ["--lr", "sgd=0"], ["--lr", "adam=1"], ["--formats", "fixed99"], ["--formats", "ufixed8"], ["--epochs", "0"],
        ["--methods", "newton"], ["--snapshot-every", "-1"], ["--seeds", "x"], ["--budget-minutes", "nan"],
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(options: list[str], text: Path, tmp_path: Path) -> None:
    assert lstm(text, tmp_path, *options) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["demote", "demote-2", "error-0.9-no-promotion", "uniform4", "demote-0.9-x"])
def test_unknown_plans_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected one of float32, uniform16"):
        planned(name)


def test_gray_images_are_refused(tmp_path: Path) -> None:
    gray, labels = np.zeros((4, 28, 28), np.uint8), np.arange(4) % 2
    np.savez(tmp_path / "gray.npz", x_train=gray, y_train=labels, x_test=gray, y_test=labels)
    with pytest.raises(ValueError, match=r"gray.npz.* has images of 1 channel"):
        image_task(tmp_path / "gray.npz")


def test_missing_data_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resnet14", "--data-dir", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]) == 1
    assert "nothing" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 1
    assert "no results here" in capsys.readouterr().err
    assert main([]) == 2


# ---- measuring and reporting -----------------------------------------------------------------------------------------


def test_measuring_changes_nothing_and_tells_the_modes_apart() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    model[2].eval()  # a mode of its own
    batches = [(torch.randn(n, 4), torch.arange(n) % 3) for n in (6, 3)]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    trained = measure(model, cross_entropy, batches, train_mode=True)
    evaluated = measure(model, cross_entropy, batches, train_mode=False)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model] == [True, True, False, True]
    model.eval()
    outputs = [model(x).detach() for x, _ in batches]
    total = sum(float(nn.functional.cross_entropy(o, y)) * len(y) for o, (_, y) in zip(outputs, batches, strict=True))
    assert evaluated.loss == pytest.approx(total / 9, rel=1e-6)
    right = sum(int((o.argmax(1) == y).sum()) for o, (_, y) in zip(outputs, batches, strict=True))
    assert evaluated.accuracy == right / 9
    assert trained.loss != evaluated.loss


def test_the_table_has_means_and_ranges_of_the_epochs_that_all_seeds_reached(tmp_path: Path) -> None:
    losses = {0: [2.0, 1.0, 0.5], 1: [2.0, 1.5]}
    rows = [
        {
            "method": "halp",
            "format": "fixed8",
            "seed": seed,
            "epoch": epoch,
            "train_loss": loss,
            "seconds": 60.0 * epoch,
        }
        for seed, values in losses.items()
        for epoch, loss in enumerate(values)
    ]
    (curve,) = curves(rows)
    assert curve.means("train_loss") == [2.0, 1.25]
    assert table(rows).splitlines() == [
        "| method | seeds | epochs | training loss | minutes |",
        "|---|---|---|---|---|",
        "| halp fixed8 | 2 | 1 | 1.2500 (1.0000 .. 1.5000) | 1.0 |",
    ]
    experiment_runs.write_csv(tmp_path / "results.csv", rows)
    assert read_rows(tmp_path / "results.csv") == rows
    (tmp_path / "bad.csv").write_text("method,seed\nhalp,x\n")
    with pytest.raises(ValueError, match="is not the log of a run"):
        read_rows(tmp_path / "bad.csv")
