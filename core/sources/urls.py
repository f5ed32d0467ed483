"""From a job's source URL to the source that serves it."""

from __future__ import annotations

import os
from urllib.parse import quote, unquote_to_bytes, urlsplit

from core.errors import UsageError
from core.paths import unescape
from core.sources.base import Source
from core.sources.filesystem import FilesystemSource


def source_url(given: str) -> str:
    """The URL of what a person named: a path becomes file:///absolute/path with other bytes than ASCII quoted.

    Raises UsageError for a scheme that no source serves.
    """
    if "://" not in given:
        return "file://" + quote(os.fsencode(os.path.abspath(given)))
    scheme = urlsplit(given).scheme
    if scheme != "file":
        raise UsageError(f"source {given}: no source serves {scheme}://", "use a path or file:///path")
    return given


def source_path(url: str, path: str) -> bytes:
    """The bytes of a file's own path at a source: /directory/name, or /bucket/key; `path` is escaped, below the source."""
    parts = urlsplit(url)
    place = b"/" + parts.netloc.encode() if parts.netloc else b""
    return place + unquote_to_bytes(parts.path).rstrip(b"/") + b"/" + unescape(path)


def open_source(url: str) -> Source:
    """The source behind a job's URL. Raises UsageError for an unknown scheme."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise UsageError(f"source {url}: no source serves {parts.scheme}://", "use file:///path")
    return FilesystemSource(os.fsdecode(unquote_to_bytes(parts.path)))
