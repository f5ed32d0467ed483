"""Back-pressure: a job with too much waiting to be loaded is not scanned further."""

from __future__ import annotations

import time
from collections.abc import Iterable

from inventory import queries
from inventory.engine import Database
from inventory.jobs import Job

REFRESH_SECONDS = 2.0


class Pressure:
    """How many files of each job wait to be loaded, as known two seconds ago at most."""

    def __init__(self, database: Database, max_backlog: int) -> None:
        self._database = database
        self._max = max_backlog
        self._backlog: dict[int, int] = {}
        self._read_at = float("-inf")

    def open_jobs(self, jobs: Iterable[Job]) -> list[int]:
        """The ids of those jobs that may be scanned further."""
        if time.monotonic() - self._read_at >= REFRESH_SECONDS:
            self._backlog = queries.backlog(self._database)
            self._read_at = time.monotonic()
        return [job.id for job in jobs if self._backlog.get(job.id, 0) < self._max]

    def added(self, job: int, files: int) -> None:
        """Count what was just inserted, until the next look."""
        self._backlog[job] = self._backlog.get(job, 0) + files
