"""The context of what a handler is asked about."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import structlog

from core.handlers import Context
from core.sources.base import Source, SourceFile, Stat
from core.sources.urls import bucket_of
from inventory.claims import ClaimedFile
from inventory.collections import ClaimedCollection
from inventory.jobs import Job
from inventory.passes import ClaimedEvent
from loader.notes import path_of

log = structlog.get_logger()


class _Reader(io.RawIOBase):
    """An open source file as Python reads files."""

    def __init__(self, file: SourceFile, size: int) -> None:
        self._file = file
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence])
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = self._file.read_at(self._place, len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def of_job(job: Job, event: ClaimedEvent | None = None, session: Any = None) -> Context:
    """The context of a whole job."""
    return Context(
        job=job.name,
        source=os.fsdecode(path_of(job, "")),
        collection=job.target_collection,
        log=log,
        session=session,
        pass_number=event.number if event else 0,
        bucket=bucket_of(job.source_url),
        attempt=event.attempts + 1 if event else 1,
        settings=job.settings.model_dump(mode="json"),
    )


def of_file(job: Job, file: ClaimedFile, logical_path: str, source: Source, session: Any = None) -> Context:
    """The context of a file."""
    whole = of_job(job, session=session)
    return _at(
        whole,
        path=os.fsdecode(path_of(job, file.path)),
        relative=file.path,
        logical_path=logical_path,
        size=file.size,
        modified_at=file.modified_at / 1_000_000,
        attempt=file.attempts + 1,
        reader=_opener(source, file),
    )


def of_collection(job: Job, collection: ClaimedCollection, logical_path: str, session: Any = None) -> Context:
    """The context of a directory."""
    return _at(
        of_job(job, session=session),
        path=os.fsdecode(path_of(job, collection.path)),
        relative=collection.path,
        logical_path=logical_path,
        is_directory=True,
    )


def _at(whole: Context, **values: Any) -> Context:
    return Context(**{name: getattr(whole, name) for name in whole.__dataclass_fields__} | values)


def _opener(source: Source, file: ClaimedFile) -> Callable[[], BinaryIO]:
    return lambda: io.BufferedReader(
        _Reader(source.open(file.path, Stat(file.size, file.modified_at, file.tag)), file.size)
    )
