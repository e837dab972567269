"""The comparison on the command line, and the data it reads."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lpnum
from lpnum_optim import minimize
from lpnum_optim.callbacks import HISTORY
from lpnum_optim.cli import main
from lpnum_optim.compare import Setting, compare, reference_minimum, settings, table
from lpnum_optim.datasets import BUNDLED, load_file, quantize_columns, synthetic

rng = np.random.default_rng(2)
X = rng.standard_normal((60, 4))
LABELS = np.where(X @ [1, -2, 0.5, 0] + 0.5 * rng.standard_normal(60) > 0, 1, 0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The same data in every format."""
    paths = {"npz": tmp_path / "data.npz", "csv": tmp_path / "data.csv", "libsvm": tmp_path / "data.txt"}
    np.savez(paths["npz"], X=X, y=LABELS)
    lines = [",".join([*(repr(float(v)) for v in row[:2]), str(label), *(repr(float(v)) for v in row[2:])])
             for row, label in zip(X, LABELS, strict=True)]  # fmt: skip
    paths["csv"].write_text("a,b,label,c,d\n" + "\n".join(lines) + "\n")
    paths["libsvm"].write_text(
        "".join(
            f"{label} " + " ".join(f"{k + 1}:{float(v)!r}" for k, v in enumerate(row)) + "\n"
            for row, label in zip(X, LABELS, strict=True)
        )
    )
    return paths


def test_every_format_gives_the_same_data(files: dict[str, Path]) -> None:
    pytest.importorskip("sklearn")
    sets = [load_file(path, "label" if kind == "csv" else None) for kind, path in files.items()]
    for data in sets:
        assert data.loss == "logistic"
        np.testing.assert_array_equal(data.X.codes, sets[0].X.codes)
        np.testing.assert_array_equal(data.y, np.where(LABELS == 1, 1.0, -1.0))


def test_the_target_of_a_csv_may_be_a_number_a_name_or_the_last(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,kind\n1,2,yes\n3,5,no\n2,1,yes\n")
    assert load_file(path).y.tolist() == load_file(path, "2").y.tolist() == [1.0, -1.0, 1.0]
    other = tmp_path / "u.csv"
    other.write_text("a,b,c\n1,2,3\n3,5,4\n2,1,9\n")
    assert load_file(other, "a").loss == "squared"
    np.testing.assert_allclose(load_file(other, "a").y, [-1.2247449, 1.2247449, 0], rtol=1e-6, atol=1e-12)


def test_8_bit_integers_stay_what_they_are(tmp_path: Path) -> None:
    codes = rng.integers(0, 17, (30, 5)).astype(np.uint8)
    codes[0, 0] = 16
    np.savez(tmp_path / "pixels.npz", X=codes, y=np.arange(30) % 2)
    data = load_file(tmp_path / "pixels.npz")
    np.testing.assert_array_equal(data.X.codes, codes)
    assert data.X.format == lpnum.ufixed8


def test_standardizing_survives_columns_without_variance() -> None:
    data = quantize_columns(np.column_stack([X, np.full(60, 0.1), np.zeros(60), np.full(60, 1e6 / 3)]))
    values = data.dequantize()
    assert not values[:, 4:].any()
    np.testing.assert_allclose(values[:, :4].mean(axis=0), 0, atol=data.scale)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npz", b"not a zip", "not a readable npz"),
        ("a.csv", b"a,b\n", "1 lines; expected a header"),
        ("a.csv", b"a,b,c\n1,2,3\n1,2\n", "data line 2 has 2 fields, the header 3"),
        ("a.csv", b"a,b\nx,1\n3,2\n", "'x' in data line 1, column 'a' is not a number"),
        ("a.csv", b"a,b\n1,x\n2,y\n3,z\n", "3 different words as targets; these are no classes"),
        ("a.csv", b"a,b\n1,1\n2,nan\n3,0\n", "y holds 1 NaN"),
        ("a.csv", b"a,b\n1,1\n2,1\n", "all 2 targets are 1"),
        ("a.csv", b"\xff\xfe\x00", "not a readable CSV"),
        ("a.txt", b"this is no data\n", "not LIBSVM text"),
    ],
)
def test_files_that_do_not_parse_are_refused(
    name: str, content: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name.endswith("txt"):
        pytest.importorskip("sklearn")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        load_file(path)
    assert main(["compare", "--data", str(path), "--out", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert name in err
    assert not (tmp_path / "out").exists()


def test_arrays_missing_in_an_npz_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=X, labels=LABELS)
    with pytest.raises(ValueError, match=r"no array 'y'; the file holds X, labels"):
        load_file(tmp_path / "a.npz")
    assert load_file(tmp_path / "a.npz", "labels").y.shape == (60,)
    np.savez(tmp_path / "b.npz", X=X, y=LABELS[:-1])
    with pytest.raises(ValueError, match=r"X has shape \(60, 4\) and y \(59,\)"):
        load_file(tmp_path / "b.npz")
    (tmp_path / "c.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(ValueError, match="no column 'z'"):
        load_file(tmp_path / "c.csv", "z")


@pytest.mark.parametrize("kind", ["npz", "csv", "libsvm"])
def test_a_comparison_of_a_local_file(
    kind: str, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "libsvm":
        pytest.importorskip("sklearn")
    out = tmp_path / "out"
    command = ["compare", "--data", str(files[kind]), "--out", str(out), "--json", "--epochs", "30", "--seed", "4"]
    command += ["--methods", "svrg,lp-svrg,halp", "--bits", "8,12", "--l2", "0.1"]
    assert main(command + (["--target", "label"] if kind == "csv" else [])) == 0
    stdout, stderr = capsys.readouterr()
    report = json.loads(stdout)
    rows = report["results"]
    assert [(row["method"], row["bits"]) for row in rows] == [
        ("svrg", None), ("lp-svrg", 8), ("lp-svrg", 12), ("halp", 8), ("halp", 12),
    ]  # fmt: skip
    assert report["seed"] == 4
    halp = rows[3]
    assert halp["bytes_per_weight"] == 1
    assert halp["data_bytes"] == 240
    assert halp["grad_norm"] < 1e-6 < rows[1]["grad_norm"]
    assert halp["epochs_to_1e-6"] <= 30
    assert rows[1]["epochs_to_1e-6"] is None
    assert 0 <= halp["objective_gap"] < 1e-12 < rows[1]["objective_gap"]
    assert "halp-8" in stderr  # progress
    with (out / "convergence.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 5 * 31
    assert set(lines[0]) == {"dataset", "method", "bits", *HISTORY}


def test_the_demo_as_a_process(tmp_path: Path) -> None:
    """`python -m lpnum_optim compare`: table on stdout, both files, in a few seconds."""
    pytest.importorskip("sklearn")
    command = [sys.executable, "-m", "lpnum_optim", "compare", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for name in (*BUNDLED, "halp-8", "halp-16", "lp-svrg-16", "objective gap", "bytes/weight"):
        assert name in done.stdout
    assert (tmp_path / "demo" / "convergence.csv").stat().st_size > 1000
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert "lpnum[plot]" in done.stderr
    else:
        assert (tmp_path / "demo" / "convergence.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["compare", "--methods", "halpp"], 2),
        (["compare", "--bits", "1"], 2),
        (["compare", "--bits", "8,x"], 2),
        (["compare", "--epochs", "0"], 2),
        (["compare", "--seed", "-1"], 2),
        (["compare", "--unknown"], 2),
        (["compare", "--data", "/no/such/file.npz"], 1),
        (["compare", "--help"], 0),
        (["--version"], 0),
    ],
)
def test_exit_codes(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert bool(err) == (code != 0)
    if arguments == ["--version"]:
        assert lpnum.__version__ in out
        assert "SIMD level" in out
    if "halpp" in arguments:
        assert "Did you mean 'halp'" in err


def test_a_missing_extra_ends_with_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["compare", "--out", str(tmp_path)]) == 1
    assert 'pip install "lpnum[optim]"' in capsys.readouterr().err


def test_the_reference_minimum_is_the_minimum() -> None:
    for data in (synthetic(0, 200, 10), synthetic(1, 200, 10)._replace(loss="logistic", l2=0.1)):
        data = data._replace(y=np.sign(data.y)) if data.loss == "logistic" else data
        problem = data.problem()
        best = minimize(problem, "svrg", epochs=100).fun
        assert reference_minimum(problem) == pytest.approx(best, rel=1e-13, abs=1e-15)


def test_the_table_says_what_was_not_reached() -> None:
    outcomes = compare([synthetic(0, 200, 10)], [Setting("lp-sgd", 8), Setting("halp", 8)], epochs=30)
    text = table(outcomes)
    low, halp = (next(line for line in text.splitlines() if name in line) for name in ("lp-sgd-8", "halp-8"))
    assert " - " in low
    assert " - " not in halp
    assert [s.label for s in settings(["svrg", "halp"], [4])] == ["svrg", "halp-4"]


def test_plots_draw_on_the_axes_they_are_given() -> None:
    figure = pytest.importorskip("matplotlib.figure")
    from lpnum_optim.plotting import plot_comparison, plot_convergence

    ax = figure.Figure().subplots()
    outcomes = compare([synthetic(0, 200, 10)], [Setting("svrg", None), Setting("halp", 8)], epochs=5)
    assert plot_convergence({"halp": outcomes[1].history}, ax) is ax
    assert ax.get_yscale() == "log"
    assert ax.lines[0].get_xdata().tolist() == outcomes[1].history["passes"].tolist()
    comparison = plot_comparison(outcomes)
    assert [text.get_text() for text in comparison.legends[0].get_texts()] == ["svrg", "halp-8"]
