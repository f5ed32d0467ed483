"""Registering many files: 50 in one call (688), with their times set in the same breath (622 or 20007)."""

from __future__ import annotations

from collections.abc import Sequence

from core import paths
from core.errors import FileError, Outage
from core.irods import batches, errors, features, messages, register, replicas
from core.irods.features import Features
from core.irods.messages import BULK_ROWS, Api
from core.irods.register import BulkRow, Registration
from core.irods.resources import Resource
from core.irods.session import Session
from core.outcome import Done, Outcome


def register_many(
    session: Session, rows: Sequence[Registration], resource: Resource | None, available: Features
) -> list[Outcome]:
    """Register files on one leaf; one outcome a row, in order. Best with rows of one collection, 50 at a time.

    Two exchanges for 50 rows: 688 registers all or none, and 50 requests in a row set their times, for 688 knows only
    now. A batch that fails (a row exists, a collection is missing) is done row by row, and so is everything when
    there is no leaf or the server or the settings do not allow 688.
    """
    outcomes: list[Outcome] = []
    for batch in batches.chunks(rows, BULK_ROWS):
        if outcomes and batches.gave_up(outcomes[-1]):
            outcomes += [outcomes[-1]] * len(batch)
        else:
            outcomes += _register_batch(session, batch, resource, available)
    return outcomes


def _register_batch(
    session: Session, batch: Sequence[Registration], resource: Resource | None, available: Features
) -> list[Outcome]:
    if resource is None or not resource.is_leaf or features.BULK_REGISTER not in available or len(batch) == 1:
        return batches.one_by_one(batch, lambda row: _register(session, row, resource))
    bulk_rows = [BulkRow(row.path, row.physical_path, row.size, row.checksum) for row in batch]
    try:
        for row in batch:
            paths.check_logical(row.path)  # 688 does not look
        register.bulk(session, "register", bulk_rows, resource.name, resource.id)
        return _set_times(session, batch, resource)
    except Outage as problem:
        return [batches.outcome(problem)] * len(batch)
    except FileError as problem:
        available.refused(features.BULK_REGISTER, problem)
        return batches.one_by_one(batch, lambda row: _register(session, row, resource))


def _register(session: Session, row: Registration, resource: Resource | None) -> str | None:
    paths.check_logical(row.path)
    register.register(session, row, resource)
    return row.checksum


def _set_times(session: Session, batch: Sequence[Registration], resource: Resource) -> list[Outcome]:
    changes = [
        (
            Api.MOD_DATA_OBJ_META,
            messages.mod_data_object(
                row.path,
                {"dataModify": replicas.stamp(row.modified_at)},
                replica=0,
                hierarchy=resource.hierarchy,
                version=session.version,
            ),
        )
        for row in batch
    ]
    replies = session.pipeline(changes)
    if any(errors.nominal(reply.status) == errors.NO_API_PRIV for reply in replies):
        # only a rodsadmin may use 622; touching is for everyone
        replies = session.pipeline([(Api.TOUCH, _touch(row, resource)) for row in batch])
    return [
        Done(row.checksum)
        if reply.status >= 0
        else batches.outcome(errors.error_for(reply.status, row.path, reply.text))
        for row, reply in zip(batch, replies, strict=True)
    ]


def _touch(row: Registration, resource: Resource) -> messages.Packable:
    options = {
        "no_create": True,
        "leaf_resource_name": resource.name,
        "seconds_since_epoch": row.modified_at // replicas.MICROSECONDS,
    }
    return messages.json_body({"logical_path": row.path, "options": options})
