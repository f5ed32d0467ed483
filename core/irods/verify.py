"""Verifying one data object against what its source had: catalogue first, then the bytes (629)."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from xml.etree import ElementTree

from core import checksums
from core.errors import FileError, Mismatch
from core.irods import errors, messages, objects, replicas
from core.irods.messages import Api
from core.irods.replicas import Replica
from core.irods.session import Session
from core.irods.wire import Reply

_REPORT = frozenset({errors.CHECK_VERIFICATION_RESULTS})


@dataclass(frozen=True, slots=True)
class Verified:
    """What was proven: that `replicas` good replicas hold bytes with this checksum, re-read by the server or by us."""

    checksum: str
    size: int
    replicas: int


def verify(session: Session, path: str, *, size: int, checksum: str) -> Verified:
    """Prove that every good replica of `path` holds `size` bytes with `checksum`, at level rehash.

    Two round trips, and the server reads each byte once. A replica with a stored checksum is compared with it by
    verifyChksum; without one the server computes and stores it; one of another scheme than `checksum` is read by this
    client. Raises `Mismatch` of class missing_object, replica_not_good, size_mismatch, checksum_mismatch or
    missing_file (in the vault), and what `errors.error_for` says when the object cannot be read at all.
    """
    rows = replicas.replicas(session, path)
    good = check_catalogue(path, rows, size=size, checksum=checksum)
    for row in good:
        with session.patient(size):
            _rehash(session, path, row, size, checksum)
    return Verified(checksum, size, len(good))


def holds(session: Session, path: str, rows: list[Replica], *, size: int, checksum: str) -> bool:
    """Whether an object has these bytes already: by the checksum it carries, else by reading it (and then it carries
    one)."""
    good = [row for row in rows if row.good]
    if not good or any(row.size != size for row in good):
        return False
    if all(row.checksum and _comparable(row.checksum, checksum) for row in good):
        return all(checksums.same(row.checksum or "", checksum) for row in good)
    try:
        verify(session, path, size=size, checksum=checksum)
    except Mismatch:
        return False
    return True


def check_catalogue(path: str, rows: list[Replica], *, size: int, checksum: str) -> list[Replica]:
    """The good replicas, after their size and stored checksum (where comparable) were found right; else `Mismatch`."""
    if not rows:
        raise Mismatch("missing_object", f"iRODS has no data object {path}", "it is loaded again")
    good = [row for row in rows if row.good]
    if not good:
        states = ", ".join(f"{row.hierarchy}: {_state(row.status)}" for row in rows)
        raise Mismatch("replica_not_good", f"no replica of {path} is good ({states})", "it is loaded again")
    for row in good:
        if row.size != size:
            raise Mismatch(
                "size_mismatch", f"{path} on {row.hierarchy} has {row.size} bytes in the catalogue, its source {size}"
            )
        if row.checksum and _comparable(row.checksum, checksum) and not checksums.same(row.checksum, checksum):
            raise Mismatch(
                "checksum_mismatch", f"{path} on {row.hierarchy} has {row.checksum} stored, its source {checksum}"
            )
    return good


def _rehash(session: Session, path: str, row: Replica, size: int, checksum: str) -> None:
    stored = row.checksum
    if stored is not None:
        message = messages.data_object(path, {"verifyChksum": "", "replNum": str(row.number)})
        reply = session.call(Api.DATA_OBJ_CHKSUM, message, path=path, accept=_REPORT)
        if reply.status < 0:
            raise _reported(path, row, reply)
    else:
        message = messages.data_object(path, {"replNum": str(row.number)})
        try:
            stored = _text(session.call(Api.DATA_OBJ_CHKSUM, message, path=path))
        except FileError as problem:
            raise _unreadable(path, row, problem) from problem
    if not _comparable(stored, checksum):
        # the stored value proves the bytes only by its own scheme; reading them proves ours
        found, count = objects.read_checksum(session, path, checksums.scheme_of(checksum))
        if count != size:
            raise Mismatch("size_mismatch", f"{path} delivers {count} bytes, its source has {size}")
        stored = found
    if not checksums.same(stored, checksum):
        raise Mismatch("checksum_mismatch", f"{path} on {row.hierarchy} has {stored}, its source {checksum}")


def _reported(path: str, row: Replica, reply: Reply) -> FileError:
    """The error for -407000, whose body is a JSON list of what is wrong with the replica."""
    findings = json.loads(_text(reply) or "[]")
    codes = [int(finding["error_code"]) for finding in findings]
    words = reply.text or " ".join(str(finding["message"]) for finding in findings)
    where = f"{path} on {row.hierarchy}, stored checksum {row.checksum}"
    if any(abs(code) % 1000 == errno.ENOENT and code < -500000 for code in codes):
        return Mismatch("missing_file", f"the file {row.physical_path} of {where} does not exist: {words}")
    if errors.FILE_SIZE_MISMATCH in codes:
        return Mismatch("size_mismatch", f"the file of {where} has not the {row.size} bytes of the catalogue: {words}")
    if errors.CHECKSUM_MISMATCH in codes:
        return Mismatch("checksum_mismatch", f"{where}: {words}")
    return errors.error_for(codes[0] if codes else reply.status, path, words)


def _unreadable(path: str, row: Replica, problem: FileError) -> FileError:
    if "[ENOENT]" in problem.message:
        return Mismatch("missing_file", f"the file {row.physical_path} of {path} does not exist: {problem.message}")
    return problem


def _text(reply: Reply) -> str:
    """The string of a STR_PI."""
    return (ElementTree.fromstring(reply.body).findtext("myStr") or "") if reply.body else ""


def _comparable(a: str, b: str) -> bool:
    try:
        return checksums.scheme_of(a) == checksums.scheme_of(b)
    except ValueError:
        return False


def _state(status: int) -> str:
    names = {state.value: state.name.lower().replace("_", "-") for state in replicas.Status}
    return names.get(status, f"status {status}")
