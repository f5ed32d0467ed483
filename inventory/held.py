"""What the guard of deletions holds back, and a person's word that it may go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from core.errors import UsageError
from inventory import endings, jobs
from inventory.engine import Database


@dataclass(frozen=True, slots=True)
class Held:
    """What the guard holds back of a job: so many files, or collections; counted up to guard.COUNTED."""

    held: int
    judged_to: datetime | None


def held(database: Database, job: int) -> Held:
    """What is held back of a job; 0 where nothing is."""
    with database.begin() as connection:
        row = connection.execute(
            text("SELECT deletes_held, deletes_judged_to FROM inventory.job WHERE id = :job"), {"job": job}
        ).one()
        return Held(row.deletes_held, row.deletes_judged_to)


def confirm(database: Database, job: int, seen: Held, *, actor: str = "cli") -> None:
    """Clear what was held when a person saw it; a finished job runs again for it. Raises UsageError when that has changed."""
    with database.begin() as connection:
        endings.hold_off(connection)
        done = connection.execute(
            text("""
                UPDATE inventory.job SET deletes_cleared_at = deletes_judged_to, deletes_held = 0,
                    finished_at = CASE WHEN state <> 'finished' THEN finished_at END,
                    state = CASE WHEN state = 'finished' THEN 'running' ELSE state END
                WHERE id = :job AND state <> 'cancelled' AND deletes_held > 0 AND deletes_held = :held
                  AND deletes_judged_to = :judged_to"""),
            {"job": job, "held": seen.held, "judged_to": seen.judged_to},
        )
        if done.rowcount == 0:
            raise UsageError("what the guard holds back has changed meanwhile", "look again with `ingest job show`")
        jobs.note(connection, actor, "deletes_confirmed", job, held=seen.held)
