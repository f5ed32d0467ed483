"""Discovery: directories claimed for scanning, and listings merged into the inventory.

A listing goes by COPY into a temporary table and from there by anti-join, so that an unchanged rescan writes nothing at all.
Only what is not claimed is ever changed here: a file that changes while it is being loaded keeps its row, with the old size
and time, until the loader is done with it, so that the next scan sees the difference.

Every statement asks whether this worker still owns the directory: a watcher that was taken for dead changes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, text

from core.errors import Unavailable
from core.sources.base import DIRECTORY, Entry
from inventory.engine import Database
from inventory.workers import ALIVE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KNOWN = """
    SELECT size, modified_at, kind, source_tag, state, claimed_by, retry_at FROM inventory.file
    WHERE shard = :shard AND directory_id = l.directory_id AND name = l.name OFFSET 0
"""
_CHANGED = """
    (f.size, f.modified_at, f.kind) IS DISTINCT FROM (l.size, l.modified_at, l.kind)
    OR f.source_tag IS DISTINCT FROM l.tag OR f.state IN ('vanished', 'deleted')
"""
_THESE = """
    FROM unnest(CAST(:directories AS bigint[]), CAST(:names AS text[])) AS k(directory_id, name)
    JOIN listing l ON l.directory_id = k.directory_id AND l.name = k.name
    WHERE f.shard = :shard AND f.directory_id = k.directory_id AND f.name = k.name AND f.claimed_by IS NULL
"""
_UPDATE_CHANGED = f"""
    UPDATE inventory.file f
    SET state = CASE l.kind WHEN 'f' THEN 'discovered' ELSE 'skipped' END::inventory.file_state,
        retry_at = CASE WHEN l.kind = 'f' AND :settle > 0 THEN 'infinity'::timestamptz END,
        generation = f.generation + 1, discovered_at = now(), kind = l.kind,
        size = l.size, modified_at = l.modified_at, source_tag = l.tag, checksum = NULL,
        load_attempts = 0, verify_attempts = 0, reloads = 0, reaps = 0,
        load_started_at = NULL, load_finished_at = NULL, verify_started_at = NULL, verify_finished_at = NULL,
        verified_by = NULL, deleted_at = NULL
    {_THESE}
"""
_MARK_VANISHED = """
    UPDATE inventory.file f SET state = 'vanished', retry_at = NULL
    FROM unnest(CAST(:directories AS bigint[]), CAST(:names AS text[])) AS k(directory_id, name)
    WHERE f.shard = :shard AND f.directory_id = k.directory_id AND f.name = k.name AND f.claimed_by IS NULL
"""
VANISHED_AT_A_TIME = 10_000
_RELEASE_SETTLED = f"""
    UPDATE inventory.file f SET retry_at = NULL
    {_THESE} AND f.state = 'discovered' AND f.retry_at = 'infinity'
        AND f.discovered_at <= now() - make_interval(secs => :settle)
"""
_INSERT_DIRECTORIES = """
    WITH shards AS MATERIALIZED (
        SELECT job_id, array_agg(id ORDER BY id) AS ids FROM inventory.shard WHERE job_id = ANY(:jobs) GROUP BY job_id),
    child AS MATERIALIZED (
        SELECT c.*, known.id AS known FROM unnest(CAST(:parents AS bigint[]), CAST(:jobs AS int[]), CAST(:paths AS text[]))
            AS c(parent_id, job_id, path)
        LEFT JOIN LATERAL (SELECT id FROM inventory.directory d WHERE d.job_id = c.job_id AND d.path = c.path OFFSET 0) known
            ON true),
    back AS (
        UPDATE inventory.directory SET state = 'pending', next_scan_at = now(), collection_made_at = NULL
        WHERE id IN (SELECT known FROM child) AND state = 'vanished')
    INSERT INTO inventory.directory (job_id, parent_id, shard, path)
    SELECT c.job_id, c.parent_id, s.ids[1 + (hashtext(c.path)::bigint & 2147483647) % cardinality(s.ids)], c.path
    FROM child c JOIN shards s USING (job_id) WHERE c.known IS NULL
    ON CONFLICT DO NOTHING
"""


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
        self._run(
            "CREATE TEMP TABLE IF NOT EXISTS listing (directory_id bigint, size bigint, modified_at timestamptz, shard int,"
            ' kind "char", name text COLLATE "C", tag text) ON COMMIT DELETE ROWS'
        )
        self._run(
            'CREATE TEMP TABLE IF NOT EXISTS seen (directory_id bigint, name text COLLATE "C") ON COMMIT PRESERVE ROWS'
        )

    def add(self, listings: Sequence[tuple[ClaimedDirectory, Sequence[Entry]]]) -> int:
        """Insert what is new and send back to `discovered` what has changed. Returns how many entries were read.

        Directories that are no longer this worker's are left out.
        """
        owned = self._owned([directory.id for directory, _ in listings])
        mine = [(directory, entries) for directory, entries in listings if directory.id in owned]
        self._copy(mine)
        for shard in sorted({directory.shard for directory, _ in mine}):
            first = all(directory.first for directory, _ in mine if directory.shard == shard)
            if not first:
                self._update_changed(shard)
            self._insert_new(shard, first)
        self._insert_directories(
            [(d, entry.name) for d, entries in mine for entry in entries if entry.kind == DIRECTORY]
        )
        return sum(len(entries) for _, entries in mine)

    def _owned(self, directories: list[int]) -> set[int]:
        """Those of them that are this worker's still, locked so that they stay so until the end of the transaction."""
        rows = self._connection.execute(
            text("""
                SELECT id FROM inventory.directory WHERE id = ANY(:ids) AND claimed_by = :worker
                ORDER BY id FOR NO KEY UPDATE"""),
            {"ids": directories, "worker": self._worker},
        )
        return set(rows.scalars())

    def _copy(self, listings: Sequence[tuple[ClaimedDirectory, Sequence[Entry]]]) -> None:
        rows = io.StringIO()
        for directory, entries in listings:
            head = f"{directory.id}\t{directory.shard}"
            rows.writelines(_copy_line(head, entry) for entry in entries)
        rows.seek(0)
        cursor = self._connection.connection.cursor()
        cursor.copy_expert("COPY listing (directory_id, shard, kind, size, modified_at, name, tag) FROM STDIN", rows)

    def remember(self, *, first_part: bool) -> None:
        """Keep the names of this part of a directory that is too large for one transaction."""
        if first_part:
            self._run("TRUNCATE seen")
        self._run("INSERT INTO seen SELECT directory_id, name FROM listing")

    def finish(
        self, directories: Sequence[ClaimedDirectory], next_scan_seconds: float | None, *, remembered: int = 0
    ) -> list[int]:
        """End the scan of directories listed completely: mark what is gone, make them due again.

        Returns the ids of those that were still this worker's. `remembered` is the number of names in all parts of a
        directory that came in parts, 0 otherwise. Raises Unavailable when the connection broke between the parts, and the
        memory of them with it.
        """
        if remembered:
            self._check_remembered(directories[0], remembered)
        owned = self._owned([directory.id for directory in directories])
        known = [directory for directory in directories if directory.id in owned and not directory.first]
        if known:
            self._mark_vanished(known, "seen" if remembered else "listing")
        unsettled = self._unsettled([directory.id for directory in directories])
        rows = self._connection.execute(
            text("""
                UPDATE inventory.directory SET state = 'scanned', claimed_by = NULL, attempts = 0, scan_finished_at = now(),
                    next_scan_at = now() + make_interval(secs => least(
                        CAST(:next AS float), CASE WHEN id = ANY(:unsettled) THEN CAST(:settle AS float) END))
                WHERE id = ANY(:ids) AND claimed_by = :worker RETURNING id"""),
            {
                "ids": [directory.id for directory in directories],
                "worker": self._worker,
                "next": next_scan_seconds,
                "settle": self._settle,
                "unsettled": unsettled,
            },
        )
        return list(rows.scalars())

    def vanish(self, directory: ClaimedDirectory) -> bool:
        """End the scan of a directory that is gone: so is everything below it. False when fenced."""
        if not self._owned([directory.id]):
            return False
        self._mark_vanished([directory], "listing")
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
        # the fence (OFFSET 0) makes this one index lookup a name, whatever the planner believes of a table that was
        # just filled and never analysed
        known = f"LEFT JOIN LATERAL ({_KNOWN}) f ON true WHERE f.size IS NULL AND" if not first else "WHERE"
        self._run(
            f"""
            INSERT INTO inventory.file (shard, directory_id, name, kind, size, modified_at, source_tag, state, retry_at)
            SELECT l.shard, l.directory_id, l.name, l.kind, l.size, l.modified_at, l.tag,
                   CASE l.kind WHEN 'f' THEN 'discovered' ELSE 'skipped' END::inventory.file_state,
                   CASE WHEN l.kind = 'f' AND :settle > 0 AND l.modified_at > now() - make_interval(secs => :settle)
                        THEN 'infinity'::timestamptz END
            FROM listing l {known} l.shard = :shard AND l.kind <> 'd'
            ON CONFLICT DO NOTHING""",
            shard=shard,
        )

    def _update_changed(self, shard: int) -> None:
        """Send changed files back to `discovered`, and let go of settled ones."""
        rows = self._connection.execute(
            text(f"""
                SELECT l.directory_id, l.name, ({_CHANGED}) AS changed
                FROM listing l JOIN LATERAL ({_KNOWN}) f ON true
                WHERE l.shard = :shard AND l.kind <> 'd' AND f.claimed_by IS NULL
                  AND ({_CHANGED} OR :settle > 0 AND f.state = 'discovered' AND f.retry_at = 'infinity')"""),
            {"shard": shard, "settle": self._settle},
        ).all()
        changed = [row for row in rows if row.changed]
        if changed:
            self._run(_UPDATE_CHANGED, shard=shard, **_keys(changed))
        if len(changed) < len(rows):
            self._run(_RELEASE_SETTLED, shard=shard, **_keys([row for row in rows if not row.changed]))

    def _unsettled(self, directories: list[int]) -> list[int]:
        if not self._settle:
            return []
        waiting = self._connection.execute(
            text("""
                SELECT d.id FROM inventory.directory d WHERE d.id = ANY(:ids) AND EXISTS (
                    SELECT FROM inventory.file f WHERE f.shard = d.shard AND f.directory_id = d.id
                    AND f.state = 'discovered' AND f.retry_at = 'infinity')"""),
            {"ids": directories},
        )
        return list(waiting.scalars())

    def _insert_directories(self, children: Sequence[tuple[ClaimedDirectory, str]]) -> None:
        if children:
            self._run(
                _INSERT_DIRECTORIES,
                parents=[parent.id for parent, _ in children],
                jobs=[parent.job_id for parent, _ in children],
                paths=[f"{parent.path}/{name}" if parent.path else name for parent, name in children],
            )

    def _mark_some_vanished(self, shard: int, directories: list[int], names: str) -> int:
        gone = self._connection.execute(
            text(f"""
                SELECT f.directory_id, f.name FROM unnest(CAST(:ids AS bigint[])) AS d(id)
                JOIN LATERAL (
                    SELECT directory_id, name FROM inventory.file
                    WHERE shard = :shard AND directory_id = d.id AND claimed_by IS NULL
                      AND state NOT IN ('vanished', 'deleted') OFFSET 0) f ON true
                WHERE NOT EXISTS (SELECT FROM {names} l WHERE l.directory_id = f.directory_id AND l.name = f.name)
                LIMIT {VANISHED_AT_A_TIME}"""),
            {"shard": shard, "ids": directories},
        ).all()
        if gone:
            self._run(_MARK_VANISHED, shard=shard, **_keys(gone))
        return len(gone)

    def _mark_vanished(self, directories: Sequence[ClaimedDirectory], names: str) -> None:
        # both sides of these anti-joins can be millions of names of one directory; a temporary table has no index to go by
        self._run("SET LOCAL enable_hashjoin = on; SET LOCAL enable_seqscan = on")
        for shard in sorted({directory.shard for directory in directories}):
            ids = [directory.id for directory in directories if directory.shard == shard]
            while self._mark_some_vanished(shard, ids, names) == VANISHED_AT_A_TIME:
                pass
        # a child that is gone is scanned once more: the scan finds nothing, and so all below it vanishes the same way
        self._run(
            f"""
            UPDATE inventory.directory c SET state = 'pending', next_scan_at = now()
            FROM inventory.directory p
            WHERE p.id = ANY(:ids) AND p.claimed_by = :worker AND c.parent_id = p.id AND c.state IN ('scanned', 'dead')
              AND NOT EXISTS (SELECT FROM {names} l WHERE l.directory_id = p.id
                              AND c.path = CASE p.path WHEN '' THEN l.name ELSE p.path || '/' || l.name END)""",
            ids=[directory.id for directory in directories],
        )
        self._run("SET LOCAL enable_hashjoin = off; SET LOCAL enable_seqscan = off")


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


def _keys(rows: Sequence[Row[Any]]) -> dict[str, list[object]]:
    return {"directories": [row.directory_id for row in rows], "names": [row.name for row in rows]}


def _copy_line(head: str, entry: Entry) -> str:
    stamp = (_EPOCH + timedelta(microseconds=entry.modified_at)).isoformat()
    tag = "\\N" if entry.tag is None else _escaped(entry.tag)
    return f"{head}\t{entry.kind}\t{entry.size}\t{stamp}\t{_escaped(entry.name)}\t{tag}\n"


def _escaped(value: str) -> str:
    """A value in COPY's text format."""
    if "\\" in value or "\t" in value or "\n" in value or "\r" in value:
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return value
