"""The scripts in examples/ run, and draw the pictures that the documents show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the examples draw pictures")

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.stem for path in (ROOT / "examples").glob("[a-z]*.py"))
# A folder of pictures for the first; the smallest data for what takes turns with other solvers.
OUT = {"format_pictures": "."}
OPTIONS = {"time_to_accuracy": ["--data", "breast-cancer"]}
# Others: scikit-learn, for its data.
NEEDS = {"format_pictures": "matplotlib", "adam_moments": "torch", "precision_report": "torch"}
DRAWN = {"format_pictures": {"number_lines.png", "rounding_errors.png", "rounding_modes.png"}}
LARGEST = 60_000  # bytes; also of what is tracked, in test_house.py


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_example_draws_its_pictures(name: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS.get(name, "sklearn"))
    result = run(name, "--out", str(tmp_path / OUT.get(name, f"{name}.png")), *OPTIONS.get(name, []))
    assert result.returncode == 0, result.stderr
    written = {path.name: path for path in tmp_path.iterdir()}
    assert set(written) == DRAWN.get(name, {f"{name}.png"})
    for path in written.values():
        assert path.read_bytes().startswith(b"\x89PNG")
        assert 5_000 < path.stat().st_size < LARGEST


def test_the_documents_show_all_pictures_that_examples_and_experiments_draw_and_no_others() -> None:
    drawn = set().union(*(DRAWN.get(name, {f"{name}.png"}) for name in SCRIPTS))
    # Commands of the experiments draw the others: one beside every table of results.
    drawn |= {f"deep_{path.stem.replace('-', '_')}.png" for path in (ROOT / "docs" / "results").glob("*.csv")}
    kept = {path.name for path in (ROOT / "docs" / "images").glob("*.png")}
    text = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    assert drawn == kept == set(re.findall(r"\]\(images/(\w+\.png)\)", text))


@pytest.mark.slow
def test_an_example_takes_data_from_a_folder(tmp_path: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    np.savez(tmp_path / "mine.npz", X=X, y=X.sum(axis=1) + rng.standard_normal(200))
    result = run("convergence", "--data-dir", str(tmp_path), "--out", str(tmp_path / "mine.png"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("mine\n")
    assert (tmp_path / "mine.png").exists()


@pytest.mark.slow
def test_an_empty_folder_of_data_is_named(tmp_path: Path) -> None:
    result = run("settings", "--data-dir", str(tmp_path), "--out", str(tmp_path / "no.png"))
    assert result.returncode == 1
    assert "no .npz file in" in result.stderr
    assert not (tmp_path / "no.png").exists()
