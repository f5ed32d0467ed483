"""Appending: only the new bytes are sent, and only after the old ones were proven to be the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.checksums import SCHEMES, checksum_of
from core.errors import Changed, Outage, Permanent, Transient
from core.irods import Appended, Gateway, Status, objects, parallel, replicas, stream, wire
from core.irods.session import Session
from core.settings import IrodsSettings
from sandbox.irods import SandboxServer

BUFFER = stream.BUFFER_BYTES
OLD = b"the beginning, which iRODS has"
NEW = OLD + b", and what was added"


def reader(data: bytes) -> stream.ReadAt:
    return lambda offset, length: data[offset : offset + length]


def append(gateway: Gateway, path: str, data: bytes, resource: str | None = None, streams: int = 1) -> Appended:
    return gateway.append(path, reader(data), len(data), resource=resource, streams=streams)


def check_good(gateway: Gateway, path: str, data: bytes) -> None:
    (replica,) = gateway.replicas(path)
    assert (replica.status, replica.size, replica.checksum) == (Status.GOOD, len(data), checksum_of(data))
    assert gateway.verify(path, size=len(data), checksum=checksum_of(data)).replicas == 1


@pytest.fixture
def path(gateway: Gateway, home: str, resource: str) -> str:
    """A data object with OLD."""
    gateway.put_bytes(f"{home}/f", OLD, checksum=checksum_of(OLD), resource=resource, overwrite=False)
    return f"{home}/f"


def test_an_absent_object_is_put(gateway: Gateway, home: str, resource: str) -> None:
    assert append(gateway, f"{home}/f", OLD, resource) == Appended(checksum_of(OLD), 0, "")
    check_good(gateway, f"{home}/f", OLD)


@pytest.mark.parametrize("where", ["demoResc", None])
def test_only_the_new_bytes_are_sent(gateway: Gateway, path: str, where: str | None) -> None:
    asked: list[tuple[int, int]] = []

    def read_at(offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return NEW[offset : offset + length]

    assert gateway.append(path, read_at, len(NEW), resource=where) == Appended(
        checksum_of(NEW), len(NEW) - len(OLD), ""
    )
    assert asked == [(0, len(OLD)), (len(OLD), len(NEW) - len(OLD))]
    check_good(gateway, path, NEW)


def test_nothing_new(gateway: Gateway, path: str, resource: str) -> None:
    before = gateway.replicas(path)
    assert append(gateway, path, OLD, resource) == Appended(checksum_of(OLD), 0, "")
    assert gateway.replicas(path) == before


@pytest.mark.parametrize("streams_", [1, 3])
def test_large_files_and_many_appends(gateway: Gateway, home: str, resource: str, streams_: int) -> None:
    data = os.urandom(5 * BUFFER + 3)
    for end in (0, 7, BUFFER, BUFFER + 1, len(data)):
        done = append(gateway, f"{home}/f", data[:end], resource, streams_)
        assert (done.note, done.checksum) == ("", checksum_of(data[:end]))
        check_good(gateway, f"{home}/f", data[:end])


@pytest.mark.parametrize(
    ("source", "note"),
    [(b"THE beginning, which iRODS has, changed", "first 30 bytes"), (b"the beginning", "13 bytes"), (b"", "0 bytes")],
)
def test_a_changed_or_shorter_source_is_put_again_and_said_so(
    gateway: Gateway, path: str, resource: str, source: bytes, note: str
) -> None:
    done = append(gateway, path, source, resource)
    assert (done.checksum, done.appended_bytes) == (checksum_of(source), 0)
    assert note in done.note
    check_good(gateway, path, source)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_stored_checksum_may_be_of_another_scheme(
    gateway: Gateway, session: Session, path: str, resource: str, scheme: str
) -> None:
    (replica,) = gateway.replicas(path)
    replicas.modify(session, path, replica, {"chksum": checksum_of(OLD, scheme)})
    assert append(gateway, path, NEW, resource).appended_bytes == len(NEW) - len(OLD)
    check_good(gateway, path, NEW)
    (replica,) = gateway.replicas(path)
    replicas.modify(session, path, replica, {"chksum": checksum_of(b"other", scheme)})
    assert append(gateway, path, NEW + b"!", resource).note
    check_good(gateway, path, NEW + b"!")


def test_without_a_stored_checksum_the_server_computes_one(
    gateway: Gateway, session: Session, path: str, resource: str, vault_file: Callable[[str], Path]
) -> None:
    for damage, appended in ((False, len(NEW) - len(OLD)), (True, 0)):
        gateway.put_bytes(path, OLD, checksum=checksum_of(OLD), resource=resource, overwrite=True)
        (replica,) = gateway.replicas(path)
        replicas.modify(session, path, replica, {"chksum": ""})
        if damage:
            vault_file(path).write_bytes(b"X" + OLD[1:])
        done = append(gateway, path, NEW, resource)
        assert done.appended_bytes == appended
        assert bool(done.note) == damage
        check_good(gateway, path, NEW)


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(OLD[:9]), lambda file: file.unlink()])
def test_a_vault_file_of_another_size_is_put_again(
    gateway: Gateway, path: str, resource: str, vault_file: Callable[[str], Path], damage: Callable[[Path], object]
) -> None:
    damage(vault_file(path))
    assert append(gateway, path, NEW, resource).note
    check_good(gateway, path, NEW)


@pytest.mark.parametrize("status", [Status.STALE, Status.INTERMEDIATE, Status.WRITE_LOCKED])
def test_what_is_not_good_is_put_again(
    gateway: Gateway, session: Session, path: str, resource: str, status: Status
) -> None:
    (replica,) = gateway.replicas(path)
    replicas.modify(session, path, replica, {"replStatus": str(int(status))})
    assert "no good replica" in append(gateway, path, NEW, resource).note
    check_good(gateway, path, NEW)


def test_a_source_that_shrinks_under_the_reader(gateway: Gateway, path: str, resource: str) -> None:
    with pytest.raises(Changed):
        gateway.append(path, reader(NEW), len(NEW) + 100, resource=resource)
    assert not any(replica.good for replica in gateway.replicas(path))
    append(gateway, path, NEW, resource)
    check_good(gateway, path, NEW)


def test_a_registered_file_is_never_written(gateway: Gateway, home: str, resource: str, tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_bytes(OLD)
    gateway.register(f"{home}/r", str(file), len(OLD), 0, resource=resource, checksum=checksum_of(OLD))
    with pytest.raises(Permanent) as error:
        append(gateway, f"{home}/r", NEW, resource)
    assert error.value.error == "registered_in_place"
    assert file.read_bytes() == OLD


def test_replicating_resources(gateway: Gateway, home: str, replicating: str) -> None:
    for data in (OLD, NEW):
        done = append(gateway, f"{home}/f", data, replicating)
        assert done.note == ""
        rows = gateway.replicas(f"{home}/f")
        assert [(row.good, row.size, row.checksum) for row in rows] == [(True, len(data), checksum_of(data))] * 2
    assert gateway.verify(f"{home}/f", size=len(NEW), checksum=checksum_of(NEW)).replicas == 2


def test_an_attempt_that_died_half_way(gateway: Gateway, session: Session, path: str, resource: str) -> None:
    data = OLD + os.urandom(100_000)
    with session.held():
        keywords = {"dataSize": str(len(data))}
        descriptor = objects.open_object(session, path, os.O_WRONLY, keywords, size=len(data))
        for offset in (len(OLD), len(OLD) + 50_000):
            parallel.write_piece(
                session, path, descriptor, (offset, wire.Gathered([data[offset : offset + 10_000]])), 0
            )
    session.close()  # the agent closes what is open
    for _ in range(200):
        try:
            append(gateway, path, data, resource)
            break
        except Transient:
            continue
    check_good(gateway, path, data)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize("api", [602, 674, 676, 673, 629, 702, 622])
def test_a_lost_connection_converges(broken: SandboxServer, to_broken: Gateway, api: int, kind: str) -> None:
    path, data = "/tempZone/home/rods/f", os.urandom(3 * BUFFER)
    append(to_broken, path, data[:100])
    to_broken.check_resource("demoResc", "put")
    broken.faults.add(kind, api=api, count=1)
    for _ in range(100):
        try:
            append(to_broken, path, data)
            break
        except (Outage, Transient):
            continue
    check_good(to_broken, path, data)


def test_what_it_costs(broken: SandboxServer, to_broken: Gateway) -> None:
    path = "/tempZone/home/rods/f"
    append(to_broken, path, OLD, "demoResc")
    before = dict(broken.calls)
    append(to_broken, path, NEW, "demoResc")
    after = {api: count - before.get(api, 0) for api, count in broken.calls.items() if count != before.get(api, 0)}
    assert after == {702: 2, 629: 1, 602: 1, 674: 1, 676: 1, 673: 1, 622: 1}


@pytest.fixture
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A server to be broken."""
    with SandboxServer(tmp_path_factory.mktemp("broken")) as server:
        yield server


@pytest.fixture
def to_broken(broken: SandboxServer) -> Iterator[Gateway]:
    """A gateway to that server."""
    settings = IrodsSettings(host="127.0.0.1", port=broken.port, password=SecretStr("rods"), timeout_seconds=5)
    with Gateway(settings) as gateway:
        yield gateway
