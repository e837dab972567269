"""Headers of files: arrays and formats as JSON and back, every field checked.

A format is stored by its defining fields, not by its name, so that a file does not depend on the table of named
formats. A new family of formats is a row of `_FAMILIES`; its fields may be formats themselves.
"""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from lpnum.block_formats import BlockFormat
from lpnum.formats import FixedFormat, FloatFormat
from lpnum.random import CounterRNG

VERSION = 1
# Bytes of JSON that a file may make the reader parse: about 100 000 arrays.
MAX_HEADER = 1 << 24

# The name of the family in files -> the class whose dataclass fields define a format.
_FAMILIES: dict[str, type] = {
    "fixed": FixedFormat,
    "float": FloatFormat,
    "block": BlockFormat,
}
_NAME_OF_FAMILY = {cls: name for name, cls in _FAMILIES.items()}
_PLAIN = {"bool", "int", "float", "str", "None"}  # what fields hold that are not formats themselves


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


# ---- generators and names ------------------------------------------------------------------------------------------


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
