"""What was read against the checksum that the source itself, or a manifest, gives for it."""

from __future__ import annotations

from core.checksums import Hasher, checksum_of, same, scheme_of
from core.errors import Transient
from core.sources.base import SourceFile


def checked(path: str, opened: SourceFile, data: bytes) -> str:
    """The SHA-256 of all bytes of a file. Raises Transient when the source promises other ones."""
    checksum = checksum_of(data)
    promise = opened.promise()
    if promise is not None:
        compare(path, promise, checksum if scheme_of(promise) == "sha2" else checksum_of(data, scheme_of(promise)))
    return checksum


def compare(path: str, promise: str, read: str) -> None:
    """Raise Transient unless the two checksums, of one scheme, are the same."""
    if not same(promise, read):
        words = f"{path}: the source promises {promise}, what was read has {read}"
        raise Transient("source_checksum_mismatch", words, "it is damaged there, or on the way here")


class Passing:
    """An open file whose bytes are hashed as the promise wants it while somebody else reads them from first to last."""

    def __init__(self, path: str, opened: SourceFile) -> None:
        self._path = path
        self._opened = opened
        self._promise = opened.promise()
        self._hasher = self._new()
        self._position = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """As of the file."""
        data = self._opened.read_at(offset, length)
        if offset == 0:  # from the beginning, perhaps for the second time
            self._hasher, self._position = self._new(), 0
        if self._hasher is not None and offset == self._position:
            self._hasher.update(data)
            self._position += len(data)
        return data

    def check(self, checksum: str, size: int) -> None:
        """Raise Transient when not what was promised was read; `checksum` is the SHA-256 of it."""
        if self._promise is None:
            return
        read = checksum if self._hasher is None else self._hasher.checksum
        if self._hasher is not None and self._position != size:
            words = f"{self._path}: only {self._position} of {size} bytes were read in order"
            raise Transient("source_checksum_unknown", words)
        compare(self._path, self._promise, read)

    def _new(self) -> Hasher | None:
        return None if self._promise is None or scheme_of(self._promise) == "sha2" else Hasher(scheme_of(self._promise))
