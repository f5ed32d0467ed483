"""What can be said about a server, a target collection and a user before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from core import paths
from core.errors import FileError, Permanent, Unavailable, UsageError
from core.irods import collections
from core.irods.errors import NotForUser
from core.irods.queries import Column, equal, select
from core.irods.session import Session

MODIFY_OBJECT = 1120
"""The access type from which on a user may create in a collection."""
READ_OBJECT, OWN = 1050, 1200
"""Those from which on a user may read an object, and owns a collection."""


@dataclass(frozen=True, slots=True)
class Server:
    """The server that answers, and who we are there."""

    version: tuple[int, ...]
    zone: str
    user: str
    is_admin: bool
    features: frozenset[str] = field(default_factory=frozenset)
    """Fast ways in use, as far as known: bulk_register (619), transaction (718), bundle (665), pack (666)."""


@contextmanager
def at_start() -> Iterator[None]:
    """A server that cannot be used is `Unavailable` for a check, not the failure of a file."""
    try:
        yield
    except FileError as problem:
        raise Unavailable(problem.message, problem.hint) from problem


def is_admin(session: Session) -> bool:
    """Whether our user is a rodsadmin. One round trip (702)."""
    conditions = [(Column.USER_NAME, equal(session.user)), (Column.USER_ZONE, equal(session.zone))]
    return ("rodsadmin",) in select(session, (Column.USER_TYPE,), conditions)


def check_user(session: Session) -> None:
    """Whether our user exists, is no group, and who logs in may act for it. One round trip (702)."""
    who = f"{session.user}#{session.zone}"
    conditions = [(Column.USER_NAME, equal(session.user)), (Column.USER_ZONE, equal(session.zone))]
    with at_start():
        try:
            kinds = {row[0] for row in select(session, (Column.USER_TYPE,), conditions)}
        except NotForUser as problem:
            raise UsageError(problem.message, problem.hint) from None
    if not kinds or "rodsgroup" in kinds:
        raise UsageError(
            f"{who} is {'a group' if kinds else 'no user that can be seen'}", "name a user: name or name#zone"
        )


def check_readable(session: Session, collection: str) -> None:
    """Whether there is such a collection that our user may see."""
    _check_path(collection)
    with at_start():
        _check_zone(session, collection)
        if not collections.exists(session, collection):
            words = f"there is no collection {collection} that user {session.user}#{session.zone} may see"
            raise UsageError(words, "check its name and permissions")


def check_target(session: Session, collection: str) -> None:
    """Whether files can be brought below `collection`, which need not exist; nothing is made."""
    _check_path(collection)
    with at_start():
        _check_zone(session, collection)
        ancestor = deepest(session, collection)
        if not _may_write(session, ancestor):
            hint = f"as its owner: ichmod write {session.user} {ancestor}"
            raise UsageError(f"user {session.user}#{session.zone} may not write to {ancestor}", hint)


def _check_path(collection: str) -> None:
    if collection == "/":
        raise UsageError("the target '/' can hold only zones", "name a collection: /zone/home/…")
    try:
        paths.check_logical(collection)
    except Permanent as problem:
        raise UsageError(problem.message, problem.hint) from None


def _check_zone(session: Session, collection: str) -> None:
    zone = collection.split("/")[1]
    zones = {row[0]: row[1] for row in select(session, (Column.ZONE_NAME, Column.ZONE_TYPE))}
    if zone not in zones:
        raise UsageError(f"zone {zone!r} of {collection} is unknown", f"known zones: {', '.join(sorted(zones))}")
    if zones[zone] == "remote":
        raise UsageError(f"zone {zone!r} of {collection} is a remote zone", "connect to a server of that zone")


def deepest(session: Session, collection: str) -> str:
    """The collection itself or its deepest ancestor that exists. `UsageError` when not even the zone may be seen."""
    level = collection
    while not collections.exists(session, level):
        if level.count("/") == 1:
            raise UsageError(
                f"user {session.user}#{session.zone} may not see {level}, above {collection}", "check its permissions"
            )
        level = paths.split(level)[0]
    return level


def _may_write(session: Session, collection: str) -> bool:
    """By the access rows of the collection for the user and its groups; a rodsadmin has no bypass here."""
    return access_to_collection(session, collection) >= MODIFY_OBJECT


def access_to_collection(session: Session, collection: str) -> int:
    """The highest access type of the user or one of its groups to a collection; 0 for none."""
    columns = (Column.COLL_ACCESS_TYPE, Column.COLL_ACCESS_USER_ID)
    return _highest(session, select(session, columns, [(Column.COLL_NAME, equal(collection))], path=collection))


def access_to_object(session: Session, path: str) -> int:
    """The highest access type of the user or one of its groups to a data object; 0 for none."""
    collection, name = paths.split(path)
    columns = (Column.DATA_ACCESS_TYPE, Column.DATA_ACCESS_USER_ID)
    conditions = [(Column.COLL_NAME, equal(collection)), (Column.DATA_NAME, equal(name))]
    return _highest(session, select(session, columns, conditions, path=path))


def _highest(session: Session, rows: Sequence[tuple[str, ...]]) -> int:
    who = [(Column.USER_NAME, equal(session.user)), (Column.USER_ZONE, equal(session.zone))]
    ours = {row[0] for row in select(session, (Column.USER_ID,), who)}
    for user in list(ours):
        ours |= {row[0] for row in select(session, (Column.USER_GROUP_ID,), [(Column.USER_ID, equal(user))])}
    return max((int(access) for access, user in rows if user in ours), default=0)
