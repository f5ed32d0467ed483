"""An iRODS that refuses, hangs or is slow: nobody's file is at fault, and the log says it once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.irods import SandboxServer
from tests.e2e.world import World, eventually, hashes_of

FILES = 30
SINGLY = {
    "INGEST_BUNDLE__MAX_FILE_BYTES": "0",
    "INGEST_IRODS__TIMEOUT_SECONDS": "1.5",
    "INGEST_IRODS__CONNECTIONS": "2",
}


@pytest.mark.parametrize("kind", ["refuse", "hang", "slow"])
def test_an_irods_that_refuses_hangs_or_is_slow_costs_no_attempt(
    sandbox_world: World, sandbox: SandboxServer, source: Path, kind: str
) -> None:
    for number in range(FILES):
        (source / f"f{number}").write_bytes(os.urandom(number))
    world = sandbox_world
    world.environment |= SINGLY
    log = world.logs / "loader-0.log"
    world.start_job(source)
    if kind == "refuse":
        sandbox.faults.add("refuse")
    elif kind == "hang":
        sandbox.faults.add("hang", api=606, count=2)
    else:
        sandbox.faults.add("slow", seconds=0.3, count=60)
    assert world.start("loader", "watcher", "verifier")[0] == "loader-0"
    if kind == "refuse":
        eventually("the loader says so", lambda: "service_away" in log.read_text())
        sandbox.faults.clear()
    world.wait_finished()
    lines = world.lines().values()
    assert {(line.state, line.load_attempts, line.reaps, line.error) for line in lines} == {("verified", 1, 0, None)}
    assert world.held_by_irods() == hashes_of(source)
    away, back = (log.read_text().count(f'"{event}"') for event in ("service_away", "service_back"))
    assert away == back
    # two calls that hang may be two outages: another file went through between them
    assert away in {"slow": (0,), "refuse": (1,), "hang": (1, 2)}[kind]
    world.stop()


HANG_ONCE_MORE = {"INGEST_JOB__MAX_ATTEMPTS": "2"}


@pytest.mark.parametrize("api", [606, 629], ids=["put", "verify"])
def test_a_file_at_which_irods_always_hangs_is_a_dead_letter(
    sandbox_world: World, sandbox: SandboxServer, source: Path, api: int
) -> None:
    """The zone answers all others, so it is the file, and its job ends."""
    for number in range(6):
        (source / f"f{number}").write_bytes(os.urandom(number))
    (source / "hangs").write_bytes(b"x")
    world = sandbox_world
    world.environment |= SINGLY | HANG_ONCE_MORE | {"INGEST_IRODS__TIMEOUT_SECONDS": "1"}
    sandbox.faults.add("hang", api=api, path="/hangs")
    world.start_job(source)
    world.start("loader", "watcher", "verifier")
    world.wait_finished()
    lines = world.lines()
    bad = lines.pop("hangs")
    attempts = bad.load_attempts if api == 606 else bad.verify_attempts
    assert (bad.state, bad.error, attempts) == ("dead", "hangs", 2), bad
    assert "others are answered" in (bad.message or "")
    assert {(line.state, line.load_attempts, line.error) for line in lines.values()} == {("verified", 1, None)}
    world.stop()


def test_an_irods_that_says_nothing_at_all_costs_no_attempt_however_long(
    sandbox_world: World, sandbox: SandboxServer, source: Path
) -> None:
    """Logins hang as well: the same files are tried again and again, and none is blamed."""
    for number in range(3):
        (source / f"f{number}").write_bytes(os.urandom(number))
    world = sandbox_world
    world.environment |= SINGLY | HANG_ONCE_MORE | {"INGEST_IRODS__TIMEOUT_SECONDS": "0.5"}
    log = world.logs / "loader-0.log"
    world.start_job(source)
    silent = sandbox.faults.add("hang")
    assert world.start("loader", "watcher", "verifier")[0] == "loader-0"
    eventually("it was tried several times", lambda: log.read_text().count('"released"') >= 4)
    sandbox.faults.clear()
    world.wait_finished()
    assert silent.count is None
    assert {(line.state, line.load_attempts, line.error) for line in world.lines().values()} == {("verified", 1, None)}
    world.stop()
