"""The verifier's stage: size, status and checksum of what iRODS holds against what the source had.

The checksum is of the bytes as the server reads them now. A disagreement sends the file back to the loaders, up to the job's
limit, then to the dead letters with both values.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import groupby

from core.irods import Expected, Gateways
from core.outcome import Dead, Done, Outcome, Released
from core.paths import logical_path
from core.worker import Report, Reported, Unit, run_each, run_together
from inventory import claims, custody
from inventory.claims import ClaimedFile, Result
from inventory.pod import Member

UNIT_FILES = 20
"""Small files of small collections verified one by one by one thread at a time."""
PACK_FILES = 8
"""Small files of one collection from which on they are verified together."""


class VerifyStage:
    """Files that are loaded."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._gateways = Gateways(member.settings.irods)

    def claim(self, limit: int) -> Sequence[Unit[ClaimedFile]]:
        files = self._member.rota.claim_files("verify", limit)
        small = [file for file in files if file.size <= self._member.settings.bundle.max_file_bytes]
        units: list[Unit[ClaimedFile]] = [
            [file] for file in files if file.size > self._member.settings.bundle.max_file_bytes
        ]
        singly: list[ClaimedFile] = []
        for _, group in groupby(small, key=lambda file: file.directory_id):
            of_one_collection = list(group)
            if len(of_one_collection) >= PACK_FILES:
                units.append(of_one_collection)
            else:
                singly += of_one_collection
        return units + [singly[n : n + UNIT_FILES] for n in range(0, len(singly), UNIT_FILES)]

    def run(self, unit: Unit[ClaimedFile], report: Report[ClaimedFile], stopping: threading.Event) -> None:
        packed = len(unit) >= PACK_FILES and len({file.directory_id for file in unit}) == 1
        if packed and self._member.rota.is_running(unit[0].job_id):
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

    def end_thread(self) -> None:
        self._gateways.close()

    def _verify(self, file: ClaimedFile) -> Outcome:
        if not self._member.rota.is_running(file.job_id):
            return Released()  # the job was paused or stopped since the claim
        job = self._member.rota.job(file.job_id)
        level = job.settings.verify_level
        if file.checksum is None and level == "rehash":
            return Dead("no_checksum", f"{file.path}: the inventory has no checksum of the source to compare with")
        path = logical_path(job.target_collection, file.path)
        self._gateways.of(job.settings.client).verify(
            path, size=file.size, checksum=file.checksum, level=level, resource=job.settings.resource
        )
        return Done(level=level)

    def _verify_many(self, files: Sequence[ClaimedFile]) -> Sequence[Outcome]:
        job = self._member.rota.job(files[0].job_id)
        return self._gateways.of(job.settings.client).verify_many(
            logical_path(job.target_collection, files[0].directory),
            [Expected(file.name, file.size, file.checksum) for file in files],
            level=job.settings.verify_level,
            resource=job.settings.resource,
        )
