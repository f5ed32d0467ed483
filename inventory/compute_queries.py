"""Questions about compute tasks. Nothing here changes a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from core.rules import Rule
from inventory.engine import Database

STATES = ("waiting", "requested", "submitted", "running", "succeeded", "dead")
"""All states of a task, in the order of its life."""


@dataclass(frozen=True, slots=True)
class TaskLine:
    """All that is known of one task. Times are UTC."""

    id: int
    rule: str
    input: str
    generation: int
    state: str
    attempts: int
    k8s_job: str
    output: str | None
    resource: str | None
    image_digest: str | None
    exit_code: int | None
    error: str | None
    message: str | None
    log: str | None
    requested_at: datetime
    submitted_at: datetime | None
    finished_at: datetime | None
    check_at: datetime
    pod: str | None


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A rule in force, and how many of its tasks are in which state."""

    rule: Rule
    source: str
    tasks: dict[str, int]


_LINES = """
    SELECT c.id, c.rule, c.input, c.generation, c.state::text, c.attempts, c.k8s_name || '-' || c.attempts AS k8s_job, c.output,
        c.resource, c.image_digest, c.exit_code, c.error, c.message, c.log, c.requested_at, c.submitted_at, c.finished_at,
        c.check_at, w.pod
    FROM inventory.compute_job c LEFT JOIN inventory.worker w ON w.id = c.claimed_by
"""


def tasks(
    database: Database, *, rule: str | None = None, states: Sequence[str] = (), limit: int = 100
) -> list[TaskLine]:
    """The newest tasks of a rule and of some states; empty means all."""
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                {_LINES} WHERE (CAST(:rule AS text) IS NULL OR c.rule = :rule)
                    AND (:all OR c.state = ANY(CAST(:states AS inventory.compute_state[])))
                ORDER BY c.id DESC LIMIT :limit"""),
            {"rule": rule, "states": list(states), "all": not states, "limit": limit},
        )
        return [TaskLine(*row) for row in rows]


def task(database: Database, id: int) -> TaskLine | None:
    """One task, or None."""
    with database.begin() as connection:
        row = connection.execute(text(f"{_LINES} WHERE c.id = :id"), {"id": id}).one_or_none()
        return TaskLine(*row) if row else None


def counts(database: Database) -> dict[str, dict[str, int]]:
    """How many tasks are in which state, by rule."""
    with database.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT rule, state::text AS state, count(*) AS tasks FROM inventory.compute_job GROUP BY 1, 2 ORDER BY 1, 2"
            )
        )
        found: dict[str, dict[str, int]] = {}
        for row in rows:
            found.setdefault(row.rule, {})[row.state] = row.tasks
        return found


def rules(database: Database) -> list[RuleLine]:
    """The rules in force, by name."""
    by_rule = counts(database)
    with database.begin() as connection:
        rows = connection.execute(text("SELECT name, source, rule FROM inventory.compute_rule ORDER BY name"))
        return [RuleLine(Rule.model_validate(row.rule), row.source, by_rule.get(row.name, {})) for row in rows]
