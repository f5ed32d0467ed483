"""AVUs: API 706 one at a time, API 20002 several of one entity in one transaction (recording metadata)."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from sandbox.irods.agent import Agent, Reply, json_body, json_input, json_reply
from sandbox.irods.catalogue import ACCESS_TYPES, stamp
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.permissions import cut, level
from sandbox.irods.replicas import rows_of
from sandbox.irods.xml_packing import Struct, keywords

KINDS = {"data_object": "-d", "collection": "-C", "resource": "-R", "user": "-u"}
CREATE, MODIFY, REMOVE = (ACCESS_TYPES[name] for name in ("create_metadata", "modify_metadata", "delete_metadata"))


@dataclass(frozen=True, slots=True)
class Avu:
    """Attribute, value, units; units may be empty."""

    attribute: str
    value: str
    units: str = ""


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that carries AVUs; `admin` ones, resources and users, are for rodsadmin alone."""

    id: int
    admin: bool


def entity(agent: Agent, kind: str, name: str) -> Entity:
    """The data object (-d), collection (-C), resource (-R) or user (-u) of that name."""
    catalogue = agent.catalogue
    if kind in ("-d", "-ld", "-D"):
        rows = rows_of(catalogue, name)
        if rows:
            return Entity(rows[0]["data_id"], False)
        raise IrodsError(Code.CAT_UNKNOWN_FILE)
    if kind in ("-C", "-c"):
        row = catalogue.one("select coll_id from collections where name = ?", name)
        if row is None:
            raise IrodsError(Code.CAT_UNKNOWN_COLLECTION, cut(f"collection '{name}' is unknown"))
        return Entity(row[0], False)
    if kind in ("-R", "-r"):
        row = catalogue.one("select resc_id from resources where name = ?", name)
        if row is None:
            raise IrodsError(Code.CAT_INVALID_RESOURCE)
        return Entity(row[0], True)
    if kind == "-u":
        user, _, zone = name.partition("#")
        row = catalogue.one("select user_id from users where name = ? and zone = ?", user, zone or agent.zone)
        if row is None:
            raise IrodsError(Code.CAT_INVALID_USER)
        return Entity(row[0], True)
    raise IrodsError(Code.CAT_INVALID_ARGUMENT)


def _allow(agent: Agent, found: Entity, wanted: int, *, admin: bool) -> None:
    if admin and not agent.user.admin:
        raise IrodsError(Code.CAT_INSUFFICIENT_PRIVILEGE_LEVEL)
    if found.admin and not agent.user.admin:
        raise IrodsError(Code.CAT_INSUFFICIENT_PRIVILEGE_LEVEL)
    if not found.admin and not admin and level(agent.catalogue, agent.user, found.id) < wanted:
        raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION)


def attach(agent: Agent, db: sqlite3.Connection, found: Entity, avu: Avu, *, again: bool = False) -> None:
    """Attach an AVU, sharing its row with others that are alike; one there already is an error unless `again`."""
    if not avu.attribute or not avu.value:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    now = stamp()
    row = db.execute(
        "select meta_id from metadata where attribute = ? and value = ? and units = ?",
        (avu.attribute, avu.value, avu.units),
    ).fetchone()
    meta_id = row[0] if row else agent.catalogue.new_id()
    if row is None:
        db.execute(
            "insert into metadata values (?, ?, ?, ?, ?, ?)", (meta_id, avu.attribute, avu.value, avu.units, now, now)
        )
    elif db.execute("select 1 from metamap where object_id = ? and meta_id = ?", (found.id, meta_id)).fetchone():
        if again:
            return
        raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME)
    db.execute("insert into metamap values (?, ?, ?, ?)", (found.id, meta_id, now, now))


def _detach(db: sqlite3.Connection, found: Entity, condition: str, values: list[Any]) -> None:
    done = db.execute(
        f"delete from metamap where object_id = ? and meta_id in (select meta_id from metadata where {condition})",
        [found.id, *values],
    )
    if not done.rowcount:
        raise IrodsError(Code.CAT_SUCCESS_BUT_WITH_NO_INFO)


def _set(agent: Agent, db: sqlite3.Connection, found: Entity, avu: Avu) -> None:
    """Make it the only AVU of its attribute; one that no other entity shares is changed in place and keeps its id."""
    held = db.execute(
        "select meta_id from metamap where meta_id in (select m.meta_id from metadata m join metamap x"
        " on x.meta_id = m.meta_id where m.attribute = ? and x.object_id = ?) limit 2",
        (avu.attribute, found.id),
    ).fetchall()
    triple = (avu.attribute, avu.value, avu.units)
    alike = db.execute("select 1 from metadata where attribute = ? and value = ? and units = ?", triple).fetchone()
    if len(held) == 1 and not alike and avu.value:
        db.execute(
            "update metadata set value = ?, units = ?, modify_ts = ? where meta_id = ?",
            (avu.value, avu.units, stamp(), held[0][0]),
        )
        return
    db.execute(
        "delete from metamap where object_id = ? and meta_id in (select meta_id from metadata where attribute = ?)",
        (found.id, avu.attribute),
    )
    attach(agent, db, found, avu)


def modify_avu(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 706, ModAVUMetadataInp_PI: arg0 what, arg1 kind of entity, arg2 its name, then attribute, value, units."""
    args = [str(struct[f"arg{index}"] or "") for index in range(9)]
    admin = "irodsAdmin" in keywords(struct["KeyValPair_PI"])
    what, kind, name = args[:3]
    if what == "cp":
        _copy(agent, kind, args[2], args[3], args[4], admin=admin)
        return Reply()
    found = entity(agent, kind, name)
    avu = Avu(args[3], args[4], args[5])
    needed = {"add": CREATE, "adda": CREATE, "set": MODIFY, "mod": MODIFY}.get(what, REMOVE)
    _allow(agent, found, needed, admin=admin)
    with agent.catalogue.change() as db:
        if what in ("add", "adda"):
            attach(agent, db, found, avu)
        elif what == "set":
            _set(agent, db, found, avu)
        elif what == "rm":
            units = [] if len(args) < 6 else [avu.units]
            _detach(db, found, "attribute = ? and value = ? and units = ?", [avu.attribute, avu.value, *units])
        elif what == "rmw":
            values = [avu.attribute, avu.value, avu.units or "%"]
            _detach(db, found, "attribute like ? and value like ? and units like ?", values)
        elif what == "rmi":
            _detach(db, found, "meta_id = ?", [avu.attribute])
        elif what == "mod":
            _modify(agent, db, found, avu, args[5:])
        else:
            raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    return Reply()


def _modify(agent: Agent, db: sqlite3.Connection, found: Entity, old: Avu, rest: list[str]) -> None:
    units = "" if rest[0][:2] in ("n:", "v:", "u:") else rest[0]
    new = {"n": old.attribute, "v": old.value, "u": units}
    for change in rest:
        if change[:2] in ("n:", "v:", "u:"):
            new[change[0]] = change[2:]
    _detach(db, found, "attribute = ? and value = ? and units = ?", [old.attribute, old.value, units])
    attach(agent, db, found, Avu(new["n"], new["v"], new["u"]))


def _copy(agent: Agent, kinds: str, target_kind: str, source: str, target: str, *, admin: bool) -> None:
    # arg1 and arg2 are the kinds of source and target, arg3 and arg4 their names
    origin, goal = entity(agent, kinds, source), entity(agent, target_kind, target)
    _allow(agent, origin, ACCESS_TYPES["read_metadata"], admin=admin)
    _allow(agent, goal, CREATE, admin=admin)
    with agent.catalogue.change() as db:
        for row in db.execute(
            "select m.attribute, m.value, m.units from metadata m join metamap x on x.meta_id = m.meta_id"
            " where x.object_id = ?",
            (origin.id,),
        ).fetchall():
            attach(agent, db, goal, Avu(*row), again=True)


def _atomic_error(code: Code, operation: Any, index: int, text: str) -> IrodsError:
    body = {"operation": operation, "operation_index": index, "error_message": text}
    return IrodsError(code, body=("BinBytesBuf_PI", json_body(body)))


def apply_atomically(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 20002: JSON `{entity_name, entity_type, operations, admin_mode?}`; all operations are done, or none."""
    content = json_input(struct)
    try:
        kind, name = KINDS[content["entity_type"]], str(content["entity_name"])
        operations = list(content["operations"])
        found = entity(agent, kind, name)
    except (KeyError, TypeError) as problem:
        raise _atomic_error(Code.SYS_INVALID_INPUT_PARAM, {}, 0, f"Invalid input: {problem}") from None
    except IrodsError:
        text = f"Entity does not exist [entity_name={content['entity_name']}]"
        raise _atomic_error(Code.SYS_INVALID_INPUT_PARAM, {}, 0, text) from None
    try:
        _allow(agent, found, MODIFY, admin=bool(content.get("admin_mode")))
    except IrodsError as refusal:
        raise _atomic_error(Code(refusal.code), {}, 0, "User not allowed to modify metadata") from None
    with agent.catalogue.change() as db:
        for index, operation in enumerate(operations):
            _one_operation(agent, db, found, operation, index)
    return json_reply({})


def _one_operation(agent: Agent, db: sqlite3.Connection, found: Entity, operation: Any, index: int) -> None:
    try:
        avu = Avu(str(operation["attribute"]), str(operation["value"]), str(operation.get("units", "")))
        what = operation["operation"]
    except (KeyError, TypeError, AttributeError) as problem:
        raise _atomic_error(Code.JSON_VALIDATION_ERROR, operation, index, repr(problem)) from None
    if what == "add":
        attach(agent, db, found, avu, again=True)
    elif what == "remove":
        db.execute(
            "delete from metamap where object_id = ? and meta_id in (select meta_id from metadata"
            " where attribute = ? and value = ? and units = ?)",
            (found.id, avu.attribute, avu.value, avu.units),
        )
    else:
        raise _atomic_error(Code.INVALID_OPERATION, operation, index, "Invalid metadata operation.")
