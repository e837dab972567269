"""What tells one problem, and one set of options, from another: small dictionaries of numbers and digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .problem import FiniteSum, FunctionSum

# Arrays beyond this are digested in evenly spaced pieces: many gigabytes must not be read for a checkpoint. What lies
# between the pieces is checked by the objective, which every sample enters (see `resume`).
WHOLE_BYTES, PIECES, PIECE_BYTES = 1 << 24, 64, 1 << 16

# Of the options these may change when a run goes on: they say when it ends.
MAY_CHANGE = ("epochs", "tol", "engine")


@runtime_checkable
class ChunkedProblem(Protocol):
    """`distributed.ChunkedSum`, which is imported only where there is Dask."""

    sizes: list[int]

    def each_chunk(self, function: Callable[..., Any]) -> list[Any]:
        """What the function returns for every chunk."""


def digest(array: NDArray[Any] | None) -> str | None:
    """Digest of an array's shape, dtype and bytes (of very large arrays: of some of the bytes).

    >>> digest(np.arange(3)) == digest(np.arange(3)), digest(np.arange(3)) == digest(np.arange(3.0))
    (True, False)
    """
    if array is None:
        return None
    little = array.dtype.newbyteorder("<")
    total = hashlib.blake2b(f"{array.shape} {little.str}".encode(), digest_size=8)
    n = len(array) if array.ndim else 1
    if array.nbytes <= WHOLE_BYTES or n <= PIECES:
        starts, length = [0], n
    else:
        length = max(1, min(n // PIECES, PIECE_BYTES * n // array.nbytes))
        starts = np.linspace(0, n - length, PIECES).astype(int).tolist()
    for start in starts:
        piece = array[start : start + length] if array.ndim else array
        total.update(np.ascontiguousarray(piece, dtype=little).tobytes())
    return total.hexdigest()


def of_problem(problem: FiniteSum | FunctionSum) -> dict[str, Any]:
    """What a problem is, as far as it can be told without running it."""
    entry = {"kind": type(problem).__name__, "samples": problem.n_samples, "features": problem.n_features}
    if not isinstance(problem, FiniteSum):
        return entry
    entry |= {
        "loss": problem.loss.name,
        "loss parameter": problem.loss.parameter,
        "l2": problem.l2,
        "l1": problem.l1,
        "intercept": problem.has_intercept,
        "outputs": problem.n_outputs,
    }
    if isinstance(problem, ChunkedProblem):
        return entry | of_chunks(problem.each_chunk(of_rows), problem.sizes)
    return entry | of_rows(problem)


def of_rows(problem: FiniteSum) -> dict[str, Any]:
    """What belongs to the rows: targets, weights, data."""
    data = problem.data
    return {
        "targets": digest(problem.y),
        "sample weights": digest(problem.weights),
        "kind of data": data.kind + (", sparse" if data.is_sparse else ""),
        "step of the data": data.step,
        "scales of the columns": digest(data.columns),
        "offsets of the columns": digest(data.offset),
        "data": digest(data.rows),
        "places of the data": None if data.indices is None else f"{digest(data.indices)} {digest(data.indptr)}",
    }


def of_chunks(entries: list[dict[str, Any]], sizes: list[int]) -> dict[str, Any]:
    """What belongs to the rows, of all chunks: a value that they share, or a digest of their values in order."""
    result: dict[str, Any] = {"chunks": len(sizes), "rows of the chunks": digest(np.array(sizes))}
    for name, first in entries[0].items():
        values = [entry[name] for entry in entries]
        same = all(type(value) is type(first) and value == first for value in values)
        result[name] = first if same else digest(np.array([str(value) for value in values], dtype=np.bytes_))
    return result


def of_options(method: str, options: Any) -> dict[str, Any]:
    """The options that decide the path of a run; functions are the caller's business."""
    entry: dict[str, Any] = {"method": method}
    for name, value in asdict(options).items():
        if name in MAY_CHANGE:
            continue
        if isinstance(value, np.ndarray):
            value = digest(value)
        elif callable(value):
            value = "a function"
        elif isinstance(value, np.dtype):
            value = value.name
        elif name == "step_size" and value is None:
            value = "auto"
        entry[name] = value
    return entry


def differences(there: Any, here: dict[str, Any]) -> list[str]:
    """How the entry of a file differs from that of this run, in words.

    >>> differences({"l2": 0.1, "loss": "huber"}, {"l2": 0.2, "loss": "huber"})
    ['l2 was 0.1 and is 0.2']
    """
    if not isinstance(there, dict):
        return ["the file does not say"]
    names = [*here, *(name for name in there if name not in here)]
    pairs = [(name, there.get(name), here.get(name)) for name in names]
    return [f"{name} was {a!r:.60} and is {b!r:.60}" for name, a, b in pairs if type(a) is not type(b) or a != b]
