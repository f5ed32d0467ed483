"""Copies of bytes between replicas and objects: 695 replicates, 696 copies; replication resources keep their children alike."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from sandbox.irods import checksums
from sandbox.irods.agent import Agent, Reply
from sandbox.irods.catalogue import stamp
from sandbox.irods.errors import Code, IrodsError, unix_error
from sandbox.irods.permissions import MODIFY, READ, need
from sandbox.irods.replicas import (
    AT_REST,
    GOOD,
    INTERMEDIATE,
    STALE,
    NewReplica,
    add_replica,
    path_of,
    refuse_locked,
    row_of,
    rows_of,
)
from sandbox.irods.resources import Resource, make_folder
from sandbox.irods.xml_packing import Struct, keywords, pack

COPY_TARGET = 9


def copy_file(source: str, target: str) -> int:
    """Copy a file's bytes, holes kept; gives their number."""
    try:
        with open(source, "rb") as reading:
            make_folder(Path(target).parent)
            with open(target, "wb") as writing:
                shutil.copyfileobj(reading, writing, 1 << 20)
                return writing.tell()
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_OPEN_ERR, problem) from None


def replicate_to(agent: Agent, source: sqlite3.Row, leaf: Resource) -> int:
    """Bring the object's replica on `leaf` to what `source` is, making it if there is none; gives the bytes copied."""
    catalogue, logical = agent.catalogue, path_of(source)
    rows = rows_of(catalogue, logical)
    target = next((row for row in rows if row["resc_id"] == leaf.id), None)
    if target is not None and target["status"] == GOOD:
        return 0
    if target is not None and target["status"] not in AT_REST:
        raise IrodsError(Code.SYS_REPLICA_INACCESSIBLE)
    if target is None:
        from sandbox.irods.streams import make_room

        physical = agent.server.resources.vault_path(leaf, logical)
        make_room(agent, leaf, physical)
        new = NewReplica(logical, leaf.id, physical, status=INTERMEDIATE, mode=source["mode"])
        number = add_replica(agent, source, new)
    else:
        physical, number = str(target["path"]), int(target["repl_num"])
        with catalogue.change() as db:
            db.execute(
                "update replicas set status = ? where data_id = ? and repl_num = ?",
                (INTERMEDIATE, target["data_id"], number),
            )
    status, size, value = GOOD, 0, str(source["checksum"])
    try:
        size = copy_file(source["path"], physical)
        if value and checksums.of_file(physical, size, checksums.scheme_of(value)) != value:
            raise IrodsError(Code.USER_CHKSUM_MISMATCH)
    except IrodsError:
        status, value = STALE, ""
        raise
    finally:
        with catalogue.change() as db:
            db.execute(
                "update replicas set status = ?, size = ?, checksum = ?, modify_ts = ? where data_id = ? and repl_num = ?",
                (status, size, value, stamp(), source["data_id"], number),
            )
    return size


def update_siblings(agent: Agent, data_id: int, number: int) -> None:
    """After a write: what a replication or compound resource above the written leaf keeps besides it."""
    row = row_of(agent.catalogue, data_id, number)
    if row is None or row["status"] != GOOD:
        return
    resources = agent.server.resources
    leaf = resources.of_id(row["resc_id"])
    if leaf.parent is None:
        return
    for further in resources.further_leaves(leaf):
        replicate_to(agent, row, further)


def replicate(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 695: a replica on `destRescName` from a good one; with `updateRepl` and `all` the stale ones anew.

    Recording resources.
    """
    wanted = keywords(struct["KeyValPair_PI"])
    if "all" in wanted and "destRescName" in wanted:
        raise IrodsError(Code.USER_INCOMPATIBLE_PARAMS)
    rows = rows_of(agent.catalogue, struct["objPath"])
    if not rows:
        raise IrodsError(Code.CAT_NO_ROWS_FOUND)
    if "irodsAdmin" in wanted and not agent.user.admin:
        raise IrodsError(Code.CAT_INSUFFICIENT_PRIVILEGE_LEVEL)
    if "irodsAdmin" not in wanted:
        need(agent.catalogue, agent.user, rows[0]["data_id"], MODIFY)
    refuse_locked(rows)
    source = _source(agent, rows, wanted)
    size = sum(replicate_to(agent, source, leaf) for leaf in _targets(agent, rows, source, wanted))
    return Reply(0, pack("TransferStat_PI", {"numThreads": 0, "flags": 0, "bytesWritten": size}))


def _source(agent: Agent, rows: list[sqlite3.Row], wanted: dict[str, str]) -> sqlite3.Row:
    resources = agent.server.resources
    if "replNum" in wanted:
        asked = [row for row in rows if str(row["repl_num"]) == wanted["replNum"]]
        if not asked:
            raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST)
        rows = asked
    elif wanted.get("rescName"):
        asked = [row for row in rows if wanted["rescName"] in resources.hierarchy(row["resc_id"]).split(";")]
        if not asked:
            raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST)
        rows = asked
    good = [row for row in rows if row["status"] == GOOD]
    if not good:
        raise IrodsError(Code.SYS_NO_GOOD_REPLICA if len(rows) > 1 else Code.SYS_REPLICA_INACCESSIBLE)
    return good[0]


def _targets(agent: Agent, rows: list[sqlite3.Row], source: sqlite3.Row, wanted: dict[str, str]) -> list[Resource]:
    resources = agent.server.resources
    stale = [resources.of_id(row["resc_id"]) for row in rows if row["status"] == STALE]
    if "all" in wanted:
        return stale
    root = resources.addressed({key: wanted[key] for key in ("destRescName",) if wanted.get(key)})
    if root is None:
        if "updateRepl" in wanted:
            return stale[:1]
        root = resources.named(wanted.get("defRescName") or agent.server.default_resource)
    held = [resources.of_id(row["resc_id"]) for row in rows]
    here = [leaf for leaf in held if resources.root(leaf).id == root.id]
    if here:
        return [leaf for leaf in here if leaf.id != source["resc_id"]]
    return [resources.leaf_for_create(root)]


def copy(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 696, DataObjCopyInp_PI: a new object with the bytes of another; `forceFlag` in the target's keywords overwrites.

    With `verifyChksum` the copy's checksum is stored and must be the source's, if that has one; with `regChksum` it is
    stored. USER_INPUT_PATH_ERR for a source that is no object, a relative target, and for the same path twice.
    """
    from sandbox.irods.streams import close_object, open_object

    source, target = struct["DataObjInp_PI"], struct["DataObjInp_PI2"]
    wanted = keywords(target["KeyValPair_PI"])
    rows = rows_of(agent.catalogue, source["objPath"])
    if not rows or not target["objPath"].startswith("/") or source["objPath"] == target["objPath"]:
        raise IrodsError(Code.USER_INPUT_PATH_ERR)
    _check_target(agent, target["objPath"], wanted)
    need(agent.catalogue, agent.user, rows[0]["data_id"], READ)
    origin = _source(agent, rows, {})
    inp = {**target, "dataSize": origin["size"], "oprType": COPY_TARGET}
    opened = open_object(agent, inp, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    if "verifyChksum" in wanted and not wanted["verifyChksum"]:
        del opened.keywords["verifyChksum"]
        opened.keywords["verifyChksum" if origin["checksum"] else "regChksum"] = origin["checksum"]
    try:
        opened.written = copy_file(origin["path"], opened.row["path"])
    finally:
        close_object(agent, opened)
    return Reply(0, pack("TransferStat_PI", {"numThreads": 0, "flags": 0, "bytesWritten": opened.written}))


def _check_target(agent: Agent, path: str, wanted: dict[str, str]) -> None:
    rows, resources = rows_of(agent.catalogue, path), agent.server.resources
    if not rows:
        return
    if "forceFlag" not in wanted:
        raise IrodsError(Code.OVERWRITE_WITHOUT_FORCE_FLAG)
    roots = {resources.hierarchy(row["resc_id"]).split(";")[0] for row in rows}
    if wanted.get("destRescName") and wanted["destRescName"] not in roots:
        raise IrodsError(Code.HIERARCHY_ERROR)
