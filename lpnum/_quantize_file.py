"""``python -m lpnum quantize``: an array in a file becomes codes in a file, with a report of errors."""

from __future__ import annotations

import argparse
import json
import math
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lpnum import codec, formats, io, scaling
from lpnum._error_report import Report, finite_errors
from lpnum.array import LPArray
from lpnum.formats import Format
from lpnum.random import CounterRNG
from lpnum.rounding import Policy, count_events

PART = 1 << 20  # elements that are in memory as float64 at a time
IN_MEMORY = 1 << 28  # bytes; more codes than these wait in a temporary file beside the output

Index = tuple[Any, ...]


# ---- input -----------------------------------------------------------------------------------------------------------


def read(path: Path, key: str | None = None) -> np.ndarray:
    """The real array of an .npy file (mapped, not read) or of an .npz file; nothing is ever unpickled."""
    try:
        with open(path, "rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror}") from error
    try:
        if magic == b"\x93NUMPY":
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        elif magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            values = _member(path, key)
        else:
            values = None
    except KeyError as error:  # of _member: which array is meant
        raise ValueError(error.args[0]) from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "bject" in str(error):  # NumPy's words for what would have to be unpickled
            raise TypeError(f"{path}: expected an array of real numbers, not of Python objects") from error
        raise ValueError(f"{path}: damaged, or not what its first bytes promise ({error})") from error
    if values is None:
        raise ValueError(f"{path}: neither an .npy nor an .npz file")
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{path}: expected an array of real numbers, not of dtype {values.dtype}")
    return values


def _member(path: Path, key: str | None) -> np.ndarray:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if key is None and len(names) != 1:
            raise KeyError(f"{path}: holds {len(names)} arrays; name one with --key: {', '.join(names)}")
        if key is not None and key not in names:
            raise KeyError(f"{path}: holds no array {key!r}; there is {', '.join(names) or 'none'}")
        return archive[names[0] if key is None else key]


def parts(shape: tuple[int, ...], most: int) -> Iterator[Index]:
    """Indices that cut an array into contiguous parts (in C order) of at most `most` elements.

    >>> from lpnum._quantize_file import parts
    >>> list(parts((2, 5), 4))
    [(slice(0, 1, None), slice(0, 4, None), Ellipsis), (slice(0, 1, None), slice(4, 5, None), Ellipsis),
     (slice(1, 2, None), slice(0, 4, None), Ellipsis), (slice(1, 2, None), slice(4, 5, None), Ellipsis)]
    """
    inner = math.prod(shape[1:])
    if not shape or math.prod(shape) <= most:
        yield (...,)
    elif inner <= most:
        step = most // inner
        for start in range(0, shape[0], step):
            yield slice(start, min(start + step, shape[0])), ...
    else:
        for k in range(shape[0]):
            for rest in parts(shape[1:], most):
                yield slice(k, k + 1), *rest


def _numbers(values: np.ndarray, part: Index, nan: float | None) -> np.ndarray:
    """One part as float32 or float64, with NaN replaced."""
    block = codec.as_float_array(values[part], "quantize")
    return block if nan is None else np.where(np.isnan(block), block.dtype.type(nan), block)


# ---- scale and offset ------------------------------------------------------------------------------------------------


def choose_grid(
    values: np.ndarray,
    fmt: Format,
    *,
    scale: float | None = None,
    offset: float | None = None,
    axis: int | None = None,
    calibration: str | None = None,
    nan: float | None = None,
) -> tuple[Any, Any]:
    """Scale and offset: given, or 1 where the format carries its range, or chosen from the data in one pass."""
    if scale is not None or (calibration is None and not fmt.calibrated):
        return 1.0 if scale is None else scale, 0.0 if offset is None else offset
    calibration = calibration or "absmax"
    if values.size <= PART:
        return scaling.calibrate(_numbers(values, (...,), nan), fmt, calibration, axis, offset)
    reduced = tuple(scaling.reduced_axes(values.ndim, axis))
    shape = tuple(1 if k in reduced else n for k, n in enumerate(values.shape))
    low, high, squares = np.full(shape, np.inf), np.full(shape, -np.inf), np.zeros(shape)
    for part in parts(values.shape, PART):
        block = _numbers(values, part, nan)
        block = block if offset is None else block - np.asarray(offset)
        at = tuple(slice(None) if k in reduced else index for k, index in enumerate(part[:-1])) + (...,)
        low[at] = np.minimum(low[at], block.min(axis=reduced, keepdims=True))  # NaN stays, and is refused below
        high[at] = np.maximum(high[at], block.max(axis=reduced, keepdims=True))
        if calibration == "rms":
            with np.errstate(over="ignore"):
                squares[at] += np.square(block, dtype=np.float64).sum(axis=reduced, keepdims=True)
    mean_square = squares / (values.size // low.size)
    chosen = scaling.from_statistics(low, high, mean_square, fmt, calibration, offset)
    return chosen if axis is not None else (chosen[0].item(), np.asarray(chosen[1]).item())


# ---- codes -----------------------------------------------------------------------------------------------------------


def encode(values: np.ndarray, x: LPArray, policy: Policy, nan: float | None) -> Report:
    """Write values to `x` part by part; the codes are those of the whole array at once, random bits included."""
    report = Report(bytes_before=values.nbytes, bytes_after=x.nbytes + x.metadata_nbytes)
    start, rng = 0, policy.rng
    for part in parts(values.shape, PART):
        block, target = _numbers(values, part, nan), x[part]
        if rng is not None:  # every part draws from the same stream, at its own place
            policy = Policy(policy.rounding, policy.overflow, None, CounterRNG(rng.seed, rng.stream))
        with count_events() as events:
            whole = values.shape, start
            codec.run(codec.COPY, block, None, target.operand(), policy, "quantize", part_of=whole)
        report.saturated += events.overflow
        report.add(codec.as_float_array(values[part], "quantize"), target.dequantize(np.float64))
        start += block.size
    return report


# ---- room for the codes ----------------------------------------------------------------------------------------------


def _codes(shape: tuple[int, ...], fmt: Format, folder: Path) -> np.ndarray:
    """Room for the codes: memory, or a file that is gone when the program ends."""
    if math.prod(shape) * fmt.storage.itemsize <= IN_MEMORY:
        return np.zeros(shape, fmt.storage)
    with tempfile.TemporaryFile(dir=folder) as file:  # the mapping keeps it alive
        return np.memmap(file, fmt.storage, "w+", shape=shape)


# ---- the command -----------------------------------------------------------------------------------------------------


def command(options: argparse.Namespace, complain: Callable[[str], Any]) -> None:
    """Carry out the command; `complain` ends the program for arguments that do not fit together."""
    fmt: Format = options.format
    policy = _check(options, fmt, complain)
    values = read(options.input, options.key)
    if options.key is not None and isinstance(values, np.memmap):
        complain(f"--key {options.key}: chooses an array of an .npz file, and {options.input} holds one array")
    if options.axis is not None and not -values.ndim <= options.axis < values.ndim:
        complain(f"--axis {options.axis}: the array has {values.ndim} dimensions")
    names = ("scale", "offset", "axis", "calibration", "nan")
    dtype = np.float32 if values.dtype.kind == "f" and values.dtype.itemsize <= 4 else np.float64
    try:
        scale, offset = choose_grid(values, fmt, **{name: getattr(options, name) for name in names})
        x = LPArray(_codes(values.shape, fmt, options.output.resolve().parent), fmt, scale, offset, dtype)
        report = encode(values, x, policy, options.nan)
    except (ValueError, OverflowError) as error:  # what is a keyword in Python is an option here
        advice = re.sub(r"\b(scale|offset|calibration|overflow|nan)=", r"--\1 ", str(error))
        raise ValueError(f"{options.input}: {re.sub(r' (?=[ ,;]|$)', '', advice)}") from error
    if options.plot is not None:
        _draw(values, x, report, options.plot)
    io.save(options.output, x)
    settings: dict[str, Any] = dict(
        input=str(options.input),
        output=str(options.output),
        dtype=values.dtype.name,
        shape=list(values.shape),
        format=formats.name_of(fmt) or repr(fmt).removeprefix("lpnum."),
        scale=np.asarray(x.scale).tolist(),
        offset=np.asarray(x.offset).tolist(),
        rounding=options.rounding,
        overflow=options.overflow,
        seed=None if policy.rng is None else policy.rng.seed,
    )
    print(json.dumps(settings | report.as_dict(), indent=1) if options.json else _text(settings, report))


def _check(options: argparse.Namespace, fmt: Format, complain: Callable[[str], Any]) -> Policy:
    """What can be known to be wrong before any file is read."""
    if options.scale is not None and (options.calibration or options.axis is not None):
        complain("--scale gives the scale; --calibration and --axis choose it from the data: give one or the other")
    if options.axis is not None and options.calibration is None and not fmt.calibrated:
        complain(f"--axis: {options.format!r} carries its own range; add --calibration to choose scales from the data")
    if options.output.suffix.lower() != ".npz":
        complain(f"{options.output}: the name of the output must end in .npz")
    for other in (options.output, options.plot):
        if other is not None and options.input.exists() and other.exists() and other.samefile(options.input):
            complain(f"{other} is the input, which is never overwritten; choose another name")
    if options.plot is not None:
        from lpnum import _figures

        _figures.check_picture(options.plot, complain)
        if options.plot.resolve() == options.output.resolve():
            complain(f"--plot {options.plot} is the output as well; choose another name")
    for file in (options.output, options.plot):
        if file is not None and not file.resolve().parent.is_dir():
            raise OSError(f"cannot write {file}: no folder {file.resolve().parent}")
    rng = CounterRNG(options.seed) if options.rounding == "stochastic" else None
    policy = Policy(options.rounding, options.overflow, None, rng)
    try:
        codec.check_overflow(policy, fmt, "--overflow")
    except ValueError as error:
        complain(str(error))
    return policy


def _text(settings: dict[str, Any], report: Report) -> str:
    def meta(name: str) -> str:
        numbers = np.asarray(settings[name])
        if numbers.ndim == 0:
            return f"{name} {float(numbers):.6g}"
        ends = f" from {numbers.min():.6g} to {numbers.max():.6g}" if numbers.size else ""
        return f"{numbers.size} {name}s{ends}"

    seed = "" if settings["seed"] is None else f" (seed {settings['seed']})"
    return (
        f"{settings['input']}: {settings['dtype']}, shape {tuple(settings['shape'])}\n"
        f"{settings['output']}: {settings['format']}, {meta('scale')}, {meta('offset')}, "
        f"{settings['rounding']}{seed}, {settings['overflow']}\n{report.text()}"
    )


def _draw(values: np.ndarray, x: LPArray, report: Report, path: Path) -> None:
    """Histograms counted part by part, over the ranges that the report knows."""
    from lpnum import _figures, _plot_quantization

    spans = [span if math.isfinite(span[0]) else (0.0, 0.0) for span in (report.value_range, report.error_range)]
    if not math.isfinite(spans[1][1]):
        spans[1] = spans[0]  # some values became infinite; the others have errors no larger than themselves
    edges = [_plot_quantization.histogram_edges(*span) for span in spans]
    counts = [np.zeros(edge.size - 1, np.int64) for edge in edges]
    for part in parts(values.shape, PART):
        block = np.asarray(values[part], np.float64)
        finite = np.isfinite(block)
        plain = block[finite]
        errors = finite_errors(plain, x[part].dequantize(np.float64)[finite])
        for k, data in enumerate((plain, errors[np.isfinite(errors)])):
            counts[k] += np.histogram(data, edges[k])[0]
    figure, axes = _figures.new_figure(10, 3.8, 1, 2)
    pairs = [(count, edge) for count, edge in zip(counts, edges, strict=True)]
    _plot_quantization.draw_quantization(_plot_quantization.Histograms(*pairs), x, axes)
    _figures.save_picture(figure, path)
