"""Which shard a worker claims from next: all shards of the running jobs in turn, each worker beginning at another one."""

from __future__ import annotations

import time

from inventory import claims, jobs
from inventory.claims import ClaimedFile, Stage
from inventory.engine import Database
from inventory.jobs import Job

REFRESH_SECONDS = 1.0
"""How soon a job that was started, stopped or resumed is noticed."""


class Rota:
    """The running jobs and their shards, as known a second ago at most."""

    def __init__(self, database: Database, worker: int) -> None:
        self._database = database
        self._worker = worker
        self._jobs: dict[int, Job] = {}
        self._known: dict[int, Job] = {}
        self._shards: list[int] = []
        self._next = worker
        self._read_at = float("-inf")

    def running(self) -> dict[int, Job]:
        """The running jobs by id."""
        if time.monotonic() - self._read_at >= REFRESH_SECONDS:
            self._jobs = {job.id: job for job in jobs.listed(self._database, running=True)}
            self._known.update(self._jobs)
            self._shards = [shard for job in self._jobs.values() for shard in job.shards]
            self._read_at = time.monotonic()
        return self._jobs

    def job(self, job: int) -> Job:
        """A job something was claimed of, though it may have been stopped since."""
        return self._known[job]

    def claim_files(self, stage: Stage, limit: int) -> list[ClaimedFile]:
        """Claim from the next shard that has work; a dry one is left for the next."""
        self.running()
        for _ in range(len(self._shards)):
            shard = self._shards[self._next % len(self._shards)]
            if files := claims.claim(self._database, self._worker, stage, shard, limit):
                return files
            self._next += 1
        return []
