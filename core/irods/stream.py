"""Putting one file of any size through open, write and close, in memory bounded by a buffer, hashing it as it
passes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from core import checksums
from core.errors import Changed, FileError, Mismatch, Transient
from core.irods import messages, objects, parallel, places, put, register, replicas, verify, wire
from core.irods.ahead import ahead
from core.irods.messages import Api
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import EVERYTHING, Session

BUFFER_BYTES = 4 * 1024 * 1024
"""Bytes of one write."""
READ_BYTES = 512 * 1024
"""Bytes of one read: they are hashed while they lie in the processor's cache, which takes a quarter off the work."""
READ_AHEAD = 2
"""Buffers read and hashed before they are sent."""
IN_FLIGHT = 2
"""Buffers sent whose writing the server has not confirmed yet."""
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
ReadAt = Callable[[int, int], bytes]
"""(offset, length) → bytes of the source; fewer than asked for only at its end."""
Progress = Callable[[int], None]
"""Called with the number of bytes sent so far."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of one object come from."""

    path: str
    """The object's logical path."""
    read_at: ReadAt
    size: int

    def pieces(self, start: int, end: int, hashers: Sequence[checksums.Hasher]) -> Iterator[parallel.Piece]:
        """The bytes from `start` to `end` in order, hashed as they pass. `Changed` when the source ends before."""
        offset = start
        while offset < end:
            chunks = list(self._chunks(offset, min(offset + BUFFER_BYTES, end), hashers))
            yield offset, wire.Gathered(chunks)
            offset += sum(map(len, chunks))

    def _chunks(self, start: int, end: int, hashers: Sequence[checksums.Hasher]) -> Iterator[bytes]:
        offset = start
        while offset < end:
            chunk = self.read_at(offset, min(READ_BYTES, end - offset))
            if not chunk:
                raise Changed("source_shrunk", f"the source of {self.path} ends at {offset} of {self.size} bytes")
            for hasher in hashers:
                hasher.update(chunk)
            yield chunk
            offset += len(chunk)


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
    if size == 0:
        # closing what nothing was written to leaves a stale replica stale
        checksum = checksums.checksum_of(b"")
        put.put_bytes(
            session, path, b"", checksum=checksum, resource=resource, overwrite=overwrite, resources=resources
        )
        return checksum
    existing = replicas.replicas(session, path)
    if not overwrite and any(row.good for row in existing):
        return _finished(session, path, existing, read_at, size)
    if not existing and (taken := places.taken(session, path, resource, resources)) is not None:
        raise taken
    put.refuse_elsewhere(path, existing, resource, resources)
    replicas.unlock(session, path, existing)
    source = Source(path, read_at, size)
    with put.anew_where_it_cannot_be_overwritten(session, path, existing) as lost:
        checksum = _put(session, source, resource, progress, is_new=not existing, streams=streams)
    if lost:
        checksum = _put(session, source, resource, progress, is_new=True, streams=streams)
    settle(session, path, size, checksum)
    return checksum


def _finished(session: Session, path: str, rows: list[Replica], read_at: ReadAt, size: int) -> str:
    """The checksum, when the object holds the source's bytes already; else `errors.Exists`.

    That is what an earlier attempt of ours leaves that wrote everything and lost the connection before it could say
    so. The source is read only when the sizes are equal.
    """
    if any(row.size != size for row in rows if row.good):
        raise put.exists(path, rows)
    hasher = checksums.Hasher("sha2")
    for _ in Source(path, read_at, size).pieces(0, size, [hasher]):
        pass
    if not verify.holds(session, path, rows, size=size, checksum=hasher.checksum):
        raise put.exists(path, rows)
    return hasher.checksum


def _put(
    session: Session, source: Source, resource: str | None, progress: Progress | None, *, is_new: bool, streams: int
) -> str:
    hasher = checksums.Hasher("sha2")
    keywords = {"dataType": "generic"} | ({"destRescName": resource} if resource else {})
    write(session, source, hasher, WRITE_FLAGS, keywords, is_new=is_new, streams=streams, progress=progress)
    return hasher.checksum


def most_streams(size: int) -> int:
    """How many streams have anything to do for so many bytes."""
    return max(1, size // BUFFER_BYTES)


def write(
    session: Session,
    source: Source,
    hasher: checksums.Hasher,
    flags: int,
    keywords: Mapping[str, str],
    *,
    start: int = 0,
    is_new: bool = False,
    streams: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write the source's bytes from `start` on to its object, through `hasher`. What fails in the middle leaves no
    replica that passes for good, as far as the server can still be told."""
    path, size = source.path, source.size
    with session.held():
        descriptor = objects.open_object(
            session, path, flags, {"dataSize": str(size), **keywords}, size=size, operation=put.PUT_OPERATION
        )
        # read and hashed in a thread of their own: that takes as long as sending them
        pieces = ahead(source.pieces(start, size, [hasher]), READ_AHEAD)
        streams = min(streams, most_streams(size - start))
        if streams > 1:
            sending = parallel.write(session, path, descriptor, size, streams, pieces)
        else:
            sending = _send(session, path, descriptor, pieces)
        try:
            with closing(pieces), closing(sending):
                sent = start
                for count in sending:
                    sent += count
                    if progress is not None:
                        progress(sent)
        except Exception:
            # a network error has taken the descriptor with it; the agent closes it and a wrong size makes it stale
            with suppress(FileError):
                objects.close_object(session, path, descriptor)
                _disown(session, path, is_new=is_new)
            raise
        with session.patient(size):
            # closing an object that had a checksum, or on a replicating resource, the server reads the whole file
            objects.close_object(session, path, descriptor)


def _disown(session: Session, path: str, *, is_new: bool) -> None:
    """An object written in part is removed, or marked stale where it replaced another one: the server knows the
    expected size of a new replica only."""
    if is_new:
        objects.remove(session, path, force=True)
        return
    for row in replicas.replicas(session, path):
        if row.good:
            replicas.modify(session, path, row, {"replStatus": str(int(replicas.Status.STALE))})


def _send(session: Session, path: str, descriptor: int, pieces: Iterator[parallel.Piece]) -> Generator[int, None, None]:
    """Write the pieces one after the other; the next one is on its way while the server writes the one before it."""
    on_the_way: deque[int] = deque()
    position = 0
    try:
        for offset, data in pieces:
            if offset != position:
                where = messages.opened(descriptor, {}, offset=offset, whence=os.SEEK_SET)
                session.call(Api.DATA_OBJ_LSEEK, where, path=path)
            session.send(Api.DATA_OBJ_WRITE, messages.opened(descriptor, {}, length=len(data)), data)
            position = offset + len(data)
            on_the_way.append(len(data))
            if len(on_the_way) >= IN_FLIGHT:
                yield _written(session, path, on_the_way)
        while on_the_way:
            yield _written(session, path, on_the_way)
    finally:
        with suppress(FileError):
            while on_the_way:
                on_the_way.popleft()
                session.receive(path=path, accept=EVERYTHING)


def _written(session: Session, path: str, on_the_way: deque[int]) -> int:
    expected = on_the_way.popleft()
    written = session.receive(path=path).status
    if written != expected:
        raise Transient("short_write", f"iRODS wrote {written} of {expected} bytes of {path}")
    return written


def settle(session: Session, path: str, size: int, checksum: str) -> None:
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
        verify.verify(session, path, verify.Wanted(size, checksum))
