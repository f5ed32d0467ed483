"""API 627: moving data objects and collections, with their files in the vaults (iRODS rsDataObjRename)."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

from sandbox.irods.access_control import below_pattern
from sandbox.irods.agent import Agent, Reply
from sandbox.irods.catalogue import stamp
from sandbox.irods.errors import Code, IrodsError, unix_error
from sandbox.irods.permissions import OWN, level, need, parent_for_writing
from sandbox.irods.replicas import check_path, refuse_locked, rows_of, split, touch_collection
from sandbox.irods.resources import make_folder
from sandbox.irods.xml_packing import Struct

OBJECT, COLLECTION = 11, 12


def rename(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 627, DataObjCopyInp_PI: source, then target; oprType 11 an object, 12 a collection, else what is there."""
    source, target = struct["DataObjInp_PI"]["objPath"], struct["DataObjInp_PI2"]["objPath"]
    kind = struct["DataObjInp_PI"]["oprType"]
    check_path(target)
    if source == target:
        raise IrodsError(Code.SAME_SRC_DEST_PATHS_ERR)
    if kind == OBJECT or (kind != COLLECTION and rows_of(agent.catalogue, source)):
        rename_object(agent, source, target)
    else:
        rename_collection(agent, source, target)
    touch_collection(agent, source)
    touch_collection(agent, target)
    return Reply()


def _taken(agent: Agent, path: str) -> Code | None:
    if agent.catalogue.one("select 1 from collections where name = ?", path):
        return Code.CAT_NAME_EXISTS_AS_COLLECTION
    return Code.CAT_NAME_EXISTS_AS_DATAOBJ if rows_of(agent.catalogue, path) else None


def _free_name(agent: Agent, path: str, *, again: bool) -> str:
    taken = _taken(agent, path)
    if taken is None:
        return path
    if not again:
        raise IrodsError(taken)
    return f"{path}.{random.randrange(1 << 31)}"


def rename_object(agent: Agent, source: str, target: str, *, again: bool = False) -> None:
    """Give an object another path; `again` takes a random ending where that is taken, as the trash does."""
    catalogue = agent.catalogue
    with catalogue.change() as db:
        rows = rows_of(catalogue, source)
        if not rows:
            raise IrodsError(Code.CAT_NO_ROWS_FOUND)
        need(catalogue, agent.user, rows[0]["data_id"], OWN)
        refuse_locked(rows)
        target = _free_name(agent, target, again=again)
        collection, name = split(target)
        if split(source)[0] == collection:
            parent = catalogue.one("select * from collections where name = ?", collection)
        else:
            parent = parent_for_writing(catalogue, agent.user, collection)
        assert parent is not None
        db.execute(
            "update replicas set coll_id = ?, name = ? where data_id = ?", (parent["coll_id"], name, rows[0]["data_id"])
        )
        for row in rows:
            _move_file(agent, db, row, target)


def rename_collection(agent: Agent, source: str, target: str, *, again: bool = False) -> None:
    """Give a collection and all below it another path."""
    catalogue = agent.catalogue
    if target.startswith(source + "/"):
        raise IrodsError(Code.CAT_RECURSIVE_MOVE)
    with catalogue.change() as db:
        row = catalogue.one("select * from collections where name = ?", source)
        if row is None:
            raise IrodsError(Code.CAT_UNKNOWN_COLLECTION)
        if level(catalogue, agent.user, row["coll_id"]) < OWN:
            raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION)
        target = _free_name(agent, target, again=again)
        parent_for_writing(catalogue, agent.user, split(target)[0], quiet=True)
        pattern = below_pattern(source)
        inside = catalogue.all(
            "select r.*, c.name as coll_name from replicas r join collections c on c.coll_id = r.coll_id"
            " where c.name = ? or c.name like ? escape '!'",
            source,
            pattern,
        )
        refuse_locked(inside)
        cut = len(source)
        db.execute(
            "update collections set name = ? || substr(name, ?), parent_name = ? || substr(parent_name, ?)"
            " where name like ? escape '!'",
            (target, cut + 1, target, cut + 1, pattern),
        )
        db.execute(
            "update collections set name = ?, parent_name = ?, modify_ts = ? where coll_id = ?",
            (target, split(target)[0], stamp(), row["coll_id"]),
        )
        for each in inside:
            _move_file(agent, db, each, target + each["coll_name"][cut:] + "/" + each["name"])


def _move_file(agent: Agent, db: sqlite3.Connection, row: sqlite3.Row, logical: str) -> None:
    """Move a replica's file to the place of its new path, if it lies in its vault at all."""
    resources = agent.server.resources
    leaf = resources.of_id(row["resc_id"])
    if not resources.in_vault(leaf, row["path"]):
        return
    physical = resources.vault_path(leaf, logical)
    if physical == row["path"]:
        return
    if os.path.lexists(physical) or db.execute("select 1 from replicas where path = ?", (physical,)).fetchone():
        physical = f"{physical}.{random.randrange(1 << 31)}"
    try:
        make_folder(Path(physical).parent)
        os.rename(row["path"], physical)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_RENAME_ERR, problem) from None
    db.execute(
        "update replicas set path = ? where data_id = ? and repl_num = ?", (physical, row["data_id"], row["repl_num"])
    )
