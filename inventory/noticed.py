"""What a bucket tells of its objects, brought into the inventory.

A notice is never believed, but has the object looked at: one that is there is inserted as the next listing would have it. For one
that is not there its directory is listed soon, and the listing says what has vanished.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from core.errors import FileError, Outage, Overload, Transient
from core.filters import filter_of
from core.sources.base import DIRECTORY, Entry, Placing
from core.sources.notices import Notice
from inventory import named
from inventory.engine import Database
from inventory.jobs import Job
from inventory.named import Named

LOOKS = 16
"""Objects that are looked at at the same time."""


@dataclass
class Looked:
    """What notices have led to: files that are there, and (directory, key) of what is not or cannot be looked at."""

    files: list[Named] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)


def place(source: Placing, notice: Notice) -> tuple[str, str] | None:
    """Path and last part of the key, where a notice is of this source. Raises ValueError for a key that is no text."""
    return source.place(notice.key.encode(), notice.bucket)


def look(source: Placing, job: Job, notices: Sequence[Notice]) -> Looked:
    """Look at what notices name; no SQL is spoken. Raises Outage, Overload and Transient: then they are to be told again."""
    looked, wanted = Looked(), filter_of(job.settings)
    removed = {place(source, one): one.removed for one in notices}  # the last word on each
    places = [one for one in removed if one is not None]
    looked.unknown += [(path.rpartition("/")[0], key) for path, key in places if removed[(path, key)]]
    created = [one for one in places if not removed[one]]
    with ThreadPoolExecutor(LOOKS) as pool:
        entries = pool.map(lambda one: _entry(source, one[0]), created)
        for (path, key), entry in zip(created, entries, strict=True):
            directory = path.rpartition("/")[0]
            if entry is None:
                looked.unknown.append((directory, key))
            elif wanted.takes(path, entry) and not wanted.leaves_out_below(directory):
                stands_for_directory = not key and not entry.size
                looked.files.append(
                    Named(directory, key, entry._replace(kind=DIRECTORY) if stands_for_directory else entry)
                )
    return looked


def _entry(source: Placing, path: str) -> Entry | None:
    try:
        return source.entry(path)
    except (Outage, Overload, Transient):
        raise
    except FileError:
        return None


def bring(database: Database, job: Job, source: Placing, looked: Looked) -> set[tuple[str, str]]:
    """Have the inventory hold what was looked at; safe to repeat. The (directory, key) of what is to be told again later."""
    later: set[tuple[str, str]] = set()
    if looked.files:
        added = named.add(
            database,
            job.id,
            looked.files,
            shared_suffix=source.shared_suffix,
            settle_seconds=job.settings.settle_seconds,
        )
        later = {(one.directory, one.key) for one in added.later}
    if looked.unknown:
        named.look_at(database, job.id, looked.unknown)
    return later
