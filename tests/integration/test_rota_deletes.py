"""Only jobs that delete have their vanished files claimed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inventory.rota import Rota
from tests.integration.inventory_world import World


@pytest.mark.parametrize(("mode", "claimed"), [("do_not_delete", []), ("trash", ["a"]), ("no_trash", ["a"])])
def test_a_job_that_deletes_nothing_leaves_vanished_files_alone(
    worlds: Callable[..., World], mode: str, claimed: list[str]
) -> None:
    world = worlds(delete_mode=mode)
    world.add("a", "b")
    world.add("b")
    rota = Rota(world.database, world.worker())
    assert [file.name for file in rota.claim_files("delete", 10)] == claimed
