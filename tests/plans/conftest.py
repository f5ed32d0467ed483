"""The worlds of the integration tests, here too."""

from __future__ import annotations

from tests.integration.conftest import world, worlds

__all__ = ["world", "worlds"]
