"""Directories that are looked at without a claim: whatever happens meanwhile, a look changes nothing it did not see."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.sources.base import Entry
from core.sources.filesystem import FilesystemSource
from inventory import directories, housekeeping, listing, looks
from inventory.directories import ClaimedDirectory
from inventory.listing import Merge
from inventory.looks import Seen
from tests.integration.inventory_world import World
from tests.integration.test_watching import Counting, Watched

FILES = [Entry("a", "f", 1, 1), Entry("b", "f", 1, 1)]
COLUMNS = "id, state, claimed_by, scan_finished_at, next_scan_at, reaps"


@pytest.fixture
def listed(world: World) -> World:
    """Three directories with two files each, listed and due again."""
    world.scan([Entry(f"d{n}", "d", 0, 1) for n in range(3)])
    for number in range(3):
        world.scan(FILES, f"d{number}")
    world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE path <> ''")
    return world


def look(world: World, worker: int | None = None, limit: int = 100) -> list[ClaimedDirectory]:
    return directories.claim(world.database, worker or world.watcher, [world.job.id], limit, looking=True)


def end(world: World, looked: list[ClaimedDirectory], worker: int | None = None) -> int:
    return looks.unchanged(world.database, worker or world.watcher, [Seen(one, None) for one in looked], None)


def rows(world: World) -> list[tuple[object, ...]]:
    with world.database.begin() as connection:
        found = connection.exec_driver_sql(f"SELECT {COLUMNS} FROM inventory.directory WHERE path <> '' ORDER BY id")
        return [tuple(row) for row in found]


def test_a_look_writes_no_directory_before_its_end(listed: World) -> None:
    before = listed.one("SELECT array_agg((xmin, ctid)::text ORDER BY id) FROM inventory.directory")
    looked = look(listed)
    assert [one.path for one in looked] == ["d0", "d1", "d2"]
    assert listed.one("SELECT array_agg((xmin, ctid)::text ORDER BY id) FROM inventory.directory") == before
    assert end(listed, looked) == 3
    assert {row[1:3] for row in rows(listed)} == {("scanned", None)}
    assert listed.one("SELECT count(*) FROM inventory.directory WHERE next_scan_at IS NOT NULL") == 0


def test_others_pass_over_what_is_looked_at(listed: World) -> None:
    other = listed.worker("watcher")
    first = look(listed, limit=2)
    assert [one.path for one in look(listed, other)] == ["d2"]
    assert look(listed, other) == []
    assert first[0].look is not None
    looks.end(listed.database, [first[0].look.id])  # without having come to an end of the directories
    assert [one.path for one in look(listed, other)] == ["d0", "d1"]


def test_what_was_never_listed_or_is_not_known_is_claimed(listed: World) -> None:
    listed.execute("UPDATE inventory.directory SET listing_digest = NULL WHERE path = 'd1'")
    found = {one.path: one.look is None for one in look(listed)}
    assert found == {"d0": False, "d1": True, "d2": False}
    assert listed.one("SELECT count(*) FROM inventory.directory WHERE claimed_by IS NOT NULL") == 1


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE inventory.directory SET listing_digest = NULL",
        "UPDATE inventory.directory SET listing_digest = listing_digest + 1",
        "UPDATE inventory.directory SET next_scan_at = next_scan_at + interval '1 microsecond'",
        "UPDATE inventory.directory SET next_scan_at = NULL",
        "UPDATE inventory.directory SET state = 'scanning', claimed_by = 77",
        "UPDATE inventory.directory SET state = 'dead', next_scan_at = NULL",
        "UPDATE inventory.worker SET expired_at = now()",
    ],
)
def test_a_look_does_not_end_what_is_not_as_it_was(listed: World, meanwhile: str) -> None:
    looked = look(listed)
    listed.execute(meanwhile)
    before = rows(listed)
    assert end(listed, looked) == 0
    assert rows(listed) == before


def test_what_a_look_finds_changed_is_claimed_as_of_its_beginning(listed: World) -> None:
    looked = look(listed)
    listed.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE path = 'd1'")  # somebody asked meanwhile
    taken = looks.take(listed.database, listed.watcher, looked)
    assert sorted(one.path for one in taken.values()) == ["d0", "d2"]
    began = "SELECT count(*) FROM inventory.directory d JOIN inventory.look l ON d.scan_started_at = l.began_at"
    assert listed.one(began) == 2
    assert looks.take(listed.database, listed.worker("watcher"), looked[:1]) == {}


def test_a_file_that_was_named_during_a_look_has_not_vanished(listed: World) -> None:
    """Its name was not there yet when the directory was listed."""
    [looked] = look(listed, limit=1)
    listed.execute(
        "INSERT INTO inventory.file (directory_id, shard, name, size, modified_at) VALUES (:id, :shard, 'new', 1, now())",
        id=looked.id,
        shard=looked.shard,
    )
    [taken] = looks.take(listed.database, listed.watcher, [looked]).values()
    with listed.database.begin() as connection:
        merge = Merge(connection, listed.watcher)
        merge.add([(taken, FILES[:1])])
        merge.finish([taken], None)
    states = listed.one(
        "SELECT jsonb_object_agg(name, state) FROM inventory.file WHERE directory_id = :id", id=looked.id
    )
    assert states == {"a": "discovered", "b": "vanished", "new": "discovered"}
    again = "SELECT next_scan_at IS NOT NULL FROM inventory.directory WHERE id = :id"
    assert listed.one(again, id=looked.id)  # it is looked at once more


def test_the_dead_are_blamed_for_what_they_looked_at_and_it_is_claimed_then(listed: World) -> None:
    dead, gone = listed.worker("watcher"), listed.worker("watcher")
    assert len(look(listed, dead, 2)) == 2
    assert len(look(listed, gone)) == 1
    listed.execute("UPDATE inventory.worker SET expired_at = now() WHERE id = :id", id=dead)
    listed.execute("UPDATE inventory.worker SET stopped_at = now() WHERE id = :id", id=gone)
    housekeeping.tidy(listed.database, lease_seconds=3600, max_reaps=5)
    assert [row[-1] for row in rows(listed)] == [1, 1, 0]
    assert listed.one("SELECT count(*) FROM inventory.look") == 0
    assert [one.look is None for one in look(listed)] == [True, True, False]


def test_giving_back_all_ends_the_looks(listed: World) -> None:
    look(listed)
    directories.release_all(listed.database, listed.watcher)
    assert len(look(listed, listed.worker("watcher"))) == 3


def test_watchers_share_a_rescan_without_looking_twice(world: World, tmp_path: Path) -> None:
    for number in range(120):
        (tmp_path / f"d{number // 12}" / f"d{number}").mkdir(parents=True)
        (tmp_path / f"d{number // 12}" / f"d{number}" / "file").touch()
    watched = Watched(world, Counting(tmp_path))
    watched.turn(watched.watcher())
    watched.source.listed.clear()
    world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE job_id = :job", job=watched.job.id)
    (tmp_path / "d3" / "d40" / "new").touch()
    watched.share(
        f"SELECT count(*) FROM inventory.directory WHERE job_id = {watched.job.id} AND next_scan_at IS NOT NULL"
    )
    assert dict(watched.source.listed) == dict.fromkeys(watched.source.listed, 1)
    assert len(watched.source.listed) == 120 + 10 + 1
    assert world.one("SELECT count(*) FROM inventory.file") == 121
    assert world.one("SELECT count(*) FROM inventory.look") == 0


def test_a_directory_that_went_away_during_a_look_vanishes(world: World, tmp_path: Path) -> None:
    for name in ("kept/one", "gone/two"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    watched = Watched(world, FilesystemSource(str(tmp_path)))
    watcher = watched.watcher()
    watched.turn(watcher)
    (tmp_path / "gone" / "two").unlink()
    (tmp_path / "gone").rmdir()
    watched.again(watcher)
    assert world.counts() == {"discovered": 1, "vanished": 1}
    assert world.one("SELECT count(*) FROM inventory.look") == 0


def test_claims_by_name_stay_claims(listed: World) -> None:
    assert all(one.look is None for one in listing.claim(listed.database, listed.watcher, [listed.job.id], 10))


def test_a_root_that_is_empty_now_is_refused_after_a_look(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    watched = Watched(world, FilesystemSource(str(tmp_path)))
    watcher = watched.watcher()
    watched.turn(watcher)
    (tmp_path / "file").unlink()
    world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE job_id = :job", job=watched.job.id)
    watched.turn(watcher)
    assert world.counts() == {"discovered": 1}
    assert world.one("SELECT error FROM inventory.failure ORDER BY id DESC LIMIT 1") in ("source_empty", "source_away")
