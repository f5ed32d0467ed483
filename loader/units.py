"""Cutting a batch into units: a large file by itself, small ones of one collection together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from inventory.claims import ClaimedFile


def cut(
    files: Iterable[ClaimedFile], *, unit_files: int, small_bytes: int, unit_bytes: int
) -> Iterator[list[ClaimedFile]]:
    """Units of at most `unit_files` files of one directory, none larger than `small_bytes`, `unit_bytes` together.

    A file larger than `small_bytes` is a unit of its own. The order is kept, and every file is in exactly one unit.
    """
    unit: list[ClaimedFile] = []
    size = 0
    for file in files:
        if file.size > small_bytes:
            yield [file]
            continue
        other = bool(unit) and unit[-1].directory_id != file.directory_id
        if unit and (other or len(unit) >= unit_files or size + file.size > unit_bytes):
            yield unit
            unit, size = [], 0
        unit.append(file)
        size += file.size
    if unit:
        yield unit
