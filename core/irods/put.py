"""Putting one file whose bytes are in memory: one call that carries its checksum (606)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from core.errors import FileError, Permanent
from core.irods import errors, messages, objects, places, replicas, verify, wire
from core.irods.annotate import AVU, Access, annotate, included
from core.irods.messages import Api
from core.irods.replicas import Replica
from core.irods.resources import DIRECTORY_KINDS, Resource
from core.irods.session import Session

PUT_OPERATION = 1
SEND_TWICE_BYTES = 256 * 1024
"""More than that is not sent to an object that may exist before the catalogue was asked."""
_TAKEN = frozenset({errors.OVERWRITE_WITHOUT_FORCE}) | errors.LOCK_CODES


def put_bytes(
    session: Session,
    path: str,
    data: wire.Buffer,
    *,
    checksum: str,
    resource: str | None,
    overwrite: bool,
    resources: Mapping[str, Resource],
    data_type: str = "generic",
    metadata: Sequence[AVU] = (),
    acl: Sequence[Access] = (),
) -> None:
    """Put `data`; the server re-reads what it wrote and compares it with `checksum` (verifyChksum).

    Two round trips for a new object, three or four for one that exists: forceFlag is set only after the replicas were
    seen, for it would write through to a file that was registered in place. An object without any good replica is
    what a dead client left, and is overwritten in any case; one that already has these bytes is left as it is.
    Otherwise `errors.Exists` without `overwrite`, `errors.Locked`, or what `errors.error_for` says. Metadata and access
    come with the bytes of a new object, and are set by further calls where there was one.
    """
    keywords = {"dataType": data_type, "verifyChksum": checksum} | included(metadata, acl)
    rows = replicas.replicas(session, path) if overwrite and len(data) > SEND_TWICE_BYTES else []
    code = errors.OVERWRITE_WITHOUT_FORCE
    if not rows:
        taken = places.taken(session, path, resource, resources)
        if taken is not None and not replicas.replicas(session, path):
            raise taken
        reply = _put(session, path, data, keywords, resource, False, accept=_TAKEN)
        if reply.status >= 0:
            return
        code = errors.nominal(reply.status)
        rows = replicas.replicas(session, path)
    if code == errors.OVERWRITE_WITHOUT_FORCE and not overwrite and any(row.good for row in rows):
        if not verify.holds(session, path, rows, size=len(data), checksum=checksum):
            raise exists(path, rows)
        annotate(session, path, metadata, acl)
        return
    refuse_elsewhere(path, rows, resource, resources)
    if not replicas.unlock(session, path, rows) and code != errors.OVERWRITE_WITHOUT_FORCE:
        raise errors.error_for(code, path)
    with anew_where_it_cannot_be_overwritten(session, path, rows) as lost:
        _put(session, path, data, {"dataType": data_type, "verifyChksum": checksum}, resource, True)
    if lost:
        _put(session, path, data, keywords, resource, False)
    annotate(session, path, metadata, acl)


@contextmanager
def anew_where_it_cannot_be_overwritten(
    session: Session, path: str, rows: Sequence[Replica]
) -> Iterator[list[FileError]]:
    """Remove an object that the server cannot overwrite: its file in the vault is missing (open fails with ENOENT), or a
    frozen client still has it open (SYS_INTERNAL_ERR for the access token) and no replica in `rows` is good.

    The list that it gives has the error afterwards when that was so, and the object is to be put anew. A new object has another
    id and another file: what the frozen client's agent does when that client ends does not touch it.
    """
    lost: list[FileError] = []
    try:
        yield lost
    except FileError as problem:
        in_use = problem.error == "SYS_INTERNAL_ERR" and not any(row.good for row in rows)
        if "[ENOENT]" not in problem.message and not in_use:
            raise
        lost.append(problem)
        objects.remove(session, path, force=True)


def _put(
    session: Session,
    path: str,
    data: wire.Buffer,
    more: Mapping[str, str],
    resource: str | None,
    force: bool,
    accept: frozenset[int] = frozenset(),
) -> wire.Reply:
    keywords = {"dataIncluded": "", "dataSize": str(len(data)), **more}
    if resource is not None:
        keywords["destRescName"] = resource
    if force:
        keywords["forceFlag"] = ""
    message = messages.data_object(
        path, keywords, size=len(data), create_mode=0o644, threads=1, operation=PUT_OPERATION
    )
    return session.call(Api.DATA_OBJ_PUT, message, data, path=path, accept=accept)


def exists(path: str, rows: Sequence[Replica]) -> errors.Exists:
    """The error for an object that is not to be overwritten."""
    what = ", ".join(f"{row.size} bytes, checksum {row.checksum or 'none'}" for row in rows if row.good)
    return errors.Exists("exists", f"{path} exists in iRODS ({what})", "put_sync overwrites, put does not")


def refuse_elsewhere(
    path: str, rows: Sequence[Replica], resource: str | None, resources: Mapping[str, Resource]
) -> None:
    """`Permanent` when overwriting would write elsewhere than was asked: to other resources, or to a registered
    file."""
    if rows and resource is not None and all(row.root != resource for row in rows):
        places = ", ".join(sorted({row.hierarchy for row in rows}))
        hint = f"move it (irepl, itrim) or put to {rows[0].root}"
        raise Permanent("wrong_resource", f"{path} has its replicas on {places}, not on {resource}", hint)
    for row in rows:
        if not in_vault(row, resources):
            words = f"{path} is registered in place from {row.physical_path}, which putting would overwrite"
            raise Permanent("registered_in_place", words, "unregister it first")


def in_vault(row: Replica, resources: Mapping[str, Resource]) -> bool:
    """Whether iRODS chose the physical path; taken for granted where a vault is no directory (S3, tape)."""
    leaf = resources.get(row.resource)
    if leaf is None or leaf.kind not in DIRECTORY_KINDS:
        return True
    return row.physical_path.startswith(leaf.vault.rstrip("/") + "/")
