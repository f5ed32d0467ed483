"""The resources of the zone as one connection knows them."""

from __future__ import annotations

import time

from core.errors import Permanent, UsageError
from core.irods import resources
from core.irods.resources import Resource
from core.irods.session import Session

REREAD_SECONDS = 60
"""How soon the resources are read again for a name that was not among them."""


class Zone:
    """Resources by name, read when they are first asked for."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._resources: dict[str, Resource] = {}
        self._read_at = 0.0

    def known(self, name: str | None = None) -> dict[str, Resource]:
        """The zone's resources; read again for a name that is not among them.

        An agent learns the resources when it starts and never again, so they are read on a connection of their age:
        what is known here, the agent knows too.
        """
        unknown = name is not None and name not in self._resources
        too_young = time.monotonic() - self._read_at < REREAD_SECONDS
        if not self._resources or (unknown and not too_young):
            self._session.close()
            self._resources = resources.read_resources(self._session)
            self._read_at = time.monotonic()
        return self._resources

    def leaves(self, name: str | None) -> frozenset[int] | None:
        """The ids of the leaves at or below a resource; None for no resource."""
        if name is None:
            return None
        known = self.known(name)
        if name not in known:
            raise Permanent("wrong_resource", f"resource {name!r} does not exist", "list resources with `ilsresc`")
        return frozenset(leaf.id for leaf in resources.leaves(known, name))

    def resource(self, name: str | None) -> Resource | None:
        """The resource to register on; a wrong one is the job's fault, found at its start, and here the file's."""
        if name is None:
            return None
        known = self.known(name)
        try:
            resources.check(known, name, "register")
        except UsageError as problem:
            raise Permanent("wrong_resource", problem.message, problem.hint) from problem
        return known[name]
