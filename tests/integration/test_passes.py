"""Passes: one is open while a job runs, pre_job holds everything back, and each event is run by one loader at a time."""

from __future__ import annotations

from core.outcome import Done
from core.settings import JobSettings
from inventory import collections, housekeeping, jobs, listing, passes
from inventory.claims import Limits, Result
from inventory.jobs import HandlerRecord, Job
from inventory.passes import ClaimedEvent
from inventory.rota import Rota
from tests.integration.inventory_world import World


def hearing(world: World, *overrides: str, **settings: object) -> Job:
    """A job with an event handler."""
    record = HandlerRecord("handler.py", "0" * 64, overrides)
    chosen = JobSettings.model_validate({"shards": 1} | settings)
    return jobs.start(world.database, "heard", "file:///heard", "/tempZone/home/rods", chosen, handler=record)


def tidy(world: World) -> tuple[int, ...]:
    return housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5).finished_jobs


def run_through(world: World, job: Job) -> None:
    """Scan, make the collection of and load and verify all that is due of a job."""
    loader = world.worker()
    world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE job_id = :job", job=job.id)
    claimed = listing.claim(world.database, world.watcher, [job.id], 100)
    assert claimed
    with world.database.begin() as connection:
        merge = listing.Merge(connection, world.watcher)
        merge.add([(directory, []) for directory in claimed])
        merge.finish(claimed, job.settings.rescan_seconds)
    made = collections.claim(world.database, loader, [job.id], 100)
    collections.made(world.database, loader, [one.directory_id for one in made])


def claim(world: World, job: Job, worker: int | None = None) -> list[ClaimedEvent]:
    return passes.claim_events(world.database, worker or world.worker(), [job.id])


def test_a_single_pass_begins_with_its_job_and_ends_with_it(world: World) -> None:
    world.add("a", "b")
    loader = world.worker()
    [first] = passes.listed(world.database, world.job.id)
    assert (first.number, first.finished_at) == (1, None) and first.started_at is not None
    world.finish(loader, [Result(file, Done("sha2:x")) for file in world.claim(loader)])
    world.finish(loader, [Result(file, Done()) for file in world.claim(loader, "verify")], "verify")
    collections.made(world.database, loader, [1])
    assert tidy(world) == (world.job.id,)
    [over] = passes.listed(world.database, world.job.id)
    assert over.finished_at and over.counts == {"verified": (2, 2)} and (over.failed, over.retried) == (0, 0)
    jobs.rescan(world.database, world.job.id)
    tidy(world)
    assert [one.number for one in passes.listed(world.database, world.job.id)] == [1, 2]


def test_nothing_is_claimed_before_pre_job_has_returned(world: World) -> None:
    job = hearing(world, "pre_job")
    rota = Rota(world.database, world.worker())
    assert listing.claim(world.database, world.watcher, [job.id], 10) == []
    assert job.id not in rota.running() and rota.hearing("pre_job") == [job.id]
    loader = world.worker()
    [event] = claim(world, job, loader)
    assert (event.event, event.number) == ("pre_job", 1)
    assert claim(world, job) == []
    assert passes.done(world.database, loader, event)
    assert not passes.done(world.database, loader, event)
    assert len(listing.claim(world.database, world.watcher, [job.id], 10)) == 1


def test_a_job_ends_after_its_post_job(world: World) -> None:
    job = hearing(world, "post_job")
    run_through(world, job)
    assert job.id not in tidy(world)
    loader = world.worker()
    [event] = claim(world, job, loader)
    assert event.event == "post_job"
    assert passes.done(world.database, loader, event)
    found = jobs.find(world.database, "heard")
    assert found is not None and found.state == "finished"


def test_an_event_of_a_dead_loader_is_run_by_another(world: World) -> None:
    job = hearing(world, "pre_job")
    dead = world.worker()
    [event] = claim(world, job, dead)
    world.execute("UPDATE inventory.worker SET heartbeat_at = now() - interval '1 hour' WHERE id = :id", id=dead)
    tidy(world)
    heir = world.worker()
    assert claim(world, job, heir) == [event]
    assert not passes.done(world.database, dead, event)
    assert passes.done(world.database, heir, event)


def test_a_pre_job_that_never_works_stops_its_job(world: World) -> None:
    job = hearing(world, "pre_job")
    loader = world.worker()
    limits = Limits(max_attempts=2, retry_seconds=0)
    for _ in range(2):
        [event] = claim(world, job, loader)
        assert passes.failed(world.database, loader, event, "RuntimeError: no", limits, permanent=False)
    found = jobs.find(world.database, "heard")
    assert found is not None and found.state == "stopped"
    assert passes.listed(world.database, job.id)[0].error == "pre_job: RuntimeError: no"
    jobs.set_state(world.database, job.id, "running")
    assert len(claim(world, job, loader)) == 1


def test_a_post_job_that_never_works_is_given_up(world: World) -> None:
    job = hearing(world, "post_job")
    run_through(world, job)
    tidy(world)
    loader = world.worker()
    [event] = claim(world, job, loader)
    assert passes.failed(world.database, loader, event, "broken", Limits(), permanent=True)
    found = jobs.find(world.database, "heard")
    assert found is not None and found.state == "finished"


def test_an_interval_job_has_a_pass_for_each_look_at_everything(world: World) -> None:
    job = hearing(world, "pre_job", "post_job", rescan_seconds=3600)
    loader = world.worker()
    for number in (1, 2):
        tidy(world)
        [event] = claim(world, job, loader)
        assert (event.event, event.number) == ("pre_job", number)
        passes.done(world.database, loader, event)
        tidy(world)
        assert claim(world, job) == [], "nothing was looked at in this pass"
        run_through(world, job)
        tidy(world)
        [event] = claim(world, job, loader)
        assert (event.event, event.number) == ("post_job", number)
        passes.done(world.database, loader, event)
        tidy(world)
        assert listing.claim(world.database, world.watcher, [job.id], 10) == []
        assert claim(world, job) == [], "no directory is due"
        world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE job_id = :job", job=job.id)


def test_a_pass_that_nobody_saw_begin_is_one(world: World) -> None:
    """All directories became due, and were looked at, between two rounds of housekeeping."""
    job = hearing(world, rescan_seconds=3600)
    tidy(world)
    for number in (1, 2, 3):
        run_through(world, job)
        tidy(world)
        tidy(world)
        *over, waiting = passes.listed(world.database, job.id)
        assert [one.number for one in over] == list(range(1, number + 1))
        assert all(one.started_at and one.finished_at and one.started_at <= one.finished_at for one in over)
        assert waiting.started_at is None


def test_claims_whose_answer_was_lost_are_given_back(world: World) -> None:
    job = hearing(world, "pre_job")
    loader = world.worker()
    [event] = claim(world, job, loader)
    passes.keep(world.database, loader, [event])
    assert claim(world, job) == []
    passes.keep(world.database, loader, [])
    assert len(claim(world, job)) == 1


def test_a_change_of_a_directory_is_told_once(world: World) -> None:
    job = hearing(world, "post_coll_modify")
    loader = world.worker()
    run_through(world, job)
    assert collections.claim_changed(world.database, loader, [job.id], 10) == [], "the first listing is no change"
    jobs.rescan(world.database, job.id)
    claimed = listing.claim(world.database, world.watcher, [job.id], 100)
    with world.database.begin() as connection:
        merge = listing.Merge(connection, world.watcher, heard=True)
        merge.add([(directory, []) for directory in claimed])
        merge.finish(claimed, None)
    assert job.id not in tidy(world), "its event is due"
    [changed] = collections.claim_changed(world.database, loader, [job.id], 10)
    assert changed.changed
    collections.told(world.database, loader, [changed.directory_id])
    assert collections.claim_changed(world.database, loader, [job.id], 10) == []
    assert job.id in tidy(world)


def test_a_collection_that_was_begun_before_is_known(world: World) -> None:
    loader = world.worker()
    [first] = collections.claim(world.database, loader, [world.job.id], 10)
    collections.release(world.database, loader, [first.directory_id])
    [again] = collections.claim(world.database, loader, [world.job.id], 10)
    assert not first.begun and not again.begun
    world.execute("UPDATE inventory.directory SET collection_claimed_by = NULL")  # as the reaper does
    [heir] = collections.claim(world.database, loader, [world.job.id], 10)
    assert heir.begun
