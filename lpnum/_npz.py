"""Reading and writing of npz files whose members are stored, aligned, and known in advance.

A member is never compressed, so that what a file makes the reader allocate is bounded by the length of the file, and
so that an array can be mapped from the disk. The members of one file do not overlap, are all named by the header, and
have the lengths that their own npy headers say; anything else is an error before anything is allocated.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.lib import format as npy

from lpnum._schema import MAX_HEADER, invalid

HEADER = "lpnum.json"
_ALIGNMENT = 64  # bytes: a cache line, and the width of the widest vector register
_LOCAL = struct.Struct("<4s5H3L2H")  # a member's own header in front of its name
_PADDING = 0xD935  # number of the extra field that other tools (zipalign) use to align members
_PIECE = 1 << 20
# What numpy.lib.format writes; parsed by this pattern instead of as Python source.
_NPY = re.compile(
    rb"\{ *'descr': *'([<>|][biufc]\d{1,2})', *'fortran_order': *(True|False), *"
    rb"'shape': *\(((?:\d{1,19}, *)*(?:\d{1,19})?)\), *\} *\n"
)
# What the zip reader raises for damaged files, besides ValueError.
ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError)


# ---- writing -------------------------------------------------------------------------------------------------------


def write(stream: Any, header: bytes, members: dict[str, np.ndarray]) -> None:
    """Write the JSON header and the arrays; the same arrays give the same bytes."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(_info(HEADER, len(header)), "w") as out:
            out.write(header)
        for name, array in members.items():
            info = _info(name, array.nbytes + 4096)
            _align(archive, info)
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            with archive.open(info, "w") as out:
                npy.write_array(out, little, version=(1, 0), allow_pickle=False)


def _info(name: str, size: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # with its date of 1980: the clock is no part of the data
    info.external_attr = 0o644 << 16
    info.file_size = size  # zipfile takes it for whether the member needs 64-bit lengths
    return info


def _align(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Let a member's data begin at a multiple of the alignment (its npy header then fills such a multiple)."""
    wide = info.file_size * 1.05 > zipfile.ZIP64_LIMIT  # the rule of ZipFile.open
    own_header = _LOCAL.size + len(info.filename.encode()) + (20 if wide else 0) + 4
    start = archive.fp.tell() + own_header  # type: ignore[union-attr]
    padding = -start % _ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING, padding) + bytes(padding)


# ---- reading -------------------------------------------------------------------------------------------------------


class Reader:
    """The members of a file, after checks that hold for all of them.

    Parameters
    ----------
    stream : binary file object, seekable
    where : str
        Beginning of error messages.
    """

    def __init__(self, stream: Any, where: str) -> None:
        self.stream, self.where = stream, where
        stream.seek(0, os.SEEK_END)
        self.length = stream.tell()
        stream.seek(0)
        start = stream.read(16)
        if not start.startswith(b"PK"):
            hint = "; lpnum.load_safetensors reads that" if start[8:9] == b"{" else ""
            what = "is a safetensors file" if hint else "is not a zip archive"
            raise ValueError(f"{where}: this {what}, and not a file of lpnum.save{hint}")
        self.archive = zipfile.ZipFile(stream)
        infos = self.archive.infolist()
        self.infos = {info.filename: info for info in infos}
        if len(self.infos) != len(infos):
            raise invalid(where, "two members have one name")
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
                raise invalid(where, f"the member {info.filename!r:.80} is compressed or encrypted")
        if sum(info.file_size for info in infos) > self.length:
            raise invalid(where, "its members are longer than the file")
        if HEADER not in self.infos:
            found = ", ".join(sorted(self.infos)[:5])
            raise ValueError(
                f"{where}: the file has no header {HEADER!r} (it holds {found or 'nothing'}), so it was not written by "
                "lpnum.save; numpy.load reads plain npz files"
            )

    def header(self) -> bytes:
        """The JSON header."""
        info = self.infos[HEADER]
        if info.file_size > MAX_HEADER:
            raise invalid(self.where, f"the header has {info.file_size} bytes (at most {MAX_HEADER})")
        with self.archive.open(info) as member:
            return self._read(member, info.file_size)

    def expect(self, names: set[str]) -> None:
        """Refuse a file that lacks one of these members, or has more."""
        present = set(self.infos) - {HEADER}
        if present != names:
            missing, extra = sorted(names - present), sorted(present - names)
            what = f"lacks {missing[0]!r:.80}" if missing else f"holds {extra[0]!r:.80}, which its header does not name"
            raise invalid(self.where, f"it {what}")

    def array(self, name: str, dtype: np.dtype) -> np.ndarray:
        """The array of a member, in memory; its checksum is verified."""
        info = self.infos[name]
        with self.archive.open(info) as member:
            stored, shape, order, _ = self._npy_header(member, info, dtype)
            array = np.empty(shape, stored, order)  # type: ignore[call-overload]
            if array.size:
                buffer = array.reshape(-1, order="A").view(np.uint8).data
                for start in range(0, array.nbytes, _PIECE):
                    piece = buffer[start : start + _PIECE]
                    piece[:] = self._read(member, len(piece))
            if member.read(1):  # the end of the member, where its checksum is compared
                raise invalid(self.where, f"{name}: longer than its header says")
        return array

    def mapped(self, name: str, dtype: np.dtype, mode: str, verify: bool) -> np.ndarray:
        """The array of a member, mapped from the disk."""
        info = self.infos[name]
        with self.archive.open(info) as member:  # compares the member's own name with that in the directory
            stored, shape, order, header_length = self._npy_header(member, info, dtype)
            while verify and member.read(_PIECE):
                pass
        self.stream.seek(info.header_offset)
        local = self.stream.read(_LOCAL.size)
        *_, name_length, extra_length = _LOCAL.unpack(local)
        offset = info.header_offset + _LOCAL.size + name_length + extra_length
        if offset + info.file_size > self.length:
            raise invalid(self.where, f"{name}: longer than the file")
        if math.prod(shape) == 0:
            return np.empty(shape, stored)
        return np.memmap(self.stream, stored, mode, offset + header_length, shape, order)  # type: ignore[call-overload]

    def _npy_header(self, member: Any, info: Any, dtype: np.dtype) -> tuple[np.dtype, tuple[int, ...], str, int]:
        """Dtype, shape, order and length of a member's npy header, which must agree with the member's length."""
        name = f"{info.filename!r:.80}"
        if self._read(member, 8) != npy.magic(1, 0):
            raise invalid(self.where, f"{name} is not an array in npy format 1.0")
        length = int.from_bytes(self._read(member, 2), "little")
        match = _NPY.fullmatch(self._read(member, length))
        if match is None:
            raise invalid(self.where, f"{name} has a malformed npy header")
        try:
            stored = np.dtype(match[1].decode())
        except TypeError as error:
            raise invalid(self.where, f"{name}: {error}") from None
        if stored.newbyteorder("=") != dtype.newbyteorder("="):
            raise invalid(self.where, f"{name} has dtype {stored}, and the header asks for {dtype}")
        shape = tuple(int(n) for n in match[3].split(b",") if n.strip())
        expected = 10 + length + math.prod(shape) * stored.itemsize
        if expected != info.file_size:
            raise invalid(self.where, f"{name} of shape {shape} takes {expected} bytes, and has {info.file_size}")
        return stored, shape, "F" if match[2] == b"True" else "C", 10 + length

    def _read(self, member: Any, n: int) -> bytes:
        data = member.read(n)
        if len(data) != n:
            raise invalid(self.where, "it ends too early")
        return data
