"""Putting many small files at once: ten times the rate of single puts.

Files that are new are written straight into the vault and registered there (`into_vault`, 518 and 688). Where the server, its
policy or the settings do not allow that, and for files that are to be overwritten, a tar goes to a staging collection with its
checksum, is unpacked where its members' collections lie, their checksums are set 50 at a time (`in_place`, 665 and 688), and
it is removed. Either way says little of single files and stops for nothing: what counts is what the catalogue shows
afterwards. A file that it does not show is put singly.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from core import checksums, paths
from core.errors import FileError, Outage, Permanent, Transient
from core.irods import batches, collections, features, in_place, into_vault, objects, places, put, replicas, tars, wire
from core.irods.features import Features
from core.irods.members import SmallFile
from core.irods.replicas import Replica
from core.irods.resources import DIRECTORY_KINDS, Resource, leaves, reachable
from core.irods.session import Session
from core.outcome import Outcome

MAX_FILES = 1000
"""Files in one bundle."""
FIRST_TRIES = 3
"""Files of which one must be put for the others to be written."""
FEWEST_WRITTEN = 3
"""New files that are worth a call of their own for the first of them."""
SIMPLE_PARENTS = frozenset({"passthru", "random", "deferred", "load_balanced"})
"""Coordinating resources that only choose a child; others (replication, compound) act on a put that a bundle is not."""


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
        size = len(file.data) + tars.MEMBER_BYTES
        if not parts or size > room or len(parts[-1]) == MAX_FILES:
            parts.append([])
            room = max_bytes
        parts[-1].append(file)
        room -= size
    return parts


def _put_part(
    session: Session, collection: str, files: Sequence[SmallFile], how: Bundling, available: Features
) -> list[Outcome]:
    # a name like ../x must not get into a tar that the server unpacks
    fit = [file for file in files if _well_named(collection, file)]
    try:
        brought = _bundled(session, collection, fit, how, available) if _may_suit(how) else _Brought()
    except Outage as problem:
        return [batches.outcome(problem)] * len(files)

    def finish(file: SmallFile) -> str:
        if file.relative in brought.in_use:
            path = paths.logical_path(collection, file.relative)
            raise Transient("in_use", f"somebody else is writing the file of {path}", "it is tried again")
        if file.relative not in brought.good:
            _put_single(session, collection, file, how)
        return file.checksum

    return batches.one_by_one(files, finish)


@dataclass(slots=True)
class _Brought:
    """What has become of files so far, by their relative paths; those of which nothing is said may go another way."""

    good: set[str] = field(default_factory=set)
    in_use: set[str] = field(default_factory=set)
    single: set[str] = field(default_factory=set)
    """To be put one by one: 665 could take what somebody else has just written."""


def _bundled(
    session: Session, collection: str, files: Sequence[SmallFile], how: Bundling, available: Features
) -> _Brought:
    """What bundles brought."""
    brought = _Brought()
    if features.BUNDLE not in available:
        return brought
    before, left = in_place.replaceable(session, collection, files, how.resources, overwrite=how.overwrite)

    def attempt(feature: str, bring: Callable[[], None]) -> None:
        try:
            bring()
        except Outage:
            raise
        except FileError as problem:
            available.refused(feature, problem)

    new = [file for file in left if paths.logical_path(collection, file.relative) not in before]
    if features.VAULT_WRITE in available and len(new) >= FEWEST_WRITTEN:
        attempt(features.VAULT_WRITE, lambda: _write(session, collection, new, how, brought))
    left = [file for file in left if file.relative not in brought.good | brought.in_use | brought.single]
    if len(left) > 1:
        attempt(features.BUNDLE, lambda: brought.good.update(_unpacked(session, collection, left, how, before)))
    return brought


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

    # the server would have made it while unpacking
    collections.making_what_is_missing(session, [path], attempt)


def _write(session: Session, collection: str, files: Sequence[SmallFile], how: Bundling, brought: _Brought) -> None:
    """Write new files into the vault, and say what has become of them.

    One of them is put as any client would. It shows whether we may, on which leaf, and whether the site's policy is that files
    lie by their names.
    """
    first = _put_first(session, collection, files, how, brought)
    if first is None:
        return
    path = paths.logical_path(collection, first.relative)
    place = replicas.replicas(session, path)[0]
    if (
        suits(how.resources[place.resource], how.resources)
        and places.place_of(path, how.resources[place.resource]) == place.physical_path
    ):
        others = [file for file in files if file.relative not in brought.good | brought.single]
        delivery = into_vault.deliver(session, collection, others, place, how.resources, checksums=how.checksums)
        brought.good |= delivery.good
        brought.in_use |= delivery.in_use
        brought.single |= {file.relative for file in others} - delivery.good - delivery.in_use


def _put_first(
    session: Session, collection: str, files: Sequence[SmallFile], how: Bundling, brought: _Brought
) -> SmallFile | None:
    """Put one of the files, if possible where nobody has just written; None when none of a few could be put."""
    possible = [leaf for leaf in reachable(how.resources, how.resource) if suits(leaf, how.resources)]
    left = list(files)
    while left and len(files) - len(left) < FIRST_TRIES:
        file = into_vault.free(session, collection, left, possible) or left[0]
        left.remove(file)
        try:
            _put_single(session, collection, file, how)
        except Outage:
            raise
        except FileError:
            brought.single.add(file.relative)  # it is put again, and its error becomes its outcome
        else:
            brought.good.add(file.relative)
            return file
    return None


def _unpacked(
    session: Session, collection: str, files: Sequence[SmallFile], how: Bundling, before: Mapping[str, Replica]
) -> set[str]:
    """The relative paths of the members that are in iRODS afterwards, good and with their checksums; `before` has the replicas
    that are overwritten."""
    tar = f"{how.staging}/{uuid.uuid4().hex}.tar"
    delivered: set[str] = set()
    try:
        staged = _stage(session, tar, tars.pack([(file.relative, file.data) for file in files]), how)
        if suits(how.resources[staged.resource], how.resources):
            in_place.unpack(session, tar, collection, overwrite=how.overwrite)
            delivered = in_place.record(session, collection, files, staged, before, checksums=how.checksums)
    except Outage:
        raise
    except FileError:
        _leave(session, tar)
        raise
    _leave(session, tar)
    return delivered


def _stage(session: Session, tar: str, packed: wire.Gathered, how: Bundling) -> Replica:
    put.put_bytes(
        session,
        tar,
        packed,
        checksum=checksums.checksum_of_chunks(packed),
        resource=how.resource,
        overwrite=False,
        resources=how.resources,
        data_type=tars.DATA_TYPE,
    )
    return replicas.replicas(session, tar)[0]


def _leave(session: Session, tar: str) -> None:
    # what stays behind is found by remove_stale
    with suppress(FileError):
        objects.remove(session, tar, force=True)
