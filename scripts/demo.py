"""`make demo`: everything on one machine, with real processes, a real Postgres and the sandbox iRODS.

What it leaves is in `.demo/`: the database, the sandbox's catalogue and vault, and the logs. A second run goes on there.
With INVENTORY_URL or IRODS_ENVIRONMENT_FILE set it uses that Postgres or that iRODS instead of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import click

from core.errors import IngestError, Unavailable, UsageError
from core.settings import Settings
from core.settings_file import load_settings
from inventory import jobs, retries, schema
from inventory.engine import Database
from inventory.jobs import Job
from sandbox.postgres import EmbeddedPostgres
from sandbox.processes import Crew, Process
from scripts.demo_report import Watch, report
from scripts.frame import run
from scripts.jobs import begin

OPERATIONS = {"put": "put_sync", "register": "register_sync", "put_sync": "put_sync", "register_sync": "register_sync"}
"""The demo keeps iRODS in step with the source, so put means put_sync here."""
PODS = ("watcher", "loader", "loader", "verifier")
PATIENCE: Mapping[str, str] = {
    # a person is watching: take over from the dead at once, and end at once
    "INGEST_WORKER__HEARTBEAT_SECONDS": "1",
    "INGEST_WORKER__LEASE_SECONDS": "8",
    "INGEST_WORKER__HOUSEKEEPING_SECONDS": "1",
    "INGEST_WORKER__POLL_SECONDS": "0.2",
    "INGEST_WORKER__DRAIN_SECONDS": "4",
    "INGEST_WORKER__RETRY_SECONDS": "2",
}
STOP_SECONDS = 6.0
READY_SECONDS = 60.0


@click.command()
@click.option("--source", help="The directory to ingest; the standard library of this Python when left out.")
@click.option(
    "--operation", default="put", show_default=True, type=click.Choice(list(OPERATIONS)), help="Put or register."
)
@click.option(
    "--state", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True, help="Where all is kept."
)
def demo(source: str | None, operation: str, state: Path) -> int:
    """Ingest a directory tree on this machine and show how every file gets verified."""
    chosen = os.path.abspath(source or sysconfig.get_paths()["stdlib"])
    _check_source(chosen, state.absolute())
    state.mkdir(parents=True, exist_ok=True)
    with _alone(state), _stoppable(), ExitStack() as stack:
        stage = Stage(state.absolute(), stack)
        stage.start_services()
        job = stage.start_job(chosen, OPERATIONS[operation])
        stage.start_pods()
        watch = Watch(stage.database, job)
        while not watch.finished():
            stage.mend(watch)
            watch.show()
            time.sleep(watch.interval)
        watch.close()
        return report(stage.database, job)


def _check_source(source: str, state: Path) -> None:
    from core.sources.filesystem import FilesystemSource

    FilesystemSource(source).check()
    if state.is_relative_to(source) or state.resolve().is_relative_to(Path(source).resolve()):
        raise UsageError(
            f"the demo's state folder {state} lies inside the source {source}",
            "choose another SOURCE, or a --state elsewhere",
        )


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Only one demo a folder."""
    lock: IO[str] = (state / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UsageError(f"a demo is running in {state} already", "wait for it, or give another --state") from None
    finally:
        lock.close()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the demo as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    yield


class Stage:
    """The demo's services and pods; all of them end with the exit stack."""

    def __init__(self, state: Path, stack: ExitStack) -> None:
        self._state = state
        self._stack = stack
        self._logs = state / "logs"
        self._logs.mkdir(exist_ok=True)
        self._services, self._pods = Crew(), Crew()
        self._environment = {**os.environ, **{key: os.environ.get(key, value) for key, value in PATIENCE.items()}}
        self._postgres: EmbeddedPostgres | None = None
        stack.callback(self._end)

    def start_services(self) -> None:
        """Start Postgres and iRODS, or take those the environment names, and bring the inventory up to date."""
        if "INVENTORY_URL" not in os.environ:
            self._start_postgres()
        if "IRODS_ENVIRONMENT_FILE" not in os.environ:
            self._start_irods()
        self.settings = load_settings(environ=self._environment)
        url = self.settings.inventory.connection_url()
        schema.upgrade(url)
        self.database = Database(url, name="ingest demo")
        self._stack.callback(self.database.close)

    def _start_postgres(self) -> None:
        _say("starting PostgreSQL")
        self._postgres = EmbeddedPostgres(self._state / "postgres")
        self._postgres.start()
        if not self._postgres.has_database("ingest"):
            self._postgres.create_database("ingest")
        self._environment["INVENTORY_URL"] = self._postgres.url("ingest")

    def _start_irods(self) -> None:
        _say("starting the sandbox iRODS (a stand-in for demos and tests, not for production)")
        state = self._state / "irods"
        state.mkdir(exist_ok=True)
        password = _kept_secret(state / "password")
        environment_file = state / "irods_environment.json"
        environment_file.unlink(missing_ok=True)
        arguments = [sys.executable, "-m", "sandbox.irods", "--state", str(state), "--password-file", str(password)]
        arguments += ["--port", str(_kept_port(state / "port"))]
        self._services.start(Process("irods", arguments, self._environment, self._logs / "irods.log"))
        self._wait_for(environment_file)
        self._environment["IRODS_ENVIRONMENT_FILE"] = str(environment_file)
        self._environment["IRODS_PASSWORD"] = password.read_text().strip()

    def _wait_for(self, file: Path) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not file.exists():
            [service] = self._services.processes
            self._services.mend()
            if service.restarts > 2 or time.monotonic() > deadline:
                raise Unavailable("the sandbox iRODS did not start", f"see {service.log}")
            time.sleep(0.05)

    def start_job(self, source: str, operation: str) -> Job:
        """Start the job of this source and operation, or go on with it."""
        mark = hashlib.sha256(os.fsencode(source)).hexdigest()[:8]
        name = f"demo-{operation}-{mark}"
        for other in jobs.listed(self.database, running=True):
            if other.name.startswith("demo-") and other.name != name:
                jobs.set_state(self.database, other.id, "stopped", actor="demo")
        job = jobs.find(self.database, name)
        if job is None:
            _say(f"ingesting {source} by {operation}")
            return begin(self.database, _with_operation(self.settings, operation), source, self._target(name), name)
        _say(f"going on with {source} by {operation}")
        retries.retry_dead(self.database, job.id, actor="demo")
        if job.state == "running":
            return job
        jobs.rescan(self.database, job.id, actor="demo")
        return job

    def _target(self, name: str) -> str:
        irods = self.settings.irods
        return f"/{irods.zone}/home/{irods.user}/{name}"

    def start_pods(self) -> None:
        """Start the pods, each a process of its own."""
        for number, kind in enumerate(PODS):
            name = f"{kind}-{PODS[:number].count(kind)}"
            environment = self._environment | {"POD_NAME": name}
            self._pods.start(Process(name, [sys.executable, "-m", kind], environment, self._logs / f"{name}.log"))

    def mend(self, watch: Watch) -> None:
        """Start again what has died, as Kubernetes would."""
        if self._postgres is not None and self._postgres.pid is None:
            watch.say("PostgreSQL has died: starting it again")
            self._postgres.start()
        for process in self._services.mend() + self._pods.mend():
            watch.say(f"{process.name} has died: starting it again")
            if process.restarts > 20:
                raise Unavailable(f"{process.name} dies again and again", f"see {process.log}")

    def _end(self) -> None:
        """Stop the pods first, so that they can still write down what they have done."""
        with _uninterrupted():
            self._pods.stop(STOP_SECONDS)
            self._services.stop(2.0)
            if self._postgres is not None:
                self._postgres.stop()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C must not leave processes behind; ending takes seconds."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _with_operation(settings: Settings, operation: str) -> Settings:
    return settings.model_copy(update={"job": settings.job.model_copy(update={"operation": operation})})


def _kept_secret(path: Path) -> Path:
    """A random password in a file of its own, made once."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(16) + "\n")
    return path


def _kept_port(path: Path) -> int:
    """A free port, kept so that a restarted server is found by those who knew the old one."""
    import socket

    with suppress(OSError, ValueError), socket.create_server(("127.0.0.1", int(path.read_text()))):
        return int(path.read_text())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    path.write_text(f"{port}\n")
    return port


def _say(line: str) -> None:
    click.echo(line, err=True)


def main() -> None:
    """Run the demo as `make demo` does."""
    sys.exit(run(demo, "demo", sys.argv[1:]))


if __name__ == "__main__":
    main()


__all__ = ["IngestError", "demo", "main"]
