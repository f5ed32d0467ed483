"""Faults that a test or a demonstration switches on while the server runs.

A fault belongs to one API number or to all, may be limited in number and to logical paths that hold a text. In process:
`server.faults.add("drop_after", api=606, count=1)`. For another process: a list of such objects as JSON in
`faults.json` of the state folder, `[{"kind": "slow", "api": 606, "seconds": 2}]`, read again when it changes.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

log = logging.getLogger("sandbox.irods")

KINDS = {
    "drop_before": "close the connection without doing the request",
    "drop_after": "do the request, close the connection without a reply",
    "slow": "wait `seconds`, then do the request",
    "slow_reply": "do the request, then wait `seconds` before the reply",
    "hang": "never answer; the connection stays open until the server stops",
    "error": "answer with `code`, doing nothing",
    "truncate": "606 and 676: `lost` bytes fewer reach the disk than the reply claims",
    "locked": "mark the good or stale replicas of the object as write-locked before the request",
    "refuse": "close new connections at once",
    "mkdir_race": "681 recursive: answer success when a level of the path exists already, with the levels below missing",
    "bundle_conflict": "666: the second one on a connection gets SYS_INTERNAL_ERR (-154000)",
}


@dataclass(slots=True)
class Fault:
    """One fault. `api` None means every API number, `count` None means without end, `path` is part of a logical path."""

    kind: str
    api: int | None = None
    count: int | None = None
    path: str = ""
    seconds: float = 0.0
    code: int = 0
    lost: int = 1

    def fits(self, kind: str, api: int | None, path: str) -> bool:
        return (
            self.kind == kind
            and (self.count is None or self.count > 0)
            and (self.api is None or api is None or self.api == api)
            and (not self.path or self.path in path)
        )


class Faults:
    """The faults of one server: those added in process and those of its file."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._added: list[Fault] = []
        self._read: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, kind: str, **settings: Any) -> Fault:
        """Switch a fault on. `settings` are the fields of Fault. Raises ValueError for an unknown kind."""
        fault = checked({"kind": kind, **settings})
        with self._lock:
            self._added.append(fault)
        return fault

    def clear(self) -> None:
        """Switch off what was added in process."""
        with self._lock:
            self._added.clear()

    def take(self, kind: str, api: int | None = None, path: str = "") -> Fault | None:
        """A fault of this kind for this request, counted as used; None when there is none."""
        self._reread()
        if not self._added and not self._read:
            return None
        with self._lock:
            for fault in (*self._added, *self._read):
                if fault.fits(kind, api, path):
                    if fault.count is not None:
                        fault.count -= 1
                    log.info("fault %s on API %s %s", kind, api, path)
                    return fault
        return None

    def any(self) -> bool:
        """Whether there is anything to ask for."""
        self._reread()
        return bool(self._added or self._read)

    def _reread(self) -> None:
        if self._file is None:
            return
        try:
            found = self._file.stat()
        except OSError:
            self._seen, self._read = None, []
            return
        state = (found.st_mtime_ns, found.st_size)
        if state == self._seen:
            return
        with self._lock:
            self._seen = state
            try:
                self._read = [checked(entry) for entry in json.loads(self._file.read_text())]
            except (OSError, ValueError, TypeError) as problem:
                log.error("%s is not a list of faults: %s", self._file, problem)
                self._read = []


def checked(entry: dict[str, Any]) -> Fault:
    """A fault of its JSON form. Raises ValueError for an unknown kind or field."""
    unknown = set(entry) - {field.name for field in fields(Fault)}
    if unknown or entry.get("kind") not in KINDS:
        raise ValueError(f"no such fault: {entry}")
    return Fault(**entry)
