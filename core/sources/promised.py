"""What a manifest promises of a file: its checksum travels in the file's change mark, and is compared with what is read."""

from __future__ import annotations

from collections.abc import Iterator

from core.checksums import same, scheme_of
from core.sources.base import PROMISE, WHOLE, Entry, Keys, Source, SourceFile, Stat


def promise_tag(checksum: str) -> str:
    """The change mark of a file of which a manifest gives the checksum, in the notation of iRODS."""
    return PROMISE + checksum


class Promised:
    """A source whose files are held to the checksums in their change marks."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def check(self) -> None:
        self._source.check()

    def scan(self, directory: str, part: Keys = WHOLE) -> Iterator[Entry]:
        return self._source.scan(directory) if part == WHOLE else self._source.scan(directory, part)

    def open(self, path: str, seen: Stat | None = None) -> SourceFile:
        if seen is None or seen.tag is None or not seen.tag.startswith(PROMISE):
            return self._source.open(path, seen)
        return _File(self._source.open(path), seen.tag)

    def physical_path(self, path: str) -> str:
        return self._source.physical_path(path)


class _File:
    def __init__(self, file: SourceFile, tag: str) -> None:
        self._file = file
        self._tag = tag
        self._promise = tag.removeprefix(PROMISE)

    def read_at(self, offset: int, length: int) -> bytes:
        return self._file.read_at(offset, length)

    def stat(self) -> Stat:
        return self._file.stat()._replace(tag=self._tag)

    def promise(self) -> str | None:
        return self._promise

    def checksum(self) -> str | None:
        """Only what agrees with the promise; else the bytes have to be read, and are compared with it."""
        known = self._file.checksum()
        agrees = known is not None and scheme_of(known) == scheme_of(self._promise) and same(known, self._promise)
        return known if agrees else None

    def close(self) -> None:
        self._file.close()
