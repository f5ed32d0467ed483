"""Files of vaults, past the catalogue: 510 looks at one, 518 writes one, 520 hashes one (iRODS rsFileStat, rsFilePut,
rsFileChksum and its unixfilesystem plugin)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sandbox.irods import checksums
from sandbox.irods.agent import Agent, Reply
from sandbox.irods.errors import Code, IrodsError, unix_error
from sandbox.irods.resources import make_folder
from sandbox.irods.xml_packing import Struct, pack

FORCE, NO_CHECK = 0x4, 0x1


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


def put(agent: Agent, struct: Struct, stream: memoryview) -> Reply:
    """API 518: a new file with its folders, past the catalogue; with FORCE_FLAG one that is there is written over, not cut.

    A place in a vault is refused without NO_CHK_PERM_FLAG, an empty folder in the way is removed (rsFileCreate.cpp).
    """
    path, flags = Path(struct["fileName"]), struct["otherFlags"]
    leaf = agent.server.resources.leaf_of(struct["resc_hier_"])
    if flags & FORCE:
        return _written(path, struct["flags"] | os.O_CREAT, struct["mode"], stream, Code.UNIX_FILE_OPEN_ERR)
    if not flags & NO_CHECK and path.is_relative_to(leaf.vault):
        raise IrodsError(Code.CANT_REG_IN_VAULT_FILE)
    try:
        make_folder(path.parent)
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_MKDIR_ERR, problem) from None
    with suppress(OSError):
        path.rmdir()
    return _written(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, struct["mode"], stream, Code.UNIX_FILE_CREATE_ERR)


def _written(path: Path, flags: int, mode: int, stream: memoryview, refused: Code) -> Reply:
    try:
        file = os.open(path, flags, mode)
    except OSError as problem:
        raise unix_error(refused, problem) from None
    try:
        done = os.write(file, stream)
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_WRITE_ERR, problem) from None
    finally:
        os.close(file)
    return Reply(done, pack("filePutOut_PI", {"file_name": str(path)}))


def checksum(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 520: over the first `dataSize` bytes, in the scheme of the checksum that comes along, else in the server's."""
    agent.server.resources.leaf_of(struct["rescHier"])
    scheme = checksums.scheme_of(struct["orig_chksum"]) if struct["orig_chksum"] else agent.server.hash_scheme
    found = checksums.of_file(struct["fileName"], struct["dataSize"], scheme)
    return Reply(0, pack("fileChksumOut_PI", {"chksumStr": found}))
