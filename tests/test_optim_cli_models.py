"""Fitting and predicting on the command line, and the files of models."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lpnum
from lpnum_optim import FiniteSum, minimize
from lpnum_optim.cli import main
from lpnum_optim.compare import Setting, compare
from lpnum_optim.data_files import read_file
from lpnum_optim.datasets import load_file
from lpnum_optim.model_file import LinearModel, load_model, save_model

rng = np.random.default_rng(5)
CENTERS = np.repeat([[0.0, 0.0, 9.0], [3.0, 0.0, 9.0], [0.0, 3.0, 9.0]], 30, axis=0)
X = rng.standard_normal((90, 3)) + CENTERS
WORDS = np.repeat(["ash", "birch", "cedar"], 30)
NUMBERS = X @ [1.0, -2.0, 0.5] + 7.0 + 0.1 * rng.standard_normal(90)


def csv_file(path: Path, columns: dict[str, Any]) -> Path:
    lines = [",".join(columns)] + [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Three classes with names; the target is no last column."""
    return csv_file(tmp_path / "trees.csv", {"a": X[:, 0], "kind": WORDS, "b": X[:, 1], "c": X[:, 2]})


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    return code, *capsys.readouterr()


def test_words_are_fitted_and_predicted(words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = tmp_path / "model.npz", tmp_path / "predicted.txt"
    code, stdout, stderr = run(capsys, "fit", words, "--target", "kind", "--out", model)
    assert code == 0
    assert "softmax loss" in stdout
    assert "halp on trees.csv" in stderr
    shuffled = csv_file(tmp_path / "new.csv", {"c": X[:, 2], "extra": X[:, 0], "b": X[:, 1], "a": X[:, 0]})
    code, stdout, stderr = run(capsys, "predict", model, shuffled)
    assert code == 0
    assert stderr == ""
    predicted = stdout.split()
    assert np.mean(np.array(predicted) == WORDS) > 0.85
    code, stdout, stderr = run(capsys, "predict", model, words, "--out", out)
    assert code == 0
    assert stdout == ""
    assert out.read_text().split() == predicted
    assert f"accuracy {np.mean(np.array(predicted) == WORDS):.4f} on 90 samples" in stderr
    code, stdout, _ = run(capsys, "predict", model, words, "--proba")
    assert code == 0
    lines = stdout.splitlines()
    assert lines[0] == "ash,birch,cedar"
    probabilities = np.array([line.split(",") for line in lines[1:]], dtype=float)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert np.array_equal(np.array(["ash", "birch", "cedar"])[probabilities.argmax(axis=1)], predicted)


@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("data_format", ["float", "fixed16"])
def test_numbers_are_fitted_in_their_own_units(
    loss: str, data_format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "d.npz", X=X, y=NUMBERS)
    model = tmp_path / "m.npz"
    code, stdout, _ = run(capsys, "fit", tmp_path / "d.npz", "--out", model, "--loss", loss, "--l2", "1e-4", "--json",
                          "--data-format", data_format)  # fmt: skip
    assert code == 0
    report = json.loads(stdout)
    assert report["converged"]
    assert report["score"] > 0.99
    loaded = load_model(model)
    best = minimize(FiniteSum(X - X.mean(axis=0), NUMBERS, loss, 1e-4, intercept=True), "svrg", epochs=400, tol=1e-10)
    np.testing.assert_allclose(loaded.coef[0], best.x[:3], rtol=1e-5 if data_format == "float" else 1e-3)
    code, stdout, stderr = run(capsys, "predict", model, tmp_path / "d.npz", "--json")
    assert code == 0
    report = json.loads(stdout)
    np.testing.assert_allclose(report["predictions"], X @ loaded.coef[0] + loaded.intercept[0], rtol=1e-12)
    assert f"R^2 {report['score']:.4f}" in stderr


def test_two_numbers_are_classes_and_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = rng.integers(0, 200, (80, 5)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", X=codes, digit=np.where(codes[:, 0] > codes[:, 1], 7, 3))
    model = tmp_path / "m.npz"
    code, stdout, _ = run(capsys, "fit", tmp_path / "d.npz", "--target", "digit", "--out", model, "--l2", 10)
    assert code == 0
    assert "logistic loss" in stdout
    np.savez(tmp_path / "new.npz", X=codes[:10])
    code, stdout, _ = run(capsys, "predict", model, tmp_path / "new.npz")
    assert code == 0
    assert set(stdout.split()) <= {"3", "7"}
    assert np.mean(np.array(stdout.split(), int) == np.where(codes[:10, 0] > codes[:10, 1], 7, 3)) >= 0.9


def test_sparse_text_may_leave_out_trailing_zeros(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    lines = [f"{y:+.0f} " + " ".join(f"{k + 1}:{v!r}" for k, v in enumerate(row)) for row, y in
             zip(X.tolist(), np.sign(X[:, 0] - 1), strict=True)]  # fmt: skip
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "new.txt").write_text("0 1:3.0\n0 2:1.0\n")
    assert run(capsys, "fit", tmp_path / "train.txt", "--out", tmp_path / "m.npz", "--l2", 0.1)[0] == 0
    code, stdout, _ = run(capsys, "predict", tmp_path / "m.npz", tmp_path / "new.txt")
    assert code == 0
    assert stdout.split()[0] == "1"


def test_files_with_many_classes_are_softmax_problems(words: Path, tmp_path: Path) -> None:
    data = load_file(words, "kind")
    assert data.loss == "softmax"
    assert np.array_equal(data.y, np.repeat([0.0, 1.0, 2.0], 30))
    np.savez(tmp_path / "d.npz", X=X, y=np.repeat([5, 2, 8], 30))
    assert load_file(tmp_path / "d.npz").loss == "squared"
    data = load_file(tmp_path / "d.npz", loss="softmax")
    assert np.array_equal(data.y, np.repeat([1.0, 0.0, 2.0], 30))
    outcome = compare([data], [Setting("halp", 8)], epochs=40)[0]
    assert outcome.grad_norm < 1e-5
    with pytest.raises(ValueError, match="words"):
        load_file(words, "kind", loss="squared")
    with pytest.raises(ValueError, match="3 distinct targets; the logistic loss needs exactly two"):
        load_file(words, "kind", loss="logistic")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["fit", "{data}"], 2, "--out"),
        (["fit", "{data}", "--out", "{model}", "--loss", "hinge"], 2, "invalid choice"),
        (["fit", "{data}", "--out", "{model}", "--method", "hapl"], 2, "Did you mean 'halp'"),
        (["fit", "{data}", "--out", "{model}", "--data-format", "float8_e5m2"], 2, "fixed-point"),
        (["fit", "{data}", "--out", "{model}", "--l2", "-1"], 2, "a number >= 0"),
        (["fit", "/no/file.csv", "--out", "{model}"], 1, "no file '/no/file.csv'"),
        (["fit", "{data}", "--target", "kind", "--out", "/no/folder/m.npz"], 1, "/no/folder/m.npz"),
        (["fit", "{data}", "--target", "kind", "--out", "{model}", "--loss", "huber"], 1, "targets are words"),
        (["predict", "/no/model.npz", "{data}"], 1, "no file '/no/model.npz'"),
        (["predict", "{data}", "{data}"], 1, "trees.csv"),
    ],
)
def test_errors_have_a_code_and_name_the_file(
    arguments: list[str], code: int, says: str, words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [a.format(data=words, model=tmp_path / "m.npz") for a in arguments]
    got, out, err = run(capsys, *filled)
    assert (got, out) == (code, "")
    assert says in err
    assert not (tmp_path / "m.npz").exists()


def test_data_that_do_not_go_with_the_model_are_refused(
    words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "m.npz"
    assert run(capsys, "fit", words, "--target", "kind", "--out", model)[0] == 0
    lacking = csv_file(tmp_path / "lacking.csv", {"a": X[:, 0], "b": X[:, 1]})
    np.savez(tmp_path / "wide.npz", X=np.ones((2, 5)))
    for data, says in ((lacking, "no column 'c', which m.npz needs"), (tmp_path / "wide.npz", "5 features; m.npz")):
        code, out, err = run(capsys, "predict", model, data)
        assert (code, out) == (1, "")
        assert says in err
    save_model(model, LinearModel(np.ones((1, 3)), np.zeros(1), "squared"))
    code, out, err = run(capsys, "predict", model, words, "--proba")
    assert (code, out) == (1, "")
    assert "regression" in err


MODEL = LinearModel(np.array([[1.0, -2.5]]), np.array([0.5]), "logistic", ["no", "yes"], ["a", "b"], "y", {"bits": 8})


def test_a_model_file_gives_the_model_back(tmp_path: Path) -> None:
    save_model(tmp_path / "m.npz", MODEL)
    again = load_model(tmp_path / "m.npz")
    assert np.array_equal(again.coef, MODEL.coef)
    assert np.array_equal(again.intercept, MODEL.intercept)
    assert (again.loss, again.classes, again.features, again.target, dict(again.fit)) == (
        "logistic", ["no", "yes"], ["a", "b"], "y", {"bits": 8},
    )  # fmt: skip
    assert again.predict(np.array([[1, 0], [0, 1]], np.int8)).tolist() == ["yes", "no"]
    np.testing.assert_allclose(again.probabilities(np.zeros((1, 2)))[0, 1], 1 / (1 + np.exp(-0.5)))


def test_a_damaged_model_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    save_model(path, MODEL)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 37):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"load_model\('m.npz'\)"):
            load_model(path)
    for position in range(0, len(whole), 11):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x5A]) + whole[position + 1 :])
        try:
            again = load_model(path)  # a few bytes (dates, padding) mean nothing
        except ValueError as error:
            assert str(error).startswith("load_model('m.npz')")  # noqa: PT017
        else:
            assert np.array_equal(again.coef, MODEL.coef)
            assert again.classes == MODEL.classes


def header(**changes: Any) -> np.ndarray:
    fields = {"lpnum_optim": 1, "loss": "logistic", "classes": ["no", "yes"], "features": ["a", "b"], "target": "y",
              "fit": {}}  # fmt: skip
    text = json.dumps({key: value for key, value in (fields | changes).items() if value != "absent"})
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": header(lpnum_optim=2)}, "install a newer"),
        ({"model": header(lpnum_optim="1")}, "positive integer"),
        ({"model": header(fit="absent")}, "expected the fields"),
        ({"model": header(loss="hinge")}, "unknown loss 'hinge'"),
        ({"model": header(loss="squared")}, "do not go with the squared loss"),
        ({"model": header(classes=["a", "b", "c"])}, "2 different"),
        ({"model": header(classes=["a", "a"])}, "2 different"),
        ({"model": header(features=["a"])}, "2 names"),
        ({"model": np.zeros(3)}, "header is no text"),
        ({"model": np.frombuffer(b"{", np.uint8)}, "JSON"),
        ({"coef": np.array([[np.nan, 1.0]])}, "NaN"),
        ({"coef": np.ones((1, 2), np.float32)}, "no float64 array"),
        ({"intercept": np.zeros(2)}, "intercept \\(2,\\)"),
        ({"more": np.zeros(2)}, "no linear model"),
    ],
)
def test_files_that_are_no_models_are_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    arrays = {"model": header(), "coef": MODEL.coef, "intercept": MODEL.intercept} | changes
    lpnum.save(tmp_path / "m.npz", arrays)
    with pytest.raises(ValueError, match=says) as caught:
        load_model(tmp_path / "m.npz")
    assert "m.npz" in str(caught.value)


def test_npz_files_of_others_are_no_models(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", coef=MODEL.coef)
    with pytest.raises(ValueError, match=r"load_model\('m.npz'\): not a readable model file"):
        load_model(tmp_path / "m.npz")
    lpnum.save(tmp_path / "m.npz", lpnum.ones(3))
    with pytest.raises(ValueError, match="no linear model"):
        load_model(tmp_path / "m.npz")


def test_a_model_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.npz"
    save_model(path, MODEL)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(path, LinearModel(np.zeros((1, 2)), np.zeros(1), "squared"))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.npz"]


def test_tables_keep_the_types_and_names_of_their_files(words: Path, tmp_path: Path) -> None:
    table = read_file(words, "kind")
    assert table.names == ("a", "b", "c")
    assert table.words == ("ash", "birch", "cedar")
    assert table.target == "kind"
    np.savez(tmp_path / "d.npz", X=X.astype(np.float32), y=WORDS)
    table = read_file(tmp_path / "d.npz")
    assert table.X.dtype == np.float32
    assert table.words == ("ash", "birch", "cedar")
