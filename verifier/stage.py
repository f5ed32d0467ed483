"""The verifier's stage: size, status and checksum of what iRODS holds against what the source had.

The checksum is of the bytes as the server reads them now. A disagreement sends the file back to the loaders, up to the job's
limit, then to the dead letters with both values.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from core.irods import Gateway
from core.outcome import Dead, Done, Outcome
from core.paths import logical_path
from core.worker import Report, Reported, Unit, run_each
from inventory import claims
from inventory.claims import ClaimedFile, Result
from inventory.pod import Member

UNIT_FILES = 20
"""Small files verified by one thread at a time."""
LARGE_BYTES = 256 * 1024 * 1024
"""A file above this size is a unit of its own, so that others need not wait behind it."""


class VerifyStage:
    """Files that are loaded."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._open = threading.local()

    def claim(self, limit: int) -> Sequence[Unit[ClaimedFile]]:
        files = self._member.rota.claim_files("verify", limit)
        large = [[file] for file in files if file.size > LARGE_BYTES]
        small = [file for file in files if file.size <= LARGE_BYTES]
        return large + [small[n : n + UNIT_FILES] for n in range(0, len(small), UNIT_FILES)]

    def run(self, unit: Unit[ClaimedFile], report: Report[ClaimedFile], stopping: threading.Event) -> None:
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

    def end_thread(self) -> None:
        if (gateway := getattr(self._open, "gateway", None)) is not None:
            gateway.close()

    def _verify(self, file: ClaimedFile) -> Outcome:
        if file.checksum is None:
            return Dead("no_checksum", f"{file.path}: the inventory has no checksum of the source to compare with")
        job = self._member.rota.job(file.job_id)
        path = logical_path(job.target_collection, file.path)
        self._gateway().verify(path, size=file.size, checksum=file.checksum)
        return Done()

    def _gateway(self) -> Gateway:
        gateway: Gateway | None = getattr(self._open, "gateway", None)
        if gateway is None:
            gateway = self._open.gateway = Gateway(self._member.settings.irods)
        return gateway
