"""Priority, files in flight, and the states a person may bring a job into."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from core.errors import UsageError
from core.outcome import Done, Retry
from core.settings import JobSettings
from inventory import claims, jobs, partitions, retries
from inventory.claims import ClaimedFile, Result
from inventory.engine import Database
from inventory.flight import Cap
from inventory.jobs import Job
from inventory.rota import Rota
from inventory.standing import Amount, standings
from tests.integration.inventory_world import World


def another(world: World, name: str, *names: str, **settings: object) -> Job:
    """One more job with files that wait to be loaded."""
    chosen = JobSettings.model_validate({"shards": 1} | settings)
    job = jobs.start(world.database, name, f"file:///{name}", "/tempZone/home/rods", chosen)
    world.job, before = job, world.job
    world.add(*names)
    world.job = before
    return job


def test_jobs_of_a_higher_priority_go_first_and_equals_take_turns(world: World) -> None:
    world.add("low")
    first = another(world, "first", "a", "b", priority=5)
    second = another(world, "second", "c", "d", priority=5)
    rota = Rota(world.database, world.worker(), clock=lambda: 0.0)
    claimed = [file.job_id for _ in range(5) for file in rota.claim_files("load", 1)]
    assert sorted(claimed[:4]) == sorted([first.id, second.id] * 2)
    assert claimed[4] == world.job.id


def test_a_changed_priority_is_noticed_without_a_restart(world: World) -> None:
    world.add("a", "b")
    other = another(world, "other", "c")
    now = 0.0
    rota = Rota(world.database, world.worker(), clock=lambda: now)
    rota.running()
    jobs.set_settings(world.database, other.id, {"priority": 1})
    now = 1.1
    assert [file.job_id for file in rota.claim_files("load", 1)] == [other.id]
    assert jobs.listed(world.database)[1].settings.priority == 1


def test_no_more_files_are_in_flight_than_the_job_may_have(world: World) -> None:
    world.add(*(f"f{n:03}" for n in range(40)))
    cap = Cap(world.job.id, 6, world.job.shards)
    [shard] = world.job.shards
    most: list[int] = []
    errors: list[BaseException] = []

    def work(url: str) -> None:
        database = Database(url, queue=True)
        try:
            worker = world.worker()
            while True:
                files = claims.claim(database, worker, "load", shard, 4, cap=cap)
                with database.begin() as connection:
                    busy = "SELECT count(*) FILTER (WHERE state = 'loading'), count(*) FILTER (WHERE state <> 'loaded')"
                    loading, left = connection.exec_driver_sql(f"{busy} FROM inventory.file").one()
                most.append(loading)
                if not left:
                    return
                claims.finish(
                    database, worker, "load", [Result(file, Done("sha2:x")) for file in files], claims.Limits()
                )
        except BaseException as error:  # noqa: BLE001  # told by the test's own thread
            errors.append(error)
        finally:
            database.close()

    url = world.database.engine.url.render_as_string(hide_password=False)
    threads = [threading.Thread(target=work, args=(url,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert 3 <= max(most) <= 6
    assert world.counts() == {"loaded": 40}


def test_loading_leaves_room_for_what_waits_to_be_verified(world: World) -> None:
    world.add(*(f"f{n:03}" for n in range(20)))
    cap = Cap(world.job.id, 4, world.job.shards)
    [shard] = world.job.shards
    loader = world.worker()

    def claim(stage: claims.Stage) -> list[ClaimedFile]:
        return claims.claim(world.database, loader, stage, shard, 10, cap=cap)

    loading = claim("load")
    assert len(loading) == 4  # nothing else waits
    assert claim("load") == []
    world.finish(loader, [Result(file, Done("sha2:x")) for file in loading])
    assert len(claim("load")) == 2
    assert len(claim("verify")) == 2
    assert claim("verify") == []


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ("running", "paused", True),
        ("paused", "running", True),
        ("paused", "stopped", True),
        ("stopped", "running", True),
        ("stopped", "cancelled", True),
        ("cancelled", "cancelled", True),
        ("cancelled", "running", False),
        ("cancelled", "stopped", False),
        ("finished", "running", False),
        ("finished", "stopped", False),
        ("stopped", "paused", False),
    ],
)
def test_a_job_changes_its_state_only_where_that_means_something(
    world: World, before: str, after: str, allowed: bool
) -> None:
    world.execute("UPDATE inventory.job SET state = CAST(:state AS inventory.job_state)", state=before)
    if allowed:
        jobs.set_state(world.database, world.job.id, after)
    else:
        with pytest.raises(UsageError, match=before):
            jobs.set_state(world.database, world.job.id, after)
    job = jobs.find(world.database, "job")
    assert job is not None
    assert job.state == (after if allowed else before)
    assert (job.finished_at is not None) == (allowed and after in ("stopped", "cancelled"))


def test_nothing_of_a_cancelled_job_goes_on_but_it_can_be_removed(world: World, tmp_path: Path) -> None:
    world.add("a")
    jobs.set_state(world.database, world.job.id, "cancelled")
    with pytest.raises(UsageError, match="cancelled"):
        jobs.rescan(world.database, world.job.id)
    with pytest.raises(UsageError, match="cancelled"):
        retries.retry_dead(world.database, world.job.id)
    assert Rota(world.database, world.worker()).claim_files("load", 10) == []
    partitions.drop_job(world.database, world.job.id, tmp_path)
    assert jobs.listed(world.database) == []


def test_a_standing_adds_up(world: World) -> None:
    world.add("a", "b", "c", "d", size=100)
    loader = world.worker()
    a, b, c, _ = world.claim(loader)
    done = [
        Result(a, Done("sha2:x"), 2.0, 1.0),
        Result(b, Retry("EIO", "read error")),
        Result(c, Done("sha2:x"), 2.0, 1.0),
    ]
    world.finish(loader, done)
    [standing] = standings(world.database, "job")
    assert standing.states == {"discovered": Amount(1, 100), "loaded": Amount(2, 200), "loading": Amount(1, 100)}
    assert (standing.total, standing.to_load, standing.done) == (Amount(4, 400), Amount(2, 200), Amount(0, 0))
    assert (standing.retries, standing.failed_files, standing.has_failures) == (1, 0, False)
    assert standing.rates["load"].files == pytest.approx(standing.rates["load"].bytes / 100)
    assert 0 < standing.rates["load"].files <= 2
    assert standing.seconds_left == pytest.approx(2 / standing.rates["load"].files)  # nothing is verified yet
    assert standings(world.database, "another") == []


def test_the_standing_of_a_stopped_job_stands_still(world: World) -> None:
    world.add("a")
    jobs.set_state(world.database, world.job.id, "stopped")
    [first], [second] = standings(world.database), standings(world.database)
    assert first.elapsed_seconds == second.elapsed_seconds
    assert first.seconds_left is None
