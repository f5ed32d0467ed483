"""A loader's side of its helper processes: hands them work, waits for as long as it may take, ends those that are stuck."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

import structlog

from core.outcome import Outcome, Released, Retry
from core.worker import Report, Reported
from inventory.claims import ClaimedFile
from inventory.jobs import Job
from loader.handlers.messages import ALIVE, Begun, Ended, Item, Rules, Work
from loader.handlers.retrying import settled

log = structlog.get_logger()
HELPERS = 2
"""How many a thread keeps: for so many jobs it can work in turn without starting one anew."""
ALIVE_SECONDS = 1.0
START_SECONDS = 60.0
"""How much longer than its work the first answer of a helper may take, which imports everything before."""


class _Stuck(Exception):
    """Its time was up."""


class _NoHelper(Exception):
    """None could be started: no file is at fault."""


class _Died(Exception):
    """It has ended by itself."""


class Nursery:
    """The process that helpers are forked from; started when first needed, and again should it be gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def fork(self) -> tuple[int, Connection]:
        """A new helper: its process id, and the way to speak to it. Raises OSError when there can be none."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                with self._lock:
                    return self._fork(theirs), Connection(ours.detach())
            finally:
                ours.close()

    def _fork(self, theirs: socket.socket) -> int:
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._socket is not None
        socket.send_fds(self._socket, [b"f"], [theirs.fileno()])
        pid = int.from_bytes(self._socket.recv(8, socket.MSG_WAITALL), "big")
        if pid == 0:
            raise ConnectionError("the process that helpers are forked from has ended")
        return pid

    def _start(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loader.handlers.host", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a handler prints belongs to the log
            )


class Helper:
    """One process, for one job, used by one thread."""

    def __init__(self, nursery: Nursery) -> None:
        try:
            self._pid, self._connection = nursery.fork()
        except OSError as error:
            raise _NoHelper(f"no helper process could be started: {error}") from error
        self._new = True

    def do(self, work: Work, timeout_seconds: float, began: list[Rules]) -> list[Outcome]:
        """Have it do this work. `began` gets the rules as soon as they are known. Raises _Stuck and _Died."""
        deadline = time.monotonic() + timeout_seconds + (START_SECONDS if self._new else 0)
        self._new = False
        try:
            self._connection.send(work)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _Stuck
                if not self._connection.poll(min(left, ALIVE_SECONDS)):
                    self._connection.send(ALIVE)
                    continue
                match self._connection.recv():
                    case Begun(rules):
                        began.append(rules)
                        deadline = time.monotonic() + rules.timeout_seconds
                    case Ended(outcomes):
                        return list(outcomes)
        except (EOFError, OSError) as error:
            raise _Died from error

    def end(self) -> None:
        """End it, with all it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        self._connection.close()


class Helpers:
    """The helpers of all threads of a loader."""

    def __init__(self, timeout_seconds: float, threads: int, rate_of: Callable[[int], float | None]) -> None:
        """`rate_of` says how many bytes a second of a job all threads together may read; each of them gets its part."""
        self._timeout = timeout_seconds
        self._threads = threads
        self._rate_of = rate_of
        self._nursery = Nursery()
        self._mine = threading.local()

    def run(
        self,
        job: Job,
        items: Sequence[Item],
        report: Report[Item],
        stopping: threading.Event,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Do items of a job, reporting each as it ends.

        What is not begun when `stopping` is set is left; what is not `wanted` any more is given back.
        """
        together = len(items) > 1 and all(isinstance(item, ClaimedFile) for item in items)
        if together and wanted() and not stopping.is_set() and self._together(job, items, report):
            return
        away: Released | None = None
        for item in items:
            if stopping.is_set():
                return
            began = time.monotonic()
            outcome = away or (self._one(job, item) if wanted() else Released())
            if isinstance(outcome, Released) and outcome.reason:
                away = outcome
            report(Reported(item, outcome, began, time.monotonic()))

    def end_thread(self) -> None:
        """End the helpers of the calling thread."""
        for helper in self._of_thread().values():
            helper.end()
        self._of_thread().clear()

    def _together(self, job: Job, items: Sequence[Item], report: Report[Item]) -> bool:
        """Do files together. False when they were stuck, or their helper died: then each is done by itself."""
        began = time.monotonic()
        try:
            outcomes = self._helper(job).do(self._work(job, items), self._timeout, [])
        except _NoHelper:
            return False
        except (_Stuck, _Died) as error:
            self._end(job)
            log.warning("helper_ended", job=job.name, files=len(items), reason=type(error).__name__.strip("_").lower())
            return False
        for item, outcome in zip(items, outcomes, strict=True):
            report(Reported(item, outcome, began, time.monotonic()))
        return True

    def _one(self, job: Job, item: Item) -> Outcome:
        rules: list[Rules] = []
        try:
            return self._helper(job).do(self._work(job, [item]), self._timeout, rules)[0]
        except _NoHelper as error:
            return Released(str(error))
        except _Stuck:
            self._end(job)
            known = rules[-1] if rules else Rules(self._timeout)
            message = f"not done after {known.timeout_seconds:g} s; the process that was at it was ended"
            return self._failed(item, "timeout", message, known)
        except _Died:
            self._end(job)
            known = rules[-1] if rules else Rules(self._timeout)
            return self._failed(item, "helper_died", "the process that was at it has died", known)

    def _work(self, job: Job, items: Sequence[Item]) -> Work:
        rate = self._rate_of(job.id)
        return Work(job, tuple(items), rate / self._threads if rate is not None else None)

    @staticmethod
    def _failed(item: Item, error: str, message: str, rules: Rules) -> Outcome:
        return settled(Retry(error, message), rules, getattr(item, "attempts", 0), by_handler=True)

    def _helper(self, job: Job) -> Helper:
        mine = self._of_thread()
        if job.id not in mine:
            while len(mine) >= HELPERS:
                mine.pop(next(iter(mine))).end()
            mine[job.id] = Helper(self._nursery)
        mine[job.id] = mine.pop(job.id)  # the one used last is the last to go
        return mine[job.id]

    def _end(self, job: Job) -> None:
        if (helper := self._of_thread().pop(job.id, None)) is not None:
            helper.end()

    def _of_thread(self) -> dict[int, Helper]:
        mine: dict[int, Helper] | None = getattr(self._mine, "helpers", None)
        if mine is None:
            mine = self._mine.helpers = {}
        return mine
