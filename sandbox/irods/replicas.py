"""Rows of data objects: looked up, registered, locked and put to rest."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sandbox.irods.agent import Agent
from sandbox.irods.catalogue import Catalogue, stamp
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.permissions import first_access, parent_for_writing

STALE, GOOD, INTERMEDIATE, READ_LOCKED, WRITE_LOCKED = range(5)
AT_REST = (STALE, GOOD)

# the usual ones of the server's tokens
DATA_TYPES = {
    "generic", "text", "ascii text", "image", "tiff image", "gif image", "jpeg image", "program code", "data file", "html",
    "xml", "tar file", "compressed tar file", "compressed file", "binary file", "URL", "tar bundle", "database object", "mso",
    "gzipTar", "bzip2Tar", "gzipFile", "bzip2File", "zipFile", "gzipTar bundle", "bzip2Tar bundle", "zipFile bundle",
    "msso file",
}  # fmt: skip


def split(path: str) -> tuple[str, str]:
    """Collection and name of a logical path. Nothing is normalised: `a//b` lies in `a/` (recording names)."""
    collection, _, name = path.rpartition("/")
    return collection or "/", name


def check_path(path: str) -> None:
    """USER_INPUT_PATH_ERR for a path that ends in `/` (recording names)."""
    if path.endswith("/"):
        raise IrodsError(Code.USER_INPUT_PATH_ERR)


def rows_of(catalogue: Catalogue, path: str) -> list[sqlite3.Row]:
    """The replicas of the data object at `path`, by number; empty when there is none."""
    collection, name = split(path)
    return catalogue.all(
        "select r.*, c.name as coll_name from collections c join replicas r on r.coll_id = c.coll_id"
        " where c.name = ? and r.name = ? order by r.repl_num",
        collection,
        name,
    )


def path_of(row: sqlite3.Row) -> str:
    """The logical path of a row that `rows_of` found."""
    return str(row["coll_name"]).rstrip("/") + "/" + str(row["name"])


def row_of(catalogue: Catalogue, data_id: int, number: int) -> sqlite3.Row | None:
    """One replica, with its collection's name."""
    return catalogue.one(
        "select r.*, c.name as coll_name from replicas r join collections c on c.coll_id = r.coll_id"
        " where r.data_id = ? and r.repl_num = ?",
        data_id,
        number,
    )


@dataclass(slots=True)
class NewReplica:
    """What a registration sets; times are catalogue stamps, `modified` None means now."""

    path: str
    resc_id: int
    physical: str
    size: int = 0
    type: str = "generic"
    status: int = GOOD
    checksum: str = ""
    mode: str = "0"
    modified: str | None = None
    created: str | None = None
    number: int = 0
    version: str = ""
    comments: str = ""
    expiry: str = "00000000000"


def register(agent: Agent, new: NewReplica) -> int:
    """Insert the first replica of a new data object and its access rows; gives the data id.

    Refuses as the catalogue does: CAT_UNKNOWN_COLLECTION, CAT_NO_ACCESS_PERMISSION, CAT_NAME_EXISTS_AS_COLLECTION,
    CAT_INVALID_DATA_TYPE, CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME. The parent's time does not change.
    """
    catalogue = agent.catalogue
    collection, name = split(new.path)
    with catalogue.change() as db:
        parent = parent_for_writing(catalogue, agent.user, collection)
        if catalogue.one("select 1 from collections where name = ?", new.path):
            raise IrodsError(Code.CAT_NAME_EXISTS_AS_COLLECTION)
        if new.type not in DATA_TYPES:
            raise IrodsError(Code.CAT_INVALID_DATA_TYPE)
        if catalogue.one("select 1 from replicas where coll_id = ? and name = ?", parent["coll_id"], name):
            raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME)
        data_id = catalogue.new_id()
        _insert(db, data_id, parent["coll_id"], name, new, agent.user.name, agent.user.zone)
        first_access(db, data_id, agent.user, parent)
    return data_id


def add_replica(agent: Agent, sibling: sqlite3.Row, new: NewReplica) -> int:
    """Insert a further replica of an object that has `sibling`; gives its number."""
    with agent.catalogue.change() as db:
        row = db.execute("select max(repl_num) from replicas where data_id = ?", (sibling["data_id"],)).fetchone()
        new.number = int(row[0]) + 1
        new.type = sibling["type"]
        _insert(
            db,
            sibling["data_id"],
            sibling["coll_id"],
            sibling["name"],
            new,
            sibling["owner_name"],
            sibling["owner_zone"],
        )
    return new.number


def _insert(
    db: sqlite3.Connection, data_id: int, coll_id: int, name: str, new: NewReplica, owner: str, zone: str
) -> None:
    now = stamp()
    db.execute(
        "insert into replicas (data_id, coll_id, name, repl_num, version, type, size, resc_id, path, owner_name, owner_zone,"
        " status, checksum, comments, expiry, mode, create_ts, modify_ts, access_ts)"
        " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            data_id, coll_id, name, new.number, new.version, new.type, new.size, new.resc_id, new.physical, owner, zone,
            new.status, new.checksum, new.comments, new.expiry, new.mode, new.created or now, new.modified or now, now,
        ),
    )  # fmt: skip


def touch_collection(agent: Agent, path: str) -> None:
    """The collection above `path` was modified now."""
    with agent.catalogue.change() as db:
        db.execute("update collections set modify_ts = ? where name = ?", (stamp(), split(path)[0]))


def refuse_locked(rows: list[sqlite3.Row]) -> None:
    """LOCKED_DATA_OBJECT_ACCESS when any replica is being written or locked (iRODS logical_locking.cpp)."""
    if any(row["status"] not in AT_REST for row in rows):
        raise IrodsError(Code.LOCKED_DATA_OBJECT_ACCESS)


def lock(db: sqlite3.Connection, data_id: int, number: int) -> None:
    """Mark one replica as intermediate and its siblings as write-locked, keeping what they were. Within a change."""
    db.execute(
        "update replicas set original = coalesce(original, status), status = case when repl_num = ? then ? else ? end"
        " where data_id = ?",
        (number, INTERMEDIATE, WRITE_LOCKED, data_id),
    )


def unlock(db: sqlite3.Connection, data_id: int, number: int, status: int, siblings: int | None) -> None:
    """Put an object to rest: one replica gets `status`, its siblings get theirs, None being what they were before."""
    db.execute(
        "update replicas set status = case when repl_num = ? then ? when status = ? then coalesce(?, original, ?)"
        " else status end, original = null where data_id = ?",
        (number, status, WRITE_LOCKED, siblings, STALE, data_id),
    )


def delete_row(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Unregister one replica; with the last one go access and metadata of the object. Within a change; somebody else may have
    been faster."""
    gone = db.execute("delete from replicas where data_id = ? and repl_num = ?", (row["data_id"], row["repl_num"]))
    if gone.rowcount == 0:
        raise IrodsError(Code.CAT_NO_ROWS_FOUND)
    if db.execute("select 1 from replicas where data_id = ?", (row["data_id"],)).fetchone() is None:
        db.execute("delete from access where object_id = ?", (row["data_id"],))
        db.execute("delete from metamap where object_id = ?", (row["data_id"],))
