"""Files of a vault as the server sees them, past the catalogue: looked at (510), removed (506, 509), unpacked (664).

The server lets rodsadmins look and remove; 664 it lets anybody. Layouts are those of fileStat.h, fileUnlink.h, fileRmdir.h and
structFileSync.h.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence

from irods.message import StringStringMap
from irods.message.message import Message
from irods.message.property_types import IntegerProperty, LongProperty, StringProperty, SubmessageProperty

from core.irods import batches, errors, wire
from core.irods.messages import Api, Packable
from core.irods.replicas import Replica
from core.irods.session import EVERYTHING, Session

STRUCT_FILE_COLL, TAR_STRUCT_FILE = 1, 2
UNIX_FILE_UNLINK_ERR, UNIX_FILE_STAT_ERR = -515000, -516000
_SIZE = re.compile(rb"<st_size>\s*(\d+)\s*</st_size>")
_ABSENT = frozenset(
    base - number for base in (UNIX_FILE_UNLINK_ERR, UNIX_FILE_STAT_ERR) for number in (errno.ENOENT, errno.ENOTDIR)
)


class _Host(Message):  # type: ignore[misc]
    """RHostAddr_PI; left empty, for the server takes the resource's own."""

    _name = "RHostAddr_PI"
    hostAddr = StringProperty()
    rodsZone = StringProperty()
    port = IntegerProperty()
    dummyInt = IntegerProperty()


class _SpecialCollection(Message):  # type: ignore[misc]
    """SpecColl_PI: which tar is unpacked, and where to (`cacheDir`)."""

    _name = "SpecColl_PI"
    collClass = IntegerProperty()
    type = IntegerProperty()
    collection = StringProperty()
    objPath = StringProperty()
    resource = StringProperty()
    rescHier = StringProperty()
    phyPath = StringProperty()
    cacheDir = StringProperty()
    cacheDirty = IntegerProperty()
    replNum = IntegerProperty()


class _StructFile(Message):  # type: ignore[misc]
    """StructFileOprInp_PI, of 664."""

    _name = "StructFileOprInp_PI"
    RHostAddr_PI = SubmessageProperty(_Host)
    oprType = IntegerProperty()
    flags = IntegerProperty()
    SpecColl_PI = SubmessageProperty(_SpecialCollection)
    KeyValPair_PI = SubmessageProperty(StringStringMap)


class _FileStat(Message):  # type: ignore[misc]
    """fileStatInp_PI, of 510."""

    _name = "fileStatInp_PI"
    RHostAddr_PI = SubmessageProperty(_Host)
    fileName = StringProperty()
    rescHier = StringProperty()
    objPath = StringProperty()
    rescId = LongProperty()


class _FileUnlink(Message):  # type: ignore[misc]
    """fileUnlinkInp_PI, of 506."""

    _name = "fileUnlinkInp_PI"
    RHostAddr_PI = SubmessageProperty(_Host)
    fileName = StringProperty()
    rescHier = StringProperty()
    objPath = StringProperty()
    in_pdmo = StringProperty()


class _FileRmdir(Message):  # type: ignore[misc]
    """fileRmdirInp_PI, of 509; without its flag only an empty folder goes."""

    _name = "fileRmdirInp_PI"
    flag = IntegerProperty()
    RHostAddr_PI = SubmessageProperty(_Host)
    dirName = StringProperty()
    rescHier = StringProperty()


def _host() -> _Host:
    return _Host(hostAddr="", rodsZone="", port=0, dummyInt=0)


def sizes(session: Session, files: Sequence[str], place: Replica) -> list[int | None]:
    """The sizes of files on the leaf of `place`, None where there is none; 50 of them share a round trip (510)."""
    requests = [stat_request(file, place.hierarchy, place.resource_id) for file in files]
    found = [_SIZE.search(reply.body) for reply in _each(session, Api.FILE_STAT, files, requests)]
    return [int(size.group(1)) if size else None for size in found]


def _each(session: Session, api: Api, files: Sequence[str], requests: Sequence[Packable]) -> Iterator[wire.Reply]:
    """The reply about each file, which may be that there is none; what else is refused is raised."""
    for part in batches.chunks(list(zip(files, requests, strict=True)), batches.BATCH_FILES):
        replies = session.pipeline([(api, request) for _, request in part])
        for (file, _), reply in zip(part, replies, strict=True):
            if reply.status < 0 and reply.status not in _ABSENT:
                raise errors.error_for(reply.status, file, reply.text)
            yield reply


def stat_request(file: str, hierarchy: str, leaf_id: int) -> Packable:
    """The message of 510."""
    message: Packable = _FileStat(RHostAddr_PI=_host(), fileName=file, rescHier=hierarchy, objPath="", rescId=leaf_id)
    return message


def unlink(session: Session, files: Sequence[str], path: str, place: Replica) -> None:
    """Remove files from the leaf of `place` (506), those that are there. No row of the catalogue may name them; the server
    wants the path of some object, which it does not look up."""
    requests = [
        _FileUnlink(RHostAddr_PI=_host(), fileName=file, rescHier=place.hierarchy, objPath=path, in_pdmo="")
        for file in files
    ]
    for _ in _each(session, Api.FILE_UNLINK, files, requests):
        pass


def remove_empty(session: Session, folders: Sequence[str], place: Replica) -> None:
    """Remove folders in this order (509); one that is not empty, or not there, stays as it is."""
    for folder in folders:
        message = _FileRmdir(flag=0, RHostAddr_PI=_host(), dirName=folder, rescHier=place.hierarchy)
        session.call(Api.FILE_RMDIR, message, path=folder, accept=EVERYTHING)


def unpack_request(tar: str, place: Replica, folder: str) -> Packable:
    """The message of `unpack`."""
    message: Packable = _StructFile(
        RHostAddr_PI=_host(),
        oprType=0,
        flags=0,
        SpecColl_PI=_SpecialCollection(
            collClass=STRUCT_FILE_COLL,
            type=TAR_STRUCT_FILE,
            collection=f"{tar}.dir",
            objPath=tar,
            resource=place.resource,
            rescHier=place.hierarchy,
            phyPath=place.physical_path,
            cacheDir=folder,
            cacheDirty=0,
            replNum=place.number,
        ),
        KeyValPair_PI=StringStringMap({}),
    )
    return message


def unpack(session: Session, tar: str, place: Replica, folder: str) -> None:
    """Unpack a tar of iRODS, whose replica is `place`, into a folder of its vault (664), without a word to the catalogue.

    The folder is made; one that holds a file is refused (SYS_DIR_IN_VAULT_NOT_EMPTY). A member that cannot be written
    is only noted in the server's log: look at what is there afterwards. The server leaks a descriptor with each call on a
    connection.
    """
    session.call(Api.STRUCT_FILE_EXTRACT, unpack_request(tar, place, folder), path=tar)
