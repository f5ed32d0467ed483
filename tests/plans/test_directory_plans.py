"""The watchers' statements about directories go by index at any size, also where nobody has analysed.

PLAN_ROWS=1000000 runs them over a million directories; the default keeps the suite short.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from inventory import collections, directories, housekeeping, looks
from inventory.looks import Seen
from tests.integration.inventory_world import World
from tests.plans.recorder import Node, explained, nodes

FEW, MANY = 10, int(os.environ.get("PLAN_ROWS", "40000"))
_FILL = """
    INSERT INTO inventory.directory (job_id, parent_id, shard, path, state, scan_started_at, scan_finished_at, next_scan_at,
        listing_digest, modified_at)
    SELECT :job, d.id, d.shard, 'd' || n, 'scanned', now(), now(), now(), 1, 1
    FROM inventory.directory d, generate_series(1, :rows) n WHERE d.path = ''
"""


@pytest.fixture(params=[(FEW, False), (MANY, False), (MANY, True)], ids=["few", "many", "analysed"])
def due(request: pytest.FixtureRequest, worlds: Callable[..., World]) -> World:
    """A job with so many directories that were listed and are due again."""
    rows, analysed = request.param
    world = worlds()
    world.execute("ALTER TABLE inventory.directory SET (autovacuum_enabled = off)")
    world.execute("UPDATE inventory.directory SET next_scan_at = NULL")
    world.execute(_FILL, job=world.job.id, rows=rows)
    if analysed:
        world.execute("ANALYZE")
    return world


def by(looked: list[Node]) -> set[tuple[str, bool]]:
    """The indexes that were used, each with whether by a condition."""
    return {(node.get("Index Name", node["Node Type"]), "Index Cond" in node) for node in looked}


def test_a_rescan_goes_by_the_index_of_due_directories_and_by_key(due: World) -> None:
    job = [due.job.id]
    places = directories.Places()
    with explained(due.database, "directory") as plans:
        first = directories.claim(due.database, due.watcher, job, 3, places, looking=True)
        second = directories.claim(due.database, due.watcher, job, 4, places, looking=True)
        assert looks.unchanged(due.database, due.watcher, [Seen(one, 1) for one in first], None) == 3
        assert len(looks.take(due.database, due.watcher, second)) == 4
        directories.release_all(due.database, due.watcher)
    assert by(plans.of("NOT EXISTS ( SELECT FROM inventory.look")) == {
        ("directory_due", True),
        ("directory_pkey", True),
    }
    assert by(plans.of("listing_digest = r.digest")) == {("directory_pkey", True)}
    assert by(plans.of("scan_started_at = CAST(")) == {("directory_pkey", True)}
    assert by(plans.of("next_scan_at = now() WHERE claimed_by")) == {("directory_claimed", True)}
    walks = [node for node in plans.of("(d.next_scan_at, d.id) > (CAST(") if node["Index Name"] == "directory_due"]
    assert walks
    assert all("ROW(" in walk["Index Cond"] for walk in walks), "the place of the watcher is no condition of the index"


def test_collections_are_claimed_in_the_order_of_their_index(due: World) -> None:
    """Of several jobs too, and however many are wanted, changed or gone: none are sorted, nor any but those read."""
    loader, jobs = due.worker(), [due.job.id, due.job.id + 1]
    with explained(due.database, "directory") as plans:
        [root] = collections.claim(due.database, loader, jobs, 5)
        collections.made(due.database, loader, [root.directory_id])
        assert len(collections.claim(due.database, loader, jobs, 5)) == 5
        due.execute("UPDATE inventory.directory SET collection_changed = true, collection_claimed_by = NULL")
        assert len(collections.claim_changed(due.database, loader, jobs, 5)) == 5
        due.execute(
            "UPDATE inventory.directory SET collection_claimed_by = NULL, collection_made_at = now(), state = 'vanished'"
        )
        due.execute("UPDATE inventory.job SET deletes_cleared_at = now()")
        assert len(collections.claim_gone(due.database, loader, jobs, 5)) == 5
    for words, index in (
        ("collection_begun AS begun", "collection_wanted"),
        ("d.collection_changed AND", "collection_changed"),
        ("d.scan_finished_at <=", "collection_gone"),
    ):
        assert (index, True) in by(plans.of(words))
        assert by(plans.of(words)) <= {(index, True), ("directory_pkey", True), ("directory_of_parent", True)}
        claims = [plan for statement, plan in plans.found if words in statement]
        assert not [node for plan in claims for node in nodes(plan) if "Sort" in node["Node Type"]]


def test_a_dead_watcher_is_blamed_by_index(due: World) -> None:
    directories.claim(due.database, due.watcher, [due.job.id], 5, looking=True)
    due.execute("UPDATE inventory.worker SET expired_at = now() WHERE id = :id", id=due.watcher)
    with explained(due.database, "directory") as plans:
        housekeeping.tidy(due.database, lease_seconds=3600, max_reaps=5)
    assert due.one("SELECT count(*) FROM inventory.directory WHERE reaps = 1") == 5
    assert by(plans.of("DELETE FROM inventory.look")) == {("directory_due", True), ("directory_pkey", True)}
    assert by(plans.of("d.claimed_by = ANY")) <= {("directory_claimed", True), ("directory_pkey", True)}
