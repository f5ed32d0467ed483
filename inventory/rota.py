"""Which shard a worker claims from next, and from where in it.

Jobs of a higher priority come first. All shards of the running jobs of one priority come in turn, each worker beginning at
another one, so that workers spread; one whose shard is dry goes on to the next, so that none is idle while there is work. A
worker goes on in a shard after the last file it claimed there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from core import metrics, timetable
from core.handlers.api import COLLECTION_EVENTS
from inventory import claims, jobs, partitions, workers
from inventory.claims import ClaimedFile, Key, Stage
from inventory.engine import Database
from inventory.flight import Cap
from inventory.jobs import Job
from inventory.pace import Ahead, Pace

REFRESH_SECONDS = 1.0
"""How soon a job that was started, stopped or resumed is noticed."""
WRAP_SECONDS = 60.0
"""How long files given back behind the place of a worker wait at most for it to begin at the start again."""
WRAP_SHARE = 20
"""A claim from the start may be slow; the next one waits so many times as long as it took."""
TRIED_BLINDLY = 16
"""With more shards than that the folded counts are asked first which of them may have work."""


@dataclass
class _Place:
    """Where a worker goes on in a shard: after `key`, None for its start, until `wrap_at` of the monotonic clock."""

    key: Key | None = None
    wrap_at: float = 0.0


class Rota:
    """The running jobs and their shards, as known a second ago at most."""

    def __init__(self, database: Database, worker: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._worker = worker
        self._clock = clock
        self.admits: Callable[[Job], bool] = lambda job: True
        """Whether this pod can do a job's work; what it cannot it does not claim."""
        self.pace: Pace | None = None
        """What this worker holds of jobs to load it: who sets it says which files are let go, and has claims bounded by it."""
        self._ahead: dict[int, Ahead | None] = {}
        self._jobs: dict[int, Job] = {}
        self._running: dict[int, Job] = {}
        self._known: dict[int, Job] = {}
        self._shards: list[int] = []
        self._of_shard: dict[int, Job] = {}
        self._next: Counter[int] = Counter()  # by priority, counted from this worker's number
        self._siblings = 1
        self._read_at = float("-inf")
        self._places: dict[tuple[Stage, int], _Place] = {}
        self._stocked: dict[Stage, tuple[float, set[int]]] = {}

    def running(self) -> dict[int, Job]:
        """The running jobs by id whose work this pod may claim."""
        if self._clock() - self._read_at >= REFRESH_SECONDS:
            self._read()
        return self._jobs

    def _read(self) -> None:
        listed = jobs.listed(self._database, running=True)
        self._running = {job.id: job for job in listed if self.admits(job)}
        self._jobs = {job.id: job for job in self._running.values() if job.begun}
        self._known.update(self._running)
        self._of_shard = {shard: job for job in self._jobs.values() for shard in job.shards}
        self._shards = list(self._of_shard)
        if any(job.settings.bandwidth for job in self._running.values()):
            self._siblings = workers.siblings(self._database, self._worker)
        self._read_at = self._clock()

    def hearing(self, *events: str) -> list[int]:
        """The running jobs, begun or not, whose event handler has a say in any of these."""
        self.running()
        return [job.id for job in self._running.values() if job.hears(*events)]

    def is_running(self, job: int) -> bool:
        """Whether a job was running at the last look. Asks nobody, so that worker threads may ask it."""
        return job in self._running

    def bytes_per_second(self, job: int) -> float | None:
        """This worker's share of what a job may be read with now; None: all it can. Asks nobody."""
        allowed = self._known[job].settings.bandwidth
        rate = timetable.parse(allowed).rate_at(datetime.now().astimezone()) if allowed else None
        return None if rate is None else rate / self._siblings

    def job(self, job: int) -> Job:
        """A job something was claimed of, though it may have been stopped since."""
        return self._known[job]

    @property
    def shards(self) -> list[int]:
        """The shards of all jobs that were running at some time since this process began."""
        return [shard for job in self._known.values() for shard in job.shards]

    def claim_files(self, stage: Stage, limit: int) -> list[ClaimedFile]:
        """Claim from the next shard that has work, of the highest priority that has any; a dry one is left for the next.

        What is claimed for deletion goes by settings read after the claim: a sentinel, or a mode that deletes nothing, set
        before a file was released for deletion has its say.
        """
        self.running()
        self._ahead = self._limits() if stage == "load" else {}
        stocked = self._stocked_shards(stage)
        by_priority: dict[int, list[int]] = {}
        for shard in self._shards_with(stage):
            by_priority.setdefault(self._of_shard[shard].settings.priority, []).append(shard)
        for priority in sorted(by_priority, reverse=True):
            if files := self._claim_in_turn(stage, limit, priority, by_priority[priority], stocked):
                if stage == "delete":
                    self._read()
                return files
        return []

    def _claim_in_turn(
        self, stage: Stage, limit: int, priority: int, shards: Sequence[int], stocked: set[int]
    ) -> list[ClaimedFile]:
        for _ in range(len(shards)):
            shard = shards[(self._worker + self._next[priority]) % len(shards)]
            if shard in stocked:
                if files := self._claim(stage, shard, limit):
                    return files
                stocked.discard(shard)  # what waits there is not due: not asked again before the next look
            self._next[priority] += 1
        return []

    def _limits(self) -> dict[int, Ahead | None]:
        """What may be claimed of the jobs whose bandwidth is limited now."""
        if self.pace is None:
            return {}
        rates = {job: self.bytes_per_second(job) for job in self._jobs}
        return {job: self.pace.ahead(job, rate) for job, rate in rates.items() if rate is not None}

    def _shards_with(self, stage: Stage) -> list[int]:
        """The shards that have such work at all: a job that deletes nothing leaves its vanished files as they are, and of one
        whose bandwidth is limited this worker may hold enough."""
        if stage != "delete":
            sated = {job for job, ahead in self._ahead.items() if ahead is None}
            return [s for s in self._shards if self._of_shard[s].id not in sated] if sated else self._shards
        deleting = [job for job in self._jobs.values() if job.settings.delete_mode != "do_not_delete"]
        return [shard for job in deleting for shard in job.shards]

    def _stocked_shards(self, stage: Stage) -> set[int]:
        """The shards worth a try: all of a few, those that hold files of the stage's ready state of many."""
        if len(self._shards) <= TRIED_BLINDLY:
            return set(self._shards)
        read_at, stocked = self._stocked.get(stage, (float("-inf"), set()))
        if self._clock() - read_at >= REFRESH_SECONDS:
            stocked = partitions.stocked(self._database, claims.ready_state(stage))
            self._stocked[stage] = (self._clock(), stocked)
        return stocked

    def _claim(self, stage: Stage, shard: int, limit: int) -> list[ClaimedFile]:
        with metrics.timed(metrics.CLAIM_SECONDS.labels(stage)):
            files = self._claim_from_place(stage, shard, limit)
        if stage == "load" and self.pace is not None:
            self.pace.claimed(files)
        return files

    def _claim_from_place(self, stage: Stage, shard: int, limit: int) -> list[ClaimedFile]:
        """Claim after the last file claimed there; from the start when that is dry, or was not looked at for a while."""
        place = self._places.setdefault((stage, shard), _Place())
        job = self._of_shard[shard]
        cap = Cap(job.id, job.settings.max_in_flight, job.shards) if job.settings.max_in_flight else None
        made_only = stage == "load" and job.hears(*COLLECTION_EVENTS)  # whose events come before those of their files
        claim = partial(
            claims.claim, self._database, self._worker, stage, shard, limit, cap=cap, made_only=made_only,
            ahead=self._ahead.get(job.id),
        )  # fmt: skip
        if place.key is not None and self._clock() < place.wrap_at:
            files = claim(after=place.key)
            if files:
                place.key = files[-1].key
                return files
        began = self._clock()
        files = claim()
        ended = self._clock()
        place.key = files[-1].key if files else None
        place.wrap_at = ended + max(WRAP_SECONDS, WRAP_SHARE * (ended - began))
        return files
