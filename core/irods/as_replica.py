"""Registering files as one more replica of objects that exist already (20008 with regRepl)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from core import paths
from core.errors import FileError, Outage, Permanent, Transient
from core.irods import batches, bulk, register, replicas
from core.irods.features import Features
from core.irods.messages import Api
from core.irods.register import Registration
from core.irods.replicas import Replica, Status
from core.irods.resources import Resource
from core.irods.session import Session
from core.outcome import Outcome

Change = tuple[Replica, Mapping[str, str]]
"""A replica and what is to be in its columns, as keywords of 622."""


class Settling(NamedTuple):
    """What is left to do after a registration. Others go first: by what is still wrong with the new replica an attempt
    after one that died sees that the others are not settled yet."""

    of_others: Sequence[Change]
    of_mine: Sequence[Change]


def register_as_replica(session: Session, row: Registration, resource: Resource, leaves: frozenset[int]) -> None:
    """Make the file a replica of `row.path` on that leaf, or on a leaf of that root; register it where there is no
    object.

    A replica there with the same physical path gets the new size, time and checksum (622, rodsadmin only), none of them
    when nothing differs; one with another physical path is `Permanent` of class wrong_path. The new replica is the
    truth: it is good, and older ones become stale unless size and checksum show that they hold the same bytes. Where an
    older replica has a checksum the server reads the new file, so it must be there. The catalogue is read back, and
    must show the replica on one of `leaves`.
    """
    before = replicas.replicas(session, row.path)
    here = [found for found in before if found.resource_id in leaves]
    if not before:
        register.register(session, row, resource)
    elif not here:
        with session.patient(row.size):
            _add(session, row, resource)
    after = replicas.replicas(session, row.path)
    settling = _changes(row, resource, leaves, before, after)
    for found, changes in (*settling.of_others, *settling.of_mine):
        replicas.modify(session, row.path, found, changes)


def register_as_replica_many(
    session: Session, rows: Sequence[Registration], resource: Resource, leaves: frozenset[int], available: Features
) -> list[Outcome]:
    """The same for many files, one outcome each, in order; best with files of one collection.

    The catalogue is read in bulk before and after; registrations share round trips, and so do the changes. What that
    does not settle is done file by file.
    """
    try:
        done = _together(session, rows, resource, leaves, available)
    except Outage as problem:
        return [batches.outcome(problem)] * len(rows)
    except FileError:
        done = {}

    def single(row: Registration) -> str | None:
        if done.get(row.path) is not row:
            paths.check_logical(row.path)
            register_as_replica(session, row, resource, leaves)
        return row.checksum

    return batches.one_by_one(rows, single)


def _together(
    session: Session, rows: Sequence[Registration], resource: Resource, leaves: frozenset[int], available: Features
) -> dict[str, Registration]:
    """The files by path that are registered and found so, by shared calls; what is missing here may still be."""
    wanted: dict[str, Registration] = {}
    for row in rows:
        with suppress(Permanent):
            paths.check_logical(row.path)
            wanted[row.path] = row
    before = replicas.replicas_each(session, wanted)
    new = [row for path, row in wanted.items() if path not in before]
    if resource.is_leaf:
        bulk.register_many(session, new, resource, available)  # what it refuses is missing afterwards
    else:
        _register(session, new, resource, {})
    has = {path for path, found in before.items() if any(each.resource_id in leaves for each in found)}
    _register(session, [wanted[path] for path in before.keys() - has], resource, {"regRepl": ""})
    after = replicas.replicas_each(session, wanted)
    changes: dict[str, Settling] = {}
    for path, row in wanted.items():
        with suppress(Permanent, Transient):
            changes[path] = _changes(row, resource, leaves, before.get(path, []), after.get(path, []))
    for part in Settling._fields:
        flat = [(path, *change) for path, each in changes.items() for change in getattr(each, part)]
        for path in _modify(session, flat):
            del changes[path]
    return {path: wanted[path] for path in changes}


def _register(session: Session, rows: Sequence[Registration], resource: Resource, keywords: Mapping[str, str]) -> None:
    """Send registrations (20008); those that are refused are missing afterwards."""
    for batch in batches.by_size(rows, lambda row: row.size):
        with session.patient(sum(row.size for row in batch)):
            session.pipeline(
                [(Api.REGISTER_PHYSICAL_PATH, register.physical_path(row, resource, keywords)) for row in batch]
            )


def _modify(session: Session, changes: Sequence[tuple[str, Replica, Mapping[str, str]]]) -> set[str]:
    """Send changes (622); the paths of those that are refused."""
    failed: set[str] = set()
    for batch in batches.chunks(changes, batches.BATCH_FILES):
        replies = session.pipeline(
            [(Api.MOD_DATA_OBJ_META, replicas.modification(session, *change)) for change in batch]
        )
        failed |= {path for (path, *_), reply in zip(batch, replies, strict=True) if reply.status < 0}
    return failed


def _add(session: Session, row: Registration, resource: Resource) -> None:
    if not register.register_new(session, row, resource, {"regRepl": ""}):
        raise Transient(
            "replica_race", f"somebody else has just registered a replica of {row.path}", "it is tried again"
        )


def own_replica(row: Registration, resource: Resource, here: list[Replica]) -> Replica:
    """The one of the replicas on that resource that this registration made; `Permanent` when there are only others."""
    for found in here:
        if found.physical_path == row.physical_path:
            return found
    if not here:
        raise Transient("wrong_resource", f"the catalogue shows no replica of {row.path} on {resource.name}")
    lies = ", ".join(f"{found.physical_path} on {found.hierarchy}" for found in here)
    words = f"{row.path} has a replica from {lies} already, not from {row.physical_path}"
    raise Permanent("wrong_path", words, "unregister that one first (iunreg -n)")


def _changes(
    row: Registration, resource: Resource, leaves: frozenset[int], before: list[Replica], after: list[Replica]
) -> Settling:
    """What is still to be corrected after the registration."""
    mine = own_replica(row, resource, [found for found in after if found.resource_id in leaves])
    if row.checksum is None and mine.number not in {found.number for found in before}:
        # the server may have read the file just now, because an older replica has a checksum
        row = replace(row, checksum=mine.checksum)
    corrections = register.corrections(row, mine)
    return Settling(list(_of_others(row, mine, before, after)), [(mine, corrections)] if corrections else [])


def _of_others(row: Registration, mine: Replica, before: list[Replica], after: list[Replica]) -> Iterator[Change]:
    """Older replicas: good where they were good and hold the same bytes, stale where they may not."""
    was_good = {found.number for found in before if found.good}
    rehashed = row.checksum is not None and mine.checksum != row.checksum
    changed = mine.number not in was_good or mine.size != row.size or rehashed
    for other in after:
        if other.number == mine.number or other.status not in replicas.AT_REST:
            continue
        same = _same(row, other)
        if other.good and changed and not same:
            yield other, {"replStatus": str(int(Status.STALE))}
        elif not other.good and other.number in was_good and same:
            yield other, {"replStatus": str(int(Status.GOOD))}


def _same(row: Registration, other: Replica) -> bool:
    return other.size == row.size and row.checksum is not None and row.checksum == other.checksum
