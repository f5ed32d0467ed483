"""Metadata and access with the object, set and never added twice; and acting for another user."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from irods.access import iRODSAccess
from irods.models import Collection, DataObject
from irods.session import iRODSSession

from core import paths
from core.checksums import checksum_of
from core.errors import FileError, Outage, Transient, UsageError
from core.irods import AVU, Expected, Gateway, Gateways, Registration, SmallFile, source_path_avu
from core.irods.session import Session
from core.outcome import Done
from core.settings import IrodsSettings

DATA = b"annotated"
CHECKSUM = checksum_of(DATA)
ODD = [
    AVU("plain", "value", "unit"),
    AVU("no unit", "value"),
    AVU("a;b\\c", ";;\\;\\\\", "u;\\"),
    AVU("quotes ' \" `", "<&> new\nline\ttab", "日本"),
    AVU("twice", "1"),
    AVU("twice", "2"),
]


def put(gateway: Gateway, path: str, metadata: Sequence[AVU] = (), acl: Sequence[tuple[str, str]] = ()) -> None:
    gateway.put_bytes(path, DATA, checksum=CHECKSUM, resource=None, overwrite=True, metadata=metadata, acl=acl)


@pytest.mark.parametrize("last", range(len(ODD)))
def test_any_metadata_comes_with_the_bytes(gateway: Gateway, home: str, last: int) -> None:
    wanted = ODD[last + 1 :] + ODD[: last + 1]
    put(gateway, f"{home}/f", wanted)
    assert gateway.metadata(f"{home}/f") == sorted(ODD)


def test_it_is_set_and_not_added(gateway: Gateway, home: str) -> None:
    for value in ("1", "1", "2"):
        put(gateway, f"{home}/f", [AVU("a", value), AVU("b", "same", "unit")])
        assert gateway.metadata(f"{home}/f") == [AVU("a", value), AVU("b", "same", "unit")]
    put(gateway, f"{home}/f", [AVU("c", "new")])
    assert gateway.metadata(f"{home}/f") == [AVU("a", "2"), AVU("b", "same", "unit"), AVU("c", "new")]
    for _ in range(2):
        gateway.annotate(f"{home}/f", metadata=ODD)
        assert gateway.metadata(f"{home}/f")[:2] == [AVU("a", "2"), ODD[2]]
        assert len(gateway.metadata(f"{home}/f")) == len(ODD) + 3


def test_a_second_put_of_the_same_bytes_completes_it(gateway: Gateway, home: str) -> None:
    for metadata in ([], ODD[:2]):
        gateway.put_bytes(f"{home}/f", DATA, checksum=CHECKSUM, resource=None, overwrite=False, metadata=metadata)
    assert gateway.metadata(f"{home}/f") == sorted(ODD[:2])


def test_bundles_and_registrations(gateway: Gateway, home: str, resource: str) -> None:
    files = [SmallFile(f"f{i}", DATA, CHECKSUM, [AVU("number", str(i))] if i % 2 else []) for i in range(6)]
    rows = [Registration(f"{home}/r{i}", f"/data/r{i}", 1, 0, CHECKSUM, [AVU("number", str(i))]) for i in range(3)]
    for _ in range(2):
        assert gateway.put_bundle(home, files, resource=resource, overwrite=True) == [Done(CHECKSUM)] * 6
        assert gateway.register_many(rows, resource=resource) == [Done(CHECKSUM)] * 3
        for i in range(6):
            assert gateway.metadata(f"{home}/f{i}") == ([AVU("number", str(i))] if i % 2 else [])
        for i in range(3):
            assert gateway.metadata(f"{home}/r{i}") == [AVU("number", str(i))]


@pytest.mark.parametrize("again", [False, True])
def test_access_comes_with_the_bytes(
    gateway: Gateway, alice: Session, administrator: iRODSSession, home: str, again: bool
) -> None:
    administrator.acls.set(iRODSAccess("read", home, alice.user, alice.zone))
    for _ in range(1 + again):
        put(gateway, f"{home}/f", acl=[(f"{alice.user}#{alice.zone}", "read")])
    with Gateway(alice._settings) as reader:
        assert reader.verify(f"{home}/f", size=len(DATA), checksum=CHECKSUM).replicas == 1
    gateway.annotate(f"{home}/f", acl=[(alice.user, "null")])
    with Gateway(alice._settings) as reader:
        assert reader.replicas(f"{home}/f") == []


def test_annotating_what_is_not_there(gateway: Gateway, home: str) -> None:
    with pytest.raises(FileError):
        gateway.annotate(f"{home}/absent", metadata=ODD)
    with pytest.raises(FileError):
        gateway.annotate(f"{home}/absent", acl=[("rods", "own")])


def test_names_that_irods_cannot_hold_are_kept_as_automated_ingest_keeps_them(gateway: Gateway, home: str) -> None:
    source = b"/data/caf\xe9/f\x01.dat"
    avu = source_path_avu(source)
    assert avu == AVU(
        "irods::automated_ingest::UnicodeEncodeError",
        b64encode(source).decode(),
        "python3.base64.b64encode(full_path_of_source_file)",
    )
    put(gateway, f"{home}/{paths.escape(b'f' + bytes([1]) + b'.dat')}", [avu])
    assert gateway.metadata(f"{home}/f%01.dat") == [avu]
    assert source_path_avu("/data/café/100%.txt".encode()) is None


@given(path=st.binary(min_size=1, max_size=300).filter(lambda path: b"\0" not in path))
def test_the_path_comes_back_from_either_of_name_and_metadata(path: bytes) -> None:
    assert paths.unescape(paths.escape(path)) == path
    avu = source_path_avu(path)
    assert (avu is None) == (paths.escape(path).encode() == path)
    assert avu is None or b64decode(avu.value, validate=True) == path


def test_both_attributes_of_automated_ingest_come_by_every_way(gateway: Gateway, home: str, resource: str) -> None:
    source = b"/data/\xff\xfe\xfb\xef: a b"  # in base64 with + and /
    unit = "python3.base64.b64encode(full_path_of_source_file)"
    kept = [
        AVU(f"irods::automated_ingest::{why}", b64encode(source).decode(), unit)
        for why in ("UnicodeEncodeError", "character_map")
    ]
    file = SmallFile("bundled", DATA, CHECKSUM, kept)
    for _ in range(2):
        put(gateway, f"{home}/put", kept)
        gateway.put_stream(f"{home}/streamed", lambda o, n: DATA[o : o + n], len(DATA), resource=None, overwrite=True)
        gateway.annotate(f"{home}/streamed", metadata=kept)
        assert gateway.put_bundle(home, [file], resource=resource, overwrite=True) == [Done(CHECKSUM)]
        row = Registration(f"{home}/registered", "/data/r", 1, 0, CHECKSUM, kept)
        assert gateway.register_many([row], resource=resource) == [Done(CHECKSUM)]
    for name in ("put", "streamed", "bundled", "registered"):
        assert gateway.metadata(f"{home}/{name}") == kept


def test_acting_for_another_user(
    irods_settings: IrodsSettings, alices_settings: IrodsSettings, administrator: iRODSSession, resource: str
) -> None:
    zone = administrator.zone
    name = alices_settings.user
    by_settings = Gateway(irods_settings.model_copy(update={"client_user": name, "client_zone": zone}))
    by_call = Gateway(irods_settings, as_user=(name, zone))
    files = [SmallFile(f"b{i}", DATA, CHECKSUM) for i in range(12)]
    for number, gateway in enumerate((by_settings, by_call)):
        with gateway:
            server = gateway.server()
            assert (server.user, server.zone, server.is_admin) == (name, zone, False)
            home = f"/{zone}/home/{name}/c{number}"
            gateway.check_target(home)
            gateway.make_collections(home)
            put(gateway, f"{home}/f", ODD)
            gateway.put_stream(f"{home}/s", lambda o, n: DATA[o : o + n], len(DATA), resource=None, overwrite=False)
            assert gateway.put_bundle(home, files, resource=resource, overwrite=False) == [Done(CHECKSUM)] * 12
            expected = [Expected(file.relative, len(DATA), CHECKSUM) for file in files]
            assert gateway.verify_many(home, expected) == [Done(CHECKSUM, "rehash")] * 12
        for entry in ("f", "s", "b3"):
            assert _owner(administrator, f"{home}/{entry}") == name


def _owner(administrator: iRODSSession, path: str) -> str:
    collection, name = paths.split(path)
    query = administrator.query(DataObject.owner_name)
    row = query.filter(Collection.name == collection, DataObject.name == name).one()
    return str(row[DataObject.owner_name])


def test_only_rodsadmins_may_act_for_others(alices_settings: IrodsSettings, administrator: iRODSSession) -> None:
    with (
        Gateway(alices_settings, as_user=("rods", administrator.zone)) as gateway,
        pytest.raises(Transient, match="rodsadmin"),
    ):
        gateway.replicas(f"/{administrator.zone}/home/rods/f")
    with (
        Gateway(alices_settings.model_copy(update={"client_user": "rods"})) as gateway,
        pytest.raises(Outage, match="rodsadmin"),
    ):
        gateway.replicas(f"/{administrator.zone}/home/rods/f")


@pytest.mark.parametrize("user", [("nobodyhere", ""), ("rods", "otherZone"), ("public", "")])
def test_a_user_to_act_for_must_exist_and_be_no_group(irods_settings: IrodsSettings, user: tuple[str, str]) -> None:
    with Gateway(irods_settings, as_user=user) as gateway, pytest.raises(UsageError, match=user[0]):
        gateway.check_user()


def test_a_user_to_act_for_is_checked(irods_settings: IrodsSettings, alices_settings: IrodsSettings) -> None:
    with Gateway(irods_settings, as_user=(alices_settings.user, "")) as gateway:
        gateway.check_user()
    with Gateway(alices_settings, as_user=(irods_settings.user, "")) as gateway:
        with pytest.raises(UsageError, match="rodsadmin"):
            gateway.check_user()


def test_a_thread_is_one_connection_whatever_the_number_of_users(
    irods_settings: IrodsSettings, alices_settings: IrodsSettings, home: str
) -> None:
    gateways = Gateways(irods_settings)
    mine, hers = gateways.of(), gateways.of((alices_settings.user, ""))
    for gateway in (mine, hers, mine):
        assert gateways.of((alices_settings.user, "") if gateway is hers else None) is gateway
        gateway.replicas(f"{home}/absent")
        assert [each._session._connection is not None for each in (mine, hers)] == [gateway is mine, gateway is hers]
    assert (mine.connects, hers.connects) == (2, 1)
    gateways.close()
    assert mine._session._connection is None
