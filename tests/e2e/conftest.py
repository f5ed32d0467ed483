"""Installations of one test each: over the sandbox iRODS, or a real one when IRODS_ENVIRONMENT_FILE says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sandbox.irods import SandboxServer
from tests.e2e.world import HANDLERS_FOLDER, World, environment_of


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    """A sandbox iRODS of this test's own, for tests that switch on its faults."""
    with SandboxServer(tmp_path / "irods") as server:
        yield server


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def sandbox_world(sandbox: SandboxServer, inventory_url: str, logs: Path, tmp_path: Path) -> Iterator[World]:
    """Pods over the sandbox, also when a real iRODS is at hand: the test needs a fault."""
    world = World(inventory_url, environment_of(tmp_path, sandbox.environment, "rods"), logs)
    yield world
    sandbox.faults.clear()
    world.close()


@pytest.fixture
def world(request: pytest.FixtureRequest, inventory_url: str, logs: Path) -> Iterator[World]:
    """Pods over the iRODS that was named, or the sandbox."""
    if "IRODS_ENVIRONMENT_FILE" in os.environ:
        made = World(inventory_url, {}, logs)
        yield made
        made.close()
    else:
        yield request.getfixturevalue("sandbox_world")


@pytest.fixture
def source() -> Iterator[Path]:
    """An empty source that a real server's user can read: pytest's own folders are closed to others."""
    with TemporaryDirectory(prefix="e2e-source-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    """The folder of event handlers that is mounted in all pods."""
    made = tmp_path / "handlers"
    made.mkdir()
    world.environment[HANDLERS_FOLDER] = str(made)
    return made
