"""What every source can do: list a directory, and open a file for reading at any offset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

REGULAR = "f"
DIRECTORY = "d"
KINDS = {
    REGULAR: "regular file",
    DIRECTORY: "directory",
    "l": "symbolic link",
    "s": "socket",
    "p": "named pipe",
    "c": "character device",
    "b": "block device",
    "?": "file of unknown type",
}


class Entry(NamedTuple):
    """One name in a directory, as a scan saw it.

    `name` is escaped as in `core.paths`, `size` is in bytes, `modified_at` in microseconds since 1970, `tag` is the source's
    own change mark (an S3 ETag) where it has one, `kind` is a key of KINDS.
    """

    name: str
    kind: str
    size: int
    modified_at: int
    tag: str | None = None


class Stat(NamedTuple):
    """What tells that a file has changed: `size` in bytes, `modified_at` in microseconds since 1970."""

    size: int
    modified_at: int


class SourceFile(Protocol):
    """An open source file; it may be read from several threads at once."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; empty at the end. Raises FileError."""
        ...

    def stat(self) -> Stat:
        """Size and time as they are now, by name rather than by descriptor. Raises Vanished when the name is gone."""
        ...

    def close(self) -> None: ...


class Source(Protocol):
    """A tree of files. Paths are escaped, relative, '/'-separated; '' is the root."""

    def check(self) -> None:
        """Raises UsageError when the source is missing, is no directory or cannot be read."""
        ...

    def scan(self, directory: str) -> Iterator[Entry]:
        """The entries of one directory in no order. Raises FileError; Vanished when the directory is gone."""
        ...

    def open(self, path: str) -> SourceFile:
        """Open a regular file. Raises FileError; Vanished when it is gone, Permanent when it cannot be read."""
        ...

    def physical_path(self, path: str) -> str:
        """The path a storage resource knows this file by. Raises Permanent where it has none that iRODS can hold."""
        ...
