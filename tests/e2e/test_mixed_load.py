"""A load in which everything goes wrong at once: what operators are told adds up to the file, by all who count."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from sandbox.irods import SandboxServer
from tests.e2e.world import World, eventually, hashes_of

REFUSED = -818000  # CAT_NO_ACCESS_PERMISSION


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_source_inventory_report_and_catalogue_count_the_same(
    sandbox_world: World, sandbox: SandboxServer, source: Path
) -> None:
    world = sandbox_world
    world.environment |= {
        "INGEST_BUNDLE__MAX_FILE_BYTES": "0",  # one call a file, so that faults hit the file they are for
        "INGEST_JOB__MAX_ATTEMPTS": "2",
    }
    for number in range(12):
        (source / f"good-{number:02}").write_bytes(bytes([number]) * (number + 1))
    for name in ("refused", "retried", "short", "gone-before", "changed", "goes", "stays-refused"):
        (source / name).write_bytes(name.encode() * 20)
    (source / "loop").symlink_to("loop")
    sandbox.faults.add("error", api=606, path="refused", code=REFUSED)
    sandbox.faults.add("error", api=606, path="retried", code=-27000, count=1)  # SYS_COPY_LEN_ERR: once
    sandbox.faults.add("truncate", api=606, path="short", lost=3, count=1)
    world.start_job(source, "--operation", "put_sync", "--delete-mode", "no_trash")
    world.start("watcher")
    eventually(lambda: str(world.counts()), lambda: sum(world.counts().values()) == 20)
    (source / "gone-before").unlink()
    (source / "changed").write_bytes(b"other bytes, before anybody read the first ones")
    world.start("loader", "verifier")
    world.wait_finished()
    (source / "goes").unlink()
    assert world.ingest("job", "rescan", "job").returncode == 0
    wanted = {"verified": 15, "dead": 2, "skipped": 1, "deleted": 2}
    eventually(lambda: str(world.counts()), lambda: world.counts() == wanted)
    world.wait_finished()
    counts = world.counts()
    everybody_counts_the_same(world, source, counts)

    sandbox.faults.clear()
    assert json.loads(world.ingest("retry", "--job", "job", "--yes", "--json").stdout) == {"files": 2, "directories": 0}
    world.wait_finished()
    counts = world.counts()
    assert counts["verified"] == 17 and "dead" not in counts
    everybody_counts_the_same(world, source, counts)
    assert world.held_by_irods() == hashes_of(source)
    world.stop()


def everybody_counts_the_same(world: World, source: Path, counts: dict[str, int]) -> None:
    head, *rows, last = lines_of(world.ingest("report", "job", "--json").stdout)
    summary = last["summary"]
    assert head["report"]["job"] == "job"
    assert Counter(row["state"] for row in rows) == counts
    assert {state: count["files"] for state, count in summary["states"].items()} == counts
    assert all(check["agrees"] for check in summary["checks"]), summary["checks"]
    assert {check["what"]: check["files"] for check in summary["checks"]}["source"] == len(hashes_of(source))
    assert len(world.objects()) == counts["verified"]
    groups = lines_of(world.ingest("failures", "--job", "job", "--json").stdout)
    assert sum(group["dead"] for group in groups) == counts.get("dead", 0)
    *found, audited = lines_of(world.ingest("audit", "job", "--json").stdout)
    assert audited["summary"]["inventory"] == counts
    assert {one["kind"] for one in found} <= {"failed"}, found
    [shown] = lines_of(world.ingest("job", "show", "job", "--json").stdout)
    assert {state: count for state, count in shown["files"].items() if count} == counts
