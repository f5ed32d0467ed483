"""Requests on the bytes of data objects: put, get, open, read, write, close, truncate, touch."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from sandbox.irods import checksums, streams
from sandbox.irods.agent import Agent, Reply, json_body, json_input, json_reply
from sandbox.irods.catalogue import stamp
from sandbox.irods.errors import Code, IrodsError, unix_error
from sandbox.irods.included import apply_included, check_included
from sandbox.irods.permissions import MODIFY, need
from sandbox.irods.replicas import AT_REST, GOOD, STALE, check_path, rows_of, touch_collection, unlock
from sandbox.irods.replication import update_siblings
from sandbox.irods.voting import hierarchy_for_create, hierarchy_for_open
from sandbox.irods.wire import refused_option
from sandbox.irods.xml_packing import Struct, keywords, pack

SINGLE_BUFFER = 32 << 20
CREATE_FLAGS = os.O_CREAT | os.O_RDWR | os.O_TRUNC


def open_(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 602: intInfo is the descriptor."""
    return Reply(streams.open_object(agent, struct).number)


def create(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 601: as an open that creates and empties; unlike a put it asks for no `forceFlag`."""
    return Reply(streams.open_object(agent, struct, flags=CREATE_FLAGS).number)


def open_replica(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 20003: open, and what 20000 tells, in one."""
    opened = streams.open_object(agent, struct)
    return Reply(opened.number, pack("BinBytesBuf_PI", json_body(description(agent, opened))))


def read(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 675: intInfo is the number of bytes in the stream, 0 at the end."""
    data = streams.read(streams.find(agent, struct["l1descInx"]), struct["len"])
    return Reply(len(data), stream=data)


def write(agent: Agent, struct: Struct, stream: memoryview) -> Reply:
    """API 676: the length of the byte stream counts, not `len`."""
    return Reply(streams.write(agent, streams.find(agent, struct["l1descInx"]), stream, 676))


def seek(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 674."""
    place = streams.seek(streams.find(agent, struct["l1descInx"]), struct["offset"], struct["whence"])
    return Reply(0, pack("fileLseekOut_PI", {"offset": place}))


def close(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 673."""
    opened = streams.find(agent, struct["l1descInx"])
    return Reply(streams.close_object(agent, opened))


def close_replica(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 20004: JSON `{fd, update_size, update_status, compute_checksum}`, each true unless it says otherwise."""
    wanted = json_input(struct)
    opened = streams.find(agent, int(wanted.get("fd", -1)))
    streams.close_file(agent, opened)
    if not opened.writing:
        return Reply()
    data_id, number = opened.row["data_id"], opened.row["repl_num"]
    with agent.catalogue.change() as db:
        if wanted.get("update_size", True):
            size = os.stat(opened.row["path"]).st_size
            db.execute("update replicas set size = ? where data_id = ? and repl_num = ?", (size, data_id, number))
            if wanted.get("compute_checksum", False):
                value = checksums.of_file(opened.row["path"], size, agent.server.hash_scheme)
                checksums.store(db, data_id, number, value)
        if wanted.get("update_status", True):
            unlock(db, data_id, number, GOOD, STALE)
            db.execute(
                "update replicas set modify_ts = ? where data_id = ? and repl_num = ?", (stamp(), data_id, number)
            )
    return Reply()


def describe(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 20000: JSON `{fd}`; gives the descriptor as JSON (recording large)."""
    return json_reply(description(agent, streams.find(agent, int(json_input(struct).get("fd", -1)))))


def description(agent: Agent, opened: streams.Descriptor) -> dict[str, Any]:
    """A descriptor in the terms of the real server's L1 table."""
    row, inp = opened.row, opened.input
    status = int(row["status"]) if not opened.writing else 2
    wanted = dict(opened.keywords)
    if opened.kind == streams.CREATED and "dataSize" in wanted:
        wanted["dataSize"] = "0"
    resource = opened.leaf
    info = {
        "checksum": row["checksum"], "collection_id": row["coll_id"], "condition_input": [], "data_access": "",
        "data_access_index": 0, "data_comments": row["comments"], "data_create": row["create_ts"],
        "data_expiry": row["expiry"], "data_id": row["data_id"], "data_map_id": row["map_id"], "data_mode": row["mode"],
        "data_modify": row["modify_ts"], "data_owner_name": row["owner_name"], "data_owner_zone": row["owner_zone"],
        "data_size": row["size"], "data_type": row["type"], "destination_resource_name": "", "file_path": row["path"],
        "flags": 0, "in_pdmo": "", "is_replica_current": status == GOOD, "next": None, "object_path": opened.logical_path,
        "other_flags": 0, "registering_user_id": 0, "replica_number": row["repl_num"], "replica_status": status,
        "resource_hierarchy": agent.server.resources.hierarchy(resource.id), "resource_id": resource.id,
        "resource_name": resource.name, "special_collection": None, "status_string": row["data_status"], "sub_path": "",
        "version": row["version"], "write_flag": 0,
    }  # fmt: skip
    pairs = [*wanted.items(), *(pair for pair in opened.extra if pair[0] not in wanted)]
    given = {
        "condition_input": [{"key": key, "value": value} for key, value in pairs], "create_mode": inp["createMode"],
        "data_size": inp["dataSize"], "number_of_threads": inp["numThreads"], "object_path": opened.logical_path,
        "offset": inp["offset"], "open_flags": opened.flags, "operation_type": inp["oprType"], "special_collection": None,
    }  # fmt: skip
    return {
        "bytes_written": opened.written, "checksum": opened.keywords.get("verifyChksum", ""), "checksum_flag": 0,
        "copies_needed": 0, "data_object_info": info, "data_object_input": given, "data_object_input_replica_flag": 1,
        "data_size": opened.expected, "in_pdmo": "", "in_use": True, "l3descInx": opened.number,
        "lock_file_descriptor": 0, "open_type": opened.kind, "operation_status": 0, "operation_type": opened.opr,
        "other_data_object_info": None, "plugin_data": None, "purge_cache_flag": 0, "remote_l1_descriptor_index": 0,
        "remote_zone_host": None, "replica_status": status, "replica_token": opened.token,
        "replication_data_object_info": None, "source_l1_descriptor_index": 0, "stage_flag": 0,
    }  # fmt: skip


def put(agent: Agent, struct: Struct, stream: memoryview) -> Reply:
    """API 606 with `dataIncluded`: the whole object in one request (recording put_single_buffer).

    OVERWRITE_WITHOUT_FORCE_FLAG for one that exists. `verifyChksum` compares with what was written: on a mismatch the
    replica stays, stale, with the checksum it has, and USER_CHKSUM_MISMATCH is answered.
    """
    path, wanted = struct["objPath"], keywords(struct["KeyValPair_PI"])
    check_path(path)
    rows = rows_of(agent.catalogue, path)
    there = rows or agent.catalogue.one("select 1 from collections where name = ?", path)
    if there and "forceFlag" not in wanted:
        raise IrodsError(Code.OVERWRITE_WITHOUT_FORCE_FLAG)
    check_included(wanted)
    if "dataIncluded" not in wanted:
        raise refused_option("parallel transfer by portal (606 without dataIncluded)")
    if rows and wanted.get("destRescName"):
        resources = agent.server.resources
        roots = {resources.hierarchy(row["resc_id"]).split(";")[0] for row in rows}
        if wanted["destRescName"] not in roots:
            resources.named(wanted["destRescName"])
            raise IrodsError(Code.HIERARCHY_ERROR)
    put_input = {**struct, "oprType": streams.PUT}
    opened = streams.open_object(agent, put_input, flags=CREATE_FLAGS, new="forceFlag" not in wanted)
    try:
        streams.write(agent, opened, stream, 606)
    except IrodsError:
        opened.written = 0
        streams.abandon(agent, opened)
        raise
    finish_put(agent, opened, struct["dataSize"])
    return Reply()


def finish_put(agent: Agent, opened: streams.Descriptor, announced: int) -> None:
    """Bring a replica to rest after its only write: size and checksum checked, metadata and access applied."""
    streams.close_file(agent, opened)
    wanted, row = opened.keywords, opened.row
    size, value = 0, ""
    try:
        size = os.stat(row["path"]).st_size
        if announced > 0 and size != announced and "noChkCopyLen" not in wanted:
            raise IrodsError(Code.SYS_COPY_LEN_ERR)
        if "regChksum" in wanted or "verifyChksum" in wanted:
            given = wanted.get("verifyChksum", "")
            scheme = checksums.scheme_of(given) if given else agent.server.hash_scheme
            value = checksums.of_file(row["path"], size, scheme)
            if "verifyChksum" in wanted and value != given:
                raise IrodsError(Code.USER_CHKSUM_MISMATCH)
        apply_included(agent, opened.logical_path, wanted)
    except OSError as problem:
        _rest(agent, opened, STALE, size, value)
        raise unix_error(Code.UNIX_FILE_STAT_ERR, problem) from None
    except IrodsError:
        _rest(agent, opened, STALE, size, value)
        raise
    _rest(agent, opened, GOOD, size, value)
    if opened.leaf.parent is not None:
        update_siblings(agent, row["data_id"], row["repl_num"])


def _rest(agent: Agent, opened: streams.Descriptor, status: int, size: int, value: str) -> None:
    data_id, number = opened.row["data_id"], opened.row["repl_num"]
    with agent.catalogue.change() as db:
        unlock(db, data_id, number, status, STALE if status == GOOD else None)
        db.execute(
            "update replicas set size = ?, checksum = ?, modify_ts = ? where data_id = ? and repl_num = ?",
            (size, value, stamp(), data_id, number),
        )
        touch_collection(agent, opened.logical_path)


def get(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 608: objects of up to 32 MiB come whole in the stream, intInfo their size (recording bundle_read)."""
    opened = streams.open_object(agent, struct, flags=os.O_RDONLY)
    try:
        size = int(opened.row["size"])
        if size > SINGLE_BUFFER:
            raise refused_option("parallel transfer by portal (608 of more than 32 MiB)")
        data = streams.read(opened, size)
    finally:
        streams.close_file(agent, opened)
    port = {"portNum": 0, "cookie": 0, "sock": 0, "windowSize": 0, "hostAddr": ""}
    body = {"status": 0, "l1descInx": 0, "numThreads": 0, "chksum": "", "PortList_PI": port}
    return Reply(len(data), pack("PortalOprOut_PI", body), data)


def truncate(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 652: the replica that a write would take gets `dataSize` bytes."""
    _truncate(agent, struct)
    return Reply()


def truncate_replica(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 802: as 652 for a replica that `replNum` or `rescName` may name; JSON says which one it was."""
    wanted = keywords(struct["KeyValPair_PI"])
    try:
        if "destRescName" in wanted or ("rescName" in wanted and "replNum" in wanted):
            raise IrodsError(Code.SYS_INVALID_INPUT_PARAM)
        leaf, number = _truncate(agent, struct)
    except IrodsError as refusal:
        nothing = {"message": str(refusal), "replica_number": None, "resource_hierarchy": None}
        refusal.body = ("STR_PI", {"myStr": json.dumps(nothing, separators=(",", ":"))})
        raise
    found = {"message": "", "replica_number": number, "resource_hierarchy": leaf}
    return Reply(0, pack("STR_PI", {"myStr": json.dumps(found, separators=(",", ":"))}))


def _truncate(agent: Agent, struct: Struct) -> tuple[str, int]:
    wanted = keywords(struct["KeyValPair_PI"])
    rows = rows_of(agent.catalogue, struct["objPath"])
    if not rows:
        raise IrodsError(Code.OBJ_PATH_DOES_NOT_EXIST)
    need(agent.catalogue, agent.user, rows[0]["data_id"], MODIFY)
    leaf = hierarchy_for_open(agent, rows, wanted, "WRITE")
    hierarchy = agent.server.resources.hierarchy(leaf.id)
    row = next(each for each in rows if each["resc_id"] == leaf.id)
    if row["status"] not in AT_REST:
        raise IrodsError(Code.LOCKED_DATA_OBJECT_ACCESS)
    if wanted.get("rescName") and wanted["rescName"] not in hierarchy.split(";"):
        raise IrodsError(Code.SYS_REPLICA_INACCESSIBLE)
    if row["size"] == struct["dataSize"]:
        return hierarchy, int(row["repl_num"])
    try:
        os.truncate(row["path"], struct["dataSize"])
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_TRUNCATE_ERR, problem) from None
    with agent.catalogue.change() as db:
        db.execute("update replicas set status = ? where data_id = ?", (STALE, row["data_id"]))
        db.execute(
            "update replicas set size = ?, checksum = '', modify_ts = ?, status = ? where data_id = ? and repl_num = ?",
            (struct["dataSize"], stamp(), GOOD, row["data_id"], row["repl_num"]),
        )
    return hierarchy, int(row["repl_num"])


def resource_for(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 10220: JSON with host and hierarchy of the leaf that an operation would go to; `getResourceInfoOpType` names it."""
    wanted = keywords(struct["KeyValPair_PI"])
    operation = wanted.get("getResourceInfoOpType", "")
    if operation not in ("CREATE", "OPEN", "WRITE", "UNLINK"):
        raise IrodsError(Code.INVALID_OPERATION if operation else Code.SYS_INVALID_INPUT_PARAM)
    rows, resources = rows_of(agent.catalogue, struct["objPath"]), agent.server.resources
    if wanted.get("resc_hier"):
        leaf = resources.leaf_of(wanted["resc_hier"])
    elif operation == "CREATE":
        leaf = hierarchy_for_create(agent, rows, wanted, logical=struct["oprType"] == streams.PUT)
    else:
        leaf = hierarchy_for_open(agent, rows, wanted, operation)
    found = {"host": leaf.location, "resource_hierarchy": resources.hierarchy(leaf.id)}
    return Reply(0, pack("STR_PI", {"myStr": json.dumps(found, separators=(",", ":"))}))


def touch(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 20007: JSON `{logical_path, options}`; makes an empty object, or sets a time (recording touch)."""
    content = json_input(struct)
    path, options = str(content.get("logical_path", "")), dict(content.get("options", {}))
    if "replica_number" in options and "leaf_resource_name" in options:
        raise IrodsError(Code.USER_INCOMPATIBLE_PARAMS)
    if "seconds_since_epoch" in options and "reference" in options:
        raise IrodsError(Code.USER_INCOMPATIBLE_PARAMS)
    check_path(path)
    when = _wanted_time(agent, options)
    coll = agent.catalogue.one("select coll_id from collections where name = ?", path)
    if coll is not None:
        if "replica_number" in options or "leaf_resource_name" in options:
            raise IrodsError(Code.NOT_A_DATA_OBJECT)
        need(agent.catalogue, agent.user, coll["coll_id"], MODIFY)
        with agent.catalogue.change() as db:
            db.execute("update collections set modify_ts = ? where coll_id = ?", (when, coll["coll_id"]))
        return Reply()
    if not rows_of(agent.catalogue, path):
        if options.get("no_create"):
            return Reply()
        if "replica_number" in options:
            raise IrodsError(Code.OBJ_PATH_DOES_NOT_EXIST)
        _touch_new(agent, path, options)
    _touch_existing(agent, path, options, when)
    return Reply()


def _wanted_time(agent: Agent, options: dict[str, Any]) -> str:
    if "reference" in options:
        rows = rows_of(agent.catalogue, str(options["reference"]))
        coll = agent.catalogue.one("select modify_ts from collections where name = ?", str(options["reference"]))
        if not rows and coll is None:
            raise IrodsError(Code.OBJ_PATH_DOES_NOT_EXIST)
        return max(row["modify_ts"] for row in rows) if rows else str(coll["modify_ts"]) if coll else stamp()
    return stamp(float(options.get("seconds_since_epoch", time.time())))


def _touch_new(agent: Agent, path: str, options: dict[str, Any]) -> None:
    inp = {
        "objPath": path, "createMode": 0, "openFlags": os.O_WRONLY | os.O_CREAT, "offset": 0, "dataSize": 0, "numThreads": 0,
        "oprType": 0, "SpecColl_PI": None, "KeyValPair_PI": {"ssLen": 0, "keyWord": [], "svalue": []},
    }  # fmt: skip
    name = options.get("leaf_resource_name")
    if name:
        resources = agent.server.resources
        hierarchy = resources.hierarchy(resources.named(str(name)).id)
        inp["KeyValPair_PI"] = {"ssLen": 1, "keyWord": ["resc_hier"], "svalue": [hierarchy]}
    streams.close_object(agent, streams.open_object(agent, inp))


def _touch_existing(agent: Agent, path: str, options: dict[str, Any], when: str) -> None:
    rows = rows_of(agent.catalogue, path)
    need(agent.catalogue, agent.user, rows[0]["data_id"], MODIFY)
    resources = agent.server.resources
    if "replica_number" in options:
        rows = [row for row in rows if row["repl_num"] == options["replica_number"]]
    elif "leaf_resource_name" in options:
        rows = [row for row in rows if resources.of_id(row["resc_id"]).name == options["leaf_resource_name"]]
    else:
        rows = sorted(rows, key=lambda row: (row["status"] == GOOD, row["modify_ts"]), reverse=True)
    if not rows:
        raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST)
    if rows[0]["status"] not in AT_REST:
        raise IrodsError(Code.LOCKED_DATA_OBJECT_ACCESS)
    with agent.catalogue.change() as db:
        db.execute(
            "update replicas set modify_ts = ? where data_id = ? and repl_num = ?",
            (when, rows[0]["data_id"], rows[0]["repl_num"]),
        )
