"""Files to try things on: the same ones each time, every one with content of its own."""

from __future__ import annotations

import random
from pathlib import Path

from core.errors import UsageError

FILES_IN_A_DIRECTORY = 100


def make_files(folder: Path, count: int, size: int) -> int:
    """Make `count` files of `size` bytes below `folder`; those that are whole already are left alone.

    Returns how many were made. Raises UsageError when the folder cannot be written.
    """
    made = 0
    try:
        for number in range(count):
            path = folder / f"set-{number // FILES_IN_A_DIRECTORY:05}" / f"file-{number:07}.bin"
            if not _is_whole(path, size):
                _write(path, random.Random(number).randbytes(size))
                made += 1
    except OSError as error:
        raise UsageError(
            f"cannot make files in {folder}: {error.strerror}", "name a folder that may be written"
        ) from None
    return made


def _is_whole(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_bytes(content)
    unfinished.rename(path)
