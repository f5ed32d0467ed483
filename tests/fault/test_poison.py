"""A file that kills every loader ends as a dead letter; the files that were unlucky beside it do not."""

from __future__ import annotations

import os
from pathlib import Path

from tests.e2e.world import World, eventually

LOADER = "tests.fault.poisoned_loader"


def test_a_poison_file_is_a_dead_letter_and_its_neighbours_are_verified(sandbox_world: World, source: Path) -> None:
    for number in range(30):
        (source / f"f{number:02}").write_bytes(os.urandom(number))
    (source / "poison").write_bytes(b"poison")
    (source / "zz-last").write_bytes(b"the last one of every batch")
    world = sandbox_world
    world.environment |= {"INGEST_WORKER__LEASE_SECONDS": "1.5", "INGEST_WORKER__HEARTBEAT_SECONDS": "0.2"}
    world.start_job(source)
    world.start("watcher")
    eventually("all are found", lambda: world.counts() == {"discovered": 32})
    world.start("verifier")
    deaths = 0

    def finished() -> bool:
        nonlocal deaths
        loader = next((name for name in world.pods if name.startswith(LOADER)), None)
        if loader is None:
            world.start(LOADER)
        elif (code := world.pods[loader].poll()) is not None:
            assert code == 137, world.log_tails()
            del world.pods[loader]
            deaths += 1
        return world.counts() == {"verified": 31, "dead": 1}

    try:
        eventually("all is final", finished, 60)
    except AssertionError as error:
        raise AssertionError(f"{world.counts()}, {deaths} deaths\n{world.log_tails()}") from error
    assert deaths == 5
    dead = world.lines(states=("dead",))["poison"]
    assert (dead.error, dead.reaps) == ("poison", 5)
    # the first two deaths were counted against the whole batch, the others against the one that had been begun
    assert max(line.reaps for path, line in world.lines().items() if path != "poison") == 2
    world.stop()
