"""Discovery: directories claimed for scanning, and listings merged into the inventory.

A listing goes by COPY into a temporary table and from there by anti-join, so that an unchanged rescan writes nothing at all.
Only what is not claimed is ever changed here: a file that changes while it is being loaded keeps its row, with the old size
and time, until the loader is done with it, so that the next scan sees the difference.

Every statement asks whether this worker still owns the directory: a watcher that was taken for dead changes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from core.errors import Unavailable
from core.sources.base import Entry
from inventory.engine import Database
from inventory.workers import ALIVE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CHANGED = "(f.size, f.modified_at, f.kind) IS DISTINCT FROM (l.size, l.modified_at, l.kind)"
_CHANGED += " OR f.source_tag IS DISTINCT FROM l.tag OR f.state IN ('vanished', 'deleted')"


@dataclass(frozen=True, slots=True)
class ClaimedDirectory:
    """A directory to scan.

    `path` is escaped and relative to the job's source, '' for its root. `first` means that no scan of it was ever begun
    before, so that nothing in the inventory can have changed or vanished.
    """

    id: int
    job_id: int
    shard: int
    path: str
    attempts: int
    first: bool


def claim(database: Database, worker: int, jobs: Sequence[int], limit: int) -> list[ClaimedDirectory]:
    """Claim up to `limit` directories that are due, the longest overdue first."""
    if not jobs:
        return []
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                WITH alive AS MATERIALIZED ({ALIVE}), due AS MATERIALIZED (
                    SELECT d.id, d.scan_started_at IS NULL AS first FROM inventory.directory d
                    WHERE d.job_id = ANY(:jobs) AND d.state IN ('pending', 'scanned') AND d.next_scan_at <= now()
                      AND EXISTS (SELECT FROM alive)
                    ORDER BY d.next_scan_at, d.id LIMIT :limit FOR UPDATE OF d SKIP LOCKED)
                UPDATE inventory.directory d
                SET state = 'scanning', claimed_by = :worker, scan_started_at = now()
                FROM due WHERE d.id = due.id
                RETURNING d.id, d.job_id, d.shard, d.path, d.attempts, due.first"""),
            {"worker": worker, "jobs": list(jobs), "limit": limit},
        )
        return [ClaimedDirectory(r.id, r.job_id, r.shard, r.path, r.attempts, r.first) for r in rows]


class Merge:
    """One transaction that brings listings into the inventory.

    `settle_seconds` above 0 holds back files younger than that, or changed since the last look, until a later look finds
    them unchanged; their directories are due again so much later.
    """

    def __init__(self, connection: Connection, worker: int, settle_seconds: float = 0) -> None:
        self._connection = connection
        self._worker = worker
        self._settle = settle_seconds
        self._unsettled: set[int] = set()
        connection.execute(
            text(
                "CREATE TEMP TABLE IF NOT EXISTS listing (directory_id bigint, size bigint, modified_at timestamptz,"
                ' kind "char", name text COLLATE "C", tag text) ON COMMIT DELETE ROWS'
            )
        )
        connection.execute(
            text(
                'CREATE TEMP TABLE IF NOT EXISTS seen (directory_id bigint, name text COLLATE "C") ON COMMIT PRESERVE ROWS'
            )
        )

    def add(self, listings: Iterable[tuple[ClaimedDirectory, Sequence[Entry]]]) -> int:
        """Insert what is new and send back to `discovered` what has changed. Returns how many entries were read."""
        rows = io.StringIO()
        count = 0
        shards: dict[int, bool] = {}  # shard: whether all its directories are new
        for directory, entries in listings:
            count += len(entries)
            shards[directory.shard] = shards.get(directory.shard, True) and directory.first
            rows.writelines(_copy_line(directory.id, entry) for entry in entries)
        rows.seek(0)
        cursor = self._connection.connection.cursor()
        cursor.copy_expert("COPY listing (directory_id, kind, size, modified_at, name, tag) FROM STDIN", rows)
        for shard, first in shards.items():
            if not first:
                self._update_changed(shard)
                self._release_settled(shard)
            self._insert_new(shard, first)
        self._insert_directories()
        return count

    def remember(self, *, first_part: bool) -> None:
        """Keep the names of this part of a directory that is too large for one transaction."""
        if first_part:
            self._run("TRUNCATE seen")
        self._run("INSERT INTO seen SELECT directory_id, name FROM listing")

    def finish(self, directory: ClaimedDirectory, next_scan_seconds: float | None, *, remembered: int = 0) -> bool:
        """End the scan of a directory listed completely: mark what is gone, make it due again. False when fenced.

        `remembered` is the number of names in all its parts, 0 where it came in one. Raises Unavailable when the connection
        broke between the parts, and the memory of them with it.
        """
        if not directory.first:
            if remembered:
                self._check_remembered(directory, remembered)
            self._mark_vanished(directory, "seen" if remembered else "listing")
        due = [s for s in (next_scan_seconds, self._settle if self._is_unsettled(directory) else None) if s is not None]
        done = self._run(
            """
            UPDATE inventory.directory SET state = 'scanned', claimed_by = NULL, attempts = 0, scan_finished_at = now(),
                next_scan_at = now() + make_interval(secs => :due)
            WHERE id = :id AND claimed_by = :worker""",
            id=directory.id,
            due=min(due) if due else None,
        )
        return done == 1

    def vanish(self, directory: ClaimedDirectory) -> bool:
        """End the scan of a directory that is gone: so is everything below it. False when fenced."""
        self._mark_vanished(directory, "listing")
        done = self._run(
            """
            UPDATE inventory.directory SET state = 'vanished', claimed_by = NULL, attempts = 0, scan_finished_at = now(),
                next_scan_at = NULL
            WHERE id = :id AND claimed_by = :worker""",
            id=directory.id,
        )
        return done == 1

    def _check_remembered(self, directory: ClaimedDirectory, remembered: int) -> None:
        kept = self._connection.execute(
            text("SELECT count(*) FROM seen WHERE directory_id = :id"), {"id": directory.id}
        )
        if kept.scalar_one() != remembered:
            raise Unavailable("the inventory's connection broke within a listing", "the directory is scanned again")

    def _run(self, statement: str, **values: object) -> int:
        return self._connection.execute(
            text(statement), values | {"worker": self._worker, "settle": self._settle}
        ).rowcount

    def _insert_new(self, shard: int, first: bool) -> None:
        known = "" if first else "AND NOT EXISTS (SELECT FROM inventory.file f WHERE f.shard = :shard"
        known += "" if first else " AND f.directory_id = l.directory_id AND f.name = l.name)"
        self._run(
            f"""
            INSERT INTO inventory.file (shard, directory_id, name, kind, size, modified_at, source_tag, state, retry_at)
            SELECT d.shard, l.directory_id, l.name, l.kind, l.size, l.modified_at, l.tag,
                   CASE l.kind WHEN 'f' THEN 'discovered' ELSE 'skipped' END::inventory.file_state,
                   CASE WHEN l.kind = 'f' AND :settle > 0 AND l.modified_at > now() - make_interval(secs => :settle)
                        THEN 'infinity'::timestamptz END
            FROM listing l JOIN inventory.directory d ON d.id = l.directory_id
            WHERE d.shard = :shard AND d.claimed_by = :worker AND l.kind <> 'd' {known}
            ON CONFLICT DO NOTHING""",
            shard=shard,
        )

    def _update_changed(self, shard: int) -> None:
        self._run(
            f"""
            UPDATE inventory.file f
            SET state = CASE l.kind WHEN 'f' THEN 'discovered' ELSE 'skipped' END::inventory.file_state,
                retry_at = CASE WHEN l.kind = 'f' AND :settle > 0 THEN 'infinity'::timestamptz END,
                generation = f.generation + 1, discovered_at = now(), kind = l.kind,
                size = l.size, modified_at = l.modified_at, source_tag = l.tag, checksum = NULL,
                load_attempts = 0, verify_attempts = 0, reloads = 0, reaps = 0,
                load_started_at = NULL, load_finished_at = NULL, verify_started_at = NULL, verify_finished_at = NULL,
                loaded_by = NULL, verified_by = NULL, deleted_at = NULL
            FROM listing l JOIN inventory.directory d ON d.id = l.directory_id
            WHERE f.shard = :shard AND f.directory_id = l.directory_id AND f.name = l.name AND f.claimed_by IS NULL
              AND d.shard = :shard AND d.claimed_by = :worker AND ({_CHANGED})""",
            shard=shard,
        )

    def _release_settled(self, shard: int) -> None:
        if not self._settle:
            return
        self._run(
            """
            UPDATE inventory.file f SET retry_at = NULL
            FROM listing l JOIN inventory.directory d ON d.id = l.directory_id
            WHERE f.shard = :shard AND f.directory_id = l.directory_id AND f.name = l.name
              AND f.state = 'discovered' AND f.retry_at = 'infinity'
              AND f.discovered_at <= now() - make_interval(secs => :settle)
              AND (f.size, f.modified_at) IS NOT DISTINCT FROM (l.size, l.modified_at)
              AND d.shard = :shard AND d.claimed_by = :worker""",
            shard=shard,
        )

    def _is_unsettled(self, directory: ClaimedDirectory) -> bool:
        if not self._settle:
            return False
        waiting = self._connection.execute(
            text("""
                SELECT EXISTS (SELECT FROM inventory.file WHERE shard = :shard AND directory_id = :id
                               AND state = 'discovered' AND retry_at = 'infinity')"""),
            {"shard": directory.shard, "id": directory.id},
        )
        return bool(waiting.scalar())

    def _insert_directories(self) -> None:
        self._run("""
            WITH shards AS (SELECT job_id, array_agg(id ORDER BY id) AS ids FROM inventory.shard GROUP BY job_id),
            child AS MATERIALIZED (
                SELECT p.job_id, p.id AS parent_id, CASE p.path WHEN '' THEN l.name ELSE p.path || '/' || l.name END AS path
                FROM listing l JOIN inventory.directory p ON p.id = l.directory_id
                WHERE p.claimed_by = :worker AND l.kind = 'd'),
            back AS (
                UPDATE inventory.directory d SET state = 'pending', next_scan_at = now(), collection_made_at = NULL
                FROM child WHERE d.job_id = child.job_id AND d.path = child.path AND d.state = 'vanished')
            INSERT INTO inventory.directory (job_id, parent_id, shard, path)
            SELECT c.job_id, c.parent_id, s.ids[1 + (hashtext(c.path)::bigint & 2147483647) % cardinality(s.ids)], c.path
            FROM child c JOIN shards s USING (job_id)
            WHERE NOT EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = c.job_id AND d.path = c.path)
            ON CONFLICT DO NOTHING""")

    def _mark_vanished(self, directory: ClaimedDirectory, names: str) -> None:
        # both sides of this anti-join can be millions of names of one directory
        self._connection.execute(text("SET LOCAL enable_hashjoin = on"))
        self._run(
            f"""
            UPDATE inventory.file f SET state = 'vanished', retry_at = NULL
            WHERE f.shard = :shard AND f.directory_id = :id AND f.claimed_by IS NULL
              AND f.state NOT IN ('vanished', 'deleted')
              AND EXISTS (SELECT FROM inventory.directory d WHERE d.id = :id AND d.claimed_by = :worker)
              AND NOT EXISTS (SELECT FROM {names} l WHERE l.directory_id = f.directory_id AND l.name = f.name)""",
            shard=directory.shard,
            id=directory.id,
        )
        # a child that is gone is scanned once more: the scan finds nothing, and so all below it vanishes the same way
        self._run(
            f"""
            UPDATE inventory.directory c SET state = 'pending', next_scan_at = now()
            FROM inventory.directory p
            WHERE p.id = :id AND p.claimed_by = :worker AND c.parent_id = p.id AND c.state IN ('scanned', 'dead')
              AND NOT EXISTS (SELECT FROM {names} l WHERE l.directory_id = p.id
                              AND c.path = CASE p.path WHEN '' THEN l.name ELSE p.path || '/' || l.name END)""",
            id=directory.id,
        )
        self._connection.execute(text("SET LOCAL enable_hashjoin = off"))


def fail(
    database: Database,
    worker: int,
    directory: ClaimedDirectory,
    error: str,
    message: str,
    *,
    retry_seconds: float | None,
) -> bool:
    """Note that a directory could not be scanned; None leaves it to a person. False when fenced."""
    with database.begin() as connection:
        done = connection.execute(
            text("""
                WITH failed AS (
                    UPDATE inventory.directory SET claimed_by = NULL, attempts = attempts + 1,
                        state = CASE WHEN CAST(:retry AS float) IS NULL THEN 'dead' ELSE 'pending' END::inventory.directory_state,
                        next_scan_at = now() + make_interval(secs => :retry)
                    WHERE id = :id AND claimed_by = :worker RETURNING id, shard, attempts)
                INSERT INTO inventory.failure
                    (directory_id, worker_id, shard, attempt, permanent, stage, error, message)
                SELECT id, :worker, shard, attempts, CAST(:retry AS float) IS NULL, 'scan', :error, :message FROM failed"""),
            {"id": directory.id, "worker": worker, "retry": retry_seconds, "error": error, "message": message},
        )
        return done.rowcount == 1


def has_children(database: Database, directory: int) -> bool:
    """Whether anything was ever found in a directory."""
    with database.begin() as connection:
        found = connection.execute(
            text("""
                SELECT EXISTS (SELECT FROM inventory.directory WHERE parent_id = :id)
                    OR EXISTS (SELECT FROM inventory.file WHERE directory_id = :id)"""),
            {"id": directory},
        )
        return bool(found.scalar())


def release(database: Database, worker: int, directories: Sequence[int]) -> None:
    """Give directories back uncounted."""
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.directory SET claimed_by = NULL, state = 'pending', next_scan_at = now()
                WHERE id = ANY(:ids) AND claimed_by = :worker"""),
            {"ids": list(directories), "worker": worker},
        )


def _copy_line(directory: int, entry: Entry) -> str:
    stamp = (_EPOCH + timedelta(microseconds=entry.modified_at)).isoformat()
    tag = "\\N" if entry.tag is None else _escaped(entry.tag)
    return f"{directory}\t{entry.kind}\t{entry.size}\t{stamp}\t{_escaped(entry.name)}\t{tag}\n"


def _escaped(value: str) -> str:
    """A value in COPY's text format."""
    if "\\" in value or "\t" in value or "\n" in value or "\r" in value:
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return value
