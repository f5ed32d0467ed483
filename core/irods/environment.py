"""From settings, irods_environment.json and .irodsA to one account to log in with."""

from __future__ import annotations

import json
import os
import ssl
from functools import cache
from pathlib import Path
from typing import Any

from irods.account import iRODSAccount
from irods.password_obfuscation import decode

from core.errors import UsageError
from core.settings import IrodsSettings

_ENCRYPTION = {
    "irods_encryption_algorithm": "AES-256-CBC",
    "irods_encryption_key_size": 32,
    "irods_encryption_num_hash_rounds": 16,
    "irods_encryption_salt_size": 8,
}
_NAMES = {"host": "irods_host", "port": "irods_port", "user": "irods_user_name", "zone": "irods_zone_name"}


def read_account(settings: IrodsSettings, as_user: tuple[str, str] | None = None) -> Any:
    """The account (python-irodsclient's iRODSAccount) that the settings describe, acting for another user (name, zone)
    where that is asked for; then the one who logs in must be a rodsadmin.

    A key set in the settings goes before the environment file, and that before the settings' default. Raises
    `UsageError` when a named file is absent or unreadable or no password is to be found.
    """
    file = settings.environment_file
    environment = _read_json(file) if file is not None else {}
    values = _ENCRYPTION | environment
    for key, name in _NAMES.items():
        if key in settings.model_fields_set or name not in values:
            values[name] = getattr(settings, key)
    policy = values.get("irods_client_server_policy", "")
    if policy in ("CS_NEG_REQUIRE", "CS_NEG_DONT_CARE"):
        # python-irodsclient negotiates only when told; iRODS 5 environments no longer say so
        values.setdefault("irods_client_server_negotiation", "request_server_negotiation")
    password, scrambled = _password(settings, environment)
    scheme = str(values.get("irods_authentication_scheme", "native")).lower()
    # .irodsA holds a native password, or the token that a PAM login left there: both log in natively
    values["irods_authentication_scheme"] = "native" if scrambled else {"pam": "pam_password"}.get(scheme, scheme)
    values.pop("password", None)
    client_user, client_zone = as_user or (settings.client_user, settings.client_zone)
    if client_user:
        values["client_user"], values["client_zone"] = client_user, client_zone or values["irods_zone_name"]
    account = iRODSAccount(password=password, **values)
    if getattr(account, "client_server_negotiation", "") == "request_server_negotiation":
        account.ssl_context = tls_context(values)
    return account


def tls_context(values: dict[str, Any]) -> ssl.SSLContext:
    """What the environment says on TLS; for all who ask the same one, until the CAs are others. Without a CA file the
    system's CAs are used; python-irodsclient would trust anyone."""
    verify = values.get("irods_ssl_verify_server", "hostname")
    file = values.get("irods_ssl_ca_certificate_file") or None
    folder = values.get("irods_ssl_ca_certificate_path") or None
    system = ssl.get_default_verify_paths()
    read = (file, folder) if file or folder else (system.cafile, system.capath)
    try:
        return _tls_context(verify, file, folder, tuple(os.stat(place).st_mtime_ns for place in read if place))
    except OSError as problem:
        raise UsageError(f"cannot read the CA certificates of irods_environment.json: {problem}") from None


@cache
def _tls_context(verify: str, file: str | None, folder: str | None, _changed: tuple[int, ...]) -> ssl.SSLContext:
    # to read all CAs of the system takes 20 ms, and each thread of a pod has a session
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=file, capath=folder)
    context.check_hostname = verify == "hostname"
    context.verify_mode = ssl.CERT_NONE if verify == "none" else ssl.CERT_REQUIRED
    return context


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as problem:
        raise UsageError(f"cannot read {path}: {problem.strerror}", "set irods.environment_file") from None
    except ValueError as problem:
        raise UsageError(f"{path} is not JSON: {problem}", "repair irods_environment.json") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not a JSON object", "repair irods_environment.json")
    return values


def _password(settings: IrodsSettings, environment: dict[str, Any]) -> tuple[str, bool]:
    """The password, and whether it came scrambled from an .irodsA file."""
    if settings.password is not None:
        return settings.password.get_secret_value(), False
    if settings.password_file is not None:
        return _first_line(settings.password_file), False
    tried = _irods_a_files(settings, environment)
    for path in tried:
        if path.exists():
            uid = environment.get("irods_authentication_uid")
            try:
                return decode(_first_line(path), uid), True
            except (ValueError, IndexError, KeyError):
                raise UsageError(f"{path} is not an .irodsA file", "run iinit, or set IRODS_PASSWORD") from None
    if settings.user == "anonymous":
        return "", False
    places = ", ".join(map(str, tried))
    raise UsageError(
        "no iRODS password", f"set IRODS_PASSWORD or irods.password_file, or run iinit (looked at {places})"
    )


def _irods_a_files(settings: IrodsSettings, environment: dict[str, Any]) -> list[Path]:
    if named := os.environ.get("IRODS_AUTHENTICATION_FILE") or environment.get("irods_authentication_file"):
        return [Path(named).expanduser()]
    beside = [settings.environment_file.expanduser().with_name(".irodsA")] if settings.environment_file else []
    return [*beside, Path.home() / ".irods" / ".irodsA"]


def _first_line(path: Path) -> str:
    try:
        with path.expanduser().open(encoding="utf-8") as file:
            return file.readline().rstrip("\n")
    except (OSError, ValueError) as problem:
        raise UsageError(f"cannot read the password in {path}: {problem}", "check the file and its mode") from None
