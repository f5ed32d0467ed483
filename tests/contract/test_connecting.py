"""Logging in, and what a person reads when it does not work."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from irods.password_obfuscation import encode
from pydantic import SecretStr

from core.errors import Outage, Unavailable, UsageError
from core.irods import Gateway, replicas
from core.irods.environment import read_account
from core.irods.queries import Column, select
from core.settings import IrodsSettings
from sandbox.irods import SandboxServer
from tests.contract.conftest import ENVIRONMENT

FEATURES = {"bulk_register", "transaction", "register", "bulk_checksums", "bundle", "vault_write", "pack"}


def test_the_server_says_who_we_are(gateway: Gateway) -> None:
    server = gateway.server()
    assert server.version >= (4, 3)
    assert server.zone
    assert server.user
    assert server.is_admin


def test_one_connection_serves_many_calls(gateway: Gateway, home: str) -> None:
    for _ in range(3):
        assert gateway.replicas(f"{home}/absent") == []
    assert gateway.connects == 1


def test_a_connection_to_a_machine_that_vanished_is_given_up_soon(gateway: Gateway, home: str) -> None:
    gateway.replicas(f"{home}/absent")
    sock = gateway._session._connection.socket
    options = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    set_to = {name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in options}
    assert set_to["TCP_KEEPIDLE"] + set_to["TCP_KEEPINTVL"] * set_to["TCP_KEEPCNT"] == 60
    assert set_to["TCP_USER_TIMEOUT"] == 60_000


def test_a_closed_gateway_connects_again(gateway: Gateway, home: str) -> None:
    gateway.replicas(f"{home}/absent")
    gateway.close()
    gateway.close()
    gateway.replicas(f"{home}/absent")
    assert gateway.connects == 2


def test_an_old_connection_is_replaced(irods_settings: IrodsSettings, home: str) -> None:
    with Gateway(irods_settings.model_copy(update={"session_seconds": 1e-9})) as gateway:
        gateway.replicas(f"{home}/absent")
        gateway.replicas(f"{home}/absent")
        assert gateway.connects >= 2


def test_a_connection_is_replaced_after_so_many_calls(irods_settings: IrodsSettings, home: str) -> None:
    with Gateway(irods_settings.model_copy(update={"session_calls": 3})) as gateway:
        for _ in range(7):
            gateway.replicas(f"{home}/absent")
        assert gateway.connects == 3


def test_a_secret_that_has_rotated_is_read_again(irods_settings: IrodsSettings, tmp_path: Path, home: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("expired")
    settings = irods_settings.model_copy(update={"password": None, "password_file": secret})
    with Gateway(settings) as gateway:
        with pytest.raises(Outage) as refusal:
            gateway.replicas(f"{home}/absent")
        assert refusal.value.error == "auth"
        given = irods_settings.password
        secret.write_text(given.get_secret_value() if given else str(read_account(irods_settings).password))
        assert gateway.replicas(f"{home}/absent") == []


@pytest.mark.parametrize("code", [-840000, -826000, -993000])
def test_a_login_that_expires_at_work_is_made_anew(tmp_path: Path, code: int) -> None:
    secret = tmp_path / "secret"
    secret.write_text("rods")
    with SandboxServer(tmp_path / "server") as server:
        settings = IrodsSettings(host="127.0.0.1", port=server.port, password_file=secret)
        with Gateway(settings) as gateway:
            gateway.replicas("/tempZone/home/rods/absent")
            server.faults.add("error", api=702, code=code, count=1)
            with pytest.raises(Outage) as refusal:
                gateway.replicas("/tempZone/home/rods/absent")
            assert refusal.value.error == "auth"
            assert gateway.replicas("/tempZone/home/rods/absent") == []
            assert gateway.connects == 2


def test_features_are_found_without_changing_anything(irods_settings: IrodsSettings) -> None:
    with Gateway(irods_settings) as gateway:
        here = f"/{gateway.server().zone}/home/{gateway.server().user}"
        before = replicas.replicas_in(gateway._session, here)
        found = gateway.features()
        # the sandbox has no open transactions
        assert found.pop("transaction").startswith("available" if ENVIRONMENT else "refused by the server: ")
        assert found == dict.fromkeys(FEATURES - {"transaction"}, "available")
        assert replicas.replicas_in(gateway._session, here) == before
        collections = [(Column.COLL_PARENT_NAME, f"= '{here}'")]
        made = select(gateway._session, (Column.COLL_NAME,), collections)
        assert not any("ingest_probe" in row[0] for row in made)
    forbidden = irods_settings.model_copy(update={"bulk_registration": False, "bundles": False})
    with Gateway(forbidden) as gateway:
        found = gateway.features()
        assert {name for name, state in found.items() if state == "forbidden by the settings"} == FEATURES - {
            "register",
            "bulk_checksums",
        }


def test_features_of_one_who_is_no_rodsadmin(alices_settings: IrodsSettings) -> None:
    with Gateway(alices_settings) as gateway:
        found = gateway.features()
        assert found.keys() == FEATURES
        assert found["bundle"] == found["pack"] == "available"
        for name in ("transaction", "register", "vault_write"):
            assert found[name].startswith("refused by the server: ")


@pytest.mark.parametrize("code", [-13000, -12000])
def test_features_that_a_server_refuses(tmp_path: Path, code: int) -> None:
    with SandboxServer(tmp_path) as server:
        settings = IrodsSettings(host="127.0.0.1", port=server.port, password=SecretStr("rods"))
        for api in (619, 518, 665, 718):
            server.faults.add("error", api=api, code=code)
        with Gateway(settings) as gateway:
            found = gateway.features()
        assert {name for name, state in found.items() if "refused by the server" in state} == {
            "bulk_register",
            "transaction",
            "bundle",
            "vault_write",
        }
        assert str(code) in found["bundle"]


def test_a_wrong_password_is_unavailable_at_start_and_an_outage_later(irods_settings: IrodsSettings, home: str) -> None:
    with Gateway(irods_settings.model_copy(update={"password": SecretStr("wrong")})) as gateway:
        with pytest.raises(Unavailable) as at_start:
            gateway.check_target(home)
        with pytest.raises(Outage) as at_work:
            gateway.replicas(f"{home}/absent")
    assert "-826000" in str(at_start.value)
    assert "\n" not in str(at_start.value)
    assert "password" in at_start.value.hint
    assert at_work.value.error == "auth"


def test_an_unknown_user_is_an_outage(irods_settings: IrodsSettings, home: str) -> None:
    settings = irods_settings.model_copy(update={"user": "nobodyhere", "password": SecretStr("x")})
    with Gateway(settings) as gateway, pytest.raises(Outage) as refusal:
        gateway.replicas(f"{home}/absent")
    assert refusal.value.error == "auth"


def test_a_port_nobody_listens_on(irods_settings: IrodsSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = irods_settings.model_copy(update={"host": "127.0.0.1", "port": port})
    with Gateway(settings) as gateway:
        with pytest.raises(Unavailable) as refusal:
            gateway.server()
        with pytest.raises(Outage) as outage:
            gateway.replicas("/tempZone/home/x")
    assert str(port) in str(refusal.value)
    assert "irods.port" in str(refusal.value)
    assert outage.value.error == "unreachable"


def test_a_server_that_never_answers(irods_settings: IrodsSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        changes = {"host": "127.0.0.1", "port": silent.getsockname()[1], "timeout_seconds": 0.2}
        with Gateway(irods_settings.model_copy(update=changes)) as gateway, pytest.raises(Outage) as outage:
            gateway.replicas("/tempZone/home/x")
    assert outage.value.error == "timeout"


def test_an_environment_file_gives_defaults_and_settings_go_before_it(
    tmp_path: Path, irods_settings: IrodsSettings
) -> None:
    with Gateway(irods_settings) as gateway:
        server = gateway.server()
        host, _, port = gateway._session.where.partition(":")
    file = tmp_path / "irods_environment.json"
    file.write_text(
        json.dumps(
            {"irods_host": host, "irods_port": int(port), "irods_user_name": "nobody", "irods_zone_name": server.zone}
        )
    )
    password = irods_settings.password or SecretStr("rods")
    with Gateway(IrodsSettings(environment_file=file, user=server.user, password=password)) as gateway:
        assert gateway.server().user == server.user


def test_no_password_and_broken_files_are_usage_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IRODS_AUTHENTICATION_FILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="no iRODS password"):
        Gateway(IrodsSettings())
    with pytest.raises(UsageError, match="cannot read"):
        Gateway(IrodsSettings(environment_file=tmp_path / "absent.json"))
    broken = tmp_path / "irods_environment.json"
    broken.write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        Gateway(IrodsSettings(environment_file=broken))
    with pytest.raises(UsageError, match="cannot read the password"):
        Gateway(IrodsSettings(password_file=tmp_path / "absent"))


def test_an_irods_a_file_beside_the_environment_file(
    tmp_path: Path, irods_settings: IrodsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if irods_settings.password is None:
        pytest.skip("this server's own environment already uses .irodsA")
    monkeypatch.delenv("IRODS_AUTHENTICATION_FILE", raising=False)
    file = tmp_path / "irods_environment.json"
    file.write_text(json.dumps({"irods_host": irods_settings.host, "irods_port": irods_settings.port}))
    (tmp_path / ".irodsA").write_text(encode(irods_settings.password.get_secret_value()))
    with Gateway(IrodsSettings(environment_file=file)) as gateway:
        assert gateway.server().user == "rods"
