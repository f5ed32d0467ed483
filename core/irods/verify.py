"""Verifying one data object against what its source had: catalogue first, then as far as the level says (629).

Levels: `catalog` believes the catalogue, `stat` has the server look at the size of each vault file, `rehash` has each
byte read again.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree import ElementTree

from core import checksums
from core.errors import FileError, Mismatch, Outage, Permanent
from core.irods import errors, messages, objects, replicas
from core.irods.messages import Api, Packable
from core.irods.replicas import Replica
from core.irods.session import Session
from core.irods.wire import Reply
from core.settings import VerifyLevel

REPORT = frozenset({errors.CHECK_VERIFICATION_RESULTS})
_NO_RIGHT = frozenset({"CAT_NO_ACCESS_PERMISSION", "SYS_NO_API_PRIV", "CAT_INSUFFICIENT_PRIVILEGE_LEVEL"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an object is to be: its size in bytes, its checksum in iRODS notation, and where it lies."""

    size: int
    checksum: str | None
    """None where the source's is unknown: then only levels below rehash."""
    leaves: AbstractSet[int] | None = None
    """Ids of the resources of which one must hold a good replica; None for any."""
    as_admin: bool = False
    """Ask as a rodsadmin, who need not be given access."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was proven of `replicas` good replicas, at `level`: at rehash, that they hold bytes with this checksum,
    re-read by the server or by us."""

    checksum: str | None
    size: int
    replicas: int
    level: VerifyLevel = "rehash"


def verify(session: Session, path: str, wanted: Wanted, level: VerifyLevel = "rehash") -> Verified:
    """Prove at this level that every good replica of `path` is as wanted.

    One round trip at catalog, two for a replica at stat and rehash, and at rehash the server reads each byte once. A
    replica with a stored checksum is compared with it by verifyChksum; without one the server computes and stores it;
    one of another scheme than the wanted one, or that this user may not store, is read by this client. Raises
    `Mismatch` of class missing_object, replica_not_good, wrong_resource, size_mismatch, checksum_mismatch or
    missing_file (in the vault), and what `errors.error_for` says when the object cannot be read at all.
    """
    require_checksum(path, wanted, level)
    good = check_catalogue(path, replicas.replicas(session, path), wanted)
    if level == "stat":
        check_files(session, path, good, as_admin=wanted.as_admin)
    elif level == "rehash":
        for row in good:
            with session.patient(wanted.size):
                _rehash(session, path, row, wanted)
    return Verified(wanted.checksum, wanted.size, len(good), level)


def require_checksum(path: str, wanted: Wanted, level: VerifyLevel) -> None:
    """`Permanent` when the bytes are to be compared with nothing, or with what we cannot compute."""
    if level != "rehash":
        return
    if wanted.checksum is None:
        raise Permanent("no_checksum", f"the checksum of the source of {path} is unknown", "verify at stat or catalog")
    try:
        checksums.scheme_of(wanted.checksum)
    except ValueError as problem:
        raise Permanent("unknown_checksum", f"{path}: {problem}", "verify at stat or catalog") from None


def holds(session: Session, path: str, rows: list[Replica], *, size: int, checksum: str) -> bool:
    """Whether an object has these bytes already: by the checksum it carries, else by reading it (and then it carries
    one)."""
    good = [row for row in rows if row.good]
    if not good or any(row.size != size for row in good):
        return False
    if all(row.checksum and comparable(row.checksum, checksum) for row in good):
        return all(checksums.same(row.checksum or "", checksum) for row in good)
    try:
        verify(session, path, Wanted(size, checksum))
    except Mismatch:
        return False
    return True


def check_catalogue(path: str, rows: list[Replica], wanted: Wanted) -> list[Replica]:
    """The good replicas, after place, size and stored checksum (where comparable) were found right; else
    `Mismatch`."""
    if not rows:
        raise Mismatch("missing_object", f"iRODS has no data object {path}", "it is loaded again")
    good = [row for row in rows if row.good]
    if not good:
        states = ", ".join(f"{row.hierarchy}: {_state(row.status)}" for row in rows)
        raise Mismatch("replica_not_good", f"no replica of {path} is good ({states})", "it is loaded again")
    if wanted.leaves is not None and not any(row.resource_id in wanted.leaves for row in good):
        places = ", ".join(f"{row.hierarchy} (id {row.resource_id})" for row in good)
        raise Mismatch("wrong_resource", f"the good replicas of {path} are on {places}, not where the job loads to")
    for row in good:
        if row.size != wanted.size:
            words = f"{path} on {row.hierarchy} has {row.size} bytes in the catalogue, its source {wanted.size}"
            raise Mismatch("size_mismatch", words)
        if differ(row.checksum, wanted.checksum):
            words = f"{path} on {row.hierarchy} has {row.checksum} stored, its source {wanted.checksum}"
            raise Mismatch("checksum_mismatch", words)
    return good


def check_files(session: Session, path: str, good: list[Replica], *, as_admin: bool = False) -> None:
    """Have the server compare the size of each replica's vault file with the catalogue (629 with no_compute), reading
    none; `Mismatch` of class missing_file or size_mismatch."""
    for row in good:
        asked = request(path, row, "stat", as_admin=as_admin)
        judge(path, row, session.call(Api.DATA_OBJ_CHKSUM, asked, path=path, accept=REPORT))


def stored_checksum(session: Session, path: str, row: Replica, *, as_admin: bool = False) -> str:
    """The checksum in the catalogue; where there is none the server reads the replica and stores it (629)."""
    if row.checksum is not None:
        return row.checksum
    with session.patient(row.size), _explained(session, path, row, as_admin=as_admin):
        return _text(session.call(Api.DATA_OBJ_CHKSUM, _replica_of(path, row, {}, as_admin=as_admin), path=path))


def request(path: str, row: Replica, level: VerifyLevel, *, as_admin: bool = False) -> Packable:
    """The call (629) that has the server check one replica against the catalogue, and store nothing."""
    keywords = {"verifyChksum": ""} | ({"no_compute": ""} if level == "stat" else {})
    return _replica_of(path, row, keywords, as_admin=as_admin)


def judge(path: str, row: Replica, reply: Reply) -> None:
    """Raise what a reply to `request` reports, if anything."""
    if errors.nominal(reply.status) in REPORT:
        # a JSON list of what is wrong with the replica
        findings = json.loads(_text(reply) or "[]")
        codes = [code for finding in findings if (code := int(finding["error_code"])) != errors.NO_CHECKSUM]
        if codes:
            words = reply.text or " ".join(str(finding["message"]) for finding in findings)
            raise _reported(path, row, codes, words)
    elif reply.status < 0:
        raise errors.error_for(reply.status, path, reply.text)


def comparable(a: str, b: str) -> bool:
    """Whether two checksums are of one known scheme."""
    try:
        return checksums.scheme_of(a) == checksums.scheme_of(b)
    except ValueError:
        return False


def differ(a: str | None, b: str | None) -> bool:
    """Whether two checksums of one scheme say that the bytes are not the same."""
    return a is not None and b is not None and comparable(a, b) and not checksums.same(a, b)


def _rehash(session: Session, path: str, row: Replica, wanted: Wanted) -> None:
    checksum = wanted.checksum or ""
    stored = row.checksum
    if stored is not None:
        asked = request(path, row, "rehash", as_admin=wanted.as_admin)
        judge(path, row, session.call(Api.DATA_OBJ_CHKSUM, asked, path=path, accept=REPORT))
    else:
        try:
            stored = stored_checksum(session, path, row, as_admin=wanted.as_admin)
        except FileError as problem:
            if problem.error not in _NO_RIGHT:
                raise
            stored = ""  # a reader may not store one
    if not comparable(stored, checksum):
        # a stored value proves the bytes only by its own scheme; reading them proves ours
        stored, count = _read(session, path, row, checksums.scheme_of(checksum), as_admin=wanted.as_admin)
        if count != wanted.size:
            raise Mismatch("size_mismatch", f"{path} delivers {count} bytes, its source has {wanted.size}")
    if not checksums.same(stored, checksum):
        raise Mismatch("checksum_mismatch", f"{path} on {row.hierarchy} has {stored}, its source {checksum}")


def _read(session: Session, path: str, row: Replica, scheme: str, *, as_admin: bool) -> tuple[str, int]:
    with _explained(session, path, row, as_admin=as_admin):
        return objects.read_checksum(session, path, scheme, replica=row.number)


def _replica_of(path: str, row: Replica, keywords: dict[str, str], *, as_admin: bool) -> Packable:
    admin = {"irodsAdmin": ""} if as_admin else {}
    return messages.data_object(path, {**keywords, **admin, "replNum": str(row.number)})


def _reported(path: str, row: Replica, codes: list[int], words: str) -> FileError:
    where = f"{path} on {row.hierarchy}, stored checksum {row.checksum}"
    if any(abs(code) % 1000 == errno.ENOENT and code < -500000 for code in codes):
        return Mismatch("missing_file", f"the file {row.physical_path} of {where} does not exist: {words}")
    if errors.FILE_SIZE_MISMATCH in codes:
        return Mismatch("size_mismatch", f"the file of {where} has not the {row.size} bytes of the catalogue: {words}")
    if errors.CHECKSUM_MISMATCH in codes:
        return Mismatch("checksum_mismatch", f"{where}: {words}")
    return errors.error_for(codes[0], path, words)


@contextmanager
def _explained(session: Session, path: str, row: Replica, *, as_admin: bool) -> Iterator[None]:
    """A replica that cannot be read may be missing in its vault, or shorter than the catalogue says."""
    try:
        yield
    except Outage:
        raise
    except FileError:
        check_files(session, path, [row], as_admin=as_admin)
        raise


def _text(reply: Reply) -> str:
    """The string of a STR_PI."""
    return (ElementTree.fromstring(reply.body).findtext("myStr") or "") if reply.body else ""


def _state(status: int) -> str:
    names = {state.value: state.name.lower().replace("_", "-") for state in replicas.Status}
    return names.get(status, f"status {status}")
