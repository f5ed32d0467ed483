"""What workers did when: the rows behind the charts and the time line.

One row a worker, job, stage and ten seconds, written by the very transaction that finishes the files; forgotten after some
hours. Counts of what is where come from `progress`, never from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from inventory.engine import Database

TICK_SECONDS = 10
"""What one row covers."""
FORGET_ROWS = 20_000
"""So many old rows go in one statement."""
_TICK = f"date_bin('{TICK_SECONDS} seconds', clock_timestamp(), TIMESTAMPTZ '2000-01-01 00:00:00+00')"


@dataclass(frozen=True, slots=True)
class Deed:
    """What one statement finished: `began` and `ended` in seconds ago, `busy` in seconds of all threads together."""

    job: int
    stage: str
    files: int
    failed: int
    bytes: int
    began: float
    ended: float
    busy: float


def note(connection: Connection, worker: int, deeds: Sequence[Deed]) -> None:
    """Add to this worker's rows of these ten seconds."""
    for deed in sorted(deeds, key=lambda deed: (deed.job, deed.stage)):
        connection.execute(
            text(f"""
                INSERT INTO inventory.activity AS a
                    (tick_at, worker_id, job_id, stage, files, failed, bytes, began_at, ended_at, busy_seconds)
                VALUES ({_TICK}, :worker, :job, :stage, :files, :failed, :bytes,
                    clock_timestamp() - make_interval(secs => greatest(:began, :ended)),
                    clock_timestamp() - make_interval(secs => :ended), :busy)
                ON CONFLICT (tick_at, worker_id, job_id, stage) DO UPDATE SET
                    files = a.files + excluded.files, failed = a.failed + excluded.failed, bytes = a.bytes + excluded.bytes,
                    began_at = least(a.began_at, excluded.began_at), ended_at = greatest(a.ended_at, excluded.ended_at),
                    busy_seconds = a.busy_seconds + excluded.busy_seconds"""),
            {
                "worker": worker,
                "job": deed.job,
                "stage": deed.stage,
                "files": deed.files,
                "failed": deed.failed,
                "bytes": deed.bytes,
                "began": deed.began,
                "ended": deed.ended,
                "busy": deed.busy,
            },
        )


def forget(connection: Connection, hours: float) -> int:
    """Remove what is older than so many hours, some thousand rows at a time; returns how many were."""
    return connection.execute(
        text("""
            DELETE FROM inventory.activity WHERE (tick_at, worker_id, job_id, stage) IN (
                SELECT tick_at, worker_id, job_id, stage FROM inventory.activity
                WHERE tick_at < now() - make_interval(secs => :seconds)
                ORDER BY tick_at LIMIT :rows FOR UPDATE SKIP LOCKED)"""),
        {"seconds": hours * 3600, "rows": FORGET_ROWS},
    ).rowcount


@dataclass(frozen=True, slots=True)
class Span:
    """What one worker did of one job in one stage within one tick; times are UTC."""

    worker: int
    kind: str
    pod: str
    job: str
    stage: str
    began_at: datetime
    ended_at: datetime
    files: int
    failed: int
    bytes: int
    busy_seconds: float


def spans(database: Database, *, minutes: float, job: str | None = None, limit: int = 50_000) -> list[Span]:
    """The newest `limit` spans of the last minutes, oldest first."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                SELECT * FROM (
                    SELECT a.worker_id, w.kind, w.pod, j.name, a.stage, a.began_at, a.ended_at, a.files, a.failed, a.bytes,
                        a.busy_seconds
                    FROM inventory.activity a JOIN inventory.worker w ON w.id = a.worker_id
                    JOIN inventory.job j ON j.id = a.job_id
                    WHERE a.tick_at >= now() - make_interval(secs => :seconds)
                      AND (CAST(:job AS text) IS NULL OR j.name = :job)
                    ORDER BY a.tick_at DESC, a.worker_id LIMIT :limit) newest
                ORDER BY worker_id, began_at"""),
            {"seconds": minutes * 60, "job": job, "limit": limit},
        )
        return [Span(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Pace:
    """What was done of one stage in one interval of a chart: files and bytes a second."""

    at: datetime
    stage: str
    files_per_second: float
    bytes_per_second: float
    failed: int


def paces(database: Database, *, minutes: float, job: str | None = None, points: int = 120) -> list[Pace]:
    """The rates of the last minutes, in about so many intervals of whole ticks, oldest first; a stage that was idle for a while
    has zeros there."""
    step = max(TICK_SECONDS, round(minutes * 60 / points / TICK_SECONDS) * TICK_SECONDS)
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                SELECT date_bin(make_interval(secs => :step), a.tick_at, TIMESTAMPTZ '2000-01-01 00:00:00+00') AS at, a.stage,
                    sum(a.files) / CAST(:step AS float), sum(a.bytes) / CAST(:step AS float), sum(a.failed)::int
                FROM inventory.activity a
                WHERE a.tick_at >= now() - make_interval(secs => :seconds)
                  AND (CAST(:job AS text) IS NULL OR a.job_id = (SELECT id FROM inventory.job WHERE name = :job))
                GROUP BY 1, 2 ORDER BY 1, 2"""),
            {"seconds": minutes * 60, "step": step, "job": job},
        )
        return _without_gaps([Pace(*row) for row in rows], step)


def _without_gaps(paces: Sequence[Pace], step: int) -> list[Pace]:
    known = {(pace.at, pace.stage): pace for pace in paces}
    filled = []
    for stage in sorted({pace.stage for pace in paces}):
        times = [pace.at for pace in paces if pace.stage == stage]
        at, last = times[0] - timedelta(seconds=step), times[-1] + timedelta(seconds=step)
        while at <= last:
            filled.append(known.get((at, stage), Pace(at, stage, 0.0, 0.0, 0)))
            at += timedelta(seconds=step)
    return sorted(filled, key=lambda pace: (pace.at, pace.stage))


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A worker that lives, or ended lately; `held` is what it has claimed now, the sums are of the time asked for.

    `held_back` is why it takes no work: a service is away.
    """

    worker: int
    kind: str
    pod: str
    version: str
    state: str
    started_at: datetime
    silent_seconds: float
    held: int
    files: int
    failed: int
    bytes: int
    busy_seconds: float
    held_back: str | None


def workers(database: Database, *, minutes: float) -> list[WorkerLine]:
    """The living, and who was heard of in the last minutes, by kind and pod."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                WITH recent AS (
                    SELECT * FROM inventory.worker
                    WHERE stopped_at IS NULL AND expired_at IS NULL
                       OR heartbeat_at >= now() - make_interval(secs => :seconds)
                    ORDER BY id DESC LIMIT 2000)
                SELECT w.id, w.kind::text, w.pod, w.version,
                    CASE WHEN w.expired_at IS NOT NULL THEN 'lost' WHEN w.stopped_at IS NOT NULL THEN 'stopped' ELSE 'alive' END,
                    w.started_at, greatest(0, extract(epoch FROM now() - w.heartbeat_at))::float,
                    (SELECT count(*) FROM inventory.file f WHERE f.claimed_by = w.id),
                    coalesce(sum(a.files), 0)::bigint, coalesce(sum(a.failed), 0)::bigint, coalesce(sum(a.bytes), 0)::bigint,
                    coalesce(sum(a.busy_seconds), 0)::float,
                    CASE WHEN w.stopped_at IS NULL AND w.expired_at IS NULL THEN w.held_back END
                FROM recent w
                LEFT JOIN inventory.activity a ON a.worker_id = w.id AND a.tick_at >= now() - make_interval(secs => :seconds)
                GROUP BY w.id, w.kind, w.pod, w.version, w.expired_at, w.stopped_at, w.started_at, w.heartbeat_at, w.held_back
                ORDER BY w.kind, w.pod, w.id"""),
            {"seconds": minutes * 60},
        )
        return [WorkerLine(*row) for row in rows]
