"""Listings as COPY takes them: the binary format, made where the source is scanned and no SQL is spoken.

Binary, because a time is eight bytes in it and a name needs no quoting: writing and reading text costs more than the insert
of the row itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO

from core.sources.base import DIRECTORY, REGULAR, Entry
from inventory.directories import ClaimedDirectory

COLUMNS = "directory_id, shard, size, modified_at, kind, state, name, source_tag"
"""The columns of a row, in its order: those of `file`, and of the temporary table it is compared by."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_NO_TAG = b"\xff\xff\xff\xff"
_BEFORE_2000 = 946_684_800_000_000  # Postgres counts microseconds since 2000
_OWNER = struct.Struct(">hiqii").pack
_SIZE_AND_TIME = struct.Struct(">iqiq").pack
_LENGTH = struct.Struct(">i").pack
_DIGEST = struct.Struct(">q")


@dataclass(slots=True)
class Listing:
    """A directory's listing, or a part of it.

    `rows` are its files as COPY takes them and `names` their names in UTF-8, in the order of the source; `children` the names of
    its directories. `digest` stands for all of that, and is None for a part. `modified_at` is the directory's own time before
    the scan began, in microseconds since 1970, where that was asked for.
    """

    directory: ClaimedDirectory
    rows: list[bytes]
    names: list[bytes]
    children: list[str]
    digest: int | None = None
    modified_at: int | None = None

    def __len__(self) -> int:
        return len(self.rows) + len(self.children)


@lru_cache(maxsize=64)
def _kind_and_state(kind: str) -> bytes:
    state = b"discovered" if kind == REGULAR else b"skipped"
    return _LENGTH(1) + kind.encode() + _LENGTH(len(state)) + state


def encode(directory: ClaimedDirectory, entries: Iterable[Entry]) -> Listing:
    """Turn entries into a listing without a digest."""
    rows: list[bytes] = []
    names: list[bytes] = []
    children: list[str] = []
    owner = _OWNER(8, 8, directory.id, 4, directory.shard)
    for name, kind, size, modified_at, tag in entries:
        if kind == DIRECTORY:
            children.append(name)
            continue
        raw = name.encode()
        if tag is None:
            end = _NO_TAG
        else:
            mark = tag.encode()
            end = _LENGTH(len(mark)) + mark
        names.append(raw)
        rows.append(
            owner
            + _SIZE_AND_TIME(8, size, 8, modified_at - _BEFORE_2000)
            + _kind_and_state(kind)
            + _LENGTH(len(raw))
            + raw
            + end
        )
    return Listing(directory, rows, names, children)


def digest(listing: Listing) -> int:
    """What tells a complete listing from another one. A source that lists in another order only costs a comparison by rows."""
    digest = blake2b(b"".join(listing.rows), digest_size=8)
    digest.update("\0".join(listing.children).encode())
    return int(_DIGEST.unpack(digest.digest())[0])


def copy_stream(listings: Sequence[Listing]) -> BytesIO:
    """Listings as one COPY … (FORMAT binary), in the order of the table's key: then the index grows at its end only."""
    parts = [_HEADER]
    for listing in sorted(listings, key=lambda one: one.directory.id):
        parts += [row for _, row in sorted(zip(listing.names, listing.rows, strict=True))]
    parts.append(_TRAILER)
    return BytesIO(b"".join(parts))
