"""TLS and pam_password: what is encrypted, whom we trust, and what a person reads when it does not fit."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from irods.session import iRODSSession
from pydantic import SecretStr

from core.checksums import checksum_of
from core.errors import Outage, Unavailable
from core.irods import Expected, Gateway, SmallFile
from core.irods.session import Session
from core.outcome import Done
from core.settings import IrodsSettings
from sandbox.irods import SandboxServer

CERTIFICATES = Path(__file__).parents[1] / "data" / "tls"
HOME = "/tempZone/home/rods"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[SandboxServer]:
    """A server that takes nobody without TLS, and knows the PAM password of alice."""
    certificate = (CERTIFICATES / "server.pem", CERTIFICATES / "server.key")
    with SandboxServer(tmp_path / "secured", tls=certificate, pam={"alice": "her;own=secret"}) as server:
        yield server


def settings_for(server: SandboxServer, folder: Path, password: str = "rods", **environment: Any) -> IrodsSettings:
    """As an irods_environment.json says it."""
    values = server.environment | {
        "irods_host": "localhost",
        "irods_ssl_ca_certificate_file": str(CERTIFICATES / "ca.pem"),
        "irods_ssl_verify_server": "hostname",
    }
    file = folder / "irods_environment.json"
    file.write_text(json.dumps({key: value for key, value in (values | environment).items() if value is not None}))
    return IrodsSettings(environment_file=file, password=SecretStr(password), timeout_seconds=20)


def exercise(gateway: Gateway, home: str) -> None:
    """Everything that goes over a connection of its own as well as over the first."""
    large = os.urandom(10 << 20)
    for streams in (1, 3):
        gateway.put_stream(
            f"{home}/l", lambda o, n: large[o : o + n], len(large), resource=None, overwrite=True, streams=streams
        )
        gateway.verify(f"{home}/l", size=len(large), checksum=checksum_of(large))
    small = [SmallFile(f"f{n}", b"x" * n, checksum_of(b"x" * n)) for n in range(20)]
    outcomes = gateway.put_bundle(f"{home}/d", small, resource=None, overwrite=False)
    assert outcomes == [Done(file.checksum) for file in small]
    wanted = [Expected(file.relative, len(file.data), file.checksum) for file in small]
    assert gateway.verify_many(f"{home}/d", wanted) == [Done(file.checksum, "rehash") for file in small]


def test_everything_goes_over_tls(secured: SandboxServer, tmp_path: Path) -> None:
    with Gateway(settings_for(secured, tmp_path)) as gateway:
        assert gateway.server().is_admin
        assert isinstance(gateway._session._connection.socket, ssl.SSLSocket)
        exercise(gateway, HOME)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"irods_ssl_ca_certificate_file": None}, "irods_ssl_ca_certificate_file"),
        ({"irods_host": "127.0.0.1"}, "irods_ssl_verify_server"),
        ({"irods_client_server_policy": "CS_NEG_REFUSE"}, "CS_NEG_REQUIRE"),
        ({"irods_client_server_policy": None, "irods_client_server_negotiation": None}, "CS_NEG_REQUIRE"),
    ],
)
def test_a_client_that_does_not_fit_is_told_what_to_set(
    secured: SandboxServer, tmp_path: Path, environment: dict[str, Any], words: str
) -> None:
    with Gateway(settings_for(secured, tmp_path, **environment)) as gateway, pytest.raises(Unavailable) as refusal:
        gateway.server()
    assert words in refusal.value.hint


def test_less_is_verified_where_that_is_asked_for(secured: SandboxServer, tmp_path: Path) -> None:
    for environment in (
        {"irods_host": "127.0.0.1", "irods_ssl_verify_server": "cert"},
        {"irods_ssl_ca_certificate_file": None, "irods_ssl_verify_server": "none"},
    ):
        with Gateway(settings_for(secured, tmp_path, **environment)) as gateway:
            assert gateway.server().user == "rods"


def test_a_server_without_tls(tmp_path: Path) -> None:
    with SandboxServer(tmp_path / "plain") as server:
        settings = settings_for(server, tmp_path, irods_client_server_policy="CS_NEG_REQUIRE")
        with Gateway(settings) as gateway, pytest.raises(Unavailable) as refusal:
            gateway.server()
    assert "does not agree on TLS" in str(refusal.value)
    assert "CS_NEG_REFUSE" in refusal.value.hint


@pytest.fixture
def alice(secured: SandboxServer, tmp_path: Path) -> None:
    """A user of that name, without any password in iRODS."""
    account = Session(settings_for(secured, tmp_path))._account
    with iRODSSession(
        host=account.host,
        port=account.port,
        user="rods",
        zone="tempZone",
        password="rods",
        client_server_negotiation="request_server_negotiation",
        client_server_policy="CS_NEG_REQUIRE",
        encryption_algorithm="AES-256-CBC",
        encryption_key_size=32,
        encryption_num_hash_rounds=16,
        encryption_salt_size=8,
        ssl_context=account.ssl_context,
    ) as session:
        session.users.create("alice", "rodsuser")


@pytest.mark.parametrize("scheme", ["pam_password", "PAM", "pam"])
def test_a_pam_password_logs_in(secured: SandboxServer, tmp_path: Path, alice: None, scheme: str) -> None:
    login = {"irods_user_name": "alice", "irods_authentication_scheme": scheme}
    with Gateway(settings_for(secured, tmp_path, "her;own=secret", **login)) as gateway:
        assert gateway.server().user == "alice"
        exercise(gateway, "/tempZone/home/alice")
        # the first connection asked PAM, those after it came with its token
        assert gateway.connects > 3
        assert len(secured.pam_tokens["alice"]) == 1


def test_a_token_that_has_expired_is_no_outage(secured: SandboxServer, tmp_path: Path, alice: None) -> None:
    login = {"irods_user_name": "alice", "irods_authentication_scheme": "pam_password"}
    with Gateway(settings_for(secured, tmp_path, "her;own=secret", **login)) as gateway:
        for _ in range(2):
            assert gateway.replicas("/tempZone/home/alice/absent") == []
            gateway.close()
        (first,) = secured.pam_tokens["alice"]
        secured.pam_tokens.clear()
        assert gateway.replicas("/tempZone/home/alice/absent") == []
        (second,) = secured.pam_tokens["alice"]
        assert second != first


def test_a_pam_password_that_rotates_is_read_again(secured: SandboxServer, tmp_path: Path, alice: None) -> None:
    login = {"irods_user_name": "alice", "irods_authentication_scheme": "pam_password"}
    secret = tmp_path / "secret"
    secret.write_text("old")
    settings = settings_for(secured, tmp_path, **login).model_copy(update={"password": None, "password_file": secret})
    with Gateway(settings) as gateway:
        with pytest.raises(Outage) as refusal:
            gateway.replicas("/tempZone/home/alice/absent")
        assert refusal.value.error == "auth"
        assert "-993000" in str(refusal.value)
        secret.write_text("her;own=secret")
        assert gateway.replicas("/tempZone/home/alice/absent") == []
        secured.pam["alice"] = "new"
        secured.pam_tokens.clear()
        secured.faults.add("error", api=702, code=-840000, count=1)
        with pytest.raises(Outage):
            gateway.replicas("/tempZone/home/alice/absent")
        secret.write_text("new")
        assert gateway.replicas("/tempZone/home/alice/absent") == []


def test_a_pam_password_never_goes_without_tls(tmp_path: Path) -> None:
    with SandboxServer(tmp_path / "plain", pam={"rods": "secret"}) as server:
        settings = settings_for(server, tmp_path, "secret", irods_authentication_scheme="pam_password")
        with Gateway(settings) as gateway, pytest.raises(Unavailable, match="TLS"):
            gateway.server()
