"""The loader's stage: makes collections, loads files, deletes what is gone, and writes all of it down."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial

from core.handlers.api import FILE_EVENTS, LIMITS
from core.handlers.folder import HandlersFolder
from core.irods import ExtraStreams
from core.outcome import Done, Outcome, Released
from core.planned import APPEND_BYTES
from core.worker import Report, Reported, Unit, run_each, run_together
from inventory import claims, custody
from inventory.claims import ClaimedFile, Result, Stage
from inventory.collections import ClaimedCollection
from inventory.pace import Pace
from inventory.passes import ClaimedEvent
from inventory.pod import Member
from loader.collections import CollectionWork, Gone
from loader.connection import Connections
from loader.delete import Deletion, delete
from loader.files import FileWork
from loader.handlers.helper import Helpers
from loader.handlers.messages import Item
from loader.pass_events import PassEvents
from loader.units import Together, cut

REGISTER_FILES = 50
"""What one bulk registration takes; the others that read files only for their checksum do likewise."""
REGISTER_BYTES = 256 * 1024 * 1024
"""So much is read at most before its registration, for a checksum."""
DELETE_FILES = 50
"""Deletions one thread does at a time."""


class LoadStage:
    """Files, and the collections they go to."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._connections = Connections(member.settings.irods, member.settings.s3, member.rota.bytes_per_second)
        self._collections = CollectionWork(member, self._connections)
        self._files = FileWork(self._connections)
        self._events = PassEvents(member)
        self._helpers = Helpers(
            member.settings.loader.handler_timeout_seconds,
            member.settings.irods.connections,
            member.rota.bytes_per_second,
        )
        self._pace = member.rota.pace = Pace(member.settings.irods.connections)
        folder = HandlersFolder(member.settings.loader.handlers_folder)
        member.rota.admits = lambda job: (
            job.handler is None or folder.has(job.name, job.handler.file, job.handler.sha256)
        )

    @property
    def extra(self) -> ExtraStreams:
        """Lends connections to large files."""
        return self._connections.extra

    def claim(self, limit: int) -> Sequence[Unit[Item]]:
        rota = self._member.rota
        units: list[Unit[Item]] = [*self._events.claim(), *self._collections.claim()]
        units += cut(rota.claim_files("load", limit), self._together)
        gone = [Deletion(file) for file in rota.claim_files("delete", limit)]
        return units + [gone[n : n + DELETE_FILES] for n in range(0, len(gone), DELETE_FILES)]

    def _together(self, file: ClaimedFile) -> Together | None:
        """What files may share a unit with this one: those that one bulk call can bring."""
        job = self._member.rota.job(file.job_id)
        settings = job.settings
        if job.hears(*FILE_EVENTS, *LIMITS):
            return None
        if settings.operation in ("register_sync", "register_as_replica_sync", "verify"):
            return Together((file.directory_id,), REGISTER_FILES, REGISTER_BYTES)
        bundle = self._member.settings.bundle
        overwrites = settings.operation in ("put_sync", "put_append")
        most = min(bundle.max_file_bytes, APPEND_BYTES) if settings.operation == "put_append" else bundle.max_file_bytes
        if not (overwrites or settings.operation == "put") or file.size > most:
            return None
        key = (file.job_id, overwrites or file.is_reload)
        return Together(key, bundle.max_files, bundle.max_bytes)

    def run(self, unit: Unit[Item], report: Report[Item], stopping: threading.Event) -> None:
        files = [item for item in unit if isinstance(item, ClaimedFile)]
        job = self._member.rota.job(_job_of(unit[0]))
        if job.has_code:
            wanted = partial(self._member.rota.is_running, job.id)
            self._helpers.run(job, unit, report, stopping, wanted)
        elif len(files) < 2 or not self._member.rota.is_running(job.id):
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
            if isinstance(item, ClaimedEvent):
                self._events.finish(item, one.outcome)
                continue
            if isinstance(item, ClaimedCollection | Gone):
                collections.append(Reported(item, one.outcome, one.began, one.ended))
                continue
            file, stage = (item.file, "delete") if isinstance(item, Deletion) else (item, "load")
            result = Result(file, one.outcome, now - one.began, now - one.ended)
            by_job.setdefault((file.job_id, "delete" if stage == "delete" else "load"), []).append(result)
            if stage == "load" and isinstance(one.outcome, Done) and not file.collection_made:
                made.add(file.directory_id)
        self._collections.finish(collections, made)
        fenced = sum(self._finish_files(job, stage, results) for (job, stage), results in by_job.items())
        self._pace.let_go(one.item for one in reported if isinstance(one.item, ClaimedFile))
        return fenced

    def is_suspect(self, item: Item) -> bool:
        file = _file_of(item)
        return file is not None and file.suspect

    def begin(self, item: Item) -> bool:
        member, file = self._member, _file_of(item)
        stage: Stage = "delete" if isinstance(item, Deletion) else "load"
        mine = file is None or custody.begin(member.database, member.worker, stage, file)
        if not mine and isinstance(item, ClaimedFile):
            self._pace.let_go([item])
        return mine

    def keep(self, items: Sequence[Item]) -> None:
        member = self._member
        loads = [item for item in items if isinstance(item, ClaimedFile)]
        deletions = [item.file for item in items if isinstance(item, Deletion)]
        custody.keep(member.database, member.worker, "load", member.rota.shards, loads)
        self._pace.keep(loads)
        custody.keep(member.database, member.worker, "delete", member.rota.shards, deletions)
        self._events.keep([item for item in items if isinstance(item, ClaimedEvent)])
        self._collections.keep([item for item in items if isinstance(item, ClaimedCollection | Gone)])

    def told(self, item: Item) -> dict[str, object]:
        job = self._member.rota.job(_job_of(item)).name
        file = _file_of(item)
        if file is not None:
            return file.told("delete" if isinstance(item, Deletion) else "load", job)
        if isinstance(item, ClaimedEvent):
            return {"stage": item.event, "job": job, "number": item.number, "attempt": item.attempts + 1}
        collection = item.collection if isinstance(item, Gone) else item
        assert isinstance(collection, ClaimedCollection)
        return {"stage": "collection", "job": job, "directory": collection.path, "attempt": collection.attempts + 1}

    def end_thread(self) -> None:
        self._connections.close()
        self._helpers.end_thread()

    def _finish_files(self, job: int, stage: Stage, results: Sequence[Result]) -> int:
        member = self._member
        return claims.finish(member.database, member.worker, stage, results, member.limits(member.rota.job(job)))

    def _do(self, item: Item) -> Outcome:
        if not self._member.rota.is_running(_job_of(item)):
            return Released()  # the job was paused or stopped since the claim
        if isinstance(item, ClaimedCollection | Gone):
            return self._collections.do(item)
        if isinstance(item, ClaimedEvent):
            return Released()  # the job lost its handler since
        if isinstance(item, Deletion):
            return delete(self._connections, self._member.rota.job(item.file.job_id), item.file)
        return self._files.load(self._member.rota.job(item.job_id), item)

    def _load_many(self, files: Sequence[ClaimedFile]) -> Sequence[Outcome]:
        return self._files.load_many(self._member.rota.job(files[0].job_id), files)


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
