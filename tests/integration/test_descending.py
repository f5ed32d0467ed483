"""What is found below a directory that was never scanned is listed in the same step, as far as it fits; the rest waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from core.errors import Permanent, Vanished
from core.sources.base import Entry
from inventory import housekeeping
from tests.integration.inventory_world import World
from tests.integration.test_watching import Watched
from watcher import scan


class Nested:
    """A tree in memory by paths of directories, with so many files in each; it notes what was listed."""

    def __init__(self, tree: dict[str, int]) -> None:
        self.tree = tree
        self.listed: Counter[str] = Counter()
        self.unreadable: set[str] = set()
        self.twice = False

    def scan(self, directory: str) -> Iterator[Entry]:
        self.listed[directory] += 1
        if directory not in self.tree:
            raise Vanished("ENOENT", f"{directory}: no such directory")
        if directory in self.unreadable:
            raise Permanent("EACCES", f"{directory}: permission denied", "make it readable")
        below = [path for path in self.tree if path and path.rpartition("/")[0] == directory]
        for path in below * (2 if self.twice else 1):
            yield Entry(path.rpartition("/")[2], "d", 0, 1)
        for number in range(self.tree[directory]):
            yield Entry(f"f{number}", "f", 1, 1)


TREE = {"": 1, "a": 2, "a/b": 1, "a/b/c": 3, "d": 0}


def states(world: World, job: int) -> dict[str, str]:
    with world.database.begin() as connection:
        rows = connection.exec_driver_sql(f"SELECT path, state FROM inventory.directory WHERE job_id = {job}")
        return dict(map(tuple, rows))


def due(world: World, job: int) -> int:
    counted = "SELECT count(*) FROM inventory.directory WHERE job_id = :job AND next_scan_at IS NOT NULL"
    return int(world.one(counted, job=job))


def parents(world: World, job: int) -> dict[str, str | None]:
    with world.database.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT d.path, p.path FROM inventory.directory d LEFT JOIN inventory.directory p ON p.id = d.parent_id"
            f" WHERE d.job_id = {job}"
        )
        return dict(map(tuple, rows))


def test_a_small_tree_is_one_claim(world: World) -> None:
    watched = Watched(world, Nested(TREE))
    watched.turn(watched.watcher())
    assert watched.source.listed == dict.fromkeys(TREE, 1)
    assert states(world, watched.job.id) == dict.fromkeys(TREE, "scanned")
    assert parents(world, watched.job.id) == {"": None, "a": "", "a/b": "a", "a/b/c": "a/b", "d": ""}
    assert world.counts() == {"discovered": 7} == world.progress()
    assert due(world, watched.job.id) == 0
    assert world.one("SELECT count(DISTINCT shard) FROM inventory.file") == 2


def test_what_was_listed_at_once_is_rescanned_like_any_other(world: World) -> None:
    watched = Watched(world, Nested(dict(TREE)), rescan_seconds=3600)
    watcher = watched.watcher()
    watched.turn(watcher)
    assert states(world, watched.job.id) == dict.fromkeys(TREE, "scanned")
    assert due(world, watched.job.id) == len(TREE)
    before = world.rows("xmin, ctid, name")
    watched.again(watcher)
    assert watched.source.listed == dict.fromkeys(TREE, 2)
    assert world.rows("xmin, ctid, name") == before
    watched.source.tree |= {"a/b/c": 4, "d/new": 2}
    del watched.source.tree["a/b"]
    watched.again(watcher)
    watched.again(watcher)
    assert parents(world, watched.job.id)["d/new"] == "d"
    assert states(world, watched.job.id)["a/b"] == "vanished"
    assert world.counts() == {"discovered": 9, "vanished": 1}


def test_what_does_not_fit_waits_for_any_watcher(world: World) -> None:
    watched = Watched(world, Nested({"": 0} | {f"d{n}": 2 for n in range(6)}))
    first = watched.watcher(directories=3)
    while not world.counts():
        first.step()
    assert sorted(states(world, watched.job.id).values()) == ["pending"] * 4 + ["scanned"] * 3
    first.drain(1)
    watched.turn(watched.watcher())
    assert watched.source.listed == {"": 1} | {f"d{n}": 1 for n in range(6)}
    assert world.counts() == {"discovered": 12}


def test_nobody_descends_for_longer_than_others_should_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "DESCEND_SECONDS", 0.0)
    watched = Watched(world, Nested(TREE))
    watcher = watched.watcher()
    while not world.counts():
        watcher.step()
    assert states(world, watched.job.id) == {"": "scanned", "a": "pending", "d": "pending"}
    watched.turn(watcher)
    assert world.counts() == {"discovered": 7}


def test_a_directory_that_comes_in_parts_is_left_to_a_claim(world: World) -> None:
    watched = Watched(world, Nested({"": 1, "large": 25, "small": 2}))
    watched.turn(watched.watcher(rows=10))
    assert world.counts() == {"discovered": 28}
    assert watched.source.listed["large"] == 2
    assert states(world, watched.job.id) == dict.fromkeys(("", "large", "small"), "scanned")


def test_what_cannot_be_read_is_told_when_it_is_claimed(world: World) -> None:
    watched = Watched(world, Nested(TREE))
    watched.source.unreadable = {"a/b"}
    watched.turn(watched.watcher())
    assert states(world, watched.job.id) == {"": "scanned", "a": "scanned", "a/b": "dead", "d": "scanned"}
    assert world.one("SELECT error FROM inventory.failure WHERE stage = 'scan'") == "EACCES"
    assert world.counts() == {"discovered": 3}


def test_a_directory_that_is_named_twice_is_listed_once(world: World) -> None:
    watched = Watched(world, Nested(TREE))
    watched.source.twice = True
    watched.turn(watched.watcher())
    assert world.counts() == {"discovered": 7} == world.progress()


def test_a_directory_that_is_there_already_stays_as_it_is(world: World) -> None:
    watched = Watched(world, Nested(TREE))
    root = world.one("SELECT id FROM inventory.directory WHERE job_id = :job", job=watched.job.id)
    world.execute(
        "INSERT INTO inventory.directory (job_id, parent_id, shard, path, state, next_scan_at)"
        " VALUES (:job, :root, :shard, 'd', 'dead', NULL)",
        job=watched.job.id,
        root=root,
        shard=watched.job.shards[0],
    )
    watched.turn(watched.watcher())
    assert states(world, watched.job.id) == dict.fromkeys(TREE, "scanned") | {"d": "dead"}
    assert world.counts() == {"discovered": 7} == world.progress()


def test_a_watcher_that_was_taken_for_dead_inserts_nothing_that_it_found(world: World) -> None:
    watched = Watched(world, Nested(TREE))
    zombie = watched.watcher()
    zombie._begin_scan()
    world.execute("UPDATE inventory.worker SET expired_at = now()")
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)
    while zombie._scans:
        zombie._take(zombie._scans[0])
    assert states(world, watched.job.id) == {"": "pending"}
    assert world.counts() == {}
    watched.turn(watched.watcher())
    assert world.counts() == {"discovered": 7}


def test_files_that_have_to_settle_are_not_found_at_once(world: World) -> None:
    watched = Watched(world, Nested(TREE), settle_seconds=60)
    watcher = watched.watcher()
    watched.turn(watcher)
    assert world.counts() == {"discovered": 7}
    assert due(world, watched.job.id) == 0  # their times are of 1970: settled
