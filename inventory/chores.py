"""What one pod does for all once in a while, outside of the inventory: whose turn it is."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from inventory.engine import Database


def claim(database: Database, name: str, every_seconds: float) -> datetime | None:
    """The inventory's time when the caller is to do the chore now, which is once in so many seconds for one caller; else
    None.

    A pod that dies over it costs a turn: what it left is done by the next one.
    """
    with database.begin() as connection:
        mine = connection.execute(
            text("""
                INSERT INTO inventory.chore AS c (name, begun_at) VALUES (:name, now())
                ON CONFLICT (name) DO UPDATE SET begun_at = now()
                WHERE c.begun_at <= now() - make_interval(secs => :every) RETURNING begun_at"""),
            {"name": name, "every": every_seconds},
        )
        return mine.scalar_one_or_none()
