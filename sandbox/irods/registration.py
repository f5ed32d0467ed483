"""Files entered into the catalogue where they lie: 630 and 20008, 619, 688; and its rows set from outside: 622.

The catalogue believes what it is told (recordings register, register_bulk, register_bulk_modify).
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from sandbox.irods import checksums
from sandbox.irods.agent import Agent, Reply, json_body, json_reply
from sandbox.irods.catalogue import ACCESS_TYPES, stamp
from sandbox.irods.errors import Code, IrodsError, unix_error
from sandbox.irods.permissions import MODIFY, need
from sandbox.irods.replicas import (
    GOOD,
    STALE,
    NewReplica,
    add_replica,
    check_path,
    register,
    row_of,
    rows_of,
)
from sandbox.irods.resources import Resource
from sandbox.irods.wire import refused_option
from sandbox.irods.xml_packing import Struct, keywords, pack, pack_rows

NO_COMMIT = 1


def register_path(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 630: as 20008, without its answer."""
    _register(agent, struct)
    return Reply()


def register_path_json(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 20008: the new replica as JSON; an empty object comes with a refusal."""
    try:
        found = _register(agent, struct)
    except IrodsError as refusal:
        refusal.body = ("BinBytesBuf_PI", json_body({}))
        raise
    return json_reply(found)


def _register(agent: Agent, struct: Struct) -> dict[str, str]:
    path, wanted = struct["objPath"], keywords(struct["KeyValPair_PI"])
    check_path(path)
    physical = wanted.get("filePath", "")
    if not physical:
        raise IrodsError(Code.SYS_INVALID_FILE_PATH)
    leaf = _leaf(agent, wanted)
    trusted = "noChkFilePerm" in wanted and agent.proxy is not None and agent.proxy.admin
    if not agent.user.admin and not trusted:
        raise IrodsError(Code.PATH_REG_NOT_ALLOWED)
    if "collection" in wanted:
        _register_folder(agent, path, physical, leaf, wanted)
        return {}
    return _register_file(agent, path, physical, leaf, wanted)


def _leaf(agent: Agent, wanted: dict[str, str]) -> Resource:
    """The leaf that a registration names itself, or one below a root; one between gives HIERARCHY_ERROR (recording resources)."""
    resources = agent.server.resources
    if wanted.get("resc_hier"):
        return resources.leaf_of(wanted["resc_hier"])
    named = resources.named(wanted.get("destRescName") or wanted.get("defRescName") or agent.server.default_resource)
    if named.leaf:
        return named
    if named.parent is not None:
        raise IrodsError(Code.HIERARCHY_ERROR)
    return resources.leaf_for_create(named)


def _register_file(agent: Agent, path: str, physical: str, leaf: Resource, wanted: dict[str, str]) -> dict[str, str]:
    new = NewReplica(
        path, leaf.id, physical, size=_size(physical, wanted), type=wanted.get("dataType") or "generic",
        # a replica of what exists gets the time of its registration, whatever was asked (db_reg_replica_op)
        modified=None if "regRepl" in wanted else wanted.get("dataModify"),
    )  # fmt: skip
    rows = rows_of(agent.catalogue, path) if "regRepl" in wanted else []
    if "regRepl" in wanted:
        _check_sibling(agent, rows, leaf)
    if "regChksum" in wanted or "verifyChksum" in wanted or (rows and rows[0]["checksum"]):
        new.checksum = checksums.of_file(physical, new.size, agent.server.hash_scheme)
    if rows:
        data_id, number = int(rows[0]["data_id"]), add_replica(agent, rows[0], new)
    else:
        data_id, number = register(agent, new), 0
    row = row_of(agent.catalogue, data_id, number)
    assert row is not None
    return as_json(row)


def _check_sibling(agent: Agent, rows: list[sqlite3.Row], leaf: Resource) -> None:
    if not rows:
        raise IrodsError(Code.CAT_NO_ROWS_FOUND)
    need(agent.catalogue, agent.user, rows[0]["data_id"], MODIFY)
    if any(row["resc_id"] == leaf.id for row in rows):
        raise IrodsError(Code.SYS_COPY_ALREADY_IN_RESC)


def _size(physical: str, wanted: dict[str, str]) -> int:
    """The size that the client says, else the file's; UNIX_FILE_STAT_ERR - errno without either."""
    if "dataSize" in wanted:
        try:
            return int(wanted["dataSize"])
        except ValueError:
            raise IrodsError(Code.SYS_INVALID_INPUT_PARAM) from None
    try:
        return os.stat(physical).st_size
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_STAT_ERR, problem) from None


def _register_folder(agent: Agent, path: str, physical: str, leaf: Resource, wanted: dict[str, str]) -> None:
    """A directory with all below it; stops at the first error, with what was registered before it kept."""
    from sandbox.irods.collections import make_all

    make_all(agent, path)
    try:
        entries = sorted(os.scandir(physical), key=lambda entry: entry.name)
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_OPENDIR_ERR, problem) from None
    plain = {key: value for key, value in wanted.items() if key not in ("dataSize", "collection")}
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            _register_folder(agent, f"{path}/{entry.name}", entry.path, leaf, wanted)
        elif not rows_of(agent.catalogue, f"{path}/{entry.name}"):
            _register_file(agent, f"{path}/{entry.name}", entry.path, leaf, plain)


def as_json(row: sqlite3.Row) -> dict[str, str]:
    """A replica in the names of the catalogue's columns, all as text (recording register)."""
    names = {
        "access_ts": "access_ts", "coll_id": "coll_id", "create_ts": "create_ts", "data_checksum": "checksum",
        "data_expiry_ts": "expiry", "data_id": "data_id", "data_is_dirty": "status", "data_map_id": "map_id",
        "data_mode": "mode", "data_name": "name", "data_owner_name": "owner_name", "data_owner_zone": "owner_zone",
        "data_path": "path", "data_repl_num": "repl_num", "data_size": "size", "data_status": "data_status",
        "data_type_name": "type", "data_version": "version", "modify_ts": "modify_ts", "r_comment": "comments",
        "resc_id": "resc_id",
    }  # fmt: skip
    return {name: str(row[column]) for name, column in names.items()}


def register_object(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 619: a DataObjInfo_PI as it comes, by any user who may write the collection; the reply carries the ids.

    Nothing of the file is looked at. Leaving the transaction open (flag 1) is refused.
    """
    if struct["flags"] & NO_COMMIT:
        raise refused_option("619 with an open transaction")
    leaf = agent.server.resources.of_id(struct["rescId"])
    new = NewReplica(
        struct["objPath"], leaf.id, struct["filePath"], size=struct["dataSize"], type=struct["dataType"] or "generic",
        status=struct["replStatus"], checksum=struct["chksum"], mode=struct["dataMode"] or "0",
        modified=struct["dataModify"] or None, created=struct["dataCreate"] or None, number=struct["replNum"],
        version=struct["version"], comments=struct["dataComments"], expiry=struct["dataExpiry"] or "00000000000",
    )  # fmt: skip
    data_id = register(agent, new)
    row = row_of(agent.catalogue, data_id, new.number)
    assert row is not None
    reply = {
        **struct, "dataId": data_id, "collId": row["coll_id"], "dataOwnerName": row["owner_name"],
        "dataOwnerZone": row["owner_zone"], "dataCreate": row["create_ts"], "dataModify": row["modify_ts"],
    }  # fmt: skip
    if agent.server.resources.hierarchy(leaf.id) != struct["rescHier"]:
        # the real server finds this out only when it tells the resource, the row being committed by then
        raise IrodsError(Code.HIERARCHY_ERROR)
    return Reply(0, pack("DataObjInfo_PI", reply))


BULK_COLUMNS = {
    403: "path", 406: "type", 407: "size", 409: "resource", 410: "physical", 421: "mode", 999999: "operation",
    404: "number", 423: "resc_id", 415: "checksum",
}  # fmt: skip
OPTIONAL = {415}


def bulk_rows(struct: Struct, wanted: dict[int, str], optional: set[int]) -> list[dict[str, str]]:
    """The rows of a GenQueryOut_PI as a client sends one. UNMATCHED_KEY_OR_INDEX for a column that is missing."""
    sent = struct["SqlResult_PI"][: struct["attriCnt"]]
    columns: dict[int, list[str]] = {each["attriInx"]: each["value"] for each in sent}
    missing = set(wanted) - set(columns) - optional
    if missing:
        raise IrodsError(Code.UNMATCHED_KEY_OR_INDEX)
    count = struct["rowCnt"]
    return [{name: columns[index][at] for index, name in wanted.items() if columns.get(index)} for at in range(count)]


def register_bulk(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 688: up to 50 rows registered or modified in one transaction; one bad row takes all back, and only its
    code is told. The reply's ids are blank.

    More than 50 are refused here, where the real server reads beyond its reply buffer.
    """
    rows = bulk_rows(struct, BULK_COLUMNS, OPTIONAL)
    if len(rows) > 50:
        raise IrodsError(Code.SYS_REQUESTED_BUF_TOO_LARGE)
    with agent.catalogue.change() as db:
        for row in rows:
            if row["operation"] == "register":
                _bulk_register(agent, row)
            else:
                _bulk_modify(agent, db, row)
    return Reply(0, pack_rows([(401, [""] * len(rows))], rows=len(rows), more=-1))


def _bulk_register(agent: Agent, row: dict[str, str]) -> None:
    resource = agent.server.resources.of_id(int(row["resc_id"]))
    register(
        agent,
        NewReplica(
            row["path"], resource.id, row["physical"], size=int(row["size"]), type=row["type"] or "generic",
            checksum=row.get("checksum", ""), mode=row["mode"], number=int(row["number"] or 0),
        ),
    )  # fmt: skip


def _bulk_modify(agent: Agent, db: sqlite3.Connection, row: dict[str, str]) -> None:
    found = rows_of(agent.catalogue, row["path"])
    mine = [each for each in found if each["repl_num"] == int(row["number"] or 0)]
    if not mine:
        raise IrodsError(Code.CAT_NO_ROWS_FOUND)
    need(agent.catalogue, agent.user, mine[0]["data_id"], ACCESS_TYPES["modify_metadata"])
    db.execute("update replicas set status = ? where data_id = ? and status = ?", (STALE, mine[0]["data_id"], GOOD))
    db.execute(
        "update replicas set size = ?, checksum = case when ? <> '' then ? else checksum end, modify_ts = ?, status = ?"
        " where data_id = ? and repl_num = ?",
        (
            int(row["size"]), row.get("checksum", ""), row.get("checksum", ""), stamp(), GOOD, mine[0]["data_id"],
            mine[0]["repl_num"],
        ),
    )  # fmt: skip


# keyword of 622 -> column; numbers are kept as numbers
MODIFIABLE = {
    "chksum": "checksum", "dataSize": "size", "dataModify": "modify_ts", "dataCreate": "create_ts", "replStatus": "status",
    "dataType": "type", "dataOwner": "owner_name", "dataOwnerZone": "owner_zone", "filePath": "path", "dataExpiry": "expiry",
    "dataComments": "comments", "dataMode": "mode", "version": "version", "statusString": "data_status",
    "rescId": "resc_id", "dataAccessTime": "access_ts",
}  # fmt: skip
WHOLE = {"size", "status", "resc_id"}


def modify_object(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 622, for rodsadmin: sets columns of one replica, or with `all` of each; `replStatus` frees a locked one.

    CAT_NO_ROWS_FOUND for what is not there, CAT_INVALID_ARGUMENT for a keyword that is not known.
    """
    info, wanted = struct["DataObjInfo_PI"] or {}, keywords(struct["KeyValPair_PI"])
    rows = rows_of(agent.catalogue, str(info.get("objPath") or ""))
    if info.get("dataId") and not rows:
        rows = agent.catalogue.all("select * from replicas where data_id = ?", info["dataId"])
    if "all" not in wanted:
        rows = _replica_meant(agent, rows, info)
    if not rows:
        raise IrodsError(Code.CAT_NO_ROWS_FOUND)
    values = _assignments(wanted)
    with agent.catalogue.change() as db:
        for row in rows:
            if values:
                names = ", ".join(f"{name} = ?" for name in values)
                db.execute(
                    f"update replicas set {names} where data_id = ? and repl_num = ?",
                    [*values.values(), row["data_id"], row["repl_num"]],
                )
            if "replStatus" in wanted:
                db.execute(
                    "update replicas set original = null where data_id = ? and repl_num = ?",
                    (row["data_id"], row["repl_num"]),
                )
        if "allReplStatus" in wanted:
            numbers = [row["repl_num"] for row in rows]
            db.execute(
                f"update replicas set status = case when repl_num in ({', '.join('?' * len(numbers))}) then ? else ? end,"
                " original = null where data_id = ?",
                [*numbers, GOOD, STALE, rows[0]["data_id"]],
            )
    return Reply()


def _replica_meant(agent: Agent, rows: list[sqlite3.Row], info: dict[str, Any]) -> list[sqlite3.Row]:
    hierarchy = info.get("rescHier")
    if hierarchy:
        return [row for row in rows if agent.server.resources.hierarchy(row["resc_id"]) == hierarchy]
    return [row for row in rows if row["repl_num"] == info.get("replNum", 0)]


def _assignments(wanted: dict[str, str]) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for key, value in wanted.items():
        if key in MODIFIABLE:
            name = MODIFIABLE[key]
            try:
                found[name] = int(value) if name in WHOLE else value
            except ValueError:
                raise IrodsError(Code.CAT_INVALID_ARGUMENT) from None
        elif key not in ("all", "allReplStatus", "irodsAdmin", "in_pdmo", "openType", "inRepl"):
            raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    return found
