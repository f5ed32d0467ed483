"""An object open for reading: its bytes come by ranged requests, all of one version."""

from __future__ import annotations

import threading

from botocore.response import StreamingBody

from core.errors import Changed, Outage, Transient
from core.sources.base import Stat
from core.sources.s3_bucket import Bucket, Facts
from core.sources.s3_errors import told

WINDOW_BYTES = 64 * 1024 * 1024
"""What one request asks for at most; its bytes are taken off the wire as they are read."""
ATTEMPTS = 3
"""How often an answer may break off in the middle before the read fails."""


class S3File:
    """An object. With what a scan `seen` it is first asked for when it is read, and by its ETag: another version is Changed."""

    def __init__(self, bucket: Bucket, key: str, path: str, seen: Stat | None) -> None:
        self._bucket = bucket
        self._key = key
        self._path = path
        self._seen = seen if seen and seen.tag else None
        self._facts: Facts | None = None
        self._body: StreamingBody | None = None
        self._at, self._end = 0, 0  # where the open body stands, and where it ends
        self._lock = threading.Lock()
        if self._seen is None:
            self._look()

    def read_at(self, offset: int, length: int) -> bytes:
        with self._lock:
            end = min(offset + length, self.stat().size)
            data = bytearray()
            attempts = 0
            while offset + len(data) < end:
                try:
                    data += self._some(offset + len(data), end)
                except (Outage, Transient):
                    self._drop()
                    attempts += 1
                    if attempts >= ATTEMPTS:
                        raise
                except Changed:
                    self._seen = self._facts = None
                    raise
            return bytes(data)

    def stat(self) -> Stat:
        return self._seen or self._known().stat

    def promise(self) -> str | None:
        return self._known().checksum

    def checksum(self) -> str | None:
        return self._known().checksum

    def close(self) -> None:
        self._drop()

    def _known(self) -> Facts:
        return self._facts or self._look()

    def _look(self) -> Facts:
        facts = self._bucket.facts(self._key)
        if self._seen and not facts.stat.is_like(self._seen):
            self._seen = None
            self._facts = facts
            raise Changed("changed", f"{self._path}: is another version now")
        self._facts = facts
        return facts

    def _some(self, offset: int, end: int) -> bytes:
        """Bytes from `offset` on, at most to `end`."""
        if self._body is None or self._at != offset:
            self._ask(offset, end)
        assert self._body is not None
        with told(self._bucket.where(self._key)):
            data: bytes = self._body.read(min(end, self._end) - offset)
        if not data:
            raise Transient("short_read", f"{self._path}: the answer ended at byte {offset}, not at {self._end}")
        self._at += len(data)
        if self._at >= self._end:
            self._drop()
        return data

    def _ask(self, offset: int, end: int) -> None:
        self._drop()
        stat = self.stat()
        self._at, self._end = offset, min(stat.size, max(end, offset + WINDOW_BYTES))
        whole = self._at == 0 and self._end == stat.size
        facts, self._body = self._bucket.read(self._key, stat.tag, None if whole else (self._at, self._end))
        if facts.stat.size != stat.size:
            self._drop()
            raise Changed("changed", f"{self._path}: has {facts.stat.size} bytes now")
        if whole:
            self._facts = facts

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
