"""``fit``: a linear model of the data in a file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import _cli_arguments as types
from ._fitting import LinearFit, fit_linear
from .data_files import Table, read_file
from .datasets import choose_loss
from .losses import LOSSES
from .minimize import METHODS
from .model_file import LinearModel, save_model
from .result import INTERRUPTED


def add(commands: Any) -> None:
    """Add the command to the parser."""
    sub = commands.add_parser(
        "fit",
        help="fit a linear model and write it to a file",
        description="Fit a linear model: logistic regression, softmax regression, least squares or Huber's. "
        "The coefficients are those of the data as they are in the file.",
    )
    sub.add_argument("data", metavar="DATA", type=Path, help="npz with X and y, CSV with a header, or LIBSVM text")
    sub.add_argument("--out", metavar="FILE", type=Path, required=True, help="where the model goes (npz)")
    sub.add_argument(
        "--target",
        metavar="NAME",
        help="target column of a CSV (default: the last), target array of an npz (default: y)",
    )
    sub.add_argument("--loss", default="auto", choices=("auto", *LOSSES), help="default: by the targets")
    sub.add_argument("--l2", type=types.nonnegative, help="L2 penalty (default: 1 / number of samples)")
    sub.add_argument("--l1", type=types.nonnegative, default=0.0, help="L1 penalty (default: 0)")
    sub.add_argument("--no-intercept", action="store_true", help="fit no constant")
    sub.add_argument("--method", type=types.method, default="halp", help=f"of {', '.join(METHODS)} (default: halp)")
    sub.add_argument(
        "--bits", type=types.width_or_auto, default="auto",
        help="of a low-precision iterate, 2..16 (default: auto, which is 8, and 16 where 8 lead no further)",
    )  # fmt: skip
    sub.add_argument(
        "--data-format", type=types.data_format, default=None, metavar="FORMAT",
        help="how floating-point data are stored while fitting: fixed8, fixed16, ... or float (default)",
    )  # fmt: skip
    sub.add_argument("--epochs", type=types.positive, default=1000, help="at most (default: 1000)")
    sub.add_argument(
        "--tol", type=types.nonnegative, default=1e-7, help="gradient norm relative to that without features (1e-7)"
    )
    sub.add_argument("--seed", type=types.seed, default=0, help="default: 0")
    sub.add_argument(
        "--checkpoint", metavar="FILE", type=Path,
        help="save the state of the fit here every 10 seconds and at its end, whatever ends it",
    )  # fmt: skip
    sub.add_argument(
        "--resume", action="store_true",
        help="go on from the checkpoint, to the same bits, if there is one; --epochs and --tol may differ",
    )  # fmt: skip
    sub.add_argument("--json", action="store_true", help="print the summary as JSON")
    sub.set_defaults(run=run, check=check)


def check(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the arguments together."""
    if arguments.resume and arguments.checkpoint is None:
        return "argument --resume: needs --checkpoint FILE, the file to go on from"
    return None


def run(arguments: argparse.Namespace) -> int:
    """Fit, write the model, print a summary."""
    _check_files(arguments.out, arguments.checkpoint, arguments.resume)
    table = read_file(arguments.data, arguments.target, where="fit")
    loss, y = choose_loss(table, arguments.loss, f"fit({arguments.data.name!r})")
    n, d = table.X.shape
    l2 = 1.0 / n if arguments.l2 is None else arguments.l2
    progress = types.Progress(1)
    try:
        fit = fit_linear(
            np.ascontiguousarray(table.X), y, loss, l2=l2, l1=arguments.l1, intercept=not arguments.no_intercept,
            data_format=arguments.data_format, method=arguments.method, bits=arguments.bits, epochs=arguments.epochs,
            tol=arguments.tol, seed=arguments.seed,
            callbacks=progress.callbacks(f"{arguments.method} on {arguments.data.name}: {n} x {d}, {loss} loss"),
            checkpoint=arguments.checkpoint, resume=arguments.resume,
        )  # fmt: skip
    finally:
        progress.close()
    if fit.result.status == INTERRUPTED:
        state = arguments.checkpoint
        raise KeyboardInterrupt(f"the state is in {state}; --resume goes on from there" if state else "")
    model = _model(table, loss, fit, arguments, l2)
    save_model(arguments.out, model)
    summary = {"model": str(arguments.out), "loss": loss, **model.fit}
    rated = score(model, table)
    if arguments.json:
        if rated:
            summary["score"] = types.plain(rated[1])
        print(json.dumps(summary, indent=1))
    else:
        penalty = f"L2 {l2:.3g}" + (f", L1 {arguments.l1:.3g}" if arguments.l1 else "")
        print(f"{arguments.data.name}: {n} x {d}, {loss} loss, {penalty}")
        print(f"objective {summary['objective']:.10g} after {summary['epochs']} epochs; {summary['message']}")
        if rated:
            print(f"{rated[0]} {rated[1]:.4f} on these data")
        print(f"wrote {arguments.out}")
    if not fit.result.converged:
        print(
            f"lpnum_optim: warning: not converged ({fit.result.message}); the model is the best so far. "
            "Try more --epochs, a larger --l2, or a larger --tol",
            file=sys.stderr,
        )
    return 0


def _check_files(out: Path, checkpoint: Path | None, resume: bool) -> None:
    """Better now than after the fit."""
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(f"fit: the folder of {str(out)!r} does not exist; make it")
    if checkpoint is None:
        return
    if checkpoint.resolve() == out.resolve():
        raise ValueError(f"fit: the model and the checkpoint are both to go to {str(out)!r}; choose two files")
    if checkpoint.exists() and checkpoint.stat().st_size and not resume:
        raise ValueError(f"fit: the checkpoint {str(checkpoint)!r} exists; add --resume to go on from it, or remove it")


def _model(table: Table, loss: str, fit: LinearFit, arguments: argparse.Namespace, l2: float) -> LinearModel:
    classes: list[Any] | None = None
    assert table.y is not None
    if loss in ("logistic", "softmax"):
        classes = list(table.words) if table.words else np.unique(table.y).tolist()
    result = fit.result
    return LinearModel(
        np.atleast_2d(fit.coef), np.atleast_1d(fit.intercept), loss, classes,
        None if table.names is None else list(table.names), table.target,
        {
            "data": arguments.data.name, "samples": len(table.X), "l2": l2, "l1": arguments.l1,
            "intercept": not arguments.no_intercept, "method": arguments.method, "bits": arguments.bits,
            "seed": arguments.seed, "objective": result.fun, "relative_gradient": float(fit.relative.min()),
            "epochs": result.n_epochs, "converged": result.converged, "message": result.message,
        },
    )  # fmt: skip


def score(model: LinearModel, table: Table) -> tuple[str, float] | None:
    """Share of right classes, or the coefficient of determination, by name; None if the targets are of another kind."""
    if table.y is None:
        return None
    targets = table.y if table.words is None else np.asarray(table.words)[table.y.astype(np.intp)]
    predicted = model.predict(table.X)
    if (predicted.dtype.kind == "U") != (targets.dtype.kind == "U"):
        return None
    if model.classes is not None:
        return "accuracy", float(np.mean(predicted == targets))
    spread = float(np.sum(np.square(targets - targets.mean())))
    return "R^2", 1.0 - float(np.sum(np.square(targets - predicted))) / spread if spread else float("nan")
