"""Verifying many files of one collection at once, at any level; one outcome a file, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass

from core import checksums, paths
from core.errors import FileError, Mismatch, Outage, Permanent
from core.irods import batches, features, pack, replicas, verify
from core.irods.features import Features
from core.irods.messages import Api
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import Session
from core.irods.verify import Wanted
from core.outcome import Done, Outcome
from core.settings import VerifyLevel

MIN_PACK = 8
"""Files below which single calls are cheaper than a pack."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the source had: a path below the collection, size in bytes, checksum in iRODS notation or None."""

    relative: str
    size: int
    checksum: str | None


@dataclass(frozen=True, slots=True)
class How:
    """What verifying needs to know besides the files."""

    level: VerifyLevel
    staging: Callable[[], str]
    """Gives our own collection for packs, where this user may have one; `FileError` where not."""
    resources: Mapping[str, Resource]
    leaves: AbstractSet[int] | None
    """As in `verify.Wanted`."""
    packs: bool = True
    as_admin: bool = False
    """As in `verify.Wanted`."""


def verify_many(
    session: Session, collection: str, files: Sequence[Expected], how: How, available: Features
) -> list[Outcome]:
    """Verify files below one collection as `verify.verify` does each.

    The catalogue is read in bulk. At stat and rehash 50 checks share a round trip; at rehash many small files are read
    by a pack instead. What either finds other than wanted is looked at by itself, which says what exactly is wrong.
    """

    def of(file: Expected) -> Wanted:
        return Wanted(file.size, file.checksum, how.leaves, how.as_admin)

    wanted = {f"{collection}/{file.relative}": of(file) for file in files}
    try:
        proven = _proven(session, collection, wanted, how, available)
    except Outage as problem:
        return [batches.outcome(problem)] * len(files)

    def single(file: Expected) -> str | None:
        path, its = paths.logical_path(collection, file.relative), of(file)
        if path not in proven or wanted[path] != its:
            verify.verify(session, path, its, how.level)
        return file.checksum

    outcomes = batches.one_by_one(files, single)
    return [Done(each.checksum, how.level) if isinstance(each, Done) else each for each in outcomes]


def _proven(
    session: Session, collection: str, wanted: Mapping[str, Wanted], how: How, available: Features
) -> AbstractSet[str]:
    """Paths that are as wanted, by bulk calls; what is missing here may still be right."""
    packing = how.packs and how.level == "rehash" and features.PACK in available and len(wanted) >= MIN_PACK
    packing = packing and pack.pays(session, collection, len(wanted), sum(each.size for each in wanted.values()))
    listed = replicas.replicas_below(session, collection) if packing else replicas.replicas_each(session, wanted)
    right: dict[str, list[Replica]] = {}
    for path, its in wanted.items():
        with suppress(Mismatch, Permanent):
            verify.require_checksum(path, its, how.level)
            right[path] = verify.check_catalogue(path, listed.get(path, []), its)
    if how.level == "catalog":
        return right.keys()
    packed = _packed(session, collection, wanted, right, listed, how, available) if packing else set()
    rest = {path: rows for path, rows in right.items() if path not in packed}
    return packed | _checked(session, rest, wanted, how.level)


def _packed(
    session: Session,
    collection: str,
    wanted: Mapping[str, Wanted],
    right: Mapping[str, Sequence[Replica]],
    listed: Mapping[str, list[Replica]],
    how: How,
    available: Features,
) -> set[str]:
    """Paths whose bytes a pack has shown to be right."""
    checksum = {path: wanted[path].checksum or "" for path, rows in right.items() if len(rows) == 1}
    try:
        found = pack.read_collection(session, how.staging, collection, checksum, listed, how.resources)
    except Outage:
        raise
    except FileError as problem:
        available.refused(features.PACK, problem)
        return set()
    return {
        path
        for path, (size, read) in found.items()
        if size == wanted[path].size and checksums.same(read, checksum[path])
    }


def _checked(
    session: Session, right: Mapping[str, Sequence[Replica]], wanted: Mapping[str, Wanted], level: VerifyLevel
) -> set[str]:
    """Paths of which the server finds every good replica in order (629)."""
    bad: set[str] = set()
    todo: list[tuple[str, Replica]] = []
    for path, rows in right.items():
        for row in rows:
            # without a checksum to compare with, the server has to be asked otherwise
            if level == "rehash" and not verify.comparable(row.checksum or "", wanted[path].checksum or ""):
                bad.add(path)
            else:
                todo.append((path, row))
    for batch in batches.by_size(todo, lambda item: item[1].size):
        requests = [
            (Api.DATA_OBJ_CHKSUM, verify.request(path, row, level, as_admin=wanted[path].as_admin))
            for path, row in batch
        ]
        with session.patient(sum(row.size for _, row in batch)):
            replies = session.pipeline(requests)
        for (path, row), reply in zip(batch, replies, strict=True):
            try:
                verify.judge(path, row, reply)
            except FileError:
                bad.add(path)  # looked at again by itself
    return right.keys() - bad
