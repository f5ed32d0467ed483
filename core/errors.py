"""The error tree: what a person reads, and what may happen to one file.

IngestError                 a message, a hint and an exit code
├── UsageError       (2)    bad input by a person: settings, a job, a path
├── SchemaError      (3)    the inventory's schema is older or newer than this program
├── Unavailable      (4)    the inventory, iRODS or a source does not answer at start
├── LeaseLost        (5)    housekeeping declared this worker dead; everything it holds belongs to others
└── FileError               one file's attempt failed; `core.outcome` turns it into an outcome
    ├── Transient           try again later; the attempt is counted
    ├── Permanent           trying again cannot help; the file goes to the dead letters
    ├── Outage              nobody's file is at fault; given back uncounted, the breaker opens
    │   ├── Overload        the service has too much to do; all pods together use fewer connections
    │   └── Unanswered      a call got no answer: the service is away, or this one file makes it hang
    ├── Vanished            the source no longer has the file
    ├── Changed             the source changed while the file was being read
    └── Mismatch            iRODS holds other bytes than the source had; the file is loaded again
"""

from __future__ import annotations

import re

MOST_CHARACTERS = 8_000
"""Of a message, so that what somebody's code raises fills no inventory."""
_NOWHERE = re.compile("[\0\ud800-\udfff]")


def one_line(words: str) -> str:
    """The same words as one line that Postgres and any terminal take.

    Names with bytes that are no UTF-8 have surrogates in Python: such a byte is written as %XX, and NUL as %00.
    """
    shown = _NOWHERE.sub(lambda found: f"%{ord(found.group()) & 0xFF:02X}", " ".join(words.split()))
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}…"


class IngestError(Exception):
    """An error that reaches a person as one line: what, where, and what to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return one_line(f"{self.message}; {self.hint}" if self.hint else self.message)


class UsageError(IngestError):
    """Bad input by a person: nothing was changed."""

    exit_code = 2


class SchemaError(IngestError):
    """The inventory's schema is not the one this program was written for."""

    exit_code = 3


class Unavailable(IngestError):
    """The inventory, iRODS or a source could not be reached."""

    exit_code = 4


class LeaseLost(IngestError):
    """This worker's lease has expired: what it held may be held by others by now."""

    exit_code = 5


class FileError(IngestError):
    """One file's attempt failed.

    `error` is a short stable class for grouping and filtering: an iRODS error name (`CAT_NO_ACCESS_PERMISSION`), an errno
    name (`EACCES`) or a word of ours (`checksum_mismatch`).
    """

    def __init__(self, error: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.error = error


class Transient(FileError):
    """Trying again later may help; the attempt is counted."""


class Permanent(FileError):
    """Trying again cannot help until a person changes something."""


class Outage(FileError):
    """A whole service is away or overloaded; no file is at fault and no attempt is counted."""


class Overload(Outage):
    """The service has too much to do: all pods together are to use fewer connections."""


class Unanswered(Outage):
    """A call got no answer in time, or the connection broke in it: an outage, unless it is always the same file's call."""


class Vanished(FileError):
    """The source no longer has the file."""


class Changed(FileError):
    """The source file changed while it was being read; what was written of it must not count."""


class Mismatch(FileError):
    """iRODS holds other bytes than the source had."""
