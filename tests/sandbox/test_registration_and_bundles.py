"""Files registered where they lie, and tars unpacked and packed on the server."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from irods import exception
from irods import keywords as kw
from irods.message import DataObjInfo_for_session, JSON_Message, StringStringMap, iRODSMessage
from irods.session import iRODSSession

from sandbox.irods import SandboxServer
from tests.sandbox.calls import HOME, Text, bulk, bundle, call, connect, local_file, object_input, put, sha2, states


def test_register_and_unregister(session: iRODSSession, tmp_path: Path) -> None:
    file = local_file(tmp_path, b"12345")
    session.data_objects.register(file, f"{HOME}/a", **{kw.REG_CHKSUM_KW: ""})
    found = session.data_objects.get(f"{HOME}/a")
    assert (found.size, found.checksum, found.replicas[0].path) == (5, sha2(b"12345"), file)
    with pytest.raises(exception.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME):
        session.data_objects.register(file, f"{HOME}/a")
    session.data_objects.unregister(f"{HOME}/a")
    session.data_objects.register(file, f"{HOME}/a")
    session.data_objects.unlink(f"{HOME}/a", force=True)
    assert Path(file).read_bytes() == b"12345"
    with pytest.raises(exception.UNIX_FILE_STAT_ERR):
        session.data_objects.register(str(tmp_path / "none"), f"{HOME}/b")
    with pytest.raises(exception.USER_INPUT_PATH_ERR):
        session.data_objects.register(file, f"{HOME}/b/")


def test_a_folder_is_registered(session: iRODSSession, tmp_path: Path) -> None:
    for name in ("x/one", "x/y/two", "three"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    session.collections.register(str(tmp_path / "tree"), f"{HOME}/tree")
    assert session.data_objects.get(f"{HOME}/tree/x/y/two").size == 7
    session.collections.unregister(f"{HOME}/tree")
    assert not session.collections.exists(f"{HOME}/tree")
    assert (tmp_path / "tree/x/y/two").exists()


def test_a_user_may_not_register_but_by_a_proxy(server: SandboxServer, session: iRODSSession, tmp_path: Path) -> None:
    session.users.create("alice", "rodsuser")
    session.users.modify("alice", "password", "secret")
    file = local_file(tmp_path, b"12345")
    path = "/tempZone/home/alice/a"
    with connect(server, "alice", "secret") as alice, pytest.raises(KeyError):  # PATH_REG_NOT_ALLOWED (-129000)
        alice.data_objects.register(file, path)
    with connect(server, client_user="alice", client_zone="tempZone") as proxy:
        proxy.data_objects.register(file, path, noChkFilePerm="")
        assert proxy.data_objects.get(path).owner_name == "alice"


def test_register_with_json(session: iRODSSession) -> None:
    message = object_input(
        f"{HOME}/a", filePath="/data/a", resc_hier="demoResc", dataSize="7", dataModify="01600000000"
    )
    found = call(session, 20008, message).get_json_encoded_struct()
    assert (found["data_size"], found["modify_ts"], found["data_is_dirty"]) == ("7", "01600000000", "1")
    assert int(found["data_id"]) == session.data_objects.get(f"{HOME}/a").id


def test_bulk_registration_is_all_or_nothing(server: SandboxServer, session: iRODSSession) -> None:
    rows = [{"path": f"{HOME}/b{n}", "size": "5", "file": f"/data/{n}", "checksum": "sha2:x"} for n in range(50)]
    call(session, 688, bulk(rows))
    again = [{**rows[0], "path": f"{HOME}/c{n}"} for n in range(9)] + rows[:1]
    with pytest.raises(exception.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME):
        call(session, 688, bulk(again))
    with pytest.raises(exception.CAT_UNKNOWN_COLLECTION):
        call(session, 688, bulk([{**rows[0], "path": f"{HOME}/c"}, {**rows[0], "path": f"{HOME}/none/c"}]))
    assert server.sql("select count(*) from replicas") == [(50,)]
    call(session, 688, bulk([{**row, "size": "6", "checksum": "sha2:y"} for row in rows], operation="modify"))
    assert server.sql("select distinct size, checksum, status from replicas") == [(6, "sha2:y", 1)]
    with pytest.raises(exception.CAT_NO_ROWS_FOUND):
        call(session, 688, bulk([{**rows[0], "path": f"{HOME}/none"}], operation="modify"))


def test_bulk_registration_needs_its_columns(session: iRODSSession) -> None:
    message = bulk([{"path": f"{HOME}/a", "size": "5", "file": "/data/a"}])
    message.xml = message.xml.replace("<attriInx>423</attriInx>", "<attriInx>415</attriInx>")
    with pytest.raises(exception.UNMATCHED_KEY_OR_INDEX):
        call(session, 688, message)


def test_a_user_registers_in_bulk(server: SandboxServer, session: iRODSSession) -> None:
    session.users.create("alice", "rodsuser")
    session.users.modify("alice", "password", "secret")
    with connect(server, "alice", "secret") as alice:
        call(alice, 688, bulk([{"path": "/tempZone/home/alice/a", "size": "5", "file": "/data/a"}]))
        with pytest.raises(exception.CAT_NO_ACCESS_PERMISSION):
            call(alice, 688, bulk([{"path": f"{HOME}/a", "size": "5", "file": "/data/a"}]))


def test_modify_by_622(server: SandboxServer, session: iRODSSession) -> None:
    put(session, f"{HOME}/a")
    session.data_objects.modDataObjMeta(
        {"objPath": f"{HOME}/a"}, {"dataSize": 9, "dataModify": 1600000000, "chksum": "sha2:z"}
    )
    assert server.sql("select size, checksum, modify_ts from replicas") == [(9, "sha2:z", "1600000000")]
    session.data_objects.modDataObjMeta({"objPath": f"{HOME}/a"}, {"replStatus": 0})
    assert states(server, "a") == [(0, 0, 9)]
    with pytest.raises(exception.CAT_NO_ROWS_FOUND):
        session.data_objects.modDataObjMeta({"objPath": f"{HOME}/none"}, {"dataSize": 9})


def tar(**members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_a_tar_is_unpacked_and_packed_again(server: SandboxServer, session: iRODSSession) -> None:
    put(session, f"{HOME}/in.tar", tar(a=b"one", d__b=b"two", d__e__c=b""), dataType="tar file")
    call(session, 665, bundle(f"{HOME}/in.tar", f"{HOME}/out", dataType="tar file", bulkOpr=""))
    assert session.data_objects.open(f"{HOME}/out/d/b", "r").read() == b"two"
    assert session.data_objects.get(f"{HOME}/out/a").replicas[0].path == str(server.vault / "home/rods/out/a")
    with pytest.raises(exception.SYS_COPY_ALREADY_IN_RESC):
        call(session, 665, bundle(f"{HOME}/in.tar", f"{HOME}/out", dataType="tar file", bulkOpr=""))
    put(session, f"{HOME}/in2.tar", tar(a=b"changed"), dataType="tar file")
    call(session, 665, bundle(f"{HOME}/in2.tar", f"{HOME}/out", dataType="tar file", bulkOpr="", forceFlag=""))
    assert session.data_objects.open(f"{HOME}/out/a", "r").read() == b"changed"
    call(session, 666, bundle(f"{HOME}/back.tar", f"{HOME}/out", dataType="tar file", resc_hier="demoResc"))
    with tarfile.open(fileobj=io.BytesIO(call(session, 608, object_input(f"{HOME}/back.tar", opr=2)).bs)) as found:
        assert found.getnames() == ["a", "d/b", "d/e/c"]
        assert found.extractfile("a").read() == b"changed"  # type: ignore[union-attr]
    assert session.data_objects.get(f"{HOME}/back.tar").type == "tar file"


def test_what_is_no_tar(session: iRODSSession) -> None:
    put(session, f"{HOME}/in.tar", b"nothing of a tar", dataType="tar file")
    with pytest.raises(exception.SYS_TAR_STRUCT_FILE_EXTRACT_ERR):
        call(session, 665, bundle(f"{HOME}/in.tar", f"{HOME}/out", dataType="tar file", bulkOpr=""))


@pytest.mark.parametrize("damage", ["missing", "outside"])
def test_a_failed_pack_leaves_its_tar_locked(server: SandboxServer, damage: str, tmp_path: Path) -> None:
    with connect(server) as session:
        session.collections.create(f"{HOME}/c")
        if damage == "missing":
            put(session, f"{HOME}/c/a")
            (server.vault / "home/rods/c/a").unlink()
        else:
            session.data_objects.register(local_file(tmp_path, b"x"), f"{HOME}/c/a")
        with pytest.raises(exception.UNIX_FILE_LINK_ERR):
            call(session, 666, bundle(f"{HOME}/c.tar", f"{HOME}/c", dataType="tar file", resc_hier="demoResc"))
        assert states(server, "c.tar") == [(0, 2, 0)]
        with pytest.raises(exception.LOCKED_DATA_OBJECT_ACCESS):
            session.data_objects.unlink(f"{HOME}/c.tar", force=True)
        session.data_objects.modDataObjMeta({"objPath": f"{HOME}/c.tar"}, {"replStatus": 0})
        session.data_objects.unlink(f"{HOME}/c.tar", force=True)


HOST = "<RHostAddr_PI><hostAddr></hostAddr><rodsZone></rodsZone><port>0</port><dummyInt>0</dummyInt></RHostAddr_PI>"


def stat_input(file: Path | str) -> Text:
    return Text(
        f"<fileStatInp_PI>{HOST}<fileName>{file}</fileName><rescHier>demoResc</rescHier><objPath></objPath>"
        "<rescId>0</rescId></fileStatInp_PI>"
    )


def put_input(file: Path, size: int, flags: int = 1) -> Text:
    return Text(
        f"<fileOpenInp_PI><resc_name_></resc_name_><resc_hier_>demoResc</resc_hier_><objPath>{HOME}/f</objPath>"
        f"<otherFlags>{flags}</otherFlags>{HOST}<fileName>{file}</fileName><flags>1</flags><mode>384</mode>"
        f"<dataSize>{size}</dataSize><KeyValPair_PI><ssLen>0</ssLen></KeyValPair_PI><in_pdmo></in_pdmo></fileOpenInp_PI>"
    )


def checksum_input(file: Path, size: int, known: str = "") -> Text:
    return Text(
        f"<fileChksumInp_PI>{HOST}<fileName>{file}</fileName><rescHier>demoResc</rescHier><objPath></objPath>"
        f"<flags>0</flags><in_pdmo></in_pdmo><orig_chksum>{known}</orig_chksum><dataSize>{size}</dataSize>"
        "<KeyValPair_PI><ssLen>0</ssLen></KeyValPair_PI></fileChksumInp_PI>"
    )


def test_files_of_vaults_past_the_catalogue(server: SandboxServer, session: iRODSSession) -> None:
    file = server.vault / "a/b/f"
    written = call(session, 518, put_input(file, 4), b"four")
    assert (written.int_info, file.read_bytes(), file.stat().st_mode & 0o777) == (4, b"four", 0o600)
    assert server.sql("select count(*) from replicas") == [(0,)]
    assert b"<st_size>4</st_size>" in call(session, 510, stat_input(file)).msg
    assert sha2(b"fo").encode() in call(session, 520, checksum_input(file, 2)).msg
    assert hashlib.md5(b"four").hexdigest().encode() in call(session, 520, checksum_input(file, 4, "0" * 32)).msg
    # what a real 5.0.2 answers, each
    for problem, number, message, code in (
        (exception.UNIX_FILE_CREATE_ERR, 518, put_input(file, 1), -511017),
        (exception.UNIX_FILE_CREATE_ERR, 518, put_input(file.parent, 1), -511017),
        (exception.UNIX_FILE_CREATE_ERR, 518, put_input(server.vault / ("n" * 300), 1), -511036),
        (exception.UNIX_FILE_STAT_ERR, 510, stat_input(server.vault / "absent"), -516002),
        (exception.UNIX_FILE_OPEN_ERR, 520, checksum_input(server.vault / "absent", 1), -510002),
        (exception.UNIX_FILE_READ_ERR, 520, checksum_input(file, 5), -512000),
    ):
        with pytest.raises(problem) as raised:
            call(session, number, message, b"x" if number == 518 else b"")
        assert raised.value.code == code
    with pytest.raises(KeyError, match="-128000"):  # CANT_REG_IN_VAULT_FILE, which the client has not in its table
        call(session, 518, put_input(server.vault / "g", 1, flags=0), b"x")
    assert file.read_bytes() == b"four"
    empty = server.vault / "empty"
    empty.mkdir()
    call(session, 518, put_input(empty, 1), b"x")
    assert empty.read_bytes() == b"x"


def test_files_of_vaults_are_for_rodsadmins(server: SandboxServer, session: iRODSSession) -> None:
    session.users.create("alice", "rodsuser")
    session.users.modify("alice", "password", "secret")
    file = server.vault / "f"
    with connect(server, "alice", "secret") as alice:
        for number, message in ((510, stat_input(server.vault)), (518, put_input(file, 1))):
            with pytest.raises(exception.SYS_NO_API_PRIV):
                call(alice, number, message, b"x" if number == 518 else b"")
    assert not file.exists()


def test_struct_file_descriptors_run_out(server: SandboxServer, session: iRODSSession) -> None:
    put(session, f"{HOME}/in.tar", tar(a=b"one"), dataType="tar file")
    for number in range(15):
        call(session, 665, bundle(f"{HOME}/in.tar", f"{HOME}/out{number}", dataType="tar file", bulkOpr=""))
    with pytest.raises(exception.SYS_OUT_OF_FILE_DESC):
        call(session, 665, bundle(f"{HOME}/in.tar", f"{HOME}/more", dataType="tar file", bulkOpr=""))
    with connect(server) as fresh:
        call(fresh, 665, bundle(f"{HOME}/in.tar", f"{HOME}/more", dataType="tar file", bulkOpr=""))


def test_replica_open_and_close(server: SandboxServer, session: iRODSSession) -> None:
    with session.pool.get_connection() as connection:
        message = object_input(f"{HOME}/a", flags=os.O_CREAT | os.O_WRONLY, size=4)
        connection.send(iRODSMessage("RODS_API_REQ", msg=message, int_info=20003))
        reply = connection.recv()
        told = reply.get_json_encoded_struct()
        assert (reply.int_info, told["data_object_info"]["replica_status"], bool(told["replica_token"])) == (3, 2, True)
        connection.send(iRODSMessage("RODS_API_REQ", msg=JSON_Message({"fd": 3}, (5, 0, 2)), int_info=20004))
        assert connection.recv().int_info == 0
    assert states(server, "a") == [(0, 1, 0)]
    assert json.dumps(told)


def test_register_by_data_object_info(server: SandboxServer, session: iRODSSession) -> None:
    info = DataObjInfo_for_session(session)()
    fields = {
        "objPath": f"{HOME}/a", "rescName": "demoResc", "rescHier": "demoResc", "dataType": "generic", "dataSize": 5,
        "chksum": "sha2:x", "version": "", "filePath": "/data/a", "dataOwnerName": "", "dataOwnerZone": "", "replNum": 0,
        "replStatus": 1, "statusString": "", "dataId": 0, "collId": 0, "dataMapId": 0, "dataComments": "", "dataMode": "",
        "dataExpiry": "", "dataCreate": "", "dataModify": "01600000000", "dataAccess": "", "dataAccessInx": 0,
        "writeFlag": 0, "destRescName": "", "backupRescName": "", "subPath": "", "specColl": 0, "regUid": 0,
        "otherFlags": 0, "in_pdmo": "", "next": 0, "rescId": 10013, "dataAccessTime": "",
    }  # fmt: skip
    for name, value in fields.items():
        setattr(info, name, value)
    info.KeyValPair_PI = StringStringMap({})
    reply = call(session, 619, info)
    assert f"<dataId>{session.data_objects.get(f'{HOME}/a').id}</dataId>".encode() in reply.msg
    assert server.sql("select size, checksum, modify_ts, status from replicas") == [(5, "sha2:x", "01600000000", 1)]
    with pytest.raises(exception.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME):
        call(session, 619, info)


def many_put(names: list[str], contents: list[bytes], **keywords: str) -> Text:
    """The input of API 689."""
    ends = [str(sum(len(each) for each in contents[: at + 1])) for at in range(len(contents))]
    columns = {403: names, 421: ["33188"] * len(names), 999998: ends}
    if "verifyChksum" in keywords:
        columns[415] = [sha2(each) for each in contents]
    rows = "".join(
        f"<SqlResult_PI><attriInx>{index}</attriInx><reslen>1088</reslen>"
        + "".join(f"<value>{value}</value>" for value in values)
        + "</SqlResult_PI>"
        for index, values in columns.items()
    )
    empty = "<SqlResult_PI><attriInx>0</attriInx><reslen>0</reslen></SqlResult_PI>" * (50 - len(columns))
    pairs = "".join(f"<keyWord>{key}</keyWord>" for key in keywords)
    pairs += "".join(f"<svalue>{value}</svalue>" for value in keywords.values())
    return Text(
        f"<BulkOprInp_PI><objPath>{names[0]}</objPath><GenQueryOut_PI><rowCnt>{len(names)}</rowCnt><attriCnt>{len(columns)}"
        f"</attriCnt><continueInx>0</continueInx><totalRowCount>0</totalRowCount>{rows}{empty}</GenQueryOut_PI>"
        f"<KeyValPair_PI><ssLen>{len(keywords)}</ssLen>{pairs}</KeyValPair_PI></BulkOprInp_PI>"
    )


def test_many_objects_in_one_put(server: SandboxServer, session: iRODSSession) -> None:
    names, contents = [f"{HOME}/c/f{n}" for n in range(5)], [b"x" * n for n in range(5)]
    call(session, 689, many_put(names, contents, verifyChksum=""), b"".join(contents))
    assert server.sql("select size, checksum, status from replicas order by size") == [
        (n, sha2(b"x" * n), 1) for n in range(5)
    ]
    with pytest.raises(exception.OVERWRITE_WITHOUT_FORCE_FLAG):
        call(session, 689, many_put(names, contents), b"".join(contents))
    with pytest.raises(exception.USER_INCOMPATIBLE_PARAMS):
        call(session, 689, many_put(names, contents, forceFlag=""), b"".join(contents))


def test_where_an_operation_would_go(session: iRODSSession) -> None:
    found = call(session, 10220, object_input(f"{HOME}/a", getResourceInfoOpType="CREATE")).get_json_encoded_struct()
    assert found["resource_hierarchy"] == "demoResc"
    with pytest.raises(exception.SYS_REPLICA_DOES_NOT_EXIST):
        call(session, 10220, object_input(f"{HOME}/a", getResourceInfoOpType="OPEN"))


def test_a_token_that_is_still_held(server: SandboxServer, session: iRODSSession) -> None:
    """A replica freed by 622 while its writer still holds it cannot be opened by another, and is not left locked by that."""
    put(session, f"{HOME}/a")
    with connect(server) as writer:
        file = writer.data_objects.open(f"{HOME}/a", "a")
        session.data_objects.modDataObjMeta({"objPath": f"{HOME}/a"}, {"replStatus": 1})
        with pytest.raises((KeyError, exception.iRODSException)):
            session.data_objects.open(f"{HOME}/a", "a")
        assert states(server, "a") == [(0, 1, 4)]
        file.close()
    with session.data_objects.open(f"{HOME}/a", "a") as file:
        file.write(b"more")
    assert states(server, "a") == [(0, 1, 8)]
