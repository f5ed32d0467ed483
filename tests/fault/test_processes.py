"""Signals at the wrong moment: frozen, asked to stop, asked twice, in the middle of a call that hangs or takes long."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from irods.models import Collection, DataObject

from core.signals import FROZEN_EXIT_CODE
from sandbox.irods import SandboxServer
from tests.e2e.world import World, eventually, hashes_of

PUT, WRITE, CHECKSUM = 606, 676, 629
SINGLY = {"INGEST_BUNDLE__MAX_FILE_BYTES": "0", "INGEST_IRODS__SINGLE_BUFFER_BYTES": "1000000"}


def log(world: World, name: str) -> str:
    return (world.logs / f"{name}.log").read_text()


def statuses(world: World) -> dict[str, str]:
    """The status of each replica below the target, by relative path."""
    with world.irods() as session:
        found = session.query(Collection.name, DataObject.name, DataObject.replica_status)
        return {
            f"{row[Collection.name]}/{row[DataObject.name]}".removeprefix(f"{world.target}/"): row[
                DataObject.replica_status
            ]
            for row in found
            if f"{row[Collection.name]}/".startswith(f"{world.target}/")
        }


def test_a_second_sigterm_ends_a_pod_at_once(sandbox_world: World, sandbox: SandboxServer, source: Path) -> None:
    (source / "a").write_bytes(b"a")
    world = sandbox_world
    world.environment |= SINGLY | {"INGEST_WORKER__DRAIN_SECONDS": "60"}
    hang = sandbox.faults.add("hang", api=PUT, count=1)
    world.start_job(source)
    _, loader = world.start("watcher", "loader")
    eventually("it hangs in a put", lambda: hang.count == 0)
    world.pods[loader].send_signal(signal.SIGTERM)
    eventually("it drains", lambda: '"stopping"' in log(world, loader))
    began = time.monotonic()
    assert world.kill(loader, signal.SIGTERM) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 3
    world.start("loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"verified": 1}
    world.stop()


@pytest.mark.parametrize("kind", ["loader", "verifier"])
def test_a_drain_is_never_longer_than_its_setting(
    sandbox_world: World, sandbox: SandboxServer, source: Path, kind: str
) -> None:
    (source / "a").write_bytes(b"a")
    world = sandbox_world
    world.environment |= SINGLY | {"INGEST_WORKER__DRAIN_SECONDS": "2"}
    hang = sandbox.faults.add("hang", api=PUT if kind == "loader" else CHECKSUM, count=1)
    world.start_job(source)
    names = world.start("watcher", "loader", "verifier")
    eventually("it hangs", lambda: hang.count == 0)
    [victim] = [name for name in names if name.startswith(kind)]
    began = time.monotonic()
    assert world.kill(victim, signal.SIGTERM) == 0
    assert time.monotonic() - began < 2.5
    world.start(kind)
    world.wait_finished()
    [line] = world.lines().values()
    # it was given back by a goodbye, not taken from the dead, and counts no attempt
    assert (line.state, line.load_attempts, line.verify_attempts, line.reaps) == ("verified", 1, 1, 0)
    world.stop()


def test_sigterm_during_a_long_put_gives_back_the_rest_and_counts_nothing(
    sandbox_world: World, sandbox: SandboxServer, source: Path
) -> None:
    (source / "a-large").write_bytes(os.urandom(40 << 20))
    for number in range(40):
        (source / f"small{number:02}").write_bytes(b"x" * number)
    world = sandbox_world
    world.environment |= SINGLY | {"INGEST_WORKER__DRAIN_SECONDS": "2", "INGEST_IRODS__CONNECTIONS": "1"}
    slow = sandbox.faults.add("slow", api=WRITE, seconds=0.5, count=1000)
    world.start_job(source)
    [watcher] = world.start("watcher")
    eventually("all are found", lambda: world.counts() == {"discovered": 41})
    [loader] = world.start("loader")
    eventually("it is written", lambda: slow.count is not None and slow.count < 999)
    assert world.counts().get("loading") == 41
    began = time.monotonic()
    assert world.kill(loader, signal.SIGTERM) == 0
    assert time.monotonic() - began < 2.5
    sandbox.faults.clear()
    eventually("all is given back", lambda: world.counts() == {"discovered": 41}, 10)
    assert {(line.load_attempts, line.reaps) for line in world.lines().values()} == {(0, 0)}
    world.start("loader", "verifier")
    world.wait_finished()
    assert {(line.state, line.load_attempts, line.reaps) for line in world.lines().values()} == {("verified", 1, 0)}
    assert world.held_by_irods() == hashes_of(source)
    assert watcher in world.pods
    world.stop()


def test_a_loader_frozen_in_the_middle_of_a_put_harms_nothing_when_it_wakes(
    sandbox_world: World, sandbox: SandboxServer, source: Path
) -> None:
    (source / "large").write_bytes(os.urandom(24 << 20))
    (source / "small").write_bytes(b"before")
    world = sandbox_world
    world.environment |= SINGLY
    slow = sandbox.faults.add("slow", api=WRITE, seconds=0.3, count=1000)
    world.start_job(source, "--rescan", "0.5")
    _, loader = world.start("watcher", "loader")
    eventually("it writes", lambda: slow.count is not None and slow.count < 998)
    zombie = world.pods.pop(loader)
    zombie.send_signal(signal.SIGSTOP)
    sandbox.faults.clear()
    (source / "large").write_bytes(os.urandom((20 << 20) + 1))
    (source / "small").write_bytes(b"after it was frozen")
    world.start("loader", "verifier")
    sizes = {"large": (20 << 20) + 1, "small": 19}
    eventually(
        "the new content is verified",
        lambda: {path: line.size for path, line in world.lines(states=("verified",)).items()} == sizes,
    )
    agents = len(sandbox._threads)
    zombie.send_signal(signal.SIGCONT)
    assert zombie.wait(30) == FROZEN_EXIT_CODE
    eventually("its agents have ended", lambda: len(sandbox._threads) < agents)
    assert statuses(world) == {"large": "1", "small": "1"}
    assert world.held_by_irods() == hashes_of(source)
    world.stop()


def test_a_short_freeze_costs_nothing(sandbox_world: World, sandbox: SandboxServer, source: Path) -> None:
    (source / "large").write_bytes(os.urandom(24 << 20))
    world = sandbox_world
    world.environment |= SINGLY | {"INGEST_WORKER__LEASE_SECONDS": "20"}
    slow = sandbox.faults.add("slow", api=WRITE, seconds=0.1, count=1000)
    world.start_job(source)
    _, loader, _ = world.start("watcher", "loader", "verifier")
    eventually("it writes", lambda: slow.count is not None and slow.count < 999)
    world.pods[loader].send_signal(signal.SIGSTOP)
    before = world.counts()
    world.pods[loader].send_signal(signal.SIGCONT)
    assert before == {"loading": 1}
    world.wait_finished()
    [line] = world.lines().values()
    assert (line.state, line.load_attempts, line.reaps, line.load_pod) == ("verified", 1, 0, loader)
    world.stop()
