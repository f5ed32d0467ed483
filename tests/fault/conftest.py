"""Worlds of the tests of what dies: a bare inventory, and whole installations over servers of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import logs, sandbox, source
from tests.e2e.conftest import sandbox_world as long_leased
from tests.e2e.world import World as Pods
from tests.integration.inventory_world import World

__all__ = ["logs", "long_leased", "sandbox", "source"]


@pytest.fixture
def sandbox_world(long_leased: Pods) -> Pods:
    """Pods over the sandbox; what one held that died is soon free."""
    return long_leased.with_short_leases()


@pytest.fixture
def world(inventory_url: str) -> Iterator[World]:
    """An inventory with one job, without pods."""
    made = World(inventory_url)
    yield made
    made.database.close()
