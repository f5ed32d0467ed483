"""What fails and why, by class and by file, and giving it another chance."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.errors import UsageError
from core.outcome import Changed, Dead, Done, Mismatched, Retry, Skipped, Vanished
from core.sources.base import Entry
from inventory import collections, directories, failures, housekeeping, jobs, listing, retries
from inventory.claims import Limits, Result
from inventory.failures import FailureGroup, Wanted
from tests.integration.inventory_world import World


@pytest.fixture
def mixed(world: World) -> World:
    """A world in which one file of each kind of failure is."""
    world.scan([Entry("sub", "d", 0, 1), *(Entry(name, "f", 10, 1) for name in "abcdefghi")])
    world.scan([Entry("deep", "f", 10, 1)], path="sub")
    worker = world.worker()
    claimed = {file.path: file for file in world.claim(worker)}
    outcomes = {
        "a": Dead("EACCES", "a: Permission denied"),
        "b": Dead("EACCES", "b: Permission denied"),
        "c": Retry("EIO", "c: Input/output error"),
        "d": Done("sha2:x"),
        "e": Done("sha2:x"),
        "f": Skipped("exists"),
        "g": Vanished(),
        "h": Changed(11, 2_000_000),
        "i": Retry("EIO", "i: Input/output error"),
        "sub/deep": Dead("EACCES", "deep: Permission denied"),
    }
    world.finish(worker, [Result(claimed[path], outcome) for path, outcome in outcomes.items()])
    verifier = world.worker("verifier")
    verified = {file.path: file for file in world.claim(verifier, "verify")}
    mismatch = Mismatched("checksum_mismatch", "d has other bytes")
    world.finish(verifier, [Result(verified["d"], mismatch), Result(verified["e"], Done())], "verify")
    return world


def by_error(groups: list[FailureGroup]) -> dict[str, tuple[int, int, int, int]]:
    return {group.error: (group.dead, group.retrying, group.skipped, group.recovered) for group in groups}


def test_groups_count_each_file_once_under_its_last_failure(mixed: World) -> None:
    groups = failures.groups(mixed.database, Wanted(states=failures.FAILURE_STATES))
    assert by_error(groups) == {
        "EACCES": (3, 0, 0, 0),
        "EIO": (0, 2, 0, 0),
        "checksum_mismatch": (0, 1, 0, 0),
        "changed": (0, 1, 0, 0),
        "skipped": (0, 0, 1, 0),
    }
    first = groups[0]
    assert first.examples == (("a", "a: Permission denied"), ("sub/deep", "deep: Permission denied"))
    assert (first.bytes, first.stage, first.next_retry_at) == (30, "load", None)
    assert groups[1].next_retry_at is not None


def test_one_failure_a_file_says_all_of_it(mixed: World) -> None:
    found = {failure.path: failure for failure in failures.failures(mixed.database, Wanted(job="job"))}
    assert set(found) == {"a", "b", "c", "d", "h", "i", "sub/deep"}
    assert (found["d"].state, found["d"].file_state, found["d"].stage) == ("retrying", "discovered", "verify")
    assert (found["c"].attempt, found["c"].pod, found["c"].retry_at is not None) == (1, "loader-pod", True)


@pytest.mark.parametrize(
    ("wanted", "paths"),
    [
        (Wanted(errors=("EACCES",)), {"a", "b", "sub/deep"}),
        (Wanted(states=("retrying",), errors=("EIO",)), {"c", "i"}),
        (Wanted(prefixes=("sub/",)), {"sub/deep"}),
        (Wanted(prefixes=("s%25/", "a")), {"a"}),
        (Wanted(job="another"), set()),
        (Wanted(states=("skipped",)), {"f"}),
    ],
)
def test_failures_are_chosen(mixed: World, wanted: Wanted, paths: set[str]) -> None:
    assert {failure.path for failure in failures.failures(mixed.database, wanted)} == paths
    counted = failures.groups(mixed.database, wanted)
    assert sum(group.dead + group.retrying + group.skipped for group in counted) == len(paths)


def test_what_was_loaded_in_the_end_is_recovered(mixed: World) -> None:
    mixed.execute("UPDATE inventory.file SET retry_at = NULL WHERE name = 'c'")
    worker = mixed.worker()
    [again] = [file for file in mixed.claim(worker) if file.path == "c"]
    mixed.finish(worker, [Result(again, Done("sha2:x"))])
    assert by_error(failures.groups(mixed.database, Wanted(errors=("EIO",), states=("recovered",)))) == {
        "EIO": (0, 0, 0, 1)
    }


def test_a_new_generation_has_no_old_failures(mixed: World) -> None:
    mixed.scan([Entry("deep", "f", 99, 5)], path="sub")
    assert "sub/deep" not in {failure.path for failure in failures.failures(mixed.database, Wanted())}


def test_directories_fail_too(world: World) -> None:
    world.scan([Entry("shut", "d", 0, 1)])
    [directory] = listing.claim(world.database, world.watcher, [world.job.id], 10)
    directories.fail(world.database, world.watcher, directory, "EACCES", "shut: Permission denied", retry_seconds=None)
    loader = world.worker()
    [root] = collections.claim(world.database, loader, [world.job.id], 10)
    collections.failed(
        world.database, loader, [collections.Unmade(root, "CAT_NO_ACCESS_PERMISSION", "no", True)], Limits()
    )
    found = {failure.path: failure for failure in failures.failures(world.database, Wanted())}
    assert {path: (f.kind, f.state, f.stage) for path, f in found.items()} == {
        "shut/": ("d", "dead", "scan"),
        "/": ("d", "dead", "collection"),
    }
    assert retries.retry(world.database, Wanted(errors=("EACCES",), states=("dead",))) == retries.Retried(0, 1)
    assert world.one("SELECT state FROM inventory.directory WHERE path = 'shut'") == "pending"
    assert world.one("SELECT collection_dead FROM inventory.directory WHERE path = ''")
    assert retries.retry(world.database, Wanted(states=("dead",))).directories == 1


def test_a_retry_changes_what_it_was_asked_to_and_nothing_else(mixed: World) -> None:
    done = retries.retry(mixed.database, Wanted(errors=("EACCES",), states=("dead",), prefixes=("sub/",)))
    assert done == retries.Retried(1, 0)
    assert dict(mixed.rows())["deep"] == "discovered"
    assert [state for _, state in mixed.rows()].count("dead") == 2
    assert retries.retry_dead(mixed.database, mixed.job.id) == 2
    assert "dead" not in mixed.counts()
    assert mixed.progress() == mixed.counts()


def test_a_retry_of_what_backs_off_makes_it_due_and_counts_on(mixed: World) -> None:
    assert retries.retry(mixed.database, Wanted(states=("retrying",))).files == 3  # c, i and the changed h
    # what has vanished waits for the guard of deletions, not for a time
    assert mixed.one("SELECT count(*) FROM inventory.file WHERE isfinite(retry_at)") == 0
    assert mixed.one("SELECT load_attempts FROM inventory.file WHERE name = 'c'") == 1


def test_what_was_skipped_can_be_looked_at_again(mixed: World) -> None:
    mixed.scan([Entry("link", "l", 0, 1)], path="sub")
    assert retries.retry(mixed.database, Wanted(states=("skipped",))).files == 1
    states = dict(mixed.rows())
    assert (states["f"], states["link"]) == ("discovered", "skipped")


def test_recovered_files_have_nothing_to_retry(mixed: World) -> None:
    with pytest.raises(UsageError, match="recovered"):
        retries.retry(mixed.database, Wanted(states=("recovered",)))


def test_a_retry_in_many_batches_takes_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BATCH", 7)
    world.add(*(f"f{n:03}" for n in range(50)))
    worker = world.worker()
    world.finish(worker, [Result(file, Dead("EACCES", "no")) for file in world.claim(worker)])
    assert retries.retry(world.database, Wanted(states=("dead",))).files == 50
    assert world.counts() == {"discovered": 50}


def test_a_finished_job_runs_again(world: World) -> None:
    world.add("a")
    world.execute("UPDATE inventory.directory SET collection_made_at = now()")
    worker = world.worker()
    world.finish(worker, [Result(file, Dead("EACCES", "no")) for file in world.claim(worker)])
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)
    job = jobs.find(world.database, "job")
    assert job is not None
    assert job.state == "finished"
    retries.retry(world.database, Wanted(job="job", states=("dead",)))
    job = jobs.find(world.database, "job")
    assert job is not None
    assert job.state == "running"
    assert world.one("SELECT detail ->> 'files' FROM inventory.event WHERE kind = 'failures_retried'") == "1"


def test_a_retry_leaves_other_jobs_alone(worlds: Callable[..., World]) -> None:
    world = worlds()
    jobs.start(world.database, "other", "file:///other", "/tempZone/other", world.job.settings)
    world.add("a")
    worker = world.worker()
    world.finish(worker, [Result(file, Dead("EACCES", "no")) for file in world.claim(worker)])
    assert retries.retry(world.database, Wanted(job="other", states=("dead",))).files == 0
