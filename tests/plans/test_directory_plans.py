"""The watchers' statements about directories go by index at any size, also where nobody has analysed.

PLAN_ROWS=1000000 runs them over a million directories; the default keeps the suite short.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from inventory import directories, housekeeping, looks
from inventory.looks import Seen
from tests.integration.inventory_world import World
from tests.plans.recorder import Node, explained

FEW, MANY = 10, int(os.environ.get("PLAN_ROWS", "100000"))
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


def test_a_dead_watcher_is_blamed_by_index(due: World) -> None:
    directories.claim(due.database, due.watcher, [due.job.id], 5, looking=True)
    due.execute("UPDATE inventory.worker SET expired_at = now() WHERE id = :id", id=due.watcher)
    with explained(due.database, "directory") as plans:
        housekeeping.tidy(due.database, lease_seconds=3600, max_reaps=5)
    assert due.one("SELECT count(*) FROM inventory.directory WHERE reaps = 1") == 5
    assert by(plans.of("DELETE FROM inventory.look")) == {("directory_due", True), ("directory_pkey", True)}
    assert by(plans.of("d.claimed_by = ANY")) <= {("directory_claimed", True), ("directory_pkey", True)}
