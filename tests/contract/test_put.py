"""Putting: the bytes, their checksum and their size arrive, or the object does not pass for good."""

from __future__ import annotations

import os
import socket
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import paths
from core.checksums import SCHEMES, checksum_of
from core.errors import Changed, Outage, Permanent, Transient
from core.irods import Exists, ExtraStreams, Gateway, Locked, Status, objects, replicas, stream
from core.irods import put as put_module
from core.irods.session import Session
from core.settings import IrodsSettings

MIB = 1024 * 1024
BUFFER = stream.BUFFER_BYTES


def put(gateway: Gateway, path: str, data: bytes, *, resource: str | None = None, overwrite: bool = False) -> None:
    gateway.put_bytes(path, data, checksum=checksum_of(data), resource=resource, overwrite=overwrite)


def reader(data: bytes) -> stream.ReadAt:
    return lambda offset, length: data[offset : offset + length]


def put_stream(
    gateway: Gateway, path: str, data: bytes, *, resource: str | None = None, overwrite: bool = False
) -> str:
    return gateway.put_stream(path, reader(data), len(data), resource=resource, overwrite=overwrite)


PUTS = pytest.mark.parametrize("way", [put, put_stream], ids=["bytes", "stream"])
Put = Callable[..., object]


def check_good(gateway: Gateway, path: str, data: bytes) -> None:
    (replica,) = gateway.replicas(path)
    assert replica.status == Status.GOOD
    assert (replica.size, replica.checksum) == (len(data), checksum_of(data))
    assert gateway.verify(path, size=len(data), checksum=checksum_of(data)).replicas == 1


def play_dead(session: Session) -> None:
    """Break the connection without a farewell, as a killed client does."""
    sock = session._connection.socket
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    session._connection = None


def until_taken(attempt: Callable[[], object]) -> None:
    """Try as a loader would: as long as the dead client's agent has not noticed yet, the replica may be refused."""
    deadline = time.monotonic() + 30
    while True:
        try:
            attempt()
            return
        except Transient:
            if time.monotonic() > deadline:
                raise


@PUTS
@pytest.mark.parametrize("size", [0, 1, 1000, 70_000, BUFFER - 1, BUFFER, 2 * BUFFER + 7])
def test_bytes_size_and_checksum_arrive(
    gateway: Gateway, home: str, resource: str, vault_file: Callable[[str], Path], way: Put, size: int
) -> None:
    data = os.urandom(size)
    way(gateway, f"{home}/f", data, resource=resource)
    check_good(gateway, f"{home}/f", data)
    assert vault_file(f"{home}/f").read_bytes() == data


@PUTS
def test_without_a_resource_the_servers_default_is_used(gateway: Gateway, home: str, way: Put) -> None:
    way(gateway, f"{home}/f", b"default")
    check_good(gateway, f"{home}/f", b"default")


@PUTS
def test_an_existing_object_is_left_alone(gateway: Gateway, home: str, resource: str, way: Put) -> None:
    put(gateway, f"{home}/f", b"first", resource=resource)
    with pytest.raises(Exists) as error:
        way(gateway, f"{home}/f", b"other bytes", resource=resource)
    assert error.value.error == "exists"
    assert f"{home}/f" in str(error.value)
    check_good(gateway, f"{home}/f", b"first")


@PUTS
@pytest.mark.parametrize("second", [b"", b"shorter", b"much longer than what was there before"])
def test_overwriting(
    gateway: Gateway, home: str, resource: str, vault_file: Callable[[str], Path], way: Put, second: bytes
) -> None:
    put(gateway, f"{home}/f", b"what was there before", resource=resource)
    way(gateway, f"{home}/f", second, resource=resource, overwrite=True)
    check_good(gateway, f"{home}/f", second)
    assert vault_file(f"{home}/f").read_bytes() == second


@PUTS
def test_overwriting_an_object_whose_file_is_gone(
    gateway: Gateway, home: str, resource: str, vault_file: Callable[[str], Path], way: Put
) -> None:
    put(gateway, f"{home}/f", b"lost from the vault", resource=resource)
    vault_file(f"{home}/f").unlink()
    way(gateway, f"{home}/f", b"put again", resource=resource, overwrite=True)
    check_good(gateway, f"{home}/f", b"put again")


@pytest.mark.parametrize("size", [300_000, 2_000_000])
def test_overwriting_more_than_is_sent_twice(gateway: Gateway, home: str, resource: str, size: int) -> None:
    for _ in range(2):
        data = os.urandom(size)
        put(gateway, f"{home}/f", data, resource=resource, overwrite=True)
        check_good(gateway, f"{home}/f", data)


def test_the_same_put_again_is_fine(gateway: Gateway, home: str, resource: str) -> None:
    for _ in range(3):
        put(gateway, f"{home}/f", b"same", resource=resource)
    check_good(gateway, f"{home}/f", b"same")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_checksums_of_all_schemes(gateway: Gateway, home: str, resource: str, scheme: str) -> None:
    data = b"checked"
    gateway.put_bytes(f"{home}/f", data, checksum=checksum_of(data, scheme), resource=resource, overwrite=False)
    (replica,) = gateway.replicas(f"{home}/f")
    assert replica.checksum == checksum_of(data, scheme)
    gateway.verify(f"{home}/f", size=len(data), checksum=checksum_of(data, scheme))


def test_a_wrong_checksum_never_passes_for_good(gateway: Gateway, home: str, resource: str) -> None:
    with pytest.raises(Transient) as error:
        gateway.put_bytes(f"{home}/f", b"bytes", checksum=checksum_of(b"others"), resource=resource, overwrite=False)
    assert error.value.error == "USER_CHKSUM_MISMATCH"
    assert "-314000" in str(error.value)
    assert not any(replica.good for replica in gateway.replicas(f"{home}/f"))
    put(gateway, f"{home}/f", b"bytes", resource=resource)
    check_good(gateway, f"{home}/f", b"bytes")


@PUTS
def test_a_missing_collection_is_tried_again(gateway: Gateway, home: str, resource: str, way: Put) -> None:
    with pytest.raises(Transient) as error:
        way(gateway, f"{home}/absent/f", b"x", resource=resource)
    assert error.value.error == "CAT_UNKNOWN_COLLECTION"
    assert f"{home}/absent/f" in str(error.value)
    assert "-814000" in str(error.value)


@PUTS
def test_an_unknown_resource_is_permanent(gateway: Gateway, home: str, way: Put) -> None:
    with pytest.raises(Permanent) as error:
        way(gateway, f"{home}/f", b"x", resource="noSuchResource")
    assert error.value.error == "SYS_RESC_DOES_NOT_EXIST"


@PUTS
def test_paths_too_long_or_malformed_are_permanent(gateway: Gateway, home: str, way: Put) -> None:
    for path, word in ((f"{home}/{'x' * 1100}", "path_too_long"), (f"{home}//x", "bad_path"), (f"{home}/", "bad_path")):
        with pytest.raises(Permanent) as error:
            way(gateway, path, b"x")
        assert error.value.error == word


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.one_of(
        st.text(min_size=1, max_size=40).map(lambda t: t.encode("utf-8", "surrogatepass")),
        st.binary(min_size=1, max_size=30),
    )
    .map(lambda name: name.replace(b"\0", b"").replace(b"/", b""))
    .filter(lambda name: name not in (b"", b".", b"..") and len(paths.escape(name).encode()) <= 240)
)
def test_any_name_comes_back(gateway: Gateway, home: str, name: bytes) -> None:
    path = f"{home}/{paths.escape(name)}"
    put(gateway, path, name, overwrite=True)
    assert path in replicas.replicas_in(gateway._session, home)
    check_good(gateway, path, name)
    gateway.remove(path, force=True)


@pytest.mark.parametrize("streams", [2, 4])
@pytest.mark.parametrize("size", [BUFFER, 2 * BUFFER, 6 * BUFFER + 11])
def test_parallel_streams(gateway: Gateway, home: str, resource: str, streams: int, size: int) -> None:
    for overwrite in (False, True):
        data = os.urandom(size)
        checksum = gateway.put_stream(
            f"{home}/f",
            reader(data),
            size,
            resource=resource,
            overwrite=overwrite,
            streams=streams,
        )
        assert checksum == checksum_of(data)
        check_good(gateway, f"{home}/f", data)


def test_a_source_that_fails_stops_all_streams(gateway: Gateway, home: str) -> None:
    def read_at(offset: int, length: int) -> bytes:
        if offset > 2 * BUFFER:
            raise OSError(5, "the source's disk")
        return bytes(length)

    with pytest.raises(OSError, match="disk"):
        gateway.put_stream(f"{home}/f", read_at, 8 * BUFFER, resource=None, overwrite=False, streams=3)
    assert gateway.replicas(f"{home}/f") == []
    put_stream(gateway, f"{home}/f", b"and again")
    check_good(gateway, f"{home}/f", b"and again")


def test_progress_counts_bytes(gateway: Gateway, home: str) -> None:
    data = os.urandom(2 * BUFFER + 5)
    seen: list[int] = []
    gateway.put_stream(
        f"{home}/f", lambda o, n: data[o : o + n], len(data), resource=None, overwrite=False, progress=seen.append
    )
    assert seen == sorted(seen)
    assert seen[-1] == len(data)


@PUTS
def test_a_registered_file_is_never_written_through(
    gateway: Gateway, home: str, resource: str, tmp_path: Path, way: Put
) -> None:
    file = tmp_path / "precious"
    file.write_bytes(b"the only copy")
    gateway.register(f"{home}/f", str(file), 13, 0, resource=resource)
    with pytest.raises(Permanent) as error:
        way(gateway, f"{home}/f", b"the only copy!", resource=resource, overwrite=True)
    assert error.value.error == "registered_in_place"
    assert file.read_bytes() == b"the only copy"


@pytest.mark.parametrize("cut", [0, 10, BUFFER + 1])
def test_a_source_that_shrinks_leaves_nothing(gateway: Gateway, home: str, cut: int) -> None:
    data = os.urandom(cut)
    with pytest.raises(Changed):
        gateway.put_stream(f"{home}/f", lambda o, n: data[o : o + n], cut + 100, resource=None, overwrite=False)
    assert gateway.replicas(f"{home}/f") == []
    assert gateway.connects == 1


def test_a_source_that_fails_leaves_nothing(gateway: Gateway, home: str) -> None:
    def read_at(offset: int, length: int) -> bytes:
        if offset:
            raise OSError(5, "the source's disk")
        return bytes(length)

    with pytest.raises(OSError, match="disk"):
        gateway.put_stream(f"{home}/f", read_at, 2 * BUFFER, resource=None, overwrite=False)
    assert gateway.replicas(f"{home}/f") == []


@PUTS
def test_what_a_killed_client_leaves_is_overwritten(
    gateway: Gateway, session: Session, home: str, resource: str, way: Put
) -> None:
    path, data = f"{home}/f", os.urandom(3000)
    with session.held():
        keywords = {"dataSize": "3000", "destRescName": resource}
        descriptor = objects.open_object(session, path, stream.WRITE_FLAGS, keywords, size=3000)
        list(stream._send(session, path, descriptor, iter([(0, data[:1000])])))
        play_dead(session)
    until_taken(lambda: way(gateway, path, data, resource=resource))
    check_good(gateway, path, data)


@PUTS
@pytest.mark.parametrize("status", [Status.STALE, Status.INTERMEDIATE, Status.WRITE_LOCKED])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_replica_left_bad_is_overwritten(
    gateway: Gateway, session: Session, home: str, resource: str, way: Put, status: int, overwrite: bool
) -> None:
    path, data = f"{home}/f", b"the right bytes"
    put(gateway, path, b"wrong", resource=resource)
    (replica,) = gateway.replicas(path)
    replicas.modify(session, path, replica, {"replStatus": str(int(status))})
    way(gateway, path, data, resource=resource, overwrite=overwrite)
    check_good(gateway, path, data)


def test_a_stream_whose_last_reply_was_lost_is_finished(gateway: Gateway, session: Session, home: str) -> None:
    path, data = f"{home}/f", os.urandom(5000)
    put_stream(gateway, path, data)
    (replica,) = gateway.replicas(path)
    replicas.modify(session, path, replica, {"chksum": ""})
    assert gateway.replicas(path)[0].checksum is None
    assert put_stream(gateway, path, data) == checksum_of(data)
    check_good(gateway, path, data)
    replicas.modify(session, path, replica, {"chksum": ""})
    with pytest.raises(Exists):
        put_stream(gateway, path, os.urandom(5000))


def test_locks_of_others_name_the_repair(alice: Session, session: Session) -> None:
    path = f"/{alice.zone}/home/{alice.user}/f"
    data = b"alice's"
    put_module.put_bytes(alice, path, data, checksum=checksum_of(data), resource=None, overwrite=False, resources={})
    (replica,) = replicas.replicas(alice, path)
    replicas.modify(session, path, replica, {"replStatus": "2", "irodsAdmin": ""})
    with pytest.raises(Locked) as error:
        put_module.put_bytes(alice, path, data, checksum=checksum_of(data), resource=None, overwrite=True, resources={})
    assert error.value.error == "locked"
    assert f"iadmin modrepl logical_path {path}" in str(error.value)
    assert replicas.unlock(session, path, replicas.replicas(alice, path))
    put_module.put_bytes(alice, path, data, checksum=checksum_of(data), resource=None, overwrite=True, resources={})
    objects.remove(alice, path, force=True)


def test_a_stream_by_a_user_who_is_no_rodsadmin(alice: Session) -> None:
    path, data = f"/{alice.zone}/home/{alice.user}/f", os.urandom(100)
    for overwrite in (False, True):
        stream.put_stream(
            alice, path, lambda o, n: data[o : o + n], 100, resource=None, overwrite=overwrite, resources={}
        )
        (replica,) = replicas.replicas(alice, path)
        assert (replica.good, replica.size, replica.checksum) == (True, 100, checksum_of(data))
    objects.remove(alice, path, force=True)


def test_a_broken_connection_is_an_outage_and_the_next_call_connects(gateway: Gateway, home: str) -> None:
    put(gateway, f"{home}/f", b"x")
    gateway._session._connection.socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(Outage) as error:
        gateway.replicas(f"{home}/f")
    assert error.value.error == "connection_lost"
    check_good(gateway, f"{home}/f", b"x")


def test_removing_and_unlocking(gateway: Gateway, session: Session, home: str) -> None:
    for name in ("a", "b", "c"):
        put(gateway, f"{home}/{name}", b"x")
    gateway.remove(f"{home}/a", force=True)
    gateway.remove(f"{home}/b", force=False)
    gateway.remove(f"{home}/b", force=False)
    assert gateway.replicas(f"{home}/a") == gateway.replicas(f"{home}/b") == []
    (replica,) = gateway.replicas(f"{home}/c")
    assert not gateway.unlock(f"{home}/c")
    replicas.modify(session, f"{home}/c", replica, {"replStatus": "2"})
    assert gateway.unlock(f"{home}/c")
    assert gateway.replicas(f"{home}/c")[0].status == Status.STALE
    replicas.modify(session, f"{home}/c", replica, {"replStatus": "2"})
    gateway.remove(f"{home}/c", force=True)
    assert gateway.replicas(f"{home}/c") == []


def test_memory_is_bounded_by_the_buffer(gateway: Gateway, home: str) -> None:
    block = os.urandom(BUFFER)
    gateway.replicas(f"{home}/f")
    tracemalloc.start()
    gateway.put_stream(f"{home}/f", lambda o, n: block[:n], 16 * BUFFER, resource=None, overwrite=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # two read ahead, one being read, one waiting and one in hand
    assert peak < 5.5 * BUFFER


def test_large_files_share_what_may_be_lent(irods_settings: IrodsSettings, home: str, resource: str) -> None:
    data = os.urandom(8 * BUFFER)
    extra = ExtraStreams()
    with Gateway(irods_settings.model_copy(update={"streams": 4}), extra=extra) as gateway:
        connects = gateway.connects + 1
        for allowed, lent, more in ((0, 0, 0), (2, 0, 2), (2, 1, 1), (8, 0, 3)):
            extra.allow(allowed)
            with extra.lent(lent):
                gateway.put_stream(
                    f"{home}/f", lambda o, n: data[o : o + n], len(data), resource=resource, overwrite=True
                )
            connects += more
            assert gateway.connects == connects
        gateway.verify(f"{home}/f", size=len(data), checksum=checksum_of(data))
