"""A directory whose scan kills every watcher is a dead letter at last; those that were unlucky beside it are scanned."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from core.errors import Unavailable
from core.sources.base import Entry
from inventory import directories, housekeeping, listing
from inventory.directories import Places
from tests.integration.inventory_world import World
from tests.integration.test_descending import Nested, states
from tests.integration.test_watching import Watched
from watcher.loop import WatchLoop


class Poisoned(Nested):
    """A tree in which the listing of `poison` never ends, as that of a watcher that is killed over it."""

    def __init__(self, tree: dict[str, int]) -> None:
        super().__init__(tree)
        self.deadly = threading.Event()
        self.over = threading.Event()

    def scan(self, directory: str) -> Iterator[Entry]:
        if directory == "poison":
            self.deadly.set()
            assert self.over.wait(60)
        yield from super().scan(directory)


def die(world: World, watcher: WatchLoop, max_reaps: int = 5) -> None:
    world.execute("UPDATE inventory.worker SET expired_at = now() WHERE id = :id", id=watcher._member.worker)
    housekeeping.tidy(world.database, lease_seconds=3600, max_reaps=max_reaps)
    for scan in watcher._scans:
        scan.close()


def test_a_directory_that_kills_watchers_is_dead_and_its_neighbours_are_not(world: World) -> None:
    tree = {"": 1, "poison": 1} | {f"d{n}": 2 for n in range(4)} | {f"q{n}": 2 for n in range(4)}
    watched = Watched(world, Poisoned(tree))
    deaths = 0
    while states(world, watched.job.id).get("poison") != "dead":
        watched.source.deadly.clear()
        watched.source.over.clear()
        watcher = watched.watcher()
        while not watched.source.deadly.is_set():
            assert watcher.step()
        while watcher._suspect is None and watcher.step() and not watched.source.deadly.is_set():
            pass
        die(world, watcher)
        watched.source.over.set()
        deaths += 1
        assert deaths < 10
    # the first was counted against the root, from which it was found; two against all children that were not done yet
    assert deaths == 6
    watched.turn(watched.watcher())
    assert states(world, watched.job.id) == dict.fromkeys(tree, "scanned") | {"poison": "dead"}
    assert world.counts() == {"discovered": 17}
    assert world.one("SELECT sum(reaps) FROM inventory.directory WHERE path <> 'poison'") == 0
    with world.database.begin() as connection:
        failure = connection.exec_driver_sql("SELECT stage, error, attempt, permanent FROM inventory.failure").one()
    assert tuple(failure) == ("reap", "poison", 5, True)


def test_a_watcher_that_said_goodbye_is_counted_against_nothing(world: World) -> None:
    watched = Watched(world, Nested({"": 1}))
    for _ in range(6):
        watcher = watched.watcher()
        watcher._begin_scan()
        watcher._member.lease.goodbye()
        housekeeping.tidy(world.database, lease_seconds=3600, max_reaps=3)
        for scan in watcher._scans:
            scan.close()
    assert world.one("SELECT max(reaps) FROM inventory.directory") == 0
    watched.turn(watched.watcher())
    assert world.counts() == {"discovered": 1}


def test_a_claim_whose_answer_was_lost_is_given_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(world, Nested({"": 1}))
    watcher = watched.watcher()
    real = listing.claim

    def unanswered(*given: object, **named: object) -> object:
        real(*given, **named)  # type: ignore[arg-type]
        raise Unavailable("the connection broke in the commit", "wait")

    monkeypatch.setattr("watcher.loop.listing.claim", unanswered)
    with pytest.raises(Unavailable):
        watcher.step()
    assert states(world, watched.job.id) == {"": "scanning"}
    monkeypatch.undo()
    watched.turn(watcher)
    assert world.counts() == {"discovered": 1}


def test_claims_go_on_after_the_last_and_begin_again_when_dry(world: World) -> None:
    world.scan([Entry(f"d{n}", "d", 0, 1) for n in range(6)])
    now = 0.0
    places = Places(lambda: now)

    def claim(limit: int) -> list[str]:
        found = directories.claim(world.database, world.watcher, [world.job.id], limit, places)
        return sorted(directory.path for directory in found)

    assert claim(4) == ["d0", "d1", "d2", "d3"]
    behind = (
        "UPDATE inventory.directory SET claimed_by = NULL, state = 'pending', next_scan_at = 'epoch' WHERE path = :path"
    )
    world.execute(behind, path="d0")
    assert claim(1) == ["d4"]
    now = directories.WRAP_SECONDS + 1
    assert claim(1) == ["d0"]  # after a while from the start
    assert claim(5) == ["d5"]
    world.execute(behind, path="d1")
    assert claim(5) == ["d1"]  # nothing is left beyond
    assert claim(5) == []
