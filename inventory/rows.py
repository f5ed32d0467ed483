"""Listings as COPY takes them: the binary format, made where the source is scanned and no SQL is spoken.

Binary, because a time is eight bytes in it and a name needs no quoting: writing and reading text costs more than the insert
of the row itself.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from typing import NamedTuple

from core.sources.base import DIRECTORY, EXCLUDED, REGULAR, Entry
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


class Found(NamedTuple):
    """Where a directory was found that is listed at once: the one right above it, and the claimed one above that, or the same."""

    parent_id: int
    claimed_id: int


@dataclass(slots=True)
class Listing:
    """A directory's listing, or a part of it.

    `digest` stands for all entries, and is None for a part. `modified_at` is the directory's own time before the scan began,
    in microseconds since 1970, where that was asked for. After `encode`, `rows` are its files as COPY takes them, `names`
    their names in UTF-8, both in the order of the source, `children` the names of its directories and `excluded`
    those that the job's filters leave out.
    """

    directory: ClaimedDirectory
    entries: Sequence[Entry]
    digest: int | None = None
    modified_at: int | None = None
    encoded: bool = False
    rows: list[bytes] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    found: Found | None = None

    def __len__(self) -> int:
        return len(self.entries)


@lru_cache(maxsize=64)
def _kind_and_state(kind: str) -> bytes:
    state = b"discovered" if kind == REGULAR else b"skipped"
    return _LENGTH(1) + kind.encode() + _LENGTH(len(state)) + state


def encode(listing: Listing) -> None:
    """Turn the entries of a listing into rows."""
    if listing.encoded:
        return
    listing.encoded = True
    add_row, add_name, add_child = listing.rows.append, listing.names.append, listing.children.append
    add_excluded = listing.excluded.append
    owner = _OWNER(8, 8, listing.directory.id, 4, listing.directory.shard)
    for name, kind, size, modified_at, tag in listing.entries:
        if kind == DIRECTORY:
            add_child(name)
            continue
        if kind == EXCLUDED:
            add_excluded(name)
            continue
        raw = name.encode()
        if tag is None:
            end = _NO_TAG
        else:
            mark = tag.encode()
            end = _LENGTH(len(mark)) + mark
        add_name(raw)
        add_row(
            owner
            + _SIZE_AND_TIME(8, size, 8, modified_at - _BEFORE_2000)
            + _kind_and_state(kind)
            + _LENGTH(len(raw))
            + raw
            + end
        )


def digest_of(entries: Sequence[Entry]) -> int:
    """What tells a complete listing from another one. A source that lists in another order only costs a comparison by rows."""
    digest = blake2b(digest_size=8)
    if entries:
        # column by column, which is quicker than making a row of each
        names, kinds, sizes, times, tags = zip(*entries, strict=True)
        digest.update("\0".join(names).encode())
        digest.update("".join(kinds).encode())
        digest.update(array("q", sizes))
        digest.update(array("q", times))
        if tags.count(None) < len(tags):
            digest.update("\0".join("-" if tag is None else f"={tag}" for tag in tags).encode())
    return int(_DIGEST.unpack(digest.digest())[0])


def copy_stream(listings: Sequence[Listing]) -> BytesIO:
    """Listings as one COPY … (FORMAT binary), in the order of the table's key: then the index grows at its end only."""
    parts = [_HEADER]
    for listing in sorted(listings, key=lambda one: one.directory.id):
        parts += [row for _, row in sorted(zip(listing.names, listing.rows, strict=True))]
    parts.append(_TRAILER)
    return BytesIO(b"".join(parts))
