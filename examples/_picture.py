"""What the scripts of this folder share: options, data, and small PNG files."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image  # matplotlib brings it

from lpnum_optim.datasets import BUNDLED, Dataset, load_file

NPZ = ".npz files of arrays X and y"
IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def parser(description: str | None, out: Path, *, data: str = "") -> argparse.ArgumentParser:
    """``--out``, and ``--data-dir`` if the picture can be of other data, which `data` describes."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--out", type=Path, default=out, help="where to write (default: where the documents look)")
    if data:
        found.add_argument("--data-dir", type=Path, help=f"folder to take instead of bundled data: {data}")
    return found


def datasets(folder: Path | None, bundled: Iterable[str]) -> list[Dataset]:
    """All .npz files of a folder as 8-bit data; without a folder the bundled sets of these names."""
    if folder is None:
        return [BUNDLED[name]() for name in bundled]
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise SystemExit(f"no .npz file in {folder}; save arrays with np.savez(file, X=X, y=y)")
    return [load_file(file) for file in files]


def save(figure: Figure, path: Path) -> None:
    """Write a PNG with a palette of 64 colors: enough for lines, and a third of the size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90)
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)
    print(f"{path}: {path.stat().st_size} bytes")
