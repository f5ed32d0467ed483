"""Putting many small files as one tar that the server unpacks (665): ten times the rate of single puts.

The way of a bundle: the tar goes to a staging collection with its checksum, is unpacked into the target, its members
are looked up in the catalogue, their checksums are set there 50 at a time (688), and the tar is removed. Unpacking
reports little and stops for nothing: what counts is what the catalogue shows afterwards. A member that it does not
show is put singly.
"""

from __future__ import annotations

import posixpath
import tarfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from core import checksums, paths
from core.errors import FileError, Outage, Permanent
from core.irods import batches, collections, errors, features, messages, objects, put, register, replicas, wire
from core.irods.annotate import AVU, Access
from core.irods.features import Features
from core.irods.messages import BULK_ROWS, Api
from core.irods.queries import Column, equal
from core.irods.register import BulkRow
from core.irods.replicas import Replica
from core.irods.resources import DIRECTORY_KINDS, Resource, leaves
from core.irods.session import Session
from core.outcome import Outcome

TAR = "tar file"
BLOCK = 512
"""Of a tar: each header and each member takes whole blocks, and two empty ones end it."""
MAX_FILES = 1000
"""Files in one bundle."""
SIMPLE_PARENTS = frozenset({"passthru", "random", "deferred", "load_balanced"})
"""Coordinating resources that only choose a child; others (replication, compound) act on a put that a bundle is not."""
_GONE_WRONG = errors.LOCK_CODES | {errors.COPY_ALREADY_IN_RESC, errors.ALREADY_HAS_ITEM}


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file to put: its path below the bundle's collection, its bytes, their checksum in iRODS notation."""

    relative: str
    data: bytes = field(repr=False)
    checksum: str
    metadata: Sequence[AVU] = ()
    acl: Sequence[Access] = ()


@dataclass(frozen=True, slots=True)
class Bundling:
    """What a bundle needs to know besides its files."""

    staging: str
    """A collection of our own; it exists."""
    resource: str | None
    overwrite: bool
    max_bytes: int
    """Of one tar in memory."""
    resources: Mapping[str, Resource]
    checksums: bool = True
    """Whether the catalogue gets the checksums of what was unpacked."""


def put_bundle(
    session: Session, collection: str, files: Sequence[SmallFile], how: Bundling, available: Features
) -> list[Outcome]:
    """Put files below `collection`, whose collections exist or are made by the server; one outcome a file, in order.

    `Skipped` where an object is there and `how.overwrite` is not set. Nobody else may load the same paths meanwhile.
    Falls back to one 606 a file where bundles are not allowed, the resource is not a plain directory tree, or a
    member is missing.
    """
    outcomes: list[Outcome] = []
    for part in _parts(files, how.max_bytes):
        if outcomes and batches.gave_up(outcomes[-1]):
            outcomes += [outcomes[-1]] * len(part)
        else:
            outcomes += _put_part(session, collection, part, how, available)
    return outcomes


def suits(resource: Resource, resources: Mapping[str, Resource]) -> bool:
    """Whether a bundle on this leaf becomes what single puts would have made."""
    *parents, leaf = (resources[name] for name in resource.hierarchy.split(";"))
    return leaf.kind in DIRECTORY_KINDS and all(parent.kind in SIMPLE_PARENTS for parent in parents)


def remove_stale(session: Session, staging: str, before: int) -> int:
    """Remove the tars below `staging` last modified before that time (microseconds since 1970); how many there were.

    One that cannot be removed keeps none of the others; its error is raised in the end.
    """
    removed = 0
    kept: FileError | None = None
    for path, rows in replicas.replicas_in(session, staging).items():
        if max(row.modified_at for row in rows) < before:
            try:
                objects.remove(session, path, force=True)
                removed += 1
            except Outage:
                raise
            except FileError as problem:
                kept = problem
    if kept is not None:
        raise kept
    return removed


def _parts(files: Sequence[SmallFile], max_bytes: int) -> list[list[SmallFile]]:
    parts: list[list[SmallFile]] = []
    room = 0
    for file in files:
        # a member takes whole blocks of 512 bytes, its header two or four of them
        size = len(file.data) + 2560
        if not parts or size > room or len(parts[-1]) == MAX_FILES:
            parts.append([])
            room = max_bytes
        parts[-1].append(file)
        room -= size
    return parts


def _put_part(
    session: Session, collection: str, files: Sequence[SmallFile], how: Bundling, available: Features
) -> list[Outcome]:
    delivered: set[str] = set()
    # a name like ../x must not get into a tar that the server unpacks
    fit = [file for file in files if _well_named(collection, file)]
    if len(fit) > 1 and features.BUNDLE in available and _may_suit(how):
        try:
            delivered = _deliver(session, collection, fit, how)
        except Outage as problem:
            return [batches.outcome(problem)] * len(files)
        except FileError as problem:
            available.refused(features.BUNDLE, problem)

    def finish(file: SmallFile) -> str:
        if file.relative not in delivered:
            _put_single(session, collection, file, how)
        return file.checksum

    return batches.one_by_one(files, finish)


def _well_named(collection: str, file: SmallFile) -> bool:
    try:
        paths.logical_path(collection, file.relative)
    except Permanent:
        return False
    return bool(file.relative)


def _may_suit(how: Bundling) -> bool:
    if how.resource is None:
        return True  # the default resource is known once the tar is there
    if how.resource not in how.resources:
        return False
    return all(suits(leaf, how.resources) for leaf in leaves(how.resources, how.resource))


def _put_single(session: Session, collection: str, file: SmallFile, how: Bundling) -> None:
    path = paths.logical_path(collection, file.relative)

    def attempt() -> None:
        put.put_bytes(
            session,
            path,
            file.data,
            checksum=file.checksum,
            resource=how.resource,
            overwrite=how.overwrite,
            resources=how.resources,
        )

    try:
        attempt()
    except FileError as problem:
        if problem.error != "CAT_UNKNOWN_COLLECTION":
            raise
        # the server would have made it while unpacking
        collections.make(session, paths.split(path)[0], set())
        attempt()


def _deliver(session: Session, collection: str, files: Sequence[SmallFile], how: Bundling) -> set[str]:
    """The relative paths of the members that are in iRODS afterwards, good and with their checksums."""
    tar = f"{how.staging}/{uuid.uuid4().hex}.tar"
    packed = pack(files)
    try:
        put.put_bytes(
            session,
            tar,
            packed,
            checksum=checksums.checksum_of_chunks(packed),
            resource=how.resource,
            overwrite=False,
            resources=how.resources,
            data_type=TAR,
        )
        staged = replicas.replicas(session, tar)[0]
        if not suits(how.resources[staged.resource], how.resources):
            return set()
        _unpack(session, tar, collection, overwrite=how.overwrite)
        return _record(session, collection, files, staged, checksums=how.checksums)
    finally:
        # what stays behind is found by remove_stale
        with suppress(FileError):
            objects.remove(session, tar, force=True)


def _unpack(session: Session, tar: str, collection: str, *, overwrite: bool) -> None:
    """665 once on a connection, for the server leaks a descriptor with each."""
    keywords = {"dataType": TAR, "bulkOpr": ""} | ({"forceFlag": ""} if overwrite else {})
    request = messages.struct_file(tar, collection, keywords)
    with session.last_words():
        session.call(Api.STRUCT_FILE_EXT_AND_REG, request, path=tar, accept=_GONE_WRONG)


def _record(
    session: Session, collection: str, files: Sequence[SmallFile], staged: Replica, *, checksums: bool
) -> set[str]:
    """Look the members up and set their checksums, if wanted; those that are as they should be."""
    shown = _shown(session, collection, files, staged)
    expected = {paths.logical_path(collection, file.relative): file for file in files}
    good = {
        path: rows[0]
        for path, rows in shown.items()
        if path in expected
        and len(rows) == 1
        and rows[0].good
        and rows[0].size == len(expected[path].data)
        and rows[0].hierarchy == staged.hierarchy
    }
    if not checksums:
        return {expected[path].relative for path in good}
    recorded: set[str] = set()
    for batch in batches.chunks(sorted(good), BULK_ROWS):
        rows = [
            BulkRow(path, good[path].physical_path, good[path].size, expected[path].checksum, good[path].number)
            for path in batch
        ]
        try:
            register.bulk(session, "modify", rows, staged.resource, staged.resource_id)
        except Outage:
            raise
        except FileError:
            continue  # they go the single way, which finds the bytes in place and checks them
        recorded |= {expected[path].relative for path in batch}
    return recorded


def _shown(session: Session, collection: str, files: Sequence[SmallFile], staged: Replica) -> dict[str, list[Replica]]:
    """The members' replicas, told from older ones by their time, which is of the same clock as the tar's."""
    since = (Column.DATA_MODIFY_TIME, f">= '{replicas.stamp(staged.modified_at)}'")
    folders = sorted({posixpath.dirname(paths.logical_path(collection, file.relative)) for file in files})
    if len(folders) > 4:
        return replicas.replicas_below(session, collection, [since])
    shown: dict[str, list[Replica]] = {}
    for folder in folders:
        shown |= replicas.listing(session, [(Column.COLL_NAME, equal(folder)), since])
    return shown


def pack(files: Sequence[SmallFile]) -> wire.Gathered:
    """A tar of the files with their directories left out, made of the bytes as they lie in memory; names are UTF-8 bytes,
    whatever the server's locale is."""
    pieces: list[bytes] = []
    for file in files:
        member = tarfile.TarInfo(file.relative)
        member.size, member.mode = len(file.data), 0o600
        pieces += (member.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict"), file.data, bytes(-member.size % BLOCK))
    pieces.append(bytes(2 * BLOCK))
    return wire.Gathered(pieces)
