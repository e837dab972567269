"""Files written whole or not at all: a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


def is_path(file: Any) -> bool:
    """Whether `file` names a file, and is not one."""
    return isinstance(file, str | bytes | os.PathLike)


class _Forward:
    """The caller's file object, of which nothing is used but writing on: compressors and pipes cannot go back."""

    def __init__(self, file: Any) -> None:
        self.write = file.write
        self.flush = getattr(file, "flush", lambda: None)


@contextmanager
def writing(file: Any, where: str) -> Iterator[Any]:
    """A binary file object to write to: the caller's own, or for a path one that takes the path's place at the end.

    Pipes and devices are written to directly.
    """
    if not is_path(file):
        if not hasattr(file, "write"):
            raise TypeError(f"{where}: expected a path or a binary file object, not {type(file).__name__}")
        yield _Forward(file)
        return
    path = Path(os.fsdecode(file))
    special = path.exists() and not path.is_file() and not path.is_dir()
    with open(path, "wb") if special else atomic_writer(path) as stream:
        yield stream


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends, and leaves no trace if the block fails.

    The new file is written beside the target (a rename is atomic only within one file system), flushed to the disk and
    renamed. It has the permissions of the old file, else the usual ones.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written, or the target is something else than a file.
    """
    target = Path(os.path.realpath(path))  # a symbolic link stays one
    if target.exists() and not target.is_file():
        raise OSError(f"cannot write {path}: it exists and is not a file")
    scratch = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        file = open(scratch, "xb")  # noqa: SIM115 (closed below, before the rename)
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror}") from error
    try:
        with file:
            if target.exists():
                os.chmod(scratch, target.stat().st_mode & 0o7777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, target)
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk as well, where the system allows it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
