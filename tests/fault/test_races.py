"""The races, each with real transactions held open at the critical point."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.outcome import Done, Released, Retry
from core.sources.base import Entry
from inventory import claims, custody, housekeeping, jobs, listing, named
from inventory.claims import ClaimedFile, Result
from inventory.engine import Database
from inventory.named import Named
from inventory.rota import Rota
from inventory.workers import Lease
from tests.e2e.world import eventually
from tests.fault.held import Aside, BrokeOff, held, waits_for_a_lock
from tests.integration.inventory_world import World

BEFORE, AFTER = 1_700_000_000_000_000, 1_700_000_009_000_000


def silence(world: World, worker: int) -> None:
    world.execute("UPDATE inventory.worker SET heartbeat_at = now() - interval '1 hour' WHERE id = :id", id=worker)


def tidy(world: World) -> housekeeping.Tidied:
    return housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)


def nothing_is_stuck(world: World) -> bool:
    return not world.one("""
        SELECT count(*) FROM inventory.file f JOIN inventory.worker w ON w.id = f.claimed_by WHERE w.reaped_at IS NOT NULL""")


# a claim that commits just after the reap's snapshot


def test_a_claim_that_is_not_committed_yet_keeps_its_worker_from_being_declared_dead(
    world: World, inventory_url: str
) -> None:
    world.add("a", "b")
    silent = world.worker()
    silence(world, silent)
    with held(inventory_url, lambda d: claims.claim(d, silent, "load", world.job.shards[0], 10)) as claim:
        tidied = tidy(world)
        assert (tidied.expired, tidied.reaped) == (0, 0)
    assert len(claim.value()) == 2
    tidied = tidy(world)
    assert (tidied.expired, tidied.reaped) == (1, 2)
    assert world.rows("name, state, claimed_by") == [("a", "discovered", None), ("b", "discovered", None)]


def test_a_claim_during_the_declaration_waits_and_claims_nothing(world: World, inventory_url: str) -> None:
    world.add("a")
    silent = world.worker()
    silence(world, silent)
    with held(inventory_url, lambda d: housekeeping._expire(d, 60)) as declared:
        claim = Aside(lambda: world.claim(silent))
        waits_for_a_lock(world.database)
        assert not claim.ended
    assert declared.value() == [silent]
    assert claim.value() == []
    assert tidy(world).reaped == 0
    assert world.rows() == [("a", "discovered")]


def test_a_goodbye_waits_for_a_claim_whose_connection_broke_in_its_commit(world: World, inventory_url: str) -> None:
    world.add("a")
    lease = Lease(world.database, "loader", "pod", "test")
    with held(inventory_url, lambda d: claims.claim(d, lease.worker, "load", world.job.shards[0], 10)):
        goodbye = Aside(lease.goodbye)
        waits_for_a_lock(world.database)
        assert tidy(world).reaped == 0
    goodbye.value()
    assert tidy(world).reaped == 1
    assert world.rows("state, reaps") == [("discovered", 0)]
    assert nothing_is_stuck(world)


@pytest.mark.parametrize("breaks_off", [False, True])
def test_a_late_finish_that_holds_its_rows_during_the_reap_leaves_nothing_behind(
    world: World, inventory_url: str, breaks_off: bool
) -> None:
    world.add("a", "b")
    zombie = world.worker()
    files = world.claim(zombie)
    silence(world, zombie)
    result = [Result(files[0], Done("sha2:x"))]
    with held(
        inventory_url, lambda d: claims.finish(d, zombie, "load", result, claims.Limits()), breaks_off=breaks_off
    ) as finish:
        tidied = tidy(world)
        assert (tidied.expired, tidied.reaped) == (1, 1)  # the row that is locked is left for later
    if breaks_off:
        with pytest.raises(BrokeOff):
            finish.value()
    else:
        assert finish.value() == 0
    tidy(world)
    assert world.rows() == [("a", "discovered" if breaks_off else "loaded"), ("b", "discovered")]
    assert world.one("SELECT reaped_at IS NOT NULL FROM inventory.worker WHERE id = :id", id=zombie)
    assert world.progress() == world.counts()


def test_a_finish_that_comes_while_the_reap_is_not_committed_is_fenced(world: World, inventory_url: str) -> None:
    world.add("a")
    zombie = world.worker()
    files = world.claim(zombie)
    silence(world, zombie)
    housekeeping._expire(world.database, 60)
    with held(inventory_url, lambda d: housekeeping._reap(d, 5)):
        finish = Aside(lambda: world.finish(zombie, [Result(files[0], Done("sha2:x"))]))
        waits_for_a_lock(world.database)
    assert finish.value() == 1
    assert world.rows("state, reaps, load_attempts") == [("discovered", 1, 0)]
    assert world.progress() == world.counts()


def test_a_claim_whose_answer_was_lost_is_given_back_by_its_living_owner(world: World) -> None:
    world.add("a", "b", "c")
    alive = world.worker()
    known = world.claim(alive, limit=1)
    world.claim(alive, limit=2)  # committed, but the answer never came
    assert custody.keep(world.database, alive, "load", world.job.shards, known) == 2
    assert world.rows("name, state, reaps") == [("a", "loading", 0), ("b", "discovered", 0), ("c", "discovered", 0)]
    assert world.finish(alive, [Result(known[0], Done("sha2:x"))]) == 0


def test_a_worker_that_may_not_judge_declares_nobody_dead(world: World) -> None:
    silence(world, world.worker())
    # after an outage all are silent; whoever comes back first must not take the others for dead
    fresh = Lease(world.database, "loader", "pod", "test")
    assert not fresh.may_judge
    assert housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5, may_judge=False).expired == 0
    assert tidy(world).expired == 1


# rows given back behind a claim cursor


def release(d: Database, worker: int, files: list[ClaimedFile], world: World) -> None:
    claims.finish(d, worker, "load", [Result(file, Released()) for file in files], claims.Limits())


def reap(d: Database, worker: int, files: list[ClaimedFile], world: World) -> None:
    silence(world, worker)
    housekeeping._expire(world.database, 60)
    housekeeping._reap(d, 5)


def promote(d: Database, worker: int, files: list[ClaimedFile], world: World) -> None:
    world.finish(worker, [Result(file, Retry("EIO", "try")) for file in files], retry_seconds=100)
    world.execute("UPDATE inventory.file SET retry_at = now() WHERE retry_at IS NOT NULL")
    housekeeping._promote(d)


@pytest.mark.parametrize("give_back", [release, reap, promote])
def test_rows_given_back_behind_a_worker_that_has_gone_on_are_claimed_again(
    world: World, inventory_url: str, give_back: Callable[[Database, int, list[ClaimedFile], World], None]
) -> None:
    world.add(*(f"f{n:02}" for n in range(30)))
    first, second = world.worker(), world.worker()
    behind = world.claim(first, limit=10)
    rota = Rota(world.database, second)
    with held(inventory_url, lambda d: give_back(d, first, behind, world)):
        taken = [file for _ in range(5) for file in rota.claim_files("load", 10)]
        assert [file.name for file in taken] == [f"f{n:02}" for n in range(10, 30)]
    again: list[ClaimedFile] = []
    for _ in range(100):
        again += rota.claim_files("load", 4)
        if len(again) == 10:
            break
    assert sorted(file.name for file in again) == [file.name for file in behind]


def test_rows_given_back_behind_a_worker_that_is_never_dry_are_claimed_in_time(world: World) -> None:
    world.add(*(f"f{n:03}" for n in range(200)))
    first, second = world.worker(), world.worker()
    behind = world.claim(first, limit=3)
    now = 0.0
    rota = Rota(world.database, second, clock=lambda: now)
    rota.claim_files("load", 1)
    release(world.database, first, behind, world)
    names: list[str] = []
    for _ in range(100):  # there is always something ahead
        now += 5.0
        names += [file.name for file in rota.claim_files("load", 1)]
    assert {file.name for file in behind} <= set(names)


# the source changing while a file is loading


def claimed_directory(world: World) -> listing.ClaimedDirectory:
    world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE path = ''")
    [directory] = listing.claim(world.database, world.watcher, [world.job.id], 10)
    return directory


def merge(d: Database, world: World, directory: listing.ClaimedDirectory, entries: list[Entry]) -> None:
    with d.begin() as connection:
        one = listing.Merge(connection, world.watcher, 0)
        one.add([(directory, entries)])
        one.finish([directory], None)


def is_due(world: World) -> bool:
    """Whether the directory is scanned again without anybody asking for it."""
    return bool(world.one("SELECT next_scan_at IS NOT NULL FROM inventory.directory WHERE path = ''"))


def test_a_claim_passes_over_a_file_whose_change_is_not_committed(world: World, inventory_url: str) -> None:
    world.add("a")
    loader = world.worker()
    directory = claimed_directory(world)
    with held(inventory_url, lambda d: merge(d, world, directory, [Entry("a", "f", 7, AFTER)])):
        assert world.claim(loader) == []
    [file] = world.claim(loader)
    assert (file.size, file.generation) == (7, 2)


def test_a_change_seen_while_the_claim_is_not_committed_is_not_lost(world: World, inventory_url: str) -> None:
    world.add("a")
    loader = world.worker()
    directory = claimed_directory(world)
    with held(inventory_url, lambda d: claims.claim(d, loader, "load", world.job.shards[0], 10)) as claim:
        merging = Aside(lambda: merge(world.database, world, directory, [Entry("a", "f", 7, AFTER)]))
        waits_for_a_lock(world.database)
    merging.value()
    [file] = claim.value()
    changed_is_not_lost(world, loader, file)


def test_a_change_seen_while_the_file_is_loading_is_not_lost(world: World) -> None:
    world.add("a")
    loader = world.worker()
    [file] = world.claim(loader)
    merge(world.database, world, claimed_directory(world), [Entry("a", "f", 7, AFTER)])
    changed_is_not_lost(world, loader, file)


def test_a_change_seen_while_the_finish_is_not_committed_is_not_lost(world: World, inventory_url: str) -> None:
    world.add("a")
    loader = world.worker()
    [file] = world.claim(loader)
    directory = claimed_directory(world)
    result = [Result(file, Done("sha2:x"))]
    with held(inventory_url, lambda d: claims.finish(d, loader, "load", result, claims.Limits())):
        merging = Aside(lambda: merge(world.database, world, directory, [Entry("a", "f", 7, AFTER)]))
        eventually(
            "the merge has ended or waits",
            lambda: merging.ended or world.one("SELECT count(*) FROM pg_locks WHERE NOT granted"),
        )
    merging.value()
    assert world.rows("state, size") == [("discovered", 7)] or is_due(world)


def test_a_removal_seen_while_the_file_is_loading_is_not_lost(world: World) -> None:
    world.add("a", "b")
    loader = world.worker()
    files = world.claim(loader)
    merge(world.database, world, claimed_directory(world), [Entry("b", "f", 1, BEFORE)])
    assert is_due(world)
    world.finish(loader, [Result(file, Done("sha2:x")) for file in files])
    merge(world.database, world, claimed_directory(world), [Entry("b", "f", 1, BEFORE)])
    assert world.rows() == [("a", "vanished"), ("b", "loaded")]
    assert world.progress() == world.counts()


def changed_is_not_lost(world: World, loader: int, file: ClaimedFile) -> None:
    """The loader may have read the old bytes: the row keeps the old size, and the directory is looked at again by itself."""
    assert world.rows("state, size, generation") == [("loading", 1, 1)]
    assert is_due(world)
    assert world.finish(loader, [Result(file, Done("sha2:x"))]) == 0
    merge(world.database, world, claimed_directory(world), [Entry("a", "f", 7, AFTER)])
    assert world.rows("state, size, generation, claimed_by") == [("discovered", 7, 2, None)]
    assert world.progress() == world.counts()


# a job that is given something to do while somebody finds that it has nothing to do


def all_verified(world: World) -> None:
    """The job's one file verified long ago, its collection made, and nothing left but to end the job."""
    world.add("a")
    loader, verifier = world.worker(), world.worker("verifier")
    world.finish(loader, [Result(file, Done("sha2:x")) for file in world.claim(loader)])
    world.finish(verifier, [Result(file, Done()) for file in world.claim(verifier, "verify")], "verify")
    for stamp in ("load_started_at", "load_finished_at", "verify_started_at", "verify_finished_at"):
        world.execute(f"UPDATE inventory.file SET {stamp} = {stamp} - interval '10 days'")
    world.execute("UPDATE inventory.directory SET collection_made_at = now()")
    world.execute("UPDATE inventory.job SET settings = settings || '{\"reverify_days\": 5}'")
    world.execute("UPDATE inventory.shard SET reverify_at = now()")


@pytest.mark.parametrize("begins", ["rescan", "reverify", "manifest"])
def test_a_job_that_is_given_work_while_it_ends_goes_on(world: World, inventory_url: str, begins: str) -> None:
    all_verified(world)
    more = Named("", "b", Entry("b", "f", 1, 1))
    give: dict[str, Callable[[Database], object]] = {
        "rescan": lambda d: jobs.rescan(d, world.job.id),
        "reverify": housekeeping._reverify,
        "manifest": lambda d: named.add_of_manifest(d, world.job.id, [more], shared_suffix="%2F"),
    }
    with held(inventory_url, give[begins]):
        look = Aside(lambda: housekeeping._finish_jobs(world.database))
        eventually("it looked, or waits for a lock", lambda: look.ended or _waits(world))
    assert look.value() == []
    assert housekeeping._finish_jobs(world.database) == []
    assert world.one("SELECT state FROM inventory.job") == "running"


def test_the_same_job_ends_when_it_is_given_nothing(world: World) -> None:
    all_verified(world)
    assert housekeeping._finish_jobs(world.database) == [world.job.id]


def _waits(world: World) -> bool:
    return bool(world.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
