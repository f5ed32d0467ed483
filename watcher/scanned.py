"""What this watcher has scanned lately, gathered for the charts: written down every few seconds, and lost when it dies."""

from __future__ import annotations

import time
from collections import Counter

from inventory import activity
from inventory.activity import Deed
from inventory.engine import Database

NOTE_SECONDS = 5.0


class Scanned:
    """Entries listed since the last note, by job."""

    def __init__(self, database: Database, worker: int) -> None:
        self._database = database
        self._worker = worker
        self._entries: Counter[int] = Counter()
        self._since = time.monotonic()

    def add(self, job: int, entries: int) -> None:
        """Remember that so many entries of a job were listed and merged."""
        if not self._entries:
            self._since = time.monotonic()
        self._entries[job] += entries

    def note(self, *, now: bool = False) -> None:
        """Write it down, when some seconds have gathered or `now`. Raises Unavailable; nothing is lost by that."""
        seconds = time.monotonic() - self._since
        if not self._entries or not (now or seconds >= NOTE_SECONDS):
            return
        deeds = [
            Deed(job=job, stage="scan", files=entries, failed=0, bytes=0, began=seconds, ended=0.0, busy=seconds)
            for job, entries in self._entries.items()
        ]
        with self._database.begin() as connection:
            activity.note(connection, self._worker, deeds)
        self._entries.clear()
