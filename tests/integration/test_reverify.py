"""What was verified long ago is verified again, a few at a time, and stays a proven file unless it is found wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from core.outcome import Done, Mismatched, Released, Retry
from inventory import failures, housekeeping, reverify
from inventory.claims import Result
from inventory.failures import Wanted
from tests.integration.inventory_world import World

Worlds = Callable[..., World]


def verified(world: World, *names: str) -> int:
    """Files that were verified ten days ago; the verifier that did it."""
    world.add(*names)
    loader, verifier = world.worker(), world.worker("verifier")
    world.finish(loader, [Result(file, Done("sha2:x")) for file in world.claim(loader)])
    world.finish(verifier, [Result(file, Done(level="rehash")) for file in world.claim(verifier, "verify")], "verify")
    for stamp in ("load_started_at", "load_finished_at", "verify_started_at", "verify_finished_at"):
        world.execute(f"UPDATE inventory.file SET {stamp} = {stamp} - interval '10 days'")
    world.execute("UPDATE inventory.directory SET collection_made_at = now()")
    return verifier


def walk(world: World) -> int:
    world.execute("UPDATE inventory.shard SET reverify_at = now()")
    with world.database.begin() as connection:
        return reverify.make_due(connection)


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds(reverify_days=5, reverify_level="stat")


def test_what_is_old_enough_is_verified_again_and_nothing_is_forgotten(world: World) -> None:
    verifier = verified(world, "a", "b")
    world.execute("UPDATE inventory.file SET verify_finished_at = now() - interval '4 days' WHERE name = 'b'")
    before = world.one("SELECT verify_finished_at FROM inventory.file WHERE name = 'a'")
    assert walk(world) == 1
    assert dict(world.rows()) == {"a": "loaded", "b": "verified"}
    assert walk(world) == 0
    [file] = world.claim(verifier, "verify")
    assert (file.name, file.again) == ("a", True)
    world.finish(verifier, [Result(file, Done(level="stat"))], "verify")
    state, kept, now, level = world.rows("state, verified_before_at, verify_finished_at, verify_level")[0]
    assert (state, kept, level) == ("verified", before, "s")
    assert isinstance(now, datetime)
    assert now > before
    assert world.progress() == world.counts()


def test_a_release_and_a_retry_keep_it_a_second_verification(world: World) -> None:
    verifier = verified(world, "a")
    walk(world)
    for outcome in (Released(), Retry("EIO", "away")):
        [file] = world.claim(verifier, "verify")
        world.finish(verifier, [Result(file, outcome)], "verify")
        world.execute("UPDATE inventory.file SET retry_at = NULL")
    [file] = world.claim(verifier, "verify")
    assert file.again


def test_what_is_wrong_by_now_is_a_failure_that_says_when_it_was_right(world: World) -> None:
    verifier = verified(world, "a")
    walk(world)
    [file] = world.claim(verifier, "verify")
    world.finish(verifier, [Result(file, Mismatched("checksum_mismatch", "a has other bytes"))], "verify")
    [group] = failures.groups(world.database, Wanted())
    assert (group.stage, group.error, group.retrying) == ("reverify", "checksum_mismatch", 1)
    assert "a has other bytes (it was right at 20" in group.examples[0][1]
    loader = world.worker()
    [again] = world.claim(loader)
    world.finish(loader, [Result(again, Done("sha2:x"))])
    [file] = world.claim(verifier, "verify")
    assert not file.again  # other bytes were brought in: they are verified as for the first time
    world.finish(verifier, [Result(file, Done())], "verify")
    [group] = failures.groups(world.database, Wanted(states=("recovered",)))
    assert group.stage == "reverify"  # the damage stays visible


def test_a_finished_job_runs_again_for_it_and_ends_again(world: World) -> None:
    verifier = verified(world, "a")
    world.execute("UPDATE inventory.shard SET reverify_at = now() + interval '1 day'")
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)
    assert world.one("SELECT state FROM inventory.job") == "finished"
    world.execute("UPDATE inventory.shard SET reverify_at = now()")
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)
    assert world.one("SELECT state FROM inventory.job") == "running"
    [file] = world.claim(verifier, "verify")
    world.finish(verifier, [Result(file, Done())], "verify")
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)
    assert world.one("SELECT state FROM inventory.job") == "finished"
    assert world.one("SELECT count(*) FROM inventory.pass WHERE finished_at IS NOT NULL") == 2


def test_a_walk_goes_on_where_it_was_and_pauses_when_many_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverify, "AT_ONCE", 4)
    monkeypatch.setattr(reverify, "WAITING", 8)
    verified(world, *(f"f{n:02}" for n in range(20)))
    assert [walk(world) for _ in range(4)] == [4, 4, 0, 0]
    verifier = world.worker("verifier")
    world.finish(verifier, [Result(file, Done()) for file in world.claim(verifier, "verify")], "verify")
    assert [walk(world) for _ in range(3)] == [4, 4, 0]
    world.finish(verifier, [Result(file, Done()) for file in world.claim(verifier, "verify")], "verify")
    assert [walk(world) for _ in range(3)] == [4, 0, 0]  # and at its end it begins anew
    assert world.one("SELECT count(*) FROM inventory.file WHERE verified_before_at IS NOT NULL") == 20


def test_other_jobs_and_stopped_ones_are_left_alone(worlds: Worlds) -> None:
    world = worlds()
    verified(world, "a")
    assert walk(world) == 0
    world.execute("UPDATE inventory.job SET settings = settings || '{\"reverify_days\": 1}', state = 'stopped'")
    assert walk(world) == 0
