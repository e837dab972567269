"""What happens where a chunk is: functions of one chunk of rows, called by the tasks of `distributed`.

All of them are pure: a task whose worker is lost gives the same bits when it is repeated elsewhere.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lpnum.random import CounterRNG

from ._checks import vector
from .anderson import margins_at
from .data import DataMatrix
from .data_kinds import as_data_matrix
from .evaluation import Evaluation, Point, Sums
from .grid_control import GridControl, Report
from .inner_loop import run_steps
from .losses import Loss, numbers
from .problem import FiniteSum
from .row_norms import squared_norms
from .sampling import Importance, draw
from .steps import Steps

Vector = NDArray[np.float64]


class ChunkError(ValueError):
    """A chunk of the data cannot be used.

    Attributes
    ----------
    chunk : int
        Its number.
    row : int or None
        The first row of X (or the first element of y or of the weights) that is at fault, where one row is.
    """

    def __init__(self, message: str, chunk: int, row: int | None) -> None:
        super().__init__(message, chunk, row)
        self.chunk, self.row = chunk, row

    def __str__(self) -> str:
        return str(self.args[0])


class Place(NamedTuple):
    """Which chunk this is: its number and its rows start .. stop - 1 of X."""

    number: int
    start: int
    stop: int


@contextmanager
def naming(place: Place, what: Any) -> Iterator[None]:
    """Errors about `what`, an array of rows, tell the chunk and the row."""
    try:
        yield
    except (ValueError, TypeError) as error:
        row = _first_bad_row(what)
        where = f"FiniteSum: chunk {place.number} (rows {place.start} to {place.stop - 1}): "
        told = str(error).removeprefix("FiniteSum: ")
        if row is not None:
            row += place.start
            told += f" (counted within the chunk; in X it is row {row})"
        raise ChunkError(where + told, place.number, row) from None


def _first_bad_row(rows: Any) -> int | None:
    """First row that is not finite; a few rows at a time."""
    if isinstance(rows, DataMatrix) or len(getattr(rows, "shape", ())) not in (1, 2):
        return None
    for start in range(0, rows.shape[0], 4096):
        part = rows[start : start + 4096]
        if hasattr(part, "toarray"):
            part = part.toarray()
        try:
            values = np.asarray(part, dtype=np.float64)
        except (ValueError, TypeError):
            return None
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if bad.any():
            return start + int(np.argmax(bad))
    return None


class Loaded(NamedTuple):
    """A chunk as it comes, checked: data matrix, targets as given, weights as given."""

    place: Place
    data: DataMatrix
    y: Vector
    weights: Vector | None


def load(place: Place, X: Any, y: Any, weights: Any, d: int, intercept: bool) -> Loaded:
    """Check a chunk."""
    n = place.stop - place.start
    with naming(place, X):
        data = as_data_matrix(X, intercept)
        if data.shape != (n, d):
            raise ValueError(
                f"X has shape {data.shape}, but its Dask array told {(n, d)}; give map_blocks or from_delayed the "
                "shapes that the blocks really have"
            )
    with naming(place, y):
        y = vector("FiniteSum", "y", y, n)
    if weights is not None:
        with naming(place, weights):
            weights = vector("FiniteSum", "sample_weight", weights, n)
            if (weights < 0).any():
                first = int(np.argmax(weights < 0))
                raise ValueError(f"sample_weight[{first}] = {weights[first]:g}; weights must not be negative")
    return Loaded(place, data, y, weights)


class Summary(NamedTuple):
    """What the problem has to know of a chunk: a few numbers, and vectors of the length of a row."""

    weight: float
    labels: Vector | None
    squares: float
    columns: Vector | None
    nbytes: int


def summarize(chunk: Loaded, loss: Loss, intercept: bool) -> Summary:
    """Sum of the weights, labels, sum of the squared lengths of the rows (for the intercept), scales of columns."""
    weight = float(len(chunk.y)) if chunk.weights is None else float(chunk.weights.sum())
    labels = None if loss.check is numbers else np.unique(chunk.y)
    squares = float(squared_norms(chunk.data).sum()) if intercept else 0.0
    return Summary(weight, labels, squares, chunk.data.columns, chunk.data.nbytes)


class Model(NamedTuple):
    """What is the same for all chunks."""

    loss: Loss
    l2: float
    l1: float
    has_intercept: bool
    classes: Vector | None
    weight_factor: float
    intercept_unit: float


class Chunk(FiniteSum):
    """The part of the problem that the rows of one chunk make, in the coordinates of that chunk.

    f is the mean of these over the chunks, by rows: weights are divided by their mean over all chunks, labels are
    those of all chunks, the penalty belongs to each. Scales and offsets of columns are the chunk's own.
    """

    def __init__(self, loaded: Loaded, model: Model) -> None:
        self.loss, self.l2, self.l1, self.has_intercept = model.loss, model.l2, model.l1, model.has_intercept
        self.X, self.data, self.classes = None, loaded.data, model.classes
        self.n_samples, self.n_features = loaded.data.shape
        self.y = loaded.y
        if model.classes is not None and self.loss.per_class:
            self.y = np.searchsorted(model.classes, loaded.y).astype(np.float64)
        elif model.classes is not None:
            self.y = np.where(loaded.y == model.classes[-1], 1.0, -1.0)
        self.weights = None if loaded.weights is None else loaded.weights * model.weight_factor
        self.n_outputs = len(model.classes) if self.loss.per_class and model.classes is not None else 1
        self.coef_shape = (self.n_outputs, self.n_features) if self.loss.per_class else (self.n_features,)
        self.shape = (*self.coef_shape[:-1], self.n_features + self.has_intercept)
        self._unit = model.intercept_unit

    @property
    def intercept_unit(self) -> float:
        """That of all chunks."""
        return self._unit

    def __sizeof__(self) -> int:
        """For Dask, which spills to disk what is large."""
        return object.__sizeof__(self) + self.data.nbytes + 2 * self.y.nbytes


class Values(NamedTuple):
    """A chunk at a point: sums over its rows with respect to w itself, margins and slopes in its coordinates."""

    sums: Sums
    margins: Vector
    slopes: Vector


def evaluate(chunk: Chunk, w: Vector) -> Values:
    """One pass over the rows; margins and slopes stay with the chunk."""
    shape = (chunk.n_samples, chunk.n_outputs)
    margins, slopes = np.empty(shape), np.empty(shape)
    losses, rows, slope_sums = chunk._pass(chunk.point(w), margins, slopes)
    rows = rows / chunk.columns
    if chunk.data.offset is not None:
        rows += slope_sums[:, None] * chunk.data.offset
    if not chunk.loss.per_class:
        margins, slopes = margins[:, 0], slopes[:, 0]
    return Values(Sums(losses, rows, slope_sums), margins, slopes)


def sum_of_losses(chunk: Chunk, w: Vector) -> float:
    """Without penalties."""
    return float(chunk._pass(chunk.point(w))[0])


class Part(NamedTuple):
    """The steps of one chunk: how many, on which grid, and the weight of its offset in the mean."""

    share: float
    inner_steps: int
    scale: float
    control: GridControl


class Epoch(NamedTuple):
    """The steps of an epoch, for all chunks: the method, the snapshot, the full gradient there, where steps start."""

    gradient_estimate: type[Any]
    storage: type[Any]
    snapshot: Vector
    gradient: Vector
    start: Vector
    steps: Steps
    options: dict[str, Any]  # of the storage: bits, rounding, dtype
    sampling: str
    compiled: bool
    entropy: tuple[int, int]
    parts: list[Part]


class Outcome(NamedTuple):
    """What the grid of a chunk saw."""

    report: Report
    control: GridControl


class Moved(NamedTuple):
    """Where steps have led: ``share * (end - start)``, float64, and what grids saw. The sum of two is that of both."""

    displacement: Vector
    outcomes: tuple[Outcome, ...]


def run_epoch(chunk: Chunk, values: Values, epoch: Epoch, number: int) -> Moved:
    """Steps on the rows of this chunk, with the full gradient of all."""
    part = epoch.parts[number]
    d, gradient = chunk.n_features, epoch.gradient
    inner = Point(gradient)
    if chunk.has_intercept:
        b = gradient[..., d]
        offset = 0.0 if chunk.data.offset is None else b[..., None] * chunk.data.offset
        inner = Point(np.ascontiguousarray(gradient[..., :d] - offset), np.array(b).reshape(chunk.n_outputs))
    importance = chunk.importance() if epoch.sampling == "importance" else Importance()
    estimate = epoch.gradient_estimate(chunk, importance.factors)
    estimate.take_snapshot(
        chunk.point(epoch.snapshot), Evaluation(np.nan, gradient, gradient, inner, values.margins, values.slopes)
    )
    start = chunk.point(epoch.start)
    if (epoch.start != epoch.snapshot).any():
        estimate.start_from(start, margins_at(chunk, start))
    rounding, sampling = np.random.SeedSequence([*epoch.entropy, number]).spawn(2)
    rng = CounterRNG(int(rounding.generate_state(1, np.uint64)[0]))
    iterate = epoch.storage(chunk.point(epoch.start), scale=part.scale, columns=chunk.columns, rng=rng, **epoch.options)
    steps = replace(epoch.steps, columns=chunk.columns, factors=importance.factors)
    control = copy.deepcopy(part.control)  # a task may be run twice
    count = part.inner_steps * steps.batch
    samples = draw(np.random.default_rng(sampling), chunk.n_samples, count, epoch.sampling, importance.cumulative)
    report = run_steps(chunk, iterate, estimate, steps, samples, control, epoch.compiled)
    control.total = None  # the mean is in the iterate
    moved = chunk.at(iterate.value()) - epoch.start
    return Moved(part.share * moved, (Outcome(report._replace(at_end=None), control),))
