"""Passes of a job over its source: what is begun and ended as one, with pre_job before it and post_job after it.

A running job always has one open pass. A single-pass job ends with it. A pass of a job that is scanned again and again ends at the
first moment at which every directory was looked at since the last one ended and nothing is left to do but what waits for a retry;
the next one begins when a directory is due.

Who runs pre_job and post_job is a loader that has claimed it. When it dies the claim is taken from it and another one runs it: at
least once. While a pre_job is due nothing of the job is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Connection, text

from inventory import endings
from inventory.claims import Limits
from inventory.engine import Database
from inventory.workers import ALIVE

Event = Literal["pre_job", "post_job"]


@dataclass(frozen=True)
class Pass:
    """A row of `pass`; `counts` are (files, bytes) by state when it finished."""

    job_id: int
    number: int
    started_at: datetime | None
    finished_at: datetime | None
    post_done_at: datetime | None
    failed: int | None
    retried: int | None
    counts: dict[str, tuple[int, int]]
    error: str | None


class ClaimedEvent(NamedTuple):
    """A pre_job or post_job that this worker is to run."""

    pass_id: int
    job_id: int
    number: int
    event: Event
    attempts: int

    def __str__(self) -> str:
        return f"{self.event} of pass {self.number}"


def listed(database: Database, job: int) -> list[Pass]:
    """The passes of a job, oldest first."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                SELECT job_id, number, started_at, finished_at, post_done_at, failed, retried, counts, error
                FROM inventory.pass WHERE job_id = :job ORDER BY number"""),
            {"job": job},
        )
        return [
            Pass(**row._asdict() | {"counts": {state: tuple(both) for state, both in (row.counts or {}).items()}})
            for row in rows
        ]


def ensure(connection: Connection) -> None:
    """Give each running job an open pass, and begin those for which a directory is due, or whose root was looked at since.

    All directories of a pass may have become due, and been looked at, between two calls of this.
    """
    connection.execute(
        text("""
            INSERT INTO inventory.pass (job_id, number, since, pre_done_at)
            SELECT j.id, coalesce(last.number, 0) + 1, coalesce(last.finished_at, j.started_at),
                   CASE WHEN NOT coalesce(j.handler -> 'overrides' ? 'pre_job', false) THEN now() END
            FROM inventory.job j LEFT JOIN LATERAL (
                SELECT number, finished_at, post_done_at FROM inventory.pass p WHERE p.job_id = j.id
                ORDER BY number DESC LIMIT 1) last ON true
            WHERE j.state = 'running' AND (last.number IS NULL OR last.post_done_at IS NOT NULL)
            ON CONFLICT DO NOTHING""")
    )
    connection.execute(
        text("""
            WITH opened AS MATERIALIZED (
                SELECT p.id, (
                    SELECT greatest(p.since, min(d.scan_started_at)) FROM inventory.directory d
                    WHERE d.job_id = j.id AND d.path = '' AND d.scan_finished_at > p.since HAVING count(*) > 0) AS looked_at,
                    j.settings ->> 'rescan_seconds' IS NULL OR EXISTS (
                        SELECT FROM inventory.directory d WHERE d.job_id = j.id AND d.state IN ('pending', 'scanned')
                        AND d.next_scan_at <= now()) AS due
                FROM inventory.pass p JOIN inventory.job j ON j.id = p.job_id
                WHERE j.state = 'running' AND p.started_at IS NULL FOR UPDATE OF p)
            UPDATE inventory.pass p SET started_at = coalesce(o.looked_at, now())
            FROM opened o WHERE p.id = o.id AND (o.due OR o.looked_at IS NOT NULL)""")
    )


def claim_events(database: Database, worker: int, jobs: Sequence[int]) -> list[ClaimedEvent]:
    """Claim what of pre_job and post_job is due in these running jobs."""
    if not jobs:
        return []
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                WITH alive AS MATERIALIZED ({ALIVE}), due AS MATERIALIZED (
                    SELECT p.id FROM inventory.pass p JOIN inventory.job j ON j.id = p.job_id
                    WHERE p.job_id = ANY(:jobs) AND j.state = 'running' AND p.started_at IS NOT NULL
                      AND (p.pre_done_at IS NULL OR p.finished_at IS NOT NULL AND p.post_done_at IS NULL)
                      AND p.hook_claimed_by IS NULL AND (p.hook_retry_at IS NULL OR p.hook_retry_at <= now())
                      AND EXISTS (SELECT FROM alive)
                    FOR UPDATE OF p SKIP LOCKED)
                UPDATE inventory.pass p SET hook_claimed_by = :worker FROM due WHERE p.id = due.id
                RETURNING p.id, p.job_id, p.number,
                    CASE WHEN p.pre_done_at IS NULL THEN 'pre_job' ELSE 'post_job' END, p.hook_attempts"""),
            {"worker": worker, "jobs": list(jobs)},
        )
        return [ClaimedEvent(*row) for row in rows]


def done(database: Database, worker: int, event: ClaimedEvent) -> bool:
    """Record that it has returned. False when it was no longer this worker's."""
    column = "pre_done_at" if event.event == "pre_job" else "post_done_at"
    with database.begin() as connection:
        written = connection.execute(
            text(f"""
                UPDATE inventory.pass SET {column} = now(), hook_claimed_by = NULL, hook_attempts = 0, hook_retry_at = NULL,
                    error = NULL
                WHERE id = :id AND hook_claimed_by = :worker AND {column} IS NULL"""),
            {"id": event.pass_id, "worker": worker},
        )
        if event.event == "post_job" and written.rowcount:
            endings.finish_jobs(connection, [event.job_id])
        return written.rowcount == 1


def failed(
    database: Database, worker: int, event: ClaimedEvent, error: str, limits: Limits, *, permanent: bool
) -> bool:
    """Record a failed attempt: tried again later; in the end a pre_job stops its job and a post_job is given up.

    False when it was no longer this worker's.
    """
    over = permanent or event.attempts + 1 >= limits.max_attempts
    with database.begin() as connection:
        written = connection.execute(
            text("""
                UPDATE inventory.pass SET hook_claimed_by = NULL, error = :error,
                    hook_attempts = CASE WHEN :over THEN 0 ELSE hook_attempts + 1 END,
                    post_done_at = CASE WHEN :over AND pre_done_at IS NOT NULL THEN now() END,
                    hook_retry_at = CASE WHEN NOT :over THEN now() + make_interval(secs =>
                        least(:longest, :shortest * power(2, least(hook_attempts, 30)))) END
                WHERE id = :id AND hook_claimed_by = :worker"""),
            {
                "id": event.pass_id,
                "worker": worker,
                "error": f"{event.event}: {error}",
                "over": over,
                "longest": limits.retry_max_seconds,
                "shortest": limits.retry_seconds,
            },
        )
        if written.rowcount and over and event.event == "pre_job":
            connection.execute(
                text(
                    "UPDATE inventory.job SET state = 'stopped', finished_at = now() WHERE id = :job AND state = 'running'"
                ),
                {"job": event.job_id},
            )
        elif written.rowcount and over:
            endings.finish_jobs(connection, [event.job_id])
        return written.rowcount == 1


def keep(database: Database, worker: int, events: Sequence[ClaimedEvent]) -> None:
    """Give back uncounted whatever this worker has claimed besides these."""
    with database.begin() as connection:
        connection.execute(
            text(
                "UPDATE inventory.pass SET hook_claimed_by = NULL WHERE hook_claimed_by = :worker AND id <> ALL(:ids)"
            ),
            {"worker": worker, "ids": [event.pass_id for event in events]},
        )


def release(database: Database, worker: int, events: Sequence[ClaimedEvent]) -> None:
    """Give back uncounted what was not run."""
    with database.begin() as connection:
        connection.execute(
            text("UPDATE inventory.pass SET hook_claimed_by = NULL WHERE hook_claimed_by = :worker AND id = ANY(:ids)"),
            {"worker": worker, "ids": [event.pass_id for event in events]},
        )


def reap(connection: Connection, gone: Sequence[int]) -> None:
    """Take claims from the dead."""
    connection.execute(
        text("UPDATE inventory.pass SET hook_claimed_by = NULL WHERE hook_claimed_by = ANY(:gone)"),
        {"gone": list(gone)},
    )
