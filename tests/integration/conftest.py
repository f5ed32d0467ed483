"""Worlds of one test each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.inventory_world import World


@pytest.fixture
def worlds(inventory_url: str) -> Iterator[Callable[..., World]]:
    """Make the test's world with settings of its job."""
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(inventory_url, **settings))
        return made[-1]

    yield make
    for one in made:
        one.database.close()


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    return worlds()
