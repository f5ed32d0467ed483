"""An object has as many replicas as its resource makes: none more by an overwrite, another attempt, or by being verified."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from irods.session import iRODSSession

from core.checksums import checksum_of
from core.irods import Expected, Gateway, SmallFile, Status, pack, replicas
from core.irods.session import Session
from core.outcome import Done
from tests.contract.conftest import vault_for

FILES = 10
Way = Callable[[Gateway, str, list[SmallFile], str], None]


@pytest.fixture
def scattering(administrator: iRODSSession, tmp_path: Path, home: str) -> Iterator[str]:
    """A random resource with three leaves."""
    root = f"random{uuid.uuid4().hex[:8]}"
    names = [f"{root}_{number}" for number in range(3)]
    administrator.resources.create(root, "random")
    for name in names:
        administrator.resources.create(name, "unixfilesystem", *vault_for(administrator, tmp_path, name))
        administrator.resources.add_child(root, name)
    yield root
    for entry in administrator.collections.get(home).data_objects:
        administrator.data_objects.unlink(entry.path, force=True)
    for name in names:
        administrator.resources.remove_child(root, name)
        administrator.resources.remove(name)
    administrator.resources.remove(root)


@pytest.fixture
def gateway(gateway: Gateway, home: str) -> Iterator[Gateway]:
    """A gateway whose tars nobody else sees."""
    gateway.staging = f"{home}_staging"
    gateway.make_collections(gateway.staging)
    yield gateway
    gateway.remove_collection(gateway.staging)


def files_of(text: str) -> list[SmallFile]:
    data = [f"{text} {number}".encode() * number for number in range(FILES)]  # the first one is empty
    return [SmallFile(f"f{number}", each, checksum_of(each)) for number, each in enumerate(data)]


def by_put(gateway: Gateway, home: str, files: list[SmallFile], resource: str) -> None:
    for file in files:
        path = f"{home}/{file.relative}"
        gateway.put_bytes(path, file.data, checksum=file.checksum, resource=resource, overwrite=True)


def by_stream(gateway: Gateway, home: str, files: list[SmallFile], resource: str) -> None:
    for file in files:
        read_at, size = reader(file.data), len(file.data)
        gateway.put_stream(f"{home}/{file.relative}", read_at, size, resource=resource, overwrite=True)


def by_appending(gateway: Gateway, home: str, files: list[SmallFile], resource: str) -> None:
    for file in files:
        gateway.append(f"{home}/{file.relative}", reader(file.data), len(file.data), resource=resource)


def by_bundle(gateway: Gateway, home: str, files: list[SmallFile], resource: str) -> None:
    assert gateway.put_bundle(home, files, resource=resource, overwrite=True) == [Done(each.checksum) for each in files]


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: data[offset : offset + length]


WAYS: list[Way] = [by_put, by_stream, by_appending, by_bundle]


def check(gateway: Gateway, home: str, files: list[SmallFile], each: int) -> None:
    """Every object has so many replicas, all good, before and after it was verified."""

    def shown() -> dict[str, list[tuple[int, int, str | None]]]:
        listed = replicas.replicas_in(gateway._session, home)
        return {path: [(row.status, row.size, row.checksum) for row in rows] for path, rows in listed.items()}

    wanted = {f"{home}/{file.relative}": [(int(Status.GOOD), len(file.data), file.checksum)] * each for file in files}
    assert shown() == wanted
    expected = [Expected(file.relative, len(file.data), file.checksum) for file in files]
    assert gateway.verify_many(home, expected) == [Done(file.checksum, "rehash") for file in files]
    assert shown() == wanted


@pytest.mark.parametrize("way", WAYS)
def test_on_a_random_resource(gateway: Gateway, session: Session, home: str, scattering: str, way: Way) -> None:
    for text in ("new", "new and longer", "short"):
        way(gateway, home, files_of(text), scattering)
        check(gateway, home, files_of(text), 1)
    for status in (Status.STALE, Status.INTERMEDIATE, Status.WRITE_LOCKED):
        # what an attempt leaves that was killed
        for path, (row,) in replicas.replicas_in(session, home).items():
            replicas.modify(session, path, row, {"replStatus": str(int(status))})
        way(gateway, home, files_of(status.name), scattering)
        check(gateway, home, files_of(status.name), 1)


@pytest.mark.parametrize("way", WAYS)
def test_on_a_replication_resource(gateway: Gateway, home: str, replicating: str, way: Way) -> None:
    for text in ("new", "new and longer"):
        way(gateway, home, files_of(text), replicating)
        check(gateway, home, files_of(text), 2)


def test_verifying_leaves_others_objects_where_they_are(
    gateway: Gateway, home: str, resource: str, tree: dict[str, str]
) -> None:
    files = files_of("ours")
    by_put(gateway, home, files[1:], resource)
    by_put(gateway, home, files[:1], tree["root"])  # the server would replicate it to pack the others
    check(gateway, home, files, 1)


def test_a_collection_on_one_leaf_is_packed(
    gateway: Gateway, session: Session, home: str, tree: dict[str, str]
) -> None:
    files = files_of("ours")
    by_bundle(gateway, home, files, tree["root"])
    wanted = {f"{home}/{file.relative}": file.checksum for file in files}
    listed = replicas.replicas_in(session, home)
    found = pack.read_collection(session, lambda: gateway.staging, home, wanted, listed, gateway._zone.known())
    assert found == {f"{home}/{file.relative}": (len(file.data), file.checksum) for file in files}
