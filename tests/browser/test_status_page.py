"""The status page as an operator uses it, with eyes, a keyboard, and a token. SCREENSHOTS=folder keeps pictures for the docs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.world import World, eventually
from tests.web.conftest import TOKEN

FILES = 400
MINUTE = 60_000


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.fixture
def source() -> Iterator[Path]:
    """Some files at a place that looks well on a picture."""
    with TemporaryDirectory(prefix="archive-") as folder:
        for number in range(FILES):
            path = Path(folder) / f"run{number % 8}" / f"sample{number:03}.dat"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(os.urandom(2000 + number))
        yield Path(folder)


def test_an_operator_follows_a_job_from_its_start_to_a_failed_file(page: Page, world: World, source: Path) -> None:
    expect(page.get_by_text("No job has been started")).to_be_visible()
    world.environment["INGEST_JOB__MAX_RELOADS"] = "0"
    world.start_job(source, name="beamline-7")
    world.start("watcher", "loader", "loader")
    # nobody reloads the page: it keeps itself current
    link = page.get_by_role("link", name="beamline-7")
    expect(link).to_be_visible(timeout=MINUTE)
    eventually("all is loaded", lambda: world.counts().get("loaded") == FILES)
    wrong = world.physical_path("run1/sample001.dat")
    wrong.write_bytes(b"x" * wrong.stat().st_size)
    world.start("verifier")
    world.wait_finished("beamline-7")
    expect(page.get_by_role("row", name=re.compile("beamline-7.*finished"))).to_be_visible(timeout=MINUTE)
    picture(page, "jobs")
    link.click()
    expect(page.get_by_role("heading", name="beamline-7")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("verified 399"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("dead 1 "))).to_be_visible()
    picture(page, "job")
    page.get_by_role("link", name="checksum_mismatch").click()
    page.get_by_role("link", name="run1/sample001.dat").click()
    expect(page.get_by_text("a dead letter waits for a person")).to_be_visible()
    picture(page, "file")
    page.get_by_role("link", name="Workers").click()
    expect(page.get_by_role("row", name=re.compile("loader-1 loader alive"))).to_be_visible()
    assert page.locator("svg.chart rect.block").count() >= 2
    picture(page, "workers")
    with page.expect_download() as download:
        page.get_by_role("link", name="As Chrome trace").click()
    events = json.loads(Path(download.value.path()).read_text())["traceEvents"]
    assert sum(event["args"]["files"] for event in events if event["ph"] == "X" and event["cat"] == "load") == FILES


def test_control_is_for_who_has_the_token(page: Page, world: World, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    world.start_job(source, name="night")
    page.goto("/jobs/night")
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    page.goto("/sign-in")
    page.get_by_label("Control token").fill("wrong")
    with page.expect_response("**/sign-in") as answer:
        page.get_by_role("button", name="Sign in").click()
    assert answer.value.status == 401
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Control token").fill(TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    page.goto("/jobs/night")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("heading", name="night paused")).to_be_visible()
    job = eventually("the job is paused", lambda: world.ingest("job", "list").stdout)
    assert "paused" in job
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("heading", name="night running")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    page.goto("/jobs/night")
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)


def test_a_keyboard_reaches_everything_and_the_first_stop_skips_the_navigation(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    for name in ("Jobs", "Workers", "REST", "Sign in"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()


def test_it_stands_still_under_a_keyboard_and_when_it_is_asked_to(page: Page, world: World, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    page.goto("/workers")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/workers") else None)
    hour = page.get_by_role("link", name="1 h", exact=True)
    hour.focus()
    page.wait_for_timeout(6000)  # it would have asked by now
    expect(hour).to_be_focused()
    page.get_by_role("button", name="Hold still").click()
    page.wait_for_timeout(6000)
    assert asked == []
    with page.expect_request("**/workers"):
        page.get_by_role("button", name="Hold still").click()


def test_dark_is_dark(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 27)"
    picture(page, "dark")
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
