"""Requests that the client has no call for, sent over its own connections."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from irods.message import FileOpenRequest, StringStringMap, iRODSMessage
from irods.session import iRODSSession

from sandbox.irods import SandboxServer

HOME = "/tempZone/home/rods"
# what the client's broken connections say when they are collected
LEFT_BEHIND = "ignore::pytest.PytestUnraisableExceptionWarning"


def connect(server: SandboxServer, user: str = "rods", password: str = "rods", **more: Any) -> iRODSSession:
    return iRODSSession(host="127.0.0.1", port=server.port, user=user, password=password, zone=server.zone, **more)


class Text:
    """A struct given as its XML."""

    def __init__(self, xml: str) -> None:
        self.xml = xml

    def pack(self) -> str:
        return self.xml


def call(session: iRODSSession, number: int, message: Any, stream: bytes = b"") -> Any:
    """Send one request; the reply, or the client's exception."""
    with session.pool.get_connection() as connection:
        connection.send(iRODSMessage("RODS_API_REQ", msg=message, bs=stream, int_info=number))
        return connection.recv()


def object_input(path: str, *, size: int = 0, opr: int = 0, flags: int = 0, **keywords: str) -> FileOpenRequest:
    return FileOpenRequest(
        objPath=path,
        createMode=420,
        openFlags=flags,
        offset=0,
        dataSize=size,
        numThreads=1,
        oprType=opr,
        KeyValPair_PI=StringStringMap(keywords),
    )


def put(session: iRODSSession, path: str, data: bytes = b"data", **keywords: str) -> Any:
    """API 606, the whole object in one request."""
    return call(session, 606, object_input(path, size=len(data), opr=1, dataIncluded="", **keywords), data)


def sha2(data: bytes) -> str:
    return "sha2:" + base64.b64encode(hashlib.sha256(data).digest()).decode()


def bulk(rows: list[dict[str, str]], *, operation: str = "register", padding: int = 50) -> Text:
    """The input of API 688; `padding` is how many columns the struct gets."""
    names = {403: "path", 406: "type", 407: "size", 409: "resource", 410: "file", 421: "mode", 404: "number", 423: "id"}
    fixed = {"type": "generic", "resource": "demoResc", "mode": "33188", "number": "0", "id": "10013"}
    columns = {index: [row.get(name, fixed.get(name, "")) for row in rows] for index, name in names.items()}
    columns[999999] = [operation] * len(rows)
    if all("checksum" in row for row in rows):
        columns[415] = [row["checksum"] for row in rows]
    out = [
        f"<GenQueryOut_PI><rowCnt>{len(rows)}</rowCnt><attriCnt>{len(columns)}</attriCnt><continueInx>0</continueInx>"
        "<totalRowCount>0</totalRowCount>"
    ]
    for index, values in columns.items():
        cells = "".join(f"<value>{escape(value)}</value>" for value in values)
        out.append(f"<SqlResult_PI><attriInx>{index}</attriInx><reslen>1088</reslen>{cells}</SqlResult_PI>")
    empty = "<SqlResult_PI><attriInx>0</attriInx><reslen>0</reslen></SqlResult_PI>"
    return Text("".join(out) + empty * (padding - len(columns)) + "</GenQueryOut_PI>")


def bundle(path: str, collection: str, **keywords: str) -> Text:
    """The input of 665 and 666."""
    keys = "".join(f"<keyWord>{key}</keyWord>" for key in keywords)
    values = "".join(f"<svalue>{value}</svalue>" for value in keywords.values())
    return Text(
        f"<StructFileExtAndRegInp_PI><objPath>{path}</objPath><collection>{collection}</collection><oprType>0</oprType>"
        f"<flags>0</flags><KeyValPair_PI><ssLen>{len(keywords)}</ssLen>{keys}{values}</KeyValPair_PI>"
        "</StructFileExtAndRegInp_PI>"
    )


def local_file(folder: Path, data: bytes, name: str = "source") -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def states(server: SandboxServer, name: str) -> list[tuple[Any, ...]]:
    """(number, status, size) of each replica of the objects of that name."""
    return server.sql("select repl_num, status, size from replicas where name = ? order by repl_num", name)
