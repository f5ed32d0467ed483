"""Sending only what was added to a file, after proving that what iRODS holds is still its beginning."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from core import checksums
from core.errors import Mismatch
from core.irods import put, replicas, stream, verify
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import Session
from core.irods.stream import ReadAt, Source

WRITE_FLAGS = os.O_WRONLY
"""Neither created nor truncated."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What `append` did."""

    checksum: str
    """SHA-256 of the whole source, as the catalogue has it too."""
    appended_bytes: int
    """Sent beyond what iRODS held; 0 when the object was put whole or had all bytes already."""
    note: str
    """Why the whole file was put although there was an object; else empty."""


def append(
    session: Session,
    path: str,
    read_at: ReadAt,
    size: int,
    *,
    resource: str | None,
    resources: Mapping[str, Resource],
    streams: int = 1,
) -> Appended:
    """Make `path` hold the source's `size` bytes, sending only those beyond the object's size where its beginning is
    unchanged.

    The beginning is proven: as many of the source's first bytes as iRODS has must have the checksum that the catalogue
    holds for every good replica (the server computes it where there is none, 629), and the vault files must have that
    size (629 with no_compute). Everything else is put whole, over what is there: a source that shrank or changed,
    replicas that differ, and what an attempt that died in the middle left behind. Each byte of the source is read once,
    twice where it is put whole after all. Size, status and checksum are read back, as by `stream.put_stream`.
    """
    rows = replicas.replicas(session, path)
    put.refuse_elsewhere(path, rows, resource, resources)
    source = Source(path, read_at, size)
    hasher = checksums.Hasher("sha2")
    note = _why_not(session, source, rows, hasher) if rows else ""
    if not rows or note:
        whole = stream.put_stream(
            session, path, read_at, size, resource=resource, overwrite=True, resources=resources, streams=streams
        )
        return Appended(whole, 0, note)
    held = next(row for row in rows if row.good)
    if size > held.size:
        keywords = {"resc_hier": held.hierarchy}
        stream.write(session, source, hasher, WRITE_FLAGS, keywords, start=held.size, streams=streams)
        stream.settle(session, path, size, hasher.checksum)
    return Appended(hasher.checksum, size - held.size, "")


def _why_not(session: Session, source: Source, rows: list[Replica], hasher: checksums.Hasher) -> str:
    """Why the object's bytes are not known to be the source's first ones; empty when they are, and then `hasher` has
    them."""
    good = [row for row in rows if row.good]
    if not good:
        return "iRODS has no good replica of it"
    held = good[0].size
    if any(row.size != held for row in good):
        return "its good replicas differ in size"
    if source.size < held:
        return f"the source has {source.size} bytes, iRODS has {held}"
    try:
        stored = [verify.stored_checksum(session, source.path, row) for row in good]
        verify.check_files(session, source.path, good)
        begins = _begins_with(source, held, stored, hasher)
    except Mismatch as problem:
        return problem.message
    return "" if begins else f"the first {held} bytes of the source are not those in iRODS"


def _begins_with(source: Source, held: int, stored: list[str], hasher: checksums.Hasher) -> bool:
    """Whether the source's first `held` bytes have all the stored checksums; a notation we do not know proves nothing."""
    try:
        schemes = {checksums.scheme_of(value) for value in stored}
    except ValueError:
        return False
    hashers = {scheme: checksums.Hasher(scheme) for scheme in schemes} | {hasher.scheme: hasher}
    for _ in source.pieces(0, held, list(hashers.values())):
        pass
    return all(checksums.same(hashers[checksums.scheme_of(value)].checksum, value) for value in stored)
