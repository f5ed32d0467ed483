"""API 633, what is at a path: a data object, a collection, or nothing (iRODS rsObjStat.cpp, collection.cpp)."""

from __future__ import annotations

import sqlite3

from sandbox.irods.agent import Agent, Reply
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.permissions import READ, level
from sandbox.irods.replicas import STALE, rows_of
from sandbox.irods.xml_packing import Struct, keywords, pack

DATA_OBJECT, COLLECTION = 1, 2


def status(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 633. USER_FILE_DOES_NOT_EXIST where there is nothing, or nothing that the client may see.

    The keyword `selObjType` limits it to `dataObj` or `collection`. intInfo is the kind of what was found.
    """
    path = str(struct["objPath"]).rstrip("/") or "/"
    kind = keywords(struct["KeyValPair_PI"]).get("selObjType")
    if kind in (None, "dataObj") and (rows := rows_of(agent.catalogue, path)) and _may_see(agent, rows[0]["data_id"]):
        # one that is not stale, or the first
        row = next((row for row in rows if row["status"] != STALE), rows[0])
        return _told(DATA_OBJECT, row, row["data_id"], row["size"], int(row["mode"] or 0), row["checksum"])
    if kind in (None, "collection"):
        found = agent.catalogue.one("select * from collections where name = ?", path)
        if found is not None and _may_see(agent, found["coll_id"]):
            return _told(COLLECTION, found, found["coll_id"])
    raise IrodsError(Code.USER_FILE_DOES_NOT_EXIST)


def _may_see(agent: Agent, object_id: int) -> bool:
    return agent.user.admin or level(agent.catalogue, agent.user, object_id) >= READ


def _told(kind: int, row: sqlite3.Row, number: int, size: int = 0, mode: int = 0, checksum: str = "") -> Reply:
    values = {
        "objSize": size, "objType": kind, "dataMode": mode, "dataId": str(number), "chksum": checksum,
        "ownerName": row["owner_name"], "ownerZone": row["owner_zone"],
        "createTime": row["create_ts"], "modifyTime": row["modify_ts"],
    }  # fmt: skip
    return Reply(kind, pack("RodsObjStat_PI", values))
