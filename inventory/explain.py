"""All that is known about one file or directory, and what happens to it next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from core.settings import JobSettings
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


_FILE = """
    SELECT f.state::text AS state, f.kind::text AS kind, f.size, f.modified_at, f.source_tag, f.checksum, f.generation,
        f.discovered_at, f.load_started_at, f.load_finished_at, f.load_attempts, f.verify_started_at, f.verify_finished_at,
        f.verify_attempts, f.verify_level::text AS verify_level, f.deleted_at, f.reloads, f.reaps, f.begun, f.shard,
        f.retry_at = 'infinity' AS settling, nullif(f.retry_at, 'infinity') AS retry_at, f.claimed_by,
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
_LIVE = """
    SELECT kind::text AS kind, count(*)::int AS pods FROM inventory.worker
    WHERE stopped_at IS NULL AND expired_at IS NULL GROUP BY kind
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
        pods = {row.kind: row.pods for row in connection.execute(text(_LIVE))}
        shown = dict(directory) if directory is not None else None
        if found is not None:
            said, at = next_of_file(job, dict(found), shown or {}, pods)
        elif itself is not None:
            said, at = next_of_directory(job, dict(itself), pods)
        else:
            said, at = _unknown(connection, job, path)
        return Explained(job, path, dict(found) if found is not None else None, shown, attempts, said, at)


def _attempts(connection: Connection, directory: int, name: str | None) -> list[Attempt]:
    rows = connection.execute(text(_ATTEMPTS), {"directory": directory, "name": name, "limit": ATTEMPTS_SHOWN}).all()
    return [Attempt(**row._mapping) for row in rows]


def _halted(job: Job) -> str | None:
    if job.state == "running":
        return None
    how = {"finished": f"`ingest job rescan {job.name}` looks again"}.get(
        job.state, f"`ingest job resume {job.name}` goes on"
    )
    return f"nothing: the job is {job.state}; {how}"


def next_of_file(
    job: Job, file: dict[str, Any], directory: dict[str, Any], pods: dict[str, int]
) -> tuple[str, datetime | None]:
    """What happens next to a file, and when that is known."""
    settings: JobSettings = job.settings
    state = file["state"]
    if state in ("loading", "verifying", "deleting"):
        gone = file["held_expired_at"] is not None
        return (
            f"pod {file['held_by']} is {state} it"
            + (", but was declared dead: it is taken back within seconds" if gone else ""),
            None,
        )
    if state == "dead":
        return "nothing by itself: a dead letter waits for a person; remove the cause, then `ingest retry`", None
    if state == "verified":
        return _after_verified(job, directory)
    if state == "skipped":
        return "nothing: by the job's rules there is nothing to do for it, until it changes at the source", None
    if state == "deleted":
        return "nothing: it is gone from the source and its object is removed", None
    if state == "vanished" and settings.delete_mode == "do_not_delete":
        return "nothing: it is gone from the source, and the job deletes nothing", None
    if halted := _halted(job):
        return halted, None
    if file["settling"]:
        return (
            f"it is looked at again, and offered once it was unchanged for {settings.settle_seconds:g} s",
            directory.get("next_scan_at"),
        )
    kind, what = {
        "discovered": ("loader", "loads"),
        "loaded": ("verifier", "verifies"),
        "vanished": ("loader", "deletes"),
    }[state]
    if file["retry_at"] is not None:
        return f"it backs off after a failed attempt; then a {kind} {what} it", file["retry_at"]
    if not pods.get(kind):
        return f"nothing before a {kind} pod runs: there is none now", None
    blocked = ""
    if state == "discovered" and directory.get("collection_dead"):
        blocked = "; its collection could not be made: see its directory's attempts"
    suspect = "; workers died over it, so it is run alone" if file["reaps"] >= 2 else ""
    return f"the next free one of {pods[kind]} {kind} pods {what} it{suspect}{blocked}", None


def _after_verified(job: Job, directory: dict[str, Any]) -> tuple[str, datetime | None]:
    if job.state == "running" and directory.get("next_scan_at") is not None:
        return "nothing more to do; its directory is scanned again for changes", directory["next_scan_at"]
    return "nothing more to do", None


def next_of_directory(job: Job, directory: dict[str, Any], pods: dict[str, int]) -> tuple[str, datetime | None]:
    """What happens next to a directory, and when that is known."""
    if directory["state"] == "scanning":
        return f"pod {directory['scanned_by']} is scanning it", None
    if directory["state"] == "dead":
        return "nothing by itself: it could not be scanned; remove the cause, then `ingest retry`", None
    if halted := _halted(job):
        return halted, None
    if directory["collection_dead"] and directory["state"] != "vanished":
        return "its collection could not be made; remove the cause, then `ingest retry`", None
    if directory["next_scan_at"] is None:
        return "nothing more to do", None
    if job.settings.manifest is not None:
        return f"its manifest is being read; if that broke off: `ingest job add {job.name} FILE`", None
    if not pods.get("watcher"):
        return "nothing before a watcher pod runs: there is none now", directory["next_scan_at"]
    return "a watcher scans it", directory["next_scan_at"]


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
