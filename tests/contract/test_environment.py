"""From settings and irods_environment.json to the account that logs in."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from irods.password_obfuscation import encode
from pydantic import SecretStr

from core.errors import UsageError
from core.irods.environment import read_account
from core.settings import IrodsSettings

TLS = {"irods_client_server_policy": "CS_NEG_REQUIRE"}


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names an .irodsA file is not this test's."""
    monkeypatch.delenv("IRODS_AUTHENTICATION_FILE", raising=False)


def account(tmp_path: Path, values: dict[str, Any], **settings: Any) -> Any:
    file = tmp_path / "irods_environment.json"
    file.write_text(json.dumps(values))
    return read_account(IrodsSettings(environment_file=file, **settings))


def test_settings_go_before_the_environment_and_that_before_defaults(tmp_path: Path) -> None:
    found = account(tmp_path, {"irods_host": "h", "irods_port": 1}, port=2, password=SecretStr("p"))
    assert (found.host, found.port, found.client_user, found.client_zone) == ("h", 2, "rods", "tempZone")
    assert found.password == "p"


def test_pam_with_a_password_and_with_a_token(tmp_path: Path) -> None:
    pam = {"irods_authentication_scheme": "PAM", **TLS}
    assert account(tmp_path, pam, password=SecretStr("p")).authentication_scheme == "pam_password"
    (tmp_path / ".irodsA").write_text(encode("token"))
    with_token = account(tmp_path, pam)
    assert (with_token.authentication_scheme, with_token.password) == ("native", "token")


def test_a_password_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p w\nmore\n")
    assert account(tmp_path, {}, password_file=tmp_path / "secret").password == "p w"


def test_tls_verifies_unless_told_otherwise(tmp_path: Path) -> None:
    found = account(tmp_path, TLS, password=SecretStr("p"))
    assert found.client_server_negotiation == "request_server_negotiation"
    assert (found.ssl_context.verify_mode, found.ssl_context.check_hostname) == (ssl.CERT_REQUIRED, True)
    found = account(tmp_path, TLS | {"irods_ssl_verify_server": "cert"}, password=SecretStr("p"))
    assert (found.ssl_context.verify_mode, found.ssl_context.check_hostname) == (ssl.CERT_REQUIRED, False)
    found = account(tmp_path, TLS | {"irods_ssl_verify_server": "none"}, password=SecretStr("p"))
    assert found.ssl_context.verify_mode == ssl.CERT_NONE
    with pytest.raises(UsageError, match="CA certificates"):
        account(tmp_path, TLS | {"irods_ssl_ca_certificate_file": "/absent.pem"}, password=SecretStr("p"))


def test_without_tls_nothing_is_negotiated(tmp_path: Path) -> None:
    found = account(tmp_path, {"irods_client_server_policy": "CS_NEG_REFUSE"}, password=SecretStr("p"))
    assert not hasattr(found, "ssl_context")


def test_a_file_that_is_no_irods_a(tmp_path: Path) -> None:
    (tmp_path / ".irodsA").write_text("")
    with pytest.raises(UsageError, match=r"not an \.irodsA file"):
        account(tmp_path, {})


def test_tls_trusts_only_the_authority_of_the_environment(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(ssl.DER_cert_to_PEM_cert(next(iter(ssl.create_default_context().get_ca_certs(True)))))
    found = account(tmp_path, TLS | {"irods_ssl_ca_certificate_file": str(authority)}, password=SecretStr("p"))
    assert found.ssl_context.cert_store_stats()["x509_ca"] == 1
    assert found.encryption_algorithm == "AES-256-CBC"
    assert (found.encryption_key_size, found.encryption_num_hash_rounds, found.encryption_salt_size) == (32, 16, 8)


def test_acting_for_another_user(tmp_path: Path) -> None:
    found = account(tmp_path, {}, client_user="alice", password=SecretStr("p"))
    assert (found.proxy_user, found.proxy_zone, found.client_user, found.client_zone) == (
        "rods",
        "tempZone",
        "alice",
        "tempZone",
    )
    settings = IrodsSettings(client_user="alice", password=SecretStr("p"), zone="z")
    found = read_account(settings, ("bob", "other"))
    assert (found.proxy_user, found.proxy_zone, found.client_user, found.client_zone) == ("rods", "z", "bob", "other")
    assert found.password == "p"
