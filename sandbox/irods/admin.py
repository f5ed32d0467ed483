"""Administration, API 701 and, for a user's own account, 714: users, groups, resources and their tree."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from sandbox.irods.agent import Agent, Reply
from sandbox.irods.auth import new_password, password_for_new_user
from sandbox.irods.catalogue import stamp
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.permissions import OWN, User, cut, find_user, grant
from sandbox.irods.resources import COORDINATING, LEAVES, NO_HOST, NO_PATH
from sandbox.irods.xml_packing import Struct

log = logging.getLogger("sandbox.irods")

USER_TYPES = {"rodsuser", "rodsadmin", "groupadmin", "rodsgroup"}


def general(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 701, generalAdminInp_PI: arg0 verb, arg1 what it is about. CAT_INVALID_ARGUMENT for what is not known."""
    args = [str(struct[f"arg{index}"] or "") for index in range(10)]
    act = VERBS.get((args[0], args[1]))
    if act is None:
        log.warning("701 %s %s is not known to the sandbox", args[0], args[1])
        raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    act(agent, args[2:])
    return Reply()


def _user_of(agent: Agent, name: str, zone: str = "") -> User:
    plain, _, own = name.partition("#")
    found = find_user(agent.catalogue, plain, own or zone or agent.zone)
    if found is None:
        raise IrodsError(Code.CAT_INVALID_USER)
    return found


def _add_user(agent: Agent, args: list[str]) -> None:
    kind = args[1] or "rodsuser"
    if kind not in USER_TYPES:
        raise IrodsError(Code.CAT_INVALID_USER_TYPE, cut(f"user_type '{kind}' is not valid"))
    add_user(agent, args[0], kind)


def _add_group(agent: Agent, args: list[str]) -> None:
    add_user(agent, args[0], "rodsgroup")


def add_user(agent: Agent, full_name: str, kind: str, password: str | None = None) -> int:
    """A user or group, with collections at home and in the trash; a user joins `public`."""
    name, _, zone = full_name.partition("#")
    zone = zone or agent.zone
    if not name or "/" in name:
        raise IrodsError(Code.CAT_INVALID_USER)
    catalogue, now = agent.catalogue, stamp()
    with catalogue.change() as db:
        if db.execute("select 1 from zone where name = ?", (zone,)).fetchone() is None:
            raise IrodsError(Code.CAT_INVALID_ZONE, cut(f"zone '{zone}' does not exist"))
        if find_user(catalogue, name, zone):
            taken = Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME
            raise IrodsError(taken, f"Error {taken.value} {taken.name}")
        user_id = catalogue.new_id()
        db.execute(
            "insert into users (user_id, name, type, zone, password, create_ts, modify_ts) values (?, ?, ?, ?, ?, ?, ?)",
            (user_id, name, kind, zone, password, now, now),
        )
        db.execute("insert into memberships values (?, ?)", (user_id, user_id))
        if name == "anonymous":
            return user_id
        public = find_user(catalogue, "public", agent.zone)
        if public is not None and kind != "rodsgroup":
            db.execute("insert into memberships values (?, ?)", (public.id, user_id))
        for parent, path in zip(_homes(agent), _own_collections(agent, name, zone), strict=True):
            coll_id = catalogue.new_id()
            db.execute(
                "insert into collections (coll_id, name, parent_name, owner_name, owner_zone, create_ts, modify_ts)"
                " values (?, ?, ?, ?, ?, ?, ?)",
                (coll_id, path, parent, name, zone, now, now),
            )
            grant(db, coll_id, user_id, OWN)
    return user_id


def _homes(agent: Agent) -> list[str]:
    return [f"/{agent.zone}/home", f"/{agent.zone}/trash/home"]


def _own_collections(agent: Agent, name: str, zone: str) -> list[str]:
    """Home and trash of a user; those of a user of another zone are called `user#zone`."""
    return [f"{parent}/{name if zone == agent.zone else f'{name}#{zone}'}" for parent in _homes(agent)]


def _remove_user(agent: Agent, args: list[str]) -> None:
    name, _, zone = args[0].partition("#")
    user = find_user(agent.catalogue, name, zone or agent.zone)
    if user is None:
        raise IrodsError(Code.CAT_INVALID_USER, "Invalid user")
    if user.id == agent.user.id:
        raise IrodsError(Code.CAT_INVALID_USER, "Cannot remove your own admin account, probably unintended")
    with agent.catalogue.change() as db:
        for path in _own_collections(agent, user.name, user.zone):
            row = db.execute("select coll_id from collections where name = ?", (path,)).fetchone()
            if row is None:
                continue
            inside = db.execute("select 1 from collections where parent_name = ?", (path,)).fetchone()
            if inside or db.execute("select 1 from replicas where coll_id = ?", (row[0],)).fetchone():
                raise IrodsError(Code.CAT_COLLECTION_NOT_EMPTY)
            db.execute("delete from collections where coll_id = ?", (row[0],))
            db.execute("delete from access where object_id = ?", (row[0],))
        db.execute("delete from users where user_id = ?", (user.id,))
        db.execute("delete from memberships where user_id = ? or group_id = ?", (user.id, user.id))
        db.execute("delete from access where user_id = ?", (user.id,))
        db.execute("delete from metamap where object_id = ?", (user.id,))


def _modify_user(agent: Agent, args: list[str]) -> None:
    user, what, value = _user_of(agent, args[0]), args[1], args[2]
    if what == "password":
        value = new_password(agent, value, _password(agent))
    elif what == "type":
        if value not in USER_TYPES - {"rodsgroup"}:
            raise IrodsError(Code.CAT_INVALID_USER_TYPE)
    elif what not in ("info", "comment"):
        raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    with agent.catalogue.change() as db:
        db.execute(f"update users set {what} = ?, modify_ts = ? where user_id = ?", (value, stamp(), user.id))


def _password(agent: Agent) -> str:
    assert agent.proxy is not None
    row = agent.catalogue.one("select password from users where user_id = ?", agent.proxy.id)
    return str(row["password"] or "") if row else ""


def _modify_group(agent: Agent, args: list[str]) -> None:
    name, what, user_name, zone = args[:4]
    group = find_user(agent.catalogue, name, agent.zone)
    if group is None or group.type != "rodsgroup":
        raise IrodsError(Code.CAT_INVALID_GROUP)
    user = _user_of(agent, user_name, zone)
    with agent.catalogue.change() as db:
        there = db.execute(
            "select 1 from memberships where group_id = ? and user_id = ?", (group.id, user.id)
        ).fetchone()
        if what == "add":
            if there:
                raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME)
            db.execute("insert into memberships values (?, ?)", (group.id, user.id))
        elif what == "remove":
            if not there:
                raise IrodsError(Code.CAT_SUCCESS_BUT_WITH_NO_INFO)
            db.execute("delete from memberships where group_id = ? and user_id = ?", (group.id, user.id))
        else:
            raise IrodsError(Code.CAT_INVALID_ARGUMENT)


def _add_resource(agent: Agent, args: list[str]) -> None:
    """`name type host:path context zone`; a coordinating one has no place (recording resources)."""
    name, kind, place, context = args[:4]
    host, _, path = place.partition(":")
    if not name:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, "resource name is empty")
    if kind not in LEAVES | COORDINATING:
        raise IrodsError(Code.CAT_INVALID_RESOURCE_TYPE)
    if kind in LEAVES and (not host or host == NO_HOST):
        raise IrodsError(Code.CAT_INVALID_RESOURCE_NET_ADDR)
    if kind in LEAVES and (not path.startswith("/") or path == "/"):
        raise IrodsError(Code.CAT_INVALID_RESOURCE_VAULT_PATH)
    now = stamp()
    with agent.catalogue.change() as db:
        if db.execute("select 1 from resources where name = ?", (name,)).fetchone():
            raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME)
        db.execute(
            "insert into resources (resc_id, name, zone, type, location, vault_path, context, create_ts, modify_ts)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (agent.catalogue.new_id(), name, agent.zone, kind, host or NO_HOST, path or NO_PATH, context, now, now),
        )
    agent.server.resources.load()


def _resource(db: sqlite3.Connection, name: str, missing: Code = Code.CAT_INVALID_RESOURCE) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("select * from resources where name = ?", (name,)).fetchone()
    if row is None:
        raise IrodsError(missing)
    return row


def _remove_resource(agent: Agent, args: list[str]) -> None:
    with agent.catalogue.change() as db:
        row = _resource(db, args[0])
        if db.execute("select 1 from replicas where resc_id = ?", (row["resc_id"],)).fetchone():
            raise IrodsError(Code.CAT_RESOURCE_NOT_EMPTY)
        if row["parent"] or db.execute("select 1 from resources where parent = ?", (str(row["resc_id"]),)).fetchone():
            raise IrodsError(Code.CHILD_EXISTS)
        if args[1] != "--dryrun":
            db.execute("delete from resources where resc_id = ?", (row["resc_id"],))
            db.execute("delete from metamap where object_id = ?", (row["resc_id"],))
    agent.server.resources.load()


RESOURCE_SETTINGS = {
    "comment": "comment", "info": "info", "context": "context", "status": "status", "host": "location",
    "path": "vault_path", "name": "name", "free_space": "free_space", "type": "type",
}  # fmt: skip


def _modify_resource(agent: Agent, args: list[str]) -> None:
    name, what, value = args[:3]
    if what not in RESOURCE_SETTINGS:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    with agent.catalogue.change() as db:
        row = _resource(db, name)
        if what == "name" and db.execute("select 1 from resources where name = ?", (value,)).fetchone():
            raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME)
        now = stamp()
        db.execute(
            f"update resources set {RESOURCE_SETTINGS[what]} = ?, modify_ts = ? where resc_id = ?",
            (value, now, row["resc_id"]),
        )
        if what == "free_space":
            db.execute("update resources set free_space_ts = ? where resc_id = ?", (now, row["resc_id"]))
    agent.server.resources.load()


def _add_child(agent: Agent, args: list[str]) -> None:
    with agent.catalogue.change() as db:
        parent, child = _resource(db, args[0]), _resource(db, args[1], Code.CHILD_NOT_FOUND)
        if child["parent"]:
            raise IrodsError(Code.CHILD_HAS_PARENT)
        above: sqlite3.Row | None = parent
        while above is not None:
            if above["resc_id"] == child["resc_id"]:
                raise IrodsError(Code.HIERARCHY_ERROR)
            above = db.execute("select * from resources where resc_id = ?", (above["parent"] or -1,)).fetchone()
        db.execute(
            "update resources set parent = ?, parent_context = ?, modify_ts = ? where resc_id = ?",
            (str(parent["resc_id"]), args[2], stamp(), child["resc_id"]),
        )
    agent.server.resources.load()


def _remove_child(agent: Agent, args: list[str]) -> None:
    with agent.catalogue.change() as db:
        parent, child = _resource(db, args[0]), _resource(db, args[1])
        if child["parent"] != str(parent["resc_id"]):
            raise IrodsError(Code.CHILD_NOT_FOUND)
        db.execute(
            "update resources set parent = '', parent_context = '', modify_ts = ? where resc_id = ?",
            (stamp(), child["resc_id"]),
        )
    agent.server.resources.load()


def _add_zone(agent: Agent, args: list[str]) -> None:
    """A remote zone, by name alone: its users can be entered, nothing goes there."""
    name, kind, connection, comment = args[:4]
    if kind != "remote":
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, "zone_type must be remote")
    with agent.catalogue.change() as db:
        if db.execute("select 1 from zone where name = ?", (name,)).fetchone():
            raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME)
        db.execute(
            "insert into zone values (?, ?, 'remote', ?, ?)", (agent.catalogue.new_id(), name, connection, comment)
        )


def _remove_zone(agent: Agent, args: list[str]) -> None:
    with agent.catalogue.change() as db:
        row = db.execute("select type from zone where name = ?", (args[0],)).fetchone()
        if row is None:
            raise IrodsError(Code.CAT_INVALID_ZONE)
        if row[0] != "remote":
            raise IrodsError(Code.CAT_INVALID_ARGUMENT, "It is not permitted to remove the local zone")
        db.execute("delete from zone where name = ?", (args[0],))


def _remove_unused_avus(agent: Agent, _args: list[str]) -> None:
    with agent.catalogue.change() as db:
        db.execute("delete from metadata where meta_id not in (select meta_id from metamap)")


VERBS: dict[tuple[str, str], Callable[[Agent, list[str]], None]] = {
    ("add", "user"): _add_user,
    ("add", "group"): _add_group,
    ("rm", "user"): _remove_user,
    ("rm", "group"): _remove_user,
    ("rm", "unusedAVUs"): _remove_unused_avus,
    ("add", "zone"): _add_zone,
    ("rm", "zone"): _remove_zone,
    ("modify", "user"): _modify_user,
    ("modify", "group"): _modify_group,
    ("add", "resource"): _add_resource,
    ("rm", "resource"): _remove_resource,
    ("modify", "resource"): _modify_resource,
    ("add", "childtoresc"): _add_child,
    ("rm", "childfromresc"): _remove_child,
}


def own_account(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 714, userAdminInp_PI: `userpw` sets one's own password; `mkuser`, `mkgroup`, `modify group` are for a groupadmin."""
    args = [str(struct[f"arg{index}"] or "") for index in range(10)]
    if args[0] == "userpw":
        _own_password(agent, args)
        return Reply()
    if agent.user.type not in ("groupadmin", "rodsadmin"):
        raise IrodsError(Code.CAT_INSUFFICIENT_PRIVILEGE_LEVEL)
    if args[0] == "mkuser":
        password = password_for_new_user(args[2], _password(agent)) if args[2] else None
        add_user(agent, args[1], "rodsuser", password)
    elif args[0] == "mkgroup":
        add_user(agent, args[1], "rodsgroup")
    elif args[:2] == ["modify", "group"]:
        _modify_group(agent, args[2:])
    else:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    return Reply()


def _own_password(agent: Agent, args: list[str]) -> None:
    if args[1] != agent.user.name or args[2] != "password":
        raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    password = new_password(agent, args[3], _password(agent))
    with agent.catalogue.change() as db:
        db.execute("update users set password = ?, modify_ts = ? where user_id = ?", (password, stamp(), agent.user.id))
