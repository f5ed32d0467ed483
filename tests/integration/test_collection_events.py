"""Collections that existed before their job: their event of change has attempts of its own, as far apart as a handler says."""

from __future__ import annotations

from inventory import collections
from inventory.claims import Limits
from inventory.collections import ClaimedCollection, Unmade
from tests.integration.inventory_world import World


def test_a_collection_that_existed_is_told_as_a_change_however_often_that_fails(world: World) -> None:
    loader, jobs = world.worker(), [world.job.id]
    world.add("a")
    [root] = collections.claim(world.database, loader, jobs, 10)
    collections.made(world.database, loader, [root.directory_id], [root.directory_id])

    def due() -> list[ClaimedCollection]:
        assert collections.claim(world.database, loader, jobs, 10) == []
        return collections.claim_changed(world.database, loader, jobs, 10)

    for attempt in range(3):
        [changed] = due()
        assert (changed.changed, changed.attempts) == (True, attempt)
        again = Unmade(changed, "LookupError", "not yet", False, 0.0)
        collections.failed(world.database, loader, [again], Limits(max_attempts=2))
    [changed] = due()
    collections.failed(world.database, loader, [Unmade(changed, "LookupError", "no", False, 3600.0)], Limits())
    assert due() == []
    world.execute("UPDATE inventory.directory SET collection_retry_at = now()")
    [changed] = due()
    collections.told(world.database, loader, [changed.directory_id])
    assert due() == []
