"""Jobs by manifest, end to end: what it names is in iRODS, held to the checksums it gives."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import World, eventually
from tests.s3.service import Service, running


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("s3")) as service:
        yield service


def test_files_of_a_csv_are_brought_and_held_to_their_checksums(world: World, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    digests = {}
    for name in ("good", "d/sha1", "md5", "plain", "unnamed", "bad", "large", "large bad"):
        data = name.encode() * (5_000_000 if name.startswith("large") else 10)
        (source / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    (source / "touched").write_bytes(b"now")
    md5 = hashlib.md5((source / "md5").read_bytes()).hexdigest()
    large = hashlib.md5((source / "large").read_bytes()).hexdigest()
    sha1 = hashlib.sha1((source / "d/sha1").read_bytes()).hexdigest()
    wrong = hashlib.sha256(b"other").hexdigest()
    manifest = tmp_path / "list.csv"
    lines = [f"good,40,1,{digests['good']}", f"d/sha1,,,{sha1}", f"md5,,,{md5}", "plain", f"bad,,,{wrong}"]
    lines += [f"large,,,{large}", f"large bad,,,{md5}", "missing", "touched,1,1"]
    manifest.write_text("\n".join(lines) + "\n")
    world.environment["INGEST_JOB__MAX_ATTEMPTS"] = "2"
    world.start_job(source, "--manifest", str(manifest))
    world.start("watcher", "loader", "verifier")
    wanted = {"verified": 6, "dead": 2, "vanished": 1}
    eventually(lambda: str(world.counts()), lambda: world.counts() == wanted)
    world.wait_finished()
    dead = {path: line.error for path, line in world.lines().items() if line.state == "dead"}
    assert dead == dict.fromkeys(("bad", "large bad"), "source_checksum_mismatch")
    held = world.held_by_irods()
    for name in ("good", "d/sha1", "md5", "plain", "large"):
        assert held[name] == digests[name]
    assert held["touched"] == hashlib.sha256(b"now").hexdigest()
    assert "unnamed" not in held
    more = tmp_path / "more"
    more.write_bytes(b"unnamed\0plain\0")
    added = world.ingest("job", "add", "job", str(more))
    assert added.returncode == 0, added.stderr
    eventually(lambda: str(world.counts()), lambda: world.counts() == wanted | {"verified": 7})
    world.wait_finished()
    assert world.lines()["plain"].load_attempts == 1
    world.stop()


def test_a_bad_line_starts_nothing(world: World, tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text("a,1\n../b,1\n")
    refused = world.ingest("job", "start", str(tmp_path), world.target, "--name", "job", "--manifest", str(manifest))
    assert refused.returncode == 2
    assert f"{manifest}:2:" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert world.ingest("job", "show", "job").returncode == 2
    refused = world.ingest(
        "job", "start", str(tmp_path), world.target, "--name", "job", "--manifest", str(manifest), "--rescan", "5"
    )
    assert "leave out --rescan" in refused.stderr


def test_an_inventory_of_s3_names_the_objects(world: World, s3: Service, tmp_path: Path) -> None:
    bucket = s3.bucket("in/same", "in/same/é b", "in//odd", "in/made/", "out", "in/unlisted")
    s3.client.put_object(Bucket=bucket, Key="in/folder/", Body=b"")
    listed = s3.client.list_objects_v2(Bucket=bucket)["Contents"]
    with gzip.open(tmp_path / "1.csv.gz", "wt", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(
            [bucket, one["Key"].replace(" ", "+"), one["Size"], one["LastModified"].isoformat(), one["ETag"].strip('"')]
            for one in listed
            if one["Key"] != "in/unlisted"
        )
    said = {"sourceBucket": bucket, "fileFormat": "CSV", "files": [{"key": "some/where/data/1.csv.gz"}]}
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(said | {"fileSchema": "Bucket, Key, Size, LastModifiedDate, ETag"}))
    world.environment |= s3.environment()
    done = world.ingest("job", "start", f"s3://{bucket}/in", world.target, "--name", "job", "--manifest", str(manifest))
    assert done.returncode == 0, done.stderr
    assert "1 of another bucket or prefix" in done.stdout
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"verified": 4}
    assert set(world.held_by_irods()) == {"same%2F", "same/é b", "%2F/odd", "made/%2F"}
    assert "folder" in world.collections()
    assert all(line.load_attempts == 1 for line in world.lines().values())
    world.stop()
