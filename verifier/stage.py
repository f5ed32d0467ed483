"""The verifier's stage: size, status and checksum of what iRODS holds against what the source had.

The checksum is of the bytes as the server reads them now. A disagreement sends the file back to the loaders, up to the job's
limit, then to the dead letters with both values.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby

from core.handlers.folder import HandlersFolder
from core.irods import Expected, Gateway, Gateways
from core.outcome import Dead, Done, Outcome, Released
from core.paths import logical_path
from core.settings import JobSettings, VerifyLevel
from core.worker import Report, Reported, Unit, run_each, run_together
from inventory import claims, custody
from inventory.claims import ClaimedFile, Result
from inventory.jobs import Job
from inventory.pod import Member

UNIT_FILES = 50
"""Files of small collections that are verified together, their checks sharing round trips."""
PACK_FILES = 8
"""Small files of one collection from which on a pack of it may be worth its while."""


class VerifyStage:
    """Files that are loaded."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._gateways = Gateways(member.settings.irods)
        self._handlers = HandlersFolder(member.settings.loader.handlers_folder)
        member.rota.admits = self._knows_names

    def claim(self, limit: int) -> Sequence[Unit[ClaimedFile]]:
        files = self._member.rota.claim_files("verify", limit)
        # one unit is verified at one level
        small = sorted(
            (file for file in files if self._is_quick(file)), key=lambda file: (file.directory_id, file.again)
        )
        units: list[Unit[ClaimedFile]] = [[file] for file in files if not self._is_quick(file)]
        scattered: dict[bool, list[ClaimedFile]] = {False: [], True: []}
        for (_, again), group in groupby(small, key=lambda file: (file.directory_id, file.again)):
            of_one_collection = list(group)
            if len(of_one_collection) >= PACK_FILES:
                units.append(of_one_collection)
            else:
                scattered[again] += of_one_collection
        return units + [
            alike[n : n + UNIT_FILES] for alike in scattered.values() for n in range(0, len(alike), UNIT_FILES)
        ]

    def _is_quick(self, file: ClaimedFile) -> bool:
        """Whether many such files can be verified by one thread while others wait for nothing."""
        reads = _level(self._member.rota.job(file.job_id).settings, file) == "rehash"
        return not reads or file.size <= self._member.settings.bundle.max_file_bytes

    def run(self, unit: Unit[ClaimedFile], report: Report[ClaimedFile], stopping: threading.Event) -> None:
        if len(unit) > 1 and self._member.rota.is_running(unit[0].job_id):
            run_together(unit, self._verify_many, report)
        else:
            run_each(unit, self._verify, report, stopping)

    def finish(self, reported: Sequence[Reported[ClaimedFile]]) -> int:
        now, member = time.monotonic(), self._member
        by_job: dict[int, list[Result]] = {}
        for one in reported:
            result = Result(one.item, one.outcome, now - one.began, now - one.ended)
            by_job.setdefault(one.item.job_id, []).append(result)
        return sum(
            claims.finish(member.database, member.worker, "verify", results, member.limits(member.rota.job(job)))
            for job, results in by_job.items()
        )

    def is_suspect(self, item: ClaimedFile) -> bool:
        return item.suspect

    def begin(self, item: ClaimedFile) -> bool:
        return custody.begin(self._member.database, self._member.worker, "verify", item)

    def keep(self, items: Sequence[ClaimedFile]) -> None:
        member = self._member
        custody.keep(member.database, member.worker, "verify", member.rota.shards, items)

    def told(self, item: ClaimedFile) -> dict[str, object]:
        return item.told("verify", self._member.rota.job(item.job_id).name)

    def end_thread(self) -> None:
        self._gateways.close()

    def _verify(self, file: ClaimedFile) -> Outcome:
        if not self._member.rota.is_running(file.job_id):
            return Released()  # the job was paused or stopped since the claim
        job = self._member.rota.job(file.job_id)
        level = _level(job.settings, file)
        if file.checksum is None and level == "rehash":
            return Dead("no_checksum", f"{file.path}: the inventory has no checksum of the source to compare with")
        path = logical_path(job.target_collection, self._names(job)(file.path))
        self._gateway(job).verify(
            path,
            size=file.size,
            checksum=file.checksum,
            level=level,
            resource=_resource(job),
            as_admin=job.hears("as_user"),
        )
        return Done(level=level)

    def _verify_many(self, files: Sequence[ClaimedFile]) -> Sequence[Outcome]:
        job = self._member.rota.job(files[0].job_id)
        names = self._names(job)
        of_one_collection = len({file.directory_id for file in files}) == 1
        directory = files[0].directory if of_one_collection else ""
        return self._gateway(job).verify_many(
            logical_path(job.target_collection, names(directory)),
            [Expected(names(file.name if directory else file.path), file.size, file.checksum) for file in files],
            level=_level(job.settings, files[0]),
            resource=_resource(job),
            packs=of_one_collection and not job.hears("to_resource"),
            as_admin=job.hears("as_user"),
        )

    def _gateway(self, job: Job) -> Gateway:
        """As the job's user; where an event handler names one for each file, as ourselves, a rodsadmin then."""
        return self._gateways.of(None if job.hears("as_user") else job.settings.client)

    def _knows_names(self, job: Job) -> bool:
        """Whether this pod can tell how a job's files are named in iRODS: only a handler with a character map has a say."""
        if job.handler is None or not job.hears("character_map"):
            return True
        return self._handlers.has(job.name, job.handler.file, job.handler.sha256)

    def _names(self, job: Job) -> Callable[[str], str]:
        """How a job's files are named in iRODS. Raises UsageError when its handler was exchanged meanwhile."""
        if job.handler is None or not job.hears("character_map"):
            return str
        return self._handlers.names(job.handler.file, job.handler.sha256)


def _resource(job: Job) -> str | None:
    """The resource of which a good replica is wanted; any, where an event handler names one for each file."""
    return None if job.hears("to_resource") else job.settings.resource


def _level(settings: JobSettings, file: ClaimedFile) -> VerifyLevel:
    """How thoroughly a file is verified: the first time, or once more."""
    return (settings.reverify_level if file.again else None) or settings.verify_level
