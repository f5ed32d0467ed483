"""A manifest as a source that lists what it names, directory by directory, in a file instead of in memory: for plans.

The manifests of a job that exists are what the inventory has of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from core.sources.base import DIRECTORY, WHOLE, Entry, Keys, Source, SourceFile, Stat
from inventory import audit_rows
from inventory.engine import Database
from inventory.named import Named

_TABLES = """
    CREATE TABLE directory (path TEXT PRIMARY KEY, above TEXT, name TEXT) WITHOUT ROWID;
    CREATE INDEX directory_above ON directory (above);
    CREATE TABLE file (above TEXT, name TEXT, kind TEXT, size INT, modified_at INT, tag TEXT,
        PRIMARY KEY (above, name)) WITHOUT ROWID;
"""
_FILES = """
    SELECT f.name || CASE WHEN d.path IS NULL THEN '' ELSE ? END, f.kind, f.size, f.modified_at, f.tag
    FROM file f LEFT JOIN directory d ON d.path = CASE f.above WHEN '' THEN f.name ELSE f.above || '/' || f.name END
    WHERE f.above = ?
"""
_GONE = ("vanished", "deleting", "deleted")


class Manifested:
    """The files that a manifest names, of a source that is asked for nothing but where they lie; of a name told twice the last."""

    def __init__(self, source: Source, shared_suffix: str) -> None:
        self._source = source
        self._suffix = shared_suffix
        self._file = sqlite3.connect("", isolation_level=None)  # '': a temporary file, once its page cache is full
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.executescript(_TABLES)
        self._file.execute("BEGIN")

    def add(self, files: Iterable[Named]) -> None:
        """Add files, and directories by themselves, with all directories above them."""
        above: set[str] = set()
        rows = []
        for one in files:
            above.add(one.directory)
            if one.entry.kind != DIRECTORY:
                rows.append((one.directory, *one.entry))
        self._file.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._file.executemany("INSERT OR IGNORE INTO directory VALUES (?, ?, ?)", _all_above(above))

    def check(self) -> None:
        """As of the source."""
        self._source.check()

    def scan(self, directory: str, part: Keys = WHOLE) -> Iterator[Entry]:
        """What is named of a directory; of a part all of it."""
        for row in self._file.execute(_FILES, (self._suffix, directory)):
            yield Entry(*row)
        for (name,) in self._file.execute("SELECT name FROM directory WHERE above = ?", (directory,)):
            yield Entry(name, DIRECTORY, 0, 0)

    def open(self, path: str, seen: Stat | None = None) -> SourceFile:
        """As of the source."""
        return self._source.open(path, seen)

    def physical_path(self, path: str) -> str:
        """As of the source."""
        return self._source.physical_path(path)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def of_job(database: Database, job: int, source: Source) -> Manifested:
    """What the manifests of a job have named so far, without what was found to be gone. Raises Unavailable."""
    made = Manifested(source, "")  # the names in the inventory are apart already
    try:
        for directory in audit_rows.directories(database, job):
            made.add([Named(directory.path, "", Entry("", DIRECTORY, 0, 0))])
            rows = (row for row in audit_rows.files(database, directory) if row.state not in _GONE)
            made.add(
                Named(directory.path, "", Entry(row.name, row.kind, row.size, row.modified_at, row.tag)) for row in rows
            )
    except BaseException:
        made.close()
        raise
    return made


def _all_above(paths: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    seen: set[str] = set()
    for path in paths:
        while path and path not in seen:
            seen.add(path)
            above, _, name = path.rpartition("/")
            yield path, above, name
            path = above
