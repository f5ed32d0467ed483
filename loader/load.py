"""One file into iRODS: opened, compared with what the scan saw, put or registered, and compared again.

The comparison after the last byte is what keeps a file that changed under the reader from counting as loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.checksums import Hasher, checksum_of
from core.irods import Exists, Gateway
from core.outcome import Changed, Done, Outcome, Skipped
from core.paths import logical_path
from core.settings import IrodsSettings
from core.sources.base import Source, SourceFile, Stat
from inventory.claims import ClaimedFile
from inventory.jobs import Job

READ_BYTES = 4 * 1024 * 1024
"""How much of a file is read at a time when it is only hashed."""


@dataclass(frozen=True)
class Load:
    """How the files of one job are loaded over one connection."""

    job: Job
    source: Source
    gateway: Gateway
    settings: IrodsSettings

    def __call__(self, file: ClaimedFile) -> Outcome:
        """Load one file. Raises FileError."""
        path = logical_path(self.job.target_collection, file.path)
        seen = Stat(file.size, file.modified_at)
        opened = self.source.open(file.path)
        try:
            if (before := opened.stat()) != seen:
                return Changed(before.size, before.modified_at)
            outcome = self._way(file, path, opened)()
            after = opened.stat()
        finally:
            opened.close()
        # -1 stands for a file that was replaced by another of the same size and time
        return outcome if after == seen else Changed(max(after.size, 0), after.modified_at)

    def _way(self, file: ClaimedFile, path: str, opened: SourceFile) -> Callable[[], Outcome]:
        if self.job.settings.operation == "register_sync":
            return lambda: self._register(file, path, opened)
        return lambda: self._put(file, path, opened)

    def _put(self, file: ClaimedFile, path: str, opened: SourceFile) -> Outcome:
        # what an earlier attempt of ours may have left is always overwritten, whatever the operation says of others' objects
        overwrite = self.job.settings.operation == "put_sync" or not file.fresh
        resource = self.job.settings.resource
        try:
            if file.size <= self.settings.single_buffer_bytes:
                data = opened.read_at(0, file.size + 1)
                if len(data) != file.size:
                    return self._changed(file, opened)
                checksum = checksum_of(data)
                self.gateway.put_bytes(path, data, checksum=checksum, resource=resource, overwrite=overwrite)
            else:
                checksum = self.gateway.put_stream(
                    path, opened.read_at, file.size, resource=resource, overwrite=overwrite
                )
        except Exists:
            return Skipped(
                "iRODS has this data object already, and put leaves existing ones alone (put_sync overwrites)"
            )
        return Done(checksum)

    def _register(self, file: ClaimedFile, path: str, opened: SourceFile) -> Outcome:
        physical = self.source.physical_path(file.path)
        hasher, offset = Hasher(), 0
        while block := opened.read_at(offset, READ_BYTES):
            hasher.update(block)
            offset += len(block)
        if offset != file.size:
            return self._changed(file, opened)
        self.gateway.register(
            path, physical, file.size, file.modified_at, resource=self.job.settings.resource, checksum=hasher.checksum
        )
        return Done(hasher.checksum)

    @staticmethod
    def _changed(file: ClaimedFile, opened: SourceFile) -> Changed:
        now = opened.stat()
        return Changed(max(now.size, 0), now.modified_at)
