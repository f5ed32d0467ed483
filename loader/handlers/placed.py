"""Sources whose files have another physical path for the server than for us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.paths import checked_physical
from core.sources.base import WHOLE, Entry, Keys, Source, SourceFile, Stat


class Placed:
    """A source, and by path what an event handler's `target_path` has said of its files; `places` is the caller's to change."""

    def __init__(self, source: Source, places: Mapping[str, str]) -> None:
        self._source = source
        self._places = places

    def check(self) -> None:
        self._source.check()

    def scan(self, directory: str, part: Keys = WHOLE) -> Iterator[Entry]:
        return self._source.scan(directory, part)

    def open(self, path: str, seen: Stat | None = None) -> SourceFile:
        return self._source.open(path, seen)

    def physical_path(self, path: str) -> str:
        if path in self._places:
            return checked_physical(path, self._places[path])
        return self._source.physical_path(path)
