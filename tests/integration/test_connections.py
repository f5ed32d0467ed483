"""The cap on connections of all pods together."""

from __future__ import annotations

from inventory import connections
from tests.integration.inventory_world import World


def granted(world: World) -> int:
    total: int = world.one("SELECT sum(connections)::int FROM inventory.worker WHERE expired_at IS NULL")
    return total


def test_workers_share_the_cap_and_never_exceed_it(world: World) -> None:
    first, second, third = (world.worker() for _ in range(3))
    assert connections.grant(world.database, first, 4, 8) == 2  # three are alive: each may have two
    assert connections.grant(world.database, second, 4, 8) == 2
    assert connections.grant(world.database, third, 1, 8) == 1
    world.execute("UPDATE inventory.worker SET stopped_at = now() WHERE id = :id", id=third)
    assert connections.grant(world.database, first, 4, 8) == 4
    assert granted(world) <= 8


def test_a_new_worker_gets_what_is_free_until_others_share(world: World) -> None:
    first = world.worker()
    assert connections.grant(world.database, first, 8, 8) == 8
    second = world.worker()
    assert connections.grant(world.database, second, 8, 8) == 0
    assert connections.grant(world.database, first, 8, 8) == 4
    assert connections.grant(world.database, second, 8, 8) == 4


def test_what_is_still_open_counts_until_it_is_closed(world: World) -> None:
    first = world.worker()
    assert connections.grant(world.database, first, 8, 8) == 8
    second = world.worker()
    assert connections.grant(world.database, first, 8, 8, held=7) == 4  # three threads are still at a large file
    assert connections.grant(world.database, second, 8, 8) == 1
    assert granted(world) == 8
    assert connections.grant(world.database, first, 8, 8, held=4) == 4
    assert connections.grant(world.database, second, 8, 8, held=1) == 4
    assert granted(world) == 8


def test_overload_halves_the_cap_once_and_it_grows_again(world: World) -> None:
    worker = world.worker()
    assert connections.grant(world.database, worker, 16, 16) == 16
    world.execute("UPDATE inventory.connection_limit SET changed_at = now() - interval '1 minute'")
    connections.overloaded(world.database)
    connections.overloaded(world.database)  # the same overload, felt by another pod
    assert connections.grant(world.database, worker, 16, 16) == 8
    world.execute("UPDATE inventory.connection_limit SET changed_at = now() - interval '1 minute'")
    assert connections.grant(world.database, worker, 16, 16) == 9
    assert connections.grant(world.database, worker, 16, 16) == 9
    assert connections.grant(world.database, worker, 16, 4) == 4  # the setting was lowered
