"""Chores that one pod does for all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from inventory import chores
from tests.integration.inventory_world import World


def test_a_chore_is_one_pods_and_once_in_its_time(world: World) -> None:
    with ThreadPoolExecutor(4) as pods:
        turns = list(pods.map(lambda _: chores.claim(world.database, "sweep /a", 600), range(8)))
    assert sum(turn is not None for turn in turns) == 1
    assert chores.claim(world.database, "sweep /b", 600) is not None
    world.execute("UPDATE inventory.chore SET begun_at = begun_at - interval '9 minutes'")
    assert chores.claim(world.database, "sweep /a", 600) is None
    world.execute("UPDATE inventory.chore SET begun_at = begun_at - interval '2 minutes'")
    assert chores.claim(world.database, "sweep /a", 600) is not None
    assert chores.claim(world.database, "sweep /a", 600) is None
