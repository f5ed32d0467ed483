"""The status page in a real Chromium: collected where Playwright and a Chromium are installed (`make test-browser`)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.irods import SandboxServer
from tests.e2e.world import World, environment_of
from tests.web.conftest import TOKEN, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
collect_ignore_glob = [] if find_spec("playwright") and CHROMIUM else ["test_*.py"]


@pytest.fixture
def world(tmp_path: Path, inventory_url: str) -> Iterator[World]:
    (tmp_path / "logs").mkdir()
    with SandboxServer(tmp_path / "irods") as server:
        world = World(inventory_url, environment_of(tmp_path, server.environment, "rods"), tmp_path / "logs")
        yield world
        world.close()


@pytest.fixture
def address(world: World) -> Iterator[str]:
    with serving({**world.environment, "WEB_TOKEN": TOKEN}) as address:
        yield address


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """A window at the first page. What the browser complains of fails the test."""
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(base_url=address, viewport={"width": 1280, "height": 900})
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("request", lambda request: None if request.url.startswith(address) else said.append(request.url))
        page.goto("/")
        yield page
        browser.close()
    # a wrong token is answered with 401, which a browser remarks on
    assert [words for words in said if "401 (Unauthorized)" not in words] == []
