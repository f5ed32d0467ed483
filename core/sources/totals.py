"""How many files a source has, and how many bytes: a listing of all of it, for reports."""

from __future__ import annotations

from typing import NamedTuple

from core.errors import FileError, Outage, Unavailable, Vanished
from core.sources.base import DIRECTORY, REGULAR, Source


class SourceTotals(NamedTuple):
    """Regular files, their bytes, and the directories that could not be listed."""

    files: int
    bytes: int
    unreadable: int


def totals(source: Source) -> SourceTotals:
    """List a whole source, with one path a directory that is still to be listed in memory. Raises Unavailable when it is away."""
    files = size = unreadable = 0
    below = [""]
    while below:
        path = below.pop()
        try:
            for entry in source.scan(path):
                if entry.kind == DIRECTORY:
                    below.append(f"{path}/{entry.name}" if path else entry.name)
                elif entry.kind == REGULAR:
                    files, size = files + 1, size + entry.size
        except Outage as away:
            raise Unavailable(away.message, away.hint) from away
        except Vanished:
            continue
        except FileError:
            unreadable += 1
    return SourceTotals(files, size, unreadable)
