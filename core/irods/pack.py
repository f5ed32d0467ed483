"""Verifying many small files at once: the server packs their collection into a tar (666), and we hash its members.

The tar is made from the files as they lie in the vault, so hashing its members is a verification of the bytes, at
several times the rate of one checksum call a file. A missing file or one outside the vault fails the whole pack;
then, and where a collection is too large or lies elsewhere, each file is verified by itself.
"""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from core import checksums, paths
from core.errors import FileError, Mismatch, Outage
from core.irods import batches, features, messages, objects, put, queries, replicas, verify
from core.irods.bundle import TAR, suits
from core.irods.features import Features
from core.irods.messages import Api
from core.irods.queries import Column
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import Session
from core.outcome import Outcome

MAX_BYTES = 32 * 1024 * 1024
"""Of all files below the collection: the pack holds them all, and one reply (608) brings it."""
MIN_FILES = 8
"""Below that, single calls are cheaper."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the source had: a path below the collection, size in bytes, checksum in iRODS notation."""

    relative: str
    size: int
    checksum: str


def verify_many(
    session: Session,
    staging: str,
    collection: str,
    files: Sequence[Expected],
    resources: Mapping[str, Resource],
    available: Features,
) -> list[Outcome]:
    """Verify files below one collection at level rehash; one outcome a file, in order. See `verify.verify` for
    mismatches."""
    try:
        found = _read(session, staging, collection, files, resources, available)
    except Outage as problem:
        return [batches.outcome(problem)] * len(files)
    except FileError as problem:
        available.refused(features.PACK, problem)
        found = {}
    return batches.one_by_one(files, lambda file: _verify(session, collection, file, found))


def _verify(session: Session, collection: str, file: Expected, found: Mapping[str, tuple[int, str]]) -> str:
    path = paths.logical_path(collection, file.relative)
    if found.get(path) != (file.size, file.checksum):
        # absent from the pack, or other than expected there: the single way says what exactly is wrong
        verify.verify(session, path, size=file.size, checksum=file.checksum)
    return file.checksum


def _read(
    session: Session,
    staging: str,
    collection: str,
    files: Sequence[Expected],
    resources: Mapping[str, Resource],
    available: Features,
) -> dict[str, tuple[int, str]]:
    """Size and checksum of what a pack of the collection holds, by logical path, for files that are right in the
    catalogue."""
    if features.PACK not in available or len(files) < MIN_FILES:
        return {}
    sizes = (queries.total_bytes(session, [(Column.COLL_NAME, which)]) for which in queries.subtree(collection))
    if sum(sizes) > MAX_BYTES:
        return {}
    listed = replicas.replicas_below(session, collection)
    hierarchy = _hierarchy(listed, resources)
    if hierarchy is None:
        return {}
    right = {
        paths.logical_path(collection, file.relative): file
        for file in files
        if _right(listed, paths.logical_path(collection, file.relative), file)
    }
    return _pack(session, f"{staging}/{uuid.uuid4().hex}.tar", collection, hierarchy, right)


def _hierarchy(listed: Mapping[str, list[Replica]], resources: Mapping[str, Resource]) -> str | None:
    """The one leaf on which all that lies below the collection lies in a vault; None when a pack could not hold it."""
    rows = [row for replicas_of_one in listed.values() for row in replicas_of_one]
    hierarchies = {row.hierarchy for row in rows}
    if len(hierarchies) != 1 or len(rows) != len(listed) or not all(put.in_vault(row, resources) for row in rows):
        return None
    leaf = resources.get(rows[0].resource)
    return leaf.hierarchy if leaf is not None and suits(leaf, resources) else None


def _right(listed: Mapping[str, list[Replica]], path: str, file: Expected) -> bool:
    try:
        return bool(verify.check_catalogue(path, listed.get(path, []), size=file.size, checksum=file.checksum))
    except Mismatch:
        return False


def _pack(
    session: Session, tar: str, collection: str, hierarchy: str, wanted: Mapping[str, Expected]
) -> dict[str, tuple[int, str]]:
    root = hierarchy.partition(";")[0]
    keywords = {"dataType": TAR, "destRescName": root, "resc_hier": hierarchy}
    try:
        with session.fresh() as own:
            own.call(Api.STRUCT_FILE_BUNDLE, messages.struct_file(tar, collection, keywords), path=tar)
        reply = session.call(Api.DATA_OBJ_GET, messages.data_object(tar, {}, threads=1, operation=2), path=tar)
        return _members(reply.stream, collection, wanted)
    finally:
        # a pack that failed leaves its tar locked; removing it frees it first
        with suppress(FileError):
            objects.remove(session, tar, force=True)


def _members(packed: bytes, collection: str, wanted: Mapping[str, Expected]) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            for member in tar:
                path = f"{collection}/{member.name.removeprefix('./')}"
                content = tar.extractfile(member) if member.isreg() and path in wanted else None
                if content is not None:
                    data = content.read()
                    found[path] = len(data), checksums.checksum_of(data, checksums.scheme_of(wanted[path].checksum))
    except tarfile.TarError:
        pass  # cut short: its members go the single way
    return found
