"""The members of a bundle, and how the catalogue shows them once they are unpacked."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field

from core import paths
from core.irods import replicas
from core.irods.annotate import AVU, Access
from core.irods.queries import Column, equal
from core.irods.replicas import Replica
from core.irods.session import Session


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file to put: its path below the bundle's collection, its bytes, their checksum in iRODS notation."""

    relative: str
    data: bytes = field(repr=False)
    checksum: str
    metadata: Sequence[AVU] = ()
    acl: Sequence[Access] = ()


def good(
    session: Session, collection: str, files: Sequence[SmallFile], staged: Replica
) -> dict[str, tuple[SmallFile, Replica]]:
    """The members that the catalogue shows as they should be: one good replica of the right size where the tar was."""
    shown = _shown(session, collection, files, staged)
    expected = {paths.logical_path(collection, file.relative): file for file in files}
    return {
        path: (expected[path], rows[0])
        for path, rows in shown.items()
        if path in expected
        and len(rows) == 1
        and rows[0].good
        and rows[0].size == len(expected[path].data)
        and rows[0].hierarchy == staged.hierarchy
    }


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
