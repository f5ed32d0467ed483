"""A source whose files have another physical path for the server than for us."""

from __future__ import annotations

from collections.abc import Iterator

from core.sources.base import WHOLE, Entry, Keys, Source, SourceFile, Stat


class Placed:
    """A source, and what an event handler's `target_path` has said of its files."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._places: dict[str, str] = {}

    def place(self, path: str, physical: str | None) -> None:
        """Give a file another physical path; None: the source's own."""
        if physical is None:
            self._places.pop(path, None)
        else:
            self._places[path] = physical

    def clear(self) -> None:
        """Forget the files of the work before."""
        self._places.clear()

    def check(self) -> None:
        self._source.check()

    def scan(self, directory: str, part: Keys = WHOLE) -> Iterator[Entry]:
        return self._source.scan(directory, part)

    def open(self, path: str, seen: Stat | None = None) -> SourceFile:
        return self._source.open(path, seen)

    def physical_path(self, path: str) -> str:
        return self._places[path] if path in self._places else self._source.physical_path(path)
