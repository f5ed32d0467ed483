"""What workers did when: written with the finish, merged into ticks, forgotten in time."""

from __future__ import annotations

import pytest

from core.outcome import Dead, Done, Outcome, Released
from inventory import activity, housekeeping
from inventory.claims import Result
from tests.integration.inventory_world import World


def test_what_a_worker_finished_is_one_row_a_tick(world: World) -> None:
    world.add("a", "b", "c", "d", size=10)
    loader = world.worker()
    files = world.claim(loader)
    outcomes: list[Outcome] = [Done("sha2:abc"), Done("sha2:abc"), Dead("EACCES", "no"), Released("away")]
    # a and b travelled together: one thread was busy for two seconds, not two threads
    times = [(3.0, 1.0), (3.0, 1.0), (1.0, 0.5), (0.5, 0.0)]
    results = [Result(file, outcome, *when) for file, outcome, when in zip(files, outcomes, times, strict=True)]
    assert world.finish(loader, results) == 0
    spans = activity.spans(world.database, minutes=5)
    assert sum(span.files for span in spans) == 3
    assert sum(span.failed for span in spans) == 1
    assert sum(span.bytes for span in spans) == 20
    assert sum(span.busy_seconds for span in spans) == pytest.approx(2.5, abs=0.01)
    assert {(span.job, span.stage, span.kind, span.worker) for span in spans} == {("job", "load", "loader", loader)}
    assert (spans[0].ended_at - spans[0].began_at).total_seconds() == pytest.approx(2.5, abs=0.1)


def test_two_finishes_within_a_tick_share_a_row(world: World) -> None:
    world.add("a", "b")
    loader = world.worker()
    files = world.claim(loader)
    for file in files:
        world.finish(loader, [Result(file, Done("sha2:abc"), 1.0, 0.5)])
    ticks = world.one("SELECT count(DISTINCT tick_at) FROM inventory.activity")
    assert world.one("SELECT count(*) FROM inventory.activity") == ticks
    assert world.one("SELECT sum(files) FROM inventory.activity") == 2


def test_what_was_fenced_is_nobodys_deed(world: World) -> None:
    world.add("a")
    loader = world.worker()
    [file] = world.claim(loader)
    world.finish(loader, [Result(file, Done("sha2:abc"))])
    assert world.finish(loader, [Result(file, Done("sha2:abc"))]) == 1
    assert world.one("SELECT sum(files) FROM inventory.activity") == 1


def test_paces_are_rates_of_whole_intervals(world: World) -> None:
    world.add("a", "b", size=50)
    loader = world.worker()
    world.finish(loader, [Result(file, Done("sha2:abc")) for file in world.claim(loader)])
    paces = activity.paces(world.database, minutes=20, job="job", points=10)
    assert sum(pace.files_per_second for pace in paces) * 120 == pytest.approx(2)
    assert sum(pace.bytes_per_second for pace in paces) * 120 == pytest.approx(100)
    assert activity.paces(world.database, minutes=20, job="another") == []


def test_old_rows_are_forgotten(world: World) -> None:
    world.add("a")
    loader = world.worker()
    world.finish(loader, [Result(file, Done("sha2:abc")) for file in world.claim(loader)])
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5, activity_hours=1)
    assert world.one("SELECT count(*) FROM inventory.activity") == 1
    world.execute("UPDATE inventory.activity SET tick_at = tick_at - interval '2 hours'")
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5, activity_hours=1)
    assert world.one("SELECT count(*) FROM inventory.activity") == 0
