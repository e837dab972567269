"""Checkpoints: the state of a run in one file, written whole or not at all.

The file is one of :func:`lpnum.save` (npz, no pickle, checksums, bounded memory when it is read). Its array
``checkpoint`` is a JSON text with the version of the layout, the problem, the options and the numbers of the state; the
arrays of the state stand beside it under the names that the text gives them.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lpnum
from lpnum import LPArray, _schema

from ._checks import integer, real

VERSION = 1
MAIN = "checkpoint"
_KEYS = ("version", "written_by", "problem", "options", "state")

# Seconds between two checkpoints where the caller does not say: a write to the disk costs some milliseconds.
SECONDS = 10.0


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often `minimize` saves its state.

    Besides, the last state is saved when the run ends, whatever ends it: convergence, a callback, Ctrl-C, an exception.
    Only what the process does not live to see (SIGKILL, loss of power) costs the epochs since the last write.

    Parameters
    ----------
    path : str or path
        The file, replaced in one step when the new one is complete and on the disk: a crash or a full disk leaves the
        old one. Its folder must exist.
    every : int, optional
        Save after this many epochs.
    seconds : float, optional
        Save after the first epoch that ends this long after the last write. Without `every` and `seconds`: 10.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from lpnum_optim import Checkpoint, FiniteSum, minimize
    >>> problem = FiniteSum(np.eye(4), np.arange(4.0), l2=0.1)
    >>> path = os.path.join(tempfile.mkdtemp(), "run.npz")
    >>> r = minimize(problem, epochs=3, checkpoint=Checkpoint(path, every=1))
    >>> r = minimize(problem, epochs=6, resume=path)
    >>> bool((r.x == minimize(problem, epochs=6).x).all()), r.history["epoch"].tolist()
    (True, [0, 1, 2, 3, 4, 5, 6])
    """

    path: str | os.PathLike[str]
    every: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"Checkpoint: path is a {type(self.path).__name__}; pass the path of a file")
        if os.fsdecode(self.path).endswith(".safetensors"):
            raise ValueError(f"Checkpoint: {os.fspath(self.path)!r} would be an npz file; choose another suffix")
        if self.every is not None:
            integer("Checkpoint", "every", self.every, 1)
        if self.seconds is not None:
            real("Checkpoint", "seconds", self.seconds, zero=True)
        elif self.every is None:
            object.__setattr__(self, "seconds", SECONDS)

    def due(self, epochs: int, seconds: float) -> bool:
        """Whether to save, so many epochs and seconds after the last write."""
        return (self.every is not None and epochs >= self.every) or (
            self.seconds is not None and seconds >= self.seconds
        )


class Saver:
    """Writes the checkpoints of one run.

    A failed write is no reason to lose a run: it is warned of once, tried again when the next one is due, and `note`
    tells it in the end.

    Parameters
    ----------
    checkpoint : Checkpoint
    header : dict
        Problem and options.
    epoch : int
        Where the run begins.

    Raises
    ------
    OSError
        If the folder does not exist: better now than after the first hour.
    ValueError
        If the file exists and is not a checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint, header: dict[str, Any], epoch: int = 0) -> None:
        self.checkpoint, self.header = checkpoint, header
        self.path = Path(checkpoint.path)
        self._refuse_other_files()
        self.written, self.time = epoch, time.monotonic()
        self.last: tuple[int, Any] | None = None
        self.failures, self.reason, self.failed, self.whole = 0, "", False, True

    def _refuse_other_files(self) -> None:
        if not self.path.resolve().parent.is_dir():
            raise FileNotFoundError(f"minimize: checkpoint: the folder of {str(self.path)!r} does not exist; make it")
        if not self.path.exists() or (self.path.is_file() and not self.path.stat().st_size):
            return
        try:
            _main_text(self.path)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"minimize: checkpoint: {str(self.path)!r} exists and is not a whole checkpoint; choose another path, "
                f"or remove it ({error})"
            ) from None

    def after_epoch(self, epoch: int, state: Callable[[], dict[str, Any]]) -> None:
        """Take the state, and write it if that is due."""
        self.last = epoch, state()
        if self.checkpoint.due(epoch - self.written, time.monotonic() - self.time):
            self._write()

    def close(self) -> None:
        """Write the last state if it is not in the file."""
        if self.last is not None and (self.last[0] != self.written or not self.whole):
            self._write()

    def _write(self) -> None:
        assert self.last is not None
        epoch, state = self.last
        self.written, self.time, self.whole = epoch, time.monotonic(), False  # a Ctrl-C may come at any time
        try:
            write(self.path, {**self.header, "state": state})
            self.failed, self.whole = False, True
        except OSError as error:
            self.failures, self.reason = self.failures + 1, f"{error}"
            again, self.failed = self.failed, True
            if not again:
                warnings.warn(
                    f"minimize: the checkpoint {str(self.path)!r} could not be written ({error}); the run goes on, and "
                    "an older checkpoint is still whole",
                    RuntimeWarning,
                    stacklevel=5,
                )

    @property
    def note(self) -> str:
        """What the message of the result has to say."""
        if not self.failures:
            return ""
        last = "the last state is not on the disk" if self.failed else "but later it was"
        return f"; the checkpoint could not be written {self.failures} times ({self.reason}), {last}"


# ---- the file ------------------------------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write problem, options and state: dictionaries and lists of numbers, texts, None and arrays."""
    arrays: dict[str, Any] = {}
    tree = _without_arrays(content, "", arrays)
    versions = f"lpnum {lpnum.__version__}, numpy {np.__version__}"
    text = _schema.dump({"version": VERSION, "written_by": versions, **tree})
    lpnum.save(path, {MAIN: np.frombuffer(text, np.uint8), **arrays})


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Problem, options and state, as given to `write`.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If the file is cut or damaged, was made by something else, or has a newer layout. The memory taken is bounded
        by about the length of the file.
    """
    where = f"minimize: resume: {os.fspath(path)!r}"
    try:
        arrays = lpnum.load(path)
    except ValueError as error:
        raise ValueError(f"{where} is cut, damaged, or no checkpoint: {error}") from None
    text = arrays.pop(MAIN, None) if isinstance(arrays, dict) else None
    tree = _parsed(text, where)
    content = {name: tree[name] for name in ("problem", "options", "state")}
    used: set[str] = set()
    whole: dict[str, Any] = _with_arrays(content, arrays, used, where)
    if used != set(arrays):
        raise damaged(where, f"holds {min(set(arrays) - used)!r:.80}, which its header does not name")
    return whole


def damaged(where: str, what: str) -> ValueError:
    """The error for a checkpoint that contradicts itself."""
    return ValueError(f"{where} is damaged: it {what}")


class Entry:
    """A dictionary from a file, whose values are checked as they are taken out."""

    def __init__(self, values: Any, where: str) -> None:
        self.where = where
        if not isinstance(values, dict):
            raise damaged(where, f"has a {type(values).__name__} where a state should be")
        self.values = values

    def __getitem__(self, name: str) -> Any:
        """Any value."""
        if name not in self.values:
            raise damaged(self.where, f"lacks {name!r}")
        return self.values[name]

    def entry(self, name: str) -> Entry:
        """A dictionary."""
        return Entry(self[name], self.where)

    def entries(self, name: str, most: int) -> list[Entry]:
        """A list of dictionaries."""
        values = self[name]
        if not isinstance(values, list) or len(values) > most:
            raise damaged(self.where, f"holds {name} that are no list of at most {most}")
        return [Entry(value, self.where) for value in values]

    def integer(self, name: str) -> int:
        """An integer of at least 0."""
        value = self[name]
        if type(value) is not int or value < 0:
            raise damaged(self.where, f"holds {name} = {value!r:.80}")
        return value

    def real(self, name: str) -> float:
        """A float, also infinity and NaN."""
        value = self[name]
        if type(value) not in (int, float):
            raise damaged(self.where, f"holds {name} = {value!r:.80}")
        return float(value)

    def positive(self, name: str) -> float:
        """A finite float above 0."""
        value = self.real(name)
        if not 0.0 < value < np.inf:
            raise damaged(self.where, f"holds {name} = {value}")
        return value

    def array(self, name: str, shape: tuple[int, ...], dtype: Any = np.float64, *, finite: bool = True) -> Any:
        """An array of this shape and dtype."""
        value = self[name]
        if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != dtype:
            found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise damaged(self.where, f"holds {name} as {found}; expected {np.dtype(dtype)} {shape}")
        if finite and not np.isfinite(value).all():
            raise damaged(self.where, f"holds values of {name} that are not finite")
        return value

    def optional(self, name: str, shape: tuple[int, ...] | None, dtype: Any = np.float64) -> Any:
        """An array, or None where `shape` is None."""
        if shape is not None:
            return self.array(name, shape, dtype)
        if self[name] is not None:
            raise damaged(self.where, f"holds {name}, which this run does not have")
        return None

    def codes(self, name: str, like: LPArray) -> LPArray:
        """A low-precision array of the format, the shape and the kinds of scale and offset of another."""
        value = self[name]
        if not isinstance(value, LPArray) or (value.format, value.shape) != (like.format, like.shape):
            found = f"{value.format} {value.shape}" if isinstance(value, LPArray) else type(value).__name__
            raise damaged(self.where, f"holds {name} as {found}; expected {like.format} {like.shape}")
        for part in ("scale", "offset"):
            if np.shape(getattr(value, part)) != np.shape(getattr(like, part)):
                raise damaged(self.where, f"holds {name} with another kind of {part}")
        return value


def _parsed(text: Any, where: str) -> dict[str, Any]:
    if not isinstance(text, np.ndarray) or text.dtype != np.uint8:
        raise ValueError(f"{where} is a file of lpnum.save, but not a checkpoint of minimize")
    tree = _schema.parse(text.tobytes(), where)
    version = tree.get("version")
    if type(version) is not int or version < 1:
        raise damaged(where, f"has the version {version!r:.80}")
    if version > VERSION:
        raise ValueError(
            f"{where} has version {version} of the layout, and this lpnum_optim reads up to {VERSION}; install the one "
            f"that wrote it ({tree.get('written_by')!r:.80})"
        )
    _schema.fields(tree, _KEYS, where)
    return tree


def _main_text(path: Path) -> dict[str, Any]:
    """The JSON of a checkpoint; nothing else is read."""
    arrays = lpnum.load(path, mmap=True)
    return _parsed(arrays.get(MAIN) if isinstance(arrays, dict) else None, str(path))


# In JSON: an array is {"array": its name}; a float that JSON does not know, {"float": "inf"}.


def _without_arrays(tree: Any, name: str, arrays: dict[str, Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _without_arrays(value, f"{name}.{key}" if name else key, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_arrays(value, f"{name}.{k}", arrays) for k, value in enumerate(tree)]
    if isinstance(tree, np.ndarray | LPArray):
        arrays[name] = tree
        return {"array": name}
    if isinstance(tree, float) and not math.isfinite(tree):
        return {"float": str(float(tree))}
    return tree.item() if isinstance(tree, np.generic) else tree


def _with_arrays(tree: Any, arrays: dict[str, Any], used: set[str], where: str) -> Any:
    if isinstance(tree, list):
        return [_with_arrays(value, arrays, used, where) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.keys() == {"array"}:
        name = tree["array"]
        if not isinstance(name, str) or name not in arrays or name in used:
            raise damaged(where, f"lacks the array {name!r:.80}")
        used.add(name)
        return arrays[name]
    if tree.keys() == {"float"}:
        if tree["float"] not in ("inf", "-inf", "nan"):
            raise damaged(where, f"holds the number {tree['float']!r:.80}")
        return float(tree["float"])
    return {key: _with_arrays(value, arrays, used, where) for key, value in tree.items()}
