"""Problems for time to accuracy: data that are 8-bit codes, and the same values as floats for other solvers.

Bundled with scikit-learn or made here, so that everyone can run them; the public sets come from files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lpnum
from lpnum_optim import FiniteSum
from lpnum_optim.datasets import breast_cancer, digits


class Task(NamedTuple):
    """A linear model on 8-bit data.

    X has one scale, and its values are float32 numbers exactly (a scale that is a power of two, or codes 0 and 1), so
    that every solver minimizes the same function.
    """

    name: str
    X: lpnum.LPArray
    y: np.ndarray
    loss: str
    l2: float
    intercept: bool = False

    def problem(self, X: Any = None) -> FiniteSum:
        """The finite sum, on the codes or on `X`, the same values in another type."""
        return FiniteSum(self.X if X is None else X, self.y, self.loss, self.l2, intercept=self.intercept)

    def values(self, dtype: Any) -> np.ndarray:
        """The data as floats."""
        return np.asarray(self.X.dequantize(np.float64), dtype=dtype)

    @property
    def shape(self) -> str:
        """The size of the problem as text."""
        n, d = self.X.shape
        classes = f" x {len(np.unique(self.y))} classes" if self.loss == "softmax" else ""
        return f"{n} x {d}{classes}, {self.loss}, l2 = {self.l2:g}{', intercept' if self.intercept else ''}"


def on_powers_of_two(X: np.ndarray) -> lpnum.LPArray:
    """Round to signed 8-bit codes on the finest grid that holds every value and whose scale is a power of two."""
    scale = 2.0 ** np.ceil(np.log2(np.abs(X).max() / 127))
    return lpnum.array(X, dtype=lpnum.fixed8, scale=scale)


def standardized(X: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1."""
    X = np.asarray(X, dtype=np.float64)
    return (X - X.mean(axis=0)) / X.std(axis=0)


def images(n: int = 6_000, d: int = 784) -> Task:
    """Pixels 0..255 like those of handwritten digits: blurred strokes, most of them dark; two classes that overlap."""
    rng = np.random.default_rng(0)
    side = int(np.sqrt(d))
    axis = np.arange(side) / side
    pixels = np.zeros((n, side, side), np.float32)
    label = rng.choice([-1.0, 1.0], n)
    for stroke in range(3):
        center = rng.uniform(0.2, 0.8, (2, n, 1))
        center[0, :, 0] += 0.05 * label * (stroke == 0)
        across, along = (np.exp(-(((axis - c) / 0.12) ** 2)) for c in center)
        np.maximum(pixels, across[:, :, None] * along[:, None, :], out=pixels)
    codes = (255 * pixels.reshape(n, d) ** 2).astype(np.uint8)
    return Task("images", lpnum.LPArray(codes, lpnum.ufixed8, 2.0**-8), label, "logistic", 1e-3)


def mnist(folder: Path, *, softmax: bool = False) -> Task:
    """60,000 images of 28 x 28 pixels: even against odd, or the ten digits."""
    with np.load(folder / "mnist.npz") as file:
        codes, y = file["x_train"].reshape(60_000, 784), file["y_train"]
    X = lpnum.LPArray(codes, lpnum.ufixed8, 2.0**-8)
    if softmax:
        return Task("mnist-10", X, y.astype(np.float64), "softmax", 1e-3)
    return Task("mnist", X, np.where(y % 2 == 0, 1.0, -1.0), "logistic", 1e-3)


def a9a(folder: Path) -> Task:
    """Income of 32,561 people, 123 binary features."""
    X, y = _arrays(folder / "a9a.npz")
    return Task("a9a", lpnum.LPArray(X, lpnum.ufixed8, 1.0), y.astype(np.float64), "logistic", 7e-4)


def phishing(folder: Path) -> Task:
    """11,055 web sites, 68 features that are 0 or 0.18257."""
    X, y = _arrays(folder / "phishing.npz")
    codes = (X > 0).astype(np.uint8)
    return Task("phishing", lpnum.LPArray(codes, lpnum.ufixed8, float(X.max())), y.astype(np.float64), "logistic", 1e-3)


def dna(folder: Path, *, softmax: bool = False) -> Task:
    """3,186 pieces of DNA, 180 binary features: a boundary against none, or all three classes."""
    codes, y = _arrays(folder / "dna.npz")
    X = lpnum.LPArray(codes, lpnum.ufixed8, 1.0)
    if softmax:
        return Task("dna-3", X, y.astype(np.float64), "softmax", 2e-3)
    return Task("dna", X, np.where(y == 2, 1.0, -1.0), "logistic", 2e-3)


def spambase(folder: Path) -> Task:
    """4,601 messages, 57 features: log(1 + x), standardized, rounded to 8 bits."""
    X, y = _arrays(folder / "spambase.npz")
    return Task("spambase", on_powers_of_two(standardized(np.log1p(X))), y.astype(np.float64), "logistic", 1e-2)


FILES: dict[str, Callable[[Path], Task]] = {
    "mnist": mnist,
    "mnist-10": lambda folder: mnist(folder, softmax=True),
    "a9a": a9a,
    "phishing": phishing,
    "dna": dna,
    "dna-3": lambda folder: dna(folder, softmax=True),
    "spambase": spambase,
}


def _bundled(name: str) -> Task:
    data = {"digits": digits, "breast-cancer": breast_cancer}[name]()
    X = data.X if float(data.X.scale) == 2.0 ** np.rint(np.log2(float(data.X.scale))) else (
        on_powers_of_two(data.X.dequantize(np.float64)))  # fmt: skip
    return Task(name, X, data.y, data.loss, data.l2)


BUNDLED: dict[str, Callable[[], Task]] = {
    "digits": lambda: _bundled("digits"),
    "breast-cancer": lambda: _bundled("breast-cancer"),
    "images": images,
}


def tasks(folder: Path | None, only: list[str] | None) -> Iterator[Task]:
    """The tasks of the files in `folder`, without one the bundled ones."""
    makers = BUNDLED if folder is None else {name: _bound(make, folder) for name, make in FILES.items()}
    unknown = set(only or ()) - set(makers)
    if unknown:
        raise SystemExit(f"accuracy: no data set {', '.join(sorted(unknown))}; there are {', '.join(makers)}")
    for name, make in makers.items():
        if not only or name in only:
            yield make()


def _bound(make: Callable[[Path], Task], folder: Path) -> Callable[[], Task]:
    return lambda: make(folder)


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as file:
        return file["X"], file["y"]
