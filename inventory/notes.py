"""What event handlers keep from one call to another, for all pods of a job: counters and small values by key."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import text

from core import readable
from inventory.engine import Database


def _kept(words: str) -> str:
    """A text as Postgres can hold it: names may have bytes that are no UTF-8."""
    return readable.printable(words).replace("\0", "\\x00")


class JobNotes:
    """The notes of one job. Every call is one statement."""

    def __init__(self, database: Database, job: int) -> None:
        self._database = database
        self._job = job

    def get(self, key: str) -> Any:
        """The value kept under a key, or None."""
        return self._scalar("SELECT value FROM inventory.handler_note WHERE job_id = :job AND key = :key", key=key)

    def set(self, key: str, value: Any) -> None:
        """Keep a number or a text."""
        self._scalar(
            """
            INSERT INTO inventory.handler_note (job_id, key, value) VALUES (:job, :key, CAST(:value AS jsonb))
            ON CONFLICT (job_id, key) DO UPDATE SET value = excluded.value RETURNING 1""",
            key=key,
            value=json.dumps(_kept(value) if isinstance(value, str) else value),
        )

    def add(self, key: str, amount: float) -> float:
        """Add to a number, beginning at 0, and return the sum."""
        return float(
            self._scalar(
                """
                INSERT INTO inventory.handler_note AS n (job_id, key, value) VALUES (:job, :key, to_jsonb(CAST(:amount AS numeric)))
                ON CONFLICT (job_id, key) DO UPDATE
                    SET value = to_jsonb((n.value #>> '{}')::numeric + CAST(:amount AS numeric)) RETURNING value""",
                key=key,
                amount=amount,
            )
        )

    def delete(self, key: str) -> None:
        """Forget a key."""
        self._scalar("DELETE FROM inventory.handler_note WHERE job_id = :job AND key = :key RETURNING 1", key=key)

    def count(self, what: str) -> int:
        """How many `failures` or `retries` the newest pass has had, as it was counted when it finished."""
        column = "failed" if what == "failures" else "retried"
        found = self._scalar(
            f"SELECT {column} FROM inventory.pass WHERE job_id = :job ORDER BY number DESC LIMIT 1", key=""
        )
        return int(found or 0)

    def _scalar(self, statement: str, *, key: str, **values: object) -> Any:
        with self._database.begin() as connection:
            return connection.execute(text(statement), {"job": self._job, "key": _kept(key), **values}).scalar()
