"""A bundle unpacked into a folder of its own (664), and its files registered where they lie, with their checksums (688).

665 registers what it unpacked, and the checksums are then set in rows that are there already: eleven statements of SQL a
file. Here each row is made once, as it is to be: six. The folder is new, so nothing that lies in the vault can be
overwritten; that its files are whole is looked up there (510) before the catalogue is told of them. Looking, and tidying
up, is for rodsadmins.

A client that dies between 664 and 688 leaves files that no row names. Their folder is noted in the tar, which is left too.
"""

from __future__ import annotations

import posixpath
import tarfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing

from core import paths
from core.errors import FileError, Outage
from core.irods import batches, collections, members, objects, queries, register, tars, vault
from core.irods.members import SmallFile
from core.irods.messages import BULK_ROWS, MAX_NAME_LEN
from core.irods.queries import Column, equal
from core.irods.register import BulkRow
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import Session

FOLDER = ".bundle-"
"""How the name of a bundle's folder begins."""


def new_folder(collection: str) -> str:
    """A folder that nobody has, below where a collection lies in a vault by iRODS' own rule; relative to the vault."""
    return posixpath.join(paths.below_zone(collection), f"{FOLDER}{uuid.uuid4().hex}")


class OwnFolder:
    """The folder of one bundle, on the leaf where its tar is."""

    def __init__(
        self, session: Session, tar: str, place: Replica, folder: str, resources: Mapping[str, Resource]
    ) -> None:
        """`folder` is relative to the leaf's vault."""
        self._session = session
        self._tar = tar
        self._place = place
        self._folder = posixpath.join(resources[place.resource].vault, folder)
        self._loose: list[str] = []

    def path(self, relative: str) -> str:
        """Where a member lies."""
        return f"{self._folder}/{relative}"

    def deliver(self, collection: str, files: Sequence[SmallFile], *, checksums: bool) -> set[str]:
        """Unpack the tar and register its members, their checksums too if wanted; those that are as they should be.

        Members that are missing or cut short in the vault are not registered, nor is a batch of 50 in which one is in the
        catalogue already. Raises what the server says where it does not let us.
        """
        if any(len(self.path(file.relative).encode()) >= MAX_NAME_LEN for file in files):
            return set()
        # before anything is unpacked: whether we may look at all, and whether we look at the right host
        if vault.sizes(self._session, [self._place.physical_path], self._place) != [self._place.size]:
            return set()
        self._loose = [self.path(file.relative) for file in files]
        try:
            vault.unpack(self._session, self._tar, self._place, self._folder)
            there = vault.sizes(self._session, self._loose, self._place)
            whole = [file for file, size in zip(files, there, strict=True) if size == len(file.data)]
            registered: set[str] = set()
            for batch in batches.chunks(whole, BULK_ROWS):
                registered |= self._register(collection, batch, checksums=checksums)
        finally:
            self._session.leaked()
        self._loose = [file for file in self._loose if file not in registered]
        if not registered:
            return set()
        good = members.good(self._session, collection, files, self._place).values()
        return {file.relative for file, row in good if row.physical_path in registered}

    def _register(self, collection: str, batch: Sequence[SmallFile], *, checksums: bool) -> set[str]:
        """The physical paths of what was registered: all of the batch, or nothing."""
        rows = [
            BulkRow(
                paths.logical_path(collection, file.relative),
                self.path(file.relative),
                len(file.data),
                file.checksum if checksums else None,
            )
            for file in batch
        ]

        def attempt() -> None:
            register.bulk(self._session, "register", rows, self._place.resource, self._place.resource_id)

        try:
            # 665 would have made what is missing
            collections.making_what_is_missing(self._session, [row.path for row in rows], attempt)
        except Outage:
            raise
        except FileError:
            return set()
        return {row.physical_path for row in rows}

    def tidy(self) -> None:
        """Remove what was unpacked and not registered."""
        _remove(self._session, self._tar, self._folder, self._loose, self._place)
        self._loose = []


def _remove(session: Session, tar: str, folder: str, files: Sequence[str], place: Replica) -> None:
    if not files:
        return
    vault.unlink(session, files, tar, place)
    folders = {folder}
    for file in files:
        while (file := posixpath.dirname(file)) != folder:
            folders.add(file)
    vault.remove_empty(session, sorted(folders, key=len, reverse=True), place)


def tidy_after(session: Session, tar: str, place: Replica, resources: Mapping[str, Resource]) -> None:
    """Remove what a dead client unpacked of a tar and did not register; nothing for a tar that names no folder."""
    try:
        with (
            closing(objects.read(session, tar, {})) as pieces,
            tars.read(tars.Pieces(pieces), streamed=True) as unpacked,
        ):
            first = unpacked.next()
            note = tars.note_of(unpacked)
            if first is None or not posixpath.basename(note).startswith(FOLDER):
                return  # a pack, or the tar of a 665: there is no need to read it to its end
            names = [first.name, *(member.name for member in unpacked)]
    except tarfile.TarError:
        return  # it was never whole, so nothing was unpacked of it
    folder = posixpath.join(resources[place.resource].vault, note)
    files = [f"{folder}/{name}" for name in names]
    rows = queries.select_each(session, (Column.DATA_ID,), [[(Column.DATA_PATH, equal(file))] for file in files])
    _remove(session, tar, folder, [file for file, row in zip(files, rows, strict=True) if not row], place)
