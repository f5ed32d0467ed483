"""Collections: made (681), removed (679), their times (680 is not asked for by the client)."""

from __future__ import annotations

import sqlite3

from sandbox.irods.agent import Agent, Reply
from sandbox.irods.catalogue import stamp
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.permissions import DELETE, first_access, level, parent_for_writing
from sandbox.irods.removal import trash_path, unlink_rows
from sandbox.irods.renaming import rename_collection
from sandbox.irods.replicas import rows_of, split, touch_collection
from sandbox.irods.xml_packing import Struct, keywords, pack

UNREGISTER = 26
# what the server sends after every so many removed objects, and what the client says to go on (iRODS rsRmColl)
PROGRESS, PROGRESS_SEEN, FILES_A_PROGRESS = 99999996, 99999997, 10


def in_zone(agent: Agent, path: str) -> None:
    """SYS_INVALID_INPUT_PARAM for a path outside the zone, with the server's text (recording collections)."""
    if path != f"/{agent.zone}" and not path.startswith(f"/{agent.zone}/"):
        text = (
            "SYS_INVALID_INPUT_PARAM]  errno [] -- message "
            f"[a valid zone name does not appear at the root of the object path [{path}]]\n"
        )
        raise IrodsError(Code.SYS_INVALID_INPUT_PARAM, text, status=Code.SYS_INVALID_INPUT_PARAM)


def create(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 681. With `recursiveOpr` all missing levels are made and one that exists is no error."""
    path = struct["collName"]
    in_zone(agent, path)
    if path.endswith("/") and len(path) > 1:
        raise IrodsError(Code.USER_INPUT_PATH_ERR)
    if "recursiveOpr" in keywords(struct["KeyValPair_PI"]):
        make_all(agent, path)
    else:
        make_one(agent, path)
    return Reply()


def make_all(agent: Agent, path: str) -> None:
    """A collection and those above it.

    The real server looks for the missing levels first and then makes them; one that another client makes in between
    ends its work with success (iRODS collection.cpp). That race is played by the fault `mkdir_race`.
    """
    missing = []
    while agent.catalogue.one("select 1 from collections where name = ?", path) is None:
        missing.append(path)
        path = split(path)[0]
    faults = agent.server.faults
    if len(missing) > 1 and faults.any() and faults.take("mkdir_race", 681, missing[0]):
        del missing[0]
    for each in reversed(missing):
        try:
            make_one(agent, each)
        except IrodsError as refusal:
            if refusal.code != Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME:
                raise


def make_one(agent: Agent, path: str) -> int:
    """One collection, in one that exists; gives its id."""
    catalogue = agent.catalogue
    parent_name, name = split(path)
    with catalogue.change() as db:
        parent = parent_for_writing(catalogue, agent.user, parent_name, quiet=True)
        if db.execute("select 1 from replicas where coll_id = ? and name = ?", (parent["coll_id"], name)).fetchone():
            raise IrodsError(Code.CAT_NAME_EXISTS_AS_DATAOBJ)
        if db.execute("select 1 from collections where name = ?", (path,)).fetchone():
            raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME)
        coll_id, now = catalogue.new_id(), stamp()
        db.execute(
            "insert into collections (coll_id, name, parent_name, owner_name, owner_zone, inheritance, create_ts, modify_ts)"
            " values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                coll_id, path, parent_name, agent.user.name, agent.user.zone,
                "1" if parent["inheritance"] == "1" else "", now, now,
            ),
        )  # fmt: skip
        first_access(db, coll_id, agent.user, parent)
        touch_collection(agent, path)
    return coll_id


def remove(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 679. With `recursiveOpr` it goes to the trash, or with `forceFlag` or oprType 26 away; without, it must be empty.

    While it removes, the server reports every ten objects and waits for the client's word.
    """
    path, wanted = struct["collName"], keywords(struct["KeyValPair_PI"])
    counts: dict[str, int | str] = {"filesCnt": 0, "totalFileCnt": 0, "bytesWritten": 0, "lastObjPath": ""}
    unregister = struct["oprType"] == UNREGISTER
    row = agent.catalogue.one("select * from collections where name = ?", path)
    if row is None:
        raise IrodsError(Code.CAT_UNKNOWN_COLLECTION)
    if "irodsAdmin" in wanted and not agent.user.admin:
        raise IrodsError(Code.CAT_INSUFFICIENT_PRIVILEGE_LEVEL)
    if "recursiveOpr" not in wanted:
        remove_row(agent, row)
        counts |= {"filesCnt": 1, "totalFileCnt": 1, "lastObjPath": path}
    elif unregister or "forceFlag" in wanted or "irodsRmTrash" in wanted or "irodsAdminRmTrash" in wanted:
        _Removal(agent, unregister=unregister).below(row, counts)
    else:
        _to_trash(agent, path)
        counts |= {"filesCnt": 1, "totalFileCnt": 1, "lastObjPath": path}
    touch_collection(agent, path)
    return Reply(0, pack("CollOprStat_PI", counts))


def _to_trash(agent: Agent, path: str) -> None:
    target = trash_path(agent, path)
    make_all(agent, split(target)[0])
    rename_collection(agent, path, target, again=True)


def remove_row(agent: Agent, row: sqlite3.Row) -> None:
    """Remove one empty collection. CAT_COLLECTION_NOT_EMPTY, CAT_NO_ACCESS_PERMISSION."""
    catalogue, path = agent.catalogue, row["name"]
    with catalogue.change() as db:
        parent_for_writing(catalogue, agent.user, row["parent_name"], quiet=True)
        if level(catalogue, agent.user, row["coll_id"]) < DELETE:
            raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION)
        inside = db.execute("select 1 from collections where parent_name = ? and name <> '/'", (path,)).fetchone()
        if inside or db.execute("select 1 from replicas where coll_id = ?", (row["coll_id"],)).fetchone():
            raise IrodsError(Code.CAT_COLLECTION_NOT_EMPTY)
        db.execute("delete from collections where coll_id = ?", (row["coll_id"],))
        db.execute("delete from access where object_id = ?", (row["coll_id"],))
        db.execute("delete from metamap where object_id = ?", (row["coll_id"],))


class _Removal:
    """A recursive removal: what it does with each object, and its reports to the client."""

    def __init__(self, agent: Agent, *, unregister: bool) -> None:
        self.agent = agent
        self.unregister = unregister

    def below(self, row: sqlite3.Row, counts: dict[str, int | str]) -> None:
        """Remove a collection with all in it; goes on after a failure and then raises the last one."""
        agent, path = self.agent, str(row["name"])
        failed: IrodsError | None = None
        names = agent.catalogue.all("select distinct name from replicas where coll_id = ?", row["coll_id"])
        inner = agent.catalogue.all("select * from collections where parent_name = ? and name <> '/'", path)
        if (names or inner) and path in (f"/{agent.zone}/home/{agent.user.name}", f"/{agent.zone}/home"):
            raise IrodsError(Code.CANT_RM_NON_EMPTY_HOME_COLL)
        for each in names:
            try:
                unlink_rows(agent, rows_of(agent.catalogue, f"{path}/{each['name']}"), unregister=self.unregister)
                self._count(counts, f"{path}/{each['name']}")
            except IrodsError as problem:
                failed = problem
        for sub in inner:
            try:
                self.below(sub, counts)
            except IrodsError as problem:
                failed = problem
        if failed is not None:
            raise failed
        remove_row(agent, row)

    def _count(self, counts: dict[str, int | str], path: str) -> None:
        counts["filesCnt"] = int(counts["filesCnt"]) + 1
        if int(counts["filesCnt"]) >= FILES_A_PROGRESS:
            counts["lastObjPath"] = path
            self.agent.channel.write("RODS_API_REPLY", PROGRESS, pack("CollOprStat_PI", counts))
            self.agent.channel.exactly(4)
            counts |= {"filesCnt": 0, "lastObjPath": ""}
