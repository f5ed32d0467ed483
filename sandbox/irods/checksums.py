"""Checksums in iRODS' forms, and API 629 (recording checksum)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sqlite3
import zlib
from typing import Any

from sandbox.irods.agent import Agent, Reply
from sandbox.irods.catalogue import ACCESS_TYPES, stamp
from sandbox.irods.errors import Code, IrodsError, unix_error
from sandbox.irods.permissions import READ, need
from sandbox.irods.replicas import AT_REST, GOOD, path_of, rows_of
from sandbox.irods.voting import hierarchy_for_open
from sandbox.irods.xml_packing import Struct, keywords, pack

CHUNK = 1 << 20
PREFIXES = {"SHA256": "sha2:", "SHA1": "sha1:", "SHA512": "sha512:", "ADLER32": "adler32:", "MD5": ""}


def scheme_of(checksum: str) -> str:
    """The scheme of a stored checksum; MD5 is the one without a prefix."""
    for scheme, prefix in PREFIXES.items():
        if prefix and checksum.startswith(prefix):
            return scheme
    return "MD5"


def of_file(path: str, size: int, scheme: str) -> str:
    """The checksum over the first `size` bytes of a file, read in chunks.

    A file that is absent gives UNIX_FILE_OPEN_ERR - errno, one that is shorter UNIX_FILE_READ_ERR; what a longer one
    has beyond `size` is not looked at (iRODS rsFileChksum.cpp).
    """
    digest = hashlib.new({"SHA256": "sha256", "SHA1": "sha1", "SHA512": "sha512", "MD5": "md5"}.get(scheme, "md5"))
    adler, left = 1, size
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_OPEN_ERR, problem) from None
    try:
        while left > 0:
            chunk = os.read(file, min(CHUNK, left))
            if not chunk:
                raise IrodsError(Code.UNIX_FILE_READ_ERR)
            left -= len(chunk)
            if scheme == "ADLER32":
                adler = zlib.adler32(chunk, adler)
            else:
                digest.update(chunk)
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_READ_ERR, problem) from None
    finally:
        os.close(file)
    if scheme == "ADLER32":
        return f"adler32:{adler:08x}"
    if scheme == "MD5":
        return digest.hexdigest()
    return PREFIXES[scheme] + base64.b64encode(digest.digest()).decode()


def checksum(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 629. Without keywords it repeats a stored value or computes and stores one; `forceChksum` computes anew;
    `verifyChksum` compares the bytes, or with `no_compute` the sizes alone, and stores nothing."""
    wanted = keywords(struct["KeyValPair_PI"])
    if "replNum" in wanted and "rescName" in wanted:
        raise IrodsError(Code.USER_INCOMPATIBLE_PARAMS)
    if "ChksumAll" in wanted and ("replNum" in wanted or "rescName" in wanted):
        raise IrodsError(Code.USER_INCOMPATIBLE_PARAMS)
    if "verifyChksum" in wanted and "forceChksum" in wanted:
        raise IrodsError(Code.USER_INCOMPATIBLE_PARAMS)
    if "irodsAdmin" in wanted and not agent.user.admin:
        raise IrodsError(Code.CAT_INSUFFICIENT_PRIVILEGE_LEVEL)
    rows = rows_of(agent.catalogue, struct["objPath"])
    if not rows:
        raise IrodsError(Code.CAT_NO_ROWS_FOUND)
    if "irodsAdmin" not in wanted:
        need(agent.catalogue, agent.user, rows[0]["data_id"], READ)
    resources = agent.server.resources
    leaf = (
        resources.leaf_of(wanted["resc_hier"])
        if wanted.get("resc_hier")
        else hierarchy_for_open(agent, rows, wanted, "OPEN")
    )
    row = next((each for each in rows if each["resc_id"] == leaf.id), None)
    if row is None:
        raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST)
    targeted = "replNum" in wanted or "rescName" in wanted
    if "verifyChksum" in wanted:
        return _verified(agent, rows, row if targeted else None, compute="no_compute" not in wanted)
    if "ChksumAll" in wanted:
        return _all(agent, rows, wanted)
    if row["status"] not in AT_REST:
        raise IrodsError(Code.SYS_REPLICA_INACCESSIBLE)
    return Reply(0, pack("STR_PI", {"myStr": _looked_up(agent, row, wanted)}))


def _looked_up(agent: Agent, row: sqlite3.Row, wanted: dict[str, str]) -> str:
    if row["checksum"] and "forceChksum" not in wanted:
        return str(row["checksum"])
    value = of_file(row["path"], row["size"], agent.server.hash_scheme)
    # a reader has it computed and is refused only when it is to be stored (measured on 5.0.2)
    if "irodsAdmin" not in wanted:
        need(agent.catalogue, agent.user, row["data_id"], ACCESS_TYPES["modify_metadata"])
    with agent.catalogue.change() as db:
        db.execute(
            "update replicas set checksum = ?, modify_ts = modify_ts where data_id = ? and repl_num = ?",
            (value, row["data_id"], row["repl_num"]),
        )
    return value


def _all(agent: Agent, rows: list[sqlite3.Row], wanted: dict[str, str]) -> Reply:
    good = [row for row in rows if row["status"] == GOOD]
    if not good:
        raise IrodsError(Code.SYS_NO_GOOD_REPLICA)
    found = [_looked_up(agent, row, wanted) for row in good]
    if len(set(found)) > 1:
        agent.note(Code.USER_CHKSUM_MISMATCH, "WARNING: Data object has replicas with different checksums.")
        return Reply()
    return Reply(0, pack("STR_PI", {"myStr": found[-1]}))


def _result(severity: str, code: int, message: str) -> dict[str, Any]:
    return {"error_code": int(code), "message": message, "severity": severity}


def _verified(agent: Agent, rows: list[sqlite3.Row], targeted: sqlite3.Row | None, *, compute: bool) -> Reply:
    good = [targeted] if targeted is not None else [row for row in rows if row["status"] == GOOD]
    if not good:
        raise IrodsError(Code.SYS_NO_GOOD_REPLICA)
    if targeted is not None and targeted["status"] not in AT_REST:
        raise IrodsError(Code.SYS_REPLICA_INACCESSIBLE)
    results = []
    if targeted is None and len(good) < len(rows):
        results.append(_result("info", 0, f"INFO: Number of replicas skipped: {len(rows) - len(good)}"))
    for row in good:
        results += _size_results(row)
    missing = [row for row in good if not row["checksum"]]
    for row in missing:
        text = f"WARNING: No checksum available for replica [{row['repl_num']}]."
        results.append(_result("warning", Code.CAT_NO_CHECKSUM_FOR_REPLICA, text))
    if not missing:
        for row in good if compute else []:
            results += _byte_results(agent, row)
        if len({row["checksum"] for row in good}) > 1:
            text = "WARNING: Data object has replicas with different checksums."
            results.append(_result("warning", Code.USER_CHKSUM_MISMATCH, text))
    if not results:
        return Reply()
    return Reply(Code.CHECK_VERIFICATION_RESULTS, pack("STR_PI", {"myStr": json.dumps(results, separators=(",", ":"))}))


def _size_results(row: sqlite3.Row) -> list[dict[str, Any]]:
    try:
        size = os.stat(row["path"]).st_size
    except OSError as problem:
        code = unix_error(Code.UNIX_FILE_STAT_ERR, problem).code
        return [_result("error", code, f"ERROR: Could not verify size for replica [{row['repl_num']}].")]
    if size != row["size"]:
        text = f"ERROR: Physical size does not match size in catalog for replica [{row['repl_num']}]."
        return [_result("error", Code.USER_FILE_SIZE_MISMATCH, text)]
    return []


def _byte_results(agent: Agent, row: sqlite3.Row) -> list[dict[str, Any]]:
    try:
        value = of_file(row["path"], row["size"], scheme_of(row["checksum"]))
    except IrodsError as problem:
        return [_result("error", problem.code, f"ERROR: Could not verify checksum for replica [{row['repl_num']}].")]
    if value == row["checksum"]:
        return []
    agent.note(
        Code.USER_CHKSUM_MISMATCH,
        f"verifyDataObjChksum: computed checksum [{value}] != catalog value [{row['checksum']}] for [{path_of(row)}]"
        f" hierarchy [{agent.server.resources.hierarchy(row['resc_id'])}] replica number [{row['repl_num']}]",
    )
    text = f"ERROR: Computed checksum does not match what is in the catalog for replica [{row['repl_num']}]."
    return [_result("error", Code.USER_CHKSUM_MISMATCH, text)]


def store(db: sqlite3.Connection, data_id: int, number: int, value: str) -> None:
    """Keep a checksum and note the time. Within a change."""
    db.execute(
        "update replicas set checksum = ?, modify_ts = ? where data_id = ? and repl_num = ?",
        (value, stamp(), data_id, number),
    )
