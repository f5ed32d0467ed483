"""The gateway with the verbs of compute to data: who may, where to, read, list, replicate and trim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core import paths
from core.errors import Permanent, UsageError
from core.irods import annotate, collections, objects, replicas, replication, targets
from core.irods.annotate import AVU
from core.irods.gateway import Gateway
from core.irods.queries import Column, equal, select
from core.irods.replicas import Replica

ROLE = "COMPUTE_RESOURCE_ROLE"
"""The attribute of a resource that says what it is for; its values are the zone's own words."""
NODE_SELECTOR = "compute::node_selector"
"""The attribute of a resource whose values, `label=value`, say which nodes are near to it."""


class ComputeGateway(Gateway):
    """A `Gateway` that can also look after a Job's input and output."""

    def is_collection(self, path: str) -> bool:
        """Whether there is a collection of that name (702)."""
        return collections.exists(self._session, path)

    def check_readable(self, path: str, *, exists: bool = False) -> None:
        """Raise `Permanent` unless our user may read this object, or this collection and so list it.

        Without any permission it is not even seen; with `exists` somebody else has seen it.
        """
        if self.replicas(path):
            level = targets.access_to_object(self._session, path)
        elif self.is_collection(path):
            level = targets.access_to_collection(self._session, path)
        elif exists:
            level = 0
        else:
            raise Permanent("no_object", f"there is no data object or collection {path}", "it was removed or renamed")
        if level < targets.READ_OBJECT:
            who = f"{self._session.user}#{self._session.zone}"
            raise Permanent("no_access", f"{who} may not read {path}", f"ichmod read {who} {path}")

    def check_owned(self, collection: str) -> None:
        """Raise `Permanent` unless our user owns this collection or, where it is not there yet, its deepest ancestor."""
        paths.check_logical(collection)
        try:
            there = targets.deepest(self._session, collection)
        except UsageError as problem:
            raise Permanent("bad_path", problem.message, problem.hint) from problem
        if targets.access_to_collection(self._session, there) < targets.OWN:
            who = f"{self._session.user}#{self._session.zone}"
            raise Permanent("no_access", f"{who} does not own {there}", f"ichmod own {who} {there}")

    def resources_of_role(self, role: str) -> list[str]:
        """The root resources that carry COMPUTE_RESOURCE_ROLE with this value, or that have a leaf which does; in order."""
        conditions = [(Column.META_RESC_ATTRIBUTE, equal(ROLE)), (Column.META_RESC_VALUE, equal(role))]
        names = {row[0] for row in select(self._session, (Column.RESC_NAME,), conditions)}
        known = self._zone.known()
        return sorted({known[name].hierarchy.partition(";")[0] for name in names if name in known})

    def node_selector(self, resource: str) -> dict[str, str]:
        """The labels of the nodes near to a resource. `Permanent` for a value that is not `label=value`."""
        conditions = [(Column.META_RESC_ATTRIBUTE, equal(NODE_SELECTOR)), (Column.RESC_NAME, equal(resource))]
        found = {}
        for (value,) in sorted(select(self._session, (Column.META_RESC_VALUE,), conditions)):
            label, separator, wanted = value.partition("=")
            if not separator or not label:
                hint = f"write label=value: imeta set -R {resource} {NODE_SELECTOR} kubernetes.io/hostname=node1"
                raise Permanent("bad_node_selector", f"{NODE_SELECTOR} of resource {resource} is {value!r}", hint)
            found[label] = wanted
        return found

    def replicate(self, path: str, resource: str) -> bool:
        """See to it that a good replica lies on or below a root resource (695); False when one did."""
        leaves = self._zone.leaves(resource)
        assert leaves is not None
        known = self._zone.known(resource)
        return replication.replicate(self._session, path, resource, leaves, known, as_admin=self._is_admin)

    def trim(self, path: str, resource: str) -> int:
        """Remove what `replicate` made (632), never the last good replica; returns how many replicas."""
        leaves = self._zone.leaves(resource)
        assert leaves is not None
        return replication.trim(self._session, path, leaves, as_admin=self._is_admin)

    def objects_below(self, collection: str) -> dict[str, list[Replica]]:
        """The replicas of all data objects in a collection and below, by logical path."""
        return replicas.replicas_below(self._session, collection)

    def objects_with(self, attribute: str, value: str | None) -> list[tuple[str, int]]:
        """The data objects that carry an AVU, each with the time of its oldest good replica in microseconds since 1970:
        a further replica does not change it, other bytes do."""
        conditions = [(Column.META_ATTRIBUTE, equal(attribute))]
        if value is not None:
            conditions.append((Column.META_VALUE, equal(value)))
        found = replicas.listing(self._session, conditions)
        return sorted(
            (path, min(row.modified_at for row in rows if row.good))
            for path, rows in found.items()
            if any(row.good for row in rows)
        )

    def read(self, path: str, resource: str | None = None) -> Iterator[bytes]:
        """The bytes of a data object in pieces, from its replica on that resource where one is given."""
        keywords: dict[str, str] = {}
        if resource is not None:
            leaves = self._zone.leaves(resource)
            near = [row for row in self.replicas(path) if row.good and leaves is not None and row.resource_id in leaves]
            keywords = {"replNum": str(near[0].number)} if near else {}
        return objects.read(self._session, path, keywords)

    def annotate_collection(self, path: str, metadata: Sequence[AVU]) -> None:
        """Set metadata of a collection: other values of the attributes given go (20002)."""
        annotate.annotate_collection(self._session, path, metadata)

    def collection_metadata(self, path: str) -> list[AVU]:
        """The metadata of a collection, in order (702)."""
        return annotate.read_collection_metadata(self._session, path)
