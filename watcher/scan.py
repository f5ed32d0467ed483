"""Directories scanned into batches of a bounded size. No SQL is spoken here: this runs in a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol, runtime_checkable

from core.errors import FileError, IngestError
from core.sources.base import WHOLE, Divisible, Entry, Keys, Source
from inventory import rows
from inventory.below import Reserve
from inventory.listing import ClaimedDirectory, Listing
from inventory.looks import Seen
from inventory.rows import Found

DESCEND_SECONDS = 1.0
"""How long what is found is listed at once; after that it waits, so that other watchers have work too."""


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
    entries: int = 0

    def add(self, listing: Listing) -> None:
        self.listings.append(listing)
        self.entries += len(listing)


@dataclass(slots=True)
class Part:
    """A part of a directory that is too large for one transaction; `last` parts may be empty."""

    job: int
    listing: Listing
    last: bool


@dataclass(slots=True)
class Unchanged:
    """Directories that were looked at, and their listing is still the last one.

    Or they were not even listed, their own time being the one of their last two scans. `entries` counts what was listed.
    """

    job: int
    seen: list[Seen]
    entries: int = 0


@dataclass(slots=True)
class Failed:
    """A directory that could not be listed."""

    directory: ClaimedDirectory
    error: IngestError


@dataclass(slots=True)
class Divided:
    """The beginning of a very large directory that was never scanned, and the parts that its rest was cut into."""

    job: int
    listing: Listing
    parts: list[Keys]


Batch = Complete | Part | Divided | Unchanged | Failed


class Size(NamedTuple):
    """The size of a batch: entries, and directories."""

    entries: int
    directories: int


class Scan:
    """The scan of some directories of one job; iterating it lists them.

    `trusting` says whether a directory's own time tells that it has not changed. With a `reserve`, what is found below a
    directory that was never scanned is listed too, as far as it fits into the same batch and for DESCEND_SECONDS; what is left
    waits for any watcher.
    """

    def __init__(
        self,
        job: int,
        source: Source,
        directories: Sequence[ClaimedDirectory],
        size: Size,
        trusting: bool,
        reserve: Reserve | None = None,
    ) -> None:
        self._job = job
        self._source = source
        self._directories = directories
        self._size = size
        self._dated = source if trusting and isinstance(source, Dated) else None
        self._reserve = reserve
        self._descend_until = 0.0

    def __iter__(self) -> Iterator[Batch]:
        self._descend_until = time.monotonic() + DESCEND_SECONDS
        batch = Complete(self._job, [])
        same = Unchanged(self._job, [])
        for directory in self._directories:
            if len(same.seen) >= self._size.directories:
                yield same
                same = Unchanged(self._job, [])
            try:
                modified_at = self._modified_at(directory)
                if modified_at is not None and modified_at == directory.steady_at and directory.look:
                    same.seen.append(Seen(directory, modified_at))
                    continue
                entries = iter(self._entries(directory))
                listed = list(islice(entries, self._size.entries))
                if directory.look and self._is_same(directory, listed):
                    same.seen.append(Seen(directory, modified_at))
                    same.entries += len(listed)
                    continue
                listing = Listing(directory, listed)
                divided = self._divide(listing, entries)
            except FileError as error:
                yield Failed(directory, error)
                continue
            if divided:
                yield divided
                continue
            if len(listing) == self._size.entries:
                yield from self._parts(directory, listing, entries)
                continue
            listing.digest, listing.modified_at = rows.digest_of(listing.entries), modified_at
            if listing.digest != directory.digest:  # the same as last time needs no rows
                rows.encode(listing)
            if batch.entries + len(listing) > self._size.entries or len(batch.listings) >= self._size.directories:
                yield batch
                batch = Complete(self._job, [])
            batch.add(listing)
            self._descend(listing, batch)
        if batch.listings:
            yield batch
        if same.seen:
            yield same

    def _is_same(self, directory: ClaimedDirectory, listed: Sequence[Entry]) -> bool:
        """Whether this is a complete listing and the last one; an empty root is for the watcher's loop to judge."""
        if not (listed or directory.path) or len(listed) >= self._size.entries:
            return False
        return rows.digest_of(listed) == directory.digest

    def _entries(self, directory: ClaimedDirectory) -> Iterator[Entry]:
        if directory.part == WHOLE:
            return self._source.scan(directory.path)
        return self._source.scan(directory.path, directory.part)

    def _divide(self, listing: Listing, entries: Iterator[Entry]) -> Divided | None:
        """Cut what is left of a directory into parts, where the source can and nothing of it is in the inventory yet."""
        whole_batch = len(listing) == self._size.entries
        if not (
            whole_batch and listing.directory.first and isinstance(entries, Divisible) and (parts := entries.divide())
        ):
            return None
        whole = Listing(listing.directory, [*listing.entries, *entries])
        whole.digest = rows.digest_of(whole.entries)
        rows.encode(whole)
        return Divided(self._job, whole, parts)

    def _modified_at(self, directory: ClaimedDirectory) -> int | None:
        return self._dated.directory_modified_at(directory.path) if self._dated else None

    def _descend(self, top: Listing, batch: Complete) -> None:
        """List what was just found below a directory that was never scanned, depth first, while there is room and time."""
        if self._reserve is None or not top.directory.first:
            return
        waiting = [(top.directory, name) for name in reversed(dict.fromkeys(top.children))]
        while waiting and self._has_room(batch) and self._reserve.ids and time.monotonic() < self._descend_until:
            parent, name = waiting.pop()
            directory = self._reserve.directory(parent, name)
            try:
                modified_at = self._modified_at(directory)
                entries = list(islice(self._source.scan(directory.path), self._size.entries))
            except FileError:
                continue  # told, counted and tried again when it is claimed
            if len(entries) == self._size.entries:
                return  # comes in parts, and so may those beside it: they are for whoever claims them
            listing = Listing(directory, entries, rows.digest_of(entries), modified_at)
            listing.found = Found(parent.id, top.directory.id)
            rows.encode(listing)
            batch.add(listing)
            waiting += [(directory, name) for name in reversed(dict.fromkeys(listing.children))]

    def _has_room(self, batch: Complete) -> bool:
        return batch.entries < self._size.entries and len(batch.listings) < self._size.directories

    def _parts(self, directory: ClaimedDirectory, part: Listing, rest: Iterator[Entry]) -> Iterator[Batch]:
        """A directory too large for one batch: a transaction for each part, and the last one ends it."""
        try:
            while len(part):
                rows.encode(part)
                yield Part(self._job, part, last=False)
                part = Listing(directory, list(islice(rest, self._size.entries)))
            yield Part(self._job, part, last=True)
        except FileError as error:
            yield Failed(directory, error)
