"""Two-phase stop: the first SIGTERM or SIGINT asks, the second one ends the process at once."""

from __future__ import annotations

import os
import select
import signal
import time
from types import FrameType


class Stop:
    """Set when this process has been asked to stop.

    No threading.Event: its lock may be held by the very thread in which the signal arrives, which would then wait for itself.
    """

    def __init__(self) -> None:
        self.asked_at: float | None = None
        """When it was asked, by the monotonic clock; None while it was not."""
        self._readable, self._writable = os.pipe()

    def install(self) -> Stop:
        """Listen to SIGTERM and SIGINT from now on; to be called in the main thread."""
        signal.signal(signal.SIGTERM, self._asked)
        signal.signal(signal.SIGINT, self._asked)
        return self

    def is_set(self) -> bool:
        """Whether this process has been asked to stop."""
        return self.asked_at is not None

    def set(self) -> None:
        """Ask."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            # never read again: whoever waits, now or later, finds it readable
            os.write(self._writable, b"x")

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is set, at most so long; whether it is."""
        select.select([self._readable], [], [], seconds)
        return self.is_set()

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        if self.is_set():
            # what is claimed is given to others when the lease runs out; nothing is lost by not saying goodbye
            os._exit(128 + number)
        self.set()


def die_if_frozen(seconds: float) -> None:
    """Have the kernel end this process when it is silent for so long: to be called again and again; 0 ends the watch.

    A process that was frozen (SIGSTOP, a cgroup freezer) for longer than its lease must not send another byte to iRODS when it
    wakes, for others have its files by then. Only the kernel is fast enough for that: the timer's SIGALRM, which nobody handles,
    waits for a frozen process and ends it before any of its threads goes on.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
