"""A fitted linear model in a file: an npz file of `lpnum.save`, one of whose arrays is a JSON text.

Layout, version 1: ``model`` (uint8: UTF-8 JSON), ``coef`` (float64, (n_outputs, n_features)), ``intercept`` (float64,
(n_outputs,)). The JSON object has the fields of `LinearModel` but these two, and ``lpnum_optim``: the version.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lpnum
from lpnum._schema import dump, fields, parse

from ._features import products
from .losses import LOSSES

VERSION = 1

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class LinearModel:
    """Margins ``x @ coef.T + intercept``, and what they mean.

    Attributes
    ----------
    coef : float64 array of shape (n_outputs, n_features)
    intercept : float64 array of shape (n_outputs,)
    loss : str
        Name of a row of `lpnum_optim.losses.LOSSES`.
    classes : list of str or of float, or None
        For the logistic loss two, of which the second has positive margins; for softmax one per output.
    features : list of str or None
    target : str or None
        Name of the target's column.
    fit : dict
        How it was fitted: numbers and texts for the reader.
    """

    coef: Vector
    intercept: Vector
    loss: str
    classes: list[Any] | None = None
    features: list[str] | None = None
    target: str | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, X: Any) -> NDArray[Any]:
        """Classes, or numbers. 8-bit data are not dequantized."""
        margins = self.margins(X)
        if self.classes is None:
            return margins[:, 0]
        chosen = (margins[:, 0] > 0).astype(np.intp) if margins.shape[1] == 1 else margins.argmax(axis=1)
        return np.asarray(self.classes)[chosen]

    def probabilities(self, X: Any) -> Vector:
        """Of every class, of shape (n_samples, n_classes)."""
        margins = self.margins(X)
        if margins.shape[1] == 1:
            margins = np.concatenate([np.zeros_like(margins), margins], axis=1)
        weights = np.exp(margins - margins.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def margins(self, X: Any) -> Vector:
        """``X @ coef.T + intercept``."""
        if X.shape[1] != self.coef.shape[1]:
            raise ValueError(f"the data have {X.shape[1]} features, the model {self.coef.shape[1]}")
        return products(X, self.coef) + self.intercept


def save_model(path: str | Path, model: LinearModel) -> None:
    """Write a model; an existing file is replaced in one step, or stays as it is.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "model.npz")
    >>> save_model(path, LinearModel(np.array([[1.0, 2.0]]), np.array([0.5]), "squared"))
    >>> load_model(path).predict(np.array([[1, 1]], np.uint8))
    array([3.5])
    """
    header = {item.name: getattr(model, item.name) for item in dataclasses.fields(model)}
    coef, intercept = header.pop("coef"), header.pop("intercept")
    text = dump({"lpnum_optim": VERSION, **header, "fit": dict(model.fit)})
    lpnum.save(path, model=np.frombuffer(text, np.uint8), coef=coef, intercept=intercept)


def load_model(path: str | Path) -> LinearModel:
    """Read a model.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; a damaged one, one of something else, or of a newer version. The message names it.
    """
    where = f"load_model({os.path.basename(path)!r})"
    if not Path(path).is_file():
        raise FileNotFoundError(f"{where}: no file {str(path)!r}; `python -m lpnum_optim fit` writes one")
    try:
        arrays = lpnum.load(path)
    except ValueError as error:
        raise ValueError(f"{where}: not a readable model file: {error}") from None
    if not isinstance(arrays, dict) or arrays.keys() != {"model", "coef", "intercept"}:
        raise ValueError(f"{where}: no linear model is stored there; `python -m lpnum_optim fit` writes one")
    coef, intercept, text = arrays["coef"], arrays["intercept"], arrays["model"]
    if not (isinstance(text, np.ndarray) and text.dtype == np.uint8 and text.ndim == 1):
        raise ValueError(f"{where}: the header is no text; the file is damaged")
    header = parse(text.tobytes(), where)
    version = header.get("lpnum_optim")
    if type(version) is not int or version < 1:
        raise ValueError(f"{where}: the version must be a positive integer, not {version!r:.80}; the file is damaged")
    if version > VERSION:
        raise ValueError(f"{where}: version {version} of the layout; this lpnum reads up to {VERSION}: install a newer")
    names = ("loss", "classes", "features", "target", "fit")
    model = LinearModel(coef, intercept, *fields(header, ("lpnum_optim", *names), where)[1:])
    problem = _flaw(model)
    if problem:
        raise ValueError(f"{where}: {problem}; the file is damaged, or was not written by lpnum_optim")
    return model


def _flaw(model: LinearModel) -> str:
    """What does not fit together in a model; empty if nothing."""
    coef, intercept, classes = model.coef, model.intercept, model.classes
    for name, array, ndim in (("coef", coef, 2), ("intercept", intercept, 1)):
        if not (isinstance(array, np.ndarray) and array.dtype == np.float64 and array.ndim == ndim):
            return f"{name} is no float64 array of {ndim} dimensions"
        if not np.isfinite(array).all():
            return f"{name} holds NaN or infinite values"
    if coef.shape[0] != len(intercept) or 0 in coef.shape:
        return f"coef has shape {coef.shape} and intercept {intercept.shape}"
    if not isinstance(model.loss, str) or model.loss not in LOSSES:
        return f"unknown loss {model.loss!r:.80}"
    outputs = {"logistic": 2, "softmax": len(coef)}.get(model.loss)
    if (outputs is None) != (classes is None) or (model.loss != "softmax" and len(coef) != 1):
        return f"{len(coef)} outputs and classes {classes!r:.80} do not go with the {model.loss} loss"
    if classes is not None:
        kinds = {type(c) for c in classes} if isinstance(classes, list) else set()
        if len(kinds) != 1 or not kinds <= {str, float, int} or not len(set(classes)) == len(classes) == outputs:
            return f"classes must be {outputs} different texts or numbers, not {classes!r:.80}"
    features = model.features
    if features is not None and not (
        isinstance(features, list) and all(isinstance(f, str) for f in features) and len(features) == coef.shape[1]
    ):
        return f"features must be {coef.shape[1]} names"
    if not (model.target is None or isinstance(model.target, str)) or not isinstance(model.fit, dict):
        return "target must be a name, and fit an object"
    return ""
