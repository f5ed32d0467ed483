"""Messages, packing and authentication, beyond what a well-behaved client sends."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from irods import exception
from irods.session import iRODSSession

from sandbox.irods import SandboxServer
from sandbox.irods.auth import WHEEL, digest_of
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.xml_packing import escape, pack, pack_rows, unescape, unpack
from tests.sandbox.calls import HOME, Text, bulk, call, connect, object_input, put

VALUES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)


class Raw:
    """A connection without the client's library."""

    def __init__(self, server: SandboxServer) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)

    def send(self, kind: str, number: int, body: bytes = b"") -> None:
        header = (
            f"<MsgHeader_PI><type>{kind}</type><msgLen>{len(body)}</msgLen><errorLen>0</errorLen><bsLen>0</bsLen>"
            f"<intInfo>{number}</intInfo></MsgHeader_PI>"
        ).encode()
        self.sock.sendall(len(header).to_bytes(4, "big") + header + body)

    def receive(self) -> tuple[str, bytes]:
        file = self.sock.makefile("rb")
        header = file.read(int.from_bytes(file.read(4), "big")).decode()
        length = int(header.split("<msgLen>")[1].split("<")[0])
        return header, file.read(length)

    def greet(self, option: str = "", user: str = "rods") -> None:
        pack_ = {
            "irodsProt": 1, "connectCnt": 0, "proxyUser": user, "proxyRcatZone": "tempZone", "clientUser": user,
            "clientRcatZone": "tempZone", "relVersion": "rods5.0.2", "apiVersion": "d", "option": option,
        }  # fmt: skip
        self.send("RODS_CONNECT", 0, pack("StartupPack_PI", pack_))


@pytest.fixture
def raw(server: SandboxServer):  # type: ignore[no-untyped-def]
    opened = Raw(server)
    yield opened
    opened.sock.close()


def test_an_unknown_request_gets_its_code(session: iRODSSession, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(exception.SYS_UNMATCHED_API_NUM):
        call(session, 4711, Text("<X_PI></X_PI>"))
    assert "4711" in caplog.text
    assert session.collections.get(HOME).name == "rods"


def test_nothing_is_done_before_authentication(raw: Raw) -> None:
    raw.greet()
    assert "rods5.0.2" in raw.receive()[1].decode()
    raw.send("RODS_API_REQ", 681, pack("CollInpNew_PI", {"collName": HOME + "/x", "KeyValPair_PI": {"ssLen": 0}}))
    assert "<intInfo>-13000</intInfo>" in raw.receive()[0]


def test_legacy_authentication(raw: Raw) -> None:
    raw.greet()
    raw.receive()
    raw.send("RODS_API_REQ", 703)
    challenge = unpack("authRequestOut_PI", raw.receive()[1])["challenge"].decode()
    answer = {"response": digest_of(challenge, "rods"), "username": "rods#tempZone"}
    raw.send("RODS_API_REQ", 704, pack("authResponseInp_PI", answer))
    assert "<intInfo>0</intInfo>" in raw.receive()[0]


def test_negotiation_is_refused_and_goes_on_without_tls(raw: Raw) -> None:
    raw.greet("request_server_negotiation")
    header, body = raw.receive()
    assert "RODS_CS_NEG_T" in header and b"CS_NEG_REFUSE" in body
    raw.send("RODS_CS_NEG_T", 0, pack("CS_NEG_PI", {"status": 1, "result": "cs_neg_result_kw=CS_NEG_USE_TCP;"}))
    assert "RODS_VERSION" in raw.receive()[0]


def test_the_client_negotiates_with_the_server_s_environment(server: SandboxServer) -> None:
    settings = {key: value for key, value in server.environment.items() if "negotiation" in key or "policy" in key}
    with connect(server, **{key.removeprefix("irods_"): value for key, value in settings.items()}) as session:
        assert session.collections.exists(HOME)


@pytest.mark.parametrize("sent", [b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x05hello"])
def test_what_is_no_message_ends_the_connection(raw: Raw, sent: bytes) -> None:
    raw.sock.sendall(sent)
    assert raw.sock.recv(1) == b""


def test_a_wrong_password_and_an_unknown_user(server: SandboxServer) -> None:
    with pytest.raises(exception.CAT_INVALID_AUTHENTICATION), connect(server, password="wrong") as session:
        session.collections.get(HOME)
    with pytest.raises(exception.CAT_INVALID_USER), connect(server, user="nobody") as session:
        session.collections.get(HOME)


def test_a_path_of_more_than_1087_bytes_is_refused(session: iRODSSession) -> None:
    longest = HOME + "/" + "x" * (1087 - len(HOME) - 1)
    session.collections.create(longest)
    with pytest.raises(exception.USER_PACKSTRUCT_INPUT_ERR):
        session.collections.create(longest + "x")
    with pytest.raises(exception.USER_PACKSTRUCT_INPUT_ERR):
        session.collections.create(HOME + "/" + "é" * 540)


@pytest.mark.parametrize("padding", [9, 20, 49])
def test_all_fifty_columns_must_be_sent(session: iRODSSession, padding: int) -> None:
    row = {"path": HOME + "/x", "size": "1", "file": "/data/x"}
    with pytest.raises(exception.SYS_PACK_INSTRUCT_FORMAT_ERR):
        call(session, 688, bulk([row], padding=padding))
    call(session, 688, bulk([row]))


def test_a_missing_string_is_refused_and_a_missing_pointer_is_null(session: iRODSSession) -> None:
    tail = "<createMode>0</createMode><KeyValPair_PI><ssLen>0</ssLen></KeyValPair_PI></DataObjInp_PI>"
    with pytest.raises(exception.SYS_PACK_INSTRUCT_FORMAT_ERR):
        call(session, 629, Text("<DataObjInp_PI>" + tail))
    with pytest.raises(exception.CAT_NO_ROWS_FOUND):
        call(session, 629, Text(f"<DataObjInp_PI><objPath>{HOME}/none</objPath>" + tail))
    with pytest.raises(exception.SYS_PACK_INSTRUCT_FORMAT_ERR):
        call(
            session,
            629,
            Text(f"<DataObjInp_PI><createMode>0</createMode><objPath>{HOME}/none</objPath></DataObjInp_PI>"),
        )


def test_a_value_must_be_shorter_than_its_column(session: iRODSSession) -> None:
    message = bulk([{"path": HOME + "/x", "size": "1", "file": "/data/x"}])
    message.xml = message.xml.replace("<reslen>1088</reslen>", "<reslen>5</reslen>")
    with pytest.raises(exception.USER_PACKSTRUCT_INPUT_ERR):
        call(session, 688, message)


def test_requests_are_counted(server: SandboxServer, session: iRODSSession) -> None:
    for name in "abc":
        put(session, f"{HOME}/{name}")
    assert server.calls[606] == 3
    assert '"606": 3' in server.dump_calls().read_text()


def test_text_that_is_no_utf8_is_refused_by_the_catalogue(session: iRODSSession) -> None:
    class Bytes:
        def pack(self) -> bytes:
            return object_input(HOME + "/XX").pack().encode().replace(b"XX", b"\xff\xfe")

    with pytest.raises(exception.CAT_SQL_ERR):
        call(session, 629, Bytes())


@given(VALUES)
def test_escaping_is_undone(text: str) -> None:
    assert unescape(escape(text).encode()).decode() == text


@given(st.dictionaries(VALUES.filter(bool), VALUES, max_size=5), VALUES.filter(lambda text: len(text.encode()) < 1088))
def test_what_is_packed_is_unpacked(pairs: dict[str, str], path: str) -> None:
    inner = {"ssLen": len(pairs), "keyWord": list(pairs), "svalue": list(pairs.values())}
    values = {
        "objPath": path, "createMode": 1, "openFlags": 2, "offset": -3, "dataSize": 1 << 40, "numThreads": 5, "oprType": 6,
        "SpecColl_PI": None, "KeyValPair_PI": inner,
    }  # fmt: skip
    assert unpack("DataObjInp_PI", pack("DataObjInp_PI", values)) == values


@given(st.lists(st.tuples(VALUES, VALUES), max_size=6))
def test_rows_are_unpacked_as_packed(rows: list[tuple[str, str]]) -> None:
    columns = [(403, [row[0] for row in rows]), (410, [row[1] for row in rows])]
    found = unpack("GenQueryOut_PI", pack_rows(columns, rows=len(rows), more=7))
    assert [each["value"] for each in found["SqlResult_PI"][:2]] == [columns[0][1], columns[1][1]]
    assert (found["rowCnt"], found["attriCnt"], found["continueInx"], len(found["SqlResult_PI"])) == (
        len(rows),
        2,
        7,
        50,
    )


@given(st.binary(max_size=300))
def test_any_bytes_are_unpacked_or_refused(data: bytes) -> None:
    for name in ("DataObjInp_PI", "GenQueryOut_PI", "ModDataObjMeta_PI", "BinBytesBuf_PI"):
        opening = f"<{name}>".encode()
        for sent in (data, opening + data, opening + data + f"</{name}>".encode()):
            code = 0
            try:
                unpack(name, sent)
            except IrodsError as refusal:
                code = refusal.code
            assert code in (0, Code.SYS_PACK_INSTRUCT_FORMAT_ERR, Code.USER_PACKSTRUCT_INPUT_ERR)


def test_the_wheel_has_every_character_once() -> None:
    assert len(set(WHEEL)) == len(WHEEL) == 77
