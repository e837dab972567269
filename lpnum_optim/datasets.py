"""Data for comparisons: two sets bundled with scikit-learn, a synthetic one, and local files.

Everything comes as 8-bit codes in an `lpnum.LPArray`, quantized once, the same for every method.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lpnum
from lpnum import LPArray

from ._checks import optional_import
from .data_files import Table, read_file
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
    loss : {"auto", "logistic", "softmax", "squared", "huber"}
        "auto": logistic for two distinct targets; softmax for more words; squared for more numbers. The logistic loss
        takes the larger target as +1.
    l2 : float, optional
        Default: L / min(n_samples, 10000) with L the Lipschitz constant, so that the problem is well posed whatever the
        scaling: two epochs of n steps of 0.5 / L then shrink the error at least e-fold in the flattest direction.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is missing, does not parse, or holds no usable data; the message names the file and the place.
    """
    path = Path(path)
    table = read_file(path, target, where="load_file")
    loss, y = choose_loss(table, loss, f"load_file({path.name!r})")
    if loss in REGRESSION:
        # Targets of unit size: the gradient norms of different data are then comparable; the minimum only scales.
        y = (y - y.mean()) / y.std()
    data = _as_codes(table.X)
    if l2 is None:
        l2 = FiniteSum(data, y, loss).lipschitz / min(len(y), 10_000)
    return Dataset(path.stem, data, y, loss, l2, f"{path.name}, {loss} loss")


REGRESSION = ("squared", "huber")


def choose_loss(table: Table, loss: str, where: str) -> tuple[str, NDArray[np.float64]]:
    """The loss that suits the targets, and the targets as it wants them: -1 and +1, 0 .. C-1, or numbers."""
    y = table.y
    assert y is not None
    classes = np.unique(y)
    if len(classes) == 1:
        value = table.words[0] if table.words else f"{classes[0]:g}"
        raise ValueError(f"{where}: all {len(y)} targets are {value}; there is nothing to learn")
    if loss == "auto":
        loss = "logistic" if len(classes) == 2 else "softmax" if table.words else "squared"
    if loss == "logistic":
        if len(classes) != 2:
            raise ValueError(
                f"{where}: {len(classes)} distinct targets; the logistic loss needs exactly two, softmax takes more"
            )
        return loss, np.where(y == classes[1], 1.0, -1.0)
    if loss == "softmax":
        if 2 * len(classes) > len(y):
            raise ValueError(
                f"{where}: {len(y)} samples have {len(classes)} different "
                f"{'words' if table.words else 'numbers'} as targets; these are no classes"
            )
        return loss, np.searchsorted(classes, y).astype(np.float64)
    if table.words:
        raise ValueError(
            f"{where}: the targets are words ({', '.join(table.words[:5])}); the {loss} loss needs numbers"
        )
    return loss, y


def _as_codes(X: NDArray[Any]) -> LPArray:
    """8-bit integers as they are, scaled into [-1, 1]; everything else standardized and rounded."""
    if X.dtype in (np.uint8, np.int8) and X.any():
        largest = int(np.max(np.abs(X.astype(np.int16))))
        fmt = lpnum.ufixed8 if X.dtype == np.uint8 else lpnum.fixed8
        return lpnum.array(X / largest, dtype=fmt, scale=1 / largest)
    return quantize_columns(X)
