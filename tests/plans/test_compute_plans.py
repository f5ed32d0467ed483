"""The statements about compute tasks go by index however many tasks wait or are done, also where nobody has analysed.

PLAN_ROWS=1000000 runs this over a million tasks of each kind; the default keeps the suite short.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from core.rules import Rule
from inventory import compute, housekeeping
from inventory.compute import Failure, Progress
from tests.integration.inventory_world import World
from tests.plans.recorder import Plans, explained, nodes

ROWS = int(os.environ.get("PLAN_ROWS", "10000"))
RULE = Rule.model_validate({"name": "r", "match": "*", "image": "i", "output": "/z/out"})
_FILL = """
    INSERT INTO inventory.compute_job (rule, input, generation, state, settings, k8s_name, check_at)
    SELECT 'r', '/z/' || s || n, 1, s::inventory.compute_state, CAST(:rule AS jsonb), s || n,
        now() + CASE WHEN s = 'waiting' THEN interval '1 hour' ELSE interval '-1 s' END
    FROM generate_series(1, :rows) n, unnest(ARRAY['waiting', 'requested', 'succeeded', 'dead']) s
"""


@pytest.fixture(params=[False, True], ids=["copied", "analysed"])
def tasks(request: pytest.FixtureRequest, worlds: Callable[..., World]) -> World:
    """So many tasks that wait, that are done, and that are dead."""
    world = worlds()
    world.execute("ALTER TABLE inventory.compute_job SET (autovacuum_enabled = off)")
    world.execute(_FILL, rule=RULE.model_dump_json(), rows=ROWS)
    if request.param:
        world.execute("ANALYZE")
    return world


def assert_by_condition(plans: Plans) -> None:
    """Tasks are found by a condition of an index; of those that are claimed all are counted."""
    assert plans.found
    for statement, plan in plans.found:
        for node in nodes(plan):
            if node["Node Type"] != "ModifyTable" and node.get("Relation Name") == "compute_job":
                index = node.get("Index Name")
                assert "Index Cond" in node or index == "compute_claimed", f"{node['Node Type']} {index}: {statement}"


def test_tasks_are_found_by_index_whatever_becomes_of_them(tasks: World) -> None:
    database, worker, dead = tasks.database, tasks.worker(), tasks.worker()
    with explained(database, "compute_job") as plans:
        assert compute.request(database, RULE, [("/z/new", 1), ("/z/requested1", 1)]) == 1
        assert compute.release_complete(database) == 0
        done, failed, given_back, *kept = compute.claim(database, worker, 5, 8)
        assert len(kept) == 2
        assert compute.advance(database, worker, done, Progress("succeeded"))
        compute.keep(database, worker, [failed, given_back])
        assert compute.fail(database, worker, failed, Failure("e", "m"), 60) == "requested"
        assert compute.release(database, worker, [given_back]) == 0
        [again] = compute.claim(database, worker, 1, 8)
        assert compute.advance(database, worker, again, Progress("submitted", check_seconds=60))
        assert compute.look_now(database, [again.job_name, "requested2-0"]) == 1
        assert compute.claim(database, dead, 3, 8)
        tasks.execute("UPDATE inventory.worker SET expired_at = now() WHERE id = :dead", dead=dead)
        housekeeping.tidy(database, lease_seconds=3600, max_reaps=5)
    assert tasks.one("SELECT count(*) FROM inventory.compute_job WHERE claimed_by IS NOT NULL") == 0
    assert_by_condition(plans)
