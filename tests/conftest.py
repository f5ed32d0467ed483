"""Fixtures for all tests: a real PostgreSQL server, started once a test process, and a fresh database for each test.

With INVENTORY_URL set, databases are created on that server instead and dropped afterwards; its role must be allowed
to do that.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.databases import PostgresServer
from sandbox.postgres import EmbeddedPostgres

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell has what it runs in the background ignore Ctrl-C, and so would all that is started here
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    server = EmbeddedPostgres(folder, fast=True)
    try:
        server.start()
        yield server
    finally:
        server.remove()


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
