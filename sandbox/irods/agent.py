"""One connection: greeting, requests one after another, and what becomes of open replicas when it ends."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.irods.catalogue import Catalogue
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.permissions import User
from sandbox.irods.tls import secure
from sandbox.irods.wire import Channel, Closed, Message
from sandbox.irods.xml_packing import Struct, pack, unpack

if TYPE_CHECKING:
    from sandbox.irods.query import Statement
    from sandbox.irods.server import SandboxServer
    from sandbox.irods.streams import Descriptor

log = logging.getLogger("sandbox.irods")

VERSION, API_VERSION, COOKIE = "rods5.0.2", "d", 400
NEGOTIATION = "request_server_negotiation"
AUTHENTICATION = {110000, 703, 704}


@dataclass(slots=True)
class Reply:
    """An answer: `status` is intInfo, `body` a packed struct, `stream` the bytes after it."""

    status: int = 0
    body: bytes = b""
    stream: bytes | memoryview = b""


@dataclass(frozen=True, slots=True)
class Api:
    """One request of the protocol: its input struct and what does it. `admin` requests are for rodsadmin alone,
    `proxy_admin` ones also for those for whom one speaks."""

    number: int
    input: str | None
    act: Callable[[Agent, Struct, memoryview], Reply]
    admin: bool = False
    proxy_admin: bool = False


def json_reply(value: Any, status: int = 0) -> Reply:
    """A reply with JSON in a BinBytesBuf_PI, ended by a NUL as the server's."""
    return Reply(status, pack("BinBytesBuf_PI", json_body(value)))


def json_body(value: Any) -> Struct:
    """The fields of a BinBytesBuf_PI that holds JSON."""
    data = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode() + b"\0"
    return {"buflen": len(data), "buf": data}


def json_input(struct: Struct) -> dict[str, Any]:
    """The JSON object inside a BinBytesBuf_PI; JSON_VALIDATION_ERROR if it is none."""
    try:
        value = json.loads((struct["buf"] or b"").rstrip(b"\0"))
    except ValueError:
        raise IrodsError(Code.JSON_VALIDATION_ERROR) from None
    if not isinstance(value, dict):
        raise IrodsError(Code.JSON_VALIDATION_ERROR)
    return value


class Agent:
    """What one connection knows. `user` is for whom it acts, `proxy` who gave the password."""

    def __init__(self, server: SandboxServer, channel: Channel, apis: dict[int, Api]) -> None:
        self.server = server
        self.channel = channel
        self.apis = apis
        self.catalogue: Catalogue = server.catalogue
        self.errors: list[tuple[int, str]] = []
        self.startup: Struct = {}
        self.proxy: User | None = None
        self.client: User | None = None
        self.challenge = ""
        self.descriptors: dict[int, Descriptor] = {}
        self.statements: dict[int, Statement] = {}
        self.struct_files = 0
        self.bundles = 0

    @property
    def user(self) -> User:
        """The client user. SYS_NO_API_PRIV before authentication."""
        if self.client is None:
            raise IrodsError(Code.SYS_NO_API_PRIV)
        return self.client

    @property
    def zone(self) -> str:
        return self.server.zone

    def note(self, status: int, text: str) -> None:
        """Put a line on the error stack of this reply."""
        self.errors.append((status, text))

    def run(self) -> None:
        """Serve the connection until it ends."""
        try:
            if self._greet():
                while (message := self.channel.read()).kind == "RODS_API_REQ":
                    self._answer(message)
        except Closed as end:
            log.debug("connection ended: %s", end)
        finally:
            self._tear_down()

    def _greet(self) -> bool:
        message = self.channel.read()
        if message.kind != "RODS_CONNECT":
            return False
        self.startup = unpack("StartupPack_PI", message.body)
        wanted = NEGOTIATION in self.startup["option"]
        if (wanted and not self._negotiate()) or (self.server.tls is not None and not wanted):
            return False
        version = {
            "status": 0, "relVersion": VERSION, "apiVersion": API_VERSION, "reconnPort": 0, "reconnAddr": "", "cookie": COOKIE,
        }  # fmt: skip
        self.channel.write("RODS_VERSION", 0, pack("Version_PI", version))
        if self.server.tls is not None:
            secure(self.channel, self.server.tls)
            self.server.secured(self.channel.sock)
        return True

    def _negotiate(self) -> bool:
        policy, means = ("CS_NEG_REQUIRE", "CS_NEG_USE_SSL") if self.server.tls else ("CS_NEG_REFUSE", "CS_NEG_USE_TCP")
        self.channel.write("RODS_CS_NEG_T", 0, pack("CS_NEG_PI", {"status": 1, "result": policy}))
        answer = self.channel.read()
        return means in unpack("CS_NEG_PI", answer.body)["result"]

    def _answer(self, message: Message) -> None:
        number = message.number
        self.server.count(number)
        self.errors = []
        api = self.apis.get(number)
        if api is None:
            log.warning("API %s is not known to the sandbox", number)
            self.channel.write("RODS_API_REPLY", Code.SYS_UNMATCHED_API_NUM)
            return
        path = ""
        try:
            struct = unpack(api.input, message.body) if api.input else {}
            path = self._path(struct) if self.server.faults.any() else ""
            self._fault_before(number, path)
            reply = self._act(api, struct, message.stream)
        except IrodsError as refusal:
            reply = self._refused(refusal)
        except UnicodeEncodeError:
            reply = Reply(Code.CAT_SQL_ERR)
        except sqlite3.Error as problem:
            log.exception("API %s failed in the catalogue", number)
            reply = self._refused(IrodsError(Code.CAT_SQL_ERR, str(problem), status=Code.CAT_SQL_ERR))
        except Closed:
            raise
        except Exception as problem:
            log.exception("API %s failed", number)
            reply = self._refused(IrodsError(Code.SYS_INTERNAL_ERR, repr(problem), status=Code.SYS_INTERNAL_ERR))
        self._fault_after(number, path)
        self.channel.write("RODS_API_REPLY", reply.status, reply.body, self.errors, reply.stream)

    def _act(self, api: Api, struct: Struct, stream: memoryview) -> Reply:
        if api.number not in AUTHENTICATION and (self.client is None or self.proxy is None):
            raise IrodsError(Code.SYS_NO_API_PRIV)
        if api.admin and not (self.user.admin and self.proxy and self.proxy.admin):
            raise IrodsError(Code.SYS_NO_API_PRIV)
        if api.proxy_admin and not (self.proxy and self.proxy.admin):
            raise IrodsError(Code.SYS_NO_API_PRIV)
        return api.act(self, struct, stream)

    def _refused(self, refusal: IrodsError) -> Reply:
        if refusal.text is not None:
            self.note(refusal.status, refusal.text)
        return Reply(refusal.code, pack(*refusal.body) if refusal.body else b"")

    def _path(self, struct: Struct) -> str:
        """The logical path that a request is about, for faults that are limited to one."""
        if "DataObjInp_PI" in struct:
            struct = struct["DataObjInp_PI"]
        for key in ("objPath", "collName", "path", "arg2"):
            if struct.get(key):
                return str(struct[key])
        if struct.get("DataObjInfo_PI"):
            return str(struct["DataObjInfo_PI"]["objPath"])
        number = struct.get("l1descInx")
        if struct.get("buf") and struct["buf"][:1] == b"{":
            content = json_input(struct)
            number = content.get("fd")
            if number is None:
                return str(content.get("logical_path") or content.get("entity_name") or "")
        found = self.descriptors.get(number) if number is not None else None
        return found.logical_path if found else ""

    def _fault_after(self, number: int, path: str) -> None:
        faults = self.server.faults
        if not faults.any():
            return
        if (slow := faults.take("slow_reply", number, path)) is not None:
            self.server.ending.wait(slow.seconds)
        if faults.take("drop_after", number, path):
            raise Closed("fault: reply dropped")

    def _fault_before(self, number: int, path: str) -> None:
        faults = self.server.faults
        if not faults.any():
            return
        if faults.take("drop_before", number, path):
            raise Closed("fault: request dropped")
        if (slow := faults.take("slow", number, path)) is not None:
            self.server.ending.wait(slow.seconds)
        if faults.take("hang", number, path):
            self.server.ending.wait()
            raise Closed("fault: hung")
        if (refused := faults.take("error", number, path)) is not None:
            raise IrodsError(refused.code)
        if path and faults.take("locked", number, path):
            self.server.lock_object(path)

    def _tear_down(self) -> None:
        from sandbox.irods.query import close_all
        from sandbox.irods.streams import abandon

        for descriptor in list(self.descriptors.values()):
            try:
                abandon(self, descriptor)
            except (IrodsError, OSError, sqlite3.Error):
                log.exception("could not put %s to rest", descriptor.logical_path)
        self.descriptors.clear()
        self.server.tokens.forget(self)
        close_all(self)
        self.catalogue.leave()
