"""What every source can do: list a directory, and open a file for reading at any offset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

REGULAR = "f"
DIRECTORY = "d"
EXCLUDED = "x"
"""No kind of file: an entry that the job's filters leave out. Only its name counts, for what is listed has not vanished."""
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


UNKNOWN = (0, -62_135_596_800_000_000)
"""Size and time of an entry that can be listed, and not looked at: whoever opens the file tells what is wrong with it."""


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


PROMISE = "checksum="
"""A change mark that begins with this is no ETag, but what a manifest promises: the file's checksum, as iRODS writes it."""


class Stat(NamedTuple):
    """What tells that a file has changed: `size` in bytes, `modified_at` in microseconds since 1970, `tag` as in `Entry`."""

    size: int
    modified_at: int
    tag: str | None = None

    def is_like(self, other: Stat) -> bool:
        """Whether nothing tells the two apart; a tag that only one of them has tells nothing, nor does a promise."""
        tags = {tag for tag in (self.tag, other.tag) if tag and not tag.startswith(PROMISE)}
        return self[:2] == other[:2] and len(tags) < 2

    def held_to(self, other: Stat) -> Stat:
        """The same, with the promise that the other one carries, if any."""
        return self._replace(tag=other.tag) if other.tag and other.tag.startswith(PROMISE) else self


class Keys(NamedTuple):
    """A part of a very large directory: names in the order of their UTF-8 bytes beyond `after`, up to and with `until`.

    `after` is '' at the directory's beginning, `until` None at its end. Names are the source's own, not escaped; a
    directory's name ends in '/'.
    """

    after: str = ""
    until: str | None = None


WHOLE = Keys()


class SourceFile(Protocol):
    """An open source file; it may be read from several threads at once."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; empty at the end. Raises FileError."""
        ...

    def stat(self) -> Stat:
        """Size and time as they are now, by name rather than by descriptor. Raises Vanished when the name is gone.

        A source that reads one version of a file or fails may answer with what that version is.
        """
        ...

    def promise(self) -> str | None:
        """The checksum, in iRODS notation, that the bytes read must have; None where the source knows none."""
        ...

    def checksum(self) -> str | None:
        """The checksum of the bytes as the source itself keeps it, so that they need not be read for it; else None."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Placing(Protocol):
    """A source whose files can be named, and looked at one by one."""

    shared_suffix: str
    """What is added to the name of a file that shares its path with a directory; '' where that cannot be."""

    def place(self, name: bytes, bucket: str | None = None) -> tuple[str, str] | None:
        """The path of a file named as the source has it, and the last part of that name as `Keys` compares it.

        None when it stands for the root, or is of another `bucket` or prefix. A file without bytes whose last part is '' stands
        for the directory above it. Raises ValueError for a name that no file of the source can have.
        """
        ...

    def entry(self, path: str) -> Entry:
        """What is there now. Raises FileError; Vanished when nothing is."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """The entries of a directory, the rest of which can be cut into parts for others to list."""

    def divide(self) -> list[Keys]:
        """End the listing after what was read of it, and cut the rest into parts; [] when that is no use. Raises FileError.

        A few entries may still be to be taken from the iterator then.
        """
        ...


class Source(Protocol):
    """A tree of files. Paths are escaped, relative, '/'-separated; '' is the root."""

    def check(self) -> None:
        """Raises UsageError when the source is missing, is no directory or cannot be read."""
        ...

    def scan(self, directory: str, part: Keys = WHOLE) -> Iterator[Entry]:
        """The entries of one directory, or of a part of it, in no order. Raises FileError; Vanished when it is gone.

        Only a source whose iterators are `Divisible` is ever asked for a part.
        """
        ...

    def open(self, path: str, seen: Stat | None = None) -> SourceFile:
        """Open a regular file. Raises FileError; Vanished when it is gone, Permanent when it cannot be read.

        `seen` is what a scan saw of it: a source may hold back its look until the first byte is read, and then raises
        Changed for another version.
        """
        ...

    def physical_path(self, path: str) -> str:
        """The path a storage resource knows this file by. Raises Permanent where it has none that iRODS can hold."""
        ...
