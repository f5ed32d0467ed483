"""Open replicas: 601, 602, 20003 open them, 674, 675, 676 use them, 673 and 20004 close them.

The rules for locking, for what a close does to size, checksum and status, and for what a dying connection leaves
behind follow iRODS' rsDataObjOpen, rsDataObjClose and close_all_l1_descriptors.
"""

from __future__ import annotations

import os
import random
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.irods import checksums
from sandbox.irods.agent import Agent
from sandbox.irods.catalogue import stamp
from sandbox.irods.errors import Code, IrodsError, unix_error
from sandbox.irods.included import apply_included
from sandbox.irods.permissions import MODIFY, READ, need
from sandbox.irods.replicas import (
    AT_REST,
    GOOD,
    INTERMEDIATE,
    STALE,
    NewReplica,
    add_replica,
    check_path,
    delete_row,
    lock,
    refuse_locked,
    register,
    row_of,
    rows_of,
    touch_collection,
    unlock,
)
from sandbox.irods.replication import update_siblings
from sandbox.irods.resources import Resource, make_folder
from sandbox.irods.voting import hierarchy_for_create, hierarchy_for_open
from sandbox.irods.xml_packing import Struct, keywords

FIRST_DESCRIPTOR, DESCRIPTORS = 3, 1026
CREATED, OPENED_READ, OPENED_WRITE = 1, 2, 3
PUT = 1
ATIME_RESOLUTION = 86400


@dataclass(slots=True)
class Descriptor:
    """One open replica of one connection."""

    number: int
    logical_path: str
    row: sqlite3.Row
    leaf: Resource
    file: int
    flags: int
    kind: int
    opr: int
    keywords: dict[str, str]
    input: Struct
    expected: int
    token: str = ""
    offset: int = 0
    written: int = -1
    extra: list[tuple[str, str]] = field(default_factory=list)

    @property
    def writing(self) -> bool:
        return (self.flags & os.O_ACCMODE) != os.O_RDONLY


def find(agent: Agent, number: int) -> Descriptor:
    """The descriptor of that number; SYS_FILE_DESC_OUT_OF_RANGE or BAD_INPUT_DESC_INDEX otherwise."""
    if not FIRST_DESCRIPTOR <= number < DESCRIPTORS:
        raise IrodsError(Code.SYS_FILE_DESC_OUT_OF_RANGE)
    found = agent.descriptors.get(number)
    if found is None:
        raise IrodsError(Code.BAD_INPUT_DESC_INDEX)
    return found


def free_number(agent: Agent) -> int:
    """The lowest free descriptor; SYS_OUT_OF_FILE_DESC when all are in use."""
    for number in range(FIRST_DESCRIPTOR, DESCRIPTORS):
        if number not in agent.descriptors:
            return number
    raise IrodsError(Code.SYS_OUT_OF_FILE_DESC)


def open_object(agent: Agent, struct: Struct, *, flags: int | None = None, new: bool = False) -> Descriptor:
    """Open the data object of a DataObjInp_PI, creating it or a replica of it when O_CREAT says so.

    `new` refuses one that exists: the real server looks for it some moments before, and may overwrite what came since.
    """
    path, wanted = struct["objPath"], keywords(struct["KeyValPair_PI"])
    flags = struct["openFlags"] if flags is None else flags
    check_path(path)
    if flags & os.O_CREAT and not path.startswith("/"):
        raise IrodsError(Code.SYS_INVALID_FILE_PATH)
    if flags & os.O_ACCMODE == os.O_RDONLY and flags & os.O_TRUNC:
        raise IrodsError(Code.USER_INCOMPATIBLE_OPEN_FLAGS)
    wanted.pop("filePath", None)
    number = free_number(agent)
    rows = rows_of(agent.catalogue, path)
    if new and rows:
        raise IrodsError(Code.OVERWRITE_WITHOUT_FORCE_FLAG)
    operation = "CREATE" if flags & os.O_CREAT else "WRITE" if flags & os.O_ACCMODE else "OPEN"
    leaf = _resolve(agent, path, rows, wanted, operation, struct["oprType"])
    row = next((each for each in rows if each["resc_id"] == leaf.id), None)
    if row is None:
        if not flags & os.O_CREAT:
            raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST if rows else Code.OBJ_PATH_DOES_NOT_EXIST)
        opened = _create(agent, struct, wanted, leaf, rows, number, flags)
    else:
        opened = _open_existing(agent, struct, wanted, leaf, row, number, flags)
    agent.descriptors[number] = opened
    return opened


def _resolve(
    agent: Agent, path: str, rows: list[sqlite3.Row], wanted: dict[str, str], operation: str, opr: int
) -> Resource:
    if wanted.get("resc_hier"):
        return agent.server.resources.leaf_of(wanted["resc_hier"])
    if operation == "CREATE" and "replNum" not in wanted:
        return hierarchy_for_create(agent, rows, wanted, logical=opr in (PUT, 9, 15))
    if not rows:
        raise IrodsError(Code.OBJ_PATH_DOES_NOT_EXIST)
    return hierarchy_for_open(agent, rows, wanted, "WRITE" if operation == "CREATE" else operation)


def _create(
    agent: Agent,
    struct: Struct,
    wanted: dict[str, str],
    leaf: Resource,
    rows: list[sqlite3.Row],
    number: int,
    flags: int,
) -> Descriptor:
    path = struct["objPath"]
    physical = agent.server.resources.vault_path(leaf, path)
    make_room(agent, leaf, physical)
    new = NewReplica(
        path,
        leaf.id,
        physical,
        type=wanted.get("dataType") or "generic",
        status=INTERMEDIATE,
        mode=str(struct["createMode"]),
    )
    with agent.catalogue.change() as db:
        if rows:
            need(agent.catalogue, agent.user, rows[0]["data_id"], MODIFY)
            refuse_locked(rows)
            data_id = rows[0]["data_id"]
            lock(db, data_id, -1)
            add_replica(agent, rows[0], new)
        else:
            data_id = register(agent, new)
            touch_collection(agent, path)
    try:
        make_folder(Path(physical).parent)
        file = os.open(physical, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as problem:
        with agent.catalogue.change() as db:
            unlock(db, data_id, new.number, STALE, None)
            created = row_of(agent.catalogue, data_id, new.number)
            if created is not None:
                delete_row(db, created)
        raise unix_error(Code.UNIX_FILE_CREATE_ERR, problem) from None
    row = row_of(agent.catalogue, data_id, new.number)
    assert row is not None
    opened = Descriptor(
        number, path, row, leaf, file, flags, CREATED, struct["oprType"], wanted, struct, struct["dataSize"]
    )
    opened.token = agent.server.tokens.issue(agent, data_id, new.number)
    hierarchy = agent.server.resources.hierarchy(leaf.id)
    opened.extra = [
        ("resc_hier", hierarchy), ("selected_hierarchy", hierarchy), ("selObjType", "dataObj"), ("openType", "1"),
        ("registerAsIntermediate", ""), ("filePath", physical),
    ]  # fmt: skip
    return opened


def make_room(agent: Agent, leaf: Resource, physical: str) -> None:
    """Make room for a new file. What is there goes to `orphan/` of the vault, and to `replica/` when a replica has it, whose
    row the real 5.0.2 leaves as it is (chkAndHandleOrphanFile of physPath.cpp)."""
    if not os.path.lexists(physical):
        return
    owned = agent.catalogue.one("select 1 from replicas where path = ? and resc_id = ?", physical, leaf.id)
    aside = f"{os.path.relpath(physical, leaf.vault)}.{random.randrange(1 << 31)}"
    moved = Path(leaf.vault) / ("orphan" if owned is None else "replica") / aside
    make_folder(moved.parent)
    os.replace(physical, moved)


def _open_existing(
    agent: Agent, struct: Struct, wanted: dict[str, str], leaf: Resource, row: sqlite3.Row, number: int, flags: int
) -> Descriptor:
    # the catalogue keeps the old size until the close, even of a file that O_TRUNC has emptied (recording bundle_read)
    writing = bool(flags & os.O_ACCMODE)
    token = wanted.get("replicaToken", "")
    need(agent.catalogue, agent.user, row["data_id"], MODIFY if writing else READ)
    with agent.catalogue.change() as db:
        fresh = row_of(agent.catalogue, row["data_id"], row["repl_num"])
        if fresh is None:
            raise IrodsError(Code.OBJ_PATH_DOES_NOT_EXIST)
        _admit(agent, fresh, token)
        if writing and not token:
            token = agent.server.tokens.issue(agent, fresh["data_id"], fresh["repl_num"])
        try:
            file = _open_file(fresh["path"], flags)
        except IrodsError:
            agent.server.tokens.release(agent, token)
            raise
        if writing and fresh["status"] in AT_REST:
            lock(db, fresh["data_id"], fresh["repl_num"])
        _note_access(db, fresh, flags)
    opened = Descriptor(
        number, struct["objPath"], fresh, leaf, file, flags, OPENED_WRITE if writing else OPENED_READ,
        struct["oprType"], wanted, struct, -1, token if writing else "",
    )  # fmt: skip
    opened.extra = [("resc_hier", agent.server.resources.hierarchy(leaf.id)), ("openType", str(opened.kind))]
    return opened


def _admit(agent: Agent, row: sqlite3.Row, token: str) -> None:
    if row["status"] == INTERMEDIATE:
        if not token or not agent.server.tokens.join(agent, token, row["data_id"], row["repl_num"]):
            raise IrodsError(Code.INTERMEDIATE_REPLICA_ACCESS)
    elif row["status"] not in AT_REST:
        raise IrodsError(Code.LOCKED_DATA_OBJECT_ACCESS)


def _open_file(path: str, flags: int) -> int:
    try:
        return os.open(path, flags & (os.O_ACCMODE | os.O_TRUNC))
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_OPEN_ERR, problem) from None


def _note_access(db: sqlite3.Connection, row: sqlite3.Row, flags: int) -> None:
    if flags & os.O_ACCMODE == os.O_WRONLY:
        return
    now = stamp()
    if row["access_ts"] < row["modify_ts"] or int(now) - int(row["access_ts"]) >= ATIME_RESOLUTION:
        db.execute(
            "update replicas set access_ts = ? where data_id = ? and repl_num = ?",
            (now, row["data_id"], row["repl_num"]),
        )


def write(agent: Agent, opened: Descriptor, data: memoryview, api: int) -> int:
    """Write at the descriptor's place; gives the number of bytes. A `truncate` fault loses some and claims all."""
    view = data
    if agent.server.faults.any() and (lost := agent.server.faults.take("truncate", api, opened.logical_path)):
        view = data[: max(0, len(data) - lost.lost)]
    done = 0
    try:
        while done < len(view):
            done += os.pwrite(opened.file, view[done:], opened.offset + done)
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_WRITE_ERR, problem) from None
    opened.offset += len(data)
    opened.written = max(opened.written, 0) + len(data)
    return len(data)


def read(opened: Descriptor, length: int) -> bytes:
    """Up to `length` bytes from the descriptor's place; one opened for reading ends at the size in the catalogue."""
    if not opened.writing:
        length = min(length, int(opened.row["size"]) - opened.offset)
    try:
        data = os.pread(opened.file, max(0, length), opened.offset) if length > 0 else b""
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_READ_ERR, problem) from None
    opened.offset += len(data)
    return data


def seek(opened: Descriptor, offset: int, whence: int) -> int:
    """The new place. One opened for reading cannot be set beyond the size in the catalogue."""
    if not opened.writing:
        offset = min(offset, int(opened.row["size"]))
    base = {os.SEEK_SET: 0, os.SEEK_CUR: opened.offset, os.SEEK_END: os.fstat(opened.file).st_size}.get(whence)
    if base is None or base + offset < 0:
        raise IrodsError(Code.UNIX_FILE_LSEEK_ERR - 22)
    opened.offset = base + offset
    return opened.offset


def close_file(agent: Agent, opened: Descriptor) -> None:
    """Give back descriptor, file and token; the catalogue stays as it is."""
    agent.descriptors.pop(opened.number, None)
    os.close(opened.file)
    if opened.token:
        agent.server.tokens.release(agent, opened.token)


def close_object(agent: Agent, opened: Descriptor) -> int:
    """What 673 does: the replica gets the size of its file and rests, good or stale; gives the reply's intInfo.

    A size that differs from the one announced at open leaves the replica stale and is answered with that size, a
    success for the client: the real server throws the size where it means an error (rsDataObjClose.cpp:462).
    """
    close_file(agent, opened)
    if not opened.writing:
        apply_included(agent, opened.logical_path, opened.keywords)
        return 0
    data_id, number = opened.row["data_id"], opened.row["repl_num"]
    try:
        size = os.stat(opened.row["path"]).st_size
    except OSError as problem:
        _to_rest(agent, opened, STALE, None)
        raise unix_error(Code.UNIX_FILE_STAT_ERR, problem) from None
    if opened.expected > 0 and size != opened.expected and "noChkCopyLen" not in opened.keywords:
        _to_rest(agent, opened, STALE, None, size=size)
        return size
    value = "" if opened.written >= 0 or opened.kind == CREATED or opened.flags & os.O_TRUNC else None
    try:
        value = _checksum_at_close(agent, opened, size) or value
        apply_included(agent, opened.logical_path, opened.keywords)
    except IrodsError:
        _to_rest(agent, opened, STALE, None, size=size)
        raise
    if opened.kind == CREATED or opened.written > 0:
        _to_rest(agent, opened, GOOD, STALE, size=size, checksum=value, modified=stamp())
        update_siblings(agent, data_id, number)
    else:
        before = row_of(agent.catalogue, data_id, number)
        original = before["original"] if before is not None else None
        _to_rest(agent, opened, GOOD if original is None else original, None, size=size, checksum=value)
    return 0


def _checksum_at_close(agent: Agent, opened: Descriptor, size: int) -> str | None:
    wanted = opened.keywords
    if "noChkCopyLen" in wanted or not ("regChksum" in wanted or "verifyChksum" in wanted):
        return None
    if "regChksum" not in wanted and not wanted["verifyChksum"] and opened.opr != PUT:
        return None
    given = wanted.get("verifyChksum", "")
    scheme = checksums.scheme_of(given) if given else agent.server.hash_scheme
    value = checksums.of_file(opened.row["path"], size, scheme)
    if "verifyChksum" in wanted and value != given:
        if opened.opr == PUT:
            with agent.catalogue.change() as db:
                checksums.store(db, opened.row["data_id"], opened.row["repl_num"], value)
        raise IrodsError(Code.USER_CHKSUM_MISMATCH)
    return value


def _to_rest(
    agent: Agent, opened: Descriptor, status: int, siblings: int | None, *, size: int | None = None,
    checksum: str | None = None, modified: str | None = None,
) -> None:  # fmt: skip
    data_id, number = opened.row["data_id"], opened.row["repl_num"]
    with agent.catalogue.change() as db:
        unlock(db, data_id, number, status, siblings)
        db.execute(
            "update replicas set size = coalesce(?, size), checksum = coalesce(?, checksum),"
            " modify_ts = coalesce(?, modify_ts) where data_id = ? and repl_num = ?",
            (size, checksum, modified, data_id, number),
        )


def abandon(agent: Agent, opened: Descriptor) -> None:
    """A connection ended with this replica open: one for writing becomes stale, with the size that its file has.

    So does the real agent before it ends (close_all_l1_descriptors). One that is killed cannot, and leaves the
    replica as intermediate: likewise here, when the whole server is killed. A second stream of a parallel transfer
    does the same to the replica, even while the first goes on.
    """
    close_file(agent, opened)
    if not opened.writing:
        return
    try:
        size: int | None = os.stat(opened.row["path"]).st_size
    except OSError:
        size = None
    _to_rest(agent, opened, STALE, None, size=size, checksum="", modified=stamp())
