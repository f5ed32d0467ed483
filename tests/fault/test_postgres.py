"""The inventory dies, is away, or has no room: pods keep what they have done and go on when it is back."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest

from core.errors import Unavailable
from inventory import schema
from sandbox.irods import SandboxServer
from sandbox.postgres import EmbeddedPostgres
from tests.e2e.world import World, environment_of, eventually, hashes_of

AWAY_SECONDS = float(os.environ.get("FAULT_AWAY_SECONDS", "4.5"))
"""Longer than a lease; 120 for the two minutes of a failover."""


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres that the tests of this module may kill."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("mortal"), fast=True)
    server.start()
    yield server
    server.remove()


@contextmanager
def over(server: EmbeddedPostgres, sandbox: SandboxServer, logs: Path, tmp_path: Path) -> Iterator[World]:
    """Pods over that Postgres."""
    url = server.create_database(f"test_{os.urandom(4).hex()}")
    schema.init(url)
    world = World(url, environment_of(tmp_path, sandbox.environment, "rods"), logs)
    world.environment["INGEST_BUNDLE__MAX_FILES"] = "5"
    try:
        yield world
    finally:
        sandbox.faults.clear()
        world.close()


def fill(source: Path, files: int) -> None:
    for number in range(files):
        folder = source / f"d{number % 10}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(os.urandom(number % 1000))


def told(logs: Path, event: str) -> dict[str, int]:
    """How often each pod's log has an event."""
    return {log.stem: log.read_text().count(f'"{event}"') for log in logs.glob("*.log")}


def have_started(world: World) -> bool:
    """Whether every pod has got through its start."""
    return all('"started"' in (world.logs / f"{pod}.log").read_text() for pod in world.pods)


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL])
def test_a_postgres_that_dies_in_the_middle_costs_nothing(
    mortal: EmbeddedPostgres, sandbox: SandboxServer, source: Path, logs: Path, tmp_path: Path, how: signal.Signals
) -> None:
    """SIGQUIT is what `pg_ctl -m immediate` sends."""
    fill(source, 100)
    with over(mortal, sandbox, logs, tmp_path) as world:
        for api, seconds in ((606, 0.1), (518, 0.02)):
            sandbox.faults.add("slow", api=api, seconds=seconds)
        world.start_job(source)
        world.start("watcher", "loader", "verifier")
        eventually("all have started", lambda: have_started(world))  # one that is starting would end, and come again
        eventually("some are loaded", lambda: world.counts().get("loaded") or world.counts().get("verified"))
        assert mortal.process is not None
        mortal.process.send_signal(how)
        mortal.process.wait()
        mortal.start()
        world.wait_finished()  # all pods are the same processes as before
        lines = world.lines().values()
        assert {(line.state, line.reaps, line.error) for line in lines} == {("verified", 0, None)}
        assert world.held_by_irods() == hashes_of(source)
        world.stop()


def test_a_postgres_that_is_away_for_longer_than_a_lease_kills_nobody(
    mortal: EmbeddedPostgres, sandbox: SandboxServer, source: Path, logs: Path, tmp_path: Path
) -> None:
    fill(source, 100)
    with over(mortal, sandbox, logs, tmp_path) as world:
        for api, seconds in ((606, 0.1), (518, 0.02)):
            sandbox.faults.add("slow", api=api, seconds=seconds)
        world.start_job(source)
        world.start("watcher", "loader", "loader", "verifier")
        eventually("all have started", lambda: have_started(world))  # one that is starting would end, and come again
        eventually("some are loaded", lambda: world.counts().get("loaded") or world.counts().get("verified"))
        assert mortal.process is not None
        mortal.process.send_signal(signal.SIGINT)
        mortal.process.wait()
        threading.Event().wait(AWAY_SECONDS)
        mortal.start()
        world.wait_finished()
        lines = world.lines().values()
        # what was done while it was away was kept and written: nothing was loaded twice, nobody was declared dead
        assert {(line.state, line.load_attempts, line.reaps) for line in lines} == {("verified", 1, 0)}
        assert set(told(logs, "inventory_away").values()) == {1}, world.log_tails()
        assert set(told(logs, "inventory_back").values()) == {1}
        world.stop()


def test_a_pod_stops_in_time_though_the_inventory_hangs(
    mortal: EmbeddedPostgres, sandbox: SandboxServer, source: Path, logs: Path, tmp_path: Path
) -> None:
    fill(source, 20)
    with over(mortal, sandbox, logs, tmp_path) as world:
        world.environment["INGEST_WORKER__DRAIN_SECONDS"] = "2"
        world.start_job(source, "--rescan", "0.2")
        names = world.start("watcher", "loader", "verifier")
        eventually("all are verified", lambda: world.counts() == {"verified": 20})
        # a frozen server answers nothing and refuses nothing
        group = [
            int(pid) for pid in subprocess.run(["pgrep", "-s", str(mortal.pid)], capture_output=True).stdout.split()
        ]
        group += [mortal.pid or 0]
        for pid in group:
            os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(1.0)  # by now all main threads wait for an answer
        try:
            for name in names:
                world.pods[name].send_signal(signal.SIGTERM)
            assert [world.pods.pop(name).wait(4) for name in names] == [0, 0, 0]
        finally:
            for pid in group:
                os.kill(pid, signal.SIGCONT)


def is_verified(world: World, files: int) -> bool:
    try:
        return world.counts() == {"verified": files}
    except Unavailable:
        return False


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A filesystem of 150 MB."""
    folder = Path(mkdtemp(prefix="small-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m,mode=755", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("only root can make a filesystem that is small")
    folder.chmod(0o755)
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


def test_a_full_disk_is_waited_for(
    small_disk: Path, sandbox: SandboxServer, source: Path, logs: Path, tmp_path: Path
) -> None:
    server = EmbeddedPostgres(small_disk / "postgres", fast=True)
    server.start()
    try:
        with over(server, sandbox, logs, tmp_path) as world:
            fill(source, 10)
            world.start_job(source, "--rescan", "0.3")
            world.start("watcher", "loader", "verifier")
            eventually("the pods are at work", lambda: world.counts() == {"verified": 10})
            ballast = small_disk / "ballast"
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"\0" * 4096)
            fill(source, 500)
            eventually("somebody finds the disk full", lambda: any(told(logs, "inventory_away").values()))
            ballast.unlink()
            if server.process is not None and server.process.poll() is not None:
                server.start()  # it may have ended itself when it could not write its log
            eventually("all are verified", lambda: is_verified(world, 500))
            assert {line.reaps for line in world.lines().values()} == {0}
            world.stop()
    finally:
        server.remove()
