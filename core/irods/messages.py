"""The packed structs of the calls this project makes, built of python-irodsclient's message classes.

Layouts are those of the server's rodsPackInstruct.h. Over XML an absent pointer is null, an absent int is left
undefined, so every int is always sent; a string in `str x[N]` must have fewer than N bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import cache
from typing import Any, Protocol

from irods.message import (
    CollectionRequest,
    FileOpenRequest,
    GenQueryResponse,
    GenQueryResponseColumn,
    JSON_Binary_Request,
    ModAclRequest,
    ModDataObjMeta_for_session,
    OpenedDataObjRequest,
    StringStringMap,
)
from irods.message.message import Message
from irods.message.property_types import IntegerProperty, LongProperty, StringProperty, SubmessageProperty

MAX_SQL_ATTR = 50
"""SqlResult_PI structs in a GenQueryOut_PI; all must be sent, a missing one is an unpack error."""
BULK_ROWS = 50
"""Rows in one 688 call: the server does not check, but its reply buffer holds no more."""
MAX_NAME_LEN, NAME_LEN = 1088, 64
NO_COMMIT = 1
"""The flag of DataObjInfo_PI that leaves a transaction open (619, 622)."""


class Api(IntEnum):
    """API numbers (apiNumberData.h); those of 20000 and above are unknown to python-irodsclient 3.3.0."""

    FILE_STAT = 510
    FILE_PUT = 518
    FILE_CHKSUM = 520
    DATA_OBJ_OPEN = 602
    DATA_OBJ_PUT = 606
    DATA_OBJ_GET = 608
    DATA_OBJ_UNLINK = 615
    REG_DATA_OBJ = 619
    MOD_DATA_OBJ_META = 622
    DATA_OBJ_CHKSUM = 629
    PHY_PATH_REG = 630
    DATA_OBJ_TRIM = 632
    STRUCT_FILE_EXT_AND_REG = 665
    STRUCT_FILE_BUNDLE = 666
    DATA_OBJ_CLOSE = 673
    DATA_OBJ_LSEEK = 674
    DATA_OBJ_READ = 675
    DATA_OBJ_WRITE = 676
    RM_COLL = 679
    COLL_CREATE = 681
    BULK_DATA_OBJ_REG = 688
    DATA_OBJ_REPL = 695
    GEN_QUERY = 702
    MOD_ACCESS_CONTROL = 707
    END_TRANSACTION = 718
    GET_FILE_DESCRIPTOR_INFO = 20000
    ATOMIC_METADATA = 20002
    REPLICA_CLOSE = 20004
    TOUCH = 20007
    REGISTER_PHYSICAL_PATH = 20008


class Packable(Protocol):
    """A packed struct to be: python-irodsclient's Message."""

    def pack(self) -> str:
        """The struct as XML."""


class StructFileExtAndReg(Message):  # type: ignore[misc]
    """StructFileExtAndRegInp_PI, of 665 and 666: the archive's path and the collection it is unpacked to or packed
    from."""

    _name = "StructFileExtAndRegInp_PI"
    objPath = StringProperty()
    collection = StringProperty()
    oprType = IntegerProperty()
    flags = IntegerProperty()
    KeyValPair_PI = SubmessageProperty(StringStringMap)


class DataObjInfo(Message):  # type: ignore[misc]
    """DataObjInfo_PI, of 619. python-irodsclient's own class leaves out `flags`, which then is undefined."""

    _name = "DataObjInfo_PI"
    objPath = StringProperty()
    rescName = StringProperty()
    rescHier = StringProperty()
    dataType = StringProperty()
    dataSize = LongProperty()
    chksum = StringProperty()
    version = StringProperty()
    filePath = StringProperty()
    dataOwnerName = StringProperty()
    dataOwnerZone = StringProperty()
    replNum = IntegerProperty()
    replStatus = IntegerProperty()
    statusString = StringProperty()
    dataId = LongProperty()
    collId = LongProperty()
    dataMapId = IntegerProperty()
    flags = IntegerProperty()
    dataComments = StringProperty()
    dataMode = StringProperty()
    dataExpiry = StringProperty()
    dataCreate = StringProperty()
    dataModify = StringProperty()
    dataAccess = StringProperty()
    dataAccessInx = IntegerProperty()
    writeFlag = IntegerProperty()
    destRescName = StringProperty()
    backupRescName = StringProperty()
    subPath = StringProperty()
    regUid = IntegerProperty()
    otherFlags = IntegerProperty()
    KeyValPair_PI = SubmessageProperty(StringStringMap)
    in_pdmo = StringProperty()
    rescId = LongProperty()
    dataAccessTime = StringProperty()


class EndTransaction(Message):  # type: ignore[misc]
    """endTransactionInp_PI, of 718: commit or rollback."""

    _name = "endTransactionInp_PI"
    arg0 = StringProperty()
    arg1 = StringProperty()


def data_object_info(version: tuple[int, ...], **fields: object) -> Packable:
    """DataObjInfo_PI with these fields; all others are zero or empty."""
    values = _blank(DataObjInfo) | {"KeyValPair_PI": StringStringMap({})} | fields
    if version < (5,):
        del values["dataAccessTime"]
    message: Packable = DataObjInfo(**values)
    return message


def end_transaction(how: str) -> Packable:
    """endTransactionInp_PI: `commit` or `rollback`."""
    message: Packable = EndTransaction(arg0=how, arg1="")
    return message


def _blank(message_class: Any) -> dict[str, object]:
    return {name: "" if isinstance(kind, StringProperty) else 0 for name, kind in message_class._ordered_properties}


def data_object(
    path: str,
    keywords: Mapping[str, str],
    *,
    size: int = 0,
    create_mode: int = 0,
    open_flags: int = 0,
    threads: int = 0,
    operation: int = 0,
) -> Packable:
    """DataObjInp_PI, of most calls about one data object."""
    message: Packable = FileOpenRequest(
        objPath=path,
        createMode=create_mode,
        openFlags=open_flags,
        offset=0,
        dataSize=size,
        numThreads=threads,
        oprType=operation,
        KeyValPair_PI=StringStringMap(dict(keywords)),
    )
    return message


def opened(
    descriptor: int, keywords: Mapping[str, str], *, length: int = 0, offset: int = 0, whence: int = 0, written: int = 0
) -> Packable:
    """OpenedDataObjInp_PI, of write, lseek and close."""
    message: Packable = OpenedDataObjRequest(
        l1descInx=descriptor,
        len=length,
        whence=whence,
        oprType=0,
        offset=offset,
        bytesWritten=written,
        KeyValPair_PI=StringStringMap(dict(keywords)),
    )
    return message


def collection(path: str, keywords: Mapping[str, str]) -> Packable:
    """CollInpNew_PI, of collection create and remove."""
    message: Packable = CollectionRequest(
        collName=path, flags=0, oprType=0, KeyValPair_PI=StringStringMap(dict(keywords))
    )
    return message


def struct_file(path: str, collection_path: str, keywords: Mapping[str, str]) -> StructFileExtAndReg:
    """StructFileExtAndRegInp_PI."""
    return StructFileExtAndReg(
        objPath=path,
        collection=collection_path,
        oprType=0,
        flags=0,
        KeyValPair_PI=StringStringMap(dict(keywords)),
    )


def access(path: str, level: str, user: str, zone: str) -> Packable:
    """modAccessControlInp_PI, of 707."""
    message: Packable = ModAclRequest(recursiveFlag=0, accessLevel=level, userName=user, zone=zone, path=path)
    return message


def json_body(value: Mapping[str, object]) -> Packable:
    """BinBytesBuf_PI with JSON inside, of the calls of 20000 and above."""
    message: Packable = JSON_Binary_Request(value)
    return message


class _Version:
    """What python-irodsclient's factory of DataObjInfo_PI asks a session for: iRODS 5 added a field at its end."""

    def __init__(self, version: tuple[int, ...]) -> None:
        self.server_version = version


@cache
def _mod_data_obj_meta(five: bool) -> Any:
    return ModDataObjMeta_for_session(_Version((5,) if five else (4,)))


def mod_data_object(
    path: str,
    changes: Mapping[str, str],
    *,
    replica: int,
    hierarchy: str,
    version: tuple[int, ...],
    object_id: int = 0,
    flags: int = 0,
) -> Packable:
    """ModDataObjMeta_PI, of 622: set columns of one replica, which `replica` and `hierarchy` name; rodsadmin only.

    With the object's id the server need not look its path up. `NO_COMMIT` leaves the transaction open.
    """
    five = version >= (5,)
    message_class = _mod_data_obj_meta(five)
    info_class = dict(message_class._ordered_properties)["dataObjInfo"].message_cls
    fields = _blank(info_class)
    fields |= {"objPath": path, "replNum": replica, "rescHier": hierarchy, "KeyValPair_PI": StringStringMap({})}
    fields |= {"dataId": object_id, "flags": flags}
    message: Packable = message_class(dataObjInfo=info_class(**fields), regParam=StringStringMap(dict(changes)))
    return message


def bulk_rows(columns: Sequence[tuple[int, int, Sequence[str]]]) -> Packable:
    """GenQueryOut_PI as a request, of 688: (column number, length limit, one value a row), padded to 50 columns."""
    filled = [
        GenQueryResponseColumn(attriInx=number, reslen=length, value=values) for number, length, values in columns
    ]
    padding = [GenQueryResponseColumn(attriInx=0, reslen=0, value=[])] * (MAX_SQL_ATTR - len(filled))
    message: Packable = GenQueryResponse(
        rowCnt=len(columns[0][2]),
        attriCnt=len(filled),
        continueInx=0,
        totalRowCount=0,
        SqlResult_PI=filled + padding,
    )
    return message
