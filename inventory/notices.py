"""What is to be told of passes that are over, kept until it was taken.

A trigger writes the rows in the very transaction that ends a pass. Whoever delivers one claims it first, by setting when it is due
again: a pod that dies in between costs a delay, and a notice may be told twice but never be lost.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import structlog
from sqlalchemy import text

from core import hints, notify
from core.errors import IngestError
from core.notify import Channel
from core.settings import NotifySettings
from inventory import failures
from inventory.engine import Database
from inventory.failures import Wanted

AT_ONCE = 10
log = structlog.get_logger()


class ClaimedNotice(NamedTuple):
    """A notice that this process is to deliver now. `id` is the same at each attempt and for each channel."""

    pass_id: int
    channel: Channel
    attempts: int

    @property
    def id(self) -> str:
        """Names the notice."""
        return f"pass-{self.pass_id}"


class Undelivered(NamedTuple):
    """A notice that nobody took so far."""

    job: str
    number: int
    channel: str
    attempts: int
    age_seconds: float
    error: str | None


def claim(database: Database, channels: Sequence[Channel], keep_days: float) -> list[ClaimedNotice]:
    """Notices that are due; each is due again after 30 s · 2^attempts, at most an hour, should this be the last of it."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                WITH due AS MATERIALIZED (
                    SELECT pass_id, channel FROM inventory.notice
                    WHERE sent_at IS NULL AND due_at <= now() AND channel = ANY(:channels)
                      AND created_at > now() - make_interval(secs => :keep)
                    ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED)
                UPDATE inventory.notice n SET attempts = n.attempts + 1,
                    due_at = now() + make_interval(secs => least(3600, 30 * power(2, least(n.attempts, 10))))
                FROM due WHERE n.pass_id = due.pass_id AND n.channel = due.channel
                RETURNING n.pass_id, n.channel, n.attempts"""),
            {"channels": list(channels), "keep": keep_days * 86_400, "limit": AT_ONCE},
        )
        return [ClaimedNotice(*row) for row in rows]


def settle(database: Database, notice: ClaimedNotice, error: str | None) -> None:
    """Note that a notice was taken, or why it was not."""
    with database.begin() as connection:
        connection.execute(
            text("""
                UPDATE inventory.notice SET error = :error, sent_at = CASE WHEN CAST(:error AS text) IS NULL THEN now() END
                WHERE pass_id = :pass AND channel = :channel AND sent_at IS NULL"""),
            {"pass": notice.pass_id, "channel": notice.channel, "error": error},
        )


def undelivered(database: Database) -> list[Undelivered]:
    """What nobody took so far, though it was tried, the oldest first."""
    with database.begin() as connection:
        rows = connection.execute(
            text("""
                SELECT j.name, p.number, n.channel, n.attempts, extract(epoch FROM now() - n.created_at)::float, n.error
                FROM inventory.notice n JOIN inventory.pass p ON p.id = n.pass_id JOIN inventory.job j ON j.id = p.job_id
                WHERE n.sent_at IS NULL AND n.attempts > 0 ORDER BY n.created_at LIMIT 1000""")
        )
        return [Undelivered(*row) for row in rows]


def message(database: Database, notice: ClaimedNotice) -> tuple[dict[str, Any], bool]:
    """What is told of a pass, and whether anything is new in it: its counts are others than before, or files were given up."""
    with database.begin() as connection:
        row = connection.execute(
            text("""
                SELECT j.name AS job, j.state::text AS state, j.source_url AS source, j.target_collection AS collection, p.number,
                    p.started_at, p.finished_at, coalesce(p.counts, '{}') AS counts, coalesce(p.failed, 0) AS failed,
                    coalesce(p.retried, 0) AS retried, p.error,
                    p.number = 1 OR p.failed > 0 OR p.counts IS DISTINCT FROM b.counts AS changed
                FROM inventory.pass p JOIN inventory.job j ON j.id = p.job_id
                LEFT JOIN inventory.pass b ON b.job_id = p.job_id AND b.number = p.number - 1 WHERE p.id = :id"""),
            {"id": notice.pass_id},
        ).one()
    states = {state: {"files": files, "bytes": size} for state, (files, size) in row.counts.items()}
    groups = failures.groups(database, Wanted(job=row.job))
    dead = states.get("dead", {"files": 0})["files"]
    told = {
        "id": notice.id,
        "event": "pass_ended",
        "subject": f"Job {row.job}, pass {row.number}: {dead} dead of {sum(one['files'] for one in states.values())} files",
        "job": row.job,
        "job_state": row.state,
        "pass": row.number,
        "source": row.source,
        "collection": row.collection,
        "started_at": row.started_at.isoformat() if row.started_at else None,
        "finished_at": row.finished_at.isoformat() if row.finished_at else None,
        "states": states,
        "files": sum(one["files"] for one in states.values()),
        "bytes": sum(one["bytes"] for one in states.values()),
        "failed": row.failed,
        "retried": row.retried,
        "hook_error": row.error,
        "failures": [_group(group) for group in groups],
    }
    return told, bool(row.changed)


def _group(group: failures.FailureGroup) -> dict[str, Any]:
    examples = [{"path": path, "message": words} for path, words in group.examples]
    return asdict(group) | {"examples": examples, "hint": hints.advice(group.error).hint}


def deliver(database: Database, settings: NotifySettings, channels: Sequence[Channel]) -> int:
    """Try to deliver what is due; how many notices were taken. No transaction is open meanwhile."""
    taken = 0
    for notice in claim(database, channels, settings.keep_days):
        told, changed = message(database, notice)
        wanted = {"all": True, "changed": changed, "failed": told["failed"] > 0}[settings.passes]
        try:
            if wanted:
                notify.send(settings, notice.channel, told)
                taken += 1
            settle(database, notice, None)
        except notify.NotTaken as problem:
            log.warning(
                "notice_not_taken",
                notice=notice.id,
                channel=notice.channel,
                attempt=notice.attempts,
                reason=str(problem),
            )
            settle(database, notice, str(problem))
    return taken


class Courier:
    """Delivers notices from a thread and over a connection of its own: a mail server that hangs holds up no file."""

    def __init__(self, database: Database, settings: NotifySettings, every_seconds: float) -> None:
        """Raises UsageError when a secret cannot be read."""
        self._database = database
        self._settings = settings
        self._channels = notify.channels(settings)
        self._every = every_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin, where anybody is to be told."""
        if self._channels:
            self._thread.start()

    def end(self) -> None:
        """Begin no further delivery; one that is under way ends with the process and is tried again by another one."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            try:
                deliver(self._database, self._settings, self._channels)
            except IngestError as away:
                log.debug("notices_wait", reason=str(away))
            except Exception as error:  # noqa: BLE001  # a defect in telling must not end a pod, nor the telling of the next
                log.error("courier_failed", error=type(error).__name__, reason=str(error))
