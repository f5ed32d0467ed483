"""Ctrl-C while a library waits in C: the Postgres client library, for one, returns to Python only when it has an answer."""

from __future__ import annotations

import os
import signal
import threading
import time

PATIENCE_SECONDS = 1.0
"""How long Python's own way out may take: an exception in the main thread, when that next runs Python."""

EXIT_CODE = 128 + signal.SIGINT


def end_on_interrupt() -> None:
    """End this process soon after Ctrl-C, even when its main thread does not come back to Python.

    Commands that handle SIGINT themselves are left alone.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are for the main thread
    threading.Thread(target=_watch, args=(reading,), name="interrupts", daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch(reading: int) -> None:
    while number := os.read(reading, 1):
        if number[0] == signal.SIGINT and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            time.sleep(PATIENCE_SECONDS)
            os._exit(EXIT_CODE)
