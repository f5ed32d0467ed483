"""Faults switched on while the server runs, in process and by its file."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from irods import exception
from irods.exception import NetworkException
from irods.session import iRODSSession

from sandbox.irods import SandboxServer
from tests.sandbox.calls import HOME, LEFT_BEHIND, bundle, call, connect, local_file, put, sha2, states

pytestmark = [pytest.mark.usefixtures("broken_connections"), pytest.mark.filterwarnings(LEFT_BEHIND)]


def test_a_reply_is_dropped_after_the_work(server: SandboxServer, session: iRODSSession) -> None:
    server.faults.add("drop_after", api=606, count=1)
    with pytest.raises(NetworkException):
        put(session, f"{HOME}/a")
    assert states(server, "a") == [(0, 1, 4)]
    with pytest.raises(exception.OVERWRITE_WITHOUT_FORCE_FLAG):
        put(session, f"{HOME}/a")


def test_a_request_is_dropped_before_the_work(server: SandboxServer, session: iRODSSession) -> None:
    server.faults.add("drop_before", api=606, count=1)
    with pytest.raises(NetworkException):
        put(session, f"{HOME}/a")
    assert states(server, "a") == []
    put(session, f"{HOME}/a")


def test_faults_are_limited_to_api_count_and_path(server: SandboxServer, session: iRODSSession) -> None:
    fault = server.faults.add("error", api=606, count=2, path="/bad", code=-806000)
    for name in ("good", "bad1", "bad2", "bad3"):
        if name in ("bad1", "bad2"):
            with pytest.raises(exception.CAT_SQL_ERR):
                put(session, f"{HOME}/{name}")
        else:
            put(session, f"{HOME}/{name}")
    assert fault.count == 0
    server.faults.add("error", code=-13000)
    with pytest.raises(exception.SYS_NO_API_PRIV):
        session.collections.get(HOME)
    server.faults.clear()
    session.collections.get(HOME)


def test_a_slow_reply(server: SandboxServer, session: iRODSSession) -> None:
    server.faults.add("slow", api=702, count=1, seconds=0.3)
    started = time.monotonic()
    session.collections.get(HOME)
    assert time.monotonic() - started >= 0.3
    server.faults.add("slow_reply", api=606, count=1, seconds=0.3)
    put(session, f"{HOME}/a")
    assert time.monotonic() - started >= 0.6


def test_a_hanging_request(server: SandboxServer, session: iRODSSession) -> None:
    session.connection_timeout = 0.3
    server.faults.add("hang", api=606, count=1)
    with pytest.raises(NetworkException):
        put(session, f"{HOME}/a")
    put(session, f"{HOME}/a")


@pytest.mark.parametrize("way", [606, 676])
def test_a_truncated_write(server: SandboxServer, session: iRODSSession, tmp_path: Path, way: int) -> None:
    server.faults.add("truncate", api=way, count=1, lost=3, path="/a")
    if way == 606:
        with pytest.raises(exception.SYS_COPY_LEN_ERR):
            put(session, f"{HOME}/a", b"0123456789")
        assert states(server, "a") == [(0, 0, 7)]
        server.faults.add("truncate", api=way, count=1, lost=3)
        with pytest.raises(exception.USER_CHKSUM_MISMATCH):
            put(session, f"{HOME}/b", b"0123456789", verifyChksum=sha2(b"0123456789"), noChkCopyLen="")
    else:
        session.data_objects.put(local_file(tmp_path, b"0123456789"), f"{HOME}/a")
        assert states(server, "a") == [(0, 0, 7)]


def test_a_locked_replica(server: SandboxServer, session: iRODSSession) -> None:
    put(session, f"{HOME}/a")
    server.faults.add("locked", api=615, count=1)
    with pytest.raises(exception.LOCKED_DATA_OBJECT_ACCESS):
        session.data_objects.unlink(f"{HOME}/a", force=True)
    assert states(server, "a")[0][1] == 4
    session.data_objects.modDataObjMeta({"objPath": f"{HOME}/a"}, {"replStatus": 1})
    session.data_objects.unlink(f"{HOME}/a", force=True)


def test_new_connections_are_refused(server: SandboxServer, session: iRODSSession) -> None:
    session.collections.get(HOME)
    server.faults.add("refuse", count=1)
    with connect(server) as other:
        with pytest.raises((NetworkException, OSError, ValueError)):
            other.collections.get(HOME)
        other.collections.get(HOME)
    session.collections.get(HOME)


def test_the_race_of_recursive_collections(server: SandboxServer, session: iRODSSession) -> None:
    server.faults.add("mkdir_race", count=1)
    with pytest.raises(exception.CollectionDoesNotExist):
        session.collections.create(f"{HOME}/a/b/c")
    assert session.collections.exists(f"{HOME}/a/b")
    session.collections.create(f"{HOME}/a/b/c")


def test_a_second_pack_on_one_connection(server: SandboxServer, session: iRODSSession) -> None:
    session.collections.create(f"{HOME}/c")
    server.faults.add("bundle_conflict")
    call(session, 666, bundle(f"{HOME}/1.tar", f"{HOME}/c", dataType="tar file", resc_hier="demoResc"))
    with pytest.raises((KeyError, exception.iRODSException)):
        call(session, 666, bundle(f"{HOME}/2.tar", f"{HOME}/c", dataType="tar file", resc_hier="demoResc"))
    with connect(server) as fresh:
        call(fresh, 666, bundle(f"{HOME}/2.tar", f"{HOME}/c", dataType="tar file", resc_hier="demoResc"))


def test_faults_by_file(server: SandboxServer, session: iRODSSession) -> None:
    file = server.state / "faults.json"
    file.write_text(json.dumps([{"kind": "error", "api": 606, "count": 1, "code": -806000}]))
    with pytest.raises(exception.CAT_SQL_ERR):
        put(session, f"{HOME}/a")
    put(session, f"{HOME}/a")
    file.write_text(json.dumps([{"kind": "error", "api": 681, "code": -818000}]))
    with pytest.raises(exception.CAT_NO_ACCESS_PERMISSION):
        session.collections.create(f"{HOME}/c")
    file.unlink()
    session.collections.create(f"{HOME}/c")


@pytest.mark.parametrize("text", ["{", "{}", '[{"kind": "odd"}]', '[{"kind": "slow", "size": 1}]', "[1]"])
def test_a_faults_file_that_cannot_be_read(
    server: SandboxServer, session: iRODSSession, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (server.state / "faults.json").write_text(text)
    session.collections.get(HOME)
    assert ("not a list of faults" in caplog.text) == (text != "{}")


def test_an_unknown_fault_is_refused(server: SandboxServer) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        server.faults.add("odd")


def test_a_connection_that_dies_while_it_writes(server: SandboxServer, session: iRODSSession) -> None:
    put(session, f"{HOME}/old", b"0123456789", regChksum="")
    before = set(threading.enumerate())
    dying = connect(server)
    files = [dying.data_objects.open(f"{HOME}/{name}", "w") for name in ("new", "old")]
    for file in files:
        file.raw.write(b"part")
    assert [row[1] for row in states(server, "new") + states(server, "old")] == [2, 2]
    for connection in dying.pool.active | dying.pool.idle:
        connection.socket.shutdown(socket.SHUT_RDWR)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert states(server, "new") + states(server, "old") == [(0, 0, 4), (0, 0, 4)]
    assert server.sql("select distinct checksum from replicas") == [("",)]
    session.data_objects.unlink(f"{HOME}/new", force=True)
    assert os.listdir(server.vault / "home/rods") == ["old"]
