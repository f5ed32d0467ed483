"""Giving failures another chance: dead letters once a person has removed the cause, others before their back-off is over.

Bounded batches of guarded statements, one short transaction each: pods go on meanwhile, and a retry that is cut short has done
a part of it, which may be begun again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sqlalchemy import Connection, text

from core.errors import UsageError
from inventory import endings
from inventory.engine import Database
from inventory.failures import FailureState, Wanted
from inventory.jobs import note, refuse_cancelled

BATCH = 5_000
"""Rows a statement changes at most."""
# as the pods' statements do: without statistics the planner reads and sorts whole partitions
_BY_INDEX = text("""
    SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off""")
RETRIABLE: tuple[FailureState, ...] = ("dead", "retrying", "skipped")


@dataclass(frozen=True, slots=True)
class Retried:
    """How many files and directories are due again."""

    files: int
    directories: int


class _Change(NamedTuple):
    """Which rows of `file` one kind of retry is about, and what it sets."""

    guard: str
    assignments: str


# what was verified to be wrong is loaded again; so is whatever was never loaded
_FRESH = """state = 'discovered', retry_at = NULL, load_attempts = 1, verify_attempts = 0, reloads = 0, reaps = 0,
    verify_started_at = NULL, verify_finished_at = NULL"""
_CHANGES: dict[FailureState, _Change] = {
    "dead": _Change("f.state = 'dead'", _FRESH),
    "skipped": _Change("f.state = 'skipped' AND f.kind = 'f'", _FRESH),
    "retrying": _Change("f.retry_at IS NOT NULL AND isfinite(f.retry_at)", "retry_at = NULL"),
}
_MATCHING = """
    EXISTS (SELECT FROM inventory.directory d WHERE d.id = f.directory_id
            AND (:any_path OR CASE d.path WHEN '' THEN f.name ELSE d.path || '/' || f.name END ^@ ANY(:prefixes)))
    AND (:any_error OR (SELECT x.error FROM inventory.failure x WHERE x.directory_id = f.directory_id AND x.name = f.name
                        ORDER BY x.id DESC LIMIT 1) = ANY(:errors))
"""


def retry_dead(database: Database, job: int, *, actor: str = "cli") -> int:
    """Make all of a job's dead files, directories and collections due again. Returns how many files."""
    with database.begin() as connection:
        name = connection.execute(text("SELECT name FROM inventory.job WHERE id = :job"), {"job": job}).scalar_one()
    return retry(database, Wanted(job=name, states=("dead",)), actor=actor).files


def retry(database: Database, wanted: Wanted, *, actor: str = "cli") -> Retried:
    """Make failures due again, with fresh counts those that were dead or skipped; a job that had finished runs again.

    Raises UsageError for a state that has nothing to retry, and for a job that is cancelled.
    """
    if useless := set(wanted.states) - set(RETRIABLE):
        raise UsageError(f"there is nothing to retry of what is {', '.join(sorted(useless))}", "see `ingest failures`")
    if wanted.job is not None:
        with database.begin() as connection:
            refuse_cancelled(connection, wanted.job)
    files = directories = 0
    for job, shards in _jobs(database, wanted.job):
        mine = replace(wanted, job=job)
        done = Retried(
            sum(_retry_shard(database, shard, state, mine) for shard in shards for state in wanted.states),
            _retry_directories(database, mine),
        )
        if done.files or done.directories:
            _wake(database, mine, done, actor)
        files, directories = files + done.files, directories + done.directories
    return Retried(files, directories)


def _jobs(database: Database, name: str | None) -> list[tuple[str, Sequence[int]]]:
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                SELECT j.name, array_agg(s.id ORDER BY s.id) AS shards
                FROM inventory.job j JOIN inventory.shard s ON s.job_id = j.id
                WHERE (CAST(:name AS text) IS NULL OR j.name = :name) AND j.state <> 'cancelled' GROUP BY j.id ORDER BY j.id"""),
            {"name": name},
        )
        return [(row.name, row.shards) for row in rows]


def _values(wanted: Wanted) -> dict[str, object]:
    return {
        "any_path": not wanted.prefixes,
        "prefixes": list(wanted.prefixes),
        "any_error": not wanted.errors,
        "errors": list(wanted.errors),
    }


def _retry_shard(database: Database, shard: int, state: FailureState, wanted: Wanted) -> int:
    guard, assignments = _CHANGES[state]
    # changed by key alone, for the rows are locked: with the guard repeated, the index of all such rows was read for each
    statement = text(f"""
        WITH due AS MATERIALIZED (
            SELECT f.directory_id, f.name FROM inventory.file f
            WHERE f.shard = :shard AND {guard} AND (f.directory_id, f.name) > (:directory, :name) AND {_MATCHING}
            ORDER BY f.directory_id, f.name LIMIT :batch FOR UPDATE OF f SKIP LOCKED),
        retried AS (
            UPDATE inventory.file f SET {assignments} FROM due
            WHERE f.shard = :shard AND f.directory_id = due.directory_id AND f.name = due.name
            RETURNING f.name)
        SELECT directory_id, name, (SELECT count(*) FROM retried)::int AS files
        FROM due ORDER BY directory_id DESC, name DESC LIMIT 1""")
    total, directory, name = 0, 0, ""
    while True:
        with database.begin() as connection:
            connection.execute(_BY_INDEX)
            last = connection.execute(
                statement,
                {"shard": shard, "batch": BATCH, "directory": directory, "name": name} | _values(wanted),
            ).first()
            if last is None:
                return total
            _resume(connection, str(wanted.job))  # with the rows: were this cut short, they would wait for ever
        total, directory, name = total + last.files, last.directory_id, last.name


_DIRECTORY_MATCHING = """
    d.job_id = (SELECT id FROM inventory.job WHERE name = :job) AND (:any_path OR d.path || '/' ^@ ANY(:prefixes))
    AND (:any_error OR (SELECT x.error FROM inventory.failure x WHERE x.directory_id = d.id AND x.name IS NULL AND {stage}
                        ORDER BY x.id DESC LIMIT 1) = ANY(:errors))
"""
_SCANS = f"""
    UPDATE inventory.directory d SET state = 'pending', next_scan_at = now(), attempts = 0, reaps = 0
    WHERE id IN (SELECT d.id FROM inventory.directory d
                 WHERE (d.state = 'dead' AND :dead
                        OR d.state = 'pending' AND d.attempts > 0 AND d.next_scan_at > now() AND :retrying)
                   AND {_DIRECTORY_MATCHING.format(stage="x.stage = 'scan'")} LIMIT :batch FOR UPDATE SKIP LOCKED)
"""
_COLLECTIONS = f"""
    UPDATE inventory.directory d SET collection_dead = false, collection_attempts = 0, collection_retry_at = NULL
    WHERE id IN (SELECT d.id FROM inventory.directory d
                 WHERE (d.collection_dead AND :dead
                        OR d.collection_retry_at > now() AND d.collection_claimed_by IS NULL AND :retrying)
                   AND {_DIRECTORY_MATCHING.format(stage="x.stage <> 'scan'")} LIMIT :batch FOR UPDATE SKIP LOCKED)
"""


def _retry_directories(database: Database, wanted: Wanted) -> int:
    return sum(_retry_some_directories(database, wanted, statement) for statement in (_SCANS, _COLLECTIONS))


def _retry_some_directories(database: Database, wanted: Wanted, statement: str) -> int:
    total = 0
    values = {
        "job": wanted.job,
        "batch": BATCH,
        "dead": "dead" in wanted.states,
        "retrying": "retrying" in wanted.states,
    }
    while True:
        with database.begin() as connection:
            done = connection.execute(text(statement), values | _values(wanted)).rowcount
            if done:
                _resume(connection, str(wanted.job))
        total += done
        if done < BATCH:
            return total


def _wake(database: Database, wanted: Wanted, done: Retried, actor: str) -> None:
    """Note who retried what, and have a finished job run again."""
    with database.begin() as connection:
        # a look for finished jobs that began before the rows were changed may end the job after them
        endings.hold_off(connection)
        job = _resume(connection, str(wanted.job))
        note(
            connection,
            actor,
            "failures_retried",
            job,
            files=done.files,
            directories=done.directories,
            states=list(wanted.states),
            errors=list(wanted.errors),
            prefix=wanted.prefixes[0] if wanted.prefixes else None,
        )


def _resume(connection: Connection, name: str) -> int:
    # directories that are looked at again may tell of more that is gone
    connection.execute(
        text("""
            UPDATE inventory.pass SET deletes_judged_at = NULL
            WHERE job_id = (SELECT id FROM inventory.job WHERE name = :name) AND finished_at IS NULL"""),
        {"name": name},
    )
    connection.execute(
        text(
            "UPDATE inventory.job SET state = 'running', finished_at = NULL WHERE name = :name AND state = 'finished'"
        ),
        {"name": name},
    )
    return int(connection.execute(text("SELECT id FROM inventory.job WHERE name = :name"), {"name": name}).scalar_one())
