"""All that is known about one file or directory, and what happens to it next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from core.sources.urls import source_path
from inventory import outlook
from inventory.engine import Database
from inventory.jobs import Job

ATTEMPTS_SHOWN = 50
"""The failed attempts that are told of, the latest ones."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt. `permanent` means that it was the last one."""

    failed_at: datetime
    stage: str
    attempt: int
    generation: int
    permanent: bool
    error: str
    message: str
    pod: str | None


@dataclass(frozen=True)
class Explained:
    """What is known of one path of one job.

    `path` is escaped and relative to the source. `file` and `directory` are the columns of their rows, None where there is no
    such row; `directory` is the one that holds the file, or the path itself. `next_at` is None where nothing is planned.
    """

    job: Job
    path: str
    file: dict[str, Any] | None
    directory: dict[str, Any] | None
    attempts: Sequence[Attempt]
    next: str
    next_at: datetime | None = None

    @property
    def place(self) -> str:
        """Where it is at the source, as a person would type it: a path, or s3://bucket/key with the key as it is.

        Bytes that are no UTF-8 are lone surrogates, as in Python's own file names.
        """
        place = os.fsdecode(source_path(self.job.source_url, self.path))
        place = place if self.path else place.rstrip("/") or "/"
        return f"s3:/{place}" if self.job.source_url.startswith("s3://") else place


_FILE = """
    SELECT f.state::text AS state, f.kind::text AS kind, f.size, f.modified_at, f.source_tag, f.checksum, f.generation,
        f.discovered_at, f.load_started_at, f.load_finished_at, f.load_attempts, f.verify_started_at, f.verify_finished_at,
        f.verify_attempts, f.verify_level::text AS verify_level, f.deleted_at, f.reloads, f.reaps, f.begun, f.shard,
        f.retry_at = 'infinity' AS settling, nullif(f.retry_at, 'infinity') AS retry_at, f.retry_at <= now() AS due,
        f.vanished_at, f.claimed_by,
        h.pod AS held_by, h.heartbeat_at AS held_heartbeat_at, h.expired_at AS held_expired_at, l.pod AS loaded_by,
        v.pod AS verified_by
    FROM inventory.file f
    LEFT JOIN inventory.worker h ON h.id = f.claimed_by
    LEFT JOIN inventory.worker l ON l.id = f.loaded_by
    LEFT JOIN inventory.worker v ON v.id = f.verified_by
    WHERE f.shard = :shard AND f.directory_id = :directory AND f.name = :name
"""
_DIRECTORY = """
    SELECT d.id, d.path, d.shard, d.state::text AS state, d.scan_started_at, d.scan_finished_at, d.next_scan_at, d.attempts,
        w.pod AS scanned_by, d.collection_made_at, d.collection_retry_at, d.collection_attempts, d.collection_dead,
        m.pod AS collection_held_by
    FROM inventory.directory d
    LEFT JOIN inventory.worker w ON w.id = d.claimed_by
    LEFT JOIN inventory.worker m ON m.id = d.collection_claimed_by
    WHERE d.job_id = :job AND d.path = :path
"""
_ATTEMPTS = """
    SELECT x.failed_at, x.stage, x.attempt, x.generation, x.permanent, x.error, x.message, w.pod
    FROM inventory.failure x LEFT JOIN inventory.worker w ON w.id = x.worker_id
    WHERE x.directory_id = :directory AND x.name IS NOT DISTINCT FROM CAST(:name AS text)
    ORDER BY x.id DESC LIMIT :limit
"""


def explain(database: Database, job: Job, path: str) -> Explained:
    """What is known of an escaped path relative to the job's source; also when that is nothing."""
    parent, _, name = path.rpartition("/")
    with database.begin() as connection:
        holder = connection.execute(text(_DIRECTORY), {"job": job.id, "path": parent}).mappings().first()
        found = None
        if holder is not None and path:
            keys = {"shard": holder["shard"], "directory": holder["id"], "name": name}
            found = connection.execute(text(_FILE), keys).mappings().first()
        itself = connection.execute(text(_DIRECTORY), {"job": job.id, "path": path}).mappings().first()
        directory = holder if found is not None or itself is None else itself
        attempts: list[Attempt] = []
        if directory is not None and (found is not None or itself is not None):
            attempts = _attempts(connection, directory["id"], name if found is not None else None)
        shown = dict(directory) if directory is not None else None
        if found is not None:
            said, at = outlook.of_file(job, dict(found), shown or {}, outlook.around(connection, job))
        elif itself is not None:
            said, at = outlook.of_directory(job, dict(itself), outlook.around(connection, job))
        else:
            said, at = _unknown(connection, job, path)
        return Explained(job, path, dict(found) if found is not None else None, shown, attempts, said, at)


def _attempts(connection: Connection, directory: int, name: str | None) -> list[Attempt]:
    rows = connection.execute(text(_ATTEMPTS), {"directory": directory, "name": name, "limit": ATTEMPTS_SHOWN}).all()
    return [Attempt(**row._mapping) for row in rows]


def _unknown(connection: Connection, job: Job, path: str) -> tuple[str, datetime | None]:
    """Nothing of that path is in the inventory: which directory above it is, and when that is scanned."""
    above = path
    while above:
        above = above.rpartition("/")[0]
        row = connection.execute(text(_DIRECTORY), {"job": job.id, "path": above}).mappings().first()
        if row is not None:
            where = above or "the root of the source"
            if row["scan_finished_at"] is None:
                return f"it is not in the inventory yet: {where} has not been scanned", row["next_scan_at"]
            scanned = f"{row['scan_finished_at']:%Y-%m-%d %H:%M:%S} UTC"
            return f"it was not there when {where} was scanned at {scanned}", row["next_scan_at"]
    return "it is not in the inventory", None
