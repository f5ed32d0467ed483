"""The queue of directories: claimed by watchers, ended by a merge, given back, or failed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from inventory.engine import Database
from inventory.workers import ALIVE, MAY_RUN


@dataclass(frozen=True, slots=True)
class ClaimedDirectory:
    """A directory to scan.

    `path` is escaped and relative to the job's source, '' for its root. `first` means that no scan of it was ever begun
    before, so that nothing in the inventory can have changed or vanished. `digest` is that of its last listing, where the
    rows agree with it. `steady_at` is the directory's own time in microseconds since 1970, where the last two scans found
    the same time and the same listing.
    """

    id: int
    job_id: int
    shard: int
    path: str
    attempts: int
    first: bool
    digest: int | None = None
    steady_at: int | None = None

    def below(self, name: str) -> str:
        """The path of a directory in this one."""
        return f"{self.path}/{name}" if self.path else name


def claim(database: Database, worker: int, jobs: Sequence[int], limit: int) -> list[ClaimedDirectory]:
    """Claim up to `limit` directories that are due, the longest overdue of a job first; jobs come in any order."""
    claimed: list[ClaimedDirectory] = []
    if not jobs:
        return claimed
    with database.begin() as connection:
        for job in random.sample(list(jobs), len(jobs)):  # so that none waits for another one's end
            if len(claimed) < limit:
                claimed += _claim_of(connection, worker, job, limit - len(claimed))
    return claimed


def _claim_of(connection: Connection, worker: int, job: int, limit: int) -> list[ClaimedDirectory]:
    # one job at a time: its due directories come in the order of the index, without a sort of all that are due
    rows = connection.execute(
        text(f"""
            WITH alive AS MATERIALIZED ({ALIVE}), due AS MATERIALIZED (
                SELECT d.id, d.scan_started_at IS NULL AS first FROM inventory.directory d
                WHERE d.job_id = :job AND d.state IN ('pending', 'scanned') AND d.next_scan_at <= now()
                  AND EXISTS (SELECT FROM alive) AND EXISTS (SELECT FROM inventory.job j WHERE j.id = :job AND {MAY_RUN})
                ORDER BY d.next_scan_at, d.id LIMIT :limit FOR UPDATE OF d SKIP LOCKED)
            UPDATE inventory.directory d
            SET state = 'scanning', claimed_by = :worker, scan_started_at = now()
            FROM due WHERE d.id = due.id
            RETURNING d.id, d.job_id, d.shard, d.path, d.attempts, due.first, d.listing_digest AS digest,
                CASE WHEN d.steady AND d.listing_digest IS NOT NULL THEN d.modified_at END AS steady_at"""),
        {"worker": worker, "job": job, "limit": limit},
    )
    return [ClaimedDirectory(*row) for row in rows]


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


def has_children(database: Database, directory: ClaimedDirectory) -> bool:
    """Whether anything was ever found in a directory."""
    with database.begin() as connection:
        found = connection.execute(
            text("""
                SELECT EXISTS (SELECT FROM inventory.directory WHERE parent_id = :id)
                    OR EXISTS (SELECT FROM inventory.file WHERE shard = :shard AND directory_id = :id)"""),
            {"id": directory.id, "shard": directory.shard},
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


def release_all(database: Database, worker: int) -> None:
    """Give back uncounted whatever this worker has claimed, also by a claim whose answer was lost."""
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.directory SET claimed_by = NULL, state = 'pending', next_scan_at = now()
                WHERE claimed_by = :worker"""),
            {"worker": worker},
        )


def unlearn(connection: Connection, directories: Sequence[int]) -> None:
    """Forget the listings of directories whose rows no longer agree with them, so that the next scan compares every name.

    To be called before any row of a file is locked: a merge takes the same locks in the same order.
    """
    connection.execute(
        text("""
            WITH these AS MATERIALIZED (
                SELECT id FROM inventory.directory WHERE id = ANY(:ids) AND listing_digest IS NOT NULL
                ORDER BY id FOR NO KEY UPDATE)
            UPDATE inventory.directory d SET listing_digest = NULL, steady = false FROM these WHERE d.id = these.id"""),
        {"ids": sorted(set(directories))},
    )
