"""Putting one file whose bytes are in memory: one call that carries its checksum (606)."""

from __future__ import annotations

from core.errors import Permanent
from core.irods import errors, messages, replicas, wire
from core.irods.messages import Api
from core.irods.replicas import Replica
from core.irods.session import Session

PUT_OPERATION = 1
_TAKEN = frozenset({errors.OVERWRITE_WITHOUT_FORCE}) | errors.LOCK_CODES


def put_bytes(
    session: Session,
    path: str,
    data: wire.Buffer,
    *,
    checksum: str,
    resource: str | None,
    overwrite: bool,
    data_type: str = "generic",
) -> None:
    """Put `data`; the server re-reads what it wrote and compares it with `checksum` (verifyChksum).

    One round trip for a new object and for an overwritten one. An object without any good replica is what a dead client
    left, and is overwritten in any case; one that already has these bytes by size and checksum is left as it is.
    Otherwise `errors.Exists` without `overwrite`, `errors.Locked`, or what `errors.error_for` says.
    """
    reply = _put(session, path, data, checksum, resource, overwrite, data_type, accept=_TAKEN)
    if reply.status >= 0:
        return
    code = errors.nominal(reply.status)
    rows = replicas.replicas(session, path)
    if code == errors.OVERWRITE_WITHOUT_FORCE:
        if any(row.good and row.size == len(data) and row.checksum == checksum for row in rows):
            return
        refuse_existing(path, rows)
    if not replicas.unlock(session, path, rows) and code != errors.OVERWRITE_WITHOUT_FORCE:
        refuse_other_root(path, rows, resource)
        raise errors.error_for(reply.status, path, reply.text)
    _put(session, path, data, checksum, resource, True, data_type)


def _put(
    session: Session,
    path: str,
    data: wire.Buffer,
    checksum: str,
    resource: str | None,
    force: bool,
    data_type: str,
    accept: frozenset[int] = frozenset(),
) -> wire.Reply:
    keywords = {"dataIncluded": "", "dataSize": str(len(data)), "dataType": data_type, "verifyChksum": checksum}
    if resource is not None:
        keywords["destRescName"] = resource
    if force:
        keywords["forceFlag"] = ""
    message = messages.data_object(
        path, keywords, size=len(data), create_mode=0o644, threads=1, operation=PUT_OPERATION
    )
    return session.call(Api.DATA_OBJ_PUT, message, data, path=path, accept=accept)


def refuse_existing(path: str, rows: list[Replica]) -> None:
    """`errors.Exists` when the object has a good replica."""
    for row in rows:
        if row.good:
            what = f"{row.size} bytes, checksum {row.checksum or 'none'}"
            raise errors.Exists("exists", f"{path} exists in iRODS ({what})", "put_sync overwrites, put does not")


def refuse_other_root(path: str, rows: list[Replica], resource: str | None) -> None:
    """`Permanent` when the object lies on other resources than the wanted one: overwriting there is not what was
    asked."""
    if rows and resource is not None and all(row.root != resource for row in rows):
        places = ", ".join(sorted({row.hierarchy for row in rows}))
        hint = f"move it (irepl, itrim) or put to {rows[0].root}"
        raise Permanent("wrong_resource", f"{path} has its replicas on {places}, not on {resource}", hint)
