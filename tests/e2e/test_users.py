"""Jobs that are run for a user, and what dead pods left in that user's staging collection."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from irods.access import iRODSAccess
from irods.models import Collection, DataObject

from core.checksums import checksum_of
from core.irods import Gateway
from tests.e2e.test_bad_input import told
from tests.e2e.world import World, eventually, hashes_of


@pytest.fixture
def alice(world: World) -> Iterator[str]:
    """A rodsuser, in whose home the world's target is."""
    name = f"alice{uuid.uuid4().hex[:8]}"
    with world.irods() as session:
        session.users.create(name, "rodsuser")
    before, world.target = world.target, f"/{world.settings.irods.zone}/home/{name}/in"
    yield name
    for pod in world.pods.values():
        pod.kill()
        pod.wait()
    with Gateway(world.settings.irods, as_user=(name, "")) as gateway:
        for collection in (gateway.staging, world.target):
            gateway.remove_collection(collection)
    world.target = before
    with world.irods() as session:
        session.users.remove(name)


def test_a_job_for_a_user_makes_what_belongs_to_that_user(world: World, alice: str, source: Path) -> None:
    for number in range(30):
        (source / f"f{number}").write_bytes(b"x" * number)
    (source / "large").write_bytes(b"y" * (2 << 20))
    world.start_job(source, "--as-user", alice)
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    world.stop()
    assert world.counts() == {"verified": 31}
    with world.irods() as session:
        rows = session.query(DataObject.owner_name, DataObject.name).filter(Collection.name == world.target)
        assert {(row[DataObject.name], row[DataObject.owner_name]) for row in rows} == {
            (path, alice) for path in hashes_of(source)
        }


@pytest.mark.parametrize("user", ["nobodyhere", "rods#otherZone", "public"])
def test_a_user_that_cannot_be_acted_for_is_refused_at_the_start(world: World, source: Path, user: str) -> None:
    done = world.ingest("job", "start", str(source), world.target, "--as-user", user)
    assert user.partition("#")[0] in told(done)
    assert done.returncode == 2


def test_a_user_that_may_not_write_there_is_refused_at_the_start(world: World, alice: str, source: Path) -> None:
    root = world.target.replace(alice, "rods")
    done = world.ingest("job", "start", str(source), root, "--as-user", alice)
    assert alice in told(done)
    assert done.returncode == 2


def test_what_dead_pods_left_in_staging_is_removed(sandbox_world: World, source: Path) -> None:
    world = sandbox_world
    with world.irods() as session:
        session.users.create("alice", "rodsuser")
    gateways = [Gateway(world.settings.irods), Gateway(world.settings.irods, as_user=("alice", ""))]
    for gateway in gateways:
        gateway.make_collections(gateway.staging)
        gateway.put_bytes(
            f"{gateway.staging}/left.tar", b"x", checksum=checksum_of(b"x"), resource=None, overwrite=False
        )
    for number in range(30):
        (source / f"f{number}").write_bytes(b"%d" % number)
    # one connection for each pod: it is left to the sweep, and taken back
    world.environment |= {"INGEST_IRODS__STAGING_SECONDS": "1", "INGEST_IRODS__MAX_CONNECTIONS": "2"}
    world.target = "/tempZone/home/alice/in"
    world.start_job(source, "--as-user", "alice")
    world.start("watcher", "loader", "verifier")
    for gateway in gateways:
        with gateway:
            eventually("the tar is gone", partial(_is_gone, gateway, f"{gateway.staging}/left.tar"))
    world.wait_finished()
    world.stop()
    assert world.counts() == {"verified": 30}
    with gateways[1] as hers:
        hers.remove_collection(world.target)


def _is_gone(gateway: Gateway, path: str) -> bool:
    return not gateway.replicas(path)


def test_what_others_brought_is_verified_with_read_only_credentials(world: World, source: Path) -> None:
    contents = {f"f{n}": b"bytes of %d" % n for n in range(20)} | {
        "sub/deep/large": b"z" * (3 << 20),
        "gone": b"x",
        "bad": b"y",
    }
    for path, data in contents.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    reader = f"reader{uuid.uuid4().hex[:8]}"
    with world.irods() as session:
        session.users.create(reader, "rodsuser")
        session.users.modify(reader, "password", "rpass")
        session.collections.create(f"{world.target}/sub/deep")
        for path, data in contents.items():
            if path != "gone":
                with session.data_objects.open(f"{world.target}/{path}", "w") as file:
                    file.write(data if path != "bad" else b"Y")
        session.collections.create(f"{world.target}/others")
        for path in ("extra", "others/extra"):
            session.data_objects.touch(f"{world.target}/{path}")
        session.acls.set(iRODSAccess("read", world.target, reader), recursive=True)
    before = world.objects()
    world.environment |= {"INGEST_IRODS__USER": reader, "IRODS_PASSWORD": "rpass", "INGEST_JOB__MAX_RELOADS": "1"}
    try:
        world.start_job(source, "--operation", "verify")
        world.start("watcher", "loader", "verifier")
        world.wait_finished()
        world.stop()
        audited = world.ingest("audit", "job", "--json")
    finally:
        with Gateway(world.settings.irods, as_user=(reader, "")) as gateway:
            gateway.remove_collection(gateway.staging)
        with world.irods() as session:
            session.users.remove(reader)
    lines = world.lines()
    assert {path: line.error for path, line in lines.items() if line.state == "dead"} == {
        "bad": "checksum_mismatch",
        "gone": "missing_object",
    }
    assert {path for path, line in lines.items() if line.state == "verified"} == contents.keys() - {"bad", "gone"}
    assert world.objects() == before
    findings = [json.loads(line) for line in audited.stdout.splitlines()][:-1]
    assert {each["path"] for each in findings if each["kind"] == "dark"} == {"extra", "others/", "others/extra"}
    assert audited.returncode == 1


def test_verifying_is_refused_where_there_is_nothing_to_see(world: World, source: Path) -> None:
    done = world.ingest("job", "start", str(source), world.target, "--operation", "verify")
    assert world.target in told(done)
    assert done.returncode == 2
