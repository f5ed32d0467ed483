"""Questions people ask: progress, one line a file, the slowest, the failed. Nothing here changes a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, text

from inventory.engine import Database

STATES = (
    "discovered",
    "loading",
    "loaded",
    "verifying",
    "verified",
    "vanished",
    "deleting",
    "deleted",
    "skipped",
    "dead",
)  # fmt: skip
"""All states of a file, in the order of its life."""


@dataclass(frozen=True, slots=True)
class StateCount:
    """Files and bytes of one job in one state."""

    job: str
    state: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FileLine:
    """All that is known of one file: a line of the dump. Times are UTC; paths are escaped as in `core.paths`.

    `error` and `message` are of its last failed attempt, if any of this generation failed.
    """

    job: str
    path: str
    kind: str
    state: str
    size: int
    modified_at: datetime
    generation: int
    checksum: str | None
    load_started_at: datetime | None
    load_finished_at: datetime | None
    load_attempts: int
    load_pod: str | None
    verify_started_at: datetime | None
    verify_finished_at: datetime | None
    verify_attempts: int
    verify_pod: str | None
    reloads: int
    reaps: int
    retry_at: datetime | None
    error: str | None
    message: str | None

    @property
    def load_seconds(self) -> float | None:
        """How long loading took."""
        return _seconds(self.load_started_at, self.load_finished_at)

    @property
    def verify_seconds(self) -> float | None:
        """How long verifying took."""
        return _seconds(self.verify_started_at, self.verify_finished_at)


def _seconds(began: datetime | None, ended: datetime | None) -> float | None:
    return (ended - began).total_seconds() if began and ended else None


@dataclass(frozen=True)
class Chosen:
    """Which files a report is about; empty means all. `prefixes` are beginnings of escaped paths relative to the
    source, any of which will do."""

    job: str | None = None
    states: Sequence[str] = ()
    errors: Sequence[str] = ()
    prefixes: Sequence[str] = ()


def backlog(database: Database) -> dict[int, int]:
    """How many files of each running job wait to be loaded, by the folded counts."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                SELECT s.job_id, sum(p.files)::bigint AS files FROM inventory.progress_now p
                JOIN inventory.shard s ON s.id = p.shard WHERE p.state = 'discovered' GROUP BY s.job_id""")
        )
        return {row.job_id: row.files for row in rows}


def summary(database: Database, job: str | None = None) -> list[StateCount]:
    """Files and bytes by job and state from the folded counts, in one snapshot: the sums add up."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                SELECT j.name AS job, p.state, sum(p.files)::bigint AS files, sum(p.bytes)::bigint AS bytes
                FROM inventory.progress_now p JOIN inventory.shard s ON s.id = p.shard
                JOIN inventory.job j ON j.id = s.job_id
                WHERE CAST(:job AS text) IS NULL OR j.name = :job
                GROUP BY j.id, j.name, p.state HAVING sum(p.files) <> 0 ORDER BY j.id, p.state"""),
            {"job": job},
        )
        return [StateCount(row.job, row.state, row.files, row.bytes) for row in rows]


_FILE_LINES = """
    SELECT j.name AS job, CASE d.path WHEN '' THEN f.name ELSE d.path || '/' || f.name END AS path, f.kind, f.state, f.size,
        f.modified_at, f.generation, f.checksum, f.load_started_at, f.load_finished_at, f.load_attempts, lw.pod AS load_pod,
        f.verify_started_at, f.verify_finished_at, f.verify_attempts, vw.pod AS verify_pod, f.reloads, f.reaps,
        nullif(f.retry_at, 'infinity') AS retry_at, x.error, x.message
    FROM inventory.file f
    JOIN inventory.directory d ON d.id = f.directory_id
    JOIN inventory.job j ON j.id = d.job_id
    LEFT JOIN inventory.worker lw
        ON lw.id = CASE f.state WHEN 'loading' THEN f.claimed_by WHEN 'discovered' THEN NULL ELSE f.loaded_by END
    LEFT JOIN inventory.worker vw
        ON vw.id = coalesce(f.verified_by, CASE f.state WHEN 'verifying' THEN f.claimed_by END)
    LEFT JOIN LATERAL (
        SELECT error, message FROM inventory.failure x
        WHERE x.directory_id = f.directory_id AND x.name = f.name AND f.state <> 'verified'
        ORDER BY x.id DESC LIMIT 1) x ON f.load_attempts + f.verify_attempts + f.reaps > 0 OR f.state = 'skipped'
"""
_SHARDS_OF = "SELECT s.id FROM inventory.shard s JOIN inventory.job o ON o.id = s.job_id WHERE o.name = :job"


def files(database: Database, chosen: Chosen) -> Iterator[FileLine]:
    """One line a file, streamed in the order of the inventory (shard, directory, name): constant memory at any size."""
    conditions = ["true"]
    values: dict[str, object] = {}
    if chosen.job is not None:
        conditions.append(f"f.shard IN ({_SHARDS_OF})")
        values["job"] = chosen.job
    if chosen.states:
        conditions.append("f.state = ANY(CAST(:states AS inventory.file_state[]))")
        values["states"] = list(chosen.states)
    if chosen.errors:
        conditions.append("x.error = ANY(:errors)")
        values["errors"] = list(chosen.errors)
    if chosen.prefixes:
        conditions.append("CASE d.path WHEN '' THEN f.name ELSE d.path || '/' || f.name END ^@ ANY(:prefixes)")
        values["prefixes"] = list(chosen.prefixes)
    with database.stream() as connection:
        for row in connection.execute(text(f"{_FILE_LINES} WHERE {' AND '.join(conditions)}"), values):
            yield FileLine(*row)


def file_lines(connection: Connection, job: str) -> Iterator[FileLine]:
    """As `files`, of one job and in a transaction of the caller's."""
    for row in connection.execute(text(f"{_FILE_LINES} WHERE f.shard IN ({_SHARDS_OF})"), {"job": job}):
        yield FileLine(*row)


def slowest(database: Database, job: str, limit: int = 10) -> list[FileLine]:
    """The files whose loading and verifying took longest."""
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                {_FILE_LINES}
                WHERE f.shard IN ({_SHARDS_OF})
                ORDER BY coalesce(f.load_finished_at - f.load_started_at, '0')
                       + coalesce(f.verify_finished_at - f.verify_started_at, '0') DESC LIMIT :limit"""),
            {"job": job, "limit": limit},
        )
        return [FileLine(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class DirectoryFailure:
    """A directory that could not be scanned, or whose collection could not be made."""

    path: str
    stage: str
    error: str
    message: str


def failed_directories(database: Database, job: str) -> list[DirectoryFailure]:
    """Directories that wait for a person, with their last failure."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                SELECT d.path, x.stage, x.error, x.message
                FROM inventory.directory d JOIN inventory.job j ON j.id = d.job_id
                JOIN LATERAL (SELECT stage, error, message FROM inventory.failure x
                              WHERE x.directory_id = d.id AND x.name IS NULL ORDER BY x.id DESC LIMIT 1) x ON true
                WHERE j.name = :job AND (d.state = 'dead' OR d.collection_dead) ORDER BY d.path"""),
            {"job": job},
        )
        return [DirectoryFailure(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class StageRate:
    """What one stage has done: finished files and bytes, and the seconds between its first start and last finish."""

    stage: str
    files: int
    bytes: int
    seconds: float


def stage_rates(database: Database, job: str) -> list[StageRate]:
    """How fast discovery, loading and verification went. Reads every row of the job: for reports at its end."""
    parts = []
    for stage, began, ended in (
        ("discover", "discovered_at", "discovered_at"),
        ("load", "load_started_at", "load_finished_at"),
        ("verify", "verify_started_at", "verify_finished_at"),
    ):
        parts.append(f"""
            SELECT '{stage}' AS stage, count({ended}) AS files, coalesce(sum(size) FILTER (WHERE {ended} IS NOT NULL), 0)::bigint,
                   coalesce(extract(epoch FROM max({ended}) - min({began}) FILTER (WHERE {ended} IS NOT NULL)), 0)::float
            FROM mine""")
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                WITH mine AS MATERIALIZED (
                    SELECT size, discovered_at, load_started_at, load_finished_at, verify_started_at, verify_finished_at
                    FROM inventory.file WHERE kind = 'f' AND shard = ANY(:shards))
                {" UNION ALL ".join(parts)}""").bindparams(bindparam("shards")),
            {"shards": _shards(database, job)},
        )
        return [StageRate(*row) for row in rows]


def _shards(database: Database, job: str) -> list[int]:
    with database.begin() as connection:
        rows = connection.execute(
            text("SELECT s.id FROM inventory.shard s JOIN inventory.job j ON j.id = s.job_id WHERE j.name = :job"),
            {"job": job},
        )
        return list(rows.scalars())


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a job still has to do before it is finished."""

    directories_to_scan: int
    collections_to_make: int
    directories: int


def unfinished(database: Database, job: str) -> Unfinished:
    """Directories still to be scanned or made into collections, and all there are."""
    with database.begin() as connection:
        row = connection.execute(
            text("""
                SELECT count(*) FILTER (WHERE d.state = 'scanning'
                           OR d.state IN ('pending', 'scanned') AND d.next_scan_at IS NOT NULL) AS scan,
                       count(*) FILTER (WHERE d.collection_made_at IS NULL AND NOT d.collection_dead
                           AND d.state <> 'vanished') AS make,
                       count(*) AS directories
                FROM inventory.directory d JOIN inventory.job j ON j.id = d.job_id WHERE j.name = :job"""),
            {"job": job},
        ).one()
        return Unfinished(row.scan, row.make, row.directories)
