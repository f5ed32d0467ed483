"""Registering files where they lie (20008, or 630 on older servers), and correcting what is registered (622, 688)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import Permanent
from core.irods import errors, messages, replicas
from core.irods.annotate import AVU, Access
from core.irods.messages import BULK_ROWS, MAX_NAME_LEN, NAME_LEN, Api, Packable
from core.irods.queries import Column
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import Session

EXISTS = frozenset({errors.ALREADY_HAS_ITEM, errors.COPY_ALREADY_IN_RESC})
UNKNOWN_CALL = frozenset({errors.UNMATCHED_API_NUM})
_NO_PRIVILEGE = frozenset({errors.NO_API_PRIV})
FILE_MODE = str(0o100644)


@dataclass(frozen=True, slots=True)
class Registration:
    """One file to register: size in bytes, modified_at in microseconds since 1970, checksum in iRODS notation or
    None."""

    path: str
    physical_path: str
    size: int
    modified_at: int
    checksum: str | None = None
    metadata: Sequence[AVU] = ()
    acl: Sequence[Access] = ()


@dataclass(frozen=True, slots=True)
class BulkRow:
    """One row of 688."""

    path: str
    physical_path: str
    size: int
    checksum: str | None
    replica_number: int = 0


def register(session: Session, row: Registration, resource: Resource | None) -> None:
    """Register one file, or bring an object registered earlier up to date.

    One round trip (20008) for a new object without checksum, two with one. An object whose replica on the same
    resource has the same physical path gets the new size, time and checksum (622, one more round trip, none when
    nothing differs); `Permanent` of class wrong_path or wrong_resource when it lies elsewhere. The server does not
    look at the file: the catalogue believes what it is told. Needs a rodsadmin, or a server whose policy lets others
    register.
    """
    if register_new(session, row, resource):
        if row.checksum is not None:
            set_checksum(session, row.path, replicas.replicas(session, row.path), row.checksum)
    else:
        update(session, row, resource)


def register_new(
    session: Session, row: Registration, resource: Resource | None, keywords: Mapping[str, str] | None = None
) -> bool:
    """Register one file with size and time (20008, else 630); False when the path is taken."""
    message = physical_path(row, resource, keywords)
    reply = session.call(Api.REGISTER_PHYSICAL_PATH, message, path=row.path, accept=EXISTS | UNKNOWN_CALL)
    if errors.nominal(reply.status) in UNKNOWN_CALL:
        reply = session.call(Api.PHY_PATH_REG, message, path=row.path, accept=EXISTS)
    return reply.status >= 0


def physical_path(row: Registration, resource: Resource | None, keywords: Mapping[str, str] | None = None) -> Packable:
    """The message of 20008 and 630."""
    wanted = {
        "filePath": row.physical_path,
        "dataSize": str(row.size),
        "dataModify": replicas.stamp(row.modified_at),
        **(keywords or {}),
    }
    if resource is not None:
        wanted["destRescName"] = resource.name
        if resource.is_leaf:
            wanted["resc_hier"] = resource.hierarchy
    return messages.data_object(row.path, wanted)


def update(session: Session, row: Registration, resource: Resource | None) -> None:
    """Give the replica at this physical path its new size, time and checksum (622), where they differ."""
    correct(session, row, replica_of(row, resource, replicas.replicas(session, row.path)))


def correct(session: Session, row: Registration, found: Replica) -> None:
    """Make a replica's columns those of the registration (622); no round trip when they are."""
    if changes := corrections(row, found):
        replicas.modify(session, row.path, found, changes)


def corrections(row: Registration, found: Replica) -> dict[str, str]:
    """What `correct` changes, as keywords of 622."""
    changes = {}
    if found.size != row.size:
        changes["dataSize"] = str(row.size)
    if replicas.stamp(found.modified_at) != replicas.stamp(row.modified_at):
        changes["dataModify"] = replicas.stamp(row.modified_at)
    if found.checksum != row.checksum and (row.checksum is not None or changes):
        # a stored checksum of bytes that have changed since is worse than none
        changes["chksum"] = row.checksum or ""
    if found.status != replicas.Status.GOOD:
        changes["replStatus"] = str(int(replicas.Status.GOOD))
    # without a time 622 sets that of the call
    return {"dataModify": replicas.stamp(row.modified_at)} | changes if changes else {}


def replica_of(row: Registration, resource: Resource | None, rows: list[Replica]) -> Replica:
    """The replica that this registration made; `Permanent` when there are only others."""
    if not rows:
        # taken, yet no object that we may see: a collection of that name, or no permission
        raise Permanent("exists", f"{row.path} is taken by a collection, or by an object this user may not see")
    here = [found for found in rows if resource is None or resource.name in found.hierarchy.split(";")]
    if not here:
        places = ", ".join(found.hierarchy for found in rows)
        hint = "register to that resource, or unregister it first"
        raise Permanent(
            "wrong_resource", f"{row.path} is on {places}, not on {resource.name if resource else ''}", hint
        )
    for found in here:
        if found.physical_path == row.physical_path:
            return found
    lies = ", ".join(found.physical_path for found in here)
    raise Permanent(
        "wrong_path", f"{row.path} is registered from {lies}, not from {row.physical_path}", "unregister it first"
    )


def set_checksum(session: Session, path: str, rows: Sequence[Replica], checksum: str) -> bool:
    """Store a checksum for these replicas of one object: 622 for a rodsadmin, 688 modify for others.

    False when that is not possible: 688 would mark the siblings of a replica stale.
    """
    for row in rows:
        if row.checksum == checksum:
            continue
        message = messages.mod_data_object(
            path, {"chksum": checksum}, replica=row.number, hierarchy=row.hierarchy, version=session.version
        )
        reply = session.call(Api.MOD_DATA_OBJ_META, message, path=path, accept=_NO_PRIVILEGE)
        if reply.status < 0:
            if len(rows) > 1:
                return False
            bulk_row = BulkRow(path, row.physical_path, row.size, checksum, row.number)
            bulk(session, "modify", [bulk_row], row.resource, row.resource_id)
    return True


def bulk(session: Session, operation: str, rows: Sequence[BulkRow], leaf: str, leaf_id: int) -> None:
    """688: `register` new objects or `modify` existing replicas, at most 50 on one leaf, all or none.

    Nothing about the physical paths is checked, and a failure says which code but not which row. The hierarchy is
    derived from the leaf's id.
    """
    session.call(Api.BULK_DATA_OBJ_REG, bulk_request(operation, rows, leaf, leaf_id), path=rows[0].path)


def bulk_request(operation: str, rows: Sequence[BulkRow], leaf: str, leaf_id: int) -> Packable:
    """The message of `bulk`."""
    if len(rows) > BULK_ROWS:
        raise ValueError(f"{len(rows)} rows in one bulk call, at most {BULK_ROWS}")
    count = len(rows)
    columns: list[tuple[int, int, Sequence[str]]] = [
        (Column.DATA_NAME, MAX_NAME_LEN, [row.path for row in rows]),
        (Column.DATA_TYPE_NAME, NAME_LEN, ["generic"] * count),
        (Column.DATA_SIZE, NAME_LEN, [str(row.size) for row in rows]),
        (Column.DATA_RESC_NAME, NAME_LEN, [leaf] * count),
        (Column.DATA_PATH, MAX_NAME_LEN, [row.physical_path for row in rows]),
        (Column.DATA_MODE, NAME_LEN, [FILE_MODE] * count),
        (Column.OPR_TYPE, NAME_LEN, [operation] * count),
        (Column.DATA_REPL_NUM, NAME_LEN, [str(row.replica_number) for row in rows]),
        (Column.DATA_RESC_ID, MAX_NAME_LEN, [str(leaf_id)] * count),
        (Column.DATA_CHECKSUM, NAME_LEN, [row.checksum or "" for row in rows]),
    ]
    return messages.bulk_rows(columns)
