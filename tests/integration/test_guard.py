"""The guard of deletions: only after a complete pass, within limits, after a time of grace, or by a person's word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.errors import UsageError
from core.outcome import Dead, Done, Vanished
from core.sources.base import Entry
from inventory import endings, guard, held, housekeeping, jobs, listing, passes
from inventory.claims import Result
from inventory.listing import Merge
from inventory.rota import Rota
from tests.integration.inventory_world import World

Worlds = Callable[..., World]
TIME = 1_700_000_000_000_000


def files(*names: str) -> list[Entry]:
    return [Entry(name, "f", 1, TIME) for name in names]


def numbered(count: int, first: int = 0) -> list[Entry]:
    return files(*(f"f{n:04}" for n in range(first, first + count)))


def load(world: World) -> None:
    """Bring all that waits to its end."""
    loader = world.worker()
    for stage in ("load", "verify"):
        while claimed := world.claim(loader, stage, 1000):  # type: ignore[arg-type]
            world.finish(loader, [Result(file, Done("sha2:x", "rehash")) for file in claimed], stage)  # type: ignore[arg-type]
    world.execute("UPDATE inventory.directory SET collection_made_at = coalesce(collection_made_at, now())")


def tidy(world: World) -> None:
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)


def due(world: World) -> list[str]:
    """What a loader would delete now."""
    return sorted(file.name for file in Rota(world.database, world.worker()).claim_files("delete", 5000))


def started(worlds: Worlds, count: int = 100, **settings: Any) -> World:
    """A job that has loaded so many files, in its second pass."""
    world = worlds(delete_mode="no_trash", **settings)
    world.scan(numbered(count))
    load(world)
    tidy(world)
    job = jobs.find(world.database, "job")
    assert job is not None
    assert job.state == ("finished" if job.settings.rescan_seconds is None else "running")
    jobs.rescan(world.database, world.job.id)
    tidy(world)
    return world


def test_a_few_are_deleted_once_the_pass_is_over(worlds: Worlds) -> None:
    world = started(worlds)
    world.scan(numbered(97))
    assert world.counts() == {"verified": 97, "vanished": 3}
    assert due(world) == []  # nobody has judged yet
    tidy(world)
    tidy(world)
    assert due(world) == ["f0097", "f0098", "f0099"]


def test_what_vanishes_while_a_judgement_begins_is_judged_by_the_next(worlds: Worlds) -> None:
    world = started(worlds)
    with world.database.begin() as connection:
        connection.exec_driver_sql("SELECT now()")  # its clock stands still from here on
        world.scan(numbered(97))
        assert guard.judge(connection) == []
        assert endings.finish_passes(connection) == []
    tidy(world)
    tidy(world)
    assert due(world) == ["f0097", "f0098", "f0099"]


def test_nothing_is_judged_while_directories_are_still_to_be_looked_at(worlds: Worlds) -> None:
    world = started(worlds)
    world.execute(
        "INSERT INTO inventory.directory (job_id, shard, path, parent_id) SELECT job_id, shard, 'd', id FROM inventory.directory"
    )
    world.scan(numbered(97))
    tidy(world)
    tidy(world)
    assert due(world) == []
    world.scan([], path="d")
    tidy(world)
    tidy(world)
    assert len(due(world)) == 3


@pytest.mark.parametrize(
    ("settings", "gone", "allowed"),
    [
        ({}, 20, True),
        ({}, 21, False),
        ({"max_delete_percent": 100}, 99, True),
        ({"max_delete_percent": 0}, 10, True),
        ({"max_delete_percent": 0}, 11, False),
        ({"max_deletes": 5}, 5, True),
        ({"max_deletes": 5}, 6, False),
        ({"max_deletes": 0}, 1, False),
    ],
)
def test_limits_in_number_and_per_cent(worlds: Worlds, settings: dict[str, Any], gone: int, allowed: bool) -> None:
    world = started(worlds, **settings)
    world.scan(numbered(100 - gone))
    for _ in range(3):
        tidy(world)
    assert len(due(world)) == (gone if allowed else 0)
    assert held.held(world.database, world.job.id).held == (0 if allowed else gone)
    job = jobs.find(world.database, "job")
    assert job is not None
    assert job.state == ("running" if allowed else "finished")


def test_what_is_held_stays_held_until_a_person_confirms_what_was_seen(worlds: Worlds) -> None:
    world = started(worlds)
    world.scan(numbered(50))
    tidy(world)
    seen = held.held(world.database, world.job.id)
    jobs.rescan(world.database, world.job.id)
    tidy(world)
    world.scan(numbered(40))
    tidy(world)
    assert due(world) == []
    with pytest.raises(UsageError, match="changed meanwhile"):
        held.confirm(world.database, world.job.id, seen)
    seen = held.held(world.database, world.job.id)
    assert seen.held == 60
    held.confirm(world.database, world.job.id, seen)
    tidy(world)
    assert len(due(world)) == 60
    kinds = [kind for (kind,) in _events(world)]
    assert kinds == ["deletes_held", "deletes_held", "deletes_confirmed"]


def _events(world: World) -> list[tuple[str]]:
    with world.database.begin() as connection:
        rows = connection.exec_driver_sql("SELECT kind FROM inventory.event WHERE kind LIKE 'deletes%%' ORDER BY id")
        return [tuple(row) for row in rows]


def test_files_that_are_back_are_not_held_any_more(worlds: Worlds) -> None:
    world = started(worlds)
    world.scan(numbered(10))
    tidy(world)
    assert held.held(world.database, world.job.id).held == 90
    jobs.rescan(world.database, world.job.id)
    tidy(world)
    world.scan(numbered(100))
    tidy(world)
    assert held.held(world.database, world.job.id).held == 0
    assert "vanished" not in world.counts()


def test_many_small_losses_of_one_pass_count_together(worlds: Worlds) -> None:
    """Directory by directory each loss is small."""
    world = worlds(delete_mode="no_trash")
    names = [f"d{n}" for n in range(20)]
    world.scan([Entry(name, "d", 0, TIME) for name in names])
    for name in names:
        world.scan(numbered(5), path=name)
    load(world)
    tidy(world)
    jobs.rescan(world.database, world.job.id)
    tidy(world)
    for name in names:
        world.scan(numbered(3), path=name)
        tidy(world)
        assert due(world) == []
    world.scan([Entry(name, "d", 0, TIME) for name in names])
    tidy(world)
    tidy(world)
    assert due(world) == []
    assert held.held(world.database, world.job.id).held == 40


def test_grace_keeps_what_is_cleared_for_a_while(worlds: Worlds) -> None:
    world = started(worlds, delete_after_seconds=3600)
    world.scan(numbered(99))
    tidy(world)
    tidy(world)
    assert due(world) == []
    job = jobs.find(world.database, "job")
    assert job is not None
    assert job.state == "running"  # it has still something to do
    world.execute("UPDATE inventory.file SET vanished_at = vanished_at - interval '2 hours' WHERE state = 'vanished'")
    tidy(world)
    assert due(world) == ["f0099"]


def test_what_only_a_loader_has_not_found_is_not_deleted(worlds: Worlds) -> None:
    world = started(worlds)
    world.execute("UPDATE inventory.file SET state = 'discovered' WHERE name = 'f0000'")
    loader = world.worker()
    [file] = world.claim(loader)
    world.finish(loader, [Result(file, Vanished())])
    world.execute("UPDATE inventory.directory SET next_scan_at = NULL")
    for _ in range(3):
        tidy(world)
    assert due(world) == []
    jobs.rescan(world.database, world.job.id)
    tidy(world)
    world.execute("UPDATE inventory.directory SET next_scan_at = now()")
    world.scan(numbered(99, first=1))
    tidy(world)
    tidy(world)
    assert due(world) == ["f0000"]


def test_what_is_merged_while_the_guard_judges_is_not_cleared_by_it(worlds: Worlds) -> None:
    """A merge that is not committed yet holds its directory: the guard waits for it, or leaves it to the next judgement."""
    world = started(worlds, rescan_seconds=3600)
    world.scan(numbered(95))
    world.execute("UPDATE inventory.directory SET next_scan_at = now()")  # due again before the pass was judged
    [directory] = listing.claim(world.database, world.watcher, [world.job.id], 10)
    with world.database.begin() as merging:
        merge = Merge(merging, world.watcher)
        merge.add([(directory, numbered(20))])
        merge.finish([directory], 3600)
        with world.database.begin() as judging:
            guard.judge(judging)
    tidy(world)
    assert due(world) == [f"f{n:04}" for n in range(95, 100)]


def test_collections_wait_for_the_guard_as_files_do(worlds: Worlds) -> None:
    from inventory import collections

    world = worlds(delete_mode="no_trash")
    names = [f"d{n}" for n in range(30)]
    world.scan([Entry(name, "d", 0, TIME) for name in names])
    for name in names:
        world.scan([], path=name)
    world.execute("UPDATE inventory.directory SET collection_made_at = now()")
    tidy(world)
    jobs.rescan(world.database, world.job.id)
    tidy(world)
    world.scan(files("new"))
    for directory in listing.claim(world.database, world.watcher, [world.job.id], 100):
        with world.database.begin() as connection:
            assert Merge(connection, world.watcher).vanish(directory)
    load(world)
    tidy(world)
    assert held.held(world.database, world.job.id).held == 30
    assert collections.claim_gone(world.database, world.worker(), [world.job.id], 100) == []
    held.confirm(world.database, world.job.id, held.held(world.database, world.job.id))
    assert len(collections.claim_gone(world.database, world.worker(), [world.job.id], 100)) == 30


@pytest.mark.parametrize("excluded", [False, True])
@pytest.mark.parametrize("rescan", [None, 3600])
def test_a_pass_ends_though_a_file_keeps_the_collection_of_a_directory_that_is_gone(
    worlds: Worlds, excluded: bool, rescan: float | None
) -> None:
    """One whose deletion is a dead letter, or one that the filters protect."""
    from inventory import collections

    world = worlds(delete_mode="no_trash", rescan_seconds=rescan)
    world.scan([Entry("sub", "d", 0, TIME)])
    world.scan([Entry("deep", "d", 0, TIME), Entry("empty", "d", 0, TIME)], path="sub")
    world.scan([], path="sub/empty")
    world.scan(files("keep", "b"), path="sub/deep")
    load(world)
    tidy(world)
    jobs.rescan(world.database, world.job.id)
    tidy(world)
    world.scan(files("new"))
    load(world)
    while gone := listing.claim(world.database, world.watcher, [world.job.id], 100):
        for directory in gone:
            with world.database.begin() as connection:
                merge = Merge(connection, world.watcher, protects=lambda path, _: excluded and path.endswith("keep"))
                assert merge.vanish(directory)
    tidy(world)
    tidy(world)
    loader = world.worker()
    deletions = Rota(world.database, loader).claim_files("delete", 100)
    assert {file.name for file in deletions} == ({"b"} if excluded else {"b", "keep"})
    world.finish(loader, [Result(f, Done() if f.name == "b" else Dead("no", "no")) for f in deletions], "delete")
    tidy(world)
    second = passes.listed(world.database, world.job.id)[1]
    assert second.finished_at is None  # an empty collection is still to go
    [empty] = collections.claim_gone(world.database, loader, [world.job.id], 100)
    assert empty.path == "sub/empty"
    collections.removed(world.database, loader, [empty.directory_id])
    assert collections.claim_gone(world.database, loader, [world.job.id], 100) == []
    tidy(world)
    assert passes.listed(world.database, world.job.id)[1].finished_at is not None


def test_a_pass_with_held_deletions_ends_all_the_same(worlds: Worlds) -> None:
    world = started(worlds, rescan_seconds=3600)
    world.scan(numbered(10))
    tidy(world)
    tidy(world)
    second = passes.listed(world.database, world.job.id)[1]
    assert second.finished_at is not None


def test_jobs_that_do_not_delete_are_not_judged(worlds: Worlds) -> None:
    world = worlds()
    world.scan(numbered(100))
    load(world)
    world.scan(numbered(1))
    tidy(world)
    assert held.held(world.database, world.job.id).held == 0
    assert _events(world) == []
