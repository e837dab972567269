"""Pickled dictionaries of bytes, numbers, lists and arrays, read without pickle.

A pickle is a program; the pickle module runs it, and a foreign one may do anything. Here a few of its instructions are
obeyed: those of protocols 2 to 5 that build plain values, and the calls by which NumPy rebuilds an array, each done by
a function of this file. Nothing is imported, no class of the file's choice is made, and what is allocated is bounded by
the file's size. The instructions are described in the source of Python's pickletools.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_pickle"]

DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")


class RefusedError(ValueError):
    """The file asks for what a file of data does not need."""


def _shown(value: Any) -> str:
    """For a message; the text of a list that holds itself many times over would never end."""
    return repr(value[:40]) if isinstance(value, str | bytes) else f"a {type(value).__name__}"


class _Type:
    """Stands for NumPy's dtype until an array is made of it."""

    def __init__(self, name: object, *_: object) -> None:
        name = name.decode("latin-1") if isinstance(name, bytes) else name
        self.dtype = np.dtype(name) if isinstance(name, str) and name.lstrip("<>|=") in DTYPES else None
        if self.dtype is None:
            raise RefusedError(f"an array of type {_shown(name)}")

    def build(self, state: Any) -> None:
        """(version, byte order, ...)."""
        order: Any = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise RefusedError(f"the byte order {_shown(order)}")
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


# Instructions whose argument is preceded by its length: width of the length, what the argument is. Strings of Python 2
# are bytes here.
SIZED = {
    0x55: (1, "bytes"), 0x54: (4, "bytes"), 0x43: (1, "bytes"), 0x42: (4, "bytes"), 0x8E: (8, "bytes"),  # U T C B
    0x96: (8, "bytes"), 0x8C: (1, "text"), 0x58: (4, "text"), 0x8D: (8, "text"), 0x8A: (1, "int"),  # X
}  # fmt: skip
NUMBERS = {0x4A: (4, True), 0x4B: (1, False), 0x4D: (2, False)}  # J K M: width, signed
CONSTANTS = {0x4E: None, 0x88: True, 0x89: False}  # N
EMPTY: dict[int, Callable[[], Any]] = {0x5D: list, 0x7D: dict, 0x29: tuple}  # ] } )
TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
PUT = {0x71: 1, 0x72: 4}  # q r: width of the place
GET = {0x68: 1, 0x6A: 4}  # h j
SKIP = {0x80: 1, 0x95: 8}  # protocol, frame: width of what they say, which nothing here depends on
STOP = 0x2E  # .


class _Machine:
    """A pickle with its stack, marks and memo."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.calls = _calls(len(data))

    def run(self) -> Any:
        """The value that the pickle describes."""
        data, stack, memo = self.data, self.stack, self.memo
        while True:
            if self.at >= len(data):
                raise ValueError(f"it ends without the last instruction, after {len(data)} bytes")
            code = data[self.at]
            self.at += 1
            if code == STOP:
                break
            if code in SIZED:
                width, kind = SIZED[code]
                piece = self.bytes(self.number(width))
                if kind == "text":
                    stack.append(piece.decode("utf-8"))
                else:
                    stack.append(piece if kind == "bytes" else int.from_bytes(piece, "little", signed=True))
            elif code in PUT:
                memo[self.number(PUT[code])] = stack[-1]
            elif code in NUMBERS:
                stack.append(self.number(*NUMBERS[code]))
            elif code in GET:
                stack.append(memo[self.number(GET[code])])
            elif code in OTHERS:
                OTHERS[code](self)
            elif code in CONSTANTS:
                stack.append(CONSTANTS[code])
            elif code in EMPTY:
                stack.append(EMPTY[code]())
            elif code in TUPLES:
                stack.append(tuple(self.take_from_stack(TUPLES[code])))
            elif code == 0x47:  # G
                stack.append(struct.unpack(">d", self.bytes(8))[0])
            elif code in SKIP:
                self.bytes(SKIP[code])
            else:
                raise RefusedError(f"the instruction {bytes([code])!r} at byte {self.at - 1}")
        (result,) = stack
        return result

    def bytes(self, count: int) -> bytes:
        """The next bytes of the file."""
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise ValueError(f"at byte {start} it should go on for {count} bytes")
        return self.data[start : self.at]

    def number(self, width: int, signed: bool = False) -> int:
        """The next integer."""
        return int.from_bytes(self.bytes(width), "little", signed=signed)

    def line(self) -> str:
        """Text up to the end of the line."""
        end = self.data.find(b"\n", self.at, self.at + 1000)
        if end < 0:
            raise ValueError(f"no name at byte {self.at}")
        start, self.at = self.at, end + 1
        return self.data[start:end].decode("utf-8")

    def above_mark(self) -> list[Any]:
        """Take what was pushed since the last mark."""
        mark = self.marks.pop()
        if mark > len(self.stack):
            raise ValueError("more was taken than was there")
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def take_from_stack(self, count: int) -> list[Any]:
        """Take the last values."""
        if count > len(self.stack):
            raise ValueError("more was taken than was there")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    @staticmethod
    def store(target: Any, items: list[Any]) -> Any:
        """Keys and values in turn into a dictionary."""
        if type(target) is not dict or len(items) % 2:
            raise RefusedError("entries in something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, bytes):  # others may take unbounded time to hash, or all of C's stack
                raise RefusedError(f"a dictionary's key of type {type(key).__name__}")
            target[key] = value
        return target

    def store_in_top(self, items: list[Any]) -> None:
        """Keys and values in turn into the dictionary on top."""
        self.store(self.stack[-1], items)

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top."""
        if type(self.stack[-1]) is not list:
            raise RefusedError("entries in something that is no list")
        self.stack[-1].extend(items)

    def name(self, module: Any, name: Any) -> None:
        """Push one of the known functions."""
        known = self.calls.get(f"{module} {name}") if type(module) is type(name) is str else None
        if known is None:
            raise RefusedError(f"{_shown(name)} of {_shown(module)}, which no file of images needs")
        self.stack.append(known)

    def reduce(self) -> None:
        """Call the function below the arguments."""
        function, args = self.take_from_stack(2)
        if not isinstance(function, _Call) or type(args) is not tuple:
            raise RefusedError("the call of something that is no function")
        self.stack.append(function.make(*args))

    def build(self) -> None:
        """Give the array or type on top its state."""
        (state,) = self.take_from_stack(1)
        if not isinstance(self.stack[-1], _Array | _Type) or type(state) is not tuple:
            raise RefusedError("the state of something that is no array")
        self.stack[-1].build(state)


# Instructions without an argument.
OTHERS: dict[int, Callable[[_Machine], object]] = {
    ord("("): lambda machine: machine.marks.append(len(machine.stack)),
    ord("l"): lambda machine: machine.stack.append(machine.above_mark()),
    ord("t"): lambda machine: machine.stack.append(tuple(machine.above_mark())),
    ord("d"): lambda machine: machine.stack.append(machine.store({}, machine.above_mark())),
    ord("u"): lambda machine: machine.store_in_top(machine.above_mark()),
    ord("s"): lambda machine: machine.store_in_top(machine.take_from_stack(2)),
    ord("e"): lambda machine: machine.extend(machine.above_mark()),
    ord("a"): lambda machine: machine.extend(machine.take_from_stack(1)),
    ord("0"): lambda machine: machine.take_from_stack(1),
    ord("c"): lambda machine: machine.name(machine.line(), machine.line()),
    0x93: lambda machine: machine.name(*machine.take_from_stack(2)),
    0x94: lambda machine: machine.memo.setdefault(len(machine.memo), machine.stack[-1]),
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
}


def read_pickle(path: Path, where: str) -> dict[str, Any]:
    """The dictionary in a file, its keys as str, its arrays read-only.

    Raises
    ------
    ValueError
        The file is truncated or damaged, or asks for anything but plain values and arrays of numbers.
    """
    data = path.read_bytes()
    try:
        result = _Machine(data).run()
        if type(result) is not dict:
            raise RefusedError(f"a {type(result).__name__} where a dictionary is expected")
    except RefusedError as error:
        raise ValueError(
            f"{where}: {str(path)!r} is damaged or not a file of images: it asks for {error}. Nothing of it was run. "
            "Get the file from its source again"
        ) from None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"{where}: {str(path)!r} ({len(data)} bytes) is truncated or damaged: {str(error)[:200]}. "
            "Unpack or copy the file again"
        ) from None
    named = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in result.items()}
    return {key: value.value if isinstance(value, _Array) else value for key, value in named.items()}
