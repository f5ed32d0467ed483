"""Checksums in the notation of iRODS: `sha2:` and `sha1:` with base64, `adler32:` with hex, MD5 as bare lower-case
hex.

The formats are those of the server's lib/hasher/include/irods/checksum.h. SHA-512 is left out: the server's buffers
cut it.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable

Readable = bytes | bytearray | memoryview
SCHEMES = ("sha2", "sha1", "md5", "adler32")
"""The schemes a `Hasher` knows; sha2 is SHA-256, the default of a server's template."""

_MD5 = re.compile("[0-9a-fA-F]{32}")


class Hasher:
    """Hashes bytes as they pass by; `checksum` is the value in iRODS notation of everything given so far."""

    def __init__(self, scheme: str = "sha2") -> None:
        if scheme not in SCHEMES:
            raise ValueError(f"unknown checksum scheme {scheme!r}; known: {', '.join(SCHEMES)}")
        self.scheme = scheme
        self._adler = 1
        if scheme == "adler32":
            self._update: Callable[[Readable], None] = self._update_adler
        else:
            # not for security: a checksum that iRODS defines
            name = {"sha2": "sha256", "sha1": "sha1", "md5": "md5"}[scheme]
            self._digest = hashlib.new(name, usedforsecurity=False)
            self._update = self._digest.update

    def update(self, data: Readable) -> None:
        """Hash the next bytes."""
        self._update(data)

    @property
    def checksum(self) -> str:
        """The checksum of all bytes given so far, as iRODS writes it."""
        if self.scheme == "adler32":
            return f"adler32:{self._adler:08x}"
        if self.scheme == "md5":
            return self._digest.hexdigest()
        return f"{self.scheme}:{b64encode(self._digest.digest()).decode()}"

    def _update_adler(self, data: Readable) -> None:
        self._adler = zlib.adler32(data, self._adler)


def checksum_of(data: Readable, scheme: str = "sha2") -> str:
    """The checksum of `data` in iRODS notation."""
    hasher = Hasher(scheme)
    hasher.update(data)
    return hasher.checksum


def checksum_of_chunks(chunks: Iterable[Readable], scheme: str = "sha2") -> str:
    """The checksum of bytes that come in pieces."""
    hasher = Hasher(scheme)
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.checksum


def scheme_of(checksum: str) -> str:
    """The scheme of a checksum that iRODS stored or a source delivered; `ValueError` when it is in no known
    notation."""
    prefix, colon, _ = checksum.partition(":")
    if colon and prefix in SCHEMES and prefix != "md5":
        return prefix
    if _MD5.fullmatch(checksum):
        return "md5"
    raise ValueError(f"checksum {checksum!r} is in no notation of iRODS (sha2:, sha1:, adler32:, or 32 hex digits)")


def same(a: str, b: str) -> bool:
    """Whether two checksums of ONE scheme are equal; `ValueError` when their schemes differ, for that decides
    nothing."""
    if scheme_of(a) != scheme_of(b):
        raise ValueError(f"checksums of different schemes cannot be compared: {a} and {b}")
    if scheme_of(a) in ("md5", "adler32"):
        return a.lower() == b.lower()
    return a == b
