"""Pickled dictionaries of bytes, numbers, lists and arrays, read without pickle.

A pickle is a program; the pickle module runs it, and a foreign one may do anything. Here a few of its instructions are
obeyed: those that build plain values, and the calls by which NumPy rebuilds an array, each done by a function of this
file. Nothing is imported, no class of the file's choice is made, and what is allocated is bounded by the file's size.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_pickle"]

DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")


class RefusedError(ValueError):
    """The file asks for what a file of data does not need."""


class _Type:
    """Stands for NumPy's dtype until an array is made of it."""

    def __init__(self, name: object, *_: object) -> None:
        name = name.decode("latin-1") if isinstance(name, bytes) else name
        self.dtype = np.dtype(name) if isinstance(name, str) and name.lstrip("<>|=") in DTYPES else None
        if self.dtype is None:
            raise RefusedError(f"an array of type {str(name)[:20]!r}")

    def build(self, state: Any) -> None:
        """(version, byte order, ...)."""
        order: Any = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise RefusedError(f"the byte order {str(order)[:20]!r}")
        assert self.dtype is not None
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for an array until its content is known."""

    def __init__(self, *_: object) -> None:
        self.value: NDArray[Any] = np.empty(0, np.uint8)

    def build(self, state: Any) -> None:
        """(version, shape, type, whether in Fortran's order, bytes)."""
        _, shape, kind, fortran, data = state
        self.fill(data, kind, shape, "F" if fortran else "C")

    def fill(self, data: Any, kind: Any, shape: Any, order: Any) -> None:
        """View the bytes as an array."""
        if isinstance(data, str):
            data = data.encode("latin-1")
        good = isinstance(shape, tuple) and len(shape) <= 4
        good = good and all(type(length) is int and 0 <= length < 1 << 40 for length in shape)
        if not (isinstance(kind, _Type) and isinstance(data, bytes | bytearray) and good and order in ("C", "F")):
            raise RefusedError("an array of other things than numbers")
        assert kind.dtype is not None
        if math.prod(shape) * kind.dtype.itemsize != len(data):
            raise ValueError(f"an array of shape {shape} and type {kind.dtype} comes with {len(data)} bytes")
        self.value = np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _frombuffer(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.fill(data, kind, shape, order)
    return array


def _scalar(kind: Any, data: Any) -> Any:
    return _frombuffer(data, kind, (), "C").value.item()


def _no_bytes() -> bytes:
    return b""


class _Encode:
    """How Python 3 writes bytes in Python 2's protocols; the sum of what is encoded is bounded by the file's size."""

    def __init__(self, size: int) -> None:
        self.left = size

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1", "latin-1", b"latin-1"):
            raise RefusedError("a conversion of text")
        self.left -= len(text)
        if self.left < 0:
            raise RefusedError("more bytes than it holds")
        return text.encode("latin-1")


class _Call:
    """A function that a file may name."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make


def _calls(size: int) -> dict[str, _Call]:
    """By "module name"."""
    calls = {"numpy dtype": _Call(_Type), "numpy ndarray": _Call(_Array), "_codecs encode": _Call(_Encode(size))}
    for core in ("numpy.core", "numpy._core"):
        calls[f"{core}.multiarray _reconstruct"] = _Call(_Array)
        calls[f"{core}.multiarray scalar"] = _Call(_scalar)
        calls[f"{core}.numeric _frombuffer"] = _Call(_frombuffer)
    for builtin in ("__builtin__", "builtins"):
        calls[f"{builtin} bytes"] = _Call(_no_bytes)
    return calls


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
         "BYTEARRAY8"}  # fmt: skip
OLD_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # of Python 2: bytes, which pickletools gives as Latin-1
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Stack, marks and memo of a pickle."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.calls = _calls(size)

    def above_mark(self) -> list[Any]:
        """Take what was pushed since the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def store(self, items: list[Any]) -> None:
        """Keys and values in turn into the dictionary on top."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise RefusedError("entries in something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, bytes, int):  # others may take unbounded time to hash, or all of C's stack
                raise RefusedError(f"a dictionary's key of type {type(key).__name__}")
            target[key] = value

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top."""
        if type(self.stack[-1]) is not list:
            raise RefusedError("entries in something that is no list")
        self.stack[-1].extend(items)

    def call_named(self, name: str) -> None:
        """Push one of the known functions."""
        if name not in self.calls:
            raise RefusedError(f"the call of {name.replace(' ', '.')[:80]!r}, which no file of images needs")
        self.stack.append(self.calls[name])

    def obey(self, name: str, arg: Any) -> None:
        """One instruction."""
        stack = self.stack
        if name in NUMBERS or name in TEXTS:
            stack.append(arg)
        elif name in OLD_TEXTS:
            stack.append(arg.encode("latin-1"))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[arg] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[arg])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
            stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[name]())
        elif name in ("LIST", "TUPLE"):
            items = self.above_mark()
            stack.append(items if name == "LIST" else tuple(items))
        elif name == "DICT":
            items = self.above_mark()
            stack.append({})
            self.store(items)
        elif name in TUPLES:
            items = [stack.pop() for _ in range(TUPLES[name])]
            stack.append(tuple(reversed(items)))
        elif name == "APPEND":
            item = stack.pop()
            self.extend([item])
        elif name == "APPENDS":
            self.extend(self.above_mark())
        elif name == "SETITEM":
            value = stack.pop()
            self.store([stack.pop(), value])
        elif name == "SETITEMS":
            self.store(self.above_mark())
        elif name == "POP":
            stack.pop()
        elif name == "GLOBAL":
            self.call_named(arg)
        elif name == "STACK_GLOBAL":
            last = stack.pop()
            self.call_named(f"{stack.pop()} {last}")
        elif name == "REDUCE":
            args = stack.pop()
            function = stack.pop()
            if not isinstance(function, _Call) or type(args) is not tuple:
                raise RefusedError("the call of something that is no function")
            stack.append(function.make(*args))
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], _Array | _Type) or type(state) is not tuple:
                raise RefusedError("the state of something that is no array")
            stack[-1].build(state)
        elif name not in ("PROTO", "FRAME"):
            raise RefusedError(f"the instruction {name}, which no file of images needs")


def read_pickle(path: Path, where: str) -> dict[str, Any]:
    """The dictionary in a file, its keys as str, its arrays read-only.

    Raises
    ------
    ValueError
        The file is truncated or damaged, or asks for anything but plain values and arrays of numbers.
    """
    data = path.read_bytes()
    machine = _Machine(len(data))
    try:
        for instruction, arg, _ in pickletools.genops(data):
            if instruction.name == "STOP":
                break
            machine.obey(instruction.name, arg)
        (result,) = machine.stack
        if type(result) is not dict:
            raise RefusedError(f"a {type(result).__name__} where a dictionary is expected")
    except RefusedError as error:
        raise ValueError(
            f"{where}: {str(path)!r} is not a file of images: it asks for {error}. It was not run. "
            "Get the file from its source again"
        ) from None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"{where}: {str(path)!r} ({len(data)} bytes) is truncated or damaged: {str(error)[:200]}. "
            "Unpack or copy the file again"
        ) from None
    named = {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in result.items()}
    return {key: value.value if isinstance(value, _Array) else value for key, value in named.items()}
