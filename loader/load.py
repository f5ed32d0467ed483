"""Files of one job into iRODS: read and compared with what the scan saw, then put or registered.

What was read counts only if size and time are the same before the first byte and after the last one: a file that changed
under the reader is `Changed`, and whatever was written of it is overwritten by the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import structlog

from core.checksums import Hasher
from core.errors import Changed as SourceChanged
from core.errors import FileError, Permanent
from core.irods import AVU, Access, Exists, Gateway, Registration, SmallFile
from core.outcome import Changed, Done, Outcome, Skipped, outcome_of
from core.paths import check_logical, logical_path
from core.planned import APPEND_BYTES
from core.settings import IrodsSettings
from core.sources import link_folder
from core.sources.base import Source, SourceFile, Stat
from core.sources.urls import source_path
from inventory.claims import ClaimedFile
from inventory.jobs import Job
from loader.promise import Passing, checked

log = structlog.get_logger()
Prepared = TypeVar("Prepared")
READ_BYTES = 4 * 1024 * 1024
"""How much of a file is read at a time when it is only hashed."""


class _Moved(Exception):
    """The source file is no longer what the scan saw."""

    def __init__(self, now: Stat) -> None:
        # a size of -1 stands for a file that was replaced by another one of the same size and time
        self.outcome = Changed(max(now.size, 0), now.modified_at, now.tag)


class Notes(NamedTuple):
    """What belongs to an object besides its bytes."""

    metadata: Sequence[AVU] = ()
    acl: Sequence[Access] = ()


def no_notes(_file: ClaimedFile) -> Notes:
    """Nothing."""
    return Notes()


def link_of(job: Job, path: str) -> str | None:
    """The path of the link that a file would be registered by, if iRODS cannot hold its own; None where there are none."""
    folder = job.settings.link_folder
    if folder is None or job.source_url.startswith("s3://"):
        return None
    return link_folder.link_to(folder, source_path(job.source_url, path))


@dataclass(frozen=True)
class Load:
    """How files of one job are loaded over one connection.

    `names` maps relative paths to those in iRODS; `notes` gives the metadata and access of a file.
    """

    job: Job
    source: Source
    gateway: Gateway
    settings: IrodsSettings
    names: Callable[[str], str] = str
    notes: Callable[[ClaimedFile], Notes] = no_notes

    def one(self, file: ClaimedFile) -> Outcome:
        """Load one file of any size. Raises FileError."""
        try:
            outcome = self._bring(file)
            self._look_again(file)
            return outcome
        except _Moved as moved:
            return moved.outcome
        except Exists:
            return Skipped(
                "iRODS has this data object already, and put leaves existing ones alone (put_sync overwrites)"
            )

    def many(self, files: Sequence[ClaimedFile]) -> list[Outcome]:
        """Load small files together, by the bulk calls of iRODS; one outcome a file, in order."""
        if self.job.settings.operation == "verify":
            outcomes = self._together(files, self._compute, list)
        elif self._registers:
            outcomes = self._together(files, self._registration, self._register_many)
        else:
            outcomes = self._together(files, self._small_file, lambda small: self._put_many(files, small))
        return [self._unless_moved(file, outcome) for file, outcome in zip(files, outcomes, strict=True)]

    def _unless_moved(self, file: ClaimedFile, outcome: Outcome) -> Outcome:
        """The outcome of a file that is still what the scan saw; what else it has become meanwhile."""
        if not isinstance(outcome, Done):
            return outcome
        try:
            self._look_again(file)
        except _Moved as moved:
            return moved.outcome
        except FileError as error:
            return outcome_of(error)
        return outcome

    def _look_again(self, file: ClaimedFile) -> None:
        """A last look at the source when all is in iRODS. Raises _Moved and FileError."""
        with self._opened(file, anew=True):
            pass

    @property
    def _registers(self) -> bool:
        return self.job.settings.operation in ("register_sync", "register_as_replica_sync")

    def _bring(self, file: ClaimedFile) -> Outcome:
        if self.job.settings.operation == "verify":
            return self._compute(file)
        notes = self.notes(file)
        if self._registers:
            return self._register(file, notes)
        if self.job.settings.operation == "put_append" and file.size > APPEND_BYTES:
            return self._append(file, notes)
        return self._put(file, notes)

    def _compute(self, file: ClaimedFile) -> Outcome:
        """What verifying needs to know of the source: its checksum, unless only sizes will be compared."""
        return Done(None if self.job.settings.verify_level == "stat" else self._hash(file))

    def _logical(self, file: ClaimedFile) -> str:
        return logical_path(self.job.target_collection, self.names(file.path))

    def _annotate(self, path: str, notes: Notes) -> None:
        """Set metadata and access where iRODS does not take them along with the object."""
        if any(notes):
            self.gateway.annotate(path, metadata=notes.metadata, acl=notes.acl)

    def _register(self, file: ClaimedFile, notes: Notes) -> Outcome:
        row = self._registration(file, notes)
        where = (row.path, row.physical_path, row.size, row.modified_at)
        if self.job.settings.operation == "register_sync":
            self.gateway.register(*where, resource=self.job.settings.resource, checksum=row.checksum)
        else:
            self.gateway.register_as_replica(*where, resource=self._resource_named(), checksum=row.checksum)
        self._annotate(row.path, notes)
        return Done(row.checksum)

    def _resource_named(self) -> str:
        if self.job.settings.resource is None:
            words = "register_as_replica_sync needs to know where the new replicas are"
            raise Permanent("no_resource", words, "set job.resource")
        return self.job.settings.resource

    def _append(self, file: ClaimedFile, notes: Notes) -> Outcome:
        path = self._logical(file)
        with self._opened(file) as opened:
            passing = Passing(file.path, opened)
            done = self.gateway.append(path, passing.read_at, file.size, resource=self.job.settings.resource)
            passing.check(done.checksum, file.size)
        if done.note:
            log.info("put_whole", path=path, reason=done.note)
        self._annotate(path, notes)
        return Done(done.checksum)

    def _put(self, file: ClaimedFile, notes: Notes) -> Outcome:
        path = self._logical(file)
        resource, overwrite = self.job.settings.resource, self._overwrites(file)
        if file.size <= self.settings.single_buffer_bytes:
            data, checksum = self._read(file)
            metadata, acl = notes
            self.gateway.put_bytes(
                path, data, checksum=checksum, resource=resource, overwrite=overwrite, metadata=metadata, acl=acl
            )
            return Done(checksum)
        with self._opened(file) as opened:
            passing = Passing(file.path, opened)
            checksum = self.gateway.put_stream(path, passing.read_at, file.size, resource=resource, overwrite=overwrite)
            passing.check(checksum, file.size)
        self._annotate(path, notes)
        return Done(checksum)

    def _overwrites(self, file: ClaimedFile) -> bool:
        # put leaves alone what is there, be it ours of an earlier version, unless what we brought of this version was found wrong;
        # what a dead client left unfinished the gateway overwrites in any case
        return self.job.settings.operation in ("put_sync", "put_append") or file.is_reload

    def _together(
        self,
        files: Sequence[ClaimedFile],
        prepare: Callable[[ClaimedFile], Prepared],
        bring: Callable[[list[Prepared]], list[Outcome]],
    ) -> list[Outcome]:
        """Prepare each file by itself and bring those that could be prepared; one that could not spoils no other."""
        outcomes: dict[int, Outcome] = {}
        prepared: dict[int, Prepared] = {}
        for number, file in enumerate(files):
            try:
                prepared[number] = prepare(file)
            except _Moved as moved:
                outcomes[number] = moved.outcome
            except FileError as error:
                outcomes[number] = outcome_of(error)
        if prepared:
            outcomes |= zip(prepared, bring(list(prepared.values())), strict=True)
        return [outcomes[number] for number in range(len(files))]

    def _small_file(self, file: ClaimedFile) -> SmallFile:
        relative = self.names(file.path)
        check_logical(f"{self.job.target_collection}/{relative}")
        notes = self.notes(file)
        return SmallFile(relative, *self._read(file), *notes)

    def _put_many(self, files: Sequence[ClaimedFile], small: list[SmallFile]) -> list[Outcome]:
        overwrite = all(self._overwrites(file) for file in files)
        collection, resource = self.job.target_collection, self.job.settings.resource
        return self.gateway.put_bundle(collection, small, resource=resource, overwrite=overwrite)

    def _register_many(self, rows: list[Registration]) -> list[Outcome]:
        if self.job.settings.operation == "register_as_replica_sync":
            return self.gateway.register_as_replica_many(rows, resource=self._resource_named())
        return self.gateway.register_many(rows, resource=self.job.settings.resource)

    def _registration(self, file: ClaimedFile, notes: Notes | None = None) -> Registration:
        path = self._logical(file)
        metadata, acl = notes if notes is not None else self.notes(file)
        physical = self.source.physical_path(file.path)
        if (link := link_of(self.job, file.path)) == physical:
            link_folder.make(link, source_path(self.job.source_url, file.path))
        return Registration(path, physical, file.size, file.modified_at, self._hash(file), metadata, acl)

    def _hash(self, file: ClaimedFile) -> str:
        """The SHA-256 of a file of any size, read for it unless the source itself keeps one."""
        with self._opened(file) as opened:
            return opened.checksum() or self._hashed(file, opened)

    def _hashed(self, file: ClaimedFile, opened: SourceFile) -> str:
        hasher, passing, offset = Hasher(), Passing(file.path, opened), 0
        while block := passing.read_at(offset, READ_BYTES):
            hasher.update(block)
            offset += len(block)
        if offset != file.size:
            raise _Moved(opened.stat())
        passing.check(hasher.checksum, file.size)
        return hasher.checksum

    def _read(self, file: ClaimedFile) -> tuple[bytes, str]:
        """All bytes of a small file, and their checksum."""
        with self._opened(file) as opened:
            data = opened.read_at(0, file.size + 1)
            if len(data) != file.size:
                raise _Moved(opened.stat())
            return data, checked(file.path, opened, data)

    @contextmanager
    def _opened(self, file: ClaimedFile, *, anew: bool = False) -> Iterator[SourceFile]:
        """The open file; raises _Moved when it is another one than the scan saw, before, in or after the block.

        `anew` has the source look for itself now.
        """
        seen = Stat(file.size, file.modified_at, file.tag)
        opened = self.source.open(file.path, None if anew else seen)
        try:
            self._compare(file, opened)
            try:
                yield opened
            except SourceChanged:
                self._compare(file, opened)
                raise
            self._compare(file, opened)
        finally:
            opened.close()

    @staticmethod
    def _compare(file: ClaimedFile, opened: SourceFile) -> None:
        seen = Stat(file.size, file.modified_at, file.tag)
        if not (now := opened.stat()).is_like(seen):
            raise _Moved(now.held_to(seen))
