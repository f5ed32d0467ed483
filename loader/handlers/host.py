"""The helper processes: each runs the event handler of one job and does the work that it has a say in, one piece at a time.

`python -m loader.handlers.host DESCRIPTOR` is the process that they are forked from. It has everything imported and no threads, so
a helper begins in milliseconds. For each descriptor that a loader sends over its socket it forks a helper that serves it.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import socket
import sys
import threading
from contextlib import ExitStack
from io import TextIOWrapper
from multiprocessing.connection import Connection
from typing import NoReturn

import structlog

from core import logs, warmup
from core.errors import FileError, IngestError
from core.handlers import automated_ingest, files
from core.handlers.loaded import Handler, HandlerFailed
from core.outcome import Outcome, Released, Retry, outcome_of
from core.settings import Settings
from core.settings_file import load_settings
from core.signals import die_if_frozen
from inventory.claims import ClaimedFile
from inventory.engine import Database
from inventory.jobs import Job
from inventory.notes import JobNotes
from loader.handlers.messages import ALIVE, Begun, Ended, Item, Rules, Work
from loader.handlers.retrying import settled
from loader.handlers.work import Extract, JobWork

log = structlog.get_logger()
PR_SET_PDEATHSIG = 1


class Alive:
    """Ends this process when its loader is silent for a lease while it works: others may have its files by then."""

    def __init__(self, connection: Connection, lease_seconds: float) -> None:
        self._connection = connection
        self._lease = lease_seconds
        self._working = False
        self._lock = threading.Lock()
        self.work: queue.SimpleQueue[Work] = queue.SimpleQueue()

    def listen(self) -> None:
        """Take what the loader sends; its end is ours."""
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            if message != ALIVE:
                self.set(working=True)
                self.work.put(message)
            elif self._working:
                self.set(working=True)

    def set(self, *, working: bool) -> None:
        """Note that work was begun or is going on, or that it is done."""
        with self._lock:
            self._working = working
            die_if_frozen(self._lease if working else 0)


class Host:
    """Does what the loader sends. One helper serves one job."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._stack = ExitStack()
        self._work: JobWork | None = None
        self._refused = False

    def serve(self, alive: Alive) -> NoReturn:
        """Work until the loader is gone."""
        while True:
            work = alive.work.get()
            outcomes = self._outcomes(work)
            alive.set(working=False)
            self._connection.send(Ended(outcomes))

    def _outcomes(self, work: Work) -> list[Outcome]:
        try:
            if self._work is None and not self._refused:
                self._work = self._prepared(work.job)
        except IngestError as error:
            log.warning("handler_not_loaded", job=work.job.name, reason=str(error))
            return [Retry("handler_not_loaded", str(error))] * len(work.items)
        if self._work is None:
            self._refused = True
            return [Released()] * len(work.items)
        self._work.bytes_a_second = work.bytes_a_second
        whole = [item for item in work.items if isinstance(item, ClaimedFile)]
        if len(work.items) > 1 and len(whole) == len(work.items):
            self._begin(Rules(self._settings.loader.handler_timeout_seconds))
            return self._work.many(work.job, whole)
        return [self._one(self._work, work.job, item) for item in work.items]

    def _one(self, work: JobWork, job: Job, item: Item) -> Outcome:
        rules = Rules(self._settings.loader.handler_timeout_seconds, 0, 0)
        attempts = getattr(item, "attempts", 0)
        try:
            rules = work.rules(job, item)
            self._begin(rules)
            return settled(work.do(job, item), rules, attempts, by_handler=False)
        except HandlerFailed as error:
            return settled(outcome_of(error), rules, attempts, by_handler=True)
        except FileError as error:
            return settled(outcome_of(error), rules, attempts, by_handler=False)

    def _begin(self, rules: Rules) -> None:
        self._connection.send(Begun(rules))

    def _prepared(self, job: Job) -> JobWork | None:
        """Load the handler and the extracting function of a job; None for a handler that is not the job's. Raises UsageError."""
        folder = self._settings.loader.handlers_folder
        handler: Handler | None = None
        extract: Extract | None = None
        if folder is not None:
            sys.path.insert(0, str(folder))
        if job.handler is not None:
            file = files.named(job.handler.file, folder)
            if file.sha256 != job.handler.sha256:
                return None
            url, wait = self._settings.inventory.connection_url(), self._settings.inventory.connect_timeout_seconds
            database = Database(url, connect_timeout_seconds=wait, name=f"handler of {job.name}")
            self._stack.enter_context(automated_ingest.provided(JobNotes(database, job.id)))
            handler = files.load(file)
        if job.settings.extract_metadata is not None:
            extract = files.function(job.settings.extract_metadata, folder)
        return JobWork(job, handler, extract, self._settings)


def main(descriptor: int) -> None:
    """Fork a helper for each descriptor that comes, and say its process id, until the loader is gone."""
    warmup.over()
    _end_with_parent()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a handler prints may name files that are no UTF-8
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how helpers ended
    settings = load_settings()
    logs.configure(settings.log, kind="loader", pod=os.environ.get("POD_NAME", ""))
    with socket.socket(fileno=descriptor) as loader:
        while True:
            message, descriptors, _, _ = socket.recv_fds(loader, 1, 1)
            if not message:
                return
            pid = os.fork()
            if pid == 0:
                loader.close()
                _serve(settings, descriptors[0])
            os.close(descriptors[0])
            loader.sendall(pid.to_bytes(8, "big"))


def _serve(settings: Settings, descriptor: int) -> NoReturn:
    """Be a helper."""
    os.setsid()  # what a handler starts ends with it
    _end_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    logs.bind(helper=os.getpid())
    connection = Connection(descriptor)
    alive = Alive(connection, settings.worker.lease_seconds)
    threading.Thread(target=alive.listen, name="listen", daemon=True).start()
    Host(settings, connection).serve(alive)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
