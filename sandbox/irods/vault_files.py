"""Files of vaults, past the catalogue: 506 removes one, 509 a folder, 510 looks at one (iRODS rsFileUnlink, rsFileRmdir,
rsFileStat and its unixfilesystem plugin). For rodsadmins."""

from __future__ import annotations

import os
import shutil

from sandbox.irods.agent import Agent, Reply
from sandbox.irods.errors import Code, IrodsError, unix_error
from sandbox.irods.xml_packing import Struct, pack

RECURSIVE = 1


def status(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 510. The resource is named by its id, or by its hierarchy."""
    resources = agent.server.resources
    if struct["rescId"]:
        resources.of_id(struct["rescId"])
    elif struct["rescHier"]:
        resources.leaf_of(struct["rescHier"])
    else:
        raise IrodsError(Code.SYS_INVALID_INPUT_PARAM)
    try:
        found = os.stat(struct["fileName"])
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_STAT_ERR, problem) from None
    values = {
        "st_size": found.st_size, "st_dev": found.st_dev, "st_ino": found.st_ino, "st_mode": found.st_mode,
        "st_nlink": found.st_nlink, "st_uid": found.st_uid, "st_gid": found.st_gid, "st_rdev": found.st_rdev,
        "st_atim": int(found.st_atime), "st_mtim": int(found.st_mtime), "st_ctim": int(found.st_ctime),
        "st_blksize": found.st_blksize, "st_blocks": found.st_blocks,
    }  # fmt: skip
    return Reply(0, pack("RODS_STAT_T_PI", values))


def unlink(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 506. A logical path must come along; it is not looked up."""
    agent.server.resources.leaf_of(struct["rescHier"])
    if not struct["objPath"]:
        raise IrodsError(Code.SYS_INVALID_INPUT_PARAM)
    try:
        os.unlink(struct["fileName"])
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_UNLINK_ERR, problem) from None
    return Reply()


def remove_folder(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 509: an empty folder, or with its flag all that is in it."""
    agent.server.resources.leaf_of(struct["rescHier"])
    try:
        if struct["flag"] & RECURSIVE:
            shutil.rmtree(struct["dirName"])
        else:
            os.rmdir(struct["dirName"])
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_RMDIR_ERR, problem) from None
    return Reply()
