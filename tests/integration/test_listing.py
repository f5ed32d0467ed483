"""Discovery: new, changed, vanished and unsettled files, and the fence of a watcher that was taken for dead."""

from __future__ import annotations

from collections.abc import Callable

from core.outcome import Done
from core.sources.base import Entry
from inventory import housekeeping, jobs, listing
from inventory.claims import Result
from inventory.listing import Merge
from tests.integration.inventory_world import World

OLD = 1_700_000_000_000_000


def test_entries_become_rows_and_directories(world: World) -> None:
    world.scan([Entry("a", "f", 3, OLD), Entry("link", "l", 1, OLD), Entry("sub", "d", 0, OLD)])
    assert world.rows("name, kind, state, size") == [("a", "f", "discovered", 3), ("link", "l", "skipped", 1)]
    assert world.one("SELECT state FROM inventory.directory WHERE path = 'sub'") == "pending"
    assert world.progress() == {"discovered": 1, "skipped": 1}


def test_names_survive_copy(world: World) -> None:
    names = ["tab\t", "line\nbreak", "back\\slash", "\\N", "quote'\"", "percent%25", "ünïcödé", " "]
    world.scan([Entry(name, "f", 1, OLD) for name in names])
    assert sorted(name for (name,) in world.rows("name")) == sorted(names)


def test_an_unchanged_rescan_writes_no_file(world: World) -> None:
    world.add("a", "b")
    before = world.rows("xmin, ctid, name")
    world.add("a", "b")
    assert world.rows("xmin, ctid, name") == before


def test_a_changed_file_is_a_new_generation_and_keeps_no_stamp(world: World) -> None:
    world.add("a")
    loader = world.worker()
    world.finish(loader, [Result(file, Done("sha2:x")) for file in world.claim(loader)])
    world.add("a", size=2)
    assert world.rows("state, generation, size, load_finished_at, checksum") == [("discovered", 2, 2, None, None)]


def test_a_change_while_loading_waits_for_the_loader(world: World) -> None:
    world.add("a")
    loader = world.worker()
    [file] = world.claim(loader)
    world.add("a", size=2)
    assert world.rows("state, generation, size") == [("loading", 1, 1)]
    assert world.finish(loader, [Result(file, Done("sha2:x"))]) == 0
    world.add("a", size=2)  # the row kept the old size, so the next look sees the change
    assert world.rows("state, generation, size") == [("discovered", 2, 2)]


def test_a_missing_file_vanishes_and_comes_back(world: World) -> None:
    world.add("a", "b")
    world.add("a")
    assert world.rows() == [("a", "discovered"), ("b", "vanished")]
    world.add("a", "b")
    assert world.rows("name, state, generation") == [("a", "discovered", 1), ("b", "discovered", 2)]


def test_a_missing_directory_is_scanned_once_more_and_takes_all_below_it(world: World) -> None:
    world.scan([Entry("sub", "d", 0, OLD)])
    world.scan([Entry("deep", "d", 0, OLD), Entry("a", "f", 1, OLD)], path="sub")
    world.scan([Entry("b", "f", 1, OLD)], path="sub/deep")
    world.scan([])
    for path in ("sub", "sub/deep"):
        [directory] = listing.claim(world.database, world.watcher, [world.job.id], 10)
        assert directory.path == path
        with world.database.begin() as connection:
            assert Merge(connection, world.watcher).vanish(directory)
    assert world.counts() == {"vanished": 2}
    assert world.one("SELECT count(*) FROM inventory.directory WHERE state = 'vanished'") == 2


def test_a_young_file_waits_until_a_later_look_finds_it_unchanged(worlds: Callable[..., World]) -> None:
    world = worlds(settle_seconds=3600)
    young = world.one("SELECT (extract(epoch FROM now()) * 1000000)::bigint")
    world.scan([Entry("young", "f", 1, young), Entry("old", "f", 1, OLD)])
    loader = world.worker()
    assert [file.name for file in world.claim(loader)] == ["old"]
    assert world.one("SELECT next_scan_at > now() FROM inventory.directory")  # even in a single pass
    world.scan([Entry("young", "f", 2, young), Entry("old", "f", 1, OLD)])
    world.execute("UPDATE inventory.file SET discovered_at = discovered_at - interval '2 hours'")
    world.scan([Entry("young", "f", 3, young), Entry("old", "f", 1, OLD)])
    assert world.claim(loader) == []  # it changed between two looks
    world.execute("UPDATE inventory.file SET discovered_at = discovered_at - interval '2 hours'")
    world.scan([Entry("young", "f", 3, young), Entry("old", "f", 1, OLD)])
    assert [file.name for file in world.claim(loader)] == ["young"]
    assert world.one("SELECT next_scan_at FROM inventory.directory") is None


def test_a_large_directory_is_merged_in_parts_and_nothing_vanishes_between_them(world: World) -> None:
    world.add("a", "b", "c", "gone")
    world.execute("UPDATE inventory.directory SET next_scan_at = now()")
    [directory] = listing.claim(world.database, world.watcher, [world.job.id], 10)
    for number, part in enumerate((["a", "b"], ["c", "d"])):
        with world.database.begin() as connection:
            merge = Merge(connection, world.watcher)
            merge.add([(directory, [Entry(name, "f", 1, OLD) for name in part])])
            merge.remember(first_part=number == 0)
    with world.database.begin() as connection:
        assert Merge(connection, world.watcher).finish([directory], None, remembered=4)
    assert world.counts() == {"discovered": 4, "vanished": 1}


def test_a_watcher_taken_for_dead_changes_nothing(world: World) -> None:
    world.add("a")
    zombie = world.worker("watcher")
    world.execute("UPDATE inventory.directory SET next_scan_at = now()")
    [directory] = listing.claim(world.database, zombie, [world.job.id], 10)
    world.execute("UPDATE inventory.worker SET heartbeat_at = now() - interval '1 hour' WHERE id = :id", id=zombie)
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)
    with world.database.begin() as connection:
        merge = Merge(connection, zombie)
        merge.add([(directory, [Entry("ghost", "f", 1, OLD), Entry("phantom", "d", 0, OLD)])])
        assert merge.finish([directory], None) == []
    assert world.rows() == [("a", "discovered")]
    assert world.one("SELECT count(*) FROM inventory.directory") == 1
    assert listing.claim(world.database, zombie, [world.job.id], 10) == []


def test_a_failed_scan_backs_off_or_waits_for_a_person(world: World) -> None:
    for retry, state in ((30.0, "pending"), (None, "dead")):
        world.execute("UPDATE inventory.directory SET next_scan_at = now()")
        [directory] = listing.claim(world.database, world.watcher, [world.job.id], 10)
        assert listing.fail(world.database, world.watcher, directory, "EACCES", "no entry", retry_seconds=retry)
        assert world.one("SELECT state FROM inventory.directory") == state
    assert world.one("SELECT count(*) FROM inventory.failure WHERE stage = 'scan' AND error = 'EACCES'") == 2


def test_a_rescan_looks_at_everything_again(world: World) -> None:
    world.add("a")
    assert listing.claim(world.database, world.watcher, [world.job.id], 10) == []
    jobs.rescan(world.database, world.job.id)
    assert len(listing.claim(world.database, world.watcher, [world.job.id], 10)) == 1
