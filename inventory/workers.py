"""The lease: one small row a process, kept alive by a heartbeat.

A worker is known by the id of its row and never by its pod's name: a restarted pod with the same name must not look alive.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from inventory.engine import Database

# A claim holds this lock to its commit, and `expire` wants a stronger one on the same row. So a claim either sees that its
# worker was declared dead, or is visible to the reap that follows the declaration; a heartbeat disturbs neither.
ALIVE = """
    SELECT id FROM inventory.worker
    WHERE id = :worker AND expired_at IS NULL AND stopped_at IS NULL FOR KEY SHARE
"""


class Lease:
    """A live worker row. `beat` is called from a thread of its own, with a connection of its own."""

    def __init__(self, database: Database, kind: str, pod: str, version: str) -> None:
        self._database = database
        with database.begin() as connection:
            self.worker: int = connection.execute(
                text(
                    "INSERT INTO inventory.worker (kind, pod, version)"
                    " VALUES (CAST(:kind AS inventory.worker_kind), :pod, :version) RETURNING id"
                ),
                {"kind": kind, "pod": pod, "version": version},
            ).scalar_one()

    def beat(self) -> bool:
        """Say that this worker lives. False when it was declared dead: all it holds belongs to others."""
        with self._database.begin() as connection:
            return (
                connection.execute(
                    text(
                        "UPDATE inventory.worker SET heartbeat_at = now()"
                        " WHERE id = :worker AND expired_at IS NULL AND stopped_at IS NULL RETURNING id"
                    ),
                    {"worker": self.worker},
                ).scalar()
                is not None
            )

    def goodbye(self) -> None:
        """End the lease; housekeeping gives back what is still claimed."""
        with self._database.begin() as connection:
            connection.execute(
                text("UPDATE inventory.worker SET stopped_at = now() WHERE id = :worker AND stopped_at IS NULL"),
                {"worker": self.worker},
            )


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
