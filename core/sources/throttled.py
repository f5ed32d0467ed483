"""A source that is read no faster than it may be, by all threads of this process together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from core.sources.base import WHOLE, Entry, Keys, Source, SourceFile, Stat

STEP_SECONDS = 0.25
"""A thread that waits looks so often whether the rate has changed."""
BURST_SECONDS = 0.5
"""What was not read for so long may be made up for."""
CHUNK_BYTES = 1 << 20
"""A larger read is made of pieces of this size, each of which waits for its turn."""


class Meter:
    """Lets so many bytes a second through; `rate` is asked for each time and may change: None lets everything through."""

    def __init__(self, rate: Callable[[], float | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._turn = threading.Lock()
        self._allowed = 0.0
        self._at = clock()
        self._rest = threading.Event()

    def wait(self, size: int) -> None:
        """Return when so many bytes may be read; threads take turns."""
        if self._rate() is None:
            return
        with self._turn:
            need = float(size)
            while need > 0:
                rate = self._rate()
                if rate is None:
                    self._allowed, self._at = 0.0, self._clock()
                    return
                now = self._clock()
                self._allowed = min(rate * BURST_SECONDS, self._allowed + (now - self._at) * rate)
                self._at = now
                taken = min(need, self._allowed)
                self._allowed -= taken
                need -= taken
                if need > 0:
                    self._rest.wait(min(STEP_SECONDS, need / rate))


class Throttled:
    """A source whose files are read through a meter; scanning is not metered."""

    def __init__(self, source: Source, meter: Meter) -> None:
        self._source = source
        self._meter = meter

    def check(self) -> None:
        self._source.check()

    def scan(self, directory: str, part: Keys = WHOLE) -> Iterator[Entry]:
        return self._source.scan(directory, part)

    def open(self, path: str, seen: Stat | None = None) -> SourceFile:
        return _File(self._source.open(path, seen), self._meter)

    def physical_path(self, path: str) -> str:
        return self._source.physical_path(path)


class _File:
    def __init__(self, file: SourceFile, meter: Meter) -> None:
        self._file = file
        self._meter = meter

    def read_at(self, offset: int, length: int) -> bytes:
        if length <= CHUNK_BYTES:
            return self._piece(offset, length)
        parts = []
        while length > 0 and (part := self._piece(offset, min(length, CHUNK_BYTES))):
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)

    def _piece(self, offset: int, length: int) -> bytes:
        part = self._file.read_at(offset, length)
        self._meter.wait(len(part))
        return part

    def stat(self) -> Stat:
        return self._file.stat()

    def promise(self) -> str | None:
        return self._file.promise()

    def checksum(self) -> str | None:
        return self._file.checksum()

    def close(self) -> None:
        self._file.close()
