"""Putting one file of any size through open, write and close, in memory bounded by a buffer, hashing it as it
passes."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, suppress

from core import checksums
from core.errors import Changed, FileError, Mismatch, Transient
from core.irods import messages, objects, parallel, put, register, replicas, verify
from core.irods.messages import Api
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import Session

BUFFER_BYTES = 4 * 1024 * 1024
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
ReadAt = Callable[[int, int], bytes]
"""(offset, length) → bytes of the source; fewer than asked for only at its end."""
Progress = Callable[[int], None]
"""Called with the number of bytes sent so far."""


def put_stream(
    session: Session,
    path: str,
    read_at: ReadAt,
    size: int,
    *,
    resource: str | None,
    overwrite: bool,
    resources: Mapping[str, Resource],
    progress: Progress | None = None,
    streams: int = 1,
) -> str:
    """Put `size` bytes and return their checksum, which the catalogue then holds too.

    Each byte is read once: it is hashed while the server writes the one before it. The size goes along with the open,
    so that the server marks a new replica stale when the client dies; afterwards size and status are read back, for
    the server reports a wrong size as success. `errors.Exists` without `overwrite`, `Changed` when the source is
    shorter than `size`, `Transient` when the catalogue does not show what was sent.
    """
    existing = replicas.replicas(session, path)
    if not overwrite and any(row.good for row in existing):
        return _finished(session, path, existing, read_at, size)
    put.refuse_elsewhere(path, existing, resource, resources)
    replicas.unlock(session, path, existing)
    with put.anew_where_the_file_is_gone(session, path) as lost:
        checksum = _write(session, path, read_at, size, resource, progress, is_new=not existing, streams=streams)
    if lost:
        checksum = _write(session, path, read_at, size, resource, progress, is_new=True, streams=streams)
    _settle(session, path, size, checksum)
    return checksum


def _finished(session: Session, path: str, rows: list[Replica], read_at: ReadAt, size: int) -> str:
    """The checksum, when the object holds the source's bytes already; else `errors.Exists`.

    That is what an earlier attempt of ours leaves that wrote everything and lost the connection before it could say
    so. The source is read only when the sizes are equal.
    """
    if any(row.size != size for row in rows if row.good):
        raise put.exists(path, rows)
    hasher = checksums.Hasher("sha2")
    for _ in _pieces(path, read_at, size, hasher):
        pass
    if not verify.holds(session, path, rows, size=size, checksum=hasher.checksum):
        raise put.exists(path, rows)
    return hasher.checksum


def _write(
    session: Session,
    path: str,
    read_at: ReadAt,
    size: int,
    resource: str | None,
    progress: Progress | None,
    *,
    is_new: bool,
    streams: int,
) -> str:
    hasher = checksums.Hasher("sha2")
    keywords = {"dataSize": str(size), "dataType": "generic"} | ({"destRescName": resource} if resource else {})
    with session.held():
        descriptor = objects.open_object(session, path, WRITE_FLAGS, keywords, size=size, operation=put.PUT_OPERATION)
        pieces = _pieces(path, read_at, size, hasher)
        streams = min(streams, size // BUFFER_BYTES)
        if streams > 1:
            sending = parallel.write(session, path, descriptor, size, streams, pieces)
        else:
            sending = _send(session, path, descriptor, pieces)
        try:
            with closing(sending):
                sent = 0
                for count in sending:
                    sent += count
                    if progress is not None:
                        progress(sent)
        except Exception:
            # a network error has taken the descriptor with it; the agent closes it and the wrong size makes it stale
            with suppress(FileError):
                objects.close_object(session, path, descriptor)
                if is_new:
                    objects.remove(session, path, force=True)
            raise
        with session.patient(size):
            # closing an object that had a checksum, or on a replicating resource, the server reads the whole file
            objects.close_object(session, path, descriptor)
    return hasher.checksum


def _send(session: Session, path: str, descriptor: int, pieces: Iterator[parallel.Piece]) -> Generator[int, None, None]:
    """Write the pieces one after the other, each read and hashed while the server writes the one before it."""
    piece = next(pieces, None)
    while piece is not None:
        data = piece[1]
        session.send(Api.DATA_OBJ_WRITE, messages.opened(descriptor, {}, length=len(data)), data)
        try:
            piece = next(pieces, None)
        finally:
            written = session.receive(path=path).status
        if written != len(data):
            raise Transient("short_write", f"iRODS wrote {written} of {len(data)} bytes of {path}")
        yield written


def _pieces(path: str, read_at: ReadAt, size: int, hasher: checksums.Hasher) -> Iterator[parallel.Piece]:
    """The source in order, hashed as it passes."""
    offset = 0
    while offset < size:
        chunk = read_at(offset, min(BUFFER_BYTES, size - offset))
        if not chunk:
            raise Changed("source_shrunk", f"the source of {path} ends at {offset} of {size} bytes")
        hasher.update(chunk)
        yield offset, chunk
        offset += len(chunk)


def _settle(session: Session, path: str, size: int, checksum: str) -> None:
    """Read the replicas back and give the good ones their checksum."""
    rows = [row for row in replicas.replicas(session, path) if row.good]
    if not rows or any(row.size != size for row in rows):
        shown = ", ".join(f"{row.size} bytes on {row.hierarchy}" for row in rows) or "no good replica"
        raise Transient("short_write", f"sent {size} bytes of {path}; the catalogue shows {shown}", "it is put again")
    for row in rows:
        # of an overwritten replica that had a checksum the server has computed a new one by itself
        if (
            row.checksum
            and checksums.scheme_of(row.checksum) == checksums.scheme_of(checksum)
            and row.checksum != checksum
        ):
            words = f"{path} on {row.hierarchy}: sent {checksum}, iRODS computed {row.checksum}"
            raise Mismatch("checksum_mismatch", words)
    if not register.set_checksum(session, path, rows, checksum):
        # the server computes them, and we compare
        verify.verify(session, path, size=size, checksum=checksum)
