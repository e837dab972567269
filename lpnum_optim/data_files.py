"""Tables in local files: npz, CSV, LIBSVM text."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._checks import finite, optional_import


class Table(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    X : (n_samples, n_features) array
        In the file's own type: int8 and uint8 stay what they are.
    y : (n_samples,) float64 array or None
        Targets; numbers of the `words` where the file has words.
    names : tuple of str or None
        Of the features, where the file tells them.
    words : tuple of str or None
        What the targets 0, 1, 2, ... stand for.
    target : str or None
        Name of the targets' column or array.
    """

    X: NDArray[Any]
    y: NDArray[np.float64] | None
    names: tuple[str, ...] | None = None
    words: tuple[str, ...] | None = None
    target: str | None = None


def read_file(
    path: str | Path, target: str | None = None, *, where: str = "read_file", needed: bool = True,
    usual: str | None = None,
) -> Table:  # fmt: skip
    """Read features and targets.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with arrays X and y; ``.csv`` (or ``.tsv``) with a header; anything else is read as LIBSVM text.
    target : str, optional
        CSV: name or 0-based number of the target column (default the last). npz: name of the target array (default y).
    needed : bool
        Whether the targets have to be there. If not, and no `target` is given, targets are only what is called `usual`.
    usual : str, optional

    Raises
    ------
    FileNotFoundError, ValueError
        The file is missing, does not parse, or holds no usable data; the message names the file and the place.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{where}: no file {str(path)!r}; expected .npz, .csv or LIBSVM text")
    where = f"{where}({path.name!r})"
    table = READERS.get(path.suffix.lower(), _read_libsvm)(path, target, None if needed else usual or "", where)
    X, y = table.X, table.y
    if X.ndim != 2 or 0 in X.shape or (y is not None and y.shape != X.shape[:1]):
        of_y = "" if y is None else f" and y {y.shape}"
        raise ValueError(f"{where}: X has shape {X.shape}{of_y}; expected (n, d) and (n,), not empty")
    finite(where, "X", X)
    if y is not None:
        finite(where, "y", y)
    return table


# The readers take the name of the targets (None: the usual place) and the name under which they may be found if they
# are not needed (None: they are needed).


def _read_npz(path: Path, target: str | None, optional: str | None, where: str) -> Table:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in arrays.files}
    except Exception as error:
        raise ValueError(f"{where}: not a readable npz file: {error}") from error
    name = target or optional or "y"
    wanted = {"X", name} if target or optional is None else {"X"}
    missing = wanted - set(stored)
    if missing:
        raise ValueError(
            f"{where}: no array {sorted(missing)[0]!r}; the file holds {', '.join(stored) or 'nothing'}. "
            f"Save it with np.savez(file, {', '.join(f'{key}={key}' for key in sorted(wanted))})"
        )
    X, y = stored["X"], stored.get(name)
    words = None
    if y is not None and y.dtype.kind == "U":
        found, numbers = np.unique(y, return_inverse=True)
        words, y = tuple(found.tolist()), numbers.reshape(y.shape)
    if X.dtype.kind not in "biuf" or (y is not None and y.dtype.kind not in "biuf"):
        of_y = "" if y is None else f" and {name} {y.dtype}"
        raise ValueError(f"{where}: X is {X.dtype}{of_y}; both have to be real numbers")
    if y is not None:
        y = (y.ravel() if y.ndim and y.size == len(y) else y).astype(np.float64)
    if X.dtype == bool:
        X = X.astype(np.uint8)
    elif X.dtype.kind == "f" and X.dtype.itemsize < 4:
        X = X.astype(np.float32)
    return Table(X, y, words=words, target=name)


def _read_csv(path: Path, target: str | None, optional: str | None, where: str) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",") if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: not a readable CSV file: {error}") from error
    if len(rows) < 2:
        raise ValueError(f"{where}: {len(rows)} lines; expected a header with the column names and data lines below it")
    header, body = [name.strip() for name in rows[0]], rows[1:]
    column = None
    if target or optional is None:
        column = _column(where, header, target)
    elif optional in header:
        column = header.index(optional)
    values = np.empty((len(body), len(header)))
    has_words = False
    for r, row in enumerate(body):
        if len(row) != len(header):
            raise ValueError(f"{where}: data line {r + 1} has {len(row)} fields, the header {len(header)}")
        for c, field in enumerate(row):
            try:
                values[r, c] = float(field)
            except ValueError:
                if c != column:
                    raise ValueError(
                        f"{where}: {field!r} in data line {r + 1}, column {header[c]!r} is not a number; "
                        "encode or drop that column"
                    ) from None
                values[r, c] = math.nan
                has_words = True
    if column is None:
        return Table(values, None, tuple(header))
    words = None
    if has_words:
        words = tuple(sorted({row[column].strip() for row in body}))
        numbers = {word: k for k, word in enumerate(words)}
        values[:, column] = [numbers[row[column].strip()] for row in body]
    names = tuple(header[:column] + header[column + 1 :])
    return Table(np.delete(values, column, axis=1), values[:, column].copy(), names, words, header[column])


def _column(where: str, header: list[str], target: str | None) -> int:
    if target is None:
        return len(header) - 1
    if target in header:
        return header.index(target)
    if target.isdigit() and int(target) < len(header):
        return int(target)
    raise ValueError(f"{where}: no column {target!r}; the header has {', '.join(header)}")


def _read_libsvm(path: Path, target: str | None, optional: str | None, where: str) -> Table:
    sets = optional_import("sklearn.datasets", "optim", "reading LIBSVM text")
    try:
        X, y = sets.load_svmlight_file(str(path))
    except Exception as error:
        raise ValueError(
            f"{where}: not LIBSVM text ('label index:value ...' on every line): {error}. "
            "Other formats are told by the ending: .npz, .csv, .tsv"
        ) from error
    return Table(X.toarray(), y)


READERS: dict[str, Callable[[Path, str | None, str | None, str], Table]] = {
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".tsv": _read_csv,
}
