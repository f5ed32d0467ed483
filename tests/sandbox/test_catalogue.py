"""Queries, metadata and access."""

from __future__ import annotations

import pytest
from irods import exception
from irods.access import iRODSAccess
from irods.column import Between, In, Like, NotLike
from irods.meta import AVUOperation, iRODSMeta
from irods.models import Collection, CollectionMeta, DataObject, DataObjectMeta, Group, Resource, User, Zone
from irods.session import iRODSSession

from sandbox.irods import SandboxServer
from tests.sandbox.calls import HOME, bulk, call, connect, put


@pytest.fixture
def many(session: iRODSSession) -> iRODSSession:
    """A collection `q` with objects f000 to f119 of sizes 0 to 119, registered."""
    session.collections.create(f"{HOME}/q")
    rows = [
        {"path": f"{HOME}/q/f{n:03}", "size": str(n), "file": f"/data/{n}", "checksum": f"sha2:{n}"} for n in range(120)
    ]
    for start in (0, 50, 100):
        call(session, 688, bulk(rows[start : start + 50]))
    return session


def names(session: iRODSSession, *criteria: object) -> list[str]:
    return [
        row[DataObject.name] for row in session.query(DataObject.name).filter(Collection.name == f"{HOME}/q", *criteria)
    ]


def test_paging(server: SandboxServer, many: iRODSSession) -> None:
    before = server.calls[702]
    query = many.query(DataObject.name, DataObject.size).filter(Collection.name == f"{HOME}/q")
    assert [row[DataObject.size] for row in query.order_by(DataObject.size, "desc").limit(50)] == list(
        range(119, -1, -1)
    )
    assert server.calls[702] - before == 3
    assert len(list(query.limit(40))) == 120
    # a page that is exactly full leaves the statement open: one more request finds nothing
    assert server.calls[702] - before == 3 + 4
    assert [row[DataObject.size] for row in query.offset(118).execute()] == [1, 0]


def test_a_page_s_rest_is_of_the_time_of_the_first(many: iRODSSession) -> None:
    query = many.query(DataObject.name).filter(Collection.name == f"{HOME}/q").limit(60)
    found = []
    for row in query:
        found.append(row[DataObject.name])
        if len(found) < 10:
            put(many, f"{HOME}/q/g{len(found)}")
            assert many.data_objects.exists(f"{HOME}/q/g{len(found)}")
    assert found == [f"f{n:03}" for n in range(120)]


def test_conditions(many: iRODSSession) -> None:
    assert names(many, DataObject.size > 117) == ["f118", "f119"]
    assert names(many, DataObject.size <= 1) == ["f000", "f001"]
    assert names(many, Like(DataObject.name, "f01_")) == [f"f01{n}" for n in range(10)]
    assert names(many, Like(DataObject.name, "f\\_%")) == []
    assert len(names(many, NotLike(DataObject.name, "f0%"))) == 20
    assert names(many, In(DataObject.name, ["f003", "f007", "none"])) == ["f003", "f007"]
    assert names(many, Between(DataObject.size, (5, 7))) == ["f005", "f006", "f007"]
    assert names(many, DataObject.name != "f000", DataObject.size < 2) == ["f001"]
    assert names(many, Like(DataObject.name, "F%")) == []
    upper = many.query(DataObject.name, case_sensitive=False).filter(DataObject.name == "F005")
    assert [row[DataObject.name] for row in upper] == ["f005"]
    with pytest.raises(exception.CAT_SQL_ERR):
        names(many, DataObject.size == "many")


def test_alternatives(many: iRODSSession) -> None:
    from irods.column import Criterion

    class Either(Criterion):
        @property
        def irods_value(self) -> str:
            return str(self.value)

    assert names(many, Either("=", DataObject.name, "'f001' || = 'f002' || like 'f00_3%'")) == ["f001", "f002"]
    assert names(many, Either(">", DataObject.size, "'5' && < '8'")) == ["f006", "f007"]


def test_aggregates(many: iRODSSession) -> None:
    query = many.query().filter(Collection.name == f"{HOME}/q")
    assert query.count(DataObject.id).execute()[0][DataObject.id] == 120
    assert (
        many.query().filter(Collection.name == f"{HOME}/q").sum(DataObject.size).execute()[0][DataObject.size] == 7140
    )
    assert many.query().filter(Collection.name == f"{HOME}/q").max(DataObject.size).execute()[0][DataObject.size] == 119
    assert many.query().filter(Collection.name == f"{HOME}/q").min(DataObject.size).execute()[0][DataObject.size] == 0
    grouped = many.query(Collection.name).count(DataObject.id).execute()
    assert [(row[Collection.name], row[DataObject.id]) for row in grouped] == [(f"{HOME}/q", 120)]


def test_tables_are_joined(many: iRODSSession) -> None:
    rows = list(many.query(DataObject.name, Resource.name, DataObject.resc_hier, Collection.name).limit(500))
    assert len(rows) == 120 and rows[0][Resource.name] == rows[0][DataObject.resc_hier] == "demoResc"
    assert [row[Zone.name] for row in many.query(Zone)] == ["tempZone"]
    members = many.query(User.name).filter(Group.name == "public", User.type != "rodsgroup")
    assert [row[User.name] for row in members] == ["rods"]
    with pytest.raises(exception.CAT_FAILED_TO_LINK_TABLES):
        list(many.query(Zone.name, DataObject.name))


def test_genquery2(many: iRODSSession) -> None:
    found = many.genquery2(
        f"select DATA_NAME, DATA_SIZE where COLL_NAME = '{HOME}/q' and DATA_SIZE > '117' order by DATA_NAME"
    )
    assert found == [["f118", "118"], ["f119", "119"]]
    text = "select count(DATA_ID) where DATA_NAME like 'f00%' or (DATA_SIZE between '50' and '59' and not DATA_NAME = 'f055')"
    assert many.genquery2(text) == [["19"]]
    assert many.genquery2("select DATA_NAME where DATA_NAME in ('f001', '\\x66002') limit 1 offset 1") == [["f002"]]
    put(many, f"{HOME}/it's")
    assert many.genquery2("select DATA_NAME where DATA_NAME = 'it''s'") == [["it's"]]
    for wrong in (
        "select",
        "select NOTHING",
        "select DATA_NAME where DATA_NAME = ",
        "select DATA_NAME limit many",
        "drop",
    ):
        with pytest.raises(exception.SYS_LIBRARY_ERROR):
            many.genquery2(wrong)


def test_metadata_of_everything(session: iRODSSession) -> None:
    put(session, f"{HOME}/a")
    for entity in (
        session.data_objects.get(f"{HOME}/a"),
        session.collections.get(HOME),
        session.resources.get("demoResc"),
        session.users.get("rods"),
    ):
        entity.metadata.add("attribute", "value", "units")
        entity.metadata.add("attribute", "other")
        assert {(avu.value, avu.units or "") for avu in entity.metadata.get_all("attribute")} == {
            ("value", "units"),
            ("other", ""),
        }
        entity.metadata.set(iRODSMeta("attribute", "only"))
        assert [avu.value for avu in entity.metadata.items()] == ["only"]
        with pytest.raises(exception.CAT_SUCCESS_BUT_WITH_NO_INFO):
            entity.metadata.remove("attribute", "missing")
        entity.metadata.apply_atomic_operations(
            AVUOperation(operation="add", avu=iRODSMeta("x", "1")),
            AVUOperation(operation="remove", avu=iRODSMeta("attribute", "only")),
        )
        assert [(avu.name, avu.value) for avu in entity.metadata.items()] == [("x", "1")]


def test_copied_metadata(session: iRODSSession) -> None:
    put(session, f"{HOME}/a", metadataIncluded="x;1;;y;2;u")
    put(session, f"{HOME}/b")
    session.metadata.copy(DataObject, Collection, f"{HOME}/a", HOME)
    assert {(avu.name, avu.value) for avu in session.collections.get(HOME).metadata.items()} == {("x", "1"), ("y", "2")}


def test_several_avus_are_asked_for_at_once(session: iRODSSession) -> None:
    put(session, f"{HOME}/both", metadataIncluded="a;1;;b;2;")
    put(session, f"{HOME}/one", metadataIncluded="a;1;")
    query = session.query(DataObject.name).filter(DataObjectMeta.name == "a", DataObjectMeta.value == "1")
    both = query.filter(DataObjectMeta.name == "b", DataObjectMeta.value == "2")
    assert [row[DataObject.name] for row in both] == ["both"]
    session.collections.get(HOME).metadata.add("c", "1")
    assert [row[Collection.name] for row in session.query(Collection.name).filter(CollectionMeta.name == "c")] == [HOME]


def test_metadata_goes_with_its_object(server: SandboxServer, session: iRODSSession) -> None:
    put(session, f"{HOME}/a", metadataIncluded="x;1;")
    session.data_objects.unlink(f"{HOME}/a", force=True)
    assert server.sql("select count(*) from metamap") == [(0,)]


def test_access_and_inheritance(server: SandboxServer, session: iRODSSession) -> None:
    session.users.create("alice", "rodsuser")
    session.users.modify("alice", "password", "secret")
    session.collections.create(f"{HOME}/shared/below")
    put(session, f"{HOME}/shared/old")
    with connect(server, "alice", "secret") as alice:
        assert not alice.collections.exists(f"{HOME}/shared")
        with pytest.raises(exception.CAT_NO_ACCESS_PERMISSION):
            alice.data_objects.open(f"{HOME}/shared/old", "r")
        session.acls.set(iRODSAccess("read", f"{HOME}/shared", "alice"), recursive=True)
        assert alice.data_objects.open(f"{HOME}/shared/old", "r").read() == b"data"
        for refused in (
            lambda: alice.data_objects.open(f"{HOME}/shared/old", "a"),
            lambda: put(alice, f"{HOME}/shared/new"),
            lambda: alice.data_objects.unlink(f"{HOME}/shared/old", force=True),
            lambda: alice.collections.create(f"{HOME}/shared/mine"),
            lambda: alice.acls.set(iRODSAccess("own", f"{HOME}/shared", "alice")),
            lambda: alice.data_objects.get(f"{HOME}/shared/old").metadata.add("a", "b"),
            lambda: alice.data_objects.chksum(f"{HOME}/none"),
        ):
            with pytest.raises((exception.CAT_NO_ACCESS_PERMISSION, exception.CAT_NO_ROWS_FOUND)):
                refused()
        session.acls.set(iRODSAccess("write", f"{HOME}/shared", "alice"))
        session.acls.set(iRODSAccess("inherit", f"{HOME}/shared"))
        put(session, f"{HOME}/shared/new")
        assert alice.data_objects.open(f"{HOME}/shared/new", "a").write(b"x") == 1
        session.collections.create(f"{HOME}/shared/later/deep")
        assert session.collections.get(f"{HOME}/shared/later/deep").inheritance
        put(alice, f"{HOME}/shared/later/deep/hers")
        session.acls.set(iRODSAccess("null", f"{HOME}/shared", "alice"), recursive=True)
        assert not alice.collections.exists(f"{HOME}/shared")
    with pytest.raises(exception.CAT_INVALID_USER):
        session.acls.set(iRODSAccess("read", HOME, "nobody"))
    with pytest.raises(exception.CAT_INVALID_ARGUMENT):
        session.acls.set(iRODSAccess("read", f"{HOME}/none", "alice"))


def test_access_levels_between(server: SandboxServer, session: iRODSSession) -> None:
    put(session, f"{HOME}/a")
    for access in ("read_metadata", "create_object", "delete_object", "own"):
        session.acls.set(iRODSAccess(access, f"{HOME}/a", "public"))
        found = {
            entry.user_name: entry.access_name for entry in session.acls.get(session.data_objects.get(f"{HOME}/a"))
        }
        assert found["public"] == access
