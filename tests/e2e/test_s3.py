"""A bucket, end to end: every object is in iRODS with the same bytes, and follows what happens to it in the bucket."""

from __future__ import annotations

import hashlib
import random
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from core.sources import keys
from tests.e2e.world import World, eventually
from tests.s3.front import before, cut_after, error, first
from tests.s3.service import Service, running

ODD_KEYS = [
    "plain", "with space", "plus+and%20percent", "quote'single\"double`", "ünïcödé 文字 🧬", "a//b", "/leading",
    "dots/./x", "dots/../y", "trailing/", "trailing/x", "deep/er/and/deeper/leaf", "tab\there", "carriage\rreturn",
    "*?[x]&<xml>;", "k" * 200, "same", "same/below", "same-too", "both/", "both//z", "-rf", "%2F",
]  # fmt: skip


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("s3")) as service:
        yield service


def fill(s3: Service, bucket: str, prefix: str = "") -> dict[str, str]:
    """Put odd objects; their SHA-256 by key."""
    generator = random.Random(11)
    wanted = {}
    for number, key in enumerate(ODD_KEYS):
        data = generator.randbytes(1 + number * 53)
        s3.client.put_object(Bucket=bucket, Key=prefix + key, Body=data)
        wanted[key] = hashlib.sha256(data).hexdigest()
    large = generator.randbytes(1024) * 33 * 1024
    s3.client.put_object(Bucket=bucket, Key=f"{prefix}deep/33 MiB", Body=large)
    return wanted | {"deep/33 MiB": hashlib.sha256(large).hexdigest()}


def by_key(found: dict[str, str]) -> dict[str, str]:
    return {keys.key_of(path): value for path, value in found.items()}


def start(world: World, s3: Service, source: str, *options: str) -> None:
    world.environment |= s3.environment()
    done = world.ingest("job", "start", source, world.target, "--name", "job", *options)
    assert done.returncode == 0, done.stderr


def test_every_object_is_in_irods_with_its_bytes(world: World, s3: Service) -> None:
    bucket = s3.bucket("beside")
    wanted = fill(s3, bucket, "some/pre fix/")
    world.environment["INGEST_S3__LIST_PAGE"] = "3"
    world.environment["INGEST_WATCHER__ROWS"] = "5"
    start(world, s3, f"s3://{bucket}/some/pre fix")
    world.start("watcher", "watcher", "loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"verified": len(wanted)}, [line for line in world.lines().values() if line.error]
    assert by_key(world.held_by_irods()) == wanted
    assert {"a/%2F", "dots/%2E%2E", "same"} <= world.collections()
    assert all(line.load_attempts == 1 for line in world.lines().values())
    secret = s3.key_pair.read_text().split()[1]
    assert secret not in world.log_tails()
    assert secret not in world.ingest("dump", "--format", "jsonl").stdout
    world.stop()


def test_changed_new_and_removed_objects_follow(world: World, s3: Service) -> None:
    bucket = s3.bucket("stays/a", "goes/b", "goes/deeper/c", "changes")
    start(world, s3, f"s3://{bucket}", "--rescan", "0.3", "--delete-mode", "no_trash")
    world.start("watcher", "loader", "verifier")
    eventually("all are verified", lambda: world.counts() == {"verified": 4})
    s3.client.put_object(Bucket=bucket, Key="changes", Body=b"y")  # of the same size, perhaps in the same second
    s3.client.put_object(Bucket=bucket, Key="new/d", Body=b"new")
    for key in ("goes/b", "goes/deeper/c"):
        s3.client.delete_object(Bucket=bucket, Key=key)
    eventually("two are deleted", lambda: world.counts() == {"verified": 3, "deleted": 2})
    eventually("empty collections are gone", lambda: world.collections() == {"stays", "new"})
    wanted = {"stays/a": b"x", "changes": b"y", "new/d": b"new"}
    assert world.held_by_irods() == {path: hashlib.sha256(data).hexdigest() for path, data in wanted.items()}
    world.kill("watcher-0", signal.SIGTERM)  # a listing between would find the objects gone, but not the bucket
    for key in wanted:
        s3.client.delete_object(Bucket=bucket, Key=key)
    s3.client.delete_bucket(Bucket=bucket)
    [watcher] = world.start("watcher")
    log = world.logs / f"{watcher}.log"
    eventually("the watcher says so", lambda: "NoSuchBucket" in log.read_text())
    assert world.counts() == {"verified": 3, "deleted": 2}
    world.stop()


def test_objects_are_registered_where_an_s3_resource_finds_them(world: World, s3: Service) -> None:
    bucket = s3.bucket("in/a//b", "in/c d")
    s3.client.put_object(Bucket=bucket, Key="in/summed", Body=b"bytes", ChecksumAlgorithm="SHA256")
    start(world, s3, f"s3://{bucket}/in", "--operation", "register_sync", "--verify-level", "catalog")
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"verified": 3}
    assert world.physical_path("a/%2F/b") == Path(f"/{bucket}/in/a//b")
    assert world.physical_path("c d") == Path(f"/{bucket}/in/c d")
    assert world.lines()["summed"].checksum == "sha2:J3CJ2RwL308uaGK6fkoHYFEZQx9dE/cm3TUrBvGyBqk="
    world.stop()


def test_an_object_in_the_archive_says_what_to_do(world: World, s3: Service) -> None:
    bucket = s3.bucket("warm")
    s3.client.put_object(Bucket=bucket, Key="cold", Body=b"ice", StorageClass="DEEP_ARCHIVE")
    start(world, s3, f"s3://{bucket}")
    world.start("watcher", "loader", "verifier")
    eventually("one is a dead letter", lambda: world.counts() == {"verified": 1, "dead": 1})
    line = world.lines()["cold"]
    assert line.error == "InvalidObjectState"
    assert "restore it" in (line.message or "")
    s3.client.restore_object(Bucket=bucket, Key="cold", RestoreRequest={"Days": 1})
    assert world.ingest("job", "retry", "job").returncode == 0
    eventually("it is verified", lambda: world.counts() == {"verified": 2})
    world.stop()


def test_what_goes_wrong_on_the_way_loses_nothing(world: World, s3: Service) -> None:
    small, large = b"small", random.Random(5).randbytes(6 * 1024 * 1024)
    bucket = s3.bucket("gone", "secret", "slow", "expired")
    for key, data in (("small", small), ("cut", large), ("overwritten", large), ("overwritten small", small)):
        s3.client.put_object(Bucket=bucket, Key=key, Body=data)
    world.environment["INGEST_S3__ATTEMPTS"] = "1"
    with before(s3.endpoint) as front:
        front.fault("GET", "/gone", first(lambda: s3.client.delete_object(Bucket=bucket, Key="gone")), times=1)
        front.fault("GET", "/secret", error(403, "AccessDenied"))
        front.fault("GET", "/slow", error(503, "SlowDown"), times=3)
        front.fault("GET", "/expired", error(400, "ExpiredToken"), times=3)
        front.fault("GET", "/cut", cut_after(5_000_000), times=2)
        for key, data in (("overwritten", large[::-1]), ("overwritten small", small[::-1])):
            new = partial(s3.client.put_object, Bucket=bucket, Key=key, Body=data)
            front.fault("GET", f"/{key}", first(new), times=1)
        start(world, s3, f"s3://{bucket}")
        world.environment["INGEST_S3__ENDPOINT_URL"] = front.endpoint
        world.start("watcher", "loader", "verifier")
        wanted = {"verified": 6, "dead": 1, "vanished": 1}
        eventually(lambda: str(world.counts()), lambda: world.counts() == wanted)
        lines = world.lines()
        assert (lines["secret"].state, lines["secret"].error) == ("dead", "AccessDenied")
        assert "s3:GetObject" in (lines["secret"].message or "")
        assert lines["gone"].state == "vanished"
        assert {key: lines[key].load_attempts for key in ("slow", "expired", "cut")} == {
            "slow": 1,
            "expired": 1,
            "cut": 1,
        }
        front.heal()
        assert world.ingest("job", "retry", "job").returncode == 0
        eventually(lambda: str(world.counts()), lambda: world.counts() == {"verified": 7, "vanished": 1})
        world.stop()
    found = {"small": small, "cut": large, "overwritten": large[::-1], "overwritten small": small[::-1]}
    found |= dict.fromkeys(("secret", "slow", "expired"), b"x")
    assert world.held_by_irods() == {key: hashlib.sha256(data).hexdigest() for key, data in found.items()}


def test_what_cannot_work_is_refused_at_the_start(world: World, s3: Service) -> None:
    world.environment |= s3.environment()
    refused = world.ingest("job", "start", "s3://no-such-bucket", world.target, "--name", "job")
    assert refused.returncode == 2
    assert "NoSuchBucket" in refused.stderr
    world.environment["INGEST_S3__KEY_PAIR_FILE"] = "/nowhere"
    refused = world.ingest("job", "start", "s3://bucket", world.target, "--name", "job")
    assert refused.returncode == 2
    assert "s3.key_pair_file" in refused.stderr
