"""Directories as collections to make: claimed by loaders, parent before child, each made once and recorded.

Files do not wait for this: a loader that meets a file whose collection is not recorded makes it itself. What this adds is that
empty directories become collections too, and that the making is spread over the loaders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import text

from inventory.claims import Limits
from inventory.endings import NOTHING_OF_OURS, RELEASED_TO
from inventory.engine import Database
from inventory.workers import ALIVE


class ClaimedCollection(NamedTuple):
    """A directory whose collection is to be made; `path` is escaped and relative, '' for the job's target itself.

    `begun` means that a worker was about to make it before. `changed` means that the collection is made, and that only the
    event of its change is due. `attempts` are those that failed.
    """

    directory_id: int
    job_id: int
    shard: int
    path: str
    begun: bool = False
    changed: bool = False
    attempts: int = 0

    def __str__(self) -> str:
        return f"{self.path}/"


class Unmade(NamedTuple):
    """A collection that could not be made, and why; with `wait_seconds` an event handler has decided on the next attempt."""

    collection: ClaimedCollection
    error: str
    message: str
    permanent: bool
    wait_seconds: float | None = None


# one job after the other, each in the order of its index: of several at once, or joined with the parents, all were sorted
_JOBS = "unnest(CAST(:jobs AS int[])) AS j(id)"
# as a range, or the planner takes the order of the primary key for good enough, in which most directories are not wanted
_OF_JOB = "d.job_id BETWEEN j.id AND j.id"


def claim(database: Database, worker: int, jobs: Sequence[int], limit: int) -> list[ClaimedCollection]:
    """Claim up to `limit` directories without a collection whose parent has one, parents first."""
    if not jobs:
        return []
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                WITH alive AS MATERIALIZED ({ALIVE}), wanted AS MATERIALIZED (
                    SELECT w.id, w.begun FROM {_JOBS}, LATERAL (
                        SELECT d.id, d.collection_begun AS begun FROM inventory.directory d
                        WHERE {_OF_JOB} AND d.collection_made_at IS NULL AND NOT d.collection_dead
                          AND d.collection_claimed_by IS NULL AND d.state <> 'vanished'
                          AND (d.collection_retry_at IS NULL OR d.collection_retry_at <= now())
                          AND (d.parent_id IS NULL OR EXISTS (
                              SELECT FROM inventory.directory p
                              WHERE p.id = d.parent_id AND (p.collection_made_at IS NOT NULL OR p.collection_dead) OFFSET 0))
                        ORDER BY d.job_id, d.id LIMIT :limit FOR UPDATE OF d SKIP LOCKED) w
                    WHERE EXISTS (SELECT FROM alive) LIMIT :limit)
                UPDATE inventory.directory d SET collection_claimed_by = :worker, collection_begun = true
                FROM wanted WHERE d.id = wanted.id
                RETURNING d.id, d.job_id, d.shard, d.path, wanted.begun, false, d.collection_attempts"""),
            {"worker": worker, "jobs": list(jobs), "limit": limit},
        )
        return [ClaimedCollection(*row) for row in sorted(rows, key=lambda r: str(r.path))]


def claim_changed(database: Database, worker: int, jobs: Sequence[int], limit: int) -> list[ClaimedCollection]:
    """Claim up to `limit` directories that have changed since their collection was made, for the event of that."""
    if not jobs:
        return []
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                WITH alive AS MATERIALIZED ({ALIVE}), changed AS MATERIALIZED (
                    SELECT c.id FROM {_JOBS}, LATERAL (
                        SELECT d.id FROM inventory.directory d
                        WHERE {_OF_JOB} AND d.collection_changed AND d.collection_claimed_by IS NULL
                          AND NOT d.collection_dead AND (d.collection_retry_at IS NULL OR d.collection_retry_at <= now())
                        ORDER BY d.job_id, d.id LIMIT :limit FOR UPDATE OF d SKIP LOCKED) c
                    WHERE EXISTS (SELECT FROM alive) LIMIT :limit)
                UPDATE inventory.directory d SET collection_claimed_by = :worker
                FROM changed WHERE d.id = changed.id
                RETURNING d.id, d.job_id, d.shard, d.path, true, true, d.collection_attempts"""),
            {"worker": worker, "jobs": list(jobs), "limit": limit},
        )
        return [ClaimedCollection(*row) for row in rows]


def told(database: Database, worker: int, directories: Sequence[int]) -> None:
    """Record that the event of a change was heard; a further change seen meanwhile counts as heard with it."""
    if not directories:
        return
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.directory SET collection_changed = false, collection_claimed_by = NULL,
                    collection_attempts = 0, collection_retry_at = NULL
                WHERE id = ANY(:ids) AND collection_claimed_by = :worker"""),
            {"ids": list(directories), "worker": worker},
        )


def claim_gone(database: Database, worker: int, jobs: Sequence[int], limit: int) -> list[ClaimedCollection]:
    """Claim up to `limit` vanished directories in whose collection nothing of ours is left, for its removal.

    Only what the guard of deletions has cleared.
    """
    if not jobs:
        return []
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                WITH alive AS MATERIALIZED ({ALIVE}), gone AS MATERIALIZED (
                    SELECT g.id FROM inventory.job j, LATERAL (
                        SELECT d.id FROM inventory.directory d
                        WHERE {_OF_JOB} AND d.state = 'vanished' AND d.collection_made_at IS NOT NULL
                          AND d.scan_finished_at <= {RELEASED_TO}
                          AND d.collection_claimed_by IS NULL AND NOT d.collection_dead
                          AND (d.collection_retry_at IS NULL OR d.collection_retry_at <= now())
                          AND {NOTHING_OF_OURS}
                        ORDER BY d.job_id DESC, d.id DESC LIMIT :limit FOR UPDATE OF d SKIP LOCKED) g
                    WHERE j.id = ANY(:jobs) AND EXISTS (SELECT FROM alive) LIMIT :limit)
                UPDATE inventory.directory d SET collection_claimed_by = :worker
                FROM gone WHERE d.id = gone.id
                RETURNING d.id, d.job_id, d.shard, d.path, false, false, d.collection_attempts"""),
            {"worker": worker, "jobs": list(jobs), "limit": limit},
        )
        return [ClaimedCollection(*row) for row in rows]


def removed(database: Database, worker: int, directories: Sequence[int]) -> None:
    """Record that collections are not ours any more."""
    if not directories:
        return
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.directory SET collection_made_at = NULL, collection_claimed_by = NULL, collection_changed = false
                WHERE id = ANY(:ids) AND collection_claimed_by = :worker AND state = 'vanished'"""),
            {"ids": list(directories), "worker": worker},
        )


def made(database: Database, worker: int, directories: Sequence[int], changed: Sequence[int] = ()) -> None:
    """Record that collections exist, whoever claimed them: the fact is true for all. Of `changed` the event of that is due."""
    if not directories:
        return
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.directory SET collection_made_at = now(), collection_retry_at = NULL, collection_begun = false,
                    collection_attempts = 0, collection_changed = collection_changed OR id = ANY(:changed),
                    collection_claimed_by = nullif(collection_claimed_by, :worker)
                WHERE id = ANY(:ids) AND collection_made_at IS NULL"""),
            {"ids": list(directories), "changed": list(changed), "worker": worker},
        )


def release(database: Database, worker: int, directories: Sequence[int]) -> None:
    """Give claims back uncounted."""
    with database.begin() as connection:
        connection.execute(
            text(
                "UPDATE inventory.directory SET collection_claimed_by = NULL, collection_begun = false"
                " WHERE id = ANY(:ids) AND collection_claimed_by = :worker"
            ),
            {"ids": list(directories), "worker": worker},
        )


def keep(database: Database, worker: int, directories: Sequence[int]) -> None:
    """Give back whatever this worker has claimed besides these: claims whose answer was lost."""
    with database.begin() as connection:
        connection.execute(
            text(
                "UPDATE inventory.directory SET collection_claimed_by = NULL"
                " WHERE collection_claimed_by = :worker AND id <> ALL(:ids)"
            ),
            {"ids": list(directories), "worker": worker},
        )


def failed(database: Database, worker: int, unmade: Sequence[Unmade], limits: Limits) -> None:
    """Count a failed attempt for each, with its reason; back off, or leave it to a person."""
    with database.begin() as connection:
        for one in unmade:
            connection.execute(
                text("""
                    WITH failed AS (
                        UPDATE inventory.directory SET collection_claimed_by = NULL,
                            collection_attempts = collection_attempts + 1,
                            collection_dead = :permanent
                                OR CAST(:wait AS float) IS NULL AND collection_attempts + 1 >= :max_attempts,
                            collection_retry_at = now() + make_interval(secs => coalesce(CAST(:wait AS float),
                                least(:longest, :shortest * power(2, least(collection_attempts, 30)))))
                        WHERE id = :id AND collection_claimed_by = :worker
                        RETURNING id, shard, collection_attempts, collection_dead)
                    INSERT INTO inventory.failure
                        (directory_id, worker_id, shard, attempt, permanent, stage, error, message)
                    SELECT id, :worker, shard, collection_attempts, collection_dead, 'collection', :error, :message
                    FROM failed"""),
                {
                    "id": one.collection.directory_id,
                    "worker": worker,
                    "permanent": one.permanent,
                    "error": one.error,
                    "message": one.message,
                    "wait": one.wait_seconds,
                    "max_attempts": limits.max_attempts,
                    "longest": limits.retry_max_seconds,
                    "shortest": limits.retry_seconds,
                },
            )
