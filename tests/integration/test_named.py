"""Files that are named, by a manifest or a notice: they are inserted once, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UsageError
from core.outcome import Done
from core.settings import JobSettings, S3Settings
from core.sources.base import Entry, Keys
from inventory import jobs, listing, named, parts
from inventory.claims import Result
from inventory.listing import Merge
from inventory.named import Named
from scripts.jobs.add import feed
from tests.integration.inventory_world import World

Worlds = Callable[..., World]


def one(path: str, size: int = 1, tag: str | None = None) -> Named:
    directory, _, name = path.rpartition("/")
    return Named(directory, name, Entry(name, "f", size, 1_700_000_000_000_000, tag))


def add(world: World, *files: Named) -> named.Added:
    return named.add(world.database, world.job.id, files, shared_suffix="%2F")


def paths(world: World) -> dict[str, str]:
    with world.database.begin() as connection:
        found = connection.exec_driver_sql(
            """SELECT concat_ws('/', nullif(d.path, ''), f.name), f.state FROM inventory.file f
               JOIN inventory.directory d ON d.id = f.directory_id"""
        )
        return {row[0]: row[1] for row in found}


def test_named_files_are_inserted_once_and_sent_back_when_they_change(world: World) -> None:
    world.add("known")
    for _ in range(2):
        assert add(world, one("a/b/c"), one("a/b/c"), one("new"), one("known")) == (0, [])
    assert world.rows("name, size, generation") == [("known", 1, 1), ("new", 1, 1), ("c", 1, 1)]
    loader = world.worker()
    world.finish(loader, [Result(file, Done("sha2:x")) for file in world.claim(loader)])
    add(world, one("new", size=2), one("known"))
    assert dict(world.rows()) == {"known": "loaded", "new": "discovered", "c": "loaded"}
    assert (
        world.one("SELECT count(*) FROM inventory.directory WHERE state = 'pending'") == 2
    )  # a and a/b are to be listed


def test_a_file_that_a_worker_has_is_left_to_it_and_looked_at_again(world: World) -> None:
    world.add("a")
    world.execute("UPDATE inventory.directory SET next_scan_at = NULL")
    claimed = world.claim(world.worker())
    assert add(world, one("a", size=9)) == (1, [])
    assert world.rows("name, size, state") == [("a", 1, "loading")]
    assert len(claimed) == 1
    assert world.one("SELECT next_scan_at < now() + interval '1 minute' FROM inventory.directory")


def test_what_is_named_during_a_scan_has_not_vanished_from_it(world: World) -> None:
    world.add("a")
    world.execute("UPDATE inventory.directory SET next_scan_at = now()")
    [directory] = listing.claim(world.database, world.watcher, [world.job.id], 10)
    add(world, one("late"))
    with world.database.begin() as connection:
        merge = Merge(connection, world.watcher)
        merge.add([(directory, [])])
        assert merge.finish([directory], None) == [directory.id]
    assert dict(world.rows()) == {"a": "vanished", "late": "discovered"}
    assert world.one("SELECT next_scan_at < now() + interval '1 minute' FROM inventory.directory")
    world.scan([])
    assert dict(world.rows()) == {"a": "vanished", "late": "vanished"}


def test_a_directory_with_named_files_is_not_cut_into_parts(world: World) -> None:
    add(world, one("a"))
    [directory] = listing.claim(world.database, world.watcher, [world.job.id], 10)
    assert not directory.first


def test_a_directory_that_is_listed_for_the_first_time_is_named_again_later(world: World) -> None:
    [directory] = listing.claim(world.database, world.watcher, [world.job.id], 10)
    assert add(world, one("m")).later == [one("m")]
    with world.database.begin() as connection:
        assert parts.divide(connection, world.watcher, directory, [Keys("g", "p"), Keys("p")])
        Merge(connection, world.watcher).finish([directory], None)
    assert add(world, one("m"), one("z"), one("a")).later == []
    placed = world.one(
        """SELECT array_agg(d.keys_after || ':' || f.name ORDER BY name) FROM inventory.file f
           JOIN inventory.directory d ON d.id = f.directory_id"""
    )
    assert placed == [":a", "g:m", "p:z"]
    assert named.look_at(world.database, world.job.id, [("", "q"), ("no/such", "x")]) == 1


def test_a_name_shared_with_a_directory_gets_one_of_its_own(world: World) -> None:
    add(world, one("a"), one("a/b"))
    assert set(paths(world)) == {"a%2F", "a/b"}


def test_a_manifest_is_a_pass_of_its_own_in_which_nothing_is_listed(worlds: Worlds, tmp_path: Path) -> None:
    world = worlds()
    settings = JobSettings(manifest="/list", shards=1, exclude=("no*",))
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    for name in ("a", "d/b", "not"):
        (source / name).write_bytes(b"xyz")
    job = jobs.start(world.database, "by-manifest", source.as_uri(), "/tempZone/home/rods", settings)
    assert listing.claim(world.database, world.watcher, [job.id], 10) == []
    manifest = tmp_path / "list"
    manifest.write_bytes(b"./a\0d\0d/b\0not\0missing\0")
    assert (
        feed(world.database, job, manifest, S3Settings())
        == f"4 files of {manifest} are in the inventory, 1 left out by the job's filters"
    )
    assert paths(world) == {"a": "discovered", "d/b": "discovered", "missing": "discovered"}
    assert world.one("SELECT sum(size)::int FROM inventory.file") == 6
    left = "SELECT count(*) FROM inventory.directory WHERE job_id = :job AND next_scan_at IS NOT NULL"
    assert world.one(left, job=job.id) == 0
    named.add_of_manifest(world.database, job.id, [one("e")], shared_suffix="")
    assert world.one(left, job=job.id) == 1  # a second one holds the job open until its own end
    with pytest.raises(UsageError, match="manifest"):
        jobs.rescan(world.database, job.id)
    jobs.set_state(world.database, job.id, "cancelled")
    with pytest.raises(UsageError, match="cancelled"):
        named.add_of_manifest(world.database, job.id, [one("f")], shared_suffix="")
