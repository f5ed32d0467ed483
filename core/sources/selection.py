"""What a job wants of its source: the filters applied, and nothing vanishes while the sentinel is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from core.errors import Outage, UsageError, Vanished
from core.filters import excluded, filter_of
from core.settings import JobSettings
from core.sources.base import WHOLE, Divisible, Entry, Keys, Source, SourceFile, Stat
from core.sources.filesystem import FilesystemSource
from core.sources.promised import Promised


@runtime_checkable
class _Asked(Protocol):
    """A source that tells at little cost whether it has a path."""

    def exists(self, path: str) -> bool:
        """Raises FileError when nobody can say."""
        ...


@runtime_checkable
class _Dated(Protocol):
    def directory_modified_at(self, directory: str) -> int: ...


def selected(source: Source, settings: JobSettings) -> Source:
    """The source as the job wants it; itself where the job takes all. Raises UsageError for a bad pattern."""
    source = linked(source, settings)
    if settings.manifest is not None:
        source = Promised(source)
    if filter_of(settings).takes_all and settings.sentinel is None:
        return source
    # by its own time a directory tells nothing of ages, nor of what links lead to
    dated = isinstance(source, _Dated) and not filter_of(settings).by_age and settings.symlinks != "follow"
    return _DatedSelection(source, settings) if dated else Selection(source, settings)


def linked(source: Source, settings: JobSettings) -> Source:
    """The source with links as the job wants them: those it has, and those that its files are registered by."""
    if not isinstance(source, FilesystemSource):
        return source
    if settings.symlinks == "follow":
        source = source.following()
    return source if settings.link_folder is None else source.linking(settings.link_folder)


class Selection:
    """A source behind a job's filters and its sentinel."""

    def __init__(self, source: Source, settings: JobSettings) -> None:
        self._source = source
        self._filter = filter_of(settings)
        self._sentinel = settings.sentinel

    def check(self) -> None:
        self._source.check()
        if not self._is_present():
            raise UsageError(f"the source has no {self._sentinel}", "mount it, or name another job.sentinel")

    def scan(self, directory: str, part: Keys = WHOLE) -> Iterator[Entry]:
        entries = self._source.scan(directory) if part == WHOLE else self._source.scan(directory, part)
        chosen = self._chosen(directory, entries)
        return _DivisibleChoice(chosen, entries) if isinstance(entries, Divisible) else chosen

    def _chosen(self, directory: str, entries: Iterator[Entry]) -> Iterator[Entry]:
        with self._while_present():
            takes, above = self._filter.takes, f"{directory}/" if directory else ""
            for entry in entries:
                yield entry if takes(above + entry.name, entry) else excluded(entry)

    def open(self, path: str, seen: Stat | None = None) -> SourceFile:
        with self._while_present(before=False):
            return self._source.open(path, seen)

    def physical_path(self, path: str) -> str:
        return self._source.physical_path(path)

    @contextmanager
    def _while_present(self, *, before: bool = True) -> Iterator[None]:
        """Turn what is found without the sentinel, at its beginning or at its end, into an outage."""
        if before:
            self._demand()
        try:
            yield
        except Vanished:
            self._demand()
            raise
        if before:
            self._demand()

    def _demand(self) -> None:
        if not self._is_present():
            raise Outage("sentinel_missing", f"the source has no {self._sentinel} now", "is it mounted?")

    def _is_present(self) -> bool:
        if self._sentinel is None:
            return True
        if isinstance(self._source, _Asked):
            return self._source.exists(self._sentinel)
        try:
            self._source.open(self._sentinel).close()
        except Vanished:
            return False
        return True


class _DatedSelection(Selection):
    """The same where directories have a time of their own."""

    def directory_modified_at(self, directory: str) -> int:
        """When a name was last added or taken away, in microseconds since 1970. Raises FileError."""
        assert isinstance(self._source, _Dated)
        with self._while_present():
            return self._source.directory_modified_at(directory)


class _DivisibleChoice(Iterator[Entry]):
    """What is chosen of a listing that can be cut into parts."""

    def __init__(self, chosen: Iterator[Entry], entries: Divisible) -> None:
        self._chosen = chosen
        self._entries = entries

    def __next__(self) -> Entry:
        return next(self._chosen)

    def divide(self) -> list[Keys]:
        """End the listing after what was read so far, and cut the rest into parts. Raises FileError."""
        return self._entries.divide()
