"""What is done to a whole data object: removed, unregistered, read back for its checksum."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress

from core import checksums
from core.errors import FileError, Transient
from core.irods import errors, messages, replicas
from core.irods.messages import Api
from core.irods.session import Session

UNREGISTER_OPERATION = "26"
READ_BYTES = 4 * 1024 * 1024
_ABSENT = frozenset({errors.CAT_NO_ROWS_FOUND, errors.UNKNOWN_FILE, errors.OBJ_PATH_DOES_NOT_EXIST})


def remove(session: Session, path: str, *, force: bool) -> None:
    """Unlink a data object (615): to the trash, or past it with `force`. Fine when there is none.

    A file registered outside a vault stays on its filesystem. A replica that a dead client left locked is freed first
    where the user may; else `errors.Locked`.
    """
    _unlink(session, path, {"forceFlag": ""} if force else {}, 0)


def unregister(session: Session, path: str) -> None:
    """Take a data object out of the catalogue (615 with oprType 26); its file stays. Fine when there is none."""
    _unlink(session, path, {"oprType": UNREGISTER_OPERATION}, int(UNREGISTER_OPERATION))


def _unlink(session: Session, path: str, keywords: dict[str, str], operation: int) -> None:
    message = messages.data_object(path, keywords, size=-1, operation=operation)
    reply = session.call(Api.DATA_OBJ_UNLINK, message, path=path, accept=_ABSENT | errors.LOCK_CODES)
    if reply.status >= 0 or errors.nominal(reply.status) in _ABSENT:
        return
    # freed here, or by the agent that held it and has ended meanwhile
    replicas.unlock(session, path, replicas.replicas(session, path))
    session.call(Api.DATA_OBJ_UNLINK, message, path=path, accept=_ABSENT)


def open_object(
    session: Session, path: str, flags: int, keywords: dict[str, str], *, size: int, operation: int = 0
) -> int:
    """A descriptor on this connection (602); the session must be held until it is closed."""
    message = messages.data_object(path, keywords, size=size, create_mode=0o644, open_flags=flags, operation=operation)
    return session.call(Api.DATA_OBJ_OPEN, message, path=path).status


def close_object(session: Session, path: str, descriptor: int) -> None:
    """Close a descriptor (673). The server reports a size that differs from the announced one as success: read it
    back."""
    session.call(Api.DATA_OBJ_CLOSE, messages.opened(descriptor, {}), path=path)


def read_checksum(session: Session, path: str, scheme: str, *, replica: int | None = None) -> tuple[str, int]:
    """The checksum and the number of the bytes that iRODS delivers, of that replica or of one that it chooses, read to
    this client."""
    hasher = checksums.Hasher(scheme)
    total = 0
    for piece in read(session, path, {} if replica is None else {"replNum": str(replica)}):
        hasher.update(piece)
        total += len(piece)
    return hasher.checksum, total


def read(session: Session, path: str, keywords: dict[str, str]) -> Generator[bytes, None, None]:
    """The bytes of an object in pieces (602, 675, 673); each is asked for while the caller has the one before it."""
    with session.held():
        descriptor = open_object(session, path, 0, keywords, size=-1)
        message = messages.opened(descriptor, {}, length=READ_BYTES)
        session.send(Api.DATA_OBJ_READ, message)
        waiting = False
        try:
            while piece := _piece(session, path):
                session.send(Api.DATA_OBJ_READ, message)
                waiting = True
                yield piece
                waiting = False
        except BaseException:
            with suppress(FileError):
                if waiting:
                    session.receive(path=path)  # nobody wants the rest, yet its reply is on the way
                close_object(session, path, descriptor)
            raise
        close_object(session, path, descriptor)


def _piece(session: Session, path: str) -> bytes:
    reply = session.receive(path=path)
    if reply.status != len(reply.stream):
        raise Transient("short_read", f"iRODS announced {reply.status} bytes of {path} and sent {len(reply.stream)}")
    return reply.stream
