"""Collections: made level by level, removed with what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from core import paths
from core.errors import FileError, Permanent
from core.irods import errors, messages, replicas, wire
from core.irods.messages import Api
from core.irods.queries import Column, equal, select, totals
from core.irods.session import Session

# what creating answers when the name is taken, or when the parent may not be written
_MAYBE_THERE = frozenset(
    {errors.ALREADY_HAS_ITEM, errors.NAME_IS_DATA_OBJECT, errors.NAME_IS_COLLECTION, errors.NO_ACCESS}
)
_NO_PARENT = errors.UNKNOWN_COLLECTION
_ABSENT = frozenset(
    {
        errors.UNKNOWN_COLLECTION,
        errors.CAT_NO_ROWS_FOUND,
        errors.OBJ_PATH_DOES_NOT_EXIST,
        errors.USER_FILE_DOES_NOT_EXIST,
    }
)
# a locked object in the collection is left over and makes it not empty
_STUCK = errors.LOCK_CODES | {errors.COLLECTION_NOT_EMPTY}
_PROGRESS, _GO_ON = 99999996, 99999997  # SYS_SVR_TO_CLI_COLL_STAT and its answer


def exists(session: Session, path: str) -> bool:
    """Whether a collection has that path. One round trip (702)."""
    return bool(select(session, (Column.COLL_ID,), [(Column.COLL_NAME, equal(path))], path=path))


def is_empty(session: Session, path: str) -> bool:
    """Whether there is a collection of that path with nothing in it. Up to three round trips (702)."""
    if totals(session, [(Column.COLL_NAME, equal(path))])[0]:
        return False
    return not select(session, (Column.COLL_ID,), [(Column.COLL_PARENT_NAME, equal(path))]) and exists(session, path)


def make(session: Session, path: str, known: set[str]) -> None:
    """Make a collection and those above it that are missing; `known` learns every level that is there afterwards.

    The deepest level is tried first: one round trip (681) when only it is missing. recursiveOpr is not used, for the
    server's recursive create stops with success at the first level that somebody else has just made, and leaves out the
    deeper ones. `Permanent` when a data object has the name of a level, or the user may not create one.
    """
    paths.check_logical(path)
    missing: list[str] = []
    level = path
    while level.count("/") > 1 and level not in known:
        if _create(session, level):
            known.add(level)
            break
        missing.append(level)
        level = paths.split(level)[0]
    for level in reversed(missing):
        if not _create(session, level):
            raise errors.error_for(_NO_PARENT, level, "its parent was removed meanwhile")
        known.add(level)


def making_what_is_missing(session: Session, objects: Iterable[str], attempt: Callable[[], None]) -> None:
    """Attempt something with objects of these paths, and once more with their collections made when one was missing."""
    try:
        attempt()
    except FileError as problem:
        if problem.error != "CAT_UNKNOWN_COLLECTION":
            raise
        made: set[str] = set()
        for collection in sorted({paths.split(path)[0] for path in objects}):
            make(session, collection, made)
        attempt()


def _create(session: Session, path: str) -> bool:
    """Create one level; False when its parent is missing."""
    reply = _ask_to_create(session, path)
    if errors.nominal(reply.status) == errors.NO_ACCESS:
        # the server looks for a right first and for the parent then; one made in between was there without a right
        reply = _ask_to_create(session, path)
    if reply.status >= 0:
        return True
    code = errors.nominal(reply.status)
    if code == _NO_PARENT:
        return False
    if exists(session, path):
        return True
    if code == errors.NO_ACCESS:
        raise errors.error_for(code, path, reply.text)
    raise Permanent(
        "collection_is_data_object", f"cannot make collection {path}: a data object has that name", "move it"
    )


def _ask_to_create(session: Session, path: str) -> wire.Reply:
    return session.call(Api.COLL_CREATE, messages.collection(path, {}), path=path, accept=_MAYBE_THERE | {_NO_PARENT})


def remove(session: Session, path: str) -> None:
    """Remove a collection and all in it, past the trash (679); fine when there is none.

    Replicas below it that dead clients left locked are freed first, where the user may; else `errors.Locked`.
    """
    reply = _remove(session, path, _ABSENT | _STUCK)
    if reply.status >= 0 or errors.nominal(reply.status) in _ABSENT:
        return
    stuck = replicas.replicas_below(session, path, [(Column.DATA_REPL_STATUS, "> '1'")])
    for locked, rows in stuck.items():
        replicas.unlock(session, locked, rows)
    _remove(session, path, _ABSENT)


def remove_empty(session: Session, path: str) -> bool:
    """Remove a collection in which nothing is left (679 without recursiveOpr); False when something is. Fine when
    there is none."""
    reply = session.call(
        Api.RM_COLL, messages.collection(path, {}), path=path, accept=_ABSENT | {errors.COLLECTION_NOT_EMPTY}
    )
    return reply.status >= 0 or errors.nominal(reply.status) in _ABSENT


def _remove(session: Session, path: str, accept: frozenset[int]) -> wire.Reply:
    with session.held():
        request = messages.collection(path, {"recursiveOpr": "", "forceFlag": ""})
        reply = session.call(Api.RM_COLL, request, path=path, accept=accept)
        while reply.status == _PROGRESS:
            session.answer(_GO_ON)
            reply = session.receive(path=path, accept=accept)
        return reply
