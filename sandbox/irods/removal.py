"""Removing data objects: 615 unlinks or unregisters, 632 trims replicas (iRODS rsDataObjUnlink, rsDataObjTrim)."""

from __future__ import annotations

import os
import sqlite3

from sandbox.irods.agent import Agent, Reply
from sandbox.irods.errors import Code, IrodsError, unix_error
from sandbox.irods.permissions import DELETE, need
from sandbox.irods.renaming import rename_object
from sandbox.irods.replicas import (
    AT_REST,
    GOOD,
    STALE,
    delete_row,
    refuse_locked,
    rows_of,
    split,
    touch_collection,
)
from sandbox.irods.voting import hierarchy_for_open
from sandbox.irods.xml_packing import Struct, keywords

UNREGISTER = 26
COPIES_KEPT = 2
# a file that cannot be removed for these reasons is left where it is, the replica gone all the same
TOLERATED = (2, 13)


def unlink(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 615. To the trash, or with `forceFlag` away, or with oprType 26 out of the catalogue alone."""
    path, wanted = struct["objPath"], keywords(struct["KeyValPair_PI"])
    rows = rows_of(agent.catalogue, path)
    force = "forceFlag" in wanted or "irodsRmTrash" in wanted or "irodsAdminRmTrash" in wanted
    if not rows:
        raise IrodsError(Code.CAT_NO_ROWS_FOUND)
    if not wanted.get("resc_hier") and not force:
        hierarchy_for_open(agent, rows, wanted, "UNLINK")
    if ("irodsRmTrash" in wanted or "irodsAdminRmTrash" in wanted) and not path.startswith(f"/{agent.zone}/trash/"):
        raise IrodsError(Code.SYS_INVALID_FILE_PATH)
    if force or struct["oprType"] == UNREGISTER:
        unlink_rows(agent, rows, unregister=struct["oprType"] == UNREGISTER, admin="irodsAdmin" in wanted)
    else:
        to_trash(agent, path, rows, admin="irodsAdmin" in wanted)
    touch_collection(agent, path)
    return Reply()


def unlink_rows(agent: Agent, rows: list[sqlite3.Row], *, unregister: bool, admin: bool = False) -> None:
    """Take replicas of one object out of the catalogue, then their files out of the vaults; files elsewhere stay."""
    if not rows:
        raise IrodsError(Code.CAT_NO_ROWS_FOUND)
    if not (admin and agent.user.admin):
        need(agent.catalogue, agent.user, rows[0]["data_id"], DELETE)
    refuse_locked(rows)
    resources = agent.server.resources
    for row in rows:
        leaf = resources.of_id(row["resc_id"])
        pure = unregister or not resources.in_vault(leaf, row["path"])
        if pure and not agent.user.admin and resources.in_any_vault(row["path"]):
            raise IrodsError(Code.CANT_UNREG_IN_VAULT_FILE)
        with agent.catalogue.change() as db:
            delete_row(db, row)
        if not pure:
            _remove_file(row["path"])


def _remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except OSError as problem:
        if problem.errno not in TOLERATED:
            raise unix_error(Code.UNIX_FILE_UNLINK_ERR, problem) from None


def trash_path(agent: Agent, path: str) -> str:
    """Where a path goes in the trash of the client user: below its trash, without its own home's path."""
    rest = path[len(agent.zone) + 2 :]
    if not rest:
        raise IrodsError(Code.USER_INPUT_PATH_ERR)
    own = f"home/{agent.user.name}/"
    return f"/{agent.zone}/trash/home/{agent.user.name}/{rest.removeprefix(own) if rest.startswith(own) else rest}"


def to_trash(agent: Agent, path: str, rows: list[sqlite3.Row], *, admin: bool) -> None:
    """Rename an object into the trash, with a random ending where its name is taken there."""
    from sandbox.irods.collections import make_all

    if "bundle" in rows[0]["type"]:
        raise IrodsError(Code.SYS_CANT_MV_BUNDLE_DATA_TO_TRASH)
    if not (admin and agent.user.admin):
        need(agent.catalogue, agent.user, rows[0]["data_id"], DELETE)
    refuse_locked(rows)
    target = trash_path(agent, path)
    make_all(agent, split(target)[0])
    rename_object(agent, path, target, again=True)


def trim(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 632. Removes one replica by `replNum`, or stale and then good ones until `copies` (2) are left.

    intInfo is 1 when something was removed. The last good replica stays: USER_INCOMPATIBLE_PARAMS.
    """
    wanted = keywords(struct["KeyValPair_PI"])
    if "rescName" in wanted and "replNum" in wanted:
        raise IrodsError(Code.USER_INCOMPATIBLE_PARAMS)
    rows = rows_of(agent.catalogue, struct["objPath"])
    if not rows:
        raise IrodsError(Code.CAT_NO_ROWS_FOUND)
    if "irodsAdmin" in wanted and not agent.user.admin:
        raise IrodsError(Code.CAT_INSUFFICIENT_PRIVILEGE_LEVEL)
    doomed = _to_trim(agent, rows, wanted)
    if not doomed:
        return Reply(0)
    if "irodsDryrun" not in wanted and "dryrun" not in wanted:
        for row in doomed:
            unlink_rows(agent, [row], unregister=False, admin="irodsAdmin" in wanted)
    return Reply(1)


def _to_trim(agent: Agent, rows: list[sqlite3.Row], wanted: dict[str, str]) -> list[sqlite3.Row]:
    try:
        keep = int(wanted.get("copies") or COPIES_KEPT)
    except ValueError:
        raise IrodsError(Code.SYS_INVALID_INPUT_PARAM) from None
    if keep <= 0:
        raise IrodsError(Code.SYS_INVALID_INPUT_PARAM)
    if len(rows) <= keep:
        return []
    good = [row for row in rows if row["status"] == GOOD]
    if "replNum" in wanted:
        asked = [row for row in rows if str(row["repl_num"]) == wanted["replNum"]]
        if not asked:
            raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST)
        if asked[0]["status"] not in AT_REST:
            raise IrodsError(Code.LOCKED_DATA_OBJECT_ACCESS)
        if asked[0]["status"] == GOOD and len(good) <= 1:
            raise IrodsError(Code.USER_INCOMPATIBLE_PARAMS)
        return asked
    refuse_locked(rows)
    resources, name = agent.server.resources, wanted.get("rescName")
    fitting = [row for row in rows if not name or resources.hierarchy(row["resc_id"]).split(";")[0] == name]
    stale = [row for row in fitting if row["status"] == STALE]
    spare = [row for row in fitting if row["status"] == GOOD]
    doomed = stale[: len(rows) - keep]
    for row in spare:
        if len(rows) - len(doomed) <= keep or len(good) - sum(each["status"] == GOOD for each in doomed) <= 1:
            break
        doomed.append(row)
    return doomed
