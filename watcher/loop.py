"""Claim directories, have them scanned, merge what they hold into the inventory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, groupby

import structlog

from core.errors import FileError, IngestError, Outage, Permanent, Unavailable, UsageError, Vanished
from core.filters import filter_of
from core.sources.base import WHOLE, Keys, Source
from core.sources.selection import selected
from core.sources.urls import open_source
from inventory import below, listing, looks, partitions, parts
from inventory.below import Reserve
from inventory.directories import Places, release_all
from inventory.jobs import Job
from inventory.listing import ClaimedDirectory, Listing, Merge
from inventory.pod import Member
from watcher.ahead import Ahead
from watcher.notices import Notices
from watcher.pressure import Pressure
from watcher.scan import Batch, Complete, Divided, Failed, Part, Scan, Size, Unchanged
from watcher.scanned import Scanned

log = structlog.get_logger()

BATCHES_AHEAD = 1
"""Batches that may wait for the inventory; with the one being scanned and the one being merged they bound the memory."""
SCANS_RESERVED = 4
"""Ids that are reserved for what is found below claimed directories, in numbers of directories of one batch."""
WAIT_SECONDS = 0.5
"""How long a step waits for the scan."""
GROW_SECONDS = 60.0
"""How often it is asked whether a job's shards are full."""


class WatchLoop:
    """The loop of a watcher: the main thread merges, and does all SQL, while another one scans the source ahead of it."""

    def __init__(self, member: Member, source_of: Callable[[str], Source] | None = None) -> None:
        self._source_of = source_of or partial(open_source, s3=member.settings.s3)
        self._member = member
        self._database = member.database
        self._settings = member.settings.watcher
        self._pressure = Pressure(member.database, self._settings.max_backlog)
        self._scanned = Scanned(member.database, member.worker)
        self._notices = Notices(member, self._source_of)
        self._held: dict[int, ClaimedDirectory] = {}
        self._ids: deque[int] = deque()  # of directories that are still to be found
        self._places = Places()
        self._suspect: ClaimedDirectory | None = None  # waits to be scanned by itself
        self._alone = False  # whether a suspect is being scanned
        self._sources: dict[int, Source] = {}
        self._scans: deque[Ahead[Batch]] = deque()
        self._looks: deque[set[int]] = deque()  # of each scan, the looks that end with it
        self._part_of: tuple[int, int] = (0, 0)  # a directory that comes in parts, and the names of it so far
        self._entries_each = self._settings.rows / 200  # of a directory, as a running mean
        self._whole = True
        self._grow_at = 0.0

    def step(self) -> bool:
        """Have some directories scanned, and merge a batch that was."""
        if not self._whole:  # the last step broke off: the inventory was away
            self._let_go()
        self._whole = False
        self._grow()
        if self._suspect is not None:
            self._begin_suspect(self._suspect)
        elif (
            len(self._scans) < 2 and not self._alone
        ):  # the next is claimed before the last is done: the source never waits
            self._begin_scan()
        busy = bool(self._scans) or self._suspect is not None
        if self._scans:
            self._take(self._scans[0])
        busy = self._notices.step() or busy
        self._scanned.note(now=not busy)
        self._whole = True
        return busy

    def _take(self, scan: Ahead[Batch]) -> None:
        try:
            batch = scan.take(WAIT_SECONDS)
        except TimeoutError:
            return  # a slow source; the loop has other things to look after
        if batch is None:
            self._scans.popleft()
            if ended := self._looks.popleft():
                looks.end(self._database, list(ended))
            self._alone = False
        else:
            self._merge(batch)

    def drain(self, seconds: float) -> bool:
        """Give back what is claimed; a step is never interrupted, so there is nothing to wait for."""
        self._notices.close()
        self._let_go()
        self._scanned.note(now=True)
        return True

    def _let_go(self) -> None:
        for scan in self._scans:
            scan.close()
        self._scans.clear()
        self._looks.clear()
        # also what a claim has got whose answer was lost: nobody would ever scan it
        release_all(self._database, self._member.worker)
        self._held = {}
        self._suspect, self._alone = None, False
        self._part_of = (0, 0)
        self._whole = True

    def _grow(self) -> None:
        """Give jobs more shards when theirs are full."""
        if time.monotonic() >= self._grow_at:
            for job in self._member.rota.running().values():
                if made := partitions.grow(self._database, job.id):
                    log.info("shards_added", job=job.name, shards=made)
            self._grow_at = time.monotonic() + GROW_SECONDS

    def _begin_suspect(self, suspect: ClaimedDirectory) -> None:
        """Scan a directory over which watchers have died, once nothing else is claimed: a death is then its own."""
        if not self._scans:
            self._suspect, self._alone = None, True
            log.warning(
                "scan_of_suspect", directory=suspect.path, hint="watchers have died over it; it is scanned alone"
            )
            self._start([suspect])

    def _begin_scan(self) -> None:
        running = self._member.rota.running().values()
        jobs = self._pressure.open_jobs(job for job in running if job.settings.manifest is None)
        limit = min(self._settings.directories, 1 + int(2 * self._settings.rows / self._entries_each))
        claimed: list[ClaimedDirectory] = []
        for _, equals in groupby(
            sorted(jobs, key=self._priority), key=self._priority
        ):  # jobs of one priority take turns
            claimed += listing.claim(
                self._database, self._member.worker, list(equals), limit - len(claimed), self._places, looking=True
            )
            if len(claimed) >= limit:
                break
        claimed = self._without_left_out(claimed)
        self._start([directory for directory in claimed if not directory.suspect])
        self._keep_one([directory for directory in claimed if directory.suspect])

    def _start(self, claimed: Sequence[ClaimedDirectory]) -> None:
        """Have claimed directories scanned after those that are being scanned."""
        if not claimed:
            return
        self._held |= {directory.id: directory for directory in claimed if not directory.look}
        by_job: dict[int, list[ClaimedDirectory]] = {}
        for directory in claimed:
            by_job.setdefault(directory.job_id, []).append(directory)
        scans = [self._scan(self._member.rota.job(job), directories) for job, directories in by_job.items()]
        before = self._scans[-1] if self._scans else None
        self._looks.append({directory.look.id for directory in claimed if directory.look})
        self._scans.append(Ahead(chain.from_iterable(scans), BATCHES_AHEAD, before))

    def _keep_one(self, suspects: Sequence[ClaimedDirectory]) -> None:
        """Keep one directory over which watchers have died, to be scanned when nothing else is claimed; give back the rest."""
        if suspects:
            self._suspect = suspects[0]
            self._held[self._suspect.id] = self._suspect
            listing.release(self._database, self._member.worker, [directory.id for directory in suspects[1:]])

    def _without_left_out(self, claimed: Sequence[ClaimedDirectory]) -> list[ClaimedDirectory]:
        """Those that the filters do not leave out: a filter may be younger than what was found."""
        filters = {job: filter_of(self._member.rota.job(job).settings) for job in {one.job_id for one in claimed}}
        out = {one.id: one for one in claimed if filters[one.job_id].leaves_out_below(one.path)}
        if out:
            mine = self._taken(list(out.values()))
            listing.leave_out(self._database, self._member.worker, list(mine))
        return [one for one in claimed if one.id not in out]

    def _taken(self, directories: Sequence[ClaimedDirectory]) -> dict[int, ClaimedDirectory]:
        """These directories claimed, by id: what was only looked at is claimed now, where it is still as it was."""
        mine = {one.id: self._held.get(one.id, one) for one in directories if not one.look or one.id in self._held}
        by_look: dict[int, list[ClaimedDirectory]] = {}
        for one in directories:
            if one.look and one.id not in self._held:
                by_look.setdefault(one.look.id, []).append(one)
        for together in by_look.values():
            taken = looks.take(self._database, self._member.worker, together)
            self._held |= taken
            mine |= taken
        return mine

    def _job_of(self, directory: ClaimedDirectory) -> Job:
        return self._member.rota.job(directory.job_id)

    @contextmanager
    def _merging(self, job: Job) -> Iterator[Merge]:
        """A transaction that brings in listings of a job."""
        settings = job.settings
        with self._database.begin() as connection:
            yield Merge(
                connection,
                self._member.worker,
                settings.settle_seconds,
                heard=_heard(job),
                protects=filter_of(settings).protects,
            )

    def _priority(self, job: int) -> int:
        return -self._member.rota.job(job).settings.priority

    def _scan(self, job: Job, directories: Sequence[ClaimedDirectory]) -> Iterator[Batch]:
        try:
            if job.id not in self._sources:
                self._sources[job.id] = self._source_of(job.source_url)
            source = selected(self._sources[job.id], job.settings)
        except IngestError as error:
            return iter([Failed(directory, error) for directory in directories])
        reserve = self._reserve(job, directories)
        size = Size(self._settings.rows, self._settings.directories)
        return iter(Scan(job.id, source, directories, size, job.settings.trust_directory_mtime, reserve))

    def _reserve(self, job: Job, directories: Sequence[ClaimedDirectory]) -> Reserve | None:
        """What is needed to list at once what is found below directories that were never scanned."""
        if job.settings.settle_seconds or not any(directory.first for directory in directories):
            return None
        wanted = SCANS_RESERVED * self._settings.directories
        missing = wanted - len(self._ids)
        return below.reserve(self._database, job.id, self._ids, missing if missing > wanted // 2 else 0)

    def _merge(self, batch: Batch) -> None:
        match batch:
            case Failed(directory, error):
                for mine in self._taken([directory]).values():
                    self._failed(mine, error)
            case Complete(job, listings):
                claimed = [one for one in self._claimed(listings) if not self._emptied(one)]
                if claimed:
                    self._merge_complete(self._member.rota.job(job), claimed)
            case Part(job, part, last):
                for one in self._claimed([part]):
                    self._merge_part(self._member.rota.job(job), one, last)
            case Divided(job, listed, cut):  # of a directory that was never scanned, and so is claimed
                self._merge_divided(self._member.rota.job(job), listed, cut)
            case Unchanged(job, seen, entries):
                again = self._member.rota.job(job).settings.rescan_seconds
                looks.unchanged(self._database, self._member.worker, seen, again)
                self._scanned.add(job, entries)
                for _ in seen:
                    self._note_size(entries // len(seen))

    def _claimed(self, listings: Sequence[Listing]) -> list[Listing]:
        """These listings, each of a directory that is claimed; of what was looked at others may know more by now."""
        if all(one.directory.look is None for one in listings):
            return list(listings)
        mine = self._taken([one.directory for one in listings])
        for one in listings:
            one.directory = mine.get(one.directory.id, one.directory)
        return [one for one in listings if one.directory.id in mine]

    def _emptied(self, listed: Listing) -> bool:
        """Refuse an empty root that was not empty before: a mount that is away, far more often than an emptied archive."""
        directory = listed.directory
        if len(listed) or directory.path or directory.first or directory.part != WHOLE:
            return False  # of a part the source itself looks whether all of it is empty
        if not listing.has_children(self._database, directory):
            return False
        source = self._member.rota.job(directory.job_id).source_url
        self._failed(directory, Outage("source_empty", f"source {source} is empty now", "is it mounted?"))
        return True

    def _merge_complete(self, job: Job, listings: Sequence[Listing]) -> None:
        claimed = [one.directory for one in listings if not one.found]
        with self._merging(job) as merge:
            self._pressure.added(job.id, merge.add_listings(listings, job.settings.rescan_seconds))
            mine = merge.finish(claimed, job.settings.rescan_seconds)
        self._done(claimed, mine)
        entries = sum(map(len, listings))
        self._scanned.add(job.id, entries)
        for _ in claimed:
            self._note_size(entries // len(claimed))

    def _merge_divided(self, job: Job, listed: Listing, cut: Sequence[Keys]) -> None:
        directory, mine = listed.directory, list[int]()
        with self._database.begin() as connection:
            if parts.divide(connection, self._member.worker, directory, cut):
                merge = Merge(connection, self._member.worker, job.settings.settle_seconds, heard=_heard(job))
                self._pressure.added(job.id, merge.add_listings([listed]))
                mine = merge.finish([directory], job.settings.rescan_seconds)
        log.info("directory_divided", directory=directory.path, parts=len(cut))
        self._done([directory], mine)
        self._note_size(len(listed))

    def _merge_part(self, job: Job, part: Listing, last: bool) -> None:
        directory = part.directory
        total = self._part_of[1] if self._part_of[0] == directory.id else 0
        with self._merging(job) as merge:
            if not last:
                merge.add_listings([part])
                if not directory.first:  # nothing can have vanished from what was never listed
                    merge.remember(first_part=total == 0)
            else:
                remembered = 0 if directory.first else total
                mine = merge.finish([directory], job.settings.rescan_seconds, remembered=remembered)
        self._pressure.added(job.id, len(part))
        self._scanned.add(job.id, len(part))
        self._part_of = (directory.id, total + len(part))
        if last:
            self._done([directory], mine)
            self._part_of = (0, 0)
            self._note_size(total)

    def _note_size(self, entries: int) -> None:
        self._entries_each += (max(1, entries) - self._entries_each) / 100

    def _done(self, directories: Sequence[ClaimedDirectory], mine: Sequence[int]) -> None:
        still = set(mine)
        for directory in directories:
            self._held.pop(directory.id, None)
            if directory.id not in still:
                log.warning("scan_fenced", directory=directory.path, hint="another watcher has taken it over")

    def _failed(self, directory: ClaimedDirectory, error: IngestError) -> None:
        """A directory that cannot be listed is tried again, vanishes, or waits for a person; nothing in it is touched."""
        self._part_of = (0, 0)
        if isinstance(error, Vanished) and directory.path:
            with self._merging(self._job_of(directory)) as merge:
                merge.vanish(directory)
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
        job = self._member.rota.job(directory.job_id).name
        attempt = directory.attempts + 1
        log.warning("scan_failed", job=job, directory=directory.path, attempt=attempt, error=name, reason=str(error))
        listing.fail(
            self._database, self._member.worker, directory, name, str(error), retry_seconds=wait if again else None
        )


def _heard(job: Job) -> bool:
    """Whether an event handler is to be told of collections whose directory has changed."""
    return job.hears("pre_coll_modify", "post_coll_modify")
