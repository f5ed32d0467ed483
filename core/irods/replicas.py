"""The replicas of a data object as the catalogue has them, and changes of single replicas."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from core import paths
from core.irods import errors, messages
from core.irods.messages import Api, Packable
from core.irods.queries import Column, equal, select, select_each, subtree, totals
from core.irods.session import Session

MICROSECONDS = 1_000_000
WORTH_LISTING = 8
"""Objects wanted of one collection from which on it may be read whole."""
SPARSE = 10
"""A collection with more rows than so many for each object wanted is not read whole."""


class Status(IntEnum):
    """DATA_REPL_STATUS."""

    STALE = 0
    GOOD = 1
    INTERMEDIATE = 2
    READ_LOCKED = 3
    WRITE_LOCKED = 4


AT_REST = frozenset({Status.STALE, Status.GOOD})


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a data object; sizes in bytes, times in microseconds since 1970 (iRODS keeps whole seconds)."""

    number: int
    size: int
    status: int
    """One of `Status`."""
    checksum: str | None
    """As stored, in iRODS notation; None when none is stored."""
    resource: str
    """The leaf resource's name."""
    resource_id: int
    hierarchy: str
    """From root to leaf, separated by semicolons."""
    physical_path: str
    modified_at: int

    @property
    def good(self) -> bool:
        """Whether iRODS holds it for complete and current."""
        return self.status == Status.GOOD

    @property
    def root(self) -> str:
        """The root of its hierarchy."""
        return self.hierarchy.partition(";")[0]


COLUMNS = (
    Column.DATA_REPL_NUM,
    Column.DATA_SIZE,
    Column.DATA_REPL_STATUS,
    Column.DATA_CHECKSUM,
    Column.DATA_RESC_NAME,
    Column.DATA_RESC_ID,
    Column.DATA_RESC_HIER,
    Column.DATA_PATH,
    Column.DATA_MODIFY_TIME,
)
"""What `replica_from` takes."""


def replica_from(row: tuple[str, ...]) -> Replica:
    """A row with these columns."""
    return Replica(
        number=int(row[0]),
        size=int(row[1]),
        status=int(row[2]),
        checksum=row[3] or None,
        resource=row[4],
        resource_id=int(row[5]),
        hierarchy=row[6],
        physical_path=row[7],
        modified_at=int(row[8] or 0) * MICROSECONDS,
    )


def replicas(session: Session, path: str) -> list[Replica]:
    """The replicas of one data object, by number; [] when there is none. One round trip (702)."""
    collection, name = paths.split(path)
    conditions = [(Column.COLL_NAME, equal(collection)), (Column.DATA_NAME, equal(name))]
    return sorted(
        map(replica_from, select(session, COLUMNS, conditions, path=path)), key=lambda replica: replica.number
    )


def listing(session: Session, conditions: Sequence[tuple[Column, str]]) -> dict[str, list[Replica]]:
    """The replicas of all data objects that meet the conditions, by logical path; one round trip (702) for 2,000 of
    them."""
    found: dict[str, list[Replica]] = {}
    for row in select(session, (*COLUMNS, Column.COLL_NAME, Column.DATA_NAME), conditions):
        found.setdefault(f"{row[-2]}/{row[-1]}", []).append(replica_from(row[:-2]))
    for rows in found.values():
        rows.sort(key=lambda replica: replica.number)
    return found


def replicas_in(session: Session, collection: str) -> dict[str, list[Replica]]:
    """The replicas of every data object of one collection, by logical path."""
    return listing(session, [(Column.COLL_NAME, equal(collection))])


def replicas_below(
    session: Session, collection: str, conditions: Sequence[tuple[Column, str]] = ()
) -> dict[str, list[Replica]]:
    """The replicas of the data objects in a collection and all below it that meet the conditions, by logical path."""
    found: dict[str, list[Replica]] = {}
    for condition in subtree(collection):
        found |= listing(session, [(Column.COLL_NAME, condition), *conditions])
    return {path: rows for path, rows in found.items() if path.startswith(f"{collection}/")}


def replicas_each(session: Session, wanted: Collection[str]) -> dict[str, list[Replica]]:
    """The replicas of many data objects, by logical path; those that do not exist are left out.

    A collection of which a fair part is wanted is read whole, 2,000 rows in a round trip; else 50 single queries share
    one.
    """
    folders: dict[str, list[str]] = {}
    for path in wanted:
        folders.setdefault(paths.split(path)[0], []).append(path)
    found: dict[str, list[Replica]] = {}
    single: list[str] = []
    for folder, objects in folders.items():
        if len(objects) >= WORTH_LISTING and totals(session, [(Column.COLL_NAME, equal(folder))])[0] <= (
            SPARSE * len(objects)
        ):
            found |= replicas_in(session, folder)
        else:
            single += objects
    conditions = [
        [(Column.COLL_NAME, equal(collection)), (Column.DATA_NAME, equal(name))]
        for collection, name in map(paths.split, single)
    ]
    for path, rows in zip(single, select_each(session, COLUMNS, conditions), strict=True):
        if rows:
            found[path] = sorted(map(replica_from, rows), key=lambda replica: replica.number)
    return found


def modify(session: Session, path: str, replica: Replica, changes: Mapping[str, str]) -> None:
    """Set columns of one replica (622, rodsadmin only): dataSize, dataModify, chksum, replStatus as keywords."""
    session.call(Api.MOD_DATA_OBJ_META, modification(session, path, replica, changes), path=path)


def modification(session: Session, path: str, replica: Replica, changes: Mapping[str, str]) -> Packable:
    """The message of `modify`."""
    return messages.mod_data_object(
        path, changes, replica=replica.number, hierarchy=replica.hierarchy, version=session.version
    )


def unlock(session: Session, path: str, rows: Iterable[Replica]) -> bool:
    """Set every replica that is not at rest to stale (622); whether there was one.

    A replica stays intermediate or write-locked when its agent was killed. `errors.Locked` with the administrator's
    command when this user may not repair it.
    """
    stuck = [row for row in rows if row.status not in AT_REST]
    for row in stuck:
        message = messages.mod_data_object(
            path,
            {"replStatus": "0", "irodsAdmin": ""},
            replica=row.number,
            hierarchy=row.hierarchy,
            version=session.version,
        )
        reply = session.call(Api.MOD_DATA_OBJ_META, message, path=path, accept=_NOT_ALLOWED)
        if reply.status < 0:
            raise locked(path, row)
    return bool(stuck)


def locked(path: str, row: Replica) -> errors.Locked:
    """The error for a replica that this user cannot free."""
    return errors.Locked(
        "locked",
        f"replica {row.number} of {path} on {row.hierarchy} is not at rest (status {row.status})",
        "a client may have died while writing it; as rodsadmin:"
        f" iadmin modrepl logical_path {path} replica_number {row.number} DATA_REPL_STATUS 0",
    )


def stamp(modified_at: int) -> str:
    """Microseconds since 1970 as iRODS stores a time: whole seconds in 11 digits."""
    return f"{max(modified_at, 0) // MICROSECONDS:011d}"


_NOT_ALLOWED = frozenset({errors.NO_API_PRIV, errors.NO_ACCESS, -830000})
