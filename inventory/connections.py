"""How many iRODS connections this worker may have: a cap for all pods together, kept where all can see it.

The cap falls by half when the server says that it is overloaded and grows by one every ten seconds until it is at its
setting again (additive increase, multiplicative decrease).
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from inventory.engine import Database

GROW_SECONDS = 10.0
SHRINK_SECONDS = 5.0
"""An overload is felt by many pods at once; within so many seconds it counts once."""


def grant(database: Database, worker: int, wanted: int, most: int, held: int = 0) -> int:
    """How many connections this worker may have now: at most `wanted`, its fair share of the cap, and what is left.

    `most` is the cap that is set. A new worker gets what is free, and more as the others see that they have to share, and
    have closed what is above their share: `held` are those that this worker has open, which count until they are closed.
    """
    with database.begin() as connection:
        cap = _cap(connection, most)
        others = connection.execute(
            text("""
                SELECT count(*) AS workers, coalesce(sum(connections), 0)::int AS taken FROM inventory.worker
                WHERE stopped_at IS NULL AND expired_at IS NULL AND kind IN ('loader', 'verifier') AND id <> :worker"""),
            {"worker": worker},
        ).one()
        fair = max(1, cap // (others.workers + 1))
        granted = max(0, min(wanted, fair, cap - others.taken))
        connection.execute(
            text("UPDATE inventory.worker SET connections = :taken WHERE id = :worker AND connections <> :taken"),
            {"taken": max(granted, held), "worker": worker},
        )
        return int(granted)


def _cap(connection: Connection, most: int) -> int:
    """The cap, grown when it is time; its row is locked, so that no two workers take the same connection."""
    connection.execute(
        text("INSERT INTO inventory.connection_limit (connections) VALUES (:most) ON CONFLICT DO NOTHING"),
        {"most": most},
    )
    connection.execute(
        text("""
            UPDATE inventory.connection_limit SET changed_at = now(), connections = least(:most, connections + 1)
            WHERE connections > :most OR connections < :most AND changed_at < now() - make_interval(secs => :grow)"""),
        {"most": most, "grow": GROW_SECONDS},
    )
    cap: int = connection.execute(text("SELECT connections FROM inventory.connection_limit FOR UPDATE")).scalar_one()
    return cap


def overloaded(database: Database) -> None:
    """Halve the cap, because the server said that it has too much to do."""
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.connection_limit SET connections = greatest(1, connections / 2), changed_at = now()
                WHERE changed_at < now() - make_interval(secs => :shrink)"""),
            {"shrink": SHRINK_SECONDS},
        )
