"""Fixtures for all tests: a real PostgreSQL server, started once a test process, and a fresh database for each test.

With INVENTORY_URL set, databases are created on that server instead and dropped afterwards; its role must be allowed
to do that.
"""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from core.errors import Unavailable
from sandbox.databases import PostgresServer
from sandbox.postgres import EmbeddedPostgres

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell has what it runs in the background ignore Ctrl-C, and so would all that is started here
    signal.signal(signal.SIGINT, signal.default_int_handler)


MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Free bytes below which the tests' databases are on disk."""


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server on which databases may be created. Tests that stop or kill a server start one of their own."""
    external = os.environ.get("INVENTORY_URL")
    if external:
        yield PostgresServer(external.replace("postgresql://", "postgresql+psycopg2://", 1))
        return
    with _embedded(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def strict_postgres(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server that asks for passwords, which one that INVENTORY_URL names need not do."""
    if isinstance(postgres, EmbeddedPostgres):
        yield postgres
        return
    with _embedded(tmp_path_factory.mktemp("strict-postgres")) as server:
        yield server


@contextmanager
def _embedded(folder: Path) -> Iterator[PostgresServer]:
    server = EmbeddedPostgres(_in_memory() or folder, fast=True)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _in_memory() -> Path | None:
    """A new folder in memory, if there is plenty of it: the hundreds of files of each test's database are made there in a
    quarter of the time that a disk takes."""
    try:
        disk = os.statvfs(MEMORY)
        free = min(disk.f_bavail * disk.f_frsize, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGESIZE"))
        if free < ROOM or disk.f_flag & os.ST_NOEXEC:  # programs may have to be copied there
            return None
        for left in MEMORY.glob("ingest-tests-*"):  # by a process that was killed
            if not Path(f"/proc/{left.name.split('-')[2]}").exists():
                with suppress(Unavailable, OSError):
                    EmbeddedPostgres(left).remove()
        made = Path(tempfile.mkdtemp(prefix=f"ingest-tests-{os.getpid()}-", dir=MEMORY))
    except (OSError, ValueError):
        return None
    made.chmod(0o755)  # the server may be another user's
    return made


@pytest.fixture(scope="session")
def inventory_template(postgres: PostgresServer) -> Iterator[str]:
    """The name of a database with the inventory's schema and no rows, from which others are copied in milliseconds."""
    from inventory import schema  # imported here, so that tests without an inventory run without it

    name = _unique("template")
    schema.upgrade(postgres.create_database(name))
    yield name
    postgres.drop_database(name)


@pytest.fixture
def inventory_url(postgres: PostgresServer, inventory_template: str) -> Iterator[str]:
    """The whole URL of a database of this test's own with an empty inventory."""
    name = _unique("inventory")
    yield postgres.create_database(name, template=inventory_template)
    postgres.drop_database(name)


@pytest.fixture
def empty_database_url(postgres: PostgresServer) -> Iterator[str]:
    """The whole URL of a database of this test's own without any schema."""
    name = _unique("empty")
    yield postgres.create_database(name)
    postgres.drop_database(name)


def _unique(kind: str) -> str:
    return f"test_{kind}_{uuid.uuid4().hex[:12]}"
