"""`ingest serve` as a process of its own, over a database of this test's own, and what asks it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sandbox.irods import SandboxServer
from tests.e2e.forked import started
from tests.e2e.world import PROJECT, environment_of

TOKEN = "the-control-token"


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[str]:
    """The address of a server that runs until the end of the block, and then ends well when it is asked to."""
    reading, writing = os.pipe()
    with open(reading) as told:
        with open(writing, "wb") as output:
            process = started("scripts.ingest", ["serve", "--port", "0"], environment, PROJECT, output, sys.stderr)
        try:
            line = told.readline()
            assert line.startswith("http://"), line
            yield line.split()[0].rstrip("/")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


@pytest.fixture(scope="session")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a process's environment says of a sandbox iRODS."""
    folder = tmp_path_factory.mktemp("zone")
    with SandboxServer(folder / "irods") as server:
        yield environment_of(folder, server.environment, "rods")


@pytest.fixture
def environment(inventory_url: str, zone: dict[str, str], tmp_path: Path) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("INGEST_", "IRODS_"))}
    return {
        **plain,
        **zone,
        "INVENTORY_URL": inventory_url,
        "INGEST_CONFIG": str(PROJECT / "config.yml"),
        "PYTHONPATH": str(PROJECT),
    }


@pytest.fixture
def address(environment: dict[str, str]) -> Iterator[str]:
    """A server that gives control to who has the token."""
    with serving({**environment, "WEB_TOKEN": TOKEN}) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    """Somebody without the token."""
    with httpx.Client(base_url=address) as client:
        yield client


@pytest.fixture
def operator(address: str) -> Iterator[httpx.Client]:
    """Somebody with the token."""
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
        yield client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.dat").write_bytes(b"a")
    return folder
