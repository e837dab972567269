"""The container of safetensors files, which torch and other frameworks read: tensors by name, dtype and place.

The layout: 8 bytes with the length N of the header (little-endian), N bytes of JSON that give each tensor's dtype,
shape and place, then the tensors, little-endian and in C order, without gaps. It is read and written here directly: the
package `safetensors` gives float8 tensors to torch but not to NumPy, and reading a tensor takes no more than this.

Source: https://github.com/huggingface/safetensors, README, section "Format".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from lpnum import formats
from lpnum._schema import fields, invalid, parse

MAX_HEADER = 100_000_000  # bytes; the limit of the package safetensors
_PIECE = 1 << 20

# dtype of the file -> NumPy dtype of its codes. F4 holds two numbers in a byte.
STORAGE = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<u2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<c8",
    "BF16": "<u2",
    "F4": "u1",
    "F8_E4M3": "u1",
    "F8_E5M2": "u1",
    "F8_E8M0": "u1",
    "F8_E4M3FNUZ": "u1",
    "F8_E5M2FNUZ": "u1",
}
# Formats that the file names itself; all others are stored as integers, with the format in the metadata.
FORMAT_OF = {
    "F8_E4M3": formats.format("float8_e4m3fn"),
    "F8_E5M2": formats.format("float8_e5m2"),
    "F8_E8M0": formats.format("float8_e8m0fnu"),
    "F8_E4M3FNUZ": formats.format("float8_e4m3fnuz"),
    "F8_E5M2FNUZ": formats.format("float8_e5m2fnuz"),
    "BF16": formats.format("bfloat16"),
    "F16": formats.format("float16"),
    "F4": formats.format("float4_e2m1fn"),
}
DTYPE_OF_FORMAT = {fmt: name for name, fmt in FORMAT_OF.items()}
DTYPE_OF_STORAGE = {np.dtype(code): name for name, code in STORAGE.items() if name not in FORMAT_OF}
DTYPE_OF_STORAGE[np.dtype("<f2")] = "F16"  # a plain array


def pack4(codes: np.ndarray) -> np.ndarray:
    """Two 4-bit codes in a byte along the last axis (of even length), the first in the low half."""
    return codes[..., 0::2] | codes[..., 1::2] << 4


def unpack4(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The codes of `pack4`, one in a byte."""
    codes = np.empty((packed.size, 2), np.uint8)
    np.bitwise_and(packed.reshape(-1), 15, out=codes[:, 0])
    np.right_shift(packed.reshape(-1), 4, out=codes[:, 1])
    return codes.reshape(shape)


# ---- writing -------------------------------------------------------------------------------------------------------

# dtype of the file, shape, and the bytes as an array
Tensor = tuple[str, tuple[int, ...], np.ndarray]


def as_tensor(values: np.ndarray, fmt: Any, where: str) -> Tensor:
    """Dtype, shape and bytes of codes of a format, or of a plain array if it is None."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    dtype = DTYPE_OF_FORMAT.get(fmt)
    if dtype == "F4" and values.ndim and values.shape[-1] % 2 == 0:
        return dtype, values.shape, pack4(values)
    if dtype is None or dtype == "F4":
        dtype = DTYPE_OF_STORAGE.get(little.dtype)
    if dtype is None:
        raise TypeError(f"{where}: safetensors has no dtype for {values.dtype}")
    return dtype, values.shape, little


def header_of(tensors: dict[str, Tensor], metadata: dict[str, str], where: str) -> tuple[bytes, list[str]]:
    """The header with its length in front, and the order of the tensors behind it."""
    # Wide tensors first: then each is aligned to its own item size.
    order = sorted(tensors, key=lambda name: (-tensors[name][2].itemsize, name))
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in order:
        dtype, shape, values = tensors[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (end, end + values.nbytes)}
        end += values.nbytes
    text = json.dumps(header, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    if len(text) > MAX_HEADER:
        raise ValueError(f"{where}: the header would take {len(text)} bytes (at most {MAX_HEADER}); use several files")
    return len(text).to_bytes(8, "little") + text, order


def write(stream: Any, header: bytes, arrays: Iterator[np.ndarray]) -> None:
    """Write a header of `header_of` and the tensors in its order."""
    stream.write(header)
    for values in arrays:
        for piece in _pieces(values):
            stream.write(piece)


def _pieces(values: np.ndarray) -> Iterator[Any]:
    """The bytes of an array in C order, a piece at a time; no copy where they lie in that order."""
    if values.flags.c_contiguous:
        flat = values.reshape(-1).view(np.uint8)
        for start in range(0, flat.size, _PIECE):
            yield flat[start : start + _PIECE].data
    elif values.size:
        step = max(1, _PIECE // values.itemsize)
        options: Any = {"flags": ["external_loop", "buffered"], "order": "C", "buffersize": step}
        chunk: Any
        for chunk in np.nditer(values, **options):
            yield chunk.tobytes()


# ---- reading -------------------------------------------------------------------------------------------------------


class Reader:
    """The tensors of a file, after checks that hold for all of them: known dtypes, no gap, no overlap, full length.

    Parameters
    ----------
    stream : binary file object that can seek
    where : str
        Beginning of error messages.
    mode : str, optional
        Of `numpy.memmap`, to map tensors from the disk instead of reading them.
    """

    def __init__(self, stream: Any, where: str, mode: str | None = None) -> None:
        self.stream, self.where, self.mode = stream, where, mode
        stream.seek(0, os.SEEK_END)
        length = stream.tell()
        stream.seek(0)
        start = stream.read(8)
        if start.startswith(b"PK\3\4"):
            raise ValueError(f"{where}: this is a zip archive, and not a safetensors file; lpnum.load reads npz files")
        size = int.from_bytes(start, "little")
        if len(start) != 8 or size > min(length - 8, MAX_HEADER):
            raise invalid(where, f"a header of {size} bytes does not fit into a file of {length} bytes")
        text = stream.read(size)
        if len(text) != size or not text.startswith(b"{"):
            raise invalid(where, "it has no JSON header")
        header = parse(text, where)
        self.metadata = header.pop("__metadata__", {})
        if not isinstance(self.metadata, dict) or not all(isinstance(text, str) for text in self.metadata.values()):
            raise invalid(where, "the metadata must map texts to texts")
        self.begin = 8 + size
        self.tensors = {name: self._place(name, entry) for name, entry in header.items()}
        end = 0
        for name, (_, _, first, last) in sorted(self.tensors.items(), key=lambda item: item[1][2:]):
            if first != end:
                raise invalid(where, f"the tensor {name!r:.80} begins at {first}, and the one before ends at {end}")
            end = last
        if self.begin + end != length:
            raise invalid(where, f"its tensors end at {self.begin + end}, and the file has {length} bytes")

    def _place(self, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
        """Dtype, shape, first byte and end of a tensor, which must agree."""
        where = f"{self.where}: {name!r:.80}"
        dtype, shape, offsets = fields(entry, ("dtype", "shape", "data_offsets"), where)
        if not isinstance(dtype, str) or dtype not in STORAGE:
            raise ValueError(f"{where}: the dtype {dtype!r:.80} is not known; known are {', '.join(STORAGE)}")
        for numbers in (shape, offsets):
            if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
                raise invalid(where, f"expected a list of sizes, got {numbers!r:.80}")
        if len(offsets) != 2 or offsets[0] > offsets[1]:
            raise invalid(where, f"the offsets {offsets!r:.80} are no range")
        bits = math.prod(shape) * (4 if dtype == "F4" else 8 * np.dtype(STORAGE[dtype]).itemsize)
        if bits != 8 * (offsets[1] - offsets[0]):
            raise invalid(where, f"shape {shape} of {dtype} takes {bits} bits, and has {offsets[1] - offsets[0]} bytes")
        return dtype, tuple(shape), offsets[0], offsets[1]

    def raw(self, name: str) -> np.ndarray:
        """The tensor's codes or values, as an array of the dtype of `STORAGE`."""
        if name not in self.tensors:
            raise invalid(self.where, f"it lacks the tensor {name!r:.80}")
        dtype, shape, first, last = self.tensors[name]
        storage = np.dtype(STORAGE[dtype])
        stored_shape = (last - first,) if dtype == "F4" else shape
        if self.mode is not None and first != last:
            place = self.begin + first
            array = np.memmap(self.stream, storage, self.mode, place, stored_shape)  # type: ignore[call-overload]
        else:
            array = np.empty(stored_shape, storage)
            self.stream.seek(self.begin + first)
            if array.size:
                buffer = array.reshape(-1).view(np.uint8).data
                for start in range(0, array.nbytes, _PIECE):
                    piece = buffer[start : start + _PIECE]
                    data = self.stream.read(len(piece))
                    if len(data) != len(piece):
                        raise invalid(self.where, "it ends too early")
                    piece[:] = data
        return unpack4(array, shape) if dtype == "F4" else array
