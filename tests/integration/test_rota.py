"""Where workers claim: places kept in a shard, files given back behind them, shards shared and taken over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from core.outcome import Done, Released
from core.sources.base import Entry
from inventory import claims, housekeeping, jobs
from inventory.claims import ClaimedFile, Result
from inventory.pace import AHEAD_SECONDS, Pace
from inventory.rota import TRIED_BLINDLY, WRAP_SECONDS, Rota
from tests.integration.inventory_world import World


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def names(files: list[ClaimedFile]) -> list[str]:
    return [file.name for file in files]


def give_back(world: World, worker: int, files: list[ClaimedFile]) -> None:
    assert world.finish(worker, [Result(file, Released("away")) for file in files]) == 0


def test_a_worker_goes_on_after_its_last_claim(world: World) -> None:
    world.add("a", "b", "c", "d")
    worker = world.worker()
    assert names(claims.claim(world.database, worker, "load", 1, 2)) == ["a", "b"]
    assert names(claims.claim(world.database, worker, "load", 1, 9, after=(1, "c"))) == ["d"]
    assert names(claims.claim(world.database, worker, "load", 1, 9, after=(0, ""))) == ["c"]


def test_files_given_back_behind_a_place_are_claimed_when_the_shard_is_dry(world: World) -> None:
    world.add("a", "b", "c", "d")
    worker, clock = world.worker(), Clock()
    rota = Rota(world.database, worker, clock)
    first = rota.claim_files("load", 2)
    give_back(world, worker, first)
    assert names(rota.claim_files("load", 2)) == ["c", "d"]
    assert names(rota.claim_files("load", 2)) == ["a", "b"]
    assert rota.claim_files("load", 2) == []


def test_files_given_back_behind_a_place_do_not_starve_while_more_come_ahead_of_it(world: World) -> None:
    world.add(*(f"f{n}" for n in range(9)))
    worker, clock = world.worker(), Clock()
    rota = Rota(world.database, worker, clock)
    give_back(world, worker, rota.claim_files("load", 1))
    assert names(rota.claim_files("load", 1)) == ["f1"]
    clock.now += WRAP_SECONDS - 1
    assert names(rota.claim_files("load", 1)) == ["f2"]
    clock.now += 2
    assert names(rota.claim_files("load", 1)) == ["f0"]


def test_what_the_dead_held_behind_a_place_is_claimed_by_others(world: World) -> None:
    world.add("a", "b", "c", "d")
    dead, alive = world.worker(), world.worker()
    assert names(claims.claim(world.database, dead, "load", 1, 2)) == ["a", "b"]
    rota = Rota(world.database, alive)
    assert names(rota.claim_files("load", 1)) == ["c"]
    world.execute("UPDATE inventory.worker SET expired_at = now() WHERE id = :dead", dead=dead)
    housekeeping.tidy(world.database, lease_seconds=3600, max_reaps=5)
    assert [names(rota.claim_files("load", 2)) for _ in range(3)] == [["d"], ["a", "b"], []]


def spread(world: World, directories: int, each: int) -> int:
    """Directories of files over all shards of the job; returns how many files."""
    world.scan([Entry(f"d{n}", "d", 0, 1) for n in range(directories)])
    for number in range(directories):
        world.scan([Entry(f"f{n}", "f", 1, 1) for n in range(each)], path=f"d{number}")
    return directories * each


def test_workers_spread_over_shards_and_take_over_from_each_other(worlds: Callable[..., World]) -> None:
    world = worlds(shards=3)
    total = spread(world, 12, 5)
    rotas = [Rota(world.database, world.worker()) for _ in range(3)]
    first = [rota.claim_files("load", 3) for rota in rotas]
    assert len({files[0].shard for files in first}) == 3  # each began in a shard of its own
    taken = Counter(f.path for files in first for f in files)
    [last] = rotas[2:]
    while files := last.claim_files("load", 3):  # one alone empties the others' shards
        taken.update(f.path for f in files)
    assert len(taken) == total
    assert set(taken.values()) == {1}
    assert [rota.claim_files("load", 3) for rota in rotas] == [[], [], []]


def test_of_many_shards_only_those_with_files_are_tried(worlds: Callable[..., World]) -> None:
    world = worlds(shards=TRIED_BLINDLY + 8)
    world.add("a")
    rota = Rota(world.database, world.worker())
    tried: list[Any] = []

    @event.listens_for(world.database.engine, "before_cursor_execute")
    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "SKIP LOCKED" in statement:
            tried.append(statement)

    [file] = rota.claim_files("load", 10)
    assert len(tried) == 1
    assert rota.claim_files("load", 10) == []
    assert len(tried) <= 3
    assert world.finish(rota._worker, [Result(file, Done("sha2:x"))]) == 0


def slow(world: World, workers: int) -> list[tuple[Rota, Pace]]:
    """Loaders of a job of 100 bytes a second, each with two threads."""
    ids = [world.worker() for _ in range(workers)]
    jobs.set_settings(world.database, world.job.id, {"bandwidth": "100"})
    paced = [(Rota(world.database, worker), Pace(2)) for worker in ids]
    for rota, pace in paced:
        rota.pace = pace
    return paced


def test_of_a_slow_job_a_worker_claims_no_more_than_it_reads_soon(world: World) -> None:
    world.add(*(f"f{n:02}" for n in range(40)), size=100)
    (one, pace), (two, _) = slow(world, 2)
    each = round(AHEAD_SECONDS * 50 / 100)  # 50 bytes a second each
    mine = one.claim_files("load", 4000)
    assert names(mine) == [f"f{n:02}" for n in range(each)]
    assert one.claim_files("load", 4000) == []
    assert names(two.claim_files("load", 4000)) == [f"f{n:02}" for n in range(each, 2 * each)]
    pace.let_go(mine[:1])
    assert one.claim_files("load", 4000) == []  # more than half is left
    pace.let_go(mine[1:3])
    assert names(one.claim_files("load", 4000)) == [f"f{n:02}" for n in range(2 * each, 2 * each + 3)]
    pace.keep(mine[3:])  # the last claim's answer was lost
    assert len(one.claim_files("load", 2)) == 2


def test_of_a_slow_job_a_worker_has_a_file_for_each_thread_however_large(world: World) -> None:
    world.scan([Entry(name, "f", 1_000_000, 1) for name in "abc"] + [Entry("d", "f", 0, 1)])
    ((rota, pace),) = slow(world, 1)
    first = rota.claim_files("load", 4000)
    assert names(first) == ["a", "b"]
    assert rota.claim_files("load", 4000) == []
    pace.let_go(first[:1])
    assert names(rota.claim_files("load", 4000)) == ["c"]
    jobs.set_settings(world.database, world.job.id, {"bandwidth": "off"})
    assert names(Rota(world.database, rota._worker).claim_files("load", 4000)) == ["d"]


@pytest.mark.parametrize("stage", ["load", "verify", "delete"])
def test_every_stage_says_where_it_claims(stage: claims.Stage) -> None:
    assert claims.ready_state(stage) in {"discovered", "loaded", "vanished"}
