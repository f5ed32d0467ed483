"""Users, groups and proxies; resources, their tree and where replicas go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from irods import exception
from irods import keywords as kw
from irods.access import iRODSAccess
from irods.message import GeneralAdminRequest
from irods.meta import iRODSMeta
from irods.models import Collection, DataObject
from irods.session import iRODSSession

from sandbox.irods import SandboxServer
from tests.sandbox.calls import HOME, bundle, call, connect, local_file, object_input, put, states


def test_users(server: SandboxServer, session: iRODSSession) -> None:
    alice = session.users.create("alice", "rodsuser")
    assert (alice.type, session.collections.exists("/tempZone/home/alice")) == ("rodsuser", True)
    for password in ("short", "one of a good forty characters, so that no padding"[:45], "with 'quotes' & <tags>"):
        session.users.modify("alice", "password", password)
        with connect(server, "alice", password) as hers:
            put(hers, "/tempZone/home/alice/a", forceFlag="")
    with connect(server, "alice", password) as hers:
        for number in (701, 622):
            with pytest.raises((exception.SYS_NO_API_PRIV, exception.SYS_PACK_INSTRUCT_FORMAT_ERR)):
                hers.users.create("bob", "rodsuser") if number == 701 else call(hers, 622, object_input("/x"))
        hers.users.modify_password(password, "changed")
    with connect(server, "alice", "changed") as hers:
        assert hers.data_objects.get("/tempZone/home/alice/a").owner_name == "alice"
        hers.data_objects.unlink("/tempZone/home/alice/a", force=True)
    with pytest.raises(exception.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME):
        session.users.create("alice", "rodsuser")
    with pytest.raises(exception.CAT_INVALID_USER_TYPE):
        session.users.create("bob", "king")
    session.users.modify("alice", "type", "rodsadmin")
    assert session.users.get("alice").type == "rodsadmin"
    session.users.remove("alice")
    assert not session.collections.exists("/tempZone/home/alice")


def test_groups(server: SandboxServer, session: iRODSSession) -> None:
    session.users.create("alice", "rodsuser")
    session.users.modify("alice", "password", "secret")
    group = session.groups.create("team")
    group.addmember("alice")
    assert [user.name for user in group.members] == ["alice"]
    session.collections.create(f"{HOME}/team")
    session.acls.set(iRODSAccess("write", f"{HOME}/team", "team"))
    with connect(server, "alice", "secret") as alice:
        put(alice, f"{HOME}/team/hers")
        group.removemember("alice")
        with pytest.raises(exception.CAT_NO_ACCESS_PERMISSION):
            put(alice, f"{HOME}/team/more")
    with pytest.raises(exception.CAT_INVALID_GROUP):
        session.groups.addmember("none", "alice")


def test_a_proxy_acts_for_another(server: SandboxServer, session: iRODSSession) -> None:
    for name in ("alice", "bob"):
        session.users.create(name, "rodsuser")
        session.users.modify(name, "password", name)
    with connect(server, client_user="alice", client_zone="tempZone") as proxy:
        put(proxy, "/tempZone/home/alice/a")
        assert proxy.data_objects.get("/tempZone/home/alice/a").owner_name == "alice"
        with pytest.raises(exception.CAT_NO_ACCESS_PERMISSION):
            put(proxy, f"{HOME}/a")
    for user, client in (("bob", "alice"), ("rods", "nobody")):
        with connect(server, user, user, client_user=client, client_zone="tempZone") as refused:
            with pytest.raises((exception.SYS_PROXYUSER_NO_PRIV, exception.CAT_INVALID_CLIENT_USER)):
                refused.collections.get("/")


@pytest.fixture
def leaf(server: SandboxServer, session: iRODSSession) -> Callable[..., Path]:
    """Makes a unixfilesystem resource, below a parent if one is named; gives its vault."""

    def make(name: str, parent: str = "", context: str = "") -> Path:
        vault = server.state / f"Vault_{name}"
        session.resources.create(name, "unixfilesystem", "vm", str(vault))
        if parent:
            session.resources.add_child(parent, name, context)
        return vault

    return make


def test_replication(server: SandboxServer, session: iRODSSession, leaf: Callable[..., Path], tmp_path: Path) -> None:
    session.resources.create("repl", "replication")
    vaults = [leaf(name, "repl") for name in ("one", "two")]
    session.data_objects.put(local_file(tmp_path, b"data"), f"{HOME}/a", **{kw.DEST_RESC_NAME_KW: "repl"})
    assert states(server, "a") == [(0, 1, 4), (1, 1, 4)]
    assert all((vault / "home/rods/a").read_bytes() == b"data" for vault in vaults)
    put(session, f"{HOME}/a", b"changed", destRescName="repl", forceFlag="")
    assert states(server, "a") == [(0, 1, 7), (1, 1, 7)]
    found = session.data_objects.get(f"{HOME}/a")
    assert sorted(replica.resc_hier for replica in found.replicas) == ["repl;one", "repl;two"]
    session.data_objects.unlink(f"{HOME}/a", force=True)
    assert not any((vault / "home/rods/a").exists() for vault in vaults)


def test_a_compound_archives_what_its_cache_gets(
    server: SandboxServer, session: iRODSSession, leaf: Callable[..., Path]
) -> None:
    session.resources.create("comp", "compound")
    leaf("store", "comp", "archive")
    leaf("fast", "comp", "cache")
    put(session, f"{HOME}/a", destRescName="comp")
    assert [replica.resource_name for replica in session.data_objects.get(f"{HOME}/a").replicas] == ["fast", "store"]


def test_random_and_passthru(session: iRODSSession, leaf: Callable[..., Path]) -> None:
    session.resources.create("rand", "random")
    session.resources.create("pass", "passthru")
    session.resources.add_child("rand", "pass")
    leaf("deep", "pass")
    leaf("flat", "rand")
    for number in range(20):
        put(session, f"{HOME}/r{number}", destRescName="rand")
    hierarchies = {session.data_objects.get(f"{HOME}/r{number}").replicas[0].resc_hier for number in range(20)}
    assert hierarchies <= {"rand;pass;deep", "rand;flat"}
    for child in ("pass", "deep", "flat"):
        with pytest.raises(exception.DIRECT_CHILD_ACCESS):
            put(session, f"{HOME}/x", destRescName=child)
    put(session, f"{HOME}/x", resc_hier="rand;pass;deep")
    with pytest.raises(exception.HIERARCHY_ERROR):
        put(session, f"{HOME}/y", resc_hier="rand;deep")


def test_a_pack_replicates_what_lies_elsewhere(
    server: SandboxServer, session: iRODSSession, leaf: Callable[..., Path]
) -> None:
    for name in ("other", "third"):
        leaf(name)
    session.collections.create(f"{HOME}/c")
    for name, resource in (("a", "demoResc"), ("b", "other"), ("c", "third")):
        put(session, f"{HOME}/c/{name}", destRescName=resource)
    session.data_objects.replicate(f"{HOME}/c/c", resource="demoResc")
    session.data_objects.modDataObjMeta({"objPath": f"{HOME}/c/c", "replNum": 1}, {"replStatus": 0})
    call(session, 666, bundle(f"{HOME}/c.tar", f"{HOME}/c", dataType="tar file", resc_hier="demoResc"))
    assert states(server, "a") == [(0, 1, 4)]
    assert states(server, "b") == states(server, "c") == [(0, 1, 4), (1, 1, 4)]
    session.data_objects.modDataObjMeta({"objPath": f"{HOME}/c/b", "replNum": 0}, {"replStatus": 0})
    session.data_objects.modDataObjMeta({"objPath": f"{HOME}/c/b", "replNum": 1}, {"replStatus": 0})
    with pytest.raises(exception.SYS_COPY_NOT_EXIST_IN_RESC):
        call(session, 666, bundle(f"{HOME}/d.tar", f"{HOME}/c", dataType="tar file", resc_hier="demoResc"))


def test_stale_siblings_and_voting(server: SandboxServer, session: iRODSSession, leaf: Callable[..., Path]) -> None:
    leaf("other")
    put(session, f"{HOME}/a", b"old")
    session.data_objects.replicate(f"{HOME}/a", resource="other")
    with session.data_objects.open(f"{HOME}/a", "a", **{kw.DEST_RESC_NAME_KW: "other"}) as file:
        file.write(b"new")
    assert states(server, "a") == [(0, 0, 3), (1, 1, 6)]
    assert session.data_objects.open(f"{HOME}/a", "r").read() == b"oldnew"
    assert session.data_objects.open(f"{HOME}/a", "r", **{kw.REPL_NUM_KW: "0"}).read() == b"old"
    with pytest.raises(exception.SYS_REPLICA_DOES_NOT_EXIST):
        session.data_objects.open(f"{HOME}/a", "r", **{kw.REPL_NUM_KW: "7"})
    session.data_objects.replicate(f"{HOME}/a", **{kw.UPDATE_REPL_KW: "", kw.ALL_KW: ""})
    assert states(server, "a") == [(0, 1, 6), (1, 1, 6)]
    session.data_objects.trim(f"{HOME}/a", **{kw.REPL_NUM_KW: "0", kw.COPIES_KW: "1"})
    assert states(server, "a") == [(1, 1, 6)]
    assert call(session, 632, object_input(f"{HOME}/a", replNum="1", copies="1")).int_info == 0


def test_a_put_does_not_change_an_object_s_resource(session: iRODSSession, leaf: Callable[..., Path]) -> None:
    leaf("other")
    put(session, f"{HOME}/a")
    with pytest.raises(exception.HIERARCHY_ERROR):
        put(session, f"{HOME}/a", destRescName="other", forceFlag="")
    with pytest.raises(exception.SYS_RESC_DOES_NOT_EXIST):
        put(session, f"{HOME}/b", destRescName="none")


def test_the_tree_is_kept_in_order(session: iRODSSession, leaf: Callable[..., Path]) -> None:
    session.resources.create("top", "passthru")
    leaf("low", "top")
    with pytest.raises(KeyError):  # CHILD_HAS_PARENT (-1812000), a code that the client does not know
        session.resources.add_child("top", "low")
    with pytest.raises(exception.HIERARCHY_ERROR):
        session.resources.add_child("low", "top")
    with pytest.raises(KeyError):  # CHILD_EXISTS (-1802000), another one
        session.resources.remove("low")
    session.resources.modify("low", "status", "down")
    with pytest.raises(exception.HIERARCHY_ERROR):
        put(session, f"{HOME}/a", destRescName="top")
    session.resources.modify("low", "status", "up")
    put(session, f"{HOME}/a", destRescName="top")
    session.resources.remove_child("top", "low")
    with pytest.raises(exception.CAT_RESOURCE_NOT_EMPTY):
        session.resources.remove("low")
    session.resources.remove("top")
    with pytest.raises(exception.CAT_INVALID_RESOURCE_TYPE):
        session.resources.create("odd", "tape robot", "vm", "/vault")
    with pytest.raises(exception.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME):
        leaf("low")


def test_the_zone_goes_on_after_a_restart(tmp_path: Path) -> None:
    with (
        SandboxServer(tmp_path, zone="otherZone", admin="boss", password="pw") as server,
        connect(server, "boss", "pw") as session,
    ):
        session.resources.create("kept", "unixfilesystem", "vm", str(tmp_path / "Vault_kept"))
        put(session, "/otherZone/home/boss/a", b"kept", destRescName="kept")
        first = session.data_objects.get("/otherZone/home/boss/a").id
    with SandboxServer(tmp_path) as server, connect(server, "boss", "pw") as session:
        assert server.zone == "otherZone"
        assert session.data_objects.open("/otherZone/home/boss/a", "r").read() == b"kept"
        put(session, "/otherZone/home/boss/b")
        assert session.data_objects.get("/otherZone/home/boss/b").id > first


def test_what_an_administrator_may_not_do(session: iRODSSession) -> None:
    with pytest.raises(exception.CAT_INVALID_USER, match="your own admin account"):
        session.users.remove("rods")
    with pytest.raises(exception.CAT_INVALID_ZONE, match="zone 'far' does not exist"):
        session.users.create("alice", "rodsuser", user_zone="far")
    for verb in (("add", "token", "x"), ("modify", "zone", "x"), ("modify", "resource", "demoResc", "colour", "red")):
        with pytest.raises(exception.CAT_INVALID_ARGUMENT):
            call(session, 701, GeneralAdminRequest(*verb))


def test_what_is_there_no_more(session: iRODSSession) -> None:
    for refused, code in (
        (lambda: session.collections.remove(f"{HOME}/none"), exception.CAT_UNKNOWN_COLLECTION),
        (lambda: session.data_objects.move(f"{HOME}/none", f"{HOME}/to"), exception.CAT_NO_ROWS_FOUND),
        (lambda: session.data_objects.copy(f"{HOME}/none", f"{HOME}/to"), exception.USER_INPUT_PATH_ERR),
        (lambda: session.data_objects.replicate(f"{HOME}/none"), exception.CAT_NO_ROWS_FOUND),
        (lambda: session.data_objects.trim(f"{HOME}/none"), exception.CAT_NO_ROWS_FOUND),
        (lambda: session.resources.remove("none"), exception.CAT_INVALID_RESOURCE),
        (lambda: session.resources.add_child("none", "demoResc"), exception.CAT_INVALID_RESOURCE),
        (lambda: session.users.modify("none", "comment", "x"), exception.CAT_INVALID_USER),
        (lambda: session.metadata.add(DataObject, f"{HOME}/none", iRODSMeta("a", "b")), exception.CAT_UNKNOWN_FILE),
        (
            lambda: session.metadata.add(Collection, f"{HOME}/none", iRODSMeta("a", "b")),
            exception.CAT_UNKNOWN_COLLECTION,
        ),
    ):
        with pytest.raises(code):
            refused()


def test_a_user_of_another_zone(session: iRODSSession) -> None:
    session.zones.create("far", "remote")
    session.users.create("alice", "rodsuser", user_zone="far")
    assert session.collections.exists("/tempZone/home/alice#far")
    session.users.remove("alice", "far")
    assert not session.collections.exists("/tempZone/home/alice#far")
    session.zones.remove("far")
