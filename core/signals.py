"""Two-phase stop: the first SIGTERM or SIGINT asks, the second one ends the process at once."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from types import FrameType


class Stop:
    """Set when this process has been asked to stop.

    Signals are taken by a thread of its own. A handler in Python runs when the main thread comes back to the interpreter, which
    it does not while the inventory hangs; and what a handler may wait for, the interrupted thread may hold.
    """

    def __init__(self) -> None:
        self.asked_at: float | None = None
        """When it was asked, by the monotonic clock; None while it was not."""
        self._asked = threading.Event()

    def install(self) -> Stop:
        """Listen to SIGTERM and SIGINT from now on; to be called in the main thread."""
        readable, writable = os.pipe()
        os.set_blocking(writable, False)
        signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _noted_elsewhere)
        threading.Thread(target=self._listen, args=(readable,), name="signals", daemon=True).start()
        return self

    def is_set(self) -> bool:
        """Whether this process has been asked to stop."""
        return self._asked.is_set()

    def set(self) -> None:
        """Ask."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            self._asked.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is set, at most so long; whether it is."""
        return self._asked.wait(seconds)

    def _listen(self, readable: int) -> None:
        while numbers := os.read(readable, 1):
            if self.is_set():
                # what is claimed is given to others when the lease runs out; nothing is lost by not saying goodbye
                os._exit(128 + numbers[0])
            self.set()


def _noted_elsewhere(_number: int, _frame: FrameType | None) -> None:
    """Stand in for a handler: without one the interpreter would not write the signal to the pipe."""


FROZEN_EXIT_CODE = int(signal.SIGALRM)
"""The exit code of a process that was frozen for too long."""


def die_if_frozen(seconds: float) -> None:
    """End this process when it is silent for so long: to be called again and again; 0 ends the watch.

    A process that was frozen (SIGSTOP, a cgroup freezer) for longer than its lease must not send another byte to iRODS when it
    wakes, for others have its files by then. Python is too slow for that. The kernel's timer goes on while a process is frozen,
    and its signal is delivered before any thread goes on; the handler is the C library's `_exit`, which needs no interpreter.
    Without a handler the signal would do the same, but not to the first process of a container.
    """
    library = ctypes.CDLL(None)
    library.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    library.signal(signal.SIGALRM, ctypes.cast(library._exit, ctypes.c_void_p))
    signal.setitimer(signal.ITIMER_REAL, seconds)
