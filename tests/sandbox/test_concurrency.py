"""Many clients at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from irods import exception
from irods.models import Collection, DataObject

from sandbox.irods import SandboxServer
from tests.sandbox.calls import HOME, bulk, call, connect, put

CLIENTS = 8


def together(act: Callable[[int], None], clients: int = CLIENTS) -> None:
    """Run `act` with 0, 1, ... in threads that begin at one time; raises what one of them raised."""
    gate = threading.Barrier(clients)

    def run(number: int) -> None:
        gate.wait()
        act(number)

    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(run, number) for number in range(clients)]:
            done.result()


def test_puts_into_one_collection(server: SandboxServer) -> None:
    def act(number: int) -> None:
        with connect(server) as session:
            for each in range(15):
                put(session, f"{HOME}/f{number}_{each}", f"{number} {each}".encode(), regChksum="")

    together(act)
    with connect(server) as session:
        rows = list(session.query(DataObject.name, DataObject.replica_status).filter(Collection.name == HOME))
        assert len(rows) == CLIENTS * 15 and {row[DataObject.replica_status] for row in rows} == {"1"}
        assert session.data_objects.open(f"{HOME}/f7_14", "r").read() == b"7 14"
    assert len(server.sql("select distinct data_id from replicas")) == CLIENTS * 15


def test_one_name_is_put_once(server: SandboxServer) -> None:
    refused = []

    def act(number: int) -> None:
        with connect(server) as session:
            try:
                put(session, f"{HOME}/same", b"x" * (number + 1))
            except (exception.iRODSException, KeyError) as problem:
                refused.append(problem)

    together(act)
    assert len(refused) == CLIENTS - 1
    with connect(server) as session:
        size = session.data_objects.get(f"{HOME}/same").size
        assert len(session.data_objects.open(f"{HOME}/same", "r").read()) == size


def test_collections_made_at_once(server: SandboxServer) -> None:
    def act(number: int) -> None:
        with connect(server) as session:
            for level in range(6):
                session.collections.create(f"{HOME}/a/b{level}/c/d{number}")

    together(act)
    assert server.sql("select count(*) from collections where name like ?", f"{HOME}/a%") == [
        (1 + 6 * 2 + 6 * CLIENTS,)
    ]


def test_bulk_registrations_at_once(server: SandboxServer) -> None:
    def act(number: int) -> None:
        with connect(server) as session:
            for batch in range(4):
                rows = [{"path": f"{HOME}/r{number}_{batch}_{n}", "size": "1", "file": "/data/x"} for n in range(50)]
                call(session, 688, bulk(rows))

    together(act)
    assert server.sql("select count(distinct data_id) from replicas") == [(CLIENTS * 4 * 50,)]


def test_a_reader_is_not_kept_waiting(server: SandboxServer) -> None:
    done = threading.Event()

    def act(number: int) -> None:
        with connect(server) as session:
            if number == 0:
                while not done.is_set():
                    session.collections.get(HOME)
            else:
                try:
                    for each in range(30):
                        put(session, f"{HOME}/f{number}_{each}")
                finally:
                    done.set()

    together(act, 2)
    assert server.calls[702] > 1


@pytest.mark.parametrize("kind", ["unlink", "rename"])
def test_one_of_many_wins(server: SandboxServer, kind: str) -> None:
    refused = []
    with connect(server) as session:
        put(session, f"{HOME}/a")

    def act(number: int) -> None:
        with connect(server) as session:
            try:
                if kind == "unlink":
                    session.data_objects.unlink(f"{HOME}/a", force=True)
                else:
                    session.data_objects.move(f"{HOME}/a", f"{HOME}/to{number}")
            except exception.iRODSException as problem:
                refused.append(problem)

    together(act)
    assert len(refused) == CLIENTS - 1
    assert server.sql("select count(*) from replicas") == [(int(kind == "rename"),)]
