"""Only jobs that delete have their vanished files claimed, and a deletion may be a poison as a load may."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.settings import Settings
from inventory import housekeeping, jobs
from inventory.pod import Member
from inventory.rota import Rota
from inventory.workers import Lease
from loader.delete import Deletion
from loader.stage import LoadStage
from tests.integration.inventory_world import World


@pytest.mark.parametrize(("mode", "claimed"), [("do_not_delete", []), ("trash", ["a"]), ("no_trash", ["a"])])
def test_a_job_that_deletes_nothing_leaves_vanished_files_alone(
    worlds: Callable[..., World], mode: str, claimed: list[str]
) -> None:
    world = worlds(delete_mode=mode)
    world.add("a", "b")
    world.add("b")
    world.clear_deletes()
    rota = Rota(world.database, world.worker())
    assert [file.name for file in rota.claim_files("delete", 10)] == claimed


def test_what_is_claimed_for_deletion_goes_by_the_settings_of_now(worlds: Callable[..., World]) -> None:
    """A loader that read the jobs a moment ago deletes nothing without the sentinel that was set since."""
    world = worlds(delete_mode="no_trash")
    world.add("a")
    world.add()
    world.clear_deletes()
    rota = Rota(world.database, world.worker(), lambda: 0.0)  # for which no second ever passes
    rota.running()
    jobs.set_settings(world.database, world.job.id, {"sentinel": "MOUNTED"})
    assert rota.job(world.job.id).settings.sentinel is None
    assert [file.name for file in rota.claim_files("delete", 10)] == ["a"]
    assert rota.job(world.job.id).settings.sentinel == "MOUNTED"


def test_only_the_deletion_that_was_begun_is_blamed_in_the_end(worlds: Callable[..., World]) -> None:
    world = worlds(delete_mode="trash")
    world.add("a", "b")
    world.add()
    world.clear_deletes()
    for deaths in range(1, 6):
        lease = Lease(world.database, "loader", "pod", "test")
        member = Member(Settings(), world.database, lease, Rota(world.database, lease.worker))
        stage = LoadStage(member)
        deletions = {d.file.name: d for unit in stage.claim(10) for d in unit if isinstance(d, Deletion)}
        assert [stage.is_suspect(d) for d in deletions.values()] == [deaths > 2] * 2
        if deaths > 2:
            assert stage.begin(deletions["a"])
        world.execute("UPDATE inventory.worker SET expired_at = now() WHERE id = :id", id=lease.worker)
        housekeeping.tidy(world.database, lease_seconds=3600, max_reaps=5)
    assert world.rows("name, state, reaps") == [("a", "dead", 5), ("b", "vanished", 2)]
