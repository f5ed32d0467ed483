"""The lease: one small row a process, kept alive by a heartbeat.

A worker is known by the id of its row and never by its pod's name: a restarted pod with the same name must not look alive.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, text

from inventory.engine import Database

# A claim holds this lock to its commit, and `expire` wants a stronger one on the same row. So a claim either sees that its
# worker was declared dead, or is visible to the reap that follows the declaration; a heartbeat disturbs neither.
ALIVE = """
    SELECT id FROM inventory.worker
    WHERE id = :worker AND expired_at IS NULL AND stopped_at IS NULL FOR KEY SHARE
"""

MAY_RUN = """
    (NOT coalesce(j.handler -> 'overrides' ? 'pre_job', false) OR EXISTS (
        SELECT FROM inventory.pass p WHERE p.job_id = j.id AND p.finished_at IS NULL AND p.pre_done_at IS NOT NULL))
"""
"""A condition on job j: whether what it has to do may be claimed."""


class Lease:
    """A live worker row. `beat` is called from a thread of its own, with a connection of its own.

    The process's clock is asked only for how long it has heard nothing of the inventory; what it says never gets there.
    """

    def __init__(self, database: Database, kind: str, pod: str, version: str, lease_seconds: float = 60) -> None:
        self._database = database
        self._seconds = lease_seconds
        asked_at = time.monotonic()
        with database.begin() as connection:
            self.worker: int = connection.execute(
                text(
                    "INSERT INTO inventory.worker (kind, pod, version)"
                    " VALUES (CAST(:kind AS inventory.worker_kind), :pod, :version) RETURNING id"
                ),
                {"kind": kind, "pod": pod, "version": version},
            ).scalar_one()
        self._heard_at = self._steady_since = asked_at
        self._held_back: str | None = None

    @property
    def is_sure(self) -> bool:
        """Whether nobody can have declared this worker dead yet: it was heard of much less than a lease ago."""
        return time.monotonic() - self._heard_at < 0.8 * self._seconds

    @property
    def may_judge(self) -> bool:
        """Whether this worker may declare others dead: it has heard of the inventory for a whole lease without a gap.

        After an outage of the inventory all are silent, and whoever comes back first must not take the others for dead.
        """
        return self.is_sure and self._heard_at - self._steady_since >= self._seconds

    def hold_back(self, reason: str | None) -> None:
        """Say with the next heartbeats why this worker takes no work: a service is away. None: it works."""
        self._held_back = reason

    def beat(self) -> bool:
        """Say that this worker lives. False when it was declared dead: all it holds belongs to others."""
        asked_at = time.monotonic()
        with self._database.begin() as connection:
            alive = connection.execute(
                text(
                    "UPDATE inventory.worker SET heartbeat_at = now(), held_back = :reason,"
                    " held_back_since = CASE WHEN CAST(:reason AS text) IS NOT NULL THEN coalesce(held_back_since, now()) END"
                    " WHERE id = :worker AND expired_at IS NULL AND stopped_at IS NULL RETURNING id"
                ),
                {"worker": self.worker, "reason": self._held_back},
            ).scalar()
        if alive is not None:
            if time.monotonic() - self._heard_at > self._seconds / 2:
                self._steady_since = time.monotonic()
            self._heard_at = asked_at
        return alive is not None

    def goodbye(self, in_seconds: float = 0) -> None:
        """End the lease, for a process that is gone in so many seconds; then housekeeping gives back what is still claimed.

        The lock waits for a claim of this worker that is being committed though its connection broke: so the reap sees it.
        """
        with self._database.begin() as connection:
            connection.execute(
                text("""
                    WITH me AS MATERIALIZED (
                        SELECT id FROM inventory.worker WHERE id = :worker AND stopped_at IS NULL FOR UPDATE)
                    UPDATE inventory.worker w SET stopped_at = now() + make_interval(secs => :later)
                    FROM me WHERE w.id = me.id"""),
                {"worker": self.worker, "later": in_seconds},
            )


def siblings(database: Database, worker: int) -> int:
    """How many workers of this one's kind live, itself among them."""
    with database.begin() as connection:
        alive = connection.execute(
            text("""
                SELECT count(*) FROM inventory.worker
                WHERE stopped_at IS NULL AND expired_at IS NULL
                  AND kind = (SELECT kind FROM inventory.worker WHERE id = :worker)"""),
            {"worker": worker},
        )
        return max(1, int(alive.scalar_one()))


def expire(connection: Connection, lease_seconds: float) -> list[int]:
    """Declare dead whoever was silent for longer than the lease, by the database's clock. Returns their ids."""
    rows = connection.execute(
        text("""
            WITH silent AS MATERIALIZED (
                SELECT id FROM inventory.worker
                WHERE stopped_at IS NULL AND expired_at IS NULL
                  AND heartbeat_at < now() - make_interval(secs => :lease)
                ORDER BY id FOR UPDATE SKIP LOCKED)
            UPDATE inventory.worker w SET expired_at = now() FROM silent
            WHERE w.id = silent.id AND w.heartbeat_at < now() - make_interval(secs => :lease)
            RETURNING w.id"""),
        {"lease": lease_seconds},
    )
    return [row.id for row in rows]
