"""Worlds of the tests of what dies: a bare inventory, and whole installations over servers of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import logs, sandbox, sandbox_world, source
from tests.integration.inventory_world import World

__all__ = ["logs", "sandbox", "sandbox_world", "source", "world"]


@pytest.fixture
def world(inventory_url: str) -> Iterator[World]:
    """An inventory with one job, without pods."""
    made = World(inventory_url)
    yield made
    made.database.close()
