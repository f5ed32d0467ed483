"""Hot statements go by index at any size, also right after a COPY that nobody analysed.

PLAN_ROWS=1000000 runs them over a million rows; the default keeps the suite short.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from core.outcome import Changed, Dead, Done, Mismatched, Outcome, Released, Retry, Skipped, Vanished
from core.sources.base import Entry
from inventory import claims, failures, guard, housekeeping, listing, partitions, queries, retries, reverify
from inventory.claims import Result, Stage
from inventory.engine import Database
from inventory.listing import ClaimedDirectory, Merge
from tests.integration.inventory_world import World
from tests.plans.recorder import explained

FEW, MANY = 10, int(os.environ.get("PLAN_ROWS", "40000"))
A_DIRECTORY = 1000
Filled = tuple[World, int]


def entries(number: int, size: int = 1) -> list[Entry]:
    return [Entry(f"f{n:06}", "f", size, 1) for n in range(number)]


def list_directory(world: World, path: str, found: list[Entry]) -> None:
    world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE path = :path", path=path)
    [directory] = [d for d in listing.claim(world.database, world.watcher, [world.job.id], 10_000) if d.path == path]
    merge_one(world, directory, found)


def merge_one(world: World, directory: ClaimedDirectory, found: list[Entry]) -> None:
    with world.database.begin() as connection:
        merge = Merge(connection, world.watcher, world.job.settings.settle_seconds)
        merge.add([(directory, found)])
        merge.finish([directory], None)


@pytest.fixture(params=[(FEW, False), (MANY, False), (MANY, True)], ids=["few", "many", "analysed"])
def filled(request: pytest.FixtureRequest, worlds: Callable[..., World]) -> Filled:
    """A job with so many files that were just copied in, and, in the last case, analysed."""
    rows, analysed = request.param
    world = worlds()
    # as on a server whose autovacuum has not come by yet
    world.execute("ALTER TABLE inventory.file_1 SET (autovacuum_enabled = off)")
    directories = -(-rows // A_DIRECTORY)
    world.scan([Entry(f"d{n}", "d", 0, 1) for n in range(directories)])
    claimed = listing.claim(world.database, world.watcher, [world.job.id], directories)
    for start in range(0, len(claimed), 20):
        part = claimed[start : start + 20]
        with world.database.begin() as connection:
            merge = Merge(connection, world.watcher)
            merge.add([(directory, entries(min(rows, A_DIRECTORY))) for directory in part])
            merge.finish(part, None)
    if analysed:
        world.execute("ANALYZE")
    return world, rows


@pytest.mark.parametrize("stage", ["load", "verify"])
def test_claims_go_by_the_partial_index(filled: Filled, stage: Stage) -> None:
    world, _ = filled
    worker = world.worker()
    if stage == "verify":
        files = claims.claim(world.database, worker, "load", 1, 500)
        world.finish(worker, [Result(file, Done("sha2:x")) for file in files])
    with explained(world.database) as plans:
        first = claims.claim(world.database, worker, stage, 1, 5)
        second = claims.claim(world.database, worker, stage, 1, 5, after=first[-1].key)
    assert len(second) == 5
    plans.assert_by_key()
    plans.assert_nothing_read_whole()
    beyond = [node for s, node in plans.scans() if "ROW(" in str(node.get("Index Cond"))]
    assert beyond, "the place of the worker is no condition of the index"


OUTCOMES: list[Outcome] = [
    Done("sha2:x"), Retry("EIO", "try"), Dead("EACCES", "no"), Mismatched("checksum_mismatch", "a b"), Vanished(),
    Changed(7, 7), Skipped("exists"), Released("away"),
]  # fmt: skip


def test_finishes_find_each_row_by_its_key(filled: Filled) -> None:
    world, rows = filled
    worker = world.worker()
    for outcome in OUTCOMES:
        files = claims.claim(world.database, worker, "load", 1, min(rows // len(OUTCOMES), 500))
        assert files
        with explained(world.database) as plans:
            assert world.finish(worker, [Result(file, outcome) for file in files]) == 0
        plans.assert_by_key()


def test_a_merge_looks_names_up_by_their_key(filled: Filled) -> None:
    world, rows = filled
    changed = [*entries(min(rows, A_DIRECTORY) - 2, size=2), Entry("new", "f", 1, 1)]
    with explained(world.database) as plans:
        list_directory(world, "d0", changed)
    plans.assert_by_index()
    assert world.one("SELECT count(*) FROM inventory.file WHERE state = 'vanished'") == 2
    assert world.one("SELECT count(*) FROM inventory.file WHERE generation = 2") == min(rows, A_DIRECTORY) - 2
    for statement, node in plans.scans():
        assert "directory_id" in node["Index Cond"], f"{node['Index Name']}: {statement}"


def test_a_merge_with_a_settle_rule_too(filled: Filled) -> None:
    world, rows = filled
    world.execute("UPDATE inventory.file SET retry_at = 'infinity', discovered_at = now() - interval '1 day'"
                  " WHERE directory_id = 2")  # fmt: skip
    world.execute("UPDATE inventory.directory SET listing_digest = NULL")
    [directory] = _claimed(world, "d0")
    with explained(world.database) as plans, world.database.begin() as connection:
        merge = Merge(connection, world.watcher, 60)
        merge.add([(directory, entries(min(rows, A_DIRECTORY)))])
        merge.finish([directory], None)
    plans.assert_by_index()
    for statement, node in plans.scans():
        assert "directory_id" in node["Index Cond"], f"{node['Index Name']}: {statement}"
    assert world.one("SELECT count(*) FROM inventory.file WHERE retry_at IS NOT NULL") == 0


def test_a_vanished_directory_takes_its_files_by_index(filled: Filled) -> None:
    world, rows = filled
    [directory] = _claimed(world, "d0")
    with explained(world.database) as plans, world.database.begin() as connection:
        assert Merge(connection, world.watcher).vanish(directory)
    plans.assert_by_index()
    assert world.one("SELECT count(*) FROM inventory.file WHERE state = 'vanished'") == min(rows, A_DIRECTORY)


def test_what_vanished_is_judged_released_and_deleted_by_index(filled: Filled) -> None:
    world, rows = filled
    gone = min(rows, A_DIRECTORY)
    world.execute(
        'UPDATE inventory.job SET settings = settings || \'{"delete_mode": "trash", "max_delete_percent": 100}\''
    )
    list_directory(world, "d0", [])
    world.execute("UPDATE inventory.pass SET started_at = now(), pre_done_at = now()")
    with explained(world.database) as plans:
        with world.database.begin() as connection:
            guard.judge(connection)
        with world.database.begin() as connection:
            assert guard.release(connection) == gone
        files = claims.claim(world.database, world.worker(), "delete", 1, 500)
        assert len(files) == min(gone, 500)
    plans.assert_by_index()
    plans.assert_nothing_read_whole()


def _claimed(world: World, path: str) -> list[ClaimedDirectory]:
    world.execute("UPDATE inventory.directory SET next_scan_at = now() WHERE path = :path", path=path)
    claimed = listing.claim(world.database, world.watcher, [world.job.id], 10_000)
    return [directory for directory in claimed if directory.path == path]


def test_housekeeping_goes_by_index(filled: Filled) -> None:
    world, _ = filled
    dead, other = world.worker(), world.worker()
    claims.claim(world.database, dead, "load", 1, 4)
    failed = claims.claim(world.database, other, "load", 1, 4)
    world.finish(other, [Result(file, Retry("EIO", "try")) for file in failed])
    world.execute("UPDATE inventory.file SET retry_at = now() WHERE retry_at IS NOT NULL")
    world.execute("UPDATE inventory.worker SET expired_at = now() WHERE id = :dead", dead=dead)
    with explained(world.database) as plans:
        done = housekeeping.tidy(world.database, lease_seconds=3600, max_reaps=5)
    assert (done.reaped, done.retried) == (4, 4)
    plans.assert_by_index()


def test_nobody_counts_files(filled: Filled) -> None:
    world, rows = filled
    with explained(world.database) as plans:
        assert queries.backlog(world.database) == {world.job.id: rows}
        assert partitions.stocked(world.database, "discovered") == {1}
        housekeeping.tidy(world.database, lease_seconds=3600, max_reaps=5)
        assert queries.summary(world.database, "job")[0].files == rows
    assert not [s for s, node in plans.scans() if "claimed" not in s and "retry_at" not in s]


def test_a_walk_for_reverification_goes_by_the_key(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverify, "AT_ONCE", 5)
    world, _ = filled
    world.execute("UPDATE inventory.job SET settings = settings || '{\"reverify_days\": 0.001}'")
    verifier = world.worker("verifier")
    files = claims.claim(world.database, verifier, "load", 1, 10)
    world.finish(verifier, [Result(file, Done("sha2:x")) for file in files])
    world.finish(
        verifier, [Result(file, Done()) for file in claims.claim(world.database, verifier, "verify", 1, 10)], "verify"
    )
    world.execute("UPDATE inventory.file SET load_started_at = '2020-01-01', load_finished_at = '2020-01-01',"
                  " verify_started_at = '2020-01-01', verify_finished_at = '2020-01-01' WHERE state = 'verified'")  # fmt: skip
    with explained(world.database) as plans, world.database.begin() as connection:
        assert reverify.make_due(connection) == 5
    plans.assert_by_index()
    plans.assert_nothing_read_whole()
    assert [node for s, node in plans.scans() if "ROW(" in str(node.get("Index Cond"))]


def test_failures_and_retries_cost_what_failed(filled: Filled) -> None:
    world, _ = filled
    worker = world.worker()
    files = claims.claim(world.database, worker, "load", 1, 8)
    world.finish(worker, [Result(file, Dead("EACCES", "no")) for file in files])
    reports = Database(world.url)  # where the planner is free
    try:
        with explained(reports) as plans:
            assert [group.dead for group in failures.groups(reports, failures.Wanted())] == [8]
            assert retries.retry(reports, failures.Wanted(states=("dead",))).files == 8
        plans.assert_by_index()
    finally:
        reports.close()


@pytest.mark.parametrize("state", ["dead", "retrying"])
def test_a_retry_of_many_finds_each_by_its_key(filled: Filled, state: failures.FailureState) -> None:
    world, rows = filled
    failed = min(rows, 6000)  # more than one batch
    change = {"dead": "state = 'dead'", "retrying": "retry_at = now() + interval '1 hour', load_attempts = 1"}[state]
    world.execute(f"UPDATE inventory.file SET {change} WHERE directory_id < :end", end=2 + -(-failed // A_DIRECTORY))
    reports = Database(world.url)  # where the planner is free
    try:
        with explained(reports) as plans:
            assert retries.retry(reports, failures.Wanted(states=(state,))).files == failed
    finally:
        reports.close()
    plans.assert_by_key()


def test_due_directories_come_in_the_order_of_their_index(world: World) -> None:
    world.scan([Entry(f"d{n:05}", "d", 0, 1) for n in range(3000)])
    plan = world.one("""
        EXPLAIN (FORMAT JSON) SELECT d.id FROM inventory.directory d
        WHERE d.job_id = 1 AND d.state IN ('pending', 'scanned') AND d.next_scan_at <= now()
        ORDER BY d.next_scan_at, d.id LIMIT 10 FOR UPDATE OF d SKIP LOCKED""")
    assert "Sort" not in str(plan)
    assert "directory_due" in str(plan)
