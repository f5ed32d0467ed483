"""Shards: the partitions of `file`. Each belongs to one job, is filled by it alone and is dropped with it.

Partitions come and go while pods work: they are attached and detached under locks that stop nobody, a few in a transaction, for
each holds ten locks and a server has some thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from core.errors import Unavailable, UsageError
from core.settings import JobSettings
from inventory import archive
from inventory.engine import Database

FILES_PER_SHARD = 10_000_000
"""Where a shard is full: its indexes still fit in the memory of a small server and a vacuum of it takes a minute."""
AT_ONCE = 32
"""Shards made in one transaction."""
DIRECTORIES_AT_ONCE = 10_000
"""Directories deleted in one transaction."""
_GROW_LOCK = 0x1_0AD_0200  # advisory lock: a job grows once at a time

# Claimed rows are rewritten three times in their life; room on the page keeps them on it, and vacuum must come before
# dead tuples make a claim read through them.
_STORAGE = (
    "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,"
    " autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1"
)


def shards_for(settings: JobSettings) -> int:
    """How many shards a job begins with: as many as its expected files fill, and never fewer than it asks for."""
    return max(settings.shards, -(-(settings.expected_files or 0) // FILES_PER_SHARD))


def make_shards(connection: Connection, job: int, count: int) -> list[int]:
    """Make up to AT_ONCE shards with their partitions and return their ids."""
    made = connection.execute(
        text("INSERT INTO inventory.shard (job_id) SELECT :job FROM generate_series(1, :count) RETURNING id"),
        {"job": job, "count": min(count, AT_ONCE)},
    )
    ids = list(made.scalars())
    for shard in ids:
        # attached, not created as a partition: that would wait for all who read the table, and have all others wait
        name = f"inventory.file_{shard:d}"
        connection.execute(text(f"CREATE TABLE {name} (LIKE inventory.file INCLUDING ALL) WITH ({_STORAGE})"))
        connection.execute(text(f"ALTER TABLE inventory.file ATTACH PARTITION {name} FOR VALUES IN ({shard:d})"))
    return ids


def add_shards(database: Database, job: int, count: int) -> list[int]:
    """Add `count` shards to a job, running or not, and return their ids; directories found from now on use them too."""
    ids: list[int] = []
    while len(ids) < count:
        with database.begin() as connection:
            ids += make_shards(connection, job, count - len(ids))
    return ids


def grow(database: Database, job: int, files_per_shard: int = FILES_PER_SHARD) -> list[int]:
    """Give a job as many new shards as it has open ones when those are full on average; returns the new ones.

    Directories found from then on go to the new shards only. What an older directory gains still goes to its own shard.
    """
    with database.begin() as connection:
        if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _GROW_LOCK}).scalar():
            return []
        full = connection.execute(
            text("""
                SELECT array_agg(id) AS shards, coalesce(sum(files), 0)::bigint AS files FROM (
                    SELECT s.id, (SELECT sum(p.files) FROM inventory.progress_now p WHERE p.shard = s.id) AS files
                    FROM inventory.shard s WHERE s.job_id = :job AND s.accepting) AS open"""),
            {"job": job},
        ).one()
        if not full.shards or full.files < files_per_shard * len(full.shards):
            return []
        new = make_shards(connection, job, len(full.shards))
        connection.execute(
            text("UPDATE inventory.shard SET accepting = false WHERE id = ANY(:full)"), {"full": full.shards}
        )
        return new


def shards_of(connection: Connection, job: int) -> list[int]:
    """The ids of a job's shards, ascending."""
    return list(
        connection.execute(
            text("SELECT id FROM inventory.shard WHERE job_id = :job ORDER BY id"), {"job": job}
        ).scalars()
    )


def stocked(database: Database, state: str) -> set[int]:
    """The shards that hold files in a state, by the folded counts."""
    with database.begin() as connection:
        return holding(connection, [state])


def holding(connection: Connection, states: Sequence[str]) -> set[int]:
    """The shards that hold files in any of these states. By the counts, which are exact: a change and its count commit together."""
    rows = connection.execute(
        text("""
            SELECT DISTINCT shard FROM inventory.progress_now
            WHERE state = ANY(CAST(:states AS inventory.file_state[])) AND files > 0"""),
        {"states": list(states)},
    )
    return set(rows.scalars())


def drop_job(database: Database, job: int, archive_folder: Path | None) -> int:
    """Remove a job that is finished, stopped or cancelled, with all its rows, and return how many shards that were.

    With a folder all its rows go first to a folder `job-ID` in it: `job.csv.gz`, `directories.csv.gz`, `failures.csv.gz`, and a
    `shard-ID.csv.gz` for the files of each shard. Shards are dropped one by one, so it may be ended at any moment and begun again;
    from its begin on the job is cancelled, so that nothing is loaded of what is left. Raises UsageError while the job runs or a pod
    still holds files of it, Unavailable when a report that reads the shard does not end.
    """
    with database.begin() as connection:
        _check_at_rest(connection, job)
        # nobody can resume half a job: its directories would count as listed while their files are gone
        connection.execute(
            text("""
                UPDATE inventory.job SET state = 'cancelled', finished_at = coalesce(finished_at, now())
                WHERE id = :job AND state IN ('finished', 'stopped')"""),
            {"job": job},
        )
        shards = shards_of(connection, job)
    kept = archive_folder / f"job-{job}" if archive_folder is not None else None
    if kept is not None:
        archive.job(database, job, kept)
    for shard in shards:
        if _exists(database, shard):
            if kept is not None:
                archive.shard(database, shard, kept)
            with database.begin() as connection:
                _check_at_rest(connection, job)
            _detach(database, shard)
            _drop(database, shard)
    while _delete_directories(database, job):
        pass
    with database.begin() as connection:
        connection.execute(text("DELETE FROM inventory.shard WHERE job_id = :job"), {"job": job})
        for table in ("pass", "handler_note"):
            connection.execute(text(f"DELETE FROM inventory.{table} WHERE job_id = :job"), {"job": job})
        connection.execute(text("DELETE FROM inventory.job WHERE id = :job"), {"job": job})
    return len(shards)


def _check_at_rest(connection: Connection, job: int) -> None:
    row = connection.execute(
        text("""
            SELECT j.name, j.state, (SELECT coalesce(sum(p.files), 0) FROM inventory.progress_now p
                JOIN inventory.shard s ON s.id = p.shard
                WHERE s.job_id = j.id AND p.state IN ('loading', 'verifying', 'deleting')) AS held,
                EXISTS (SELECT FROM inventory.directory d WHERE d.job_id = j.id AND d.claimed_by IS NOT NULL) AS scanned
            FROM inventory.job j WHERE j.id = :job FOR UPDATE OF j"""),
        {"job": job},
    ).first()
    if row is None:
        raise UsageError(f"there is no job {job}", "see `ingest job list`")
    if row.state not in ("finished", "stopped", "cancelled"):
        raise UsageError(f"job {row.name!r} is {row.state}", "stop it first")
    if row.held or row.scanned:
        raise UsageError(f"pods still hold files of job {row.name!r}", "wait until they have given them back")


def _exists(database: Database, shard: int) -> bool:
    with database.begin() as connection:
        return bool(
            connection.execute(
                text("SELECT to_regclass(:name) IS NOT NULL"), {"name": f"inventory.file_{shard:d}"}
            ).scalar()
        )


def _detach(database: Database, shard: int) -> None:
    """Detach a partition while others work: concurrently, which needs its own two transactions and may be left half done."""
    name = f"inventory.file_{shard:d}"
    pending = text("SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = CAST(:name AS regclass)")
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        attached = connection.execute(pending, {"name": name}).first()
        if attached is None:
            return
        how = "FINALIZE" if attached.inhdetachpending else "CONCURRENTLY"
        try:
            connection.execute(text(f"ALTER TABLE inventory.file DETACH PARTITION {name} {how}"))
        except OperationalError as error:
            raise Unavailable(
                f"shard {shard} cannot be detached: {error.orig}".strip(), "when no report reads it, begin again"
            ) from error


def _drop(database: Database, shard: int) -> None:
    with database.begin() as connection:
        connection.execute(text(f"DROP TABLE inventory.file_{shard:d}"))
        for counts in ("progress", "progress_delta"):
            connection.execute(text(f"DELETE FROM inventory.{counts} WHERE shard = :shard"), {"shard": shard})


def _delete_directories(database: Database, job: int) -> int:
    with database.begin() as connection:
        gone = list(
            connection.execute(
                text("""
                    DELETE FROM inventory.directory WHERE id IN (
                        SELECT id FROM inventory.directory WHERE job_id = :job ORDER BY path LIMIT :limit)
                    RETURNING id"""),
                {"job": job, "limit": DIRECTORIES_AT_ONCE},
            ).scalars()
        )
        connection.execute(text("DELETE FROM inventory.failure WHERE directory_id = ANY(:gone)"), {"gone": gone})
        return len(gone)
