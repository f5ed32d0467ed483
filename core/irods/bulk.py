"""Registering many files: 50 requests in a row on one connection (619), in one transaction (718) where we may.

619 stores size, time and checksum with the row, which 688 (no time) and 20008 (no checksum) do not, and answers for
each row.
"""

from __future__ import annotations

from collections.abc import Sequence

from core import paths
from core.errors import FileError, Outage
from core.irods import batches, errors, features, messages, register, replicas, wire
from core.irods.features import Features
from core.irods.messages import Api, Packable
from core.irods.register import Registration
from core.irods.resources import Resource
from core.irods.session import Session
from core.outcome import Done, Outcome

BATCH = 50
"""Requests in a row, whose replies wait in the socket meanwhile."""
NO_COMMIT = 1
"""The flag of 619 that leaves the transaction open."""


def register_many(
    session: Session, rows: Sequence[Registration], resource: Resource | None, available: Features
) -> list[Outcome]:
    """Register files on one leaf; one outcome a row, in order. Best with rows of one collection.

    A new row is one request, and 50 of them share a round trip and a commit. A row that exists is updated by itself.
    Without a leaf, and where the server or the settings do not allow 619, each row is registered as
    `register.register` does. As with that, nothing of the files is looked at.
    """
    outcomes: list[Outcome] = []
    for batch in batches.chunks(rows, BATCH):
        if outcomes and batches.gave_up(outcomes[-1]):
            outcomes += [outcomes[-1]] * len(batch)
        else:
            outcomes += _register_batch(session, batch, resource, available)
    return outcomes


def _register_batch(
    session: Session, batch: Sequence[Registration], resource: Resource | None, available: Features
) -> list[Outcome]:
    if resource is not None and resource.is_leaf and features.BULK_REGISTER in available:
        try:
            for row in batch:
                paths.check_logical(row.path)  # 619 does not look
            if features.TRANSACTION in available and _together(session, batch, resource, available):
                return [Done(row.checksum) for row in batch]
            replies = session.pipeline([(Api.REG_DATA_OBJ, _request(session, row, resource, 0)) for row in batch])
            return _each(session, list(zip(batch, replies, strict=True)), resource, available)
        except Outage as problem:
            return [batches.outcome(problem)] * len(batch)
        except FileError:
            pass  # one of the paths is bad
    return batches.one_by_one(batch, lambda row: _single(session, row, resource))


def _together(session: Session, batch: Sequence[Registration], leaf: Resource, available: Features) -> bool:
    """Register all rows in one transaction, or none; whether it was all."""
    replies = session.pipeline([(Api.REG_DATA_OBJ, _request(session, row, leaf, NO_COMMIT)) for row in batch])
    failed = [errors.error_for(reply.status) for reply in replies if reply.status < 0]
    for failure in failed:
        available.refused(features.TRANSACTION, failure)
    if len(failed) == len(batch):
        return False  # nothing was left open
    try:
        end = messages.end_transaction("rollback" if failed else "commit")
        session.call(Api.END_TRANSACTION, end, path=batch[0].path)
    except Outage:
        raise
    except FileError as problem:
        available.refused(features.TRANSACTION, problem)
        session.close()  # the rows that were left open go with the agent
        return False
    return not failed


def _each(
    session: Session, answered: Sequence[tuple[Registration, wire.Reply]], leaf: Resource, available: Features
) -> list[Outcome]:
    def finish(item: tuple[Registration, wire.Reply]) -> str | None:
        row, reply = item
        code = errors.nominal(reply.status)
        if code in register.EXISTS:
            register.update(session, row, leaf)
        elif reply.status < 0:
            error = errors.error_for(reply.status, row.path, reply.text)
            available.refused(features.BULK_REGISTER, error)
            if features.BULK_REGISTER in available:
                raise error
            register.register(session, row, leaf)
        return row.checksum

    return batches.one_by_one(answered, finish)


def _single(session: Session, row: Registration, resource: Resource | None) -> str | None:
    paths.check_logical(row.path)
    register.register(session, row, resource)
    return row.checksum


def _request(session: Session, row: Registration, leaf: Resource, flags: int) -> Packable:
    when = replicas.stamp(row.modified_at)
    return messages.data_object_info(
        session.version,
        objPath=row.path,
        rescName=leaf.name,
        rescHier=leaf.hierarchy,
        rescId=leaf.id,
        dataType="generic",
        dataSize=row.size,
        chksum=row.checksum or "",
        filePath=row.physical_path,
        replStatus=int(replicas.Status.GOOD),
        flags=flags,
        dataMode=register.FILE_MODE,
        dataModify=when,
    )
