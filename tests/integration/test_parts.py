"""A very large directory in parts: several watchers list it, and every name is in exactly one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from core.errors import Transient
from core.sources.base import WHOLE, Entry, Keys
from core.sources.s3_ranges import cut
from inventory.engine import Database
from tests.integration.inventory_world import World
from tests.integration.test_watching import Watched


class Sorted:
    """One directory of sorted names in memory, which is cut into parts as a bucket is."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.listed: list[Keys] = []

    def scan(self, directory: str, part: Keys = WHOLE) -> SortedListing:
        self.listed.append(part)
        return SortedListing(self, part)


class SortedListing(Iterator[Entry]):
    def __init__(self, source: Sorted, part: Keys) -> None:
        self._names = sorted(source.names)
        self._part = part
        self._waiting = iter([name for name in self._names if self._holds(name)])
        self._read = part.after

    def _holds(self, name: str) -> bool:
        return name > self._part.after and (self._part.until is None or name <= self._part.until)

    def __next__(self) -> Entry:
        self._read = next(self._waiting)
        if self._read.startswith("breaks"):
            raise Transient("EIO", "a page failed")
        return Entry(self._read, "f", 1, 1, "tag")

    def divide(self) -> list[Keys]:
        parts = cut(lambda after: next((n for n in self._names if n > after), None), self._read, self._part.until)
        if parts:
            self._waiting = iter(())
        return parts


def test_two_watchers_share_one_flat_directory(worlds: Callable[..., World]) -> None:
    world = worlds()
    with closing(Database(world.url, queue=True)) as first, closing(Database(world.url, queue=True)) as second:
        share_one_flat_directory(world, first, second)


def share_one_flat_directory(world: World, first: Database, second: Database) -> None:
    names = [f"k{number:05}" for number in range(0, 3000, 3)]
    watched = Watched(world, Sorted(names), rescan_seconds=0.001)
    one, other = watched.watcher(first, rows=100), watched.watcher(second, rows=100)
    for _ in range(200):
        one.step()
        other.step()
        if len(world.rows()) == len(names):
            break
    assert sorted(name for name, _ in world.rows()) == names
    lists = world.one("SELECT count(*) FROM inventory.directory WHERE job_id = :job", job=watched.job.id)
    assert lists > 5
    edges = world.one(
        """SELECT count(*) FROM inventory.directory a WHERE job_id = :job AND keys_until IS NOT NULL AND NOT EXISTS (
               SELECT FROM inventory.directory b WHERE b.job_id = :job AND b.path = a.path AND b.keys_after = a.keys_until)""",
        job=watched.job.id,
    )
    assert edges == 0
    assert world.one("SELECT count(DISTINCT shard) FROM inventory.file") > 1
    watched.source.names = [name for name in names if not name.endswith("0")] + ["k00000-new", "zzz"]
    gone = {name for name in names if name.endswith("0")}
    for _ in range(400):
        one.step()
        other.step()
        states = dict(world.rows())
        if {name for name, state in states.items() if state == "vanished"} == gone and "zzz" in states:
            break
    assert {name for name, state in dict(world.rows()).items() if state == "vanished"} == gone
    assert {"zzz", "k00000-new"} <= set(dict(world.rows()))


def test_a_part_whose_listing_fails_loses_nothing(worlds: Callable[..., World]) -> None:
    world = worlds()
    names = [f"k{number:04}" for number in range(500)]
    watched = Watched(world, Sorted(names), rescan_seconds=0.001)
    watcher = watched.watcher(rows=50)
    for _ in range(100):
        watcher.step()
        if len(world.rows()) == len(names):
            break
    watched.source.names = ["breaks", *names[:-20]]
    for _ in range(30):
        watcher.step()
    vanished = {name for name, state in world.rows() if state == "vanished"}
    assert vanished <= set(names[-20:])
    assert world.one("SELECT count(*) FROM inventory.failure WHERE stage = 'scan'") > 0
