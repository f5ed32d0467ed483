"""Directories scanned into batches of a bounded size. No SQL is spoken here: this runs in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

from core.errors import FileError, IngestError
from core.sources.base import Entry, Source
from inventory import rows
from inventory.listing import ClaimedDirectory, Listing


@runtime_checkable
class Dated(Protocol):
    """A source whose directories have a time of their own."""

    def directory_modified_at(self, directory: str) -> int:
        """When a name was last added or taken away, in microseconds since 1970. Raises FileError."""
        ...


@dataclass(slots=True)
class Complete:
    """Small directories, each listed completely, for one transaction."""

    job: int
    listings: list[Listing]


@dataclass(slots=True)
class Part:
    """A part of a directory that is too large for one transaction; `last` parts may be empty."""

    job: int
    listing: Listing
    last: bool


@dataclass(slots=True)
class Passed:
    """Directories not listed, because their own time is the one of their last two scans."""

    job: int
    directories: list[ClaimedDirectory]


@dataclass(slots=True)
class Failed:
    """A directory that could not be listed."""

    directory: ClaimedDirectory
    error: IngestError


Batch = Complete | Part | Passed | Failed


class Scan:
    """The scan of some directories of one job; iterating it lists them.

    `rows` is the size of a batch in entries, `trusting` whether a directory's own time says that it has not changed.
    """

    def __init__(
        self, job: int, source: Source, directories: Sequence[ClaimedDirectory], size: int, trusting: bool
    ) -> None:
        self._job = job
        self._source = source
        self._directories = directories
        self._size = size
        self._dated = source if trusting and isinstance(source, Dated) else None

    def __iter__(self) -> Iterator[Batch]:
        listings: list[Listing] = []
        passed: list[ClaimedDirectory] = []
        count = 0
        for directory in self._directories:
            try:
                modified_at = self._dated.directory_modified_at(directory.path) if self._dated else None
                if modified_at is not None and modified_at == directory.steady_at:
                    passed.append(directory)
                    continue
                entries = iter(self._source.scan(directory.path))
                listing = Listing(directory, list(islice(entries, self._size)))
            except FileError as error:
                yield Failed(directory, error)
                continue
            if len(listing) == self._size:
                yield from self._parts(directory, listing, entries)
                continue
            listing.digest, listing.modified_at = rows.digest_of(listing.entries), modified_at
            if listing.digest != directory.digest:  # the same as last time needs no rows
                rows.encode(listing)
            if count + len(listing) > self._size:
                yield Complete(self._job, listings)
                listings, count = [], 0
            listings.append(listing)
            count += len(listing)
        if listings:
            yield Complete(self._job, listings)
        if passed:
            yield Passed(self._job, passed)

    def _parts(self, directory: ClaimedDirectory, part: Listing, rest: Iterator[Entry]) -> Iterator[Batch]:
        """A directory too large for one batch: a transaction for each part, and the last one ends it."""
        try:
            while len(part):
                rows.encode(part)
                yield Part(self._job, part, last=False)
                part = Listing(directory, list(islice(rest, self._size)))
            yield Part(self._job, part, last=True)
        except FileError as error:
            yield Failed(directory, error)
