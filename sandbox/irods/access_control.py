"""API 707: who may do what on a collection or data object, and inheritance (iRODS db_mod_access_control_op)."""

from __future__ import annotations

from sandbox.irods.agent import Agent, Reply
from sandbox.irods.catalogue import ACCESS_TYPES, stamp
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.permissions import OWN, find_user, grant, level
from sandbox.irods.replicas import rows_of
from sandbox.irods.xml_packing import Struct

ADMIN = "admin:"
SHORT = {"read": "read_object", "write": "modify_object"}
INHERITANCE = {"inherit": "1", "noinherit": "0"}


def modify_access(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 707, modAccessControlInp_PI."""
    change_access(
        agent,
        str(struct["path"] or ""),
        str(struct["accessLevel"] or ""),
        str(struct["userName"] or ""),
        str(struct["zone"] or ""),
        recursive=bool(struct["recursiveFlag"]),
    )
    return Reply()


def change_access(agent: Agent, path: str, access: str, user: str, zone: str, *, recursive: bool) -> None:
    """Give a user or group `access` on a path, or switch inheritance; the client must own it, or be admin with `admin:`.

    `path` may be a collection or a data object; `recursive` reaches what lies below a collection.
    """
    admin = access.startswith(ADMIN)
    access = access.removeprefix(ADMIN)
    if admin and not agent.user.admin:
        raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION, "You must be the admin to use the -M admin mode")
    access = SHORT.get(access, access)
    if access not in ACCESS_TYPES and access not in INHERITANCE:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, f"access level '{access}' is invalid"[:99])
    collection, data_id = _target(agent, path, admin=admin, inheritance=access in INHERITANCE)
    if access in INHERITANCE:
        _inherit(agent, collection or "", INHERITANCE[access], recursive=recursive)
        return
    found = find_user(agent.catalogue, user, zone or agent.zone)
    if found is None:
        raise IrodsError(Code.CAT_INVALID_USER)
    with agent.catalogue.change() as db:
        for object_id in [data_id] if data_id is not None else _below(agent, collection or "", recursive=recursive):
            grant(db, object_id, found.id, ACCESS_TYPES[access])


def _target(agent: Agent, path: str, *, admin: bool, inheritance: bool) -> tuple[str | None, int | None]:
    catalogue = agent.catalogue
    coll = catalogue.one("select coll_id from collections where name = ?", path)
    if coll is not None and (admin or level(catalogue, agent.user, coll["coll_id"]) >= OWN):
        return path, None
    if inheritance:
        text = "either the collection does not exist or you do not have sufficient access"
        raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION, text)
    rows = rows_of(catalogue, path)
    if rows and (admin or level(catalogue, agent.user, rows[0]["data_id"]) >= OWN):
        return None, int(rows[0]["data_id"])
    if coll is None and not rows:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, f"Input path is not a collection and not a dataObj: {path}"[:199])
    raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION)


def below_pattern(path: str) -> str:
    """A LIKE pattern (escape character `!`) for what lies below a collection."""
    plain = path.rstrip("/").replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return plain + "/%"


def _below(agent: Agent, collection: str, *, recursive: bool) -> list[int]:
    coll = agent.catalogue.one("select coll_id from collections where name = ?", collection)
    found = [int(coll["coll_id"])] if coll else []
    if recursive:
        pattern = below_pattern(collection)
        found += [
            row[0]
            for row in agent.catalogue.all("select coll_id from collections where name like ? escape '!'", pattern)
        ]
        found += [
            row[0]
            for row in agent.catalogue.all(
                "select distinct r.data_id from replicas r join collections c on c.coll_id = r.coll_id"
                " where c.name = ? or c.name like ? escape '!'",
                collection,
                pattern,
            )
        ]
    return found


def _inherit(agent: Agent, collection: str, value: str, *, recursive: bool) -> None:
    with agent.catalogue.change() as db:
        db.execute("update collections set inheritance = ?, modify_ts = ? where name = ?", (value, stamp(), collection))
        if recursive:
            db.execute(
                "update collections set inheritance = ?, modify_ts = ? where name like ? escape '!'",
                (value, stamp(), below_pattern(collection)),
            )
