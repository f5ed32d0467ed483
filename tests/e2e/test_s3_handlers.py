"""A bucket with event handlers: every operation, changed and new objects, names, and deletion, over moto's server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from irods.models import Collection, DataObject

from tests.e2e.many import Many, handler
from tests.e2e.world import World
from tests.s3.service import Service, running

KEYS = ("a", "b/c", "b/deep/er/d", "same", "same/below", "grave`quote", "ünïcödé 文字")
COPYING = ("put", "put_sync", "put_append")
REGISTERING = ("register_sync", "register_as_replica_sync")
EVENTS = """
def post_data_obj_create(hdlr_mod, logger, session, meta, **options):
    session.metadata.set(DataObject, meta["target"], iRODSMeta("made", f"{meta['root']}:{meta['path']}"))
def post_data_obj_modify(hdlr_mod, logger, session, meta, **options):
    session.metadata.set(DataObject, meta["target"], iRODSMeta("changed", meta["path"]))
"""


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path) as service:
        yield service


def test_every_operation_of_a_bucket(world: World, folder: Path, s3: Service) -> None:
    bucket = s3.bucket()
    world.environment |= s3.environment()
    many = Many(world, folder, s3.settings())
    large = os.urandom(1 << 20) * 33
    held: dict[str, dict[str, bytes]] = {}

    def put(name: str, key: str, data: bytes) -> None:
        s3.client.put_object(Bucket=bucket, Key=f"{name}/{key}", Body=data)
        held.setdefault(name, {})[key] = data

    names = (*COPYING, *REGISTERING, "mapped", "deleting")
    for name in names:
        operation = name if name in (*COPYING, *REGISTERING) else "put_sync"
        for key in KEYS:
            put(name, key, f"{name} {key}".encode())
        if name in ("put_sync", "put_append"):
            put(name, "large", large)
        text = handler(
            EVENTS if name not in ("put_append", "deleting") else "",
            operation=f"Operation.{operation.upper()}",
            to_resource="'demoResc'" if name == "register_as_replica_sync" else None,
            delete_mode="DeleteMode.NO_TRASH" if name == "deleting" else None,
            character_map="{re.compile('[^a-zA-Z0-9]'): '_'}" if name == "mapped" else None,
        )
        # the real server cannot read what is registered on a resource that is no S3 one
        level = "catalog" if name in REGISTERING else "rehash"
        target = f"{many.target(name)}/far/below/what/is/there"
        many.begin(name, f"s3://{bucket}/{name}", text, target=target, verify_level=level)
    world.start("watcher", "loader", "verifier")
    many.finished(names)
    assert many.states(names) == {name: {"verified": len(held[name])} for name in names}
    check(many, names, held, bucket, "made")

    left = dict(held["put"])
    for name in names:
        put(name, "b/c", f"another {name}".encode())
        put(name, "new/e", b"new")
        put(name, "a", held[name]["a"] + b" and more")
    put("put_sync", "large", large[::-1])
    put("put_append", "large", large + b"more")
    for key in ("b/deep/er/d", "grave`quote"):
        s3.client.delete_object(Bucket=bucket, Key=f"deleting/{key}")
        del held["deleting"][key]
    many.rescan(names)
    held["put"] = left | {"new/e": b"new"}
    check(many, names, held, bucket, "changed")
    assert many.states(["deleting", "put"]) == {
        "deleting": {"verified": len(held["deleting"]), "deleted": 2},
        "put": {"verified": len(held["put"]) - 2, "skipped": 2},
    }
    world.stop()


def check(many: Many, names: tuple[str, ...], held: dict[str, dict[str, bytes]], bucket: str, event: str) -> None:
    """Bytes, sizes, physical paths and what the events have set."""
    with many.world.irods() as session:
        for name in names:
            root = f"{many.target(name)}/far/below/what/is/there/"
            columns = (Collection.name, DataObject.name, DataObject.size, DataObject.path)
            rows = [row for row in session.query(*columns) if f"{row[Collection.name]}/".startswith(root)]
            found = {f"{row[Collection.name]}/{row[DataObject.name]}": row for row in rows}
            sizes = sorted(len(data) for data in held[name].values())
            assert sorted(row[DataObject.size] for row in rows) == sizes, name
            if name in REGISTERING:
                paths = {row[DataObject.path] for row in rows}
                assert paths == {f"/{bucket}/{name}/{key}" for key in held[name]}
            else:
                read = []
                for path in found:
                    with session.data_objects.open(path, "r") as file:
                        read.append(file.read())
                assert sorted(read) == sorted(held[name].values()), name
            if name in ("put_sync", "register_sync"):
                path = f"{root}a"
                avus = {avu.name: avu.value for avu in session.data_objects.get(path).metadata.items()}
                front = f"{bucket}:" if event == "made" else ""
                assert avus[event] == f"{front}/{bucket}/{name}/a"
            if name == "mapped":
                assert all(path.removeprefix(root).replace("/", "").isascii() for path in found)
                assert f"{root}a" in found
