"""Files of a vault, past the catalogue: written (518), looked at (510, 520).

The server lets rodsadmins write and look, and those for whom one speaks. Layouts are those of fileOpen.h, fileStat.h and
fileChksum.h.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from irods.message import StringStringMap
from irods.message.message import Message
from irods.message.property_types import IntegerProperty, LongProperty, StringProperty, SubmessageProperty

from core.errors import Outage
from core.irods import batches, errors, features, wire
from core.irods.messages import Api, Packable
from core.irods.replicas import MICROSECONDS, Replica
from core.irods.resources import Resource
from core.irods.session import Session

UNIX_FILE_CREATE_ERR = -511000
NO_CHECK_OF_PATH = 1
"""NO_CHK_PERM_FLAG of fileOpen.h: 518 would take the vault for a place where nobody may write."""
FILE_MODE = 0o600
"""What the server gives its own files (DEFAULT_FILE_MODE of rodsDef.h)."""
IN_USE_SECONDS = 60
"""A file without a row that is not older is somebody's who is about to register it, unless it is one that can be taken over."""
_SIZE = re.compile(rb"<st_size>\s*(\d+)\s*</st_size>")
_WRITTEN_AT = re.compile(rb"<st_mtim>\s*(\d+)\s*</st_mtim>")
_CHECKSUM = re.compile(rb"<chksumStr>\s*([^<]*?)\s*</chksumStr>")


class _Host(Message):  # type: ignore[misc]
    """RHostAddr_PI; left empty, for the server takes the resource's own."""

    _name = "RHostAddr_PI"
    hostAddr = StringProperty()
    rodsZone = StringProperty()
    port = IntegerProperty()
    dummyInt = IntegerProperty()


class _FileOpen(Message):  # type: ignore[misc]
    """fileOpenInp_PI, of 518."""

    _name = "fileOpenInp_PI"
    resc_name_ = StringProperty()
    resc_hier_ = StringProperty()
    objPath = StringProperty()
    otherFlags = IntegerProperty()
    RHostAddr_PI = SubmessageProperty(_Host)
    fileName = StringProperty()
    flags = IntegerProperty()
    mode = IntegerProperty()
    dataSize = LongProperty()
    KeyValPair_PI = SubmessageProperty(StringStringMap)
    in_pdmo = StringProperty()


class _FileChecksum(Message):  # type: ignore[misc]
    """fileChksumInp_PI, of 520."""

    _name = "fileChksumInp_PI"
    RHostAddr_PI = SubmessageProperty(_Host)
    fileName = StringProperty()
    rescHier = StringProperty()
    objPath = StringProperty()
    flags = IntegerProperty()
    in_pdmo = StringProperty()
    orig_chksum = StringProperty()
    dataSize = LongProperty()
    KeyValPair_PI = SubmessageProperty(StringStringMap)


class _FileStat(Message):  # type: ignore[misc]
    """fileStatInp_PI, of 510."""

    _name = "fileStatInp_PI"
    RHostAddr_PI = SubmessageProperty(_Host)
    fileName = StringProperty()
    rescHier = StringProperty()
    objPath = StringProperty()
    rescId = LongProperty()


@dataclass(frozen=True, slots=True)
class VaultFile:
    """A small file, where it is to lie in a vault, and the object that it is to be of."""

    path: str
    physical_path: str
    data: bytes = field(repr=False)
    checksum: str


def _host() -> _Host:
    return _Host(hostAddr="", rodsZone="", port=0, dummyInt=0)


def write(session: Session, files: Sequence[VaultFile], place: Replica) -> tuple[list[VaultFile], list[VaultFile]]:
    """Write at most 50 new files on the leaf of `place`, with their folders; those that were written whole, and those whose
    place is taken.

    Nothing that lies there is overwritten (O_EXCL). What the server does not let us do is raised; a file of which it says
    anything else is in neither list.
    """
    written: list[VaultFile] = []
    taken: list[VaultFile] = []
    requests = [
        (Api.FILE_PUT, write_request(file.path, file.physical_path, len(file.data), place.hierarchy)) for file in files
    ]
    replies = session.pipeline(requests, [file.data for file in files])
    for file, reply in zip(files, replies, strict=True):
        if reply.status == len(file.data):
            written.append(file)
        elif reply.status == UNIX_FILE_CREATE_ERR - errno.EEXIST:
            taken.append(file)
        elif reply.status < 0:
            error = errors.error_for(reply.status, file.path, reply.text)
            if isinstance(error, Outage) or error.error in features.REFUSALS:
                raise error
    return written, taken


def write_request(path: str, physical_path: str, size: int, hierarchy: str) -> Packable:
    """The message of 518."""
    message: Packable = _FileOpen(
        resc_name_="",
        resc_hier_=hierarchy,
        objPath=path,
        otherFlags=NO_CHECK_OF_PATH,
        RHostAddr_PI=_host(),
        fileName=physical_path,
        flags=os.O_WRONLY,
        mode=FILE_MODE,
        dataSize=size,
        KeyValPair_PI=StringStringMap({}),
        in_pdmo="",
    )
    return message


def look(session: Session, files: Sequence[VaultFile], place: Replica) -> tuple[list[VaultFile], list[VaultFile]]:
    """Of at most 50 files those that lie on the leaf of `place` with just these bytes, by their sizes (510) and checksums (520),
    and of the others those that somebody was writing when `place` was made, or about then."""
    wanted = [(file.path, file.physical_path, place.hierarchy, place.resource_id) for file in files]
    stats = _stats(session, wanted)
    sized = [file for file, reply in zip(files, stats, strict=True) if _found(_SIZE, reply) == str(len(file.data))]
    sums = session.pipeline([(Api.FILE_CHKSUM, _checksum(file, place)) for file in sized])
    same = [file for file, reply in zip(sized, sums, strict=True) if _found(_CHECKSUM, reply) == file.checksum]
    now = place.modified_at // MICROSECONDS
    written_at = [(file, _found(_WRITTEN_AT, reply)) for file, reply in zip(files, stats, strict=True)]
    young = [file for file, at in written_at if at is not None and abs(int(at) - now) < IN_USE_SECONDS]
    return same, [file for file in young if file not in same]


def is_free(session: Session, path: str, places: Sequence[tuple[str, Resource]]) -> bool:
    """Whether nothing lies at any of these physical paths of leaves (510)."""
    wanted = [(path, physical, leaf.hierarchy, leaf.id) for physical, leaf in places]
    return not any(_found(_SIZE, reply) for reply in _stats(session, wanted))


def _stats(session: Session, files: Sequence[tuple[str, str, str, int]]) -> list[wire.Reply]:
    requests = [(Api.FILE_STAT, _stat(*file)) for file in files]
    return [reply for part in batches.chunks(requests, batches.BATCH_FILES) for reply in session.pipeline(part)]


def _stat(path: str, physical_path: str, hierarchy: str, resource: int) -> Packable:
    message: Packable = _FileStat(
        RHostAddr_PI=_host(), fileName=physical_path, rescHier=hierarchy, objPath=path, rescId=resource
    )
    return message


def _checksum(file: VaultFile, place: Replica) -> Packable:
    # 520 reads as many bytes as it is told to, in the scheme of the checksum that it is given
    message: Packable = _FileChecksum(
        RHostAddr_PI=_host(),
        fileName=file.physical_path,
        rescHier=place.hierarchy,
        objPath=file.path,
        flags=0,
        in_pdmo="",
        orig_chksum=file.checksum,
        dataSize=len(file.data),
        KeyValPair_PI=StringStringMap({}),
    )
    return message


def _found(pattern: re.Pattern[bytes], reply: wire.Reply) -> str | None:
    found = pattern.search(reply.body) if reply.status >= 0 else None
    return found.group(1).decode("ascii", "replace") if found else None
