"""How an S3 service is reached: credentials, proxy, certificates, time limits."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3.session
import botocore.session
import urllib3
from botocore import UNSIGNED
from botocore.client import Config
from botocore.credentials import CredentialProvider, Credentials, ReadOnlyCredentials
from botocore.utils import parse_timestamp
from urllib3.exceptions import InsecureRequestWarning

from core.errors import UsageError
from core.settings import S3Settings


def client_of(kind: Any, settings: S3Settings, *, endpoint_url: str | None, region: str | None = None) -> Any:
    """A client of `kind`, s3 or sqs; `region` is what its URL says, if it does. Raises UsageError."""
    session = session_of(settings)
    if not settings.verify_tls:
        urllib3.disable_warnings(InsecureRequestWarning)  # one a request; somebody has asked for it
    try:
        return session.client(
            kind,
            endpoint_url=endpoint_url,
            config=config_of(settings),
            verify=verify_of(settings),
            region_name=region,
        )
    except ValueError as error:  # of the endpoint's URL
        raise UsageError(f"s3.endpoint_url: {error}", "write https://host:port") from None


def stay(model: Any, context: dict[str, Any], **_: Any) -> None:
    """Have botocore not follow a redirection of HeadBucket; a handler of its event `before-parameter-build`.

    Where it is redirected it asks HeadBucket for the region: a service that always redirects, and does not say where to, would be
    asked for ever.
    """
    if model.name == "HeadBucket":
        context["s3_redirect"]["redirected"] = True


def session_of(settings: S3Settings) -> boto3.session.Session:
    """A session with the credentials that the settings name, or those that AWS finds. Raises UsageError."""
    core = botocore.session.get_session()
    if settings.key_pair_file is not None:
        credentials = _OfFile(settings.key_pair_file)
        core.get_component("credential_provider").insert_before("env", _Given(credentials))
    # botocore's own takes most of the time of a listing
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_instant)
    region = settings.region or core.get_config_variable("region") or "us-east-1"
    return boto3.session.Session(botocore_session=core, region_name=region)


def _instant(value: Any) -> datetime:
    """A time in an answer; botocore's own parser takes what is not in ISO notation with a zone."""
    with suppress(ValueError, TypeError):
        found = datetime.fromisoformat(value)
        if found.tzinfo is not None:
            return found
    parsed: datetime = parse_timestamp(value)
    return parsed


class _Given(CredentialProvider):
    """Asked before all other places for credentials."""

    METHOD = "key-pair-file"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials


class _OfFile(Credentials):
    """The key pair as its file has it now: a secret that is renewed is taken without a new start."""

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser()
        self._written = self._mark()
        super().__init__(*read_key_pair(path), method=_Given.METHOD)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        if (now := self._mark()) != self._written:
            try:
                found = read_key_pair(self._path)
            except UsageError:
                pass  # half written: what was known is used until it can be read
            else:
                self._written = now
                self.access_key, self.secret_key, self.token = found
        return super().get_frozen_credentials()

    def _mark(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return found.st_mtime_ns, found.st_ino, found.st_size


def read_key_pair(path: Path) -> tuple[str, str, str | None]:
    """Access key, secret key and perhaps session token of a file with a line for each. Raises UsageError."""
    try:
        lines = path.expanduser().read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise UsageError(f"s3.key_pair_file: cannot read {path}: {why}", "check the file and its mode") from None
    words = [line.strip() for line in lines if line.strip()]
    if len(words) not in (2, 3):
        raise UsageError(
            f"s3.key_pair_file: {path} has {len(words)} lines", "write the access key, then the secret key"
        )
    return words[0], words[1], words[2] if len(words) == 3 else None


def config_of(settings: S3Settings) -> Config:
    """How requests are sent: proxy, time limits, and how often one is tried."""
    proxies = {"http": settings.proxy_url, "https": settings.proxy_url} if settings.proxy_url else None
    return Config(
        signature_version=UNSIGNED if settings.anonymous else None,
        s3={"addressing_style": settings.addressing},
        proxies=proxies,
        connect_timeout=settings.connect_timeout_seconds,
        read_timeout=settings.read_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": settings.attempts},
        max_pool_connections=settings.connections,
        # other services than AWS refuse checksums that are newer than they are
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def verify_of(settings: S3Settings) -> str | bool:
    """What certificates are checked with, as botocore takes it."""
    return str(settings.ca_file.expanduser()) if settings.ca_file and settings.verify_tls else settings.verify_tls
