"""All that is known about one path, and what happens to it next."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from core.outcome import Dead, Done, Retry, Skipped
from core.sources.base import Entry
from inventory import jobs
from inventory.claims import Result
from inventory.explain import Explained, explain
from scripts.explain import relative_to
from tests.integration.inventory_world import World


def told(world: World, path: str) -> Explained:
    [job] = jobs.listed(world.database)
    return explain(world.database, job, path)


def test_every_state_says_what_is_next(world: World) -> None:
    world.scan([Entry("sub", "d", 0, 1), *(Entry(name, "f", 10, 1) for name in ("a", "b", "c", "d", "e"))])
    loader = world.worker()
    assert told(world, "a").next == "the next free one of 1 loader pods loads it"
    claimed = {file.path: file for file in world.claim(loader)}
    assert told(world, "a").next == "pod loader-pod is loading it"
    outcomes = [
        ("a", Done("sha2:x")),
        ("b", Dead("EACCES", "no")),
        ("c", Retry("EIO", "bad")),
        ("d", Skipped("exists")),
    ]
    world.finish(loader, [Result(claimed[name], outcome) for name, outcome in outcomes])
    assert "nothing before a verifier pod runs" in told(world, "a").next
    dead = told(world, "b")
    assert "waits for a person" in dead.next
    assert [(one.error, one.permanent, one.pod) for one in dead.attempts] == [("EACCES", True, "loader-pod")]
    waiting = told(world, "c")
    assert "backs off" in waiting.next
    assert isinstance(waiting.next_at, datetime)
    assert "by the job's rules" in told(world, "d").next
    world.execute("UPDATE inventory.worker SET expired_at = now() WHERE id = :id", id=loader)
    assert "declared dead" in told(world, "e").next
    assert told(world, "sub").next == "a watcher scans it"
    assert "was not there when the root" in told(world, "nothing").next
    assert "has not been scanned" in told(world, "sub/f").next
    jobs.set_state(world.database, world.job.id, "stopped")
    assert "the job is stopped" in told(world, "a").next


def test_a_settling_file_says_so(world: World) -> None:
    world.add("a")
    world.execute("UPDATE inventory.file SET retry_at = 'infinity'")
    assert "unchanged for" in told(world, "a").next


@pytest.mark.parametrize(
    ("given", "relative"),
    [
        ("/data/run 7/d/f", "d/f"),
        ("file:///data/run%207/d/f", "d/f"),
        ("/tempZone/home/rods/d/f", "d/f"),
        ("/tempZone/home/rods", ""),
        ("d/f", "d/f"),
        ("/data/run 77/f", None),
        ("s3://bucket/f", None),
        ("/data/run 7/bad\udcff", "bad%FF"),
    ],
)
def test_a_path_is_known_by_all_its_names(world: World, given: str, relative: str | None) -> None:
    job = replace(world.job, source_url="file:///data/run%207")
    assert relative_to(job, given) == relative
