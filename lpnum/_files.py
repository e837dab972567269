"""Files written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends, and leaves no trace if the block fails.

    The new file is written beside the target (a rename is atomic only within one file system).

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written, or the target is something else than a file.
    """
    target = Path(os.path.realpath(path))  # a symbolic link stays one
    if target.exists() and not target.is_file():
        raise OSError(f"cannot write {path}: it exists and is not a file")
    scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        file = open(scratch, "xb")  # noqa: SIM115 (closed below, before the rename)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from error
    try:
        with file:
            yield file
        os.replace(scratch, target)
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise
