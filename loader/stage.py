"""The loader's stage: makes collections, loads files, deletes what is gone, and writes all of it down."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from core.errors import FileError
from core.irods import ExtraStreams
from core.outcome import Done, Outcome, Released, Retry, Skipped, outcome_of
from core.worker import Report, Reported, Unit, run_each, run_together
from inventory import claims, custody
from inventory.claims import ClaimedFile, Result, Stage
from inventory.collections import ClaimedCollection
from inventory.jobs import Job
from inventory.pod import Member
from loader.collections import CollectionWork, Gone
from loader.connection import Connections
from loader.delete import Deletion, delete
from loader.load import APPEND_BYTES, Load
from loader.units import Together, cut

Item = ClaimedFile | Deletion | ClaimedCollection | Gone
REGISTER_FILES = 50
"""What one bulk registration takes; the others that read files only for their checksum do likewise."""
REGISTER_BYTES = 256 * 1024 * 1024
"""So much is read at most before its registration, for a checksum."""
DELETE_FILES = 50
"""Deletions one thread does at a time."""
NO_COLLECTION = "CAT_UNKNOWN_COLLECTION"


class LoadStage:
    """Files, and the collections they go to."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._connections = Connections(member.settings.irods, member.settings.s3, member.rota.bytes_per_second)
        self._collections = CollectionWork(member, self._connections)

    @property
    def extra(self) -> ExtraStreams:
        """Lends connections to large files."""
        return self._connections.extra

    def claim(self, limit: int) -> Sequence[Unit[Item]]:
        rota = self._member.rota
        units: list[Unit[Item]] = [*self._collections.claim()]
        units += cut(rota.claim_files("load", limit), self._together)
        gone = [Deletion(file) for file in rota.claim_files("delete", limit)]
        return units + [gone[n : n + DELETE_FILES] for n in range(0, len(gone), DELETE_FILES)]

    def _together(self, file: ClaimedFile) -> Together | None:
        """What files may share a unit with this one: those that one bulk call can bring."""
        settings = self._member.rota.job(file.job_id).settings
        if settings.operation in ("register_sync", "register_as_replica_sync", "verify"):
            return Together((file.directory_id,), REGISTER_FILES, REGISTER_BYTES)
        bundle = self._member.settings.bundle
        overwrites = settings.operation in ("put_sync", "put_append")
        most = min(bundle.max_file_bytes, APPEND_BYTES) if settings.operation == "put_append" else bundle.max_file_bytes
        if not (overwrites or settings.operation == "put") or file.size > most:
            return None
        key = (file.job_id, file.fresh or overwrites)
        return Together(key, bundle.max_files, bundle.max_bytes)

    def run(self, unit: Unit[Item], report: Report[Item], stopping: threading.Event) -> None:
        files = [item for item in unit if isinstance(item, ClaimedFile)]
        if len(files) < 2 or not self._member.rota.is_running(files[0].job_id):
            run_each(unit, self._do, report, stopping)
        elif not stopping.is_set():
            run_together(files, self._load_many, lambda one: report(Reported(*one)))

    def finish(self, reported: Sequence[Reported[Item]]) -> int:
        now = time.monotonic()
        by_job: dict[tuple[int, Stage], list[Result]] = {}
        made: set[int] = set()
        collections: list[Reported[ClaimedCollection | Gone]] = []
        for one in reported:
            item = one.item
            if isinstance(item, ClaimedCollection | Gone):
                collections.append(Reported(item, one.outcome, one.began, one.ended))
                continue
            file, stage = (item.file, "delete") if isinstance(item, Deletion) else (item, "load")
            result = Result(file, one.outcome, now - one.began, now - one.ended)
            by_job.setdefault((file.job_id, "delete" if stage == "delete" else "load"), []).append(result)
            if stage == "load" and isinstance(one.outcome, Done) and not file.collection_made:
                made.add(file.directory_id)
        self._collections.finish(collections, made)
        return sum(self._finish_files(job, stage, results) for (job, stage), results in by_job.items())

    def is_suspect(self, item: Item) -> bool:
        file = _file_of(item)
        return file is not None and file.suspect

    def begin(self, item: Item) -> bool:
        member, file = self._member, _file_of(item)
        stage: Stage = "delete" if isinstance(item, Deletion) else "load"
        return file is None or custody.begin(member.database, member.worker, stage, file)

    def keep(self, items: Sequence[Item]) -> None:
        member = self._member
        loads = [item for item in items if isinstance(item, ClaimedFile)]
        deletions = [item.file for item in items if isinstance(item, Deletion)]
        custody.keep(member.database, member.worker, "load", member.rota.shards, loads)
        custody.keep(member.database, member.worker, "delete", member.rota.shards, deletions)
        self._collections.keep([item for item in items if isinstance(item, ClaimedCollection | Gone)])

    def end_thread(self) -> None:
        self._connections.close()

    def _finish_files(self, job: int, stage: Stage, results: Sequence[Result]) -> int:
        member = self._member
        return claims.finish(member.database, member.worker, stage, results, member.limits(member.rota.job(job)))

    def _do(self, item: Item) -> Outcome:
        if not self._member.rota.is_running(_job_of(item)):
            return Released()  # the job was paused or stopped since the claim
        if isinstance(item, ClaimedCollection | Gone):
            return self._collections.do(item)
        if isinstance(item, Deletion):
            return delete(self._connections, self._member.rota.job(item.file.job_id), item.file)
        return self._load(self._member.rota.job(item.job_id), item)

    def _load(self, job: Job, file: ClaimedFile) -> Outcome:
        if job.settings.operation == "no_op":
            return Skipped("operation no_op does nothing with files")
        if not file.collection_made:
            self._connections.make_collection(job, file.directory)
        try:
            return self._loading(job).one(file)
        except FileError as error:
            if error.error != NO_COLLECTION:
                raise
            # somebody has removed it since; the inventory only knows that it was made once
            self._connections.make_collection(job, file.directory, anew=True)
            return self._loading(job).one(file)

    def _load_many(self, files: Sequence[ClaimedFile]) -> Sequence[Outcome]:
        job = self._member.rota.job(files[0].job_id)
        unmade = self._make_all(job, {file.directory for file in files if not file.collection_made})
        able = [file for file in files if file.directory not in unmade]
        outcomes = iter(self._loading(job).many(able))
        return [
            unmade[file.directory] if file.directory in unmade else self._again(job, file, next(outcomes))
            for file in files
        ]

    def _again(self, job: Job, file: ClaimedFile, outcome: Outcome) -> Outcome:
        """Load a file by itself whose collection was found to be missing."""
        if not (isinstance(outcome, Retry) and outcome.error == NO_COLLECTION):
            return outcome
        try:
            return self._load(job, file)
        except FileError as error:
            return outcome_of(error)

    def _make_all(self, job: Job, directories: Iterable[str]) -> dict[str, Outcome]:
        """Make collections; those that could not be made, with the outcome of their files."""
        unmade: dict[str, Outcome] = {}
        for directory in sorted(directories):
            try:
                self._connections.make_collection(job, directory)
            except FileError as error:
                unmade[directory] = outcome_of(error)
        return unmade

    def _loading(self, job: Job) -> Load:
        return Load(job, self._connections.source(job), self._connections.gateway(job), self._connections.settings)


def _file_of(item: Item) -> ClaimedFile | None:
    match item:
        case Deletion(file):
            return file
        case ClaimedFile():
            return item
        case _:
            return None


def _job_of(item: Item) -> int:
    match item:
        case Deletion(file):
            return file.job_id
        case Gone(collection):
            return collection.job_id
        case _:
            return item.job_id
