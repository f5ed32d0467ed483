"""One bucket of an S3 service: the requests that this project makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3.session
from botocore import UNSIGNED
from botocore.client import Config
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from core.errors import FileError, Outage, Permanent, Transient, UsageError
from core.settings import S3Settings
from core.sources.base import Stat
from core.sources.s3_errors import code_of, told

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SHA256 = re.compile("[A-Za-z0-9+/]{43}=")


class Listed(NamedTuple):
    """A line of a listing: an object, or with `is_prefix` all keys that begin with `key`."""

    key: str
    size: int = 0
    modified_at: int = 0
    tag: str | None = None
    is_prefix: bool = False


class Facts(NamedTuple):
    """What S3 says of an object; `checksum` is its own full SHA-256 in the notation of iRODS, where it has one."""

    stat: Stat
    checksum: str | None


def session_of(settings: S3Settings) -> boto3.session.Session:
    """A session with the credentials that the settings name, or those that AWS finds. Raises UsageError."""
    region = settings.region or boto3.session.Session().region_name or "us-east-1"
    if settings.key_pair_file is None:
        return boto3.session.Session(region_name=region)
    return boto3.session.Session(*read_key_pair(settings.key_pair_file), region_name=region)


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


class Bucket:
    """A bucket and the connections to it, which threads may share."""

    def __init__(self, name: str, settings: S3Settings) -> None:
        self.name = name
        self._page = settings.list_page
        try:
            self._client: S3Client = session_of(settings).client(
                "s3", endpoint_url=settings.endpoint_url, config=config_of(settings), verify=verify_of(settings)
            )
        except ValueError as error:  # of the endpoint's URL
            raise UsageError(f"s3.endpoint_url: {error}", "write https://host:port") from None

    def check(self, prefix: str) -> None:
        """Raises UsageError when the bucket is missing or may not be listed, and when nothing answers."""
        try:
            next(self.listing(prefix, most=1), None)
        except FileError as error:
            raise UsageError(error.message, error.hint or "let it be listed (s3:ListBucket)") from error

    def listing(
        self, prefix: str, after: str = "", *, delimiter: str = "/", most: int | None = None
    ) -> Iterator[Listed]:
        """What lies below a prefix, in the order of the keys' UTF-8 bytes, beyond the key `after`; `most` ends it early.

        Only one page is held. Raises FileError, also for a listing that is not whole or not in order: what is missing in
        it would pass for gone.
        """
        what = f"s3://{self.name}/{prefix}"
        asked: dict[str, Any] = {"Bucket": self.name, "Prefix": prefix, "MaxKeys": min(most or self._page, self._page)}
        asked |= {"StartAfter": after} if after else {}
        asked |= {"Delimiter": delimiter} if delimiter else {}
        given, last = 0, ""
        while True:
            with told(what):
                page = self._client.list_objects_v2(**asked)
            lines = [_listed_object(one) for one in page.get("Contents", ())]
            lines += [Listed(one["Prefix"], is_prefix=True) for one in page.get("CommonPrefixes", ())]
            lines.sort(key=lambda one: one.key)
            for line in lines:
                if line.key < last:
                    raise Permanent("unordered_listing", f"{what}: {line.key!r} comes after {last!r}", _ORDER)
                last = line.key
                yield line
                given += 1
                if most is not None and given >= most:
                    return
            if not page.get("IsTruncated"):
                return
            token = page.get("NextContinuationToken")
            if not token or token == asked.get("ContinuationToken"):
                raise Transient("broken_listing", f"{what}: a page says that more follow, but not how to go on")
            asked["ContinuationToken"] = token

    def first(self, prefix: str, after: str = "") -> str | None:
        """The first key or common prefix below `prefix` beyond `after`."""
        found = next(self.listing(prefix, after, most=1), None)
        return found.key if found else None

    def facts(self, key: str) -> Facts:
        """Look at an object (HEAD). Raises FileError; Vanished only while the bucket itself is there."""
        try:
            with told(self.where(key)):
                answer = self._client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except FileError as error:
            raise self._why(error, key) from error
        return _facts(answer)

    def read(self, key: str, tag: str | None, part: tuple[int, int] | None) -> tuple[Facts, StreamingBody]:
        """Begin to read the version with that ETag: bytes from..until (exclusive), or all. Raises FileError, Changed."""
        asked: dict[str, Any] = {"Bucket": self.name, "Key": key, "ChecksumMode": "ENABLED"}
        asked |= {"IfMatch": f'"{tag}"'} if tag else {}
        asked |= {"Range": f"bytes={part[0]}-{part[1] - 1}"} if part else {}
        try:
            with told(self.where(key)):
                answer = self._client.get_object(**asked)
        except FileError as error:
            raise self._if_bucket_is_there(error) from error
        return _facts(answer), answer["Body"]

    def where(self, key: str) -> str:
        """An object as people write it."""
        return f"s3://{self.name}/{key}"

    def _why(self, error: FileError, key: str) -> FileError:
        """An answer to HEAD has no body that says why: 403 may be this object's or the credentials', 400 anything."""
        if isinstance(error.__cause__, ClientError) and code_of(error.__cause__) in ("400", "403"):
            try:
                with told(self.where(key)):
                    self._client.get_object(Bucket=self.name, Key=key, Range="bytes=0-0")["Body"].close()
            except FileError as better:
                error = better if better.error != "InvalidRange" else error
        return self._if_bucket_is_there(error)

    def _if_bucket_is_there(self, error: FileError) -> FileError:
        """Let nothing vanish because the whole bucket is away."""
        if error.error not in ("404", "NotFound", "NoSuchKey"):
            return error
        try:
            with told(f"s3://{self.name}"):
                self._client.head_bucket(Bucket=self.name)
        except FileError as away:
            if away.error in ("404", "NotFound", "NoSuchBucket"):
                return Outage("NoSuchBucket", f"bucket {self.name} is missing", "check the job's source")
            if not isinstance(away, Permanent):  # who may not look at the bucket has to believe the first answer
                return away
        return error

    def close(self) -> None:
        """Close the connections."""
        with suppress(Exception):
            self._client.close()


_ORDER = "sources must list their keys in the order of UTF-8; directory buckets do not"


def _listed_object(one: Any) -> Listed:
    return Listed(one["Key"], one["Size"], stamp(one["LastModified"]), _tag(one.get("ETag")))


def _facts(answer: Any) -> Facts:
    size = int(answer["ContentLength"])
    if "/" in (whole := answer.get("ContentRange") or ""):
        size = int(whole.rpartition("/")[2])
    return Facts(Stat(size, stamp(answer["LastModified"]), _tag(answer.get("ETag"))), _checksum(answer))


def _checksum(answer: Any) -> str | None:
    # of an object put in parts, which its ETag shows, it is a checksum of the parts' checksums, which nobody can compare
    value = answer.get("ChecksumSHA256") or ""
    in_parts = answer.get("ChecksumType") == "COMPOSITE" or "-" in (answer.get("ETag") or "")
    return f"sha2:{value}" if _SHA256.fullmatch(value) and not in_parts else None


def _tag(etag: str | None) -> str | None:
    return etag.removeprefix("W/").strip('"') if etag else None


def stamp(modified: datetime) -> int:
    """Microseconds since 1970 of a whole second: listings may tell fractions that the header of an object never does."""
    return int(modified.timestamp()) * 1_000_000
