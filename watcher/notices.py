"""The notifications of buckets: read off their queues in a thread a job, and brought into the inventory by the main one.

A message is deleted only after what it tells is committed; whatever happens before, it comes again.
"""

from __future__ import annotations

import queue as queues
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog

from core.errors import IngestError, UsageError
from core.settings import S3Settings
from core.sources.base import Placing, Source
from core.sources.notices import Notice, notices_of
from inventory import noticed
from inventory.jobs import Job
from inventory.noticed import Looked
from inventory.pod import Member
from watcher.ahead import Ahead

log = structlog.get_logger()

WAIT_SECONDS = 2
"""How long an empty queue is asked for a first message."""
GATHER = 500
"""Messages that are brought in together, at most."""
PAUSE_SECONDS = 5.0
"""How long a queue that cannot be read is left alone."""


@dataclass
class _Heard:
    """Messages, by their receipts, with the (directory, key) that each one names."""

    looked: Looked = field(default_factory=Looked)
    places: dict[str, set[tuple[str, str]]] = field(default_factory=dict)


class _Reader:
    """Reads the queue of one job, in a thread."""

    def __init__(self, job: Job, source: Placing, s3: S3Settings) -> None:
        from core.sources.s3_queue import Queue

        assert job.settings.notices_queue is not None
        self.job = job
        self.source = source
        self.done: queues.SimpleQueue[str] = queues.SimpleQueue()
        self._queue = Queue(job.settings.notices_queue, s3)
        self._closed = threading.Event()
        self.heard = Ahead(self._read(), 1)

    def close(self) -> None:
        self._closed.set()
        self.heard.close()

    def _read(self) -> Iterator[_Heard]:
        while not self._closed.is_set():
            try:
                self._delete()
                yield self._gather()
            except IngestError as error:
                log.warning("notices_unread", job=self.job.name, reason=error.message)
                self._closed.wait(PAUSE_SECONDS)
        self._queue.close()

    def _delete(self) -> None:
        receipts = []
        while not self.done.empty():
            receipts.append(self.done.get())
        self._queue.delete(receipts)

    def _gather(self) -> _Heard:
        """Some messages, and what they name looked at. Raises FileError."""
        heard, notices = _Heard(), list[Notice]()
        messages = self._queue.receive(WAIT_SECONDS)
        until = time.monotonic() + WAIT_SECONDS
        while messages:
            for message in messages:
                try:
                    told = notices_of(message.body)
                    places = {noticed.place(self.source, notice) for notice in told} - {None}
                except ValueError as error:  # it stays, for the queue's own dead-letter policy
                    log.warning("notice_malformed", job=self.job.name, message=message.number, reason=str(error))
                    continue
                heard.places[message.receipt] = {(one[0].rpartition("/")[0], one[1]) for one in places if one}
                notices += told
            if len(heard.places) >= GATHER or time.monotonic() >= until:
                break
            messages = self._queue.receive(0)
        heard.looked = noticed.look(self.source, self.job, notices)
        return heard


class Notices:
    """The queues of all running jobs that have one."""

    def __init__(self, member: Member, source_of: Callable[[str], Source]) -> None:
        self._member = member
        self._source_of = source_of
        self._readers: dict[int, _Reader] = {}
        self._refused: set[int] = set()

    def step(self) -> bool:
        """Bring in what has been heard; whether there was anything."""
        wanted = {job.id: job for job in self._member.rota.running().values() if job.settings.notices_queue}
        for number in [number for number in self._readers if number not in wanted]:
            self._readers.pop(number).close()
        for number, job in wanted.items():
            if number not in self._readers and number not in self._refused:
                self._begin(job)
        return sum(self._take(reader, wanted[number]) for number, reader in self._readers.items()) > 0

    def close(self) -> None:
        """Let go of the threads; what they have read comes again."""
        for reader in self._readers.values():
            reader.close()
        self._readers = {}

    def _begin(self, job: Job) -> None:
        try:
            source = self._source_of(job.source_url)
            if not isinstance(source, Placing):
                raise UsageError(f"source {job.source_url} sends no notices", "name an s3:// source")
            self._readers[job.id] = _Reader(job, source, self._member.settings.s3)
        except IngestError as error:
            self._refused.add(job.id)
            log.warning("notices_unread", job=job.name, reason=error.message)

    def _take(self, reader: _Reader, job: Job) -> bool:
        reader.job = job  # its filters may have changed
        try:
            heard = reader.heard.take(0)
        except TimeoutError:
            return False
        if heard is None or not heard.places:
            return False
        later = noticed.bring(self._member.database, job, reader.source, heard.looked)
        for receipt, places in heard.places.items():
            if not places & later:
                reader.done.put(receipt)
        log.info("notices", job=job.name, messages=len(heard.places), files=len(heard.looked.files), later=len(later))
        return True
