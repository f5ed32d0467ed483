"""`ingest job` over real pods: waiting, stopping, going on, removing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.world import PATIENCE, PROJECT, World, eventually, hashes_of


def fill(source: Path, files: int) -> None:
    for number in range(files):
        (source / f"d{number % 4}").mkdir(exist_ok=True)
        (source / f"d{number % 4}" / f"f{number}").write_bytes(b"x" * number)


def listed(world: World, name: str = "job") -> dict[str, Any]:
    rows = [json.loads(line) for line in world.ingest("job", "list", "--json").stdout.splitlines()]
    return next(row for row in rows if row["job"] == name)


def test_start_waits_for_the_end_and_says_whether_files_failed(world: World, source: Path) -> None:
    fill(source, 12)
    world.start("watcher", "loader", "verifier")
    done = world.ingest("job", "start", str(source), world.target, "--name", "good", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "job good is finished: 12 of 12 files" in done.stdout.splitlines()[-1]
    long = "n" * 250
    for _ in range(4):  # a path iRODS cannot hold
        source = source / long
        source.mkdir()
    (source / "bad").write_bytes(b"")
    bad = world.ingest("job", "start", str(source.parents[3]), world.target + "/bad", "--name", "bad", "--wait")
    assert bad.returncode == 1, bad.stdout + bad.stderr
    row = listed(world, "bad")
    assert row["state"] == "finished"
    assert row["failed_files"] + row["failed_directories"] >= 1
    assert row["total_files"] == sum(row["files"].values()) == 13
    assert row["done_files"] == 13
    shown = world.ingest("job", "show", "bad")
    assert shown.returncode == 0
    assert "12 files" not in shown.stdout  # of this job, not of the other
    assert world.ingest("job", "watch", "bad").returncode == 1
    assert world.ingest("job", "watch", "none").returncode == 2
    world.stop()


def test_a_stopped_job_is_resumed_and_loses_nothing(world: World, source: Path) -> None:
    fill(source, 400)
    world.start_job(source, "--max-in-flight", "4")
    world.start("watcher", "loader", "verifier")
    eventually("some are loaded", lambda: world.counts().get("verified", 0) > 4)
    assert world.ingest("job", "stop", "job").returncode == 0
    busy = ("loading", "verifying")
    eventually("nothing is in flight", lambda: not any(world.counts().get(state) for state in busy), 10)
    assert world.ingest("job", "watch", "job").returncode == 6
    at_stop = world.counts()
    assert at_stop.get("verified", 0) < 400
    assert listed(world)["state"] == "stopped"
    refused = world.ingest("job", "delete", "job")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert world.ingest("job", "resume", "job").returncode == 0
    assert world.ingest("job", "set", "job", "--max-in-flight", "0", "--priority", "3").returncode == 0
    world.wait_finished()
    assert world.held_by_irods() == hashes_of(source)
    assert (listed(world)["max_in_flight"], listed(world)["priority"]) == (None, 3)
    world.stop()


def test_a_cancelled_job_is_removed_and_its_rows_are_kept(world: World, source: Path, tmp_path: Path) -> None:
    fill(source, 8)
    world.start_job(source)
    world.start("watcher")
    eventually("all are found", lambda: world.counts() == {"discovered": 8})
    assert world.ingest("job", "pause", "job").returncode == 0
    running = world.ingest("job", "delete", "job", "--yes")
    assert running.returncode == 2
    assert "paused" in running.stderr
    assert world.ingest("job", "cancel", "job", "--yes").returncode == 0
    assert world.ingest("job", "resume", "job").returncode == 2
    eventually(
        "pods have let go",
        lambda: world.ingest("job", "delete", "job", "--yes", "--archive", str(tmp_path)).returncode == 0,
    )
    assert len(list(tmp_path.glob("job-*/shard-*.csv.gz"))) == 2
    assert world.ingest("job", "list").stdout == ""
    world.stop()


def test_a_terminal_gets_a_bar(world: World, source: Path) -> None:
    fill(source, 3)
    world.start_job(source)
    world.start("watcher", "loader", "verifier")
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "scripts.ingest", "job", "watch", "job"],
        env=world.environment | {"TERM": "xterm"}, cwd=PROJECT, stdout=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while block := os.read(ours, 4096):
            seen += block
    except OSError:
        pass  # the other end was closed: the process has ended
    os.close(ours)
    assert watching.wait(PATIENCE) == 0
    assert "━".encode() in seen
    assert b"job job is finished: 3 of 3 files" in seen
    world.stop()
