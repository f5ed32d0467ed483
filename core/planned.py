"""What a job would do with each file, as words, for plans. What iRODS has to say is asked in `core.irods.foresee`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from core.compare import Row, changed
from core.sources.base import KINDS, REGULAR, Entry

Action = Literal[
    "put", "put_again", "append", "register", "register_again", "verify", "leave", "skip", "delete", "refuse", "unreadable",
]  # fmt: skip
ACTIONS: dict[Action, str] = {
    "put": "copied to iRODS, which does not have it",
    "put_again": "copied over what iRODS has",
    "append": "what was added is sent, if the beginning is proven to be unchanged",
    "register": "registered where it lies",
    "register_again": "registered already, and given its new size and time",
    "verify": "compared with what iRODS has",
    "leave": "left as it is in iRODS",
    "skip": "not brought in",
    "delete": "gone from the source, and removed as the job's delete_mode says",
    "refuse": "cannot work before a person changes something",
    "unreadable": "a directory that cannot be listed; nobody knows what is in it",
}
"""What a plan says of a file."""
SENDING: frozenset[Action] = frozenset({"put", "put_again", "append"})
"""Those that send bytes."""
APPEND_BYTES = 1024 * 1024
"""Up to this size a file is put whole by one call, which costs less than proving that its beginning is unchanged."""


class Forecast(NamedTuple):
    """What would be done with one file, and the class and the words of why; `bytes` are sent, or are in question."""

    action: Action
    why: str
    bytes: int
    detail: str = ""


class Step(NamedTuple):
    """A line of a plan: `path` is escaped and relative to the source, with a '/' at the end for a directory; `object` is the
    logical path it has or would have."""

    action: Action
    why: str
    path: str
    object: str
    bytes: int
    detail: str
    escaped: bool
    """Whether iRODS cannot hold the last name of the path as it is at the source, so that it goes by an escaped one."""


def of_row(row: Row | None, entry: Entry) -> Forecast | None:
    """What the inventory alone says of a regular file of the source; None: it is to be loaded."""
    if row is None or row.state in ("vanished", "deleting", "deleted"):
        return None
    if row.kind != REGULAR or changed(row, entry):
        return None
    match row.state:
        case "verified" | "loaded" | "verifying":
            return Forecast("leave", row.state, entry.size, "unchanged since it was loaded")
        case "dead":
            return Forecast("leave", "dead", entry.size, "a dead letter: it waits for `ingest retry`")
        case "skipped":
            return Forecast("leave", "skipped_before", entry.size, "skipped before, and unchanged since")
    return None


MISSING = "-"
"""The kind of an entry that a manifest names and the source does not have."""


def of_kind(entry: Entry) -> Forecast:
    """What becomes of what is no regular file."""
    if entry.kind == MISSING:
        return Forecast("skip", "missing", 0, "the manifest names it, and the source does not have it")
    return Forecast("skip", "not_regular", entry.size, f"a {KINDS.get(entry.kind, entry.kind)}")
