"""One bucket of an S3 service: the requests that this project makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from core.errors import Changed, FileError, Outage, Permanent, UsageError, Vanished
from core.settings import S3Settings
from core.sources.base import Stat
from core.sources.s3_errors import LISTABLE, code_of, told
from core.sources.s3_pages import is_last, mend, next_page
from core.sources.s3_service import client_of, stay

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


class Bucket:
    """A bucket and the connections to it, which threads may share."""

    def __init__(self, name: str, settings: S3Settings) -> None:
        self.name = name
        self._page = settings.list_page
        self._client: S3Client = client_of("s3", settings, endpoint_url=settings.endpoint_url)
        self._client.meta.events.register("before-parse.s3.ListObjectsV2", mend)
        self._client.meta.events.register_last("before-parameter-build.s3", stay)

    def check(self, prefix: str) -> None:
        """Raises UsageError when the bucket is missing or may not be listed, and when nothing answers."""
        try:
            next(self.listing(prefix, most=1), None)
        except FileError as error:
            raise UsageError(error.message, error.hint) from error

    def listing(
        self, prefix: str, after: str = "", *, delimiter: str = "/", most: int | None = None
    ) -> Iterator[Listed]:
        """What lies below a prefix, in the order of the keys' UTF-8 bytes, beyond the key `after`; `most` ends it early.

        Only one page is held. Raises FileError, also for a listing that is not whole or not in order: what is missing in
        it would pass for gone.
        """
        what = self.where(prefix)
        asked: dict[str, Any] = {"Bucket": self.name, "Prefix": prefix, "MaxKeys": min(most or self._page, self._page)}
        asked |= {"StartAfter": after} if after else {}
        asked |= {"Delimiter": delimiter} if delimiter else {}
        given, last = 0, ""
        while True:
            page = self._asked_page(asked, what)
            is_last_page = is_last(page, what)
            for line in _lines(page):
                if line.key < last:
                    raise Permanent("unordered_listing", f"{what}: {line.key!r} comes after {last!r}", _ORDER)
                if line.key == last:
                    continue
                last = line.key
                yield line
                given += 1
                if most is not None and given >= most:
                    return
            if is_last_page:
                return
            asked = next_page(page, asked, last, what)

    def _asked_page(self, asked: dict[str, Any], what: str) -> Any:
        try:
            with told(what, LISTABLE):
                return self._client.list_objects_v2(**asked)
        except Vanished as error:  # no service says that of a listing: whoever answered is another one
            raise Outage(error.error, error.message, "is s3.endpoint_url an S3 service?") from error

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
        """Begin to read the version with that ETag: bytes from..until (exclusive), or all. Raises FileError, Changed.

        What is answered is held to what was asked for: not every service heeds If-Match and Range.
        """
        asked: dict[str, Any] = {"Bucket": self.name, "Key": key}
        asked |= {"IfMatch": f'"{tag}"'} if tag else {}
        # of a part no service has a checksum, and some give that of the whole object
        asked |= {"Range": f"bytes={part[0]}-{part[1] - 1}"} if part else {"ChecksumMode": "ENABLED"}
        try:
            with told(self.where(key)):
                answer = self._client.get_object(**asked)
        except FileError as error:
            raise self._if_bucket_is_there(error) from error
        facts, body = _facts(answer), answer["Body"]
        try:
            self._hold(key, tag, part, facts, answer.get("ContentRange"))
        except FileError:
            body.close()
            raise
        return facts, body

    def _hold(self, key: str, tag: str | None, part: tuple[int, int] | None, facts: Facts, given: str | None) -> None:
        if tag and facts.stat.tag and facts.stat.tag != tag:
            raise Changed("changed", f"{self.where(key)}: has the ETag {facts.stat.tag} now, not {tag}")
        if part and not (given or "").startswith(f"bytes {part[0]}-"):
            words = (
                f"{self.where(key)}: was asked for bytes from {part[0]} on, and answered {given or 'with all of them'}"
            )
            raise Permanent("range_ignored", words, "the service, or a proxy before it, must heed Range")

    def where(self, key: str) -> str:
        """An object as people write it."""
        return f"s3://{self.name}/{key}"

    def _why(self, error: FileError, key: str) -> FileError:
        """An answer to HEAD has no body that says why: 403 may be this object's or the credentials', 400 anything."""
        if isinstance(error.__cause__, ClientError) and code_of(error.__cause__) in _MUTE:
            try:
                with told(self.where(key)):
                    self._client.get_object(Bucket=self.name, Key=key, Range="bytes=0-0")["Body"].close()
            except FileError as better:
                error = better if not isinstance(better, Changed) else error
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
                return Outage("NoSuchBucket", f"bucket s3://{self.name} is missing", "check the job's source")
            if not isinstance(away, Permanent):  # who may not look at the bucket has to believe the first answer
                return away
        return error

    def close(self) -> None:
        """Close the connections."""
        with suppress(Exception):
            self._client.close()


_ORDER = "sources must list their keys in the order of UTF-8; directory buckets do not"
_MUTE = ("301", "307", "400", "403")


def _lines(page: Any) -> list[Listed]:
    """The lines of a page in order."""
    lines = [_listed_object(one) for one in page.get("Contents", ())]
    lines += [Listed(one["Prefix"], is_prefix=True) for one in page.get("CommonPrefixes", ())]
    return sorted(lines, key=lambda one: one.key)


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
