"""What fails in a job, as REST and the pages show it."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

from core import hints
from inventory import failures
from inventory.engine import Database
from inventory.failures import CURRENT, Failure, FailureGroup, FailureState, Wanted
from inventory.web.bodies import FailedFile, FailureClass, Failures

MOST_FILES = 1000
"""So many files are told of at most in one answer; `ingest failures --files` tells of all."""
SHOWN: tuple[FailureState, ...] = (*CURRENT, "skipped")


def failing(database: Database, job: str, *, error: str | None = None, limit: int = 0) -> Failures:
    """The classes of failure of a job, and the first `limit` files of one class or of all."""
    return Failures(classes=classes_of(database, job), files=files_of(database, job, error, limit))


def classes_of(database: Database, job: str) -> list[FailureClass]:
    """The classes of failure of a job; the cost is that of its failures."""
    return [_class(group) for group in failures.groups(database, Wanted(job=job, states=SHOWN))]


def files_of(database: Database, job: str, error: str | None, limit: int) -> list[FailedFile]:
    """The first `limit` files of one class of failure, or of all."""
    if error and "\0" in error:  # no text in Postgres has it
        return []
    chosen = Wanted(job=job, states=SHOWN, errors=[error] if error else ())
    return [_file(one) for one in islice(failures.failures(database, chosen), limit)] if limit else []


def _class(group: FailureGroup) -> FailureClass:
    advice = hints.advice(group.error)
    return FailureClass(
        error=group.error,
        stage=group.stage,
        meaning=advice.meaning,
        hint=advice.hint,
        dead=group.dead,
        retrying=group.retrying,
        skipped=group.skipped,
        directories=group.directories,
        bytes=group.bytes,
        first_at=group.first_at.isoformat(),
        last_at=group.last_at.isoformat(),
        next_retry_at=_text(group.next_retry_at),
    )


def _file(one: Failure) -> FailedFile:
    return FailedFile(
        path=one.path,
        state=one.state,
        stage=one.stage,
        error=one.error,
        message=one.message,
        attempt=one.attempt,
        failed_at=one.failed_at.isoformat(),
        retry_at=_text(one.retry_at),
        bytes=one.size,
        pod=one.pod,
    )


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
