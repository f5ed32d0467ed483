"""What became of one file in one attempt: a small closed set, so that a forgotten case is a type error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from core import errors


@dataclass(frozen=True, slots=True)
class Done:
    """The stage succeeded.

    `checksum` is in iRODS notation and None where the stage computed none. `level` is how thoroughly it was verified. `existed`
    says of a collection that it was there before the job.
    """

    checksum: str | None = None
    level: str | None = None
    existed: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """A failure that is counted and tried again after a back-off.

    With `wait_seconds` an event handler has decided: it is tried again after so long, however often it was.
    """

    error: str
    message: str
    wait_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Dead:
    """A failure that waits for a person."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Mismatched:
    """iRODS holds other bytes than the source had: load again, up to a limit."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Vanished:
    """The source no longer has the file."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The source changed under the reader; `size` in bytes, `modified_at` in microseconds since 1970 and `tag` are the new
    ones."""

    size: int
    modified_at: int
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """By the job's rules there is nothing to do for this file."""

    reason: str


@dataclass(frozen=True, slots=True)
class Released:
    """Given back uncounted: it was not begun, or a service was away; `overload` says that it has too much to do.

    `unanswered` says that a call got no answer, which may be this file's own fault.
    """

    reason: str = ""
    overload: bool = False
    unanswered: bool = False


Outcome = Done | Retry | Dead | Mismatched | Vanished | Changed | Skipped | Released


def outcome_of(error: BaseException) -> Outcome:
    """The outcome of an attempt that raised.

    A `core.errors.Changed` carries no new stat here, so it is tried again; stages that know the new stat return `Changed`
    themselves. Anything that is not a `FileError` is a defect of ours or of a library: retried, and named by its type.
    """
    match error:
        case errors.Transient() | errors.Changed():
            return Retry(error.error, str(error))
        case errors.Permanent():
            return Dead(error.error, str(error))
        case errors.Outage():
            return Released(str(error), isinstance(error, errors.Overload), isinstance(error, errors.Unanswered))
        case errors.Vanished():
            return Vanished()
        case errors.Mismatch():
            return Mismatched(error.error, str(error))
        case _:
            return Retry(type(error).__name__, errors.one_line(f"unexpected {type(error).__name__}: {error}"))


def failure_of(outcome: Outcome) -> tuple[str, str] | None:
    """The (error class, message) a failed attempt leaves in the inventory, or None where nothing failed."""
    match outcome:
        case Retry(error, message) | Dead(error, message) | Mismatched(error, message):
            return error, message
        case Skipped(reason):
            return "skipped", reason
        case Done() | Vanished() | Changed() | Released():
            return None
        case _:
            assert_never(outcome)
