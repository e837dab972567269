"""Data for comparisons: two sets bundled with scikit-learn, a synthetic one, and local files.

Everything comes as 8-bit codes in an `lpnum.LPArray`, quantized once, the same for every method.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lpnum
from lpnum import LPArray

from ._checks import finite, optional_import
from .problem import FiniteSum


class Dataset(NamedTuple):
    """Data of a linear model: X of shape (n_samples, n_features), y of shape (n_samples,)."""

    name: str
    X: LPArray
    y: NDArray[np.float64]
    loss: str
    l2: float
    description: str

    def problem(self) -> FiniteSum:
        """The finite sum to minimize."""
        return FiniteSum(self.X, self.y, self.loss, self.l2)


def quantize_columns(X: NDArray[Any]) -> LPArray:
    """Standardize every column, then round all to one 8-bit grid.

    A constant column becomes 0: it carries no information next to an intercept, and dividing by its standard deviation
    would make it NaN.

    >>> quantize_columns(np.array([[1.0, 5.0], [3.0, 5.0]])).dequantize()
    array([[-1.,  0.],
           [ 1.,  0.]])
    """
    X = np.asarray(X, dtype=np.float64)
    centered = X - X.mean(axis=0)
    # Below this the deviation of a constant column is rounding noise of its mean.
    spread = X.std(axis=0)
    constant = spread <= 1e-12 * np.abs(X).max(axis=0)
    return lpnum.array(np.where(constant, 0.0, centered / np.where(constant, 1.0, spread)), dtype=lpnum.fixed8)


def digits() -> Dataset:
    """Handwritten digits, even against odd: 1797 images of 8 x 8 pixels, which are integers 0..16 by nature."""
    sets = optional_import("sklearn.datasets", "optim", "the digits data set")
    X, y = sets.load_digits(return_X_y=True)
    # 0.003 keeps the strong convexity of the collinear pixels above L / 2000 and costs less than 1 % of accuracy.
    pixels = lpnum.array(X / 16, dtype=lpnum.ufixed8, scale=1 / 16)
    return Dataset(
        "digits", pixels, np.where(y % 2 == 0, 1.0, -1.0), "logistic", 3e-3, "even against odd, pixels 0..16"
    )


def breast_cancer() -> Dataset:
    """Breast cancer Wisconsin, benign against malignant: 569 samples, 30 standardized features rounded to 8 bits."""
    sets = optional_import("sklearn.datasets", "optim", "the breast cancer data set")
    X, y = sets.load_breast_cancer(return_X_y=True)
    # Strongly correlated features: without this much L2 even float64 SVRG needs hundreds of epochs.
    return Dataset("breast-cancer", quantize_columns(X), np.where(y == 1, 1.0, -1.0), "logistic", 0.1,
                   "benign against malignant, standardized")  # fmt: skip


def synthetic(seed: int = 0, n: int = 1000, d: int = 100) -> Dataset:
    """Least squares with Gaussian features on an 8-bit grid and noise of variance 1.

    X, the true weights and the noise come in this order from one ``numpy.random.default_rng(seed)``; features are
    scaled by max|X| / 127 and rounded to integers.
    """
    rng = np.random.default_rng(seed)
    X, weights, noise = rng.standard_normal((n, d)), rng.standard_normal(d), rng.standard_normal(n)
    features = lpnum.array(X, dtype=lpnum.fixed8, scale=float(np.abs(X).max()) / 127)
    return Dataset("synthetic", features, features.dequantize() @ weights + noise, "squared", 0.0,
                   "least squares, Gaussian features")  # fmt: skip


BUNDLED: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "breast-cancer": breast_cancer,
    "synthetic": synthetic,
}


def load_file(path: str | Path, target: str | None = None, *, loss: str = "auto", l2: float | None = None) -> Dataset:
    """A local file as 8-bit data.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with arrays X and y; ``.csv`` (or ``.tsv``) with a header; anything else is read as LIBSVM text.
    target : str, optional
        CSV: name or 0-based number of the target column (default the last). npz: name of the target array (default y).
    loss : {"auto", "logistic", "squared"}
        "auto": logistic for two distinct targets, squared otherwise. The logistic loss takes the larger target as +1.
    l2 : float, optional
        Default: L / min(n_samples, 10000) with L the Lipschitz constant, so that the problem is well posed whatever the
        scaling: two epochs of n steps of 0.5 / L then shrink the error at least e-fold in the flattest direction.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is missing, does not parse, or holds no usable data; the message names the file and the place.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load_file: no file {str(path)!r}; expected .npz, .csv or LIBSVM text")
    X, y = READERS.get(path.suffix.lower(), _read_libsvm)(path, target)
    where = f"load_file({path.name!r})"
    if X.ndim != 2 or y.shape != X.shape[:1] or 0 in X.shape:
        raise ValueError(f"{where}: X has shape {X.shape} and y {y.shape}; expected (n, d) and (n,), not empty")
    finite(where, "X", X)
    finite(where, "y", y)
    classes = np.unique(y)
    if loss == "auto":
        loss = "logistic" if len(classes) == 2 else "squared"
    if loss == "logistic":
        if len(classes) != 2:
            raise ValueError(f"{where}: {len(classes)} distinct targets; the logistic loss needs exactly two")
        y = np.where(y == classes[1], 1.0, -1.0)
    elif len(classes) == 1:
        raise ValueError(f"{where}: all {len(y)} targets are {classes[0]:g}; there is nothing to learn")
    else:
        # Targets of unit size: the gradient norms of different data are then comparable; the minimum only scales.
        y = (y - y.mean()) / y.std()
    data = _as_codes(X)
    if l2 is None:
        l2 = FiniteSum(data, y, loss).lipschitz / min(len(y), 10_000)
    return Dataset(path.stem, data, y, loss, l2, f"{path.name}, {loss} loss")


def _as_codes(X: NDArray[Any]) -> LPArray:
    """8-bit integers as they are, scaled into [-1, 1]; everything else standardized and rounded."""
    if X.dtype in (np.uint8, np.int8) and X.any():
        largest = int(np.max(np.abs(X.astype(np.int16))))
        fmt = lpnum.ufixed8 if X.dtype == np.uint8 else lpnum.fixed8
        return lpnum.array(X / largest, dtype=fmt, scale=1 / largest)
    return quantize_columns(X)


def _read_npz(path: Path, target: str | None) -> tuple[NDArray[Any], NDArray[np.float64]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in arrays.files}
    except Exception as error:
        raise ValueError(f"load_file({path.name!r}): not a readable npz file: {error}") from error
    name = target or "y"
    missing = {"X", name} - set(stored)
    if missing:
        raise ValueError(
            f"load_file({path.name!r}): no array {sorted(missing)[0]!r}; the file holds "
            f"{', '.join(stored) or 'nothing'}. Save it with np.savez(file, X=X, y=y)"
        )
    X, y = stored["X"], stored[name]
    if X.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        raise ValueError(f"load_file({path.name!r}): X is {X.dtype} and {name} {y.dtype}; both have to be real numbers")
    y = y.ravel() if y.size == len(y) else y
    if (X.dtype.kind == "f" and X.dtype.itemsize < 8) or X.dtype == bool:
        X = X.astype(np.float64) if X.dtype.kind == "f" else X.astype(np.uint8)
    return X, y.astype(np.float64)


def _read_csv(path: Path, target: str | None) -> tuple[NDArray[Any], NDArray[np.float64]]:
    where = f"load_file({path.name!r})"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",") if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: not a readable CSV file: {error}") from error
    if len(rows) < 2:
        raise ValueError(f"{where}: {len(rows)} lines; expected a header with the column names and data lines below it")
    header, body = [name.strip() for name in rows[0]], rows[1:]
    column = _column(where, header, target)
    values = np.empty((len(body), len(header)))
    classes: dict[str, int] = {}
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
                classes.setdefault(field.strip(), 0)
    if classes:  # words as targets: two names of classes
        names = sorted({row[column].strip() for row in body})
        if len(names) != 2:
            raise ValueError(
                f"{where}: target column {header[column]!r} holds {len(names)} different words; expected two"
            )
        values[:, column] = [names.index(row[column].strip()) for row in body]
    return np.delete(values, column, axis=1), values[:, column].copy()


def _column(where: str, header: list[str], target: str | None) -> int:
    if target is None:
        return len(header) - 1
    if target in header:
        return header.index(target)
    if target.isdigit() and int(target) < len(header):
        return int(target)
    raise ValueError(f"{where}: no column {target!r}; the header has {', '.join(header)}")


def _read_libsvm(path: Path, target: str | None) -> tuple[NDArray[Any], NDArray[np.float64]]:
    sets = optional_import("sklearn.datasets", "optim", "reading LIBSVM text")
    try:
        X, y = sets.load_svmlight_file(str(path))
    except Exception as error:
        raise ValueError(
            f"load_file({path.name!r}): not LIBSVM text ('label index:value ...' on every line): {error}. "
            "Other formats are told by the ending: .npz, .csv, .tsv"
        ) from error
    return X.toarray(), y


READERS: dict[str, Callable[[Path, str | None], tuple[NDArray[Any], NDArray[np.float64]]]] = {
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".tsv": _read_csv,
}
