"""Which files and directories fail, and why: by class, and one by one.

Driven by `failure`, whose index gives the last attempt of each file in order: the cost is that of the failures, not of the
files, and memory does not grow with either. Every question is one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text

from inventory.engine import Database

FailureState = Literal["dead", "retrying", "skipped", "recovered"]
FAILURE_STATES: tuple[FailureState, ...] = ("dead", "retrying", "skipped", "recovered")
"""dead: waits for a person. retrying: tried again by itself. skipped: left alone by the job's rules. recovered: failed once, and
is verified, loaded, vanished or deleted since."""
CURRENT: tuple[FailureState, ...] = ("dead", "retrying")
"""What fails now."""


@dataclass(frozen=True)
class Wanted:
    """Which failures: of a job by name, of classes, in states, below one of some escaped path prefixes; empty means all."""

    job: str | None = None
    errors: Sequence[str] = ()
    states: Sequence[FailureState] = CURRENT
    prefixes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """One class of failure at one stage. `examples` are up to two (path, message), the first and the last by path.

    `next_retry_at` is the soonest of those that are tried again. Sizes are bytes, times UTC.
    """

    error: str
    stage: str
    dead: int
    retrying: int
    skipped: int
    recovered: int
    directories: int
    bytes: int
    first_at: datetime
    last_at: datetime
    next_retry_at: datetime | None
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failed attempt of one file, or of one directory (`kind` is 'd'): its path is escaped, relative to the source."""

    job: str
    path: str
    kind: str
    state: FailureState
    file_state: str
    stage: str
    error: str
    message: str
    attempt: int
    failed_at: datetime
    retry_at: datetime | None
    size: int
    pod: str | None


# The lookups are fenced (LATERAL … OFFSET 0): nothing but a nested loop can do them, which reads one partition by its key. A
# hash join would read the whole of `file`. A failure of an older generation says nothing about the file as it is.
LAST = """
    SELECT DISTINCT ON (x.directory_id, x.name) x.id, x.directory_id, x.name, x.shard, x.generation, x.stage, x.error, x.message,
        x.attempt, x.failed_at, x.worker_id
    FROM inventory.failure x WHERE x.name IS NOT NULL ORDER BY x.directory_id, x.name, x.id DESC
"""
_LAST_OF_DIRECTORY = """
    SELECT DISTINCT ON (x.directory_id, x.stage = 'scan') x.id, x.directory_id, x.stage, x.error, x.message, x.attempt, x.failed_at,
        x.worker_id
    FROM inventory.failure x WHERE x.name IS NULL ORDER BY x.directory_id, x.stage = 'scan', x.id DESC
"""
STATE_OF_FILE = """
    CASE WHEN f.state IN ('dead', 'skipped') THEN f.state::text
         WHEN f.state IN ('verified', 'deleted') OR f.state = 'vanished' AND x.stage <> 'delete'
              OR f.state IN ('loaded', 'verifying') AND x.stage IN ('load', 'reap') THEN 'recovered'
         ELSE 'retrying' END
"""
STATE_OF_DIRECTORY = """
    CASE WHEN x.stage = 'scan' THEN
              CASE WHEN d.state = 'dead' THEN 'dead' WHEN d.attempts > 0 THEN 'retrying' ELSE 'recovered' END
         WHEN d.collection_dead THEN 'dead'
         WHEN d.collection_attempts > 0 AND (d.collection_made_at IS NULL OR d.collection_changed)
              AND d.state <> 'vanished' THEN 'retrying'
         ELSE 'recovered' END
"""
PATH_OF_FILE = "CASE d.path WHEN '' THEN x.name ELSE d.path || '/' || x.name END"
_FAILURES = f"""
    SELECT j.name AS job, {PATH_OF_FILE} AS path, f.kind::text AS kind, {STATE_OF_FILE} AS state, f.state::text AS file_state,
        x.stage, x.error, x.message, x.attempt, x.failed_at, nullif(f.retry_at, 'infinity') AS retry_at, f.size, w.pod
    FROM ({LAST}) x
    JOIN LATERAL (SELECT f.* FROM inventory.file f
                  WHERE f.shard = x.shard AND f.directory_id = x.directory_id AND f.name = x.name
                    AND f.generation = x.generation OFFSET 0) f ON true
    JOIN LATERAL (SELECT d.* FROM inventory.directory d WHERE d.id = x.directory_id OFFSET 0) d ON true
    JOIN inventory.job j ON j.id = d.job_id
    LEFT JOIN inventory.worker w ON w.id = x.worker_id
    UNION ALL
    SELECT j.name, d.path || '/', 'd', {STATE_OF_DIRECTORY}, d.state::text,
        x.stage, x.error, x.message, x.attempt, x.failed_at,
        CASE x.stage WHEN 'scan' THEN d.next_scan_at ELSE d.collection_retry_at END, 0, w.pod
    FROM ({_LAST_OF_DIRECTORY}) x
    JOIN LATERAL (SELECT d.* FROM inventory.directory d WHERE d.id = x.directory_id OFFSET 0) d ON true
    JOIN inventory.job j ON j.id = d.job_id
    LEFT JOIN inventory.worker w ON w.id = x.worker_id
"""
_WHERE = """
    WHERE state = ANY(:states) AND (CAST(:job AS text) IS NULL OR job = :job)
      AND (:any_error OR error = ANY(:errors)) AND (:any_path OR path ^@ ANY(:prefixes))
"""


def _values(wanted: Wanted) -> dict[str, object]:
    return {
        "job": wanted.job,
        "states": list(wanted.states),
        "any_error": not wanted.errors,
        "errors": list(wanted.errors),
        "any_path": not wanted.prefixes,
        "prefixes": list(wanted.prefixes),
    }


def groups(database: Database, wanted: Wanted) -> list[FailureGroup]:
    """The failures by class and stage, the most frequent first."""
    with database.stream() as connection:
        return groups_in(connection, wanted)


def groups_in(connection: Connection, wanted: Wanted) -> list[FailureGroup]:
    """As `groups`, in a transaction of the caller's."""
    counts = ", ".join(
        f"count(*) FILTER (WHERE state = '{state}' AND kind <> 'd') AS {state}" for state in FAILURE_STATES
    )
    rows = connection.execute(
        text(f"""
            SELECT error, stage, {counts}, count(*) FILTER (WHERE kind = 'd') AS directories, sum(size)::bigint AS bytes,
                min(failed_at) AS first_at, max(failed_at) AS last_at,
                min(retry_at) FILTER (WHERE state = 'retrying') AS next_retry_at,
                min(ARRAY[path, message]) AS first, max(ARRAY[path, message]) AS last
            FROM ({_FAILURES}) failures {_WHERE}
            GROUP BY error, stage ORDER BY count(*) DESC, error, stage"""),
        _values(wanted),
    )
    return [
        FailureGroup(
            **{key: value for key, value in row._mapping.items() if key not in ("first", "last")},
            examples=tuple(dict.fromkeys((path, message) for path, message in (row.first, row.last))),
        )
        for row in rows
    ]


def failures(database: Database, wanted: Wanted) -> Iterator[Failure]:
    """One failure a file or directory, streamed."""
    with database.stream() as connection:
        for row in connection.execute(text(f"SELECT * FROM ({_FAILURES}) failures {_WHERE}"), _values(wanted)):
            yield Failure(*row)
