"""All that is known about one path, and what happens to it next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from core.handlers.names import CharacterMap
from core.outcome import Dead, Done, Retry, Skipped
from core.sources.base import Entry
from inventory import jobs
from inventory.claims import Result
from inventory.explain import Explained, explain
from inventory.mapped import original
from inventory.workers import Lease
from scripts.explain import ways_of
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
        ("/data/run 7//d/../d/f", "d/f"),
        ("d/f", "d/f"),
        ("/data/run 77/f", None),
        ("s3://bucket/f", None),
        ("/data/run 7/bad\udcff", "bad%FF"),
    ],
)
def test_a_path_is_known_by_all_its_names(world: World, given: str, relative: str | None) -> None:
    job = replace(world.job, source_url="file:///data/run%207")
    assert ways_of(job, given)[:1] == ([] if relative is None else [relative])


@pytest.mark.parametrize(
    ("given", "relative"),
    [
        ("s3://bucket/run [7/a#b?c%d", "a#b?c%d%2F"),
        ("s3://bucket/run [7", ""),
        ("s3://bucket/run [77/f", None),
        ("file:///run/f", None),
        ("/run/f", None),
        ("/tempZone/home/rods/d/f", "d/f"),
    ],
)
def test_a_key_is_no_url(world: World, given: str, relative: str | None) -> None:
    job = replace(world.job, source_url="s3://bucket/run [7")
    assert ways_of(job, given)[:1] == ([] if relative is None else [relative])


def test_what_commands_show_and_what_a_shell_completes_is_known_too(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = replace(world.job, source_url=f"file://{tmp_path}/files")
    assert ways_of(here, "bad%FF") == ["bad%25FF", "bad%FF"]  # a name of these letters, or one that was escaped
    assert "d/f" in ways_of(here, "files/d/f")
    bucket = replace(world.job, source_url="s3://bucket/run")
    assert ways_of(bucket, "a//b")[:2] == ["a/%2F/b%2F", "a/%2F/b"]  # an object beside a prefix of its key, or any
    assert "d" in ways_of(bucket, "s3://bucket/run/d/")
    assert "a/%2F/b" in ways_of(bucket, "a/%2F/b")


def test_where_it_is_at_the_source_is_told_as_a_person_types_it(world: World) -> None:
    def place(url: str, path: str) -> str:
        return replace(told(world, path), job=replace(world.job, source_url=url)).place

    assert place("s3://bucket/run 7", "a%2520b/%2F/c%2F") == "s3://bucket/run 7/a%20b//c"
    assert (place("s3://bucket", ""), place("file:///data", ""), place("file:///", "")) == ("s3://bucket", "/data", "/")
    assert place("file:///data/run%207", "bad%FF") == "/data/run 7/bad\udcff"


def test_a_name_in_irods_is_found_where_names_are_mapped(world: World) -> None:
    directories = ["a b", "a b/c", "a b-c", "a b0", "plain"]
    world.scan([Entry(path, "d", 0, 1) for path in directories if "/" not in path] + [Entry("f: g", "f", 1, 1)])
    world.scan([Entry("c", "d", 0, 1)], "a b")
    world.scan([Entry("x y", "f", 1, 1), Entry("plain", "f", 1, 1)], "a b/c")
    mapping = CharacterMap({" ": "_", ":": "_"})
    for path in ("f: g", "a b/c/x y", "a b/c/plain", *directories):
        assert original(world.database, world.job, mapping.path(path), mapping.path) == path
    for path in ("none", "plain/none", "none/x", "a b/c/x_y"):
        assert original(world.database, world.job, path, mapping.path) is None


def test_a_service_that_is_away_holds_it_back(world: World) -> None:
    world.add("a")
    leases = [Lease(world.database, "loader", f"loader-{number}", "test") for number in (1, 2)]
    leases[0].hold_back("iRODS does not answer")
    assert leases[0].beat()
    first = told(world, "a")
    assert first.next.startswith("the next free one of 2 loader pods loads it; 1 of 2 pods hold back since ")
    leases[1].hold_back("too many connections")
    assert leases[1].beat()
    assert "nothing before a service is back; 2 of 2 pods hold back since" in told(world, "a").next
    assert "iRODS does not answer" in told(world, "a").next
    for lease in leases:
        lease.hold_back(None)
        assert lease.beat()
    assert told(world, "a").next == "the next free one of 2 loader pods loads it"


def test_what_may_be_in_flight_is_told(worlds: Callable[..., World]) -> None:
    world = worlds(max_in_flight=2, bandwidth="00:00,50M")
    world.add("a", "b", "c")
    loader = world.worker()
    assert "the job is read with 50.0 MiB/s now" in told(world, "a").next
    world.claim(loader, limit=2)
    assert sorted(told(world, name).next.split(":")[0] for name in ("a", "b", "c")) == [
        "it waits",
        *["pod loader-pod is loading it"] * 2,
    ]


def test_what_is_gone_is_judged_held_and_deleted(worlds: Callable[..., World]) -> None:
    world = worlds(delete_mode="trash", delete_after_seconds=60)
    world.add("a")
    loader = world.worker()
    world.finish(loader, [Result(file, Done("sha2:x")) for file in world.claim(loader)])
    world.execute("UPDATE inventory.file SET state = 'vanished', vanished_at = now(), retry_at = 'infinity'")
    assert "when the pass has looked at all directories" in told(world, "a").next
    world.execute("UPDATE inventory.job SET deletes_held = 7")
    assert "7 deletions of the job are held back" in told(world, "a").next
    world.execute("UPDATE inventory.job SET deletes_held = 0, deletes_cleared_at = now()")
    assert told(world, "a").next == "its object is deleted once it was gone for 60 s"


def test_a_job_that_waits_for_its_pre_job_or_never_goes_on(world: World) -> None:
    world.add("a")
    world.worker()
    world.execute("""UPDATE inventory.job SET handler = '{"file": "h.py", "sha256": "x", "overrides": ["pre_job"]}'""")
    world.execute("UPDATE inventory.pass SET pre_done_at = NULL")
    assert "before the pre_job" in told(world, "a").next
    for state, words in (("paused", "job resume"), ("cancelled", "never goes on")):
        jobs.set_state(world.database, world.job.id, state)
        assert words in told(world, "a").next
