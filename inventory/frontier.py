"""The directories and collections that are still to be looked at, in the order of their paths, in a file instead of in memory.

Whoever takes the first one and adds what is right below it gets all in order, for what is below sorts after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

_TABLE = """
    CREATE TABLE due (path TEXT PRIMARY KEY, at_source INT, in_irods INT, directory INT, shard INT, blocked TEXT DEFAULT '',
        unknown INT DEFAULT 0) WITHOUT ROWID
"""
_ADD = """
    INSERT INTO due (path, at_source, in_irods, directory, shard, blocked) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (path) DO UPDATE SET at_source = max(at_source, excluded.at_source), in_irods = max(in_irods, excluded.in_irods),
        directory = coalesce(excluded.directory, directory), shard = coalesce(excluded.shard, shard),
        blocked = max(blocked, excluded.blocked)
"""


class Place(NamedTuple):
    """A path relative to source and target, and who has it: the source, iRODS, the inventory (as directory and shard).

    `blocked` is the logical path of a data object that has the name of this collection, or of one above it. `unknown`: it is,
    or is below, a directory that was not listed, so nobody can say what the source has.
    """

    path: str
    at_source: bool = False
    in_irods: bool = False
    directory: int | None = None
    shard: int | None = None
    blocked: str = ""
    unknown: bool = False


class Frontier:
    """Places, each path once; of several that are added under one path all that is said counts."""

    def __init__(self) -> None:
        # '' is a temporary database: SQLite keeps it in a file of its own as soon as its page cache is full
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute(_TABLE)
        self._file.execute("BEGIN")

    def add(self, places: Iterable[Place]) -> None:
        """Add places, none of them before one that was taken."""
        self._file.executemany(_ADD, (place[:6] for place in places))

    def take(self) -> Place | None:
        """The first place, which then is no more; None at the end."""
        row = self._file.execute("SELECT * FROM due ORDER BY path LIMIT 1").fetchone()
        if row is None:
            return None
        self._file.execute("DELETE FROM due WHERE path = ?", (row[0],))
        path, at_source, in_irods, directory, shard, blocked, unknown = row
        return Place(path, bool(at_source), bool(in_irods), directory, shard, blocked, bool(unknown))

    def is_collection(self, path: str) -> bool:
        """Whether iRODS has a collection at a path that was not taken yet."""
        found = self._file.execute("SELECT 1 FROM due WHERE path = ? AND in_irods = 1", (path,)).fetchone()
        return found is not None

    def forget(self, directory: str) -> None:
        """Mark a directory and all below it as unknown: '0' is the character after '/'."""
        if directory:
            bounds = (directory, f"{directory}/", f"{directory}0")
            self._file.execute("UPDATE due SET unknown = 1 WHERE path = ? OR path > ? AND path < ?", bounds)
        else:
            self._file.execute("UPDATE due SET unknown = 1")

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
