"""Cutting a batch into units: small files that one bulk call can bring together, others by themselves."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple

from inventory.claims import ClaimedFile


class Together(NamedTuple):
    """What files share a unit: those of the same key, up to so many files and so many bytes."""

    key: Hashable
    max_files: int
    max_bytes: int


def cut(
    files: Iterable[ClaimedFile], together: Callable[[ClaimedFile], Together | None]
) -> Iterator[list[ClaimedFile]]:
    """Units in the order of the files, each file in exactly one; a file for which `together` is None is one by itself."""
    unit: list[ClaimedFile] = []
    limits: Together | None = None
    size = 0
    for file in files:
        wanted = together(file)
        if wanted is None:
            yield [file]
            continue
        full = limits is not None and (len(unit) >= limits.max_files or size + file.size > limits.max_bytes)
        if unit and (wanted != limits or full):
            yield unit
            unit, size = [], 0
        unit.append(file)
        limits = wanted
        size += file.size
    if unit:
        yield unit
