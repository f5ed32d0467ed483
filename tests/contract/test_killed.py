"""A server that is killed in the middle: after its restart the next attempt leaves one good replica, the right bytes.

The server is a sandbox process; or a real one, when IRODS_KILL_COMMAND and IRODS_START_COMMAND say how to kill it and
its agents at once and how to start it again.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.checksums import checksum_of
from core.errors import FileError, Outage
from core.irods import Expected, Gateway, SmallFile, replicas
from core.irods.stream import BUFFER_BYTES
from core.outcome import Done
from core.settings import IrodsSettings

KILL, START = os.environ.get("IRODS_KILL_COMMAND"), os.environ.get("IRODS_START_COMMAND")


@dataclass
class Killable:
    """A server, how to kill it and how to start it again."""

    settings: IrodsSettings
    kill: Callable[[], object]
    start: Callable[[], object]


@pytest.fixture
def server(tmp_path: Path, irods_settings: IrodsSettings) -> Iterator[Killable]:
    """The server that is killed."""
    if KILL and START and irods_settings.environment_file:
        kill, start = KILL, START
        yield Killable(
            irods_settings.model_copy(update={"timeout_seconds": 60}),
            lambda: subprocess.run(kill, shell=True, check=True),
            lambda: subprocess.run(start, shell=True, check=True),
        )
        return
    sandbox = _Process(tmp_path / "state")
    sandbox.start()
    settings = IrodsSettings(host="127.0.0.1", port=sandbox.port, password=SecretStr("rods"), timeout_seconds=10)
    yield Killable(settings, sandbox.kill, sandbox.start)
    sandbox.kill()


class _Process:
    """A sandbox in a process of its own, on one port."""

    def __init__(self, state: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = [sys.executable, "-m", "sandbox.irods", "--state", str(state), "--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith(b"ready")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def home(server: Killable) -> Iterator[str]:
    """A collection of this test's own on that server."""
    with Gateway(server.settings) as gateway:
        who = gateway.server()
        path = f"/{who.zone}/home/{who.user}/killed_{uuid.uuid4().hex[:12]}"
        gateway.make_collections(f"{path}/d")
        yield path
        until_done(lambda: gateway.remove_collection(path))


def until_done(attempt: Callable[[], object]) -> None:
    """Try as loaders do, as long as the restarted server still has what dead agents held."""
    deadline = time.monotonic() + 120
    while True:
        try:
            attempt()
            return
        except FileError:
            if time.monotonic() > deadline:
                raise


def check_one_good(gateway: Gateway, path: str, data: bytes) -> None:
    rows = gateway.replicas(path)
    assert [(row.good, row.size) for row in rows] == [(True, len(data))]
    gateway.verify(path, size=len(data), checksum=checksum_of(data))


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("before", [None, b"what was there before"])
@pytest.mark.parametrize("at", [0, 4])
def test_in_the_middle_of_a_large_put(server: Killable, home: str, at: int, before: bytes | None, streams: int) -> None:
    data, path = os.urandom(8 * BUFFER_BYTES), f"{home}/large"
    killed: list[int] = []

    def read_at(offset: int, length: int) -> bytes:
        if offset == at * BUFFER_BYTES and not killed:
            killed.append(offset)
            server.kill()
        return data[offset : offset + length]

    with Gateway(server.settings) as gateway:
        if before is not None:
            gateway.put_bytes(path, before, checksum=checksum_of(before), resource=None, overwrite=False)

        def put() -> None:
            gateway.put_stream(path, read_at, len(data), resource=None, overwrite=before is not None, streams=streams)

        with pytest.raises(Outage):
            put()
        server.start()
        until_done(put)
        check_one_good(gateway, path, data)


def test_in_the_middle_of_an_append(server: Killable, home: str) -> None:
    data, path = os.urandom(6 * BUFFER_BYTES), f"{home}/grown"
    killed: list[int] = []

    def read_at(offset: int, length: int) -> bytes:
        if offset >= 4 * BUFFER_BYTES and not killed:
            killed.append(offset)
            server.kill()
        return data[offset : offset + length]

    with Gateway(server.settings) as gateway:
        gateway.append(path, read_at, 2 * BUFFER_BYTES, resource=None)
        with pytest.raises(Outage):
            gateway.append(path, read_at, len(data), resource=None)
        server.start()
        until_done(lambda: gateway.append(path, read_at, len(data), resource=None))
        check_one_good(gateway, path, data)


@pytest.mark.parametrize("overwrite", [False, True])
def test_in_the_middle_of_bundles(server: Killable, home: str, overwrite: bool) -> None:
    contents = [os.urandom(1000) for _ in range(300)]
    files = [SmallFile(f"d/f{i}", data, checksum_of(data)) for i, data in enumerate(contents)]
    with Gateway(server.settings) as gateway, Gateway(server.settings) as watching:
        if overwrite:
            old = [SmallFile(file.relative, b"old", checksum_of(b"old")) for file in files]
            gateway.put_bundle(home, old, resource="demoResc", overwrite=False)

        def put() -> None:
            outcomes = gateway.put_bundle(home, files, resource="demoResc", overwrite=overwrite)
            if not all(isinstance(outcome, Done) for outcome in outcomes):
                raise Outage("again", str([outcome for outcome in outcomes if not isinstance(outcome, Done)][:3]))

        def attempt() -> None:
            with suppress(FileError):
                put()

        loading = threading.Thread(target=attempt)
        loading.start()
        while loading.is_alive() and not _begun(watching, f"{home}/d"):
            pass
        server.kill()
        loading.join()
        server.start()
        until_done(put)
        for file in files[::37]:
            check_one_good(gateway, f"{home}/{file.relative}", file.data)
        expected = [Expected(file.relative, 1000, file.checksum) for file in files]
        assert gateway.verify_many(home, expected) == [Done(file.checksum, "rehash") for file in files]
        shown = replicas.replicas_in(gateway._session, f"{home}/d")
        assert sorted(len(rows) for rows in shown.values()) == [1] * len(files)


def _begun(gateway: Gateway, collection: str) -> bool:
    """Whether some of the new files are there."""
    shown = replicas.replicas_in(gateway._session, collection)
    return any(row.size == 1000 for rows in shown.values() for row in rows)
