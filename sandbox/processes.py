"""Child processes that end with whoever started them, are started again when they die, and are stopped together."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
RESTART_SECONDS = 1.0
"""How long a process that died rests before it is started again."""


def end_with_parent(number: int) -> Callable[[], None] | None:
    """What a child runs before its program, so that the kernel sends it signal `number` when its parent ends.

    On Linux it is for `preexec_fn`, and the parent is the thread that starts the child; elsewhere there is no such thing.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask


@contextmanager
def signals_held() -> Iterator[None]:
    """Keep what ends this process waiting until the end of the block.

    An exception that a handler raises in the middle of a fork is swallowed there: the signal would be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for code in came:
            signal.raise_signal(code)


@dataclass
class Process:
    """One child: what to run, and what runs."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = 0

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C at the terminal reaches the starter alone."""
        with self.log.open("ab") as out, signals_held():
            self.running = subprocess.Popen(
                self.arguments,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGTERM),
            )
        self.started_at = time.monotonic()

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self.running.poll() if self.running else None


@dataclass
class Crew:
    """Processes that are kept running, in the order they were started."""

    processes: list[Process] = field(default_factory=list)

    def start(self, process: Process) -> None:
        """Start one more."""
        self.processes.append(process)
        process.start()

    def mend(self) -> list[Process]:
        """Start again what has died, as Kubernetes would; returns those that had died."""
        dead = [p for p in self.processes if not p.alive and time.monotonic() - p.started_at > RESTART_SECONDS]
        for process in dead:
            process.restarts += 1
            process.start()
        return dead

    def stop(self, seconds: float) -> None:
        """Ask all to end, the last started first, and end by force what is left after so many seconds."""
        living = [p.running for p in reversed(self.processes) if p.running is not None and p.alive]
        for running in living:
            running.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        for running in living:
            try:
                running.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
        self.processes.clear()
