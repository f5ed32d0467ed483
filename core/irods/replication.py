"""One more replica of an object where it is wanted, and its removal (695, 632)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from core.errors import Permanent, Transient
from core.irods import messages, places, replicas
from core.irods.messages import Api
from core.irods.replicas import Replica
from core.irods.resources import Resource
from core.irods.session import Session


def replicate(
    session: Session,
    path: str,
    root: str,
    leaves: Collection[int],
    resources: Mapping[str, Resource],
    *,
    as_admin: bool,
) -> bool:
    """See to it that a good replica lies on one of the leaves; False when one did.

    A stale one there is brought up to date. The catalogue is read back. `as_admin` needs a rodsadmin, and no permission on
    the object. `Permanent` of class no_object, no_good_replica or place_taken.
    """
    before = replicas.replicas(session, path)
    if not before:
        raise Permanent("no_object", f"there is no data object {path}", "it was removed or renamed")
    if _good_on(before, leaves):
        return False
    good = [row for row in before if row.good]
    if not good:
        raise Permanent("no_good_replica", f"{path} has no good replica to copy from", "repair it first")
    anew = not any(row.resource_id in leaves for row in before)
    if anew and (taken := places.taken(session, path, root, resources)) is not None:
        raise taken
    keywords = {"destRescName": root, **({"irodsAdmin": ""} if as_admin else {})}
    message = messages.data_object(path, keywords, size=good[0].size)
    with session.patient(good[0].size):
        session.call(Api.DATA_OBJ_REPL, message, path=path)
    if not _good_on(replicas.replicas(session, path), leaves):
        raise Transient("not_replicated", f"iRODS shows no good replica of {path} on {root} after replicating")
    return True


def trim(session: Session, path: str, leaves: Collection[int], *, as_admin: bool) -> int:
    """Remove the replicas on these leaves, unless no good one would be left elsewhere; returns how many were removed."""
    rows = replicas.replicas(session, path)
    elsewhere = [row for row in rows if row.good and row.resource_id not in leaves]
    doomed = [row for row in rows if row.resource_id in leaves]
    if not elsewhere:
        return 0
    for row in doomed:
        # COPIES_KW: by default two replicas are kept
        keywords = {"replNum": str(row.number), "copies": "1", **({"irodsAdmin": ""} if as_admin else {})}
        session.call(Api.DATA_OBJ_TRIM, messages.data_object(path, keywords, size=-1), path=path)
    return len(doomed)


def _good_on(rows: Collection[Replica], leaves: Collection[int]) -> list[Replica]:
    return [row for row in rows if row.good and row.resource_id in leaves]
