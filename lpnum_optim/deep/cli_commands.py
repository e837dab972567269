"""``resnet14``, ``lstm`` and ``plan``: one table row each of what they train and with what."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .. import _cli_arguments as types
from .cli_report import report
from .experiment_methods import FLOAT, METHODS, SCHEDULES, Hyperparameters, MethodTrainer
from .experiment_plans import CANDIDATES, PLANS, PlanTrainer, planned
from .experiment_progress import Progress
from .experiment_runs import Deadline, Run, Runs
from .experiment_tasks import Task, image_task, text_task
from .models import MODELS
from .optimizer_options import plain_format

__all__ = ["add"]

COMPARED = ["sgd", "svrg", "lp-sgd", "lp-svrg", "halp"]
# Learning rates that the comparisons were made with; docs/deep_experiments.md says how they were found.
RESNET_LR = {"sgd": 0.1, "svrg": 0.1, "lp-sgd": 0.1, "lp-svrg": 0.1, "halp": 0.1, "adamw": 1e-3, "adamw8bit": 1e-3}
LSTM_LR = {"sgd": 1.0, "svrg": 1.0, "lp-sgd": 1.0, "lp-svrg": 1.0, "halp": 1.0, "adamw": 3e-3, "adamw8bit": 3e-3}


class Command(NamedTuple):
    """What the commands differ in."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    task: Callable[[argparse.Namespace], Task]
    runs: Callable[[argparse.Namespace], list[Run]]
    lr: dict[str, float]
    trainer: Callable[[Run, Task, Hyperparameters, int], Any]


def add(commands: Any) -> None:
    """Add the three commands to the parser."""
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=command.help)
        command.arguments(sub)
        _shared_arguments(sub, name)
        sub.set_defaults(run=lambda arguments, command=command: run(command, arguments))


# ---- arguments -----------------------------------------------------------------------------------------------------


def _image_arguments(sub: argparse.ArgumentParser, *, augment: bool) -> None:
    sub.add_argument(
        "--data-dir", type=Path, required=True, metavar="DIR",
        help="CIFAR-10 or CIFAR-100 as torchvision unpacks it, a folder of class folders, or an npz file",
    )  # fmt: skip
    sub.add_argument("--width", type=_positive_real, default=1.0, help="multiplier of the channels (default: 1)")
    sub.add_argument("--images", type=types.positive, metavar="M", help="training images used (default: all)")
    sub.add_argument("--test-images", type=types.positive, metavar="M", help="test images used (default: all)")
    sub.add_argument(
        "--measure-images", type=types.positive, metavar="M", default=2000,
        help="training images on which the training loss is measured (default: 2000)",
    )  # fmt: skip
    sub.add_argument("--batch-size", type=types.positive, default=128, help="default: 128")
    sub.add_argument(
        "--augment", action=argparse.BooleanOptionalAction, default=augment,
        help=f"crop and flip training images at random (default: {'yes' if augment else 'no'})",
    )  # fmt: skip


def _method_arguments(sub: argparse.ArgumentParser, lr: dict[str, float]) -> None:
    sub.add_argument("--methods", nargs="+", choices=list(METHODS), default=COMPARED, help="default: the five of HALP")
    sub.add_argument(
        "--formats", nargs="+", type=_format, default=["fixed8"], metavar="FORMAT",
        help="of the low-precision iterates: fixed4, fixed8, fixed16, float8_e4m3fn, ...; float32 for the method "
        "without rounding (default: fixed8)",
    )  # fmt: skip
    sub.add_argument(
        "--lr", type=_rates, default={}, metavar="A=X,B=Y",
        help=f"learning rates, or one for all (default: {','.join(f'{m}={x:g}' for m, x in lr.items())})",
    )  # fmt: skip
    sub.add_argument(
        "--snapshot-every", type=_positive_real, default=1.0, metavar="FRACTION",
        help="epochs between two full gradients of svrg, lp-svrg and halp (default: 1)",
    )  # fmt: skip
    sub.add_argument("--mu", type=_positive_real, help="scale of halp by the rule of the paper (default: automatic)")


def _resnet_arguments(sub: argparse.ArgumentParser) -> None:
    _image_arguments(sub, augment=False)
    _method_arguments(sub, RESNET_LR)


def _lstm_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--text", type=Path, required=True, metavar="FILE", help="a text file (UTF-8)")
    sub.add_argument("--windows", type=types.positive, metavar="M", help="training windows used (default: all)")
    sub.add_argument("--test-windows", type=types.positive, metavar="M", help="test windows used (default: all)")
    sub.add_argument(
        "--measure-windows", type=types.positive, metavar="M", default=512,
        help="training windows on which the training loss is measured (default: 512)",
    )  # fmt: skip
    sub.add_argument("--length", type=types.positive, default=64, help="characters of a window (default: 64)")
    sub.add_argument("--hidden", type=types.positive, default=128, help="default: 128")
    sub.add_argument("--layers", type=types.positive, default=2, help="default: 2")
    sub.add_argument("--batch-size", type=types.positive, default=16, help="windows (default: 16)")
    _method_arguments(sub, LSTM_LR)


def _plan_arguments(sub: argparse.ArgumentParser) -> None:
    _image_arguments(sub, augment=True)
    sub.add_argument("--model", choices=list(MODELS), default="resnet14", help="default: resnet14")
    sub.add_argument(
        "--plans", nargs="+", type=_plan, metavar="PLAN",
        default=["float32", "uniform8", "operator-based", "demote-0.9", "demote-0.9-no-promotion", "error-0.9"],
        help=f"of {', '.join(PLANS)}, R in 0 .. 1 (default: float32 uniform8 operator-based demote-0.9 "
        "demote-0.9-no-promotion error-0.9)",
    )  # fmt: skip
    sub.add_argument(
        "--candidates",
        choices=list(CANDIDATES),
        default="paper",
        help="formats: those of the paper (default), or OCP's 8-bit formats and bfloat16",
    )
    sub.add_argument("--lr", type=_positive_real, default=0.1, help="default: 0.1")


def _shared_arguments(sub: argparse.ArgumentParser, name: str) -> None:
    plan = name == "plan"
    sub.add_argument("--momentum", type=types.nonnegative, default=0.9, help="default: 0.9")
    sub.add_argument(
        "--weight-decay",
        type=types.nonnegative,
        default=5e-4 if plan else 0.0,
        help=f"default: {5e-4 if plan else 0:g}",
    )
    sub.add_argument(
        "--schedule",
        choices=list(SCHEDULES),
        default="cosine" if plan else "constant",
        help=f"of the learning rate over the epochs (default: {'cosine' if plan else 'constant'})",
    )
    sub.add_argument("--epochs", type=types.positive, default=10, help="default: 10")
    sub.add_argument("--seeds", nargs="+", type=types.seed, default=[0, 1], metavar="N", help="default: 0 1")
    sub.add_argument("--budget-minutes", type=_positive_real, metavar="B", help="stop when so much time is used up")
    sub.add_argument(
        "--out",
        type=Path,
        default=Path(f"{name}-runs"),
        metavar="DIR",
        help=f"where checkpoints, CSV and picture go (default: {name}-runs)",
    )
    sub.add_argument("--resume", action="store_true", help="go on with the runs in --out")
    sub.add_argument("--threads", type=types.positive, default=1, help="of torch (default: 1)")


def _positive_real(text: str) -> float:
    value = types.nonnegative(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number > 0")
    return value


def _format(text: str) -> str:
    if text == FLOAT:
        return text
    try:
        name = plain_format(text, "--formats")
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    assert name is not None
    return name


def _plan(text: str) -> str:
    try:
        planned(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _rates(text: str) -> dict[str, float]:
    if "=" not in text:
        return dict.fromkeys(METHODS, _positive_real(text))
    rates = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name.strip() not in METHODS:
            raise argparse.ArgumentTypeError(f"{part!r}; expected METHOD=NUMBER with one of {', '.join(METHODS)}")
        rates[name.strip()] = _positive_real(value)
    return rates


# ---- runs ----------------------------------------------------------------------------------------------------------


def _images(arguments: argparse.Namespace) -> Task:
    return image_task(
        arguments.data_dir, model=getattr(arguments, "model", "resnet14"), width=arguments.width,
        images=arguments.images, test_images=arguments.test_images, measure_images=arguments.measure_images,
        batch_size=arguments.batch_size, augment=arguments.augment,
    )  # fmt: skip


def _text(arguments: argparse.Namespace) -> Task:
    return text_task(
        arguments.text, windows=arguments.windows, test_windows=arguments.test_windows,
        measure_windows=arguments.measure_windows, hidden=arguments.hidden, layers=arguments.layers,
        batch_size=arguments.batch_size, length=arguments.length,
    )  # fmt: skip


def _method_runs(arguments: argparse.Namespace) -> list[Run]:
    return [
        Run(method, fmt, seed)
        for seed in arguments.seeds
        for method in arguments.methods
        for fmt in (arguments.formats if METHODS[method].low else [FLOAT])
    ]


def _plan_runs(arguments: argparse.Namespace) -> list[Run]:
    return [
        Run(plan, FLOAT if plan == "float32" else arguments.candidates, seed)
        for seed in arguments.seeds
        for plan in arguments.plans
    ]


COMMANDS = {
    "resnet14": Command(
        "SGD, SVRG, their low-precision forms and HALP on a ResNet of 14 layers", _resnet_arguments, _images,
        _method_runs, RESNET_LR, MethodTrainer,
    ),
    "lstm": Command(
        "SGD, SVRG, their low-precision forms and HALP on an LSTM that predicts characters", _lstm_arguments, _text,
        _method_runs, LSTM_LR, MethodTrainer,
    ),
    "plan": Command(
        "training under precision plans", _plan_arguments, _images, _plan_runs, {}, PlanTrainer,
    ),
}  # fmt: skip


def _hyperparameters(command: Command, arguments: argparse.Namespace, run: Run) -> Hyperparameters:
    if not command.lr:
        return Hyperparameters(arguments.lr, arguments.momentum, arguments.weight_decay, arguments.schedule)
    method = METHODS[run.method]
    # What a method does not take is no setting of its runs.
    return Hyperparameters(
        lr=arguments.lr.get(run.method, command.lr[run.method]),
        momentum=arguments.momentum if "momentum" in method.options else 0.0,
        weight_decay=arguments.weight_decay,
        schedule=arguments.schedule,
        snapshot_every=arguments.snapshot_every if method.snapshots else 1.0,
        mu=arguments.mu if "mu" in method.options else None,
    )


def run(command: Command, arguments: argparse.Namespace) -> int:
    """Work on the runs, then report what there is."""
    torch.set_num_threads(arguments.threads)
    task = command.task(arguments)
    wanted = list(dict.fromkeys(command.runs(arguments)))

    def settings(run: Run) -> dict[str, Any]:
        chosen = _hyperparameters(command, arguments, run)
        # Where the schedule is constant, more epochs continue a finished run.
        epochs = {} if chosen.schedule == "constant" else {"epochs": arguments.epochs}
        return {**task.facts, **vars(chosen), **epochs, "threads": arguments.threads}

    progress = Progress()
    runs = Runs(
        arguments.out, wanted, settings,
        lambda run: command.trainer(run, task, _hyperparameters(command, arguments, run), arguments.epochs),
        arguments.epochs, progress,
    )  # fmt: skip
    runs.check(resume=arguments.resume)
    try:
        runs.work(Deadline(arguments.budget_minutes))
    finally:
        progress.close()
    left = runs.unfinished()
    if left:
        print(f"not finished: {', '.join(left)}; the same command with --resume goes on", file=sys.stderr)
    return report(arguments.out, f"{arguments.command}, mean and range over seeds")
