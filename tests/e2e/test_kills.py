"""Loaders killed at any moment, against whichever iRODS there is."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

from irods.models import Collection, DataObject

from tests.e2e.world import World, eventually, hashes_of


def test_loaders_killed_at_any_moment_leave_one_good_replica_a_file(world: World, source: Path) -> None:
    seed = int(os.environ.get("KILL_SEED", "7"))
    generator = random.Random(seed)
    for number in range(150):
        folder = source / f"d{number % 3}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number:03}").write_bytes(generator.randbytes(number * 100))
    for number in range(3):
        (source / f"large{number}").write_bytes(generator.randbytes(48 << 20))
    world.with_short_leases().start_job(source)
    world.start("watcher", "verifier")
    pause = threading.Event()
    for _ in range(int(os.environ.get("KILLS", "4"))):
        [loader] = world.start("loader")
        eventually("it works", lambda: world.counts().get("loading") or not world.counts().get("discovered", 1))
        pause.wait(generator.uniform(0, 1.0))
        world.kill(loader)
    world.start("loader")
    world.wait_finished()
    assert world.counts() == {"verified": 153}, f"seed {seed}: {[line.message for line in world.lines().values()]}"
    assert world.held_by_irods() == hashes_of(source)
    with world.irods() as session:
        query = session.query(Collection.name, DataObject.name, DataObject.replica_number, DataObject.replica_status)
        states = [
            row[DataObject.replica_status] for row in query if f"{row[Collection.name]}/".startswith(f"{world.target}/")
        ]
    assert states == ["1"] * 153
    world.stop()
