"""Processes of our programs without the half second of CPU that Python takes to read each of them in: forked, not executed.

They are processes of their own in all else. That programs start from nothing is tested where they are executed: by the demo, the
commands of docs/, the soak, the pods of compute, the fault tests with a loader of their own, and the commands in tests/integration.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

NURSERY = Path(__file__).with_name("nursery.py")
PROGRAMS = ("watcher", "loader", "verifier", "scripts.ingest")
PR_SET_CHILD_SUBREAPER = 36
_OF_PYTHON = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
"""Beginnings of the variables that Python reads when it starts, before any program does."""


class Forked:
    """A process, with what the tests use of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit code. Raises subprocess.TimeoutExpired."""
        if (code := self.poll()) is not None:
            return code
        descriptor = os.pidfd_open(self.pid)
        try:
            select.select([descriptor], [], [], timeout)
        finally:
            os.close(descriptor)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that those of one program are forked from."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self._told = of_python(environment)
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, NURSERY, program, str(theirs.fileno())],
                env=dict(environment),
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._end)

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether a Python with this environment would be like the one that is forked here."""
        return of_python(environment) == self._told

    def fork(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        output: IO[Any],
        errors: IO[Any],
    ) -> Forked:
        """Start the program; what it writes goes into the two files."""
        request = {"arguments": list(arguments), "environment": dict(environment), "folder": str(folder)}
        with self._lock:
            # not for longer: other tests see to it that orphans end, and nobody would bury them here
            adopt_orphans(True)
            try:
                socket.send_fds(self._socket, [json.dumps(request).encode()], [output.fileno(), errors.fileno()])
                pid = int.from_bytes(self._socket.recv(8), "big")
                assert pid and self._socket.recv(1), f"the nursery ended with {self._process.wait()}"
            finally:
                adopt_orphans(False)
        return Forked(pid)

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run the program to its end, as `subprocess.run` does."""
        with TemporaryFile() as output, TemporaryFile() as errors:
            process = self.fork(arguments, environment, folder, output, errors)
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
                process.wait()
            return subprocess.CompletedProcess(arguments, code, _all_of(output), _all_of(errors))

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


def adopt_orphans(yes: bool) -> bool:
    """Be the parent of orphans below this process from now on, or not; whether the kernel does that."""
    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0) == 0)


@cache
def possible() -> bool:
    """Whether processes can be forked so here; elsewhere all are executed."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return adopt_orphans(True) and adopt_orphans(False)


def _all_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@cache
def _nursery(program: str) -> Nursery:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return Nursery(program, environment)


def of_python(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that Python itself goes by."""
    return {name: value for name, value in environment.items() if name.startswith(_OF_PYTHON)}


def nursery(program: str, environment: Mapping[str, str]) -> Nursery | None:
    """The nursery for a program that is to have this environment; None where it must be executed."""
    if program not in PROGRAMS or not possible():
        return None
    found = _nursery(program)
    return found if found.suits(environment) else None


def started(
    program: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    output: IO[Any],
    errors: IO[Any],
) -> subprocess.Popen[bytes] | Forked:
    """Start one of our programs, forked where that can be; what it writes goes into the two files."""
    if (found := nursery(program, environment)) is not None:
        return found.fork(arguments, environment, folder, output, errors)
    command = [sys.executable, "-m", program, *arguments]
    return subprocess.Popen(command, env=dict(environment), cwd=folder, stdout=output, stderr=errors)


def ended(
    program: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run one of our programs to its end, forked where that can be."""
    if (found := nursery(program, environment)) is not None:
        return found.run(arguments, environment, folder, timeout)
    command = [sys.executable, "-m", program, *arguments]
    return subprocess.run(
        command, env=dict(environment), cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
    )
