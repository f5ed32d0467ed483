"""Whatever breaks in the middle, the same verb again converges to one good replica with the right bytes.

These run on a sandbox server of their own, whose faults they switch on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from irods.session import iRODSSession
from pydantic import SecretStr

from core.checksums import checksum_of
from core.errors import FileError, Outage, Transient
from core.irods import Expected, Gateway, Locked, Registration, SmallFile, Status, features, replicas
from core.irods.stream import BUFFER_BYTES
from core.outcome import Dead, Done, Mismatched, Released
from core.settings import IrodsSettings
from sandbox.irods import SandboxServer

HOME = "/tempZone/home/rods"
PATH = f"{HOME}/f"
WHEN = 1_700_000_000 * 1_000_000
FILE_PUT = 518


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A server to be broken."""
    with SandboxServer(tmp_path_factory.mktemp("faulty")) as server:
        yield server


@pytest.fixture
def gateway(server: SandboxServer) -> Iterator[Gateway]:
    """A gateway to that server."""
    with Gateway(settings_of(server)) as gateway:
        yield gateway


def settings_of(server: SandboxServer, **more: object) -> IrodsSettings:
    given = {"host": "127.0.0.1", "port": server.port, "password": SecretStr("rods"), "timeout_seconds": 5}
    return IrodsSettings.model_validate(given | more)


def put(gateway: Gateway, data: bytes, *, overwrite: bool) -> None:
    gateway.put_bytes(PATH, data, checksum=checksum_of(data), resource="demoResc", overwrite=overwrite)


def put_stream(gateway: Gateway, data: bytes, *, overwrite: bool, streams: int = 1) -> None:
    gateway.put_stream(
        PATH, lambda o, n: data[o : o + n], len(data), resource="demoResc", overwrite=overwrite, streams=streams
    )


def check_good(gateway: Gateway, data: bytes) -> None:
    (replica,) = gateway.replicas(PATH)
    assert (replica.status, replica.size, replica.checksum) == (Status.GOOD, len(data), checksum_of(data))
    gateway.verify(PATH, size=len(data), checksum=checksum_of(data))


@pytest.mark.parametrize("before", [None, b"what was there before, and longer"])
@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_lost_put(server: SandboxServer, gateway: Gateway, kind: str, before: bytes | None) -> None:
    if before is not None:
        put(gateway, before, overwrite=False)
    server.faults.add(kind, api=606, count=1)
    with pytest.raises(Outage) as error:
        put(gateway, b"the right bytes", overwrite=before is not None)
    assert error.value.error == "connection_lost"
    put(gateway, b"the right bytes", overwrite=before is not None)
    check_good(gateway, b"the right bytes")


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize("api", [602, 676, 673, 702, 622, 20000, 20004])
def test_a_lost_stream(
    server: SandboxServer, gateway: Gateway, api: int, kind: str, overwrite: bool, streams: int
) -> None:
    if overwrite:
        put(gateway, os.urandom(100), overwrite=False)
    data = os.urandom(3 * BUFFER_BYTES + 5)
    gateway.replicas(PATH)
    gateway.check_resource("demoResc", "put")
    server.faults.add(kind, api=api, count=1)
    outcomes: list[str] = []
    for _ in range(100):
        try:
            put_stream(gateway, data, overwrite=overwrite, streams=streams)
            break
        except (Outage, Transient) as problem:
            outcomes.append(problem.error)
    check_good(gateway, data)
    if api in (602, 676, 673) or (api == 622 and not overwrite):
        assert outcomes[0] == "connection_lost"


@pytest.mark.parametrize("api", [606, 676])
def test_bytes_that_never_reached_the_disk(server: SandboxServer, gateway: Gateway, api: int) -> None:
    data = os.urandom(1000)
    way = put if api == 606 else put_stream
    server.faults.add("truncate", api=api, count=1, lost=7)
    with pytest.raises(Transient) as error:
        way(gateway, data, overwrite=False)
    assert error.value.error in ("short_write", "USER_CHKSUM_MISMATCH", "SYS_COPY_LEN_ERR")
    assert not any(replica.good for replica in gateway.replicas(PATH))
    way(gateway, data, overwrite=False)
    check_good(gateway, data)


@pytest.mark.parametrize("way", [put, put_stream])
def test_locked_by_a_dead_client(server: SandboxServer, gateway: Gateway, way: Callable[..., None]) -> None:
    put(gateway, b"before", overwrite=False)
    server.lock_object(PATH)
    way(gateway, b"after", overwrite=True)
    check_good(gateway, b"after")


def test_a_server_that_refuses_or_hangs(server: SandboxServer, gateway: Gateway) -> None:
    server.faults.add("refuse", count=1)
    with pytest.raises(Outage):
        gateway.replicas(PATH)
    assert gateway.replicas(PATH) == []
    settings = IrodsSettings(host="127.0.0.1", port=server.port, password=SecretStr("rods"), timeout_seconds=0.3)
    with Gateway(settings) as impatient:
        impatient.replicas(PATH)
        server.faults.add("hang", api=606, count=1)
        with pytest.raises(Outage) as error:
            put(impatient, b"x", overwrite=False)
        assert error.value.error == "timeout"
        put(impatient, b"x", overwrite=False)
        check_good(impatient, b"x")


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (-129000, FileError, "PATH_REG_NOT_ALLOWED"),
        (-405000, Locked, "locked"),
        (-1803000, Transient, "HIERARCHY_ERROR"),
        (-803000, Outage, "CAT_CONNECT_ERR"),
        (-511028, Outage, "UNIX_FILE_CREATE_ERR"),
        (-987654321, Transient, "IRODS_987654000"),
    ],
)
def test_codes_become_errors(
    server: SandboxServer, gateway: Gateway, code: int, kind: type[FileError], word: str
) -> None:
    server.faults.add("error", api=606, code=code)
    with pytest.raises(kind) as error:
        put(gateway, b"x", overwrite=False)
    assert error.value.error == word
    assert str(code) in str(error.value)
    assert PATH in str(error.value)


def test_the_mkdir_race_cannot_happen_level_by_level(server: SandboxServer, gateway: Gateway) -> None:
    server.faults.add("mkdir_race")
    gateway.make_collections(f"{HOME}/a/b")
    gateway.make_collections(f"{HOME}/a/b/c/d")
    put_into = f"{HOME}/a/b/c/d/f"
    gateway.put_bytes(put_into, b"x", checksum=checksum_of(b"x"), resource=None, overwrite=False)
    assert gateway.replicas(put_into)


# many files


def test_bad_paths_are_outcomes_of_their_files(gateway: Gateway) -> None:
    good, bad = rows(2), Registration(f"{HOME}//x", "/data/x", 1, WHEN)
    outcomes = gateway.register_many([good[0], bad, good[1]], resource="demoResc")
    assert [type(outcome) for outcome in outcomes] == [Done, Dead, Done]
    wanted = files(3)
    wrong = SmallFile("../x", b"", checksum_of(b""))
    outcomes = gateway.put_bundle(HOME, [wanted[0], wrong, *wanted[1:]], resource="demoResc", overwrite=False)
    assert [type(outcome) for outcome in outcomes] == [Done, Dead, Done, Done]
    outcomes = gateway.verify_many(f"{HOME}/d", [Expected("..", 0, checksum_of(b""))])
    assert [type(outcome) for outcome in outcomes] == [Dead]


@pytest.mark.parametrize("at", [0, BUFFER_BYTES, 2 * BUFFER_BYTES])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_server_that_stops_in_the_middle_of_a_put(
    tmp_path_factory: pytest.TempPathFactory, at: int, overwrite: bool
) -> None:
    state = tmp_path_factory.mktemp("stopped")
    data = os.urandom(3 * BUFFER_BYTES)
    with SandboxServer(state) as server:
        settings = IrodsSettings(host="127.0.0.1", port=server.port, password=SecretStr("rods"), timeout_seconds=5)
        with Gateway(settings) as gateway:
            if overwrite:
                put(gateway, b"before", overwrite=False)

            def read_at(offset: int, length: int) -> bytes:
                if offset == at:
                    server.stop()
                return data[offset : offset + length]

            with pytest.raises(Outage):
                gateway.put_stream(PATH, read_at, len(data), resource="demoResc", overwrite=overwrite)
    with SandboxServer(state) as server, Gateway(settings.model_copy(update={"port": server.port})) as gateway:
        put_stream(gateway, data, overwrite=overwrite)
        check_good(gateway, data)


def rows(count: int = 60) -> list[Registration]:
    return [Registration(f"{HOME}/r{i}", f"/data/{i}", i, WHEN, checksum_of(b"x")) for i in range(count)]


def files(count: int = 20) -> list[SmallFile]:
    return [SmallFile(f"d/f{i}", data, checksum_of(data)) for i in range(count) if (data := os.urandom(50))]


@pytest.mark.parametrize("code", [-13000, -12000])
def test_a_server_without_619_gets_single_calls(server: SandboxServer, gateway: Gateway, code: int) -> None:
    server.faults.add("error", api=619, code=code)
    assert features.BULK_REGISTER in gateway.server().features
    assert gateway.register_many(rows(), resource="demoResc") == [Done(checksum_of(b"x"))] * 60
    assert features.BULK_REGISTER not in gateway.server().features
    assert server.calls[20008] == 60


def test_a_server_without_20008_gets_630(server: SandboxServer, gateway: Gateway) -> None:
    server.faults.add("error", api=20008, code=-12000)
    gateway.register(PATH, "/data/f", 3, WHEN, resource="demoResc")
    (replica,) = gateway.replicas(PATH)
    assert (replica.size, replica.modified_at) == (3, WHEN)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_lost_bulk_registration(server: SandboxServer, gateway: Gateway, kind: str) -> None:
    server.faults.add(kind, api=619, count=1)
    outcomes = gateway.register_many(rows(), resource="demoResc")
    assert all(isinstance(outcome, Released) for outcome in outcomes)
    assert gateway.register_many(rows(), resource="demoResc") == [Done(checksum_of(b"x"))] * 60
    shown = replicas.replicas_in(gateway._session, HOME)
    assert all(shown[row.path][0].modified_at == WHEN and len(shown[row.path]) == 1 for row in rows())


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "error"])
@pytest.mark.parametrize(
    ("written", "api"),
    [(False, api) for api in (606, 665, 688, 615, 702)] + [(True, api) for api in (606, 518, 688, 702)],
)
def test_a_broken_bundle(server: SandboxServer, written: bool, api: int, kind: str, overwrite: bool) -> None:
    with Gateway(settings_of(server, vault_writes=written)) as gateway:
        _break_a_bundle(server, gateway, api, kind, overwrite)
    vault = {path for path in server.vault.rglob("*") if path.is_file()}
    known = {Path(path) for (path,) in server.sql("select path from replicas")}
    assert known <= vault
    # the first file of a bundle is put as any client would: the server moves what is in its way
    moved = {path for path in vault if path.is_relative_to(server.vault / "orphan")}
    assert vault == known | moved
    assert len(moved) <= int(written)


def _break_a_bundle(server: SandboxServer, gateway: Gateway, api: int, kind: str, overwrite: bool) -> None:
    gateway.make_collections(f"{HOME}/d")
    gateway.clean_staging(0)
    wanted = files()
    server.faults.add(kind, api=api, count=1, code=-154000 if kind == "error" else 0)
    outcomes = gateway.put_bundle(HOME, wanted, resource="demoResc", overwrite=overwrite)
    if outcomes != [Done(file.checksum) for file in wanted]:
        outcomes = gateway.put_bundle(HOME, wanted, resource="demoResc", overwrite=overwrite)
    assert outcomes == [Done(file.checksum) for file in wanted]
    for file in wanted:
        (replica,) = gateway.replicas(f"{HOME}/{file.relative}")
        assert (replica.good, replica.size, replica.checksum) == (True, 50, file.checksum)
        gateway.verify(f"{HOME}/{file.relative}", size=50, checksum=file.checksum)
    gateway.clean_staging((1 << 33) * 1_000_000)
    assert replicas.replicas_in(gateway._session, gateway._staging) == {}


@pytest.mark.parametrize("code", [-809000, -818000])
def test_a_first_file_that_is_refused_keeps_the_others_from_no_vault(
    server: SandboxServer, gateway: Gateway, code: int
) -> None:
    """As when somebody else puts it at the same moment: 665 could take what they have just written."""
    gateway.make_collections(f"{HOME}/d")
    server.faults.add("error", api=606, code=code, count=1)
    wanted = files()
    assert gateway.put_bundle(HOME, wanted, resource="demoResc", overwrite=False) == [
        Done(file.checksum) for file in wanted
    ]
    assert (server.calls[606], server.calls[518], server.calls[665]) == (3, 18, 0)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "error"])
@pytest.mark.parametrize("api", [666, 608, 615, 702])
def test_a_broken_pack(server: SandboxServer, gateway: Gateway, api: int, kind: str) -> None:
    wanted = files()
    gateway.put_bundle(HOME, wanted, resource="demoResc", overwrite=False)
    expected = [Expected(file.relative.removeprefix("d/"), 50, file.checksum) for file in wanted]
    server.faults.add(kind, api=api, count=1, code=-154000 if kind == "error" else 0)
    outcomes = gateway.verify_many(f"{HOME}/d", expected)
    if outcomes != [Done(file.checksum, "rehash") for file in wanted]:
        outcomes = gateway.verify_many(f"{HOME}/d", expected)
    assert outcomes == [Done(file.checksum, "rehash") for file in wanted]
    gateway.clean_staging((1 << 33) * 1_000_000)
    assert replicas.replicas_in(gateway._session, gateway._staging) == {}


@pytest.fixture
def second(server: SandboxServer) -> str:
    """A resource beside the one of HOME."""
    with iRODSSession(host="127.0.0.1", port=server.port, user="rods", zone="tempZone", password="rods") as session:
        session.resources.create("second", "unixfilesystem", "localhost", str(server.state / "second"))
    return "second"


def first_replicas(gateway: Gateway) -> None:
    """For every other one of `rows()` an older replica, without a checksum."""
    old = [replace(row, physical_path=f"/old{row.path}", checksum=None) for row in rows()[::2]]
    assert gateway.register_many(old, resource="demoResc") == [Done(None)] * 30


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "error"])
@pytest.mark.parametrize("api", [619, 20008, 622, 702])
def test_a_broken_registration_of_replicas(
    server: SandboxServer, gateway: Gateway, second: str, api: int, kind: str
) -> None:
    first_replicas(gateway)
    server.faults.add(kind, api=api, count=1, code=-154000 if kind == "error" else 0)
    outcomes = gateway.register_as_replica_many(rows(), resource=second)
    assert all(isinstance(outcome, Done if kind == "error" and api != 702 else Done | Released) for outcome in outcomes)
    assert gateway.register_as_replica_many(rows(), resource=second) == [Done(checksum_of(b"x"))] * 60
    shown = replicas.replicas_in(gateway._session, HOME)
    for number, row in enumerate(rows()):
        *older, mine = shown[row.path]
        assert (mine.status, mine.size, mine.checksum) == (Status.GOOD, row.size, row.checksum)
        assert (mine.resource, mine.physical_path, mine.modified_at) == (second, row.physical_path, WHEN)
        assert [each.status for each in older] == ([Status.STALE] if number % 2 == 0 else [])


def connections_to(port: int) -> int:
    """Connections of this process to a port of this machine that are established."""
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    ends = [line.split()[2:4] for line in lines]
    return sum(int(remote.partition(":")[2], 16) == port and state == "01" for remote, state in ends)


@pytest.mark.parametrize("api", [518, 665, 666])
def test_bundles_and_packs_need_no_second_connection(server: SandboxServer, api: int) -> None:
    gateway = Gateway(settings_of(server, vault_writes=api == FILE_PUT))
    wanted = files()
    expected = [Expected(file.relative.removeprefix("d/"), 50, file.checksum) for file in wanted]
    server.faults.add("slow", api=api, count=1, seconds=0.3)
    found: list[int] = []

    def work() -> None:
        assert gateway.put_bundle(HOME, wanted, resource="demoResc", overwrite=False) == [
            Done(file.checksum) for file in wanted
        ]
        assert gateway.verify_many(f"{HOME}/d", expected) == [Done(file.checksum, "rehash") for file in wanted]

    with gateway, ThreadPoolExecutor(1) as thread:
        done = thread.submit(work)
        while not done.done():
            found.append(connections_to(server.port))
        done.result()
    assert server.calls[api] == (len(wanted) - 1 if api == FILE_PUT else 1)
    assert max(found) == 1


# what it costs: requests are exact here


def cost(server: SandboxServer, before: dict[int, int]) -> dict[int, int]:
    after = dict(server.calls)
    return {api: after[api] - before.get(api, 0) for api in after if after[api] != before.get(api, 0)}


def test_requests_of_single_verbs(server: SandboxServer, gateway: Gateway) -> None:
    gateway.check_resource("demoResc", "put")
    before = dict(server.calls)
    put(gateway, b"x", overwrite=False)
    assert cost(server, before) == {702: 1, 606: 1}
    before = dict(server.calls)
    gateway.verify(PATH, size=1, checksum=checksum_of(b"x"))
    assert cost(server, before) == {702: 1, 629: 1}
    before = dict(server.calls)
    gateway.register(f"{HOME}/r", "/data/r", 1, WHEN, resource="demoResc")
    assert cost(server, before) == {20008: 1}
    before = dict(server.calls)
    gateway.make_collections(f"{HOME}/new")
    assert cost(server, before) == {681: 1}


def cost_of_a_bundle(server: SandboxServer, gateway: Gateway, wanted: list[SmallFile]) -> dict[int, int]:
    gateway.check_resource("demoResc", "put")
    assert gateway._staging
    gateway.make_collections(f"{HOME}/d")
    before = dict(server.calls)
    gateway.put_bundle(HOME, wanted, resource="demoResc", overwrite=False)
    return cost(server, before)


def test_requests_of_many(server: SandboxServer, gateway: Gateway) -> None:
    wanted = files(500)
    # fifty of the writes share a round trip
    assert cost_of_a_bundle(server, gateway, wanted) == {702: 5, 510: 1, 606: 1, 518: 499, 688: 10}
    before = dict(server.calls)
    gateway.verify_many(f"{HOME}/d", [Expected(f.relative.removeprefix("d/"), 50, f.checksum) for f in wanted])
    assert cost(server, before) == {702: 4, 666: 1, 608: 1, 615: 1, 110000: 2}
    before = dict(server.calls)
    gateway.register_many(rows(50), resource="demoResc")
    # the sandbox has no open transactions: the first fifty are asked twice
    assert cost(server, before) == {619: 100}
    before = dict(server.calls)
    gateway.register_many(rows(100)[50:], resource="demoResc")
    assert cost(server, before) == {619: 50}


def test_requests_of_a_bundle_that_is_unpacked(server: SandboxServer) -> None:
    with Gateway(settings_of(server, vault_writes=False)) as gateway:
        assert cost_of_a_bundle(server, gateway, files(500)) == {606: 1, 702: 5, 665: 1, 688: 10, 615: 1, 110000: 2}


def test_requests_of_many_replicas(server: SandboxServer, gateway: Gateway, second: str) -> None:
    gateway.check_resource(second, "register_as_replica_sync")
    first_replicas(gateway)
    before = dict(server.calls)
    gateway.register_as_replica_many(rows(), resource=second)
    # of sixty, thirty are new, and thirty leave a stale one behind
    assert cost(server, before) == {702: 4, 619: 30, 20008: 30, 622: 60}
    before = dict(server.calls)
    gateway.register_as_replica_many(rows(), resource=second)
    assert cost(server, before) == {702: 4}


def test_a_pack_is_made_only_where_half_of_it_is_wanted(server: SandboxServer, gateway: Gateway) -> None:
    gateway.check_resource("demoResc", "put")
    wanted = files(60)
    gateway.put_bundle(HOME, wanted, resource="demoResc", overwrite=False)
    expected = [Expected(file.relative.removeprefix("d/"), 50, file.checksum) for file in wanted]
    for count, packs in ((29, 0), (30, 1), (7, 0)):
        before = dict(server.calls)
        outcomes = gateway.verify_many(f"{HOME}/d", expected[:count])
        assert outcomes == [Done(file.checksum, "rehash") for file in wanted[:count]]
        spent = cost(server, before)
        assert (spent.get(666, 0), spent.get(629, 0)) == (packs, 0 if packs else count)


def test_files_of_many_collections_share_round_trips(server: SandboxServer, gateway: Gateway) -> None:
    gateway.check_resource("demoResc", "put")
    wanted = [SmallFile(f"many/c{n}/f", b"%d" % n, checksum_of(b"%d" % n)) for n in range(60)]
    gateway.put_bundle(HOME, wanted, resource="demoResc", overwrite=False)
    (damaged,) = gateway.replicas(f"{HOME}/many/c7/f")
    Path(damaged.physical_path).write_bytes(b"8")
    expected = [Expected(file.relative, len(file.data), file.checksum) for file in wanted]
    before = dict(server.calls)
    outcomes = gateway.verify_many(HOME, expected, packs=False)
    assert isinstance(outcomes[7], Mismatched)
    assert outcomes[:7] + outcomes[8:] == [Done(f.checksum, "rehash") for f in wanted[:7] + wanted[8:]]
    # the damaged one is looked at again by itself
    assert cost(server, before) == {702: 61, 629: 61}


def test_levels_below_rehash_read_nothing(server: SandboxServer, gateway: Gateway) -> None:
    gateway.check_resource("demoResc", "put")
    wanted = files(60)
    gateway.put_bundle(HOME, wanted, resource="demoResc", overwrite=False)
    expected = [Expected(file.relative.removeprefix("d/"), 50, file.checksum) for file in wanted]
    before = dict(server.calls)
    gateway.verify_many(f"{HOME}/d", expected, level="catalog")
    assert cost(server, before) == {702: 2}
    before = dict(server.calls)
    gateway.verify_many(f"{HOME}/d", expected, level="stat")
    assert cost(server, before) == {702: 2, 629: 60}
