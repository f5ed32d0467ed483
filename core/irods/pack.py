"""Reading many small files at once: the server packs their collection into a tar (666), and we hash its members.

The tar is made from the files as they lie in the vault, so hashing its members is a verification of the bytes, at
several times the rate of one checksum call a file. The server packs everything below the collection that lies on the
leaf it is told; a missing file or one outside the vault fails the whole pack. What has no replica on that leaf it replicates
to it first (chkCollForBundleOpr): so only a collection whose every object is there, and gets there, is packed.
"""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing, suppress

from core import checksums
from core.errors import FileError
from core.irods import messages, objects, put, queries, tars
from core.irods.bundle import suits
from core.irods.messages import Api
from core.irods.queries import Column
from core.irods.replicas import Replica, Status
from core.irods.resources import Resource, leaves
from core.irods.session import Session

MAX_BYTES = 1024 * 1024 * 1024
"""Of all files below the collection: the pack holds them all, and takes as much room in the vault for a while."""
MAX_FILES = 20_000
ONE_REPLY_BYTES = 24 * 1024 * 1024
"""Of a tar that comes in one reply (608), which the server does up to 32 MiB; a larger one is read in pieces."""
WORTH = 0.5
"""The part of what lies below a collection that must be wanted, in files and in bytes, for a pack to pay."""
PIECE_BYTES = 1024 * 1024

Found = dict[str, tuple[int, str]]
"""Size and checksum of what was read, by logical path."""


def pays(session: Session, collection: str, files: int, size: int) -> bool:
    """Whether so many files and bytes are enough of what lies below a collection for a pack to be made of it all."""
    ranges = ([(Column.COLL_NAME, which)] for which in queries.subtree(collection))
    counts = [queries.totals(session, conditions) for conditions in ranges]
    count, total = sum(each[0] for each in counts), sum(each[1] for each in counts)
    return total <= MAX_BYTES and count <= MAX_FILES and files >= WORTH * count and size >= WORTH * total


def read_collection(
    session: Session,
    staging: Callable[[], str],
    collection: str,
    wanted: Mapping[str, str],
    listed: Mapping[str, list[Replica]],
    resources: Mapping[str, Resource],
) -> Found:
    """Size and checksum of the bytes of wanted objects, read by a pack; {} where it cannot be made.

    `wanted` has a checksum for each logical path, whose scheme is used; `listed` is the catalogue of all that lies
    below the collection. The bytes are those of the one good replica; objects with several are not to be wanted.
    """
    good = {path: row for path in wanted for row in listed[path] if row.good}
    hierarchy = _hierarchy(listed, good, resources)
    if hierarchy is None:
        return {}
    ours = {path: wanted[path] for path in good}
    sizes = [row.size for rows in listed.values() for row in rows if row.hierarchy == hierarchy]
    if len(ours) < WORTH * len(sizes):
        return {}
    tar_bytes = sum(sizes) + 2048 * (len(sizes) + 10)
    return _pack(session, f"{staging()}/{uuid.uuid4().hex}.tar", collection, hierarchy, ours, tar_bytes)


def _hierarchy(
    listed: Mapping[str, list[Replica]], good: Mapping[str, Replica], resources: Mapping[str, Resource]
) -> str | None:
    """The leaf on which all objects below the collection lie, if a pack can hold them.

    It must be the only one of its tree: an object that comes while the pack is made would be on another one, and replicated.
    """
    places = {row.hierarchy for row in good.values()}
    if len(places) != 1:
        return None
    (hierarchy,) = places
    leaf = resources.get(hierarchy.rpartition(";")[2])
    if leaf is None or leaf.hierarchy != hierarchy or not suits(leaf, resources):
        return None
    if leaves(resources, hierarchy.partition(";")[0]) != [leaf]:
        return None
    there = [[row for row in rows if row.hierarchy == hierarchy] for rows in listed.values()]
    # one that is being written counts for the server as there
    held = all(any(row.status != Status.STALE for row in rows) for rows in there)
    return hierarchy if held and all(put.in_vault(row, resources) for rows in there for row in rows) else None


def _pack(
    session: Session, tar: str, collection: str, hierarchy: str, wanted: Mapping[str, str], tar_bytes: int
) -> Found:
    root = hierarchy.partition(";")[0]
    keywords = {"dataType": tars.DATA_TYPE, "destRescName": root, "resc_hier": hierarchy}
    try:
        # once on a connection, for the server leaks a descriptor with each
        with session.last_words(), session.patient(tar_bytes):
            session.call(Api.STRUCT_FILE_BUNDLE, messages.struct_file(tar, collection, keywords), path=tar)
        if tar_bytes <= ONE_REPLY_BYTES:
            reply = session.call(Api.DATA_OBJ_GET, messages.data_object(tar, {}, threads=1, operation=2), path=tar)
            return _members(io.BytesIO(reply.stream), False, collection, wanted)
        with closing(objects.read(session, tar, {})) as pieces:
            return _members(tars.Pieces(pieces), True, collection, wanted)
    finally:
        # a pack that failed leaves its tar locked; removing it frees it first
        with suppress(FileError):
            objects.remove(session, tar, force=True)


def _members(file: io.IOBase, streamed: bool, collection: str, wanted: Mapping[str, str]) -> Found:
    found: Found = {}
    try:
        with tars.read(file, streamed=streamed) as tar:
            for member in tar:
                path = f"{collection}/{member.name.removeprefix('./')}"
                content = tar.extractfile(member) if member.isreg() and path in wanted else None
                if content is not None:
                    found[path] = _hash(content, checksums.scheme_of(wanted[path]))
                tar.members = []  # tarfile would remember each
    except tarfile.TarError:
        pass  # cut short: its members go the single way
    return found


def _hash(content: io.BufferedIOBase, scheme: str) -> tuple[int, str]:
    hasher, size = checksums.Hasher(scheme), 0
    while piece := content.read(PIECE_BYTES):
        hasher.update(piece)
        size += len(piece)
    return size, hasher.checksum
