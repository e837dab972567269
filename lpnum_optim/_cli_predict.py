"""``predict``: what a model of ``fit`` says of the data in a file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpnum._files import atomic_writer

from . import _cli_arguments as types
from ._cli_fit import score
from .data_files import Table, read_file
from .model_file import LinearModel, load_model


def add(commands: Any) -> None:
    """Add the command to the parser."""
    sub = commands.add_parser(
        "predict",
        help="apply a model to data",
        description="Print the predictions of a model, one line per sample. Columns of a CSV are found by their names. "
        "If the data hold targets too, a score goes to stderr.",
    )
    sub.add_argument("model", metavar="MODEL", type=Path, help="file written by fit")
    sub.add_argument("data", metavar="DATA", type=Path, help="npz with X, CSV with a header, or LIBSVM text")
    sub.add_argument("--target", metavar="NAME", help="target column or array, for the score (default: as in fit)")
    sub.add_argument("--proba", action="store_true", help="print the probabilities of the classes, as CSV")
    sub.add_argument("--out", metavar="FILE", type=Path, help="write to this file in place of stdout")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict, print or write."""
    model = load_model(arguments.model)
    if arguments.proba and model.classes is None:
        raise ValueError(f"predict: --proba needs classes; {arguments.model.name} is a regression ({model.loss} loss)")
    table = _columns(model, arguments)
    rated = score(model, table)
    if rated is not None:
        print(f"{rated[0]} {rated[1]:.4f} on {len(table.X)} samples of {arguments.data.name}", file=sys.stderr)
    predictions = model.predict(table.X)
    probabilities = model.probabilities(table.X) if arguments.proba else None
    if arguments.json:
        report: dict[str, Any] = {"model": str(arguments.model), "data": str(arguments.data)}
        report["predictions"] = predictions.tolist()
        if probabilities is not None:
            report["classes"], report["probabilities"] = model.classes, probabilities.tolist()
        if rated is not None:
            report["score"] = types.plain(rated[1])
        text = json.dumps(report) + "\n"
    elif probabilities is not None:
        assert model.classes is not None
        lines = [",".join(map(_shown, model.classes))] + [",".join(map(repr, row)) for row in probabilities.tolist()]
        text = "\n".join(lines) + "\n"
    else:
        text = "".join(f"{_shown(value)}\n" for value in predictions.tolist())
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        with atomic_writer(arguments.out) as file:
            file.write(text.encode())
        print(f"wrote {arguments.out}", file=sys.stderr)
    return 0


def _shown(value: Any) -> str:
    """A class or a number; whole numbers without a point."""
    return str(value) if not isinstance(value, float) or value != int(value) else str(int(value))


def _columns(model: LinearModel, arguments: argparse.Namespace) -> Table:
    """The features that the model wants, in its order."""
    path, d = arguments.data, model.coef.shape[1]
    where = f"predict({path.name!r})"
    table = read_file(path, arguments.target, where="predict", needed=False, usual=model.target)
    if model.features is not None and table.names is not None:
        missing = [name for name in model.features if name not in table.names]
        if missing:
            raise ValueError(
                f"{where}: no column {missing[0]!r}, which {arguments.model.name} needs"
                + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else "")
                + f"; the header has {', '.join(table.names)}"
            )
        positions = [table.names.index(name) for name in model.features]
        table = table._replace(X=np.ascontiguousarray(table.X[:, positions]), names=tuple(model.features))
    if path.suffix.lower() not in (".npz", ".csv", ".tsv") and table.X.shape[1] < d:
        table = table._replace(X=_padded(table.X, d))  # LIBSVM text does not tell trailing columns of zeros
    if table.X.shape[1] != d:
        raise ValueError(f"{where}: {table.X.shape[1]} features; {arguments.model.name} was fitted to {d}")
    return table


def _padded(X: NDArray[Any], d: int) -> NDArray[Any]:
    return np.concatenate([X, np.zeros((len(X), d - X.shape[1]), X.dtype)], axis=1)
