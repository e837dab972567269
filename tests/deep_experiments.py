"""Small experiments on the command line: their data, their options, what they write."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lpnum_optim.deep.cli import main
from lpnum_optim.deep.experiment_progress import Progress

FIVE = ["sgd", "lp-sgd", "svrg", "lp-svrg", "halp"]
SMALL_NETWORK = ["--hidden", "6", "--layers", "1", "--length", "8", "--seeds", "3"]
SMALL_TEXT = ["--windows", "24", "--test-windows", "4", *SMALL_NETWORK]
SMALL_IMAGES = ["--width", "0.25", "--batch-size", "12", "--measure-images", "16", "--test-images", "8", "--seeds", "3"]


def no_picture(*ignored: Any) -> None:
    """In place of a picture, which takes longer than these networks."""
    raise ImportError("no matplotlib in this test")


def write_text(folder: Path) -> Path:
    """Some lines with few characters."""
    file = folder / "text.txt"
    file.write_text("".join("abcde "[k * k % 6] for k in range(400)))
    return file


def write_images(folder: Path) -> Path:
    """Three classes of 32 x 32 images, in the files of CIFAR-100."""
    rng = np.random.default_rng(0)
    contents: dict[str, dict[str, Any]] = {"meta": {"fine_label_names": ["dark", "gray", "light"]}}
    for name, count in (("train", 24), ("test", 8)):
        labels = np.arange(count) % 3
        pixels = rng.integers(0, 128, (count, 3072)) + 50 * labels[:, None]
        contents[name] = {"data": pixels.astype(np.uint8), "fine_labels": labels.tolist()}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder


def lstm(text: Path, out: Path, *options: str) -> int:
    """The command with a small network; momentum 0.5."""
    return main(["lstm", "--text", str(text), "--out", str(out), "--lr", "0.5", *SMALL_TEXT, *options])


def rows_of(folder: Path) -> list[dict[str, str]]:
    """results.csv without what differs from run to run."""
    with (folder / "results.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def interrupt_after(monkeypatch: pytest.MonkeyPatch, ticks: int) -> None:
    """Ctrl-C within an epoch, after so many steps of all runs."""
    left = [ticks]

    def epoch(self: Progress, *ignored: Any) -> Callable[[], None]:
        def tick() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        return tick

    monkeypatch.setattr(Progress, "epoch", epoch)
