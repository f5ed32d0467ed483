"""A sandbox for each test that asks for one, and a session of its administrator."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from irods.session import iRODSSession

from sandbox.irods import SandboxServer
from tests.sandbox.calls import connect


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(tmp_path / "state") as running:
        yield running


@pytest.fixture
def broken_connections() -> Iterator[None]:
    """For tests whose connections break: the client leaves sockets behind, which go before the next test begins.

    Use it with `@pytest.mark.filterwarnings(LEFT_BEHIND)`.
    """
    yield
    gc.collect()


@pytest.fixture
def session(server: SandboxServer) -> Iterator[iRODSSession]:
    with connect(server) as opened:
        yield opened
