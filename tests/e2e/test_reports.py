"""A mixed load with failures: what operators are told of it adds up to the file."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from inventory import jobs
from sandbox.irods import SandboxServer
from tests.e2e.world import World, hashes_of

LONG = "n" * 200


def mixed_load(source: Path) -> None:
    """Forty good files, an odd name, a link, a socket, an empty file, and two whose path no iRODS takes."""
    for number in range(40):
        folder = source / f"d{number % 4}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number:02}").write_bytes(os.urandom(number * 7))
    (source / "a <b> & 'c'\n").write_bytes(b"odd")
    (source / "link").symlink_to("d0/f00")
    with socket.socket(socket.AF_UNIX) as endpoint:
        os.chdir(source)
        endpoint.bind("socket")
    deep = source
    for _ in range(4):
        deep = deep / LONG
    deep.mkdir(parents=True)
    for name in ("x", "y"):
        (deep / (name * 230)).write_bytes(b"too far")


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def finished(world: World, source: Path, tmp_path: Path) -> World:
    """A job that has ended with all that can go wrong in it."""
    before = Path.cwd()
    try:
        mixed_load(source)
    finally:
        os.chdir(before)
    world.start_job(source)
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    return world


def test_every_report_adds_up_to_the_file(finished: World, source: Path, tmp_path: Path) -> None:
    world = finished
    files = hashes_of(source)
    good = {path for path in files if LONG not in path}
    counts = world.counts()
    assert counts == {"verified": len(good), "dead": 2, "skipped": 2}

    told = world.ingest("report", "job", "--format", "jsonl")
    assert told.returncode == 0, told.stdout[-2000:]
    head, *rows, last = lines_of(told.stdout)
    summary = last["summary"]
    assert head["report"]["job"] == "job"
    assert Counter(row["state"] for row in rows) == counts
    assert {row["path"] for row in rows} >= files.keys()
    assert summary["files"] == len(rows) == sum(counts.values())
    assert summary["bytes"] == sum(row["size"] for row in rows)
    assert all(check["agrees"] for check in summary["checks"]), summary["checks"]
    assert [check["what"] for check in summary["checks"]] == ["rows written", "source", "good replicas in iRODS"]
    assert summary["unchecked"] == {}
    unasked = lines_of(world.ingest("report", "job", "--json", "--no-source", "--no-catalogue").stdout)[-1]["summary"]
    assert [check["what"] for check in unasked["checks"]] == ["rows written"]
    assert set(unasked["unchecked"]) == {"source", "good replicas in iRODS"}
    [failed] = [group for group in summary["failures"] if group["dead"]]
    assert (failed["error"], failed["dead"]) == ("path_too_long", 2)
    assert "rename" in failed["hint"]

    table = list(csv.DictReader(io.StringIO(world.ingest("report", "job", "--format", "csv").stdout)))
    assert Counter(row["state"] for row in table if row["record"] == "file") == counts
    assert {row["state"]: int(row["files"]) for row in table if row["record"] == "state"} == counts
    assert {row["state"] for row in table if row["record"] == "check"} == {"agrees"}

    page = tmp_path / "report.html"
    assert world.ingest("report", "job", "-o", str(page)).returncode == 0
    body = page.read_text().removeprefix("<!doctype html>\n").replace('<meta charset="utf-8">', "")
    body = body.replace('<meta name="viewport" content="width=device-width, initial-scale=1">', "")
    parsed = ElementTree.fromstring(body)  # every tag is closed and every name escaped
    tables = {table.findtext("caption"): table.findall("tbody/tr") for table in parsed.iter("table")}
    assert len(tables["Every file"]) == len(rows)
    assert "All counts agree." in "".join(parsed.itertext())
    assert "http" not in page.read_text().replace("http-equiv", "")

    [group] = lines_of(world.ingest("failures", "--json").stdout)
    assert (group["error"], group["dead"], group["retrying"]) == ("path_too_long", 2, 0)
    each = lines_of(world.ingest("failures", "--files", "--json", "--job", "job").stdout)
    assert {one["path"] for one in each} == {path for path in files if LONG in path}
    assert "path_too_long" in world.ingest("failures").stdout
    each_name_explains_the_file(world, source)
    world.stop()


def each_name_explains_the_file(world: World, source: Path) -> None:
    for name in (f"file://{source}/d1/f05", f"{world.target}/d1/f05"):
        told = world.ingest("explain", name, "--json")
        assert told.returncode == 0, told.stderr
        [one] = lines_of(told.stdout)
        assert (one["path"], one["file"]["state"], one["next"]) == ("d1/f05", "verified", "nothing more to do")
        assert one["file"]["loaded_by"].startswith("loader")
        assert one["file"]["checksum"].startswith("sha2:")
    assert "symbolic link" in world.ingest("explain", f"{source}/link").stdout
    assert world.ingest("explain", "nowhere").returncode == 1


def test_a_lie_is_found_by_report_and_audit(finished: World, source: Path) -> None:
    world = finished
    world.stop()
    audited = world.ingest("audit", "job", "--json")
    *found, last = lines_of(audited.stdout)
    assert (audited.returncode, audited.stderr, {one["kind"] for one in found}) == (1, "", {"failed"})
    assert last["summary"]["objects"] == 41
    with world.irods() as session:
        session.data_objects.unlink(f"{world.target}/d0/f00", force=True)
        with session.data_objects.open(f"{world.target}/d1/f05", "w") as file:
            file.write(b"other bytes")
        session.collections.create(f"{world.target}/attic")
        with session.data_objects.open(f"{world.target}/attic/dark", "w") as file:
            file.write(b"dark")
    (source / "d2" / "f02").unlink()
    (source / "d3" / "f03").write_bytes(b"changed since")
    (source / "late").touch()
    audited = world.ingest("audit", "job", "--json")
    *found, last = lines_of(audited.stdout)
    assert {one["path"]: one["kind"] for one in found if one["kind"] != "failed"} == {
        "d0/f00": "missing", "d1/f05": "size_differs", "attic/": "dark", "attic/dark": "dark", "d2/f02": "gone",
        "d3/f03": "stale", "late": "missed",
    }  # fmt: skip
    assert last["summary"]["faults"] == len(found) == 9
    told = world.ingest("report", "job", "--format", "jsonl")
    assert told.returncode == 1
    assert [check["agrees"] for check in lines_of(told.stdout)[-1]["summary"]["checks"]][0:2] == [True, False]


def test_a_retry_counts_and_asks_first(sandbox_world: World, sandbox: SandboxServer, source: Path) -> None:
    world = sandbox_world
    for name in ("a", "b", "c"):
        (source / name).write_bytes(name.encode())
    world.environment["INGEST_BUNDLE__MAX_FILE_BYTES"] = "0"
    sandbox.faults.add("error", api=606, code=-818000)
    world.start_job(source)
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"dead": 3}
    asked = world.ingest("retry", "--job", "job")
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    counted = world.ingest("retry", "--error", "CAT_NO_ACCESS_PERMISSION", "--path", "b", "--dry-run", "--json")
    assert json.loads(counted.stdout) == {"files": 1, "directories": 0}
    assert world.counts() == {"dead": 3}
    sandbox.faults.clear()
    assert json.loads(world.ingest("retry", "--job", "job", "--yes", "--json").stdout)["files"] == 3
    world.wait_finished()
    assert world.counts() == {"verified": 3}
    job = jobs.find(world.database, "job")
    assert job is not None
    assert world.ingest("report", "job", "--format", "jsonl").returncode == 0
    world.stop()
