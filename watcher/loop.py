"""Claim directories, scan them, merge what they hold into the inventory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import structlog

from core.errors import FileError, IngestError, Outage, Permanent, Unavailable, UsageError, Vanished
from core.sources.base import Entry, Source
from core.sources.urls import open_source
from inventory import listing
from inventory.jobs import Job
from inventory.listing import ClaimedDirectory, Merge
from inventory.pod import Member
from watcher.pressure import Pressure

log = structlog.get_logger()

Listed = tuple[ClaimedDirectory, list[Entry]]


class WatchLoop:
    """The loop of a watcher: one thread, because a scan waits for the source and the merge for the inventory in turn."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._database = member.database
        self._settings = member.settings.watcher
        self._pressure = Pressure(member.database, self._settings.max_backlog)
        self._held: dict[int, ClaimedDirectory] = {}
        self._sources: dict[int, Source] = {}

    def step(self) -> bool:
        """Claim some directories and bring them into the inventory."""
        if self._held:  # the inventory was away in the middle of the last step
            self._release()
        jobs = self._pressure.open_jobs(self._member.rota.running().values())
        claimed = listing.claim(self._database, self._member.worker, jobs, self._settings.directories)
        self._held = {directory.id: directory for directory in claimed}
        by_job: dict[int, list[ClaimedDirectory]] = {}
        for directory in claimed:
            by_job.setdefault(directory.job_id, []).append(directory)
        for job, directories in by_job.items():
            self._scan_job(self._member.rota.job(job), directories)
        return bool(claimed)

    def drain(self, seconds: float) -> bool:
        """Give back what is claimed; a step is never interrupted, so there is nothing to wait for."""
        self._release()
        return True

    def _release(self) -> None:
        if self._held:
            listing.release(self._database, self._member.worker, list(self._held))
            self._held = {}

    def _scan_job(self, job: Job, directories: list[ClaimedDirectory]) -> None:
        """Merge small directories together, and one that is larger than a COPY by itself."""
        listed: list[Listed] = []
        rows = 0
        for directory in directories:
            entries = self._scan(job, directory)
            if entries is None:
                continue
            head = self._head(job, directory, entries)
            if head is None:
                continue
            if len(head) == self._settings.rows:
                self._merge_in_parts(job, directory, head, entries)
                continue
            if rows + len(head) > self._settings.rows:
                self._merge(job, listed)
                listed, rows = [], 0
            listed.append((directory, head))
            rows += len(head)
        self._merge(job, listed)

    def _scan(self, job: Job, directory: ClaimedDirectory) -> Iterator[Entry] | None:
        try:
            if job.id not in self._sources:
                self._sources[job.id] = open_source(job.source_url)
            return iter(self._sources[job.id].scan(directory.path))
        except IngestError as error:
            self._failed(directory, error)
            return None

    def _head(self, job: Job, directory: ClaimedDirectory, entries: Iterator[Entry]) -> list[Entry] | None:
        """The first entries, up to the size of one COPY; None when the directory could not be listed."""
        try:
            head = list(islice(entries, self._settings.rows))
        except FileError as error:
            self._failed(directory, error)
            return None
        if not (head or directory.path or directory.first) and listing.has_children(self._database, directory.id):
            # an empty root that was not empty before is a mount that is away, far more often than an emptied archive
            self._failed(directory, Outage("source_empty", f"source {job.source_url} is empty now", "is it mounted?"))
            return None
        return head

    def _merge(self, job: Job, listed: list[Listed]) -> None:
        if not listed:
            return
        with self._database.begin() as connection:
            merge = Merge(connection, self._member.worker, job.settings.settle_seconds)
            count = merge.add(listed)
            directories = [directory for directory, _ in listed]
            mine = merge.finish(directories, job.settings.rescan_seconds)
        self._done(directories, mine)
        self._pressure.added(job.id, count)

    def _merge_in_parts(self, job: Job, directory: ClaimedDirectory, head: list[Entry], rest: Iterator[Entry]) -> None:
        """A directory too large for memory: a transaction for each part, and one more that ends it."""
        part, total = head, 0
        try:
            while part:
                with self._database.begin() as connection:
                    merge = Merge(connection, self._member.worker, job.settings.settle_seconds)
                    merge.add([(directory, part)])
                    merge.remember(first_part=total == 0)
                total += len(part)
                self._pressure.added(job.id, len(part))
                part = list(islice(rest, self._settings.rows))
        except FileError as error:
            self._failed(directory, error)
            return
        with self._database.begin() as connection:
            merge = Merge(connection, self._member.worker, job.settings.settle_seconds)
            mine = merge.finish([directory], job.settings.rescan_seconds, remembered=total)
        self._done([directory], mine)

    def _done(self, directories: list[ClaimedDirectory], mine: list[int]) -> None:
        for directory in directories:
            self._held.pop(directory.id, None)
            if directory.id not in mine:
                log.warning("scan_fenced", directory=directory.path, hint="another watcher has taken it over")

    def _failed(self, directory: ClaimedDirectory, error: IngestError) -> None:
        """A directory that cannot be listed is tried again, vanishes, or waits for a person; nothing in it is touched."""
        if isinstance(error, Vanished) and directory.path:
            with self._database.begin() as connection:
                Merge(connection, self._member.worker).vanish(directory)
        else:
            self._note_failure(directory, error)
        self._held.pop(directory.id, None)

    def _note_failure(self, directory: ClaimedDirectory, error: IngestError) -> None:
        name = error.error if isinstance(error, FileError) else type(error).__name__
        worker = self._member.settings.worker
        limit = self._member.rota.job(directory.job_id).settings.max_attempts
        patient = isinstance(error, Outage | Unavailable | UsageError) or not directory.path
        wait = min(worker.retry_max_seconds, worker.retry_seconds * 2 ** min(directory.attempts, 30))
        again = patient or (not isinstance(error, Permanent) and directory.attempts + 1 < limit)
        log.warning("scan_failed", directory=directory.path, error=name, reason=str(error))
        listing.fail(
            self._database, self._member.worker, directory, name, str(error), retry_seconds=wait if again else None
        )
