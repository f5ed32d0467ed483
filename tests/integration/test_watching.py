"""The watcher's loop over a real tree and over sources in memory: what it lists, passes over, and holds back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.errors import Transient, Unavailable
from core.outcome import Changed, Done, Vanished
from core.settings import JobSettings, Settings
from core.sources.base import Entry
from core.sources.filesystem import FilesystemSource
from inventory import jobs
from inventory.claims import Result
from inventory.engine import Database
from inventory.jobs import Job
from inventory.pod import Member
from inventory.rota import Rota
from inventory.workers import Lease
from tests.integration.inventory_world import World
from watcher import pressure
from watcher.ahead import Ahead
from watcher.loop import WatchLoop


class Counting(FilesystemSource):
    """A tree that notes which directories were listed."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.listed: Counter[str] = Counter()

    def scan(self, directory: str) -> Iterator[Entry]:
        self.listed[directory] += 1
        return super().scan(directory)


class Flat:
    """One directory in memory; it may break off after some entries, once."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.breaks_after: int | None = None
        self.most_ahead = 0

    def scan(self, directory: str) -> Iterator[Entry]:
        for number, name in enumerate(self.names):
            if number == self.breaks_after:
                self.breaks_after = None
                raise Transient("EIO", "read error")
            yield Entry(name, "f", 1, 1)


class Watched:
    """A job of a source, and watchers of it."""

    def __init__(self, world: World, source: Any, **settings: Any) -> None:
        self.world = world
        self.source = source
        chosen = JobSettings.model_validate({"shards": 2} | settings)
        jobs.set_state(world.database, world.job.id, "stopped")
        self.job: Job = jobs.start(world.database, "watched", "memory://it", "/tempZone/home/rods", chosen)

    def watcher(self, database: Database | None = None, **settings: Any) -> WatchLoop:
        database = database or self.world.database
        lease = Lease(database, "watcher", "pod", "test")
        chosen = Settings.model_validate({"watcher": settings})
        return WatchLoop(Member(chosen, database, lease, Rota(database, lease.worker)), lambda url: self.source)

    def turn(self, watcher: WatchLoop) -> None:
        """Turn a watcher until it has nothing to do."""
        while watcher.step():
            pass

    def share(self, left: str) -> None:
        """Turn three watchers at once while the count that `left` selects is not 0. Raises what one of them raised."""
        broken = threading.Event()

        def watch(_: int) -> None:
            with closing(Database(self.world.url, queue=True)) as database:
                watcher = self.watcher(database, directories=7)
                try:
                    while not broken.is_set() and self.world.one(left):
                        watcher.step()
                    watcher.drain(1)
                except BaseException:
                    broken.set()
                    raise

        with ThreadPoolExecutor(3) as pool:
            for _ in pool.map(watch, range(3), timeout=60):
                pass

    def again(self, watcher: WatchLoop) -> None:
        self.world.execute(
            "UPDATE inventory.directory SET next_scan_at = now() WHERE job_id = :job AND state = 'scanned'",
            job=self.job.id,
        )
        self.turn(watcher)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/one", "a/two", "b/c/three", "four"):
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return tmp_path / "tree"


def test_a_tree_is_found_and_found_unchanged_without_a_write(world: World, tree: Path) -> None:
    watched = Watched(world, Counting(tree))
    watcher = watched.watcher()
    watched.turn(watcher)
    assert sorted(name for (name,) in world.rows("name")) == ["four", "one", "three", "two"]
    before = world.rows("xmin, ctid, name")
    watched.again(watcher)
    assert watched.source.listed == {"": 2, "a": 2, "b": 2, "b/c": 2}
    assert world.rows("xmin, ctid, name") == before


def test_changes_of_all_kinds_are_found_after_unchanged_scans(world: World, tree: Path) -> None:
    watched = Watched(world, FilesystemSource(str(tree)))
    watcher = watched.watcher()
    watched.turn(watcher)
    watched.again(watcher)
    (tree / "a/one").write_bytes(b"longer")
    (tree / "a/two").unlink()
    (tree / "b/new").write_bytes(b"")
    (tree / "b/c/three").unlink()
    (tree / "b/c").rmdir()
    watched.again(watcher)
    assert sorted(world.rows("name, state, generation")) == [
        ("four", "discovered", 1),
        ("new", "discovered", 1),
        ("one", "discovered", 2),
        ("three", "vanished", 1),
        ("two", "vanished", 1),
    ]
    assert world.progress() == world.counts()


@pytest.mark.parametrize("outcome", [Vanished(), Changed(77, 7)])
def test_a_listing_is_compared_again_after_a_loader_saw_something_else(
    world: World, tree: Path, outcome: Vanished | Changed
) -> None:
    """The file is back, or as it was, before the next scan: the listing is the last one, the row is not."""
    watched = Watched(world, FilesystemSource(str(tree)))
    watcher, loader = watched.watcher(), world.worker()
    watched.turn(watcher)
    files = Rota(world.database, loader).claim_files("load", 100)
    world.finish(loader, [Result(file, outcome) for file in files])
    watched.again(watcher)
    states = {name: (state, size) for name, state, size in world.rows("name, state, size")}
    assert all(states[file.name] == ("discovered", 1) for file in files)


def test_a_listing_that_meets_a_claimed_file_is_compared_again(world: World, tree: Path) -> None:
    watched = Watched(world, FilesystemSource(str(tree)))
    watcher, loader = watched.watcher(), world.worker()
    watched.turn(watcher)
    claimed = [file for _ in range(2) for file in Rota(world.database, loader).claim_files("load", 100)]
    (tree / "a/one").write_bytes(b"longer")
    (tree / "four").unlink()
    watched.again(watcher)
    assert world.counts() == {"loading": 4}
    world.finish(loader, [Result(file, Done("sha2:x")) for file in claimed])
    watched.again(watcher)  # the same listing as before, yet not merged then
    assert sorted(world.rows("name, state")) == [
        ("four", "vanished"), ("one", "discovered"), ("three", "loaded"), ("two", "loaded"),
    ]  # fmt: skip


def test_a_directory_that_was_away_for_one_scan_is_found_again(world: World, tree: Path) -> None:
    watched = Watched(world, FilesystemSource(str(tree)))
    watcher = watched.watcher()
    watched.turn(watcher)
    (tree / "a").rename(tree.parent / "a")
    # its parent is not listed meanwhile
    world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE path = 'a'")
    watched.turn(watcher)
    assert world.counts() == {"discovered": 2, "vanished": 2}
    (tree.parent / "a").rename(tree / "a")
    watched.again(watcher)
    assert world.counts() == {"discovered": 4}


def test_directories_are_passed_over_by_their_own_time_where_it_is_trusted(world: World, tree: Path) -> None:
    watched = Watched(world, Counting(tree), trust_directory_mtime=True)
    watcher = watched.watcher()
    watched.turn(watcher)
    watched.again(watcher)  # the time counts only once two scans have found it with the same listing
    watched.source.listed.clear()
    watched.again(watcher)
    assert watched.source.listed == {}
    (tree / "b/new").write_bytes(b"")
    watched.again(watcher)
    assert watched.source.listed == {"b": 1}
    assert ("new", "discovered") in world.rows()


def test_a_directory_is_not_passed_over_once_its_listing_was_unlearned(world: World, tree: Path) -> None:
    watched = Watched(world, Counting(tree), trust_directory_mtime=True)
    watcher, loader = watched.watcher(), world.worker()
    watched.turn(watcher)
    watched.again(watcher)
    for file in Rota(world.database, loader).claim_files("load", 100):
        world.finish(loader, [Result(file, Vanished())])
    assert "vanished" in world.counts()
    watched.again(watcher)
    assert world.counts() == {"discovered": 4}


def test_a_directory_larger_than_a_batch_comes_in_parts(world: World) -> None:
    names = [f"f{n:03}" for n in range(25)]
    watched = Watched(world, Flat(names))
    watcher = watched.watcher(rows=10)
    watched.turn(watcher)
    assert world.counts() == {"discovered": 25}
    watched.source.names = [*names[3:], "new"]
    watched.again(watcher)
    assert world.counts() == {"discovered": 23, "vanished": 3}
    assert world.one("SELECT count(*) FROM inventory.directory WHERE state <> 'scanned'") == 1  # of the other job


def test_a_large_directory_that_broke_off_loses_nothing_and_gains_nothing(world: World) -> None:
    watched = Watched(world, Flat([f"f{n:03}" for n in range(25)]))
    watcher = watched.watcher(rows=10)
    watched.source.breaks_after = 22
    watched.turn(watcher)
    assert world.counts() == {"discovered": 20}
    watched.source.breaks_after = 15
    watched.again(watcher)
    assert world.counts() == {"discovered": 20}  # what the broken listing does not name has not vanished
    world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE state = 'pending'")
    watched.turn(watcher)
    world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE state = 'pending'")
    watched.turn(watcher)
    assert world.counts() == {"discovered": 25}


def test_a_name_that_is_listed_twice_is_one_file(world: World) -> None:
    watched = Watched(world, Flat(["a", "b", "a"]))
    watched.turn(watched.watcher())
    assert sorted(world.rows()) == [("a", "discovered"), ("b", "discovered")]
    assert world.progress() == {"discovered": 2}


def test_a_job_with_too_much_to_load_is_not_scanned_further(
    world: World, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "REFRESH_SECONDS", 0.0)
    watched = Watched(world, Counting(tree))
    watcher = watched.watcher(max_backlog=1, directories=1)
    watched.turn(watcher)
    assert set(watched.source.listed) == {""}  # the root's one file fills the backlog
    loader = world.worker()
    for _ in range(4):
        files = Rota(world.database, loader).claim_files("load", 100)
        world.finish(loader, [Result(file, Done("sha2:x")) for file in files])
        watched.turn(watcher)
    assert set(watched.source.listed) == {"", "a", "b", "b/c"}
    assert sum(world.counts().values()) == 4


def test_several_watchers_share_one_tree(world: World, tmp_path: Path) -> None:
    for number in range(120):
        (tmp_path / f"d{number // 12}" / f"d{number}").mkdir(parents=True)
        (tmp_path / f"d{number // 12}" / f"d{number}" / "file").touch()
    watched = Watched(world, Counting(tmp_path))
    watched.share(
        "SELECT count(*) FROM inventory.directory"
        f" WHERE job_id = {watched.job.id} AND (state <> 'scanned' OR next_scan_at IS NOT NULL)"
    )
    assert len(watched.source.listed) == 120 + 10 + 1
    assert set(watched.source.listed.values()) == {1}  # each directory by one of them
    assert world.one("SELECT count(DISTINCT directory_id) FROM inventory.file") == 120


def test_a_step_that_breaks_off_gives_its_directories_back(
    world: World, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(world, FilesystemSource(str(tree)))
    watcher = watched.watcher()
    away: Callable[..., Any] = _away
    monkeypatch.setattr("watcher.loop.Merge.add_listings", away)
    with pytest.raises(Unavailable):
        watched.turn(watcher)
    monkeypatch.undo()
    watched.turn(watcher)
    assert world.counts() == {"discovered": 4}


def _away(*given: object) -> int:
    raise Unavailable("inventory does not answer", "wait")


def test_scanning_ahead_is_bounded_and_can_be_let_go() -> None:
    made: list[int] = []
    enough = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            if number == 4:
                enough.set()
            yield number

    ahead = Ahead(numbers(), 2)
    assert [ahead.take(10), ahead.take(10)] == [0, 1]
    assert enough.wait(10)
    assert len(made) == 5  # two taken, two that wait, one in hand
    ahead.close()
    ahead._thread.join(timeout=10)
    assert not ahead._thread.is_alive()
    with pytest.raises(TimeoutError):
        Ahead(iter(lambda: enough.wait(0.5) and threading.Event().wait(), None), 2).take(0.01)


def test_an_error_of_the_scan_reaches_who_takes() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("no number")

    ahead = Ahead(broken(), 2)
    assert ahead.take(10) == 1
    with pytest.raises(ValueError, match="no number"):
        ahead.take(10)


def test_what_was_scanned_is_told_for_the_charts(world: World, tmp_path: Path) -> None:
    for number in range(30):
        path = tmp_path / f"d{number % 3}" / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    watched = Watched(world, FilesystemSource(str(tmp_path)))
    watcher = watched.watcher()
    watched.turn(watcher)
    watcher.drain(1)
    told = "SELECT sum(files) FROM inventory.activity WHERE stage = 'scan' AND job_id = :job"
    assert world.one(told, job=watched.job.id) == 33
