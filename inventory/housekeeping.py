"""What any pod does for all, every few seconds: leases, retries, counts, finished jobs.

Each task is one short transaction that first tries an advisory lock, so that many pods do not do it at once; that a task is
missed or done twice harms nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import structlog
from sqlalchemy import Connection, text

from inventory import activity, endings, guard, looks, partitions, passes, reverify, workers
from inventory.claims import STATES, SUSPECT_REAPS
from inventory.engine import Database

log = structlog.get_logger()
_LOCK = 0x1_0AD_0100  # advisory locks of the tasks, one number each
_CLAIMED = [words.busy for words in STATES.values()]
_WAITING = [words.ready for words in STATES.values()]
BATCH = 10_000  # rows a statement may change, so that none holds its locks for long


@dataclass(frozen=True)
class Tidied:
    """What one round did."""

    expired: int = 0
    reaped: int = 0
    retried: int = 0
    finished_jobs: tuple[int, ...] = ()


def tidy(
    database: Database, *, lease_seconds: float, max_reaps: int, may_judge: bool = True, activity_hours: float = 48
) -> Tidied:
    """One round of all tasks; without `may_judge` nobody is declared dead."""
    gone = _expire(database, lease_seconds) if may_judge else []
    reaped = _reap(database, max_reaps)
    retried = _promote(database)
    _release(database)
    _fold(database)
    _forget(database, activity_hours)
    _reverify(database)
    return Tidied(len(gone), reaped, retried, tuple(_finish_jobs(database)))


@contextmanager
def _alone(database: Database, task: int) -> Iterator[Connection | None]:
    """A transaction in which this process alone does a task; None when another one is at it."""
    with database.begin() as connection:
        yield connection if _locked(connection, _LOCK + task) else None


def _locked(connection: Connection, key: int) -> bool:
    return bool(connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}).scalar())


def _expire(database: Database, lease_seconds: float) -> list[int]:
    with _alone(database, 1) as connection:
        return workers.expire(connection, lease_seconds) if connection else []


def _reap(database: Database, max_reaps: int) -> int:
    """Take from the dead. The expiry is committed before this snapshot is taken, so no claim can slip between them."""
    with _alone(database, 2) as connection:
        if connection is None:
            return 0
        gone = list(
            connection.execute(
                text("""
                    SELECT id FROM inventory.worker
                    WHERE reaped_at IS NULL AND (stopped_at <= now() OR expired_at IS NOT NULL) ORDER BY id LIMIT 100""")
            ).scalars()
        )
        if not gone:
            return 0
        taken = _over_shards(connection, _CLAIMED, lambda shard: _reap_files(connection, shard, gone, max_reaps))
        if taken < BATCH:
            _reap_directories(connection, gone, max_reaps)
            _close(connection, gone)
        return taken


def _close(connection: Connection, gone: Sequence[int]) -> None:
    """End the dead who hold nothing any more. A row that was skipped, because a late finish had it locked, waits for the next
    round: that finish may be rolled back."""
    left: set[int] = set()
    for shard in sorted(partitions.holding(connection, _CLAIMED)):
        holders = connection.execute(
            text("SELECT DISTINCT claimed_by FROM inventory.file WHERE shard = :shard AND claimed_by = ANY(:gone)"),
            {"shard": shard, "gone": list(gone)},
        )
        left.update(holders.scalars())
    connection.execute(
        text("UPDATE inventory.worker SET reaped_at = now() WHERE id = ANY(:gone)"),
        {"gone": [worker for worker in gone if worker not in left]},
    )


def _over_shards(connection: Connection, states: Sequence[str], change: Callable[[int], int]) -> int:
    """Sum up a change over the shards that hold files in any of these states, stopping at BATCH rows.

    What is left waits for the next round, and so do files that got there after the counts were read.
    """
    total = 0
    for shard in sorted(partitions.holding(connection, states)):
        total += change(shard)
        if total >= BATCH:
            break
    return total


def _reap_files(connection: Connection, shard: int, gone: Sequence[int], max_reaps: int) -> int:
    # Only a death is counted against a file; who said goodbye gave its files back in good order. The first deaths are counted
    # against all the dead had claimed, and make them suspects. Of suspects only the one that had been begun is to blame.
    done = connection.execute(
        text("""
            WITH held AS MATERIALIZED (
                SELECT f.directory_id, f.name, f.claimed_by, f.state AS was,
                       (w.expired_at IS NOT NULL AND (f.reaps < :suspect OR f.begun))::int AS blame
                FROM inventory.file f JOIN inventory.worker w ON w.id = f.claimed_by
                WHERE f.shard = :shard AND f.claimed_by = ANY(:gone) LIMIT :batch FOR UPDATE OF f SKIP LOCKED),
            taken AS (
                UPDATE inventory.file f SET claimed_by = NULL, begun = false, reaps = f.reaps + held.blame,
                    loaded_by = CASE f.state WHEN 'loading' THEN coalesce(f.loaded_by, held.claimed_by) ELSE f.loaded_by END,
                    state = CASE WHEN held.blame = 1 AND f.reaps + 1 >= :max_reaps THEN 'dead'
                        ELSE CASE f.state WHEN 'loading' THEN 'discovered' WHEN 'verifying' THEN 'loaded' ELSE 'vanished' END
                        END::inventory.file_state
                FROM held
                WHERE f.shard = :shard AND f.directory_id = held.directory_id AND f.name = held.name
                RETURNING f.directory_id, f.name, f.shard, f.generation, f.reaps, f.state, held.claimed_by, held.was),
            explained AS (
                INSERT INTO inventory.failure
                    (directory_id, worker_id, shard, generation, attempt, permanent, stage, name, error, message)
                SELECT directory_id, claimed_by, shard, generation, reaps, true, 'reap', name, 'poison',
                       reaps || ' workers died over this file, the last one while it was ' || was
                FROM taken WHERE state = 'dead')
            SELECT count(*) FROM taken"""),
        {"shard": shard, "gone": list(gone), "max_reaps": max_reaps, "batch": BATCH, "suspect": SUSPECT_REAPS},
    )
    return int(done.scalar_one())


def _reap_directories(connection: Connection, gone: Sequence[int], max_reaps: int) -> None:
    # as with files: only a death counts, the first ones against all that the dead had claimed, and after that only against
    # what it had claimed alone, which is how suspects are scanned
    connection.execute(
        text("""
            WITH held AS MATERIALIZED (
                SELECT d.id, d.claimed_by, (w.expired_at IS NOT NULL AND (d.reaps < :suspect
                       OR NOT EXISTS (SELECT FROM inventory.directory o WHERE o.claimed_by = d.claimed_by AND o.id <> d.id)
                       ))::int AS blame
                FROM inventory.directory d JOIN inventory.worker w ON w.id = d.claimed_by
                WHERE d.claimed_by = ANY(:gone) FOR UPDATE OF d),
            taken AS (
                UPDATE inventory.directory d SET claimed_by = NULL, reaps = d.reaps + held.blame,
                    state = CASE WHEN held.blame = 1 AND d.reaps + 1 >= :max_reaps THEN 'dead'
                                 ELSE 'pending' END::inventory.directory_state,
                    next_scan_at = CASE WHEN held.blame = 1 AND d.reaps + 1 >= :max_reaps THEN NULL ELSE now() END
                FROM held WHERE d.id = held.id
                RETURNING d.id, d.shard, d.reaps, d.state, held.claimed_by)
            INSERT INTO inventory.failure (directory_id, worker_id, shard, attempt, permanent, stage, error, message)
            SELECT id, claimed_by, shard, reaps, true, 'reap', 'poison', reaps || ' watchers died over this directory'
            FROM taken WHERE state = 'dead'"""),
        {"gone": list(gone), "max_reaps": max_reaps, "suspect": SUSPECT_REAPS},
    )
    connection.execute(
        text("UPDATE inventory.directory SET collection_claimed_by = NULL WHERE collection_claimed_by = ANY(:gone)"),
        {"gone": list(gone)},
    )
    connection.execute(
        text("UPDATE inventory.compute_job SET claimed_by = NULL WHERE claimed_by = ANY(:gone)"), {"gone": list(gone)}
    )
    passes.reap(connection, gone)
    looks.reap(connection, gone)


def _promote(database: Database) -> int:
    """Make files whose back-off is over claimable again."""
    with _alone(database, 3) as connection:
        if connection is None:
            return 0
        return _over_shards(connection, _WAITING, lambda shard: _promote_shard(connection, shard))


def _promote_shard(connection: Connection, shard: int) -> int:
    return connection.execute(
        text("""
            WITH due AS MATERIALIZED (
                SELECT directory_id, name FROM inventory.file
                WHERE shard = :shard AND retry_at <= now() LIMIT :batch FOR UPDATE SKIP LOCKED)
            UPDATE inventory.file f SET retry_at = NULL FROM due
            WHERE f.shard = :shard AND f.directory_id = due.directory_id AND f.name = due.name"""),
        {"shard": shard, "batch": BATCH},
    ).rowcount


def _release(database: Database) -> int:
    """Make due what the guard of deletions has cleared."""
    with _alone(database, 8) as connection:
        return guard.release(connection) if connection is not None else 0


def _fold(database: Database) -> None:
    """Fold the deltas of finished statements into `progress`."""
    with _alone(database, 4) as connection:
        if connection is not None:
            connection.execute(
                text("""
                    WITH old AS (
                        DELETE FROM inventory.progress_delta
                        WHERE id IN (SELECT id FROM inventory.progress_delta ORDER BY id LIMIT 50000)
                        RETURNING shard, state, files, bytes)
                    INSERT INTO inventory.progress AS p (shard, state, files, bytes)
                    SELECT shard, state, sum(files), sum(bytes) FROM old GROUP BY shard, state
                    ON CONFLICT (shard, state) DO UPDATE SET files = p.files + excluded.files, bytes = p.bytes + excluded.bytes""")
            )


def _forget(database: Database, activity_hours: float) -> None:
    with _alone(database, 6) as connection:
        if connection is not None:
            activity.forget(connection, activity_hours)


def _reverify(database: Database) -> None:
    """Have verified what was verified long ago, where a job wants that."""
    with _alone(database, 7) as connection:
        if connection is not None and _locked(connection, endings.FINISH_LOCK):
            reverify.make_due(connection)


def _finish_jobs(database: Database) -> list[int]:
    """Begin and end passes, and end single-pass jobs with theirs."""
    with _alone(database, endings.FINISH_LOCK - _LOCK) as connection:
        if connection is None:
            return []
        passes.ensure(connection)
        for verdict in guard.judge(connection):
            log.warning("deletes_held" if verdict.held else "deletes_free", **asdict(verdict))
        return endings.finish_jobs(connection, endings.finish_passes(connection))
