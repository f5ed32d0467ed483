"""Small files written where they are to lie in the vault (518), and registered there with their checksums (688).

665 registers what it unpacked of a tar, and the checksums are then set in rows that are there already: eleven statements of
SQL a file. Here each row is made once, as it is to be: six. 518 makes a file only where none is, so that nothing can be
overwritten, not even by a call that comes late. For rodsadmins, and those for whom they speak.

A client that dies between 518 and 688 leaves files that no row names. The next one to bring the same bytes takes them over;
others are moved out of the way by the server when something else is put there, once they are so old that nobody can be about
to register them: two clients that put one object at once would else take each other's file. None is removed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import paths
from core.errors import FileError, Outage
from core.irods import batches, collections, members, places, queries, register, vault
from core.irods.members import SmallFile
from core.irods.messages import BULK_ROWS, MAX_NAME_LEN
from core.irods.queries import Column, equal
from core.irods.register import BulkRow
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import Session
from core.irods.vault import VaultFile


@dataclass(frozen=True, slots=True)
class Delivery:
    """What has become of files, by their relative paths."""

    good: frozenset[str]
    """Those that are as they should be."""
    in_use: frozenset[str]
    """Those at whose places somebody is writing."""


def deliver(
    session: Session,
    collection: str,
    files: Sequence[SmallFile],
    place: Replica,
    resources: Mapping[str, Resource],
    *,
    checksums: bool,
) -> Delivery:
    """Put files that the catalogue does not know on the leaf of `place`, with their checksums if wanted. `place` is the replica
    of one that was put there just before.

    Raises what the server does not let us do. What it says of single files keeps these from being delivered.
    """
    relative = {paths.logical_path(collection, file.relative): file.relative for file in files}
    wanted = [_vault_file(collection, file, place, resources) for file in files]
    fit = [file for file in wanted if len(file.physical_path.encode()) < MAX_NAME_LEN]
    registered: set[str] = set()
    in_use: set[str] = set()
    for batch in batches.chunks(fit, BULK_ROWS):
        written, taken = vault.write(session, batch, place)
        left_behind, others = vault.look(session, _without_rows(session, taken), place)
        in_use |= {relative[file.path] for file in others}
        registered |= _register(session, written + left_behind, place, checksums=checksums)
    if not registered:
        return Delivery(frozenset(), frozenset(in_use))
    good = members.good(session, collection, files, place).values()
    delivered = {file.relative for file, row in good if row.physical_path in registered}
    return Delivery(frozenset(delivered), frozenset(in_use))


def free(session: Session, collection: str, files: Sequence[SmallFile], leaves: Sequence[Resource]) -> SmallFile | None:
    """One of the files, at whose place there is nothing on any of the leaves: the first, or else the last one."""
    for file in (files[0], files[-1]):
        path = paths.logical_path(collection, file.relative)
        if vault.is_free(session, path, [(places.place_of(path, leaf), leaf) for leaf in leaves]):
            return file
    return None


def _vault_file(collection: str, file: SmallFile, place: Replica, resources: Mapping[str, Resource]) -> VaultFile:
    path = paths.logical_path(collection, file.relative)
    return VaultFile(path, places.place_of(path, resources[place.resource]), file.data, file.checksum)


def _without_rows(session: Session, taken: Sequence[VaultFile]) -> list[VaultFile]:
    """Those of which the file that is there belongs to no object."""
    conditions = [[(Column.DATA_PATH, equal(file.physical_path))] for file in taken]
    owners = queries.select_each(session, (Column.DATA_ID,), conditions)
    return [file for file, rows in zip(taken, owners, strict=True) if not rows]


def _register(session: Session, files: Sequence[VaultFile], place: Replica, *, checksums: bool) -> set[str]:
    """The physical paths of what is registered: when one row keeps the others from it, each goes by itself."""
    # in one order, so that two who register the same wait for each other and do not lock each other out
    rows = [
        BulkRow(file.path, file.physical_path, len(file.data), file.checksum if checksums else None)
        for file in sorted(files, key=lambda file: file.path)
    ]
    if not rows or _registered(session, rows, place):
        return {row.physical_path for row in rows}
    return {row.physical_path for row in rows if len(rows) > 1 and _registered(session, [row], place)}


def _registered(session: Session, rows: Sequence[BulkRow], place: Replica) -> bool:
    def attempt() -> None:
        register.bulk(session, "register", rows, place.resource, place.resource_id)

    try:
        # 665 would have made what is missing
        collections.making_what_is_missing(session, [row.path for row in rows], attempt)
    except Outage:
        raise
    except FileError:
        return False
    return True
