"""A bundle unpacked where the collections of its members lie (665), and their checksums set in the catalogue (688)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core import paths
from core.errors import FileError, Outage
from core.irods import batches, errors, members, messages, places, register, replicas, tars
from core.irods.members import SmallFile
from core.irods.messages import BULK_ROWS, Api
from core.irods.register import BulkRow
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import Session

_GONE_WRONG = errors.LOCK_CODES | {errors.COPY_ALREADY_IN_RESC, errors.ALREADY_HAS_ITEM}


def replaceable(
    session: Session, collection: str, files: Sequence[SmallFile], resources: Mapping[str, Resource], *, overwrite: bool
) -> tuple[dict[str, Replica], list[SmallFile]]:
    """The replicas of what is there already, and the files that 665 can bring: new ones, and those that are to be overwritten
    and lie where it will put them.

    665 goes by the file where it would put the member: an object whose file lies elsewhere, because its collection was
    renamed or the vault path policy was another, it does not see.
    """
    logical = {paths.logical_path(collection, file.relative): file for file in files}
    there = replicas.replicas_each(session, logical)
    left = [
        file
        for path, file in logical.items()
        if path not in there or (overwrite and _lies_by_its_name(path, there[path], resources))
    ]
    return {path: rows[0] for path, rows in there.items()}, left


def _lies_by_its_name(path: str, rows: Sequence[Replica], resources: Mapping[str, Resource]) -> bool:
    if len(rows) != 1 or rows[0].resource not in resources:
        return False
    return rows[0].physical_path == places.place_of(path, resources[rows[0].resource])


def unpack(session: Session, tar: str, collection: str, *, overwrite: bool) -> None:
    """665 once on a connection, for the server leaks a descriptor with each."""
    keywords = {"dataType": tars.DATA_TYPE, "bulkOpr": ""} | ({"forceFlag": ""} if overwrite else {})
    request = messages.struct_file(tar, collection, keywords)
    with session.last_words():
        session.call(Api.STRUCT_FILE_EXT_AND_REG, request, path=tar, accept=_GONE_WRONG)


def record(
    session: Session,
    collection: str,
    files: Sequence[SmallFile],
    staged: Replica,
    before: Mapping[str, Replica],
    *,
    checksums: bool,
) -> set[str]:
    """Look the members up and set their checksums, if wanted; those that are as they should be."""
    good = {
        path: found
        for path, found in members.good(session, collection, files, staged).items()
        # one that was written in the second in which the tar was may not have been overwritten
        if path not in before or before[path].modified_at < staged.modified_at
    }
    if not checksums:
        return {file.relative for file, _ in good.values()}
    recorded: set[str] = set()
    for batch in batches.chunks(sorted(good), BULK_ROWS):
        whole = [(path, *good[path]) for path in batch]
        rows = [BulkRow(path, row.physical_path, row.size, file.checksum, row.number) for path, file, row in whole]
        try:
            register.bulk(session, "modify", rows, staged.resource, staged.resource_id)
        except Outage:
            raise
        except FileError:
            continue  # they go the single way, which finds the bytes in place and checks them
        recorded |= {file.relative for _, file, _ in whole}
    return recorded
