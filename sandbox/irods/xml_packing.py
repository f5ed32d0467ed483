"""Packing instructions ("PI strings") of iRODS and their XML form, with the server's own strictness.

What the server does with XML that does not fit its instruction, and what is therefore done here (iRODS packStruct.cpp):

* tags come in the order of the instruction; one that stands elsewhere counts as missing;
* a missing number is taken (as 0 here), a missing pointer is null, a missing string or struct is refused with
  SYS_PACK_INSTRUCT_FORMAT_ERR;
* a string that fills its fixed length or more, counted in bytes, is refused with USER_PACKSTRUCT_INPUT_ERR.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from sandbox.irods.errors import Code, IrodsError

Struct = dict[str, Any]

SIZES = {
    "HEADER_TYPE_LEN": 128,
    "MAX_NAME_LEN": 1088,
    "NAME_LEN": 64,
    "LONG_NAME_LEN": 256,
    "SHORT_STR_LEN": 32,
    "ERR_MSG_LEN": 1024,
    "TIME_LEN": 32,
    "MAX_SQL_ATTR": 50,
    "CHALLENGE_LEN": 64,
    "RESPONSE_LEN": 16,
}
NUMBERS = {"int", "int16", "double"}
_FIELD = re.compile(r"(\w+)\s+(\*?)(\w+)\s*(?:\[(\w+)\])?\s*(?:\((\w+)\))?\s*(?:\((\w+)\))?")


@dataclass(frozen=True, slots=True)
class Field:
    """One item of an instruction: `kind *name[bound](hint)(inner)`."""

    kind: str
    pointer: bool
    name: str
    bound: str | None
    hint: str | None
    inner: str | None
    opening: bytes
    closing: bytes


INSTRUCTIONS = {
    "STR_PI": "str myStr;",
    "StartupPack_PI": (
        "int irodsProt; int reconnFlag; int connectCnt; str proxyUser[NAME_LEN]; str proxyRcatZone[NAME_LEN];"
        " str clientUser[NAME_LEN]; str clientRcatZone[NAME_LEN]; str relVersion[NAME_LEN]; str apiVersion[NAME_LEN];"
        " str option[LONG_NAME_LEN];"
    ),
    "Version_PI": (
        "int status; str relVersion[NAME_LEN]; str apiVersion[NAME_LEN]; int reconnPort;"
        " str reconnAddr[LONG_NAME_LEN]; int cookie;"
    ),
    "CS_NEG_PI": "int status; str result[MAX_NAME_LEN];",
    "RErrMsg_PI": "int status; str msg[ERR_MSG_LEN];",
    "RError_PI": "int count; struct *RErrMsg_PI[count];",
    "KeyValPair_PI": "int ssLen; str *keyWord[ssLen]; str *svalue[ssLen];",
    "InxIvalPair_PI": "int iiLen; int *inx(iiLen); int *ivalue(iiLen);",
    "InxValPair_PI": "int isLen; int *inx(isLen); str *svalue[isLen];",
    "BinBytesBuf_PI": "int buflen; bin *buf(buflen);",
    "BytesBuf_PI": "int buflen; char *buf(buflen);",
    "DataObjInp_PI": (
        "str objPath[MAX_NAME_LEN]; int createMode; int openFlags; double offset; double dataSize; int numThreads;"
        " int oprType; struct *SpecColl_PI; struct KeyValPair_PI;"
    ),
    "SpecColl_PI": (
        "int collClass; int type; str collection[MAX_NAME_LEN]; str objPath[MAX_NAME_LEN]; str resource[NAME_LEN];"
        " str rescHier[MAX_NAME_LEN]; str phyPath[MAX_NAME_LEN]; str cacheDir[MAX_NAME_LEN]; int cacheDirty;"
        " int replNum;"
    ),
    "DataObjCopyInp_PI": "struct DataObjInp_PI; struct DataObjInp_PI;",
    "OpenedDataObjInp_PI": (
        "int l1descInx; int len; int whence; int oprType; double offset; double bytesWritten; struct KeyValPair_PI;"
    ),
    "fileLseekOut_PI": "double offset;",
    "PortList_PI": "int portNum; int cookie; int sock; int windowSize; str hostAddr[LONG_NAME_LEN];",
    "PortalOprOut_PI": "int status; int l1descInx; int numThreads; str chksum[NAME_LEN]; struct PortList_PI;",
    "TransferStat_PI": "int numThreads; int flags; double bytesWritten;",
    "RodsObjStat_PI": (
        "double objSize; int objType; int dataMode; str dataId[NAME_LEN]; str chksum[NAME_LEN]; str ownerName[NAME_LEN];"
        " str ownerZone[NAME_LEN]; str createTime[TIME_LEN]; str modifyTime[TIME_LEN]; struct *SpecColl_PI;"
    ),
    "CollInpNew_PI": "str collName[MAX_NAME_LEN]; int flags; int oprType; struct KeyValPair_PI;",
    "CollOprStat_PI": "int filesCnt; int totalFileCnt; double bytesWritten; str lastObjPath[MAX_NAME_LEN];",
    "GenQueryInp_PI": (
        "int maxRows; int continueInx; int partialStartIndex; int options; struct KeyValPair_PI;"
        " struct InxIvalPair_PI; struct InxValPair_PI;"
    ),
    "SqlResult_PI": "int attriInx; int reslen; str *value(rowCnt)(reslen);",
    "GenQueryOut_PI": (
        "int rowCnt; int attriCnt; int continueInx; int totalRowCount; struct SqlResult_PI[MAX_SQL_ATTR];"
    ),
    "Genquery2Input_PI": "str *query_string; str *zone; int sql_only; int column_mappings;",
    "BulkOprInp_PI": "str objPath[MAX_NAME_LEN]; struct GenQueryOut_PI; struct KeyValPair_PI;",
    "StructFileExtAndRegInp_PI": (
        "str objPath[MAX_NAME_LEN]; str collection[MAX_NAME_LEN]; int oprType; int flags; struct KeyValPair_PI;"
    ),
    "RHostAddr_PI": "str hostAddr[LONG_NAME_LEN]; str rodsZone[NAME_LEN]; int port; int dummyInt;",
    "fileStatInp_PI": (
        "struct RHostAddr_PI; str fileName[MAX_NAME_LEN]; str rescHier[MAX_NAME_LEN]; str objPath[MAX_NAME_LEN];"
        " double rescId;"
    ),
    "fileOpenInp_PI": (
        "str resc_name_[MAX_NAME_LEN]; str resc_hier_[MAX_NAME_LEN]; str objPath[MAX_NAME_LEN]; int otherFlags;"
        " struct RHostAddr_PI; str fileName[MAX_NAME_LEN]; int flags; int mode; double dataSize; struct KeyValPair_PI;"
        " str in_pdmo[MAX_NAME_LEN];"
    ),
    "filePutOut_PI": "str file_name[MAX_NAME_LEN];",
    "fileChksumInp_PI": (
        "struct RHostAddr_PI; str fileName[MAX_NAME_LEN]; str rescHier[MAX_NAME_LEN]; str objPath[MAX_NAME_LEN]; int flags;"
        " str in_pdmo[MAX_NAME_LEN]; str orig_chksum[NAME_LEN]; double dataSize; struct KeyValPair_PI;"
    ),
    "fileChksumOut_PI": "str chksumStr[NAME_LEN];",
    "RODS_STAT_T_PI": (
        "double st_size; int st_dev; int st_ino; int st_mode; int st_nlink; int st_uid; int st_gid; int st_rdev;"
        " int st_atim; int st_mtim; int st_ctim; int st_blksize; int st_blocks;"
    ),
    "DataObjInfo_PI": (
        "str objPath[MAX_NAME_LEN]; str rescName[NAME_LEN]; str rescHier[MAX_NAME_LEN]; str dataType[NAME_LEN];"
        " double dataSize; str chksum[NAME_LEN]; str version[NAME_LEN]; str filePath[MAX_NAME_LEN];"
        " str dataOwnerName[NAME_LEN]; str dataOwnerZone[NAME_LEN]; int replNum; int replStatus;"
        " str statusString[NAME_LEN]; double dataId; double collId; int dataMapId; int flags;"
        " str dataComments[LONG_NAME_LEN]; str dataMode[SHORT_STR_LEN]; str dataExpiry[TIME_LEN];"
        " str dataCreate[TIME_LEN]; str dataModify[TIME_LEN]; str dataAccess[NAME_LEN]; int dataAccessInx;"
        " int writeFlag; str destRescName[NAME_LEN]; str backupRescName[NAME_LEN]; str subPath[MAX_NAME_LEN];"
        " int *specColl; int regUid; int otherFlags; struct KeyValPair_PI; str in_pdmo[MAX_NAME_LEN]; int *next;"
        " double rescId; str dataAccessTime[TIME_LEN];"
    ),
    "ModDataObjMeta_PI": "struct *DataObjInfo_PI; struct *KeyValPair_PI;",
    "ModAVUMetadataInp_PI": (
        "str *arg0; str *arg1; str *arg2; str *arg3; str *arg4; str *arg5; str *arg6; str *arg7; str *arg8;"
        " str *arg9; struct KeyValPair_PI;"
    ),
    "modAccessControlInp_PI": "int recursiveFlag; str *accessLevel; str *userName; str *zone; str *path;",
    "generalAdminInp_PI": (
        "str *arg0; str *arg1; str *arg2; str *arg3; str *arg4; str *arg5; str *arg6; str *arg7; str *arg8; str *arg9;"
    ),
    "userAdminInp_PI": (
        "str *arg0; str *arg1; str *arg2; str *arg3; str *arg4; str *arg5; str *arg6; str *arg7; str *arg8; str *arg9;"
    ),
    "authRequestOut_PI": "bin *challenge(CHALLENGE_LEN);",
    "authResponseInp_PI": "bin *response(RESPONSE_LEN); str *username;",
}


@cache
def fields(name: str) -> tuple[Field, ...]:
    """The fields of the struct `name`, in wire order."""
    found = []
    for kind, pointer, field, bound, hint, inner in _FIELD.findall(INSTRUCTIONS[name]):
        tag = field.encode()
        found.append(
            Field(
                kind,
                bool(pointer),
                field,
                bound or None,
                hint or None,
                inner or None,
                b"<" + tag + b">",
                b"</" + tag + b">",
            )
        )
    return tuple(found)


def escape(text: str) -> str:
    """XML text as the server writes it: five entities, control characters untouched."""
    if "&" in text:
        text = text.replace("&", "&amp;")
    if "<" in text or ">" in text:
        text = text.replace("<", "&lt;").replace(">", "&gt;")
    if '"' in text or "'" in text:
        text = text.replace('"', "&quot;").replace("'", "&apos;")
    return text


def unescape(data: bytes) -> bytes:
    """The bytes of a value: the five entities read, anything else after `&` left alone."""
    if b"&" not in data:
        return data
    for entity, plain in ((b"&lt;", b"<"), (b"&gt;", b">"), (b"&quot;", b'"'), (b"&apos;", b"'"), (b"&amp;", b"&")):
        data = data.replace(entity, plain)
    return data


class Reader:
    """Unpacks one struct out of XML bytes, moving forward only."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def struct(self, name: str, outer: tuple[Struct, ...] = ()) -> Struct:
        """The fields of the struct that opens next. `outer` are the structs around it, for sizes they carry."""
        if not self._enter(b"<" + name.encode() + b">"):
            raise IrodsError(Code.SYS_PACK_INSTRUCT_FORMAT_ERR)
        found: Struct = {}
        for field in fields(name):
            value = self._field(field, (found, *outer))
            if field.kind == "struct" and field.bound is None and field.name in found:
                found[field.name + "2"] = value
            else:
                found[field.name] = value
        self._leave(b"</" + name.encode() + b">")
        return found

    def _enter(self, opening: bytes) -> bool:
        start = self.data.find(b"<", self.at)
        if start < 0 or not self.data.startswith(opening, start):
            return False
        self.at = start + len(opening)
        return True

    def _leave(self, closing: bytes) -> None:
        end = self.data.find(closing, self.at)
        if end < 0:
            raise IrodsError(Code.SYS_PACK_INSTRUCT_FORMAT_ERR)
        self.at = end + len(closing)

    def _value(self, field: Field) -> bytes | None:
        if not self._enter(field.opening):
            return None
        end = self.data.find(field.closing, self.at)
        if end < 0:
            raise IrodsError(Code.SYS_PACK_INSTRUCT_FORMAT_ERR)
        value = self.data[self.at : end]
        self.at = end + len(field.closing)
        return value

    def _field(self, field: Field, outer: tuple[Struct, ...]) -> Any:
        if field.kind == "struct":
            return self._structs(field, outer)
        if field.kind in NUMBERS:
            return self._numbers(field, outer)
        if field.kind == "bin":
            return self._binary(field)
        if field.hint and field.kind == "char":
            raw = self._value(field)
            return None if raw is None else text(unescape(raw))
        return self._strings(field, outer)

    def _structs(self, field: Field, outer: tuple[Struct, ...]) -> Any:
        if field.bound is not None:
            return [self.struct(field.name, outer) for _ in range(size(field.bound, outer))]
        if field.pointer and not self._next_is(field.opening):
            return None
        return self.struct(field.name, outer)

    def _next_is(self, opening: bytes) -> bool:
        start = self.data.find(b"<", self.at)
        return start >= 0 and self.data.startswith(opening, start)

    def _numbers(self, field: Field, outer: tuple[Struct, ...]) -> Any:
        if field.hint is None:
            raw = self._value(field)
            return None if raw is None and field.pointer else number(raw or b"")
        count = size(field.hint, outer)
        found: list[int] = []
        for _ in range(count):
            raw = self._value(field)
            if raw is None:
                if found:
                    raise IrodsError(Code.SYS_PACK_INSTRUCT_FORMAT_ERR)
                return []
            found.append(number(raw))
        return found

    def _binary(self, field: Field) -> bytes | None:
        raw = self._value(field)
        if raw is None:
            return None
        try:
            return base64.b64decode(raw)
        except binascii.Error:
            raise IrodsError(Code.SYS_PACK_INSTRUCT_FORMAT_ERR) from None

    def _strings(self, field: Field, outer: tuple[Struct, ...]) -> Any:
        if field.hint is None and (field.bound is None or not field.pointer):
            limit = SIZES[field.bound] if field.bound else None
            raw = self._value(field)
            if raw is None:
                if field.pointer:
                    return None
                raise IrodsError(Code.SYS_PACK_INSTRUCT_FORMAT_ERR)
            return text(bounded(unescape(raw), limit))
        count = size(field.hint or field.bound or "", outer)
        limit = size(field.inner, outer) if field.inner else None
        found: list[str] = []
        for _ in range(count):
            raw = self._value(field)
            if raw is None:
                if found:
                    raise IrodsError(Code.SYS_PACK_INSTRUCT_FORMAT_ERR)
                return []
            found.append(text(bounded(unescape(raw), limit)))
        return found


def size(name: str, outer: tuple[Struct, ...]) -> int:
    """A length of an instruction: a constant, or a number unpacked before it in this struct or one around it."""
    if name in SIZES:
        return SIZES[name]
    for struct in outer:
        if name in struct:
            return max(0, int(struct[name]))
    raise IrodsError(Code.SYS_PACK_INSTRUCT_FORMAT_ERR)


def number(raw: bytes) -> int:
    """C's atoi: the leading digits, or 0."""
    try:
        return int(raw)
    except ValueError:
        leading = re.match(rb"\s*[-+]?\d+", raw)
        return int(leading.group(0)) if leading else 0


def bounded(raw: bytes, limit: int | None) -> bytes:
    """`raw`, if it leaves room for its end mark in `limit` bytes."""
    if limit is not None and len(raw) >= limit:
        raise IrodsError(Code.USER_PACKSTRUCT_INPUT_ERR)
    return raw


def text(raw: bytes) -> str:
    """A value as text; bytes that are no UTF-8 survive until the catalogue refuses them, as Postgres does."""
    return raw.decode("utf-8", "surrogateescape")


def unpack(name: str, data: bytes) -> Struct:
    """The struct `name` out of `data`. A struct field that comes twice (DataObjCopyInp_PI) is found as `X` and `X2`."""
    return Reader(data).struct(name)


def pack(name: str, values: Struct) -> bytes:
    """`values` as the server writes the struct `name`; a pointer that is None is left out, a missing number is 0."""
    out: list[str] = []
    _pack(name, values, (), out)
    return "".join(out).encode("utf-8", "surrogateescape")


def _pack(name: str, values: Struct, outer: tuple[Struct, ...], out: list[str]) -> None:
    out.append(f"<{name}>\n")
    for field in fields(name):
        value = values.get(field.name)
        if field.kind == "struct":
            many = value if isinstance(value, list) else [] if value is None else [value]
            for item in many:
                _pack(field.name, item, (values, *outer), out)
        elif value is None and (field.pointer or field.hint):
            continue
        elif field.kind in NUMBERS:
            for item in value if isinstance(value, list) else [value or 0]:
                out.append(f"<{field.name}>{int(item)}</{field.name}>\n")
        elif field.kind == "bin":
            out.append(f"<{field.name}>{base64.b64encode(value or b'').decode()}</{field.name}>\n")
        else:
            for item in value if isinstance(value, list) else [value or ""]:
                out.append(f"<{field.name}>{escape(str(item))}</{field.name}>\n")
    out.append(f"</{name}>\n")


_EMPTY_COLUMN = "<SqlResult_PI>\n<attriInx>0</attriInx>\n<reslen>0</reslen>\n</SqlResult_PI>\n"


def pack_rows(columns: list[tuple[int, list[str]]], *, rows: int, more: int, total: int = 0) -> bytes:
    """A GenQueryOut_PI: `columns` of (attribute number, values), padded to the 50 that the struct has.

    `more` is continueInx: above 0 when the server holds further rows, -1 in the reply of API 688 (recording
    register_bulk).
    """
    longest = max(
        (len(value.encode("utf-8", "surrogateescape")) for _, values in columns for value in values), default=0
    )
    width = max(50, longest + 2)
    out = [
        f"<GenQueryOut_PI>\n<rowCnt>{rows}</rowCnt>\n<attriCnt>{len(columns)}</attriCnt>\n<continueInx>{more}</continueInx>\n"
        f"<totalRowCount>{total}</totalRowCount>\n"
    ]
    for index, values in columns:
        out.append(f"<SqlResult_PI>\n<attriInx>{index}</attriInx>\n<reslen>{width}</reslen>\n")
        out.extend(f"<value>{escape(value)}</value>\n" for value in values)
        out.append("</SqlResult_PI>\n")
    out.append(_EMPTY_COLUMN * (SIZES["MAX_SQL_ATTR"] - len(columns)))
    out.append("</GenQueryOut_PI>\n")
    return "".join(out).encode("utf-8", "surrogateescape")


def keywords(struct: Struct | None) -> dict[str, str]:
    """The pairs of a KeyValPair_PI; of a key that comes twice the first counts, as in the server's look-up."""
    found: dict[str, str] = {}
    if struct:
        for key, value in zip(struct["keyWord"], struct["svalue"], strict=False):
            found.setdefault(key, value)
    return found
