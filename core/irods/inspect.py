"""Reading what the catalogue has below a collection, in bounded memory: for audits and reports."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from core.compare import Held
from core.irods.queries import Column, equal, pages, subtree, tallies
from core.irods.replicas import COLUMNS, Replica, replica_from
from core.irods.session import Session
from core.sorting import sorted_stream

GOOD = "1"
IN_MEMORY = 50_000
"""Replicas with all their columns held at a time, of some 1 kB each."""


def collections_below(session: Session, collection: str) -> Iterator[str]:
    """The paths of a collection and all below it, sorted; one round trip (702) for 2,000 of them."""

    def found() -> Iterator[str]:
        for condition in subtree(collection):
            for (path,) in pages(session, (Column.COLL_NAME,), [(Column.COLL_NAME, condition)]):
                if path == collection or path.startswith(f"{collection}/"):
                    yield path

    return sorted_stream(found(), key=str)


def objects_in(session: Session, collection: str) -> Iterator[Held]:
    """The data objects of one collection in the order of their names; one round trip (702) for 2,000 replicas."""
    columns = (Column.DATA_NAME, Column.DATA_REPL_NUM, Column.DATA_REPL_STATUS, Column.DATA_SIZE, Column.DATA_CHECKSUM)
    rows = pages(session, columns, [(Column.COLL_NAME, equal(collection))])
    for name, replicas in groupby(sorted_stream(rows, key=lambda row: row[:2]), key=lambda row: row[0]):
        listed = list(replicas)
        good = [row for row in listed if row[2] == GOOD]
        yield Held(name, tuple(int(row[3]) for row in good), tuple(row[4] for row in good if row[4]), len(listed))


class Stored(NamedTuple):
    """A data object with all its replicas, by number."""

    name: str
    replicas: list[Replica]


def stored_in(session: Session, collection: str) -> Iterator[Stored]:
    """As `objects_in`, with all that is known of each replica."""
    rows = pages(session, (Column.DATA_NAME, *COLUMNS), [(Column.COLL_NAME, equal(collection))])
    for name, listed in groupby(sorted_stream(rows, lambda row: row[:2], IN_MEMORY), key=lambda row: row[0]):
        yield Stored(name, sorted((replica_from(row[1:]) for row in listed), key=lambda replica: replica.number))


def tally(session: Session, collection: str) -> dict[str, tuple[int, int]]:
    """Good replicas below a collection and their bytes, by resource hierarchy. Two round trips (702)."""
    found: dict[str, tuple[int, int]] = {}
    for condition in subtree(collection, exactly=True):
        conditions = [(Column.COLL_NAME, condition), (Column.DATA_REPL_STATUS, equal(GOOD))]
        for hierarchy, replicas, size in tallies(session, Column.DATA_RESC_HIER, conditions):
            before = found.get(hierarchy, (0, 0))
            found[hierarchy] = (before[0] + replicas, before[1] + size)
    return found
