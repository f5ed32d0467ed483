"""Who works: workers with their leases, what they hold and how fast they are. Nothing here changes a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import text

from inventory.engine import Database

RATE_SECONDS = 60
"""Rates are those of the last minute."""
GONE_MINUTES = 10
"""For so long those are shown who are no more."""

LeaseState = Literal["alive", "silent", "stopped", "expired"]


@dataclass(frozen=True, slots=True)
class Worker:
    """One process; `lease` is silent when it should have been heard of but is not dead yet.

    `files` and `directories` are what it holds now; `seconds` for how long nothing was heard of it; rates are a second, over the
    last minute, of all its stages. `held_back` is why it takes no work since `held_back_since`: a service is away.
    """

    id: int
    kind: str
    pod: str
    version: str
    started_at: datetime
    lease: LeaseState
    seconds: float
    files: int
    directories: int
    files_per_second: float
    bytes_per_second: float
    held_back: str | None
    held_back_since: datetime | None


def workers(database: Database, heartbeat_seconds: float) -> list[Worker]:
    """All who live, and those who ended within the last minutes; by kind, the oldest first. Raises Unavailable."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                WITH w AS MATERIALIZED (
                    SELECT id, kind::text AS kind, pod, version, started_at, stopped_at, expired_at, held_back, held_back_since,
                        extract(epoch FROM now() - heartbeat_at)::float AS seconds
                    FROM inventory.worker
                    WHERE stopped_at IS NULL AND expired_at IS NULL OR heartbeat_at > now() - make_interval(mins => :gone)),
                mine AS (SELECT array_agg(id) AS ids FROM w),
                held AS (
                    SELECT f.claimed_by AS id, count(*) AS files FROM inventory.file f
                    WHERE f.claimed_by = ANY((SELECT ids FROM mine)::int[]) GROUP BY 1),
                scanned AS (
                    SELECT claimed_by AS id, count(*) AS n FROM inventory.directory
                    WHERE claimed_by = ANY((SELECT ids FROM mine)::int[]) GROUP BY 1),
                made AS (
                    SELECT collection_claimed_by AS id, count(*) AS n FROM inventory.directory
                    WHERE collection_claimed_by = ANY((SELECT ids FROM mine)::int[]) GROUP BY 1),
                rate AS (
                    SELECT worker_id AS id, sum(files)::float AS files, sum(bytes)::float AS bytes FROM inventory.activity
                    WHERE tick_at >= now() - make_interval(secs => :window) GROUP BY 1)
                SELECT w.id, w.kind, w.pod, w.version, w.started_at,
                    CASE WHEN w.expired_at IS NOT NULL THEN 'expired' WHEN w.stopped_at IS NOT NULL THEN 'stopped'
                         WHEN w.seconds > 3 * :beat THEN 'silent' ELSE 'alive' END,
                    greatest(w.seconds, 0), coalesce(held.files, 0), coalesce(scanned.n, 0) + coalesce(made.n, 0),
                    coalesce(rate.files, 0) / :window, coalesce(rate.bytes, 0) / :window,
                    w.held_back, w.held_back_since
                FROM w LEFT JOIN held ON held.id = w.id LEFT JOIN scanned ON scanned.id = w.id
                    LEFT JOIN made ON made.id = w.id LEFT JOIN rate ON rate.id = w.id
                ORDER BY w.kind, w.id"""),
            {"gone": GONE_MINUTES, "beat": heartbeat_seconds, "window": RATE_SECONDS},
        )
        return [Worker(*row) for row in rows]
