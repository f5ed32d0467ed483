"""From a job's source URL to the source that serves it."""

from __future__ import annotations

import os
from urllib.parse import quote, unquote_to_bytes, urlsplit

from core.errors import UsageError
from core.paths import unescape
from core.settings import S3Settings
from core.sources.base import Source
from core.sources.filesystem import FilesystemSource
from core.sources.keys import key_of

SCHEMES = ("file", "s3")
"""What a source's URL may begin with."""


def source_url(given: str) -> str:
    """The URL of what a person named: a path becomes file:///absolute/path with other bytes than ASCII quoted.

    Raises UsageError for a scheme that no source serves, and for a file:// URL that names another place than it seems to.
    """
    if "://" not in given:
        return "file://" + quote(os.fsencode(os.path.abspath(given)))
    scheme = given.partition("://")[0]
    if scheme not in SCHEMES:
        raise UsageError(
            f"source {given}: no source serves {scheme}://", "use a path, file:///path or s3://bucket/prefix"
        )
    if scheme == "file":
        _check_file_url(given)
    return given


def _check_file_url(given: str) -> None:
    hint = "give the path alone, or write file:///absolute/path with '?' as %3F and '#' as %23"
    if not given.startswith("file:///"):
        raise UsageError(f"source {given} names a host, and no absolute path", hint)
    if "?" in given or "#" in given:
        raise UsageError(f"source {given}: what follows '?' or '#' is no part of a path in a URL", hint)


def source_basename(url: str) -> str:
    """The last part of a source's URL as text: a directory, the end of a prefix, or a bucket; '' for the root directory."""
    if url.startswith("s3://"):
        # a bucket and a key, neither of them quoted: no URL as RFC 3986 knows it
        return url.removeprefix("s3://").rstrip("/").rpartition("/")[2]
    return os.fsdecode(unquote_to_bytes(url.removeprefix("file://")).rstrip(b"/").rpartition(b"/")[2])


def bucket_of(url: str) -> str:
    """The bucket of a source's URL; '' for what is none."""
    return url.removeprefix("s3://").partition("/")[0] if url.startswith("s3://") else ""


def source_path(url: str, path: str) -> bytes:
    """The bytes of a file's own path at a source: /directory/name, or /bucket/key; `path` is escaped, below the source."""
    if url.startswith("s3://"):
        return os.fsencode("/" + url.removeprefix("s3://").rstrip("/") + "/" + key_of(path))
    parts = urlsplit(url)
    place = b"/" + parts.netloc.encode() if parts.netloc else b""
    return place + unquote_to_bytes(parts.path).rstrip(b"/") + b"/" + unescape(path)


def source_name(url: str, name: str) -> bytes:
    """The bytes of a name at a source; `name` is escaped."""
    return os.fsencode(key_of(name)) if url.startswith("s3://") else unescape(name)


def open_source(url: str, s3: S3Settings) -> Source:
    """The source behind a job's URL. Raises UsageError for an unknown scheme."""
    if url.startswith("s3://"):
        from core.sources.s3 import S3Source

        return S3Source(url, s3)
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise UsageError(f"source {url}: no source serves {parts.scheme}://", "use file:///path or s3://bucket/prefix")
    return FilesystemSource(os.fsdecode(unquote_to_bytes(parts.path)))
