"""Sorting what may be larger than memory: runs that are sorted in memory, kept in files, and merged."""

from __future__ import annotations

import heapq
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

Item = TypeVar("Item")
IN_MEMORY = 200_000
"""Items held at a time."""
_BLOCK = 1000


def sorted_stream(items: Iterable[Item], key: Callable[[Item], Any], in_memory: int = IN_MEMORY) -> Iterator[Item]:
    """The items in the order of their keys, with at most `in_memory` of them and a block of each run in memory.

    All are read before the first is given. Runs go to unnamed files in the directory for temporary ones.
    """
    source = iter(items)
    first = sorted(islice(source, in_memory), key=key)
    if len(first) < in_memory:
        yield from first
        return
    with ExitStack() as stack:
        runs: list[IO[bytes]] = []
        run = first
        while run:
            file: IO[bytes] = stack.enter_context(TemporaryFile(prefix="ingest-sort-"))
            for start in range(0, len(run), _BLOCK):
                pickle.dump(run[start : start + _BLOCK], file, pickle.HIGHEST_PROTOCOL)
            runs.append(file)
            run = sorted(islice(source, in_memory), key=key)
        first.clear()
        yield from heapq.merge(*(_read(file) for file in runs), key=key)


def begun(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the first of them read by now."""
    return chain(list(islice(items, 1)), items)


def _read(file: IO[bytes]) -> Iterator[Any]:
    file.seek(0)
    while True:
        try:
            block = pickle.load(file)
        except EOFError:
            return
        yield from block
