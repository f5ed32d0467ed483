"""Where the files of objects lie in vaults, and that putting one takes the file of no other.

Where a new file is to be and another object's is, a server (5.0.2) moves that one to `replica/` below the vault but leaves the
other object's row as it was: from then on it shows the new bytes, and its own have no row. `iput` and `irepl` do it too.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from core import paths
from core.errors import Permanent
from core.irods.messages import MAX_NAME_LEN
from core.irods.queries import Column, equal, select_each
from core.irods.resources import DIRECTORY_KINDS, Resource, reachable
from core.irods.session import Session

_COLUMNS = (Column.COLL_NAME, Column.DATA_NAME, Column.DATA_RESC_ID, Column.DATA_PATH)


def place_of(path: str, leaf: Resource) -> str:
    """Where the file of an object lies by the vault path policy that the server comes with."""
    return posixpath.join(leaf.vault, paths.below_zone(path))


def taken(session: Session, path: str, resource: str | None, resources: Mapping[str, Resource]) -> Permanent | None:
    """The error of class place_taken when a new replica of an object on `resource` (None: on any) would have the place of
    another object's file. One round trip (702) for up to 50 different vaults.

    What a user of a zone with strict access control may not see is not seen here either.
    """
    hosts = _hosts(path, resource, resources)
    conditions = [[(Column.DATA_PATH, equal(place))] for place in hosts]
    located = {each.id: each.location for each in resources.values()}
    for rows in select_each(session, _COLUMNS, conditions):
        for collection, name, leaf, place in rows:
            other = f"{collection}/{name}"
            if other != path and located.get(int(leaf)) in hosts[place]:
                words = f"{path} would have its file at {place}, which is that of {other}"
                return Permanent("place_taken", words, f"move {other} or unregister it, or put to another resource")
    return None


def _hosts(path: str, resource: str | None, resources: Mapping[str, Resource]) -> dict[str, set[str]]:
    """The places that the file may get, and on which hosts each of them."""
    hosts: dict[str, set[str]] = {}
    for leaf in reachable(resources, resource):
        place = place_of(path, leaf)
        if leaf.kind in DIRECTORY_KINDS and len(place.encode()) < MAX_NAME_LEN:
            hosts.setdefault(place, set()).add(leaf.location)
    return hosts
