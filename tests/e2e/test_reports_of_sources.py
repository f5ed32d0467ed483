"""Reports and audits of jobs over buckets, of jobs by manifest, and of jobs with filters add up to the file as well."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import World, eventually
from tests.s3.service import Service, running


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("s3")) as service:
        yield service


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def adds_up(world: World, counts: dict[str, int], at_source: int) -> None:
    """Whether the report in each form, the audit and the counts say the same."""
    told = world.ingest("report", "job", "--format", "jsonl")
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr
    *_, last = lines_of(told.stdout)
    checks = {check["what"]: check for check in last["summary"]["checks"]}
    assert set(checks) == {"rows written", "source", "good replicas in iRODS"}
    assert all(check["agrees"] for check in checks.values()), checks
    assert checks["source"]["files"] == at_source
    rows = list(csv.DictReader(io.StringIO(world.ingest("report", "job", "--format", "csv").stdout)))
    assert Counter(row["state"] for row in rows if row["record"] == "file") == counts
    audited = world.ingest("audit", "job", "--json")
    *found, last = lines_of(audited.stdout)
    assert last["summary"]["inventory"] == counts
    assert {one["kind"] for one in found} <= {"failed"}, found
    assert len(found) == counts.get("dead", 0)


def test_a_bucket_with_an_object_in_the_archive_and_one_that_is_gone(world: World, s3: Service) -> None:
    keys = ("plain", "a//b", "same", "same/below", "tab\there", "k" * 200, "gone", "deep/er/leaf")
    bucket = s3.bucket(*(f"in/{key}" for key in keys), size=5)
    s3.client.put_object(Bucket=bucket, Key="in/cold", Body=b"ice", StorageClass="DEEP_ARCHIVE")
    world.environment |= s3.environment() | {"INGEST_S3__LIST_PAGE": "3"}
    started = world.ingest("job", "start", f"s3://{bucket}/in", world.target, "--name", "job")
    assert started.returncode == 0, started.stderr
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    s3.client.delete_object(Bucket=bucket, Key="in/gone")
    assert world.ingest("job", "rescan", "job").returncode == 0
    counts = {"verified": 7, "dead": 1, "vanished": 1}
    eventually(lambda: str(world.counts()), lambda: world.counts() == counts)
    world.wait_finished()
    adds_up(world, counts, at_source=8)
    [one] = lines_of(world.ingest("explain", f"s3://{bucket}/in/same", "--json").stdout)
    assert (one["file"]["state"], one["logical_path"]) == ("verified", f"{world.target}/same%2F")
    checked = {
        check["name"]: check
        for check in lines_of(world.ingest("doctor", "--job", "job", "--only", "source", "--json").stdout)
    }
    assert checked["readable"]["verdict"] == "OK"
    s3.client.put_object(Bucket=bucket, Key="in/new", Body=b"unseen")
    s3.client.put_object(Bucket=bucket, Key="in/plain", Body=b"other bytes")
    *found, _ = lines_of(world.ingest("audit", "job", "--json").stdout)
    assert {one["path"]: one["kind"] for one in found} == {"cold": "failed", "new": "missed", "plain": "stale"}
    assert world.ingest("report", "job", "--format", "jsonl").returncode == 1
    world.stop()


def test_a_manifest_counts_what_it_names(world: World, source: Path, tmp_path: Path) -> None:
    for name in ("good", "d/plain", "unnamed", "d/unnamed", "other/unnamed", "bad"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(name.encode())
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"good,4\nd/plain\nbad,,,{'0' * 64}\nmissing\n")
    world.environment["INGEST_JOB__MAX_ATTEMPTS"] = "1"
    world.start_job(source, "--manifest", str(manifest))
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    counts = {"verified": 2, "dead": 1, "vanished": 1}
    assert world.counts() == counts
    adds_up(world, counts, at_source=3)
    (source / "good").unlink()
    *found, _ = lines_of(world.ingest("audit", "job", "--json").stdout)
    assert {one["path"]: one["kind"] for one in found} == {"bad": "failed", "good": "gone"}
    assert world.ingest("report", "job", "--format", "jsonl").returncode == 1
    world.stop()


def test_what_filters_leave_out_is_nobodys_fault(world: World, source: Path) -> None:
    for name in ("kept", "left.tmp", "scratch/x", "d/kept", "d/left.tmp", "later"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(name.encode())
    world.start_job(source, "--exclude", "*.tmp", "--exclude", "scratch/")
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"verified": 3}
    adds_up(world, {"verified": 3}, at_source=3)
    world.stop()
    changed = world.ingest("job", "set", "job", "--exclude", "later", "--exclude", "*.tmp", "--exclude", "scratch/")
    assert changed.returncode == 0, changed.stderr
    audited = world.ingest("audit", "job", "--json")
    assert (audited.returncode, lines_of(audited.stdout)[-1]["summary"]["faults"]) == (0, 0), audited.stdout
