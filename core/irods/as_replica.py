"""Registering files as one more replica of objects that exist already (20008 with regRepl)."""

from __future__ import annotations

from dataclasses import replace

from core.errors import Permanent, Transient
from core.irods import register, replicas
from core.irods.register import Registration
from core.irods.replicas import Replica, Status
from core.irods.resources import Resource
from core.irods.session import Session


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
    mine = own_replica(row, resource, [found for found in after if found.resource_id in leaves])
    if row.checksum is None and mine.number not in {found.number for found in before}:
        # the server may have read the file just now, because an older replica has a checksum
        row = replace(row, checksum=mine.checksum)
    register.correct(session, row, mine)
    _settle_others(session, row, mine, before, after)


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


def _settle_others(
    session: Session, row: Registration, mine: Replica, before: list[Replica], after: list[Replica]
) -> None:
    """Older replicas: good where they were good and hold the same bytes, stale where they may not."""
    was_good = {found.number for found in before if found.good}
    rehashed = row.checksum is not None and mine.checksum != row.checksum
    changed = mine.number not in was_good or mine.size != row.size or rehashed
    for other in after:
        if other.number == mine.number or other.status not in replicas.AT_REST:
            continue
        same = _same(row, other)
        if other.good and changed and not same:
            replicas.modify(session, row.path, other, {"replStatus": str(int(Status.STALE))})
        elif not other.good and other.number in was_good and same:
            replicas.modify(session, row.path, other, {"replStatus": str(int(Status.GOOD))})


def _same(row: Registration, other: Replica) -> bool:
    return other.size == row.size and row.checksum is not None and row.checksum == other.checksum
