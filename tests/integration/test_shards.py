"""Shards: made for a job's size, added while it runs, archived and dropped one by one."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import pytest
from sqlalchemy import event

from core.errors import Unavailable, UsageError
from core.outcome import Dead, Done
from core.settings import JobSettings
from core.sources.base import Entry
from inventory import archive, claims, jobs, partitions
from inventory.claims import Result
from inventory.engine import Database, copy
from tests.fault.held import Aside, held, waits_for_a_lock
from tests.integration.inventory_world import World


def partitions_of(world: World) -> int:
    count: int = world.one("SELECT count(*) FROM pg_inherits WHERE inhparent = 'inventory.file'::regclass")
    return count


def test_a_job_has_shards_for_its_expected_files() -> None:
    assert partitions.shards_for(JobSettings(shards=4)) == 4
    assert partitions.shards_for(JobSettings(shards=4, expected_files=40_000_000)) == 4
    assert partitions.shards_for(JobSettings(shards=4, expected_files=40_000_001)) == 5
    assert partitions.shards_for(JobSettings(expected_files=40_000_000_000)) == 4000


def test_more_shards_than_one_transaction_makes(worlds: Callable[..., World]) -> None:
    world = worlds(shards=partitions.AT_ONCE + 2)
    assert len(world.job.shards) == partitions.AT_ONCE + 2 == partitions_of(world)


def test_a_new_partition_has_the_indexes_of_the_others(world: World) -> None:
    [shard] = partitions.add_shards(world.database, world.job.id, 1)
    assert world.one("SELECT count(*) FROM pg_indexes WHERE tablename = 'file_' || :new", new=str(shard)) == world.one(
        "SELECT count(*) FROM pg_indexes WHERE tablename = 'file'"
    )
    attached = world.one(
        "SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid"
        " WHERE i.indrelid = CAST('inventory.file_' || :new AS regclass)",
        new=str(shard),
    )
    assert attached == world.one("SELECT count(*) FROM pg_indexes WHERE tablename = 'file'")


def test_a_shard_is_added_while_others_claim_and_read(world: World, inventory_url: str) -> None:
    world.add("a")
    reader = Database(inventory_url)
    with reader.begin() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM inventory.file")  # holds its lock to the end
        [shard] = partitions.add_shards(world.database, world.job.id, 1)
        assert len(world.claim(world.worker())) == 1
    reader.close()
    assert shard in jobs.listed(world.database)[0].shards


def test_a_full_job_grows_and_new_directories_go_to_the_new_shards(world: World) -> None:
    world.scan([Entry("a", "f", 1, 1), Entry("b", "f", 1, 1)])
    assert partitions.grow(world.database, world.job.id, files_per_shard=3) == []
    [new] = partitions.grow(world.database, world.job.id, files_per_shard=2)
    assert partitions.grow(world.database, world.job.id, files_per_shard=2) == []  # the new one has room
    world.scan([Entry("a", "f", 1, 1), Entry("b", "f", 1, 1), *(Entry(f"d{n}", "d", 0, 1) for n in range(9))])
    assert world.one("SELECT array_agg(DISTINCT shard) FROM inventory.directory WHERE path <> ''") == [new]
    world.scan([Entry("c", "f", 1, 1)], path="d3")
    assert world.rows("name, shard")[-1] == ("c", new)
    assert world.progress() == world.counts() == {"discovered": 3}


def finished(world: World) -> World:
    """A job of two files in two directories, one verified and one dead, that is at its end."""
    world.scan([Entry("sub", "d", 0, 1), Entry('a, "b"', "f", 3, 1_700_000_000_000_000)])
    world.scan([Entry("c", "f", 4, 1)], path="sub")
    loader = world.worker()
    good, bad = world.claim(loader)
    world.finish(loader, [Result(good, Done("sha2:x")), Result(bad, Dead("EACCES", "may not be read"))])
    world.finish(loader, [Result(file, Done()) for file in world.claim(loader, "verify")], "verify")
    jobs.set_state(world.database, world.job.id, "stopped")
    return world


def test_a_finished_job_is_archived_and_dropped(worlds: Callable[..., World], tmp_path: Path) -> None:
    world = finished(worlds(shards=2))
    other = jobs.start(world.database, "other", "file:///other", "/tempZone/home/rods", JobSettings(shards=1))
    assert partitions.drop_job(world.database, world.job.id, tmp_path / "kept") == 2
    kept = tmp_path / "kept" / f"job-{world.job.id}"
    found: dict[tuple[str, str], dict[str, str]] = {}
    for shard in world.job.shards:
        with gzip.open(kept / f"shard-{shard}.csv.gz", "rt", newline="") as lines:
            found |= {(row["directory"], row["name"]): row for row in csv.DictReader(lines)}
    assert {key: (row["state"], row["size"], row["checksum"]) for key, row in found.items()} == {
        ("", 'a, "b"'): ("verified", "3", "sha2:x"),
        ("sub", "c"): ("dead", "4", ""),
    }
    assert [row["error"] for row in _rows(kept / "failures.csv.gz")] == ["EACCES"]
    assert [row["path"] for row in _rows(kept / "directories.csv.gz")] == ["", "sub"]
    assert [row["name"] for row in _rows(kept / "job.csv.gz")] == ["job"]
    assert not list(tmp_path.glob("**/*.part"))
    assert [job.id for job in jobs.listed(world.database)] == [other.id]
    assert partitions_of(world) == 1
    for table in ("file", "failure", "progress", "progress_delta"):
        assert world.one(f"SELECT count(*) FROM inventory.{table}") == 0
    assert world.one("SELECT count(*) FROM inventory.directory") == 1


def test_an_archive_is_read_back_as_the_docs_say(worlds: Callable[..., World], tmp_path: Path) -> None:
    world = finished(worlds(shards=2))
    partitions.drop_job(world.database, world.job.id, tmp_path)
    said = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text()
    [create] = re.findall(r"CREATE TABLE archived .*?;", said, re.DOTALL)
    with world.database.begin() as connection:
        connection.exec_driver_sql(create)
        for shard in sorted(tmp_path.glob("job-*/shard-*.csv.gz")):
            with gzip.open(shard, "rb") as rows:
                copy(connection, "COPY archived FROM STDIN (FORMAT csv, HEADER)", cast(IO[bytes], rows))
    kept = "SELECT array_agg((directory, name, state, size, load_attempts)::text ORDER BY directory) FROM archived"
    assert world.one(kept) == ['("","a, ""b""",verified,3,1)', "(sub,c,dead,4,1)"]


def test_a_removal_waits_for_work_of_other_jobs_but_holds_none_up(
    worlds: Callable[..., World], inventory_url: str, tmp_path: Path
) -> None:
    world = finished(worlds(shards=2))
    other = jobs.start(world.database, "other", "file:///other", "/tempZone/home/rods", JobSettings(shards=1))
    number, world.job = world.job.id, other
    world.add("x", "y")
    slow, quick = world.worker(), world.worker()
    [first], [second] = world.claim(slow, limit=1), world.claim(quick, limit=1)
    done = [Result(first, Done("sha2:x"))]
    with held(inventory_url, lambda database: claims.finish(database, slow, "load", done, claims.Limits())):
        removal = Aside(lambda: partitions.drop_job(world.database, number, tmp_path))
        waits_for_a_lock(world.database)
        assert world.finish(quick, [Result(second, Done("sha2:y"))]) == 0
        assert not removal.ended
    assert removal.value() == 2
    assert world.counts() == {"loaded": 2}


def test_a_removal_that_was_cut_short_goes_on(worlds: Callable[..., World], tmp_path: Path) -> None:
    world = finished(worlds(shards=2))
    first = world.job.shards[0]
    folder = tmp_path / f"job-{world.job.id}"
    archive.job(world.database, world.job.id, folder)
    archive.shard(world.database, first, folder)
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    partitions._detach(world.database, first)
    partitions._detach(world.database, first)  # a second time there is nothing to do
    partitions._drop(world.database, first)
    assert partitions.drop_job(world.database, world.job.id, tmp_path) == 2
    for name, written in kept.items():
        assert (folder / name).read_bytes() == written
    assert partitions_of(world) == 0


def test_a_job_whose_removal_was_cut_short_is_never_resumed(worlds: Callable[..., World]) -> None:
    """Half of its files are gone while its directories count as listed: nothing would bring those again."""
    world = finished(worlds(shards=2))
    reader = Database(world.database.engine.url.render_as_string(hide_password=False))
    with reader.begin() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM inventory.file")
        with pytest.raises(Unavailable):
            _with_short_patience(world, lambda: partitions.drop_job(world.database, world.job.id, None))
    reader.close()
    with pytest.raises(UsageError, match="cancelled"):
        jobs.set_state(world.database, world.job.id, "running")
    with pytest.raises(UsageError, match="cancelled"):
        jobs.rescan(world.database, world.job.id)
    assert partitions.drop_job(world.database, world.job.id, None) == 2


def test_a_running_job_and_one_whose_files_are_held_are_not_removed(world: World) -> None:
    world.add("a")
    with pytest.raises(UsageError, match="is running"):
        partitions.drop_job(world.database, world.job.id, None)
    loader = world.worker()
    files = world.claim(loader)
    jobs.set_state(world.database, world.job.id, "stopped")
    with pytest.raises(UsageError, match="still hold"):
        partitions.drop_job(world.database, world.job.id, None)
    world.finish(loader, [Result(file, Done("sha2:x")) for file in files])
    assert partitions.drop_job(world.database, world.job.id, None) == 1
    with pytest.raises(UsageError, match="no job"):
        partitions.drop_job(world.database, world.job.id, None)


def test_a_removal_waits_for_no_report_for_ever_and_can_be_begun_again(world: World, inventory_url: str) -> None:
    finished(world)
    reader = Database(inventory_url)
    with reader.begin() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM inventory.file")
        with pytest.raises(Unavailable, match="cannot be detached"):
            _with_short_patience(world, lambda: partitions.drop_job(world.database, world.job.id, None))
    reader.close()
    assert partitions.drop_job(world.database, world.job.id, None) == 1
    assert partitions_of(world) == 0


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def _with_short_patience(world: World, do: Callable[[], object]) -> None:
    @event.listens_for(world.database.engine, "checkout")
    def hurry(connection: object, *rest: object) -> None:
        with connection.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute("SET lock_timeout = '200ms'")

    try:
        do()
    finally:
        event.remove(world.database.engine, "checkout", hurry)
        world.database.engine.dispose()
