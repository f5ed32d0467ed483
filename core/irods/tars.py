"""Tars that are made of bytes in memory and read as they come."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any

from core.irods import wire

DATA_TYPE = "tar file"
"""Of a tar's data object."""
BLOCK = 512
"""Of a tar: each header and each member takes whole blocks, and two empty ones end it."""
MEMBER_BYTES = 2560
"""More than what a member takes besides its bytes: a header of two or four blocks, and a block not filled."""


def pack(members: Iterable[tuple[str, bytes]]) -> wire.Gathered:
    """A tar of named bytes with their directories left out; names are UTF-8, whatever the server's locale is."""
    pieces: list[bytes] = []
    for name, data in members:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        pieces += (member.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict"), data, bytes(-member.size % BLOCK))
    pieces.append(bytes(2 * BLOCK))
    return wire.Gathered(pieces)


def read(file: io.IOBase, *, streamed: bool) -> Any:
    """A tarfile.TarFile to go through once; `streamed` where `file` only comes in order. Raises `tarfile.TarError`."""
    mode = "r|" if streamed else "r:"
    return tarfile.open(fileobj=file, mode=mode, encoding="utf-8", errors="surrogateescape")  # type: ignore[call-overload]


class Pieces(io.RawIOBase):
    """Pieces that come in order, as the file that a tar is read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        part, self._left = self._left[:size], self._left[size:]
        return bytes(part)
