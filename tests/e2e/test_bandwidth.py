"""A limit of bandwidth holds for all loaders together, and is lifted while they run."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import text

from tests.e2e.world import World, eventually, hashes_of


def holders(world: World) -> set[int]:
    """The loaders that hold files."""
    with world.database.begin() as connection:
        return set(connection.execute(text("SELECT claimed_by FROM inventory.file WHERE state = 'loading'")).scalars())


def test_a_limit_slows_all_loaders_down_until_it_is_lifted(world: World, source: Path) -> None:
    for number in range(40):
        (source / f"f{number}").write_bytes(b"x" * 100_000)
    world.start_job(source, "--bandwidth", "20K")
    world.start("watcher", "loader", "loader", "verifier")
    eventually("both have something to do", lambda: len(holders(world)) == 2)
    began = time.monotonic()
    # 4 MB at 20 KiB/s would take more than three minutes, and no loader holds more than it may soon read
    assert world.counts().get("discovered", 0) > 20
    assert world.ingest("job", "set", "job", "--bandwidth", "off").returncode == 0
    world.wait_finished()
    assert time.monotonic() - began < 90
    assert world.held_by_irods() == hashes_of(source)
    refused = world.ingest("job", "set", "job", "--bandwidth", "soon")
    assert refused.returncode == 2 and "soon is not a rate" in refused.stderr
