"""What dies, lies, hangs or changes in the middle: nothing is lost, nothing is silently wrong."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from core.signals import FROZEN_EXIT_CODE
from inventory.queries import STATES
from sandbox.irods import SandboxServer
from tests.e2e.world import World, environment_of, eventually, hashes_of

PUT, PACK, WRITE, CHECKSUM = 606, 666, 676, 629


def fill(source: Path, files: int = 120) -> None:
    for number in range(files):
        folder = source / f"d{number % 5}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number:03}").write_bytes(os.urandom(number * 11))


@pytest.mark.parametrize("kind", ["watcher", "loader", "verifier"])
def test_a_killed_pod_costs_nothing(sandbox_world: World, sandbox: SandboxServer, source: Path, kind: str) -> None:
    fill(source)
    world = sandbox_world.with_short_leases()
    for api in (PUT, PACK):  # so slow that nobody is done before it is killed
        sandbox.faults.add("slow", api=api, seconds=1.0, count=2)
    world.start_job(source)
    names = world.start("watcher", "loader", "verifier")
    [victim] = [name for name in names if name.startswith(kind)]
    busy = {"watcher": tuple(STATES), "loader": ("loading",), "verifier": ("verifying",)}[kind]
    eventually(f"the {kind} is at work", lambda: any(world.counts().get(state) for state in busy))
    world.kill(victim)
    world.start(kind)
    world.wait_finished()
    assert world.counts() == {"verified": 120}
    assert world.held_by_irods() == hashes_of(source)
    world.stop()


def test_a_stopped_loader_gives_back_uncounted(sandbox_world: World, sandbox: SandboxServer, source: Path) -> None:
    fill(source)
    world = sandbox_world
    world.environment["INGEST_BUNDLE__MAX_FILE_BYTES"] = "0"  # a put for each file
    sandbox.faults.add("slow", api=PUT, seconds=0.05)
    world.start_job(source)
    _, loader = world.start("watcher", "loader")
    eventually("some are loaded", lambda: world.counts().get("loaded"))
    assert world.kill(loader, signal.SIGTERM) == 0
    counts = world.counts()
    assert set(counts) == {"discovered", "loaded"}
    assert all(line.load_attempts == 0 and line.reaps == 0 for line in world.lines(states=("discovered",)).values())
    world.start("loader", "verifier")
    sandbox.faults.clear()
    world.wait_finished()
    assert {line.load_attempts for line in world.lines().values()} == {1}
    world.stop()


def test_a_frozen_loader_is_fenced_when_it_wakes(sandbox_world: World, sandbox: SandboxServer, source: Path) -> None:
    fill(source)
    world = sandbox_world.with_short_leases()
    sandbox.faults.add("slow", api=PUT, seconds=0.05)
    world.start_job(source)
    _, loader = world.start("watcher", "loader")
    eventually("some are loading", lambda: world.counts().get("loading"))
    zombie = world.pods.pop(loader)
    zombie.send_signal(signal.SIGSTOP)
    world.start("loader", "verifier")
    sandbox.faults.clear()
    world.wait_finished()
    zombie.send_signal(signal.SIGCONT)
    assert zombie.wait(30) == FROZEN_EXIT_CODE  # it ends before it can write another byte
    assert world.counts() == {"verified": 120}
    assert world.held_by_irods() == hashes_of(source)
    assert {line.load_pod for line in world.lines().values()} <= {loader, "loader-2"}
    world.stop()


def test_an_outage_of_irods_is_nobodys_fault(inventory_url: str, source: Path, logs: Path, tmp_path: Path) -> None:
    fill(source)
    state = tmp_path / "irods"
    server = SandboxServer(state)
    server.start()
    world = World(inventory_url, environment_of(tmp_path, server.environment, "rods"), logs)
    try:
        server.faults.add("slow", api=PUT, seconds=0.02)
        world.start_job(source)
        world.start("watcher", "loader", "verifier")
        eventually("some are loaded", lambda: world.counts().get("verified"))
        port = server.port
        server.stop()
        eventually("all is given back", lambda: not world.counts().get("loading"))
        server = SandboxServer(state, port=port)
        server.start()
        world.wait_finished()
        assert world.counts() == {"verified": 120}
        assert all(line.error is None for line in world.lines().values())
        assert {line.load_attempts for line in world.lines().values()} == {1}
        assert world.held_by_irods() == hashes_of(source)
        world.stop()
    finally:
        world.close()
        server.stop()


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_lost_reply_is_not_a_lost_file(sandbox_world: World, sandbox: SandboxServer, source: Path, kind: str) -> None:
    fill(source)
    world = sandbox_world
    for api in (PUT, CHECKSUM, 681):
        sandbox.faults.add(kind, api=api, count=3)
    world.start_job(source)
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"verified": 120}
    assert world.held_by_irods() == hashes_of(source)
    world.stop()


def test_damaged_bytes_are_found_and_loaded_again(sandbox_world: World, source: Path) -> None:
    fill(source, files=20)
    world = sandbox_world
    world.start_job(source)
    _, _loader = world.start("watcher", "loader")
    eventually("all are loaded", lambda: world.counts() == {"loaded": 20})
    damaged = world.physical_path("d3/f013")
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    world.physical_path("d4/f014").unlink()
    world.start("verifier")
    world.wait_finished()
    lines = world.lines()
    assert {path for path, line in lines.items() if line.reloads == 1} == {"d3/f013", "d4/f014"}
    assert world.counts() == {"verified": 20}, [line.message for line in lines.values() if line.message]
    assert world.held_by_irods() == hashes_of(source)
    world.stop()


def test_bytes_that_are_wrong_again_and_again_end_as_a_dead_letter_with_both_values(
    sandbox_world: World, source: Path
) -> None:
    fill(source, files=3)
    world = sandbox_world
    world.environment["INGEST_JOB__MAX_RELOADS"] = "1"
    world.start_job(source)
    world.start("watcher")
    for _ in range(2):
        # never both: what was loaded again could be verified before the verifier is asked to end
        [loader] = world.start("loader")
        eventually("it is loaded", lambda: "d2/f002" in world.lines(states=("loaded",)))
        world.kill(loader, signal.SIGTERM)
        world.physical_path("d2/f002").write_bytes(b"\0" * 22)
        [verifier] = world.start("verifier")
        eventually("it is found", lambda: "d2/f002" not in world.lines(states=("loaded", "verifying")))
        world.kill(verifier, signal.SIGTERM)
    line = world.lines()["d2/f002"]
    assert (line.state, line.error, line.reloads) == ("dead", "checksum_mismatch", 2)
    assert line.checksum and line.checksum in (line.message or "")
    world.stop()


def test_a_file_that_changes_while_it_is_loaded_is_loaded_again(
    sandbox_world: World, sandbox: SandboxServer, source: Path
) -> None:
    for name in ("grows", "goes", "stays"):  # of three directories, so they are put at the same time
        (source / name).mkdir()
        (source / name / "file").write_bytes(b"before")
    world = sandbox_world
    world.environment["INGEST_BUNDLE__MAX_FILE_BYTES"] = "0"  # a put for each file
    slow = sandbox.faults.add("slow", api=PUT, count=3, seconds=1.0)
    world.start_job(source)
    world.start("watcher", "loader", "verifier")
    eventually("they are being put", lambda: slow.count != 3)
    (source / "grows" / "file").write_bytes(b"after, and longer")
    (source / "goes" / "file").unlink()
    world.wait_finished()
    lines = world.lines()
    assert {path: line.state for path, line in lines.items()} == {
        "grows/file": "verified",
        "goes/file": "vanished",
        "stays/file": "verified",
    }
    assert lines["grows/file"].generation == 2
    assert world.held_by_irods()["grows/file"] == hashes_of(source)["grows/file"]
    world.stop()


def test_a_locked_replica_left_by_a_dead_client_is_overwritten(
    sandbox_world: World, sandbox: SandboxServer, source: Path
) -> None:
    fill(source, files=5)
    world = sandbox_world
    sandbox.faults.add("drop_after", api=PUT, count=1)
    sandbox.faults.add("locked", api=PUT, count=1, path="f003")
    world.start_job(source)
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"verified": 5}
    assert world.held_by_irods() == hashes_of(source)
    world.stop()
