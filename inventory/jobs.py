"""Ingest jobs: what is brought where, and how."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from core.errors import UsageError
from core.settings import JobSettings
from inventory import endings, passes
from inventory.engine import Database
from inventory.partitions import add_shards, make_shards, shards_for
from inventory.workers import MAY_RUN

_COLUMNS = "id, name, state, source_url, target_collection, settings, started_at, finished_at, handler"


@dataclass(frozen=True)
class HandlerRecord:
    """A job's event handler: the name of its file, the digest of it, and the events it has a say in."""

    file: str
    sha256: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """A row of `job`; `shards` are the ids of its partitions."""

    id: int
    name: str
    state: str
    source_url: str
    target_collection: str
    settings: JobSettings
    started_at: datetime
    finished_at: datetime | None
    shards: tuple[int, ...] = ()
    handler: HandlerRecord | None = None
    begun: bool = True
    """False while its pre_job is due: then nothing of it is claimed."""

    @property
    def has_code(self) -> bool:
        """Whether code of a person's runs for its files."""
        return self.handler is not None or self.settings.extract_metadata is not None

    def hears(self, *events: str) -> bool:
        """Whether the job has an event handler with a say in any of these."""
        return self.handler is not None and not set(events).isdisjoint(self.handler.overrides)


def _job(row: Row[Any], shards: tuple[int, ...] = (), *, begun: bool = True) -> Job:
    return Job(
        id=row.id,
        name=row.name,
        state=row.state,
        source_url=row.source_url,
        target_collection=row.target_collection,
        settings=JobSettings.model_validate(row.settings),
        started_at=row.started_at,
        finished_at=row.finished_at,
        shards=shards,
        handler=HandlerRecord(**row.handler | {"overrides": tuple(row.handler["overrides"])}) if row.handler else None,
        begun=begun,
    )


def note(connection: Connection, actor: str, kind: str, job: int | None = None, **detail: object) -> None:
    """Write one audit record."""
    connection.execute(
        text(
            "INSERT INTO inventory.event (actor, kind, job_id, detail) VALUES (:actor, :kind, :job, CAST(:detail AS jsonb))"
        ),
        {"actor": actor, "kind": kind, "job": job, "detail": json.dumps(detail, default=str)},
    )


def start(
    database: Database,
    name: str,
    source_url: str,
    target: str,
    settings: JobSettings,
    *,
    handler: HandlerRecord | None = None,
    actor: str = "cli",
) -> Job:
    """Create a job with its shards and its root directory; pods begin at once.

    Raises UsageError when the name is in use.
    """
    try:
        with database.begin() as connection:
            row = connection.execute(
                text(
                    "INSERT INTO inventory.job (name, source_url, target_collection, settings, handler)"
                    " VALUES (:name, :source, :target, CAST(:settings AS jsonb), CAST(:handler AS jsonb))"
                    f" RETURNING {_COLUMNS}"
                ),
                {
                    "name": name,
                    "source": source_url,
                    "target": target,
                    "settings": settings.model_dump_json(),
                    "handler": json.dumps(asdict(handler)) if handler else None,
                },
            ).one()
            shards = make_shards(connection, row.id, shards_for(settings))
            connection.execute(
                text("""
                    INSERT INTO inventory.directory (job_id, shard, path, next_scan_at)
                    VALUES (:job, :shard, '', CASE WHEN :named THEN 'infinity' ELSE now() END)"""),
                {"job": row.id, "shard": shards[0], "named": settings.manifest is not None},
            )
            passes.ensure(connection)
            note(connection, actor, "job_started", row.id, name=name, source=source_url, target=target)
    except IntegrityError as error:
        raise UsageError(f"job {name!r} exists already", "choose another --name, or see `ingest job list`") from error
    # the job runs by now: should this be cut short, it has fewer shards and grows when they are full
    more = add_shards(database, row.id, shards_for(settings) - len(shards))
    return _job(row, (*shards, *more))


def find(database: Database, name: str) -> Job | None:
    """The job of that name, or None."""
    if "\0" in name:  # no text in Postgres has it
        return None
    with database.begin() as connection:
        row = connection.execute(
            text(f"SELECT {_COLUMNS} FROM inventory.job WHERE name = :name"), {"name": name}
        ).first()
        if row is None:
            return None
        shards = connection.execute(
            text("SELECT id FROM inventory.shard WHERE job_id = :job ORDER BY id"), {"job": row.id}
        )
        return _job(row, tuple(shards.scalars()))


def listed(database: Database, *, running: bool = False) -> list[Job]:
    """All jobs, or the running ones, oldest first, each with its shards; `begun` is whether its work may be claimed."""
    with database.begin() as connection:
        rows = connection.execute(
            text(f"""
                SELECT {_COLUMNS}, {MAY_RUN} AS begun,
                    (SELECT array_agg(s.id ORDER BY s.id) FROM inventory.shard s WHERE s.job_id = j.id) AS shards
                FROM inventory.job j WHERE NOT :running OR state = 'running' ORDER BY id"""),
            {"running": running},
        )
        return [_job(row, tuple(row.shards or ()), begun=row.begun) for row in rows]


def rescan(database: Database, job: int, *, actor: str = "cli") -> None:
    """Look at every directory of a job again, now, and compare every name; a finished or stopped job runs again.

    Raises UsageError when it is cancelled, or takes its files from a manifest.
    """
    with database.begin() as connection:
        refuse_by_manifest(connection, job)
        endings.hold_off(connection)
        _change(connection, job, "running", _BEFORE["running"] | {"finished"})
        connection.execute(
            text("""
                UPDATE inventory.directory SET next_scan_at = now(), attempts = 0, reaps = 0, steady = false, listing_digest = NULL,
                    state = CASE state WHEN 'scanned' THEN 'scanned' ELSE 'pending' END::inventory.directory_state
                WHERE job_id = :job AND state IN ('pending', 'scanned', 'dead')"""),
            {"job": job},
        )
        connection.execute(
            text("UPDATE inventory.pass SET deletes_judged_at = NULL WHERE job_id = :job AND finished_at IS NULL"),
            {"job": job},
        )
        note(connection, actor, "job_rescanned", job)


_BEFORE: dict[str, frozenset[str]] = {
    "running": frozenset({"running", "paused", "stopped"}),
    "paused": frozenset({"running", "paused"}),
    "stopped": frozenset({"running", "paused", "stopped"}),
    "cancelled": frozenset({"running", "paused", "stopped", "cancelled"}),
}
"""From which states a person may bring a job into another one; a job that is there already stays there."""
_HINTS = {
    "finished": "`ingest job rescan` has it look at its source again",
    "cancelled": "nothing of a cancelled job goes on; start another one",
    "stopped": "`ingest job resume` goes on with it",
}


def set_state(database: Database, job: int, state: str, *, actor: str = "cli") -> None:
    """Pause, stop, resume or cancel a job: one statement, seen by every claim that follows.

    Raises UsageError when the job is in a state from which it cannot get there.
    """
    with database.begin() as connection:
        _change(connection, job, state, _BEFORE[state])
        note(connection, actor, f"job_{state}", job)


def _change(connection: Connection, job: int, state: str, before: frozenset[str]) -> None:
    changed = connection.execute(
        text("""
            UPDATE inventory.job SET state = CAST(:state AS inventory.job_state),
                finished_at = CASE WHEN :state IN ('stopped', 'cancelled') THEN coalesce(finished_at, now()) END
            WHERE id = :job AND state = ANY(CAST(:before AS inventory.job_state[]))"""),
        {"job": job, "state": state, "before": sorted(before)},
    )
    if changed.rowcount == 0:
        row = connection.execute(text("SELECT name, state FROM inventory.job WHERE id = :job"), {"job": job}).first()
        if row is None:
            raise UsageError(f"there is no job {job}", "see `ingest job list`")
        raise UsageError(f"job {row.name!r} is {row.state}", _HINTS.get(row.state, "see `ingest job list`"))


def refuse_cancelled(connection: Connection, name: str) -> None:
    """Raises UsageError when a job is cancelled."""
    state = connection.execute(text("SELECT state FROM inventory.job WHERE name = :name"), {"name": name}).scalar()
    if state == "cancelled":
        raise UsageError(f"job {name!r} is cancelled", _HINTS["cancelled"])


def refuse_by_manifest(connection: Connection, job: int) -> None:
    """Raises UsageError for a job whose source is never listed."""
    row = connection.execute(
        text("SELECT name, settings ->> 'manifest' AS manifest FROM inventory.job WHERE id = :job"), {"job": job}
    ).first()
    if row is not None and row.manifest is not None:
        raise UsageError(
            f"job {row.name!r} takes its files from a manifest", f"`ingest job add {row.name} FILE` reads one"
        )


def set_settings(database: Database, job: int, changes: Mapping[str, object], *, actor: str = "cli") -> None:
    """Change settings of a job while it runs; pods go by them a second later. The values must be checked already."""
    with database.begin() as connection:
        connection.execute(
            text("UPDATE inventory.job SET settings = settings || CAST(:changes AS jsonb) WHERE id = :job"),
            {"job": job, "changes": json.dumps(dict(changes))},
        )
        if "reverify_days" in changes:  # the walk may be resting for a share of what it was
            connection.execute(text("UPDATE inventory.shard SET reverify_at = now() WHERE job_id = :job"), {"job": job})
        note(connection, actor, "job_changed", job, **changes)
