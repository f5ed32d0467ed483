"""How many connections large files may use beyond one each: one number for all threads of a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ExtraStreams:
    """Connections that are lent to one file at a time, as many as are free; nobody waits for them."""

    def __init__(self, allowed: int = 0) -> None:
        self._lock = threading.Lock()
        self._allowed = allowed
        self._lent = 0

    def allow(self, count: int) -> None:
        """Lend at most so many from now on; what is lent already is not taken back."""
        with self._lock:
            self._allowed = count

    @property
    def most_lent(self) -> int:
        """How many are lent, or may be from one moment to the next."""
        with self._lock:
            return max(self._allowed, self._lent)

    @contextmanager
    def lent(self, wanted: int) -> Iterator[int]:
        """How many of those that are wanted may be used in this block."""
        with self._lock:
            count = max(0, min(wanted, self._allowed - self._lent))
            self._lent += count
        try:
            yield count
        finally:
            with self._lock:
                self._lent -= count
