"""Headers of files: arrays and formats as JSON and back, every field checked.

A format is stored by its defining fields, not by its name, so that a file does not depend on the table of named
formats. A new family of formats is a row of `_FAMILIES`; its fields may be formats themselves.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from lpnum import grid
from lpnum.array import LPArray, own_policy
from lpnum.codec import as_codes
from lpnum.formats import FixedFormat, FloatFormat
from lpnum.random import CounterRNG

VERSION = 1
# Bytes of JSON that a file may make the reader parse: about 100 000 arrays.
MAX_HEADER = 1 << 24

# The name of the family in files -> the class whose dataclass fields define a format.
_FAMILIES: dict[str, type] = {
    "fixed": FixedFormat,
    "float": FloatFormat,
}
_NAME_OF_FAMILY = {cls: name for name, cls in _FAMILIES.items()}
_PLAIN = {"bool", "int", "float", "str", "None"}  # what fields hold that are not formats themselves

# How many elements a check looks at together: no check allocates more, whatever the file says.
_CHUNK = 1 << 16

# A stored part of an array: kind of part ("codes", "scale", "offset", "values") -> ndarray.
Parts = dict[str, np.ndarray]


def invalid(where: str, what: str) -> ValueError:
    """The error for a file that is not what it should be."""
    return ValueError(f"{where}: {what}; the file is damaged, or was not written by lpnum")


@contextmanager
def errors_of_damage(where: str, more: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """What reading a damaged file raises, as a ValueError that says so."""
    damage: tuple[type[Exception], ...] = (EOFError, OverflowError, *more)
    try:
        yield
    except damage as error:
        raise invalid(where, str(error) or type(error).__name__) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to where the damaged file points
            raise
        raise invalid(where, str(error)) from None
    except ValueError as error:  # UnicodeDecodeError is one
        if str(error).startswith(where):
            raise
        raise invalid(where, str(error)) from None


# ---- JSON ----------------------------------------------------------------------------------------------------------


def dump(header: dict[str, Any]) -> bytes:
    """A header as UTF-8 JSON without NaN or infinity."""
    text = json.dumps(header, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"the header of the file would take {len(text)} bytes (at most {MAX_HEADER}); use several files"
        )
    return text


def parse(text: bytes, where: str) -> dict[str, Any]:
    """The object in a JSON text; repeated keys, NaN, infinity and anything but an object are errors."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key occurs twice")
        return result

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise invalid(where, f"the JSON header cannot be read ({error})") from None
    if not isinstance(header, dict):
        raise invalid(where, "the JSON header is not an object")
    return header


def fields(entry: Any, names: tuple[str, ...], where: str) -> list[Any]:
    """The values of an object's keys, which must be these and no others."""
    if not isinstance(entry, dict) or entry.keys() != set(names):
        got = sorted(entry) if isinstance(entry, dict) else type(entry).__name__
        raise invalid(where, f"expected the fields {sorted(names)}, got {got}")
    return [entry[name] for name in names]


def check_version(version: Any, where: str) -> None:
    """Refuse a header of another version: its fields may mean something else."""
    if type(version) is not int or version < 1:
        raise invalid(where, f"the version must be a positive integer, not {version!r}")
    if version > VERSION:
        raise ValueError(
            f"{where}: written in version {version} of the file layout, and this lpnum reads up to {VERSION}; "
            "install a newer lpnum"
        )


# ---- formats -------------------------------------------------------------------------------------------------------


def format_to_json(fmt: Any) -> dict[str, Any]:
    """The defining fields of a format, and its family.

    >>> format_to_json(lpnum.fixed(8, frac=4))
    {'family': 'fixed', 'bits': 8, 'frac': 4, 'signed': True}
    """
    if type(fmt) not in _NAME_OF_FAMILY:
        raise TypeError(f"formats of the kind {type(fmt).__name__} cannot be stored")
    entry: dict[str, Any] = {"family": _NAME_OF_FAMILY[type(fmt)]}
    for field in dataclasses.fields(fmt):
        value = getattr(fmt, field.name)
        if type(value) in _NAME_OF_FAMILY:
            value = format_to_json(value)
        elif isinstance(value, np.generic):
            value = value.item()
        entry[field.name] = value
    return entry


def format_from_json(entry: Any, where: str) -> Any:
    """The format with these defining fields; what it does not accept is an error."""
    family = entry.get("family") if isinstance(entry, dict) else None
    if not isinstance(family, str) or family not in _FAMILIES:
        raise invalid(where, f"the family of a format must be one of {sorted(_FAMILIES)}, not {family!r}")
    cls = _FAMILIES[family]
    wanted = dataclasses.fields(cls)
    values = fields(entry, ("family", *(field.name for field in wanted)), where)[1:]
    arguments = []
    for field, value in zip(wanted, values, strict=True):
        if isinstance(value, dict):
            value = format_from_json(value, where)
        # Annotations are texts such as "int | None"; True is no int here, although Python says so.
        allowed = {name.strip() for name in str(field.type).split("|")}
        nested = type(value) in _NAME_OF_FAMILY and not allowed <= _PLAIN
        if not nested and ("None" if value is None else type(value).__name__) not in allowed:
            raise invalid(where, f"{field.name} of a {family} format must be {field.type}, not {value!r:.80}")
        arguments.append(value)
    try:
        return cls(*arguments)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(where, str(error)) from None


# ---- arrays --------------------------------------------------------------------------------------------------------


class Generators:
    """The random generators of the arrays in one file: arrays that shared one share it again when they are read."""

    def __init__(self) -> None:
        self.found: list[CounterRNG] = []

    def number(self, rng: CounterRNG | None) -> int | None:
        """Position of a generator in the header's list."""
        if rng is None:
            return None
        for k, known in enumerate(self.found):
            if known is rng:
                return k
        self.found.append(rng)
        return len(self.found) - 1

    def to_json(self) -> list[dict[str, int]]:
        """Seed and running stream of each."""
        return [{"seed": rng.seed, "stream": rng.stream} for rng in self.found]

    @classmethod
    def from_json(cls, entries: Any, where: str) -> Generators:
        """The generators of a header."""
        new = cls()
        if not isinstance(entries, list):
            raise invalid(where, "the random generators must be a list")
        for entry in entries:
            seed, stream = fields(entry, ("seed", "stream"), where)
            try:
                new.found.append(CounterRNG(0 if seed is None else seed, stream))
            except ValueError as error:
                raise invalid(where, str(error)) from None
        return new

    def at(self, number: Any, where: str) -> CounterRNG | None:
        """The generator of a number from the header."""
        if number is None:
            return None
        if type(number) is not int or not 0 <= number < len(self.found):
            raise invalid(where, f"there is no random generator {number!r:.80}")
        return self.found[number]


def describe(x: Any, generators: Generators, where: str) -> tuple[dict[str, Any], Parts]:
    """The header entry of an array, and the plain arrays to store beside it."""
    for kind, (classes, to_entry, _, _) in _KINDS.items():
        if type(x) in classes:
            entry, parts = to_entry(x, generators, where)
            return {"kind": kind, **entry}, parts
    raise TypeError(
        f"{where}: expected an LPArray or a numpy.ndarray, not {type(x).__name__}; "
        "make one with lpnum.array or numpy.asarray first"
    )


def layout(entry: Any, where: str) -> dict[str, np.dtype]:
    """Which parts an entry has, with the dtype that each must have: known before anything is read."""
    return _kind(entry, where)[2](entry, where)


def build(entry: Any, parts: Parts, generators: Generators, where: str) -> Any:
    """The array of an entry and its parts; takes the parts without a copy where their byte order is the machine's."""
    return _kind(entry, where)[3](entry, parts, generators, where)


def _kind(entry: Any, where: str) -> Any:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise invalid(where, f"the kind of an array must be one of {sorted(_KINDS)}, not {kind!r:.80}")
    return _KINDS[kind]


_METADATA = ("scale", "offset")
_LPARRAY = ("kind", "format", "scale", "offset", "dtype", "rounding", "overflow", "rng")


def _describe_lparray(x: LPArray, generators: Generators, where: str) -> tuple[dict[str, Any], Parts]:
    parts = {"codes": x.codes}
    entry: dict[str, Any] = {"format": format_to_json(x.format)}
    for name, meta in zip(_METADATA, (x._scale, x._offset), strict=True):
        entry[name] = "array" if meta.ndim else float(meta)
        if meta.ndim:
            parts[name] = meta
    entry |= {"dtype": x.dtype.name, "rounding": x.rounding, "overflow": x.overflow}
    return entry | {"rng": generators.number(x.rng)}, parts


def _layout_lparray(entry: Any, where: str) -> dict[str, np.dtype]:
    _, fmt, scale, offset, *_ = fields(entry, _LPARRAY, where)
    parts = {"codes": format_from_json(fmt, where).storage}
    for name, meta in zip(_METADATA, (scale, offset), strict=True):
        if meta == "array":
            parts[name] = np.dtype(np.float64)
        elif type(meta) not in (int, float):
            raise invalid(where, f'{name} must be a number or "array", not {meta!r:.80}')
    return parts


def _build_lparray(entry: Any, parts: Parts, generators: Generators, where: str) -> LPArray:
    _, fmt, scale, offset, dtype, rounding, overflow, rng = fields(entry, _LPARRAY, where)
    if dtype not in ("float32", "float64"):
        raise invalid(where, f"the dtype of the values must be float32 or float64, not {dtype!r:.80}")
    fmt = format_from_json(fmt, where)
    try:
        codes = as_codes(parts["codes"], fmt, where)
        metas = [
            stored_metadata(parts[name], codes.shape, name) if value == "array" else _number(value, name)
            for name, value in zip(_METADATA, (scale, offset), strict=True)
        ]
        policy = own_policy(rounding, overflow, generators.at(rng, where))
    except (TypeError, ValueError) as error:
        raise error if str(error).startswith(where) else invalid(where, str(error)) from None
    return object.__new__(LPArray)._set(codes, fmt, metas[0], metas[1], np.dtype(dtype), policy)


def _number(value: float, name: str) -> np.ndarray:
    try:
        return grid.as_metadata(float(value), (), name)
    except OverflowError:
        raise ValueError(f"{name}: {value} is beyond the range of float64") from None


def stored_metadata(meta: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A scale or offset array from a file, checked piece by piece and not copied: it may be larger than memory."""
    if meta.ndim and (meta.ndim != len(shape) or any(m not in (1, n) for m, n in zip(meta.shape, shape, strict=True))):
        raise ValueError(f"{name}: shape {meta.shape} does not fit the array's shape {shape}")
    flat = meta.reshape(-1, order="A")
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        if not np.isfinite(part).all() or (name == "scale" and (part == 0).any()):
            raise ValueError(f"{name}: must be finite{' and not 0' if name == 'scale' else ''} everywhere")
    return meta.astype(np.float64, copy=not meta.flags.aligned)


def _describe_ndarray(x: np.ndarray, generators: Generators, where: str) -> tuple[dict[str, Any], Parts]:
    if not _is_plain(x.dtype):
        raise TypeError(f"{where}: plain arrays of bool, integers, floats or complex numbers, not of {x.dtype}")
    return {"dtype": x.dtype.newbyteorder("<").str}, {"values": x}


def _is_plain(dtype: np.dtype) -> bool:
    return dtype.kind in "biufc" and dtype.isbuiltin != 2 and dtype.itemsize <= (16 if dtype.kind == "c" else 8)


def _layout_ndarray(entry: Any, where: str) -> dict[str, np.dtype]:
    _, name = fields(entry, ("kind", "dtype"), where)
    if not isinstance(name, str) or not re.fullmatch(r"[<|][biufc]\d{1,2}", name):
        raise invalid(where, f"{name!r:.80} is not a dtype of plain numbers")
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise invalid(where, str(error)) from None
    if not _is_plain(dtype):
        raise invalid(where, f"{name!r:.80} is not a dtype of plain numbers")
    return {"values": dtype}


def _build_ndarray(entry: Any, parts: Parts, generators: Generators, where: str) -> np.ndarray:
    return plain_values(parts["values"], where)


def plain_values(values: np.ndarray, where: str) -> np.ndarray:
    """A plain array as it comes from a file, in the machine's byte order; bools must be 0 and 1."""
    if values.dtype == np.bool_ and values.size and values.view(np.uint8).max() > 1:
        raise invalid(where, "bools other than 0 and 1")
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


# Kind in files -> classes, array to entry and parts, entry to the dtypes of the parts, entry and parts to array.
# Subclasses are not in: a masked array without its mask would be a wrong array.
_KINDS: dict[str, tuple[tuple[type, ...], Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "LPArray": ((LPArray,), _describe_lparray, _layout_lparray, _build_lparray),
    "ndarray": ((np.ndarray, np.memmap), _describe_ndarray, _layout_ndarray, _build_ndarray),
}


def named_arrays(arrays: Any, named: dict[str, Any], where: str) -> dict[str, Any]:
    """The arrays of a call ``save(file, arrays)`` or ``save(file, **named)``, with names that every file can hold."""
    if arrays is not None and named:
        raise TypeError(f"{where}: give the arrays as a mapping or by keyword, not both")
    if arrays is not None and not isinstance(arrays, Mapping):
        raise TypeError(f"{where}: expected a mapping of names to arrays, not {type(arrays).__name__}")
    chosen = named if arrays is None else dict(arrays)
    if not chosen:
        raise ValueError(f"{where}: no array given")
    for name in chosen:
        if not isinstance(name, str):
            raise TypeError(f"{where}: names must be str, not {type(name).__name__}")
        parts = name.split("/")
        if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts) or len(name) > 1000:
            raise ValueError(
                f"{where}: {name!r:.80} cannot be a name in a file: at most 1000 printable characters, no backslash, "
                "no empty, '.' or '..' part between slashes"
            )
    return chosen
