"""Claims and finishes: owners, generations, fences, stamps, back-off, dead letters."""

from __future__ import annotations

import pytest

from core.outcome import Changed, Dead, Done, Mismatched, Outcome, Released, Retry, Skipped, Vanished
from inventory import claims, custody, housekeeping
from inventory.claims import Result
from tests.integration.inventory_world import World


def test_two_workers_never_claim_the_same_file(world: World) -> None:
    world.add(*(f"f{n:03}" for n in range(100)))
    first, second = world.worker(), world.worker()
    taken = [world.claim(worker, limit=30) for worker in (first, second, first, second, first)]
    names = [file.name for files in taken for file in files]
    assert sorted(names) == [f"f{n:03}" for n in range(100)]
    assert names == sorted(names)  # in the order of the inventory, so a batch is mostly one collection


def test_a_file_goes_through_its_life_and_is_stamped(world: World) -> None:
    world.add("a")
    loader, verifier = world.worker("loader"), world.worker("verifier")
    [file] = world.claim(loader)
    assert file.fresh
    assert world.claim(verifier, "verify") == []
    assert world.finish(loader, [Result(file, Done("sha2:abc"), 2.0, 0.5)]) == 0
    [file] = world.claim(verifier, "verify")
    assert file.checksum == "sha2:abc"
    assert world.finish(verifier, [Result(file, Done(level="rehash"), 1.0, 0.0)], "verify") == 0
    assert world.rows("verify_level") == [("r",)]
    [(state, load, verify, by, verified_by)] = world.rows("""
        state, extract(epoch FROM load_finished_at - load_started_at)::float,
        extract(epoch FROM verify_finished_at - verify_started_at)::float, loaded_by, verified_by""")
    assert (state, by, verified_by) == ("verified", loader, verifier)
    assert load == pytest.approx(1.5, abs=0.01)
    assert verify == pytest.approx(1.0, abs=0.01)
    assert world.progress() == world.counts() == {"verified": 1}


@pytest.mark.parametrize(
    ("outcome", "state", "attempts"),
    [
        (Retry("EIO", "try"), "discovered", 1),
        (Dead("EACCES", "no"), "dead", 1),
        (Mismatched("checksum_mismatch", "a b"), "discovered", 1),
        (Vanished(), "vanished", 0),
        (Changed(7, 1_700_000_000_000_001), "discovered", 1),
        (Skipped("exists"), "skipped", 0),
        (Released("away"), "discovered", 0),
    ],
)
def test_each_outcome_has_its_state(world: World, outcome: Outcome, state: str, attempts: int) -> None:
    world.add("a")
    loader = world.worker()
    assert world.finish(loader, [Result(file, outcome) for file in world.claim(loader)]) == 0
    assert world.rows("state, load_attempts, claimed_by") == [(state, attempts, None)]
    assert world.progress() == world.counts()
    explained = world.one("SELECT count(*) FROM inventory.failure")
    assert explained == (0 if isinstance(outcome, Vanished | Released) else 1)


def test_a_change_carries_the_new_size_and_is_a_new_generation(world: World) -> None:
    world.add("a")
    loader = world.worker()
    world.finish(loader, [Result(file, Changed(7, 1_700_000_000_000_001)) for file in world.claim(loader)])
    assert world.rows("generation, size, (extract(epoch FROM modified_at) * 1000000)::bigint") == [
        (2, 7, 1_700_000_000_000_001)
    ]


def test_a_failed_file_backs_off_and_comes_back(world: World) -> None:
    world.add("a")
    loader = world.worker()
    world.finish(loader, [Result(file, Retry("EIO", "try")) for file in world.claim(loader)], retry_seconds=100)
    assert world.claim(loader) == []
    [(wait,)] = world.rows("extract(epoch FROM retry_at - now())::float")
    assert 85 < wait <= 110
    world.execute("UPDATE inventory.file SET retry_at = now()")
    assert housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5).retried == 1
    [file] = world.claim(loader)
    assert not file.fresh
    world.finish(loader, [Result(file, Retry("EIO", "try"))], retry_seconds=100)
    [(wait,)] = world.rows("extract(epoch FROM retry_at - now())::float")
    assert 170 < wait <= 220


def test_the_last_attempt_is_a_dead_letter_that_says_why(world: World) -> None:
    world.add("a")
    loader = world.worker()
    for attempt in (1, 2):
        world.execute("UPDATE inventory.file SET retry_at = NULL")
        world.finish(loader, [Result(f, Retry("EIO", f"try {attempt}")) for f in world.claim(loader)], max_attempts=2)
    assert world.rows("state, load_attempts, retry_at") == [("dead", 2, None)]
    assert world.one("SELECT message FROM inventory.failure WHERE permanent") == "try 2"


def test_a_mismatch_is_loaded_again_up_to_the_limit(world: World) -> None:
    world.add("a")
    loader, verifier = world.worker("loader"), world.worker("verifier")
    states = []
    for _ in range(3):
        world.finish(loader, [Result(file, Done("sha2:abc")) for file in world.claim(loader)])
        mismatch = Mismatched("checksum_mismatch", "source sha2:abc, iRODS sha2:xyz")
        results = [Result(file, mismatch) for file in world.claim(verifier, "verify")]
        world.finish(verifier, results, "verify", max_reloads=2)
        states += [state for _, state in world.rows()]
    assert states == ["discovered", "discovered", "dead"]
    assert "sha2:xyz" in world.one("SELECT message FROM inventory.failure WHERE permanent")


def test_a_finish_of_another_generation_or_owner_is_fenced(world: World) -> None:
    world.add("a", "b")
    loader, other = world.worker(), world.worker()
    files = world.claim(loader)
    assert world.finish(other, [Result(file, Done("sha2:x")) for file in files]) == 2
    world.execute("UPDATE inventory.file SET generation = 2 WHERE name = 'a'")
    assert world.finish(loader, [Result(file, Done("sha2:x")) for file in files]) == 1
    assert world.finish(loader, [Result(file, Done("sha2:x")) for file in files]) == 2  # a second time nothing matches
    assert world.rows() == [("a", "loading"), ("b", "loaded")]


def test_the_dead_are_reaped_and_their_late_finish_is_fenced(world: World) -> None:
    world.add("a", "b")
    zombie, other = world.worker(), world.worker()
    files = world.claim(zombie)
    world.execute("UPDATE inventory.worker SET heartbeat_at = now() - interval '1 hour' WHERE id = :id", id=zombie)
    tidied = housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)
    assert (tidied.expired, tidied.reaped) == (1, 2)
    assert world.rows("state, reaps, load_attempts") == [("discovered", 1, 0)] * 2
    assert world.claim(zombie) == []  # the dead claim nothing
    again = world.claim(other)
    assert not any(file.fresh for file in again)
    assert world.finish(zombie, [Result(file, Done("sha2:x")) for file in files]) == 2
    assert world.finish(other, [Result(file, Done("sha2:x")) for file in again]) == 0


def test_a_file_over_which_workers_die_is_a_dead_letter_and_its_neighbours_are_not(world: World) -> None:
    world.add("healthy", "poison")
    for _ in range(5):
        victim = world.worker()
        files = {file.name: file for file in world.claim(victim)}
        if files["poison"].suspect:
            assert custody.begin(world.database, victim, "load", files["poison"])
        world.execute("UPDATE inventory.worker SET heartbeat_at = now() - interval '1 hour' WHERE id = :id", id=victim)
        housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)
    assert world.rows("state, reaps, begun") == [("discovered", 2, False), ("dead", 5, False)]
    assert world.one("SELECT error FROM inventory.failure") == "poison"


def test_who_says_goodbye_gives_back_uncounted(world: World) -> None:
    world.add("a")
    leaver = world.worker()
    world.claim(leaver)
    world.execute("UPDATE inventory.worker SET stopped_at = now() WHERE id = :id", id=leaver)
    assert housekeeping.tidy(world.database, lease_seconds=60, max_reaps=1).reaped == 1
    assert world.rows("state, reaps") == [("discovered", 0)]


def test_a_single_pass_finishes_when_all_is_final(world: World) -> None:
    world.add("a", "b")
    world.execute("UPDATE inventory.directory SET collection_made_at = now()")
    loader, verifier = world.worker("loader"), world.worker("verifier")
    assert housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5).finished_jobs == ()
    world.finish(loader, [Result(file, Done("sha2:x")) for file in world.claim(loader)])
    assert housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5).finished_jobs == ()
    world.finish(verifier, [Result(file, Done()) for file in world.claim(verifier, "verify")], "verify")
    assert housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5).finished_jobs == (world.job.id,)


def test_folding_keeps_the_sums(world: World) -> None:
    world.add("a", "b", "c")
    before = world.progress()
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)
    assert world.one("SELECT count(*) FROM inventory.progress_delta") == 0
    assert world.progress() == before == world.counts()


def test_results_of_several_shards_and_kinds_are_written_together(inventory_url: str) -> None:
    world = World(inventory_url, shards=3)
    world.add("a", "b", "c")
    loader = world.worker()
    files = world.claim(loader)
    outcomes: list[Outcome] = [Done("sha2:x"), Dead("EACCES", "no"), Retry("EIO", "try")]
    assert world.finish(loader, [Result(f, o) for f, o in zip(files, outcomes, strict=True)]) == 0
    assert world.counts() == {"loaded": 1, "dead": 1, "discovered": 1}
    assert claims.release(world.database, loader, "load", files) == 3
    world.database.close()


def test_a_vanished_file_is_deleted_and_stamped(world: World) -> None:
    world.add("a", "b")
    loader = world.worker()
    world.finish(loader, [Result(file, Done("sha2:x")) for file in world.claim(loader)])
    world.add("b")
    assert world.claim(loader, "delete") == []  # the guard has not judged yet
    world.clear_deletes()
    [file] = world.claim(loader, "delete")
    assert (file.name, file.fresh) == ("a", False)
    assert world.finish(loader, [Result(file, Retry("EIO", "try"))], "delete") == 0
    assert world.rows() == [("a", "vanished"), ("b", "loaded")]
    world.execute("UPDATE inventory.file SET retry_at = NULL")
    [file] = world.claim(loader, "delete")
    assert world.finish(loader, [Result(file, Done())], "delete") == 0
    assert world.rows("name, state, deleted_at IS NOT NULL") == [("a", "deleted", True), ("b", "loaded", False)]
    assert world.progress() == world.counts()


def test_a_file_that_was_never_loaded_is_known_as_such(world: World) -> None:
    world.add("a")
    world.add("a", size=2)  # another generation, yet nothing of it can be in iRODS
    loader = world.worker()
    [file] = world.claim(loader)
    assert file.fresh
    world.finish(loader, [Result(file, Done("sha2:x"))])
    world.add("a", size=3)
    [file] = world.claim(loader)
    assert not file.fresh
