"""The loader's stage: makes collections, loads files, and writes both down."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from core.errors import FileError
from core.irods import Gateway
from core.outcome import Dead, Done, Outcome, Retry, failure_of, outcome_of
from core.paths import logical_path
from core.sources.base import Source
from core.sources.urls import open_source
from core.worker import Report, Reported, Unit, run_each, run_together
from inventory import claims, collections
from inventory.claims import ClaimedFile, Result
from inventory.collections import ClaimedCollection, Unmade
from inventory.jobs import Job
from inventory.pod import Member
from loader.load import Load
from loader.units import Together, cut

Item = ClaimedFile | ClaimedCollection
COLLECTIONS = 100
"""Directories claimed at a time to be made into collections, in units of ten."""
REGISTER_FILES = 50
"""What one bulk registration takes."""
REGISTER_BYTES = 256 * 1024 * 1024
"""So much is read at most before its registration, for a checksum."""


class LoadStage:
    """Files and the collections they go to."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._irods = member.settings.irods
        self._open = threading.local()
        self._sources: dict[int, Source] = {}
        self._made: set[str] = set()  # logical paths known to exist; shared, for adding to a set is atomic

    def claim(self, limit: int) -> Sequence[Unit[Item]]:
        rota, worker = self._member.rota, self._member.worker
        wanted = collections.claim(self._member.database, worker, list(rota.running()), COLLECTIONS)
        units: list[Unit[Item]] = [wanted[n : n + 10] for n in range(0, len(wanted), 10)]
        files = rota.claim_files("load", limit)
        units += cut(files, self._together)
        return units

    def _together(self, file: ClaimedFile) -> Together | None:
        """What files may share a unit with this one: those that one bulk call can bring."""
        settings = self._member.rota.job(file.job_id).settings
        if settings.operation == "register_sync":
            return Together((file.directory_id,), REGISTER_FILES, REGISTER_BYTES)
        bundle = self._member.settings.bundle
        if file.size > bundle.max_file_bytes:
            return None
        return Together(
            (file.job_id, file.fresh or settings.operation == "put_sync"), bundle.max_files, bundle.max_bytes
        )

    def run(self, unit: Unit[Item], report: Report[Item], stopping: threading.Event) -> None:
        files = [item for item in unit if isinstance(item, ClaimedFile)]
        if len(files) < 2:
            run_each(unit, self._do, report, stopping)
        elif not stopping.is_set():
            run_together(files, self._load_many, lambda one: report(Reported(*one)))

    def finish(self, reported: Sequence[Reported[Item]]) -> int:
        now = time.monotonic()
        by_job: dict[int, list[Result]] = {}
        made: set[int] = set()
        unmade: dict[int, list[Unmade]] = {}
        for one in reported:
            item, outcome = one.item, one.outcome
            if isinstance(item, ClaimedFile):
                by_job.setdefault(item.job_id, []).append(Result(item, outcome, now - one.began, now - one.ended))
                if isinstance(outcome, Done) and not item.collection_made:
                    made.add(item.directory_id)
            elif isinstance(outcome, Done):
                made.add(item.directory_id)
            else:
                unmade.setdefault(item.job_id, []).append(_unmade(item, outcome))
        self._finish_collections(made, unmade)
        return sum(self._finish_files(self._member.rota.job(job), results) for job, results in by_job.items())

    def end_thread(self) -> None:
        if (gateway := getattr(self._open, "gateway", None)) is not None:
            gateway.close()  # it connects again when it is used again

    def _finish_files(self, job: Job, results: Sequence[Result]) -> int:
        member = self._member
        return claims.finish(member.database, member.worker, "load", results, member.limits(job))

    def _finish_collections(self, made: set[int], unmade: dict[int, list[Unmade]]) -> None:
        member = self._member
        collections.made(member.database, member.worker, sorted(made))
        for job, failures in unmade.items():
            counted = [one for one in failures if one.error]
            collections.failed(member.database, member.worker, counted, member.limits(member.rota.job(job)))
            given_back = [one.collection.directory_id for one in failures if not one.error]
            collections.release(member.database, member.worker, given_back)

    def _do(self, item: Item) -> Outcome:
        job = self._member.rota.job(item.job_id)
        if isinstance(item, ClaimedCollection):
            return self._make(job, item.path)
        return self._load(job, item)

    def _make(self, job: Job, directory: str) -> Outcome:
        path = logical_path(job.target_collection, directory)
        if path not in self._made:
            self._gateway().make_collections(path, self._made)
        return Done()

    def _load(self, job: Job, file: ClaimedFile) -> Outcome:
        if not file.collection_made:
            self._make(job, file.directory)
        return self._loading(job).one(file)

    def _load_many(self, files: Sequence[ClaimedFile]) -> Sequence[Outcome]:
        job = self._member.rota.job(files[0].job_id)
        unmade = self._make_all(job, {file.directory for file in files if not file.collection_made})
        able = [file for file in files if file.directory not in unmade]
        outcomes = iter(self._loading(job).many(able))
        return [unmade[file.directory] if file.directory in unmade else next(outcomes) for file in files]

    def _make_all(self, job: Job, directories: Iterable[str]) -> dict[str, Outcome]:
        """Make collections; those that could not be made, with the outcome of their files."""
        unmade: dict[str, Outcome] = {}
        for directory in sorted(directories):
            try:
                self._make(job, directory)
            except FileError as error:
                unmade[directory] = outcome_of(error)
        return unmade

    def _loading(self, job: Job) -> Load:
        return Load(job, self._source(job), self._gateway(), self._irods)

    def _gateway(self) -> Gateway:
        gateway: Gateway | None = getattr(self._open, "gateway", None)
        if gateway is None:
            gateway = self._open.gateway = Gateway(self._irods)
        return gateway

    def _source(self, job: Job) -> Source:
        if job.id not in self._sources:
            self._sources[job.id] = open_source(job.source_url)
        return self._sources[job.id]


def _unmade(collection: ClaimedCollection, outcome: Outcome) -> Unmade:
    """A failure to be counted, or one without an error for a claim that is only given back."""
    why = failure_of(outcome) if isinstance(outcome, Retry | Dead) else None
    error, message = why or ("", "")
    return Unmade(collection, error, message, permanent=isinstance(outcome, Dead))
