"""Resources: their tree, their vaults, and which leaf a request goes to.

The votes are those of iRODS (voting.cpp): a leaf votes 1 for a good replica on this host, 0.25 for a stale one, 0 for none
or a locked one; a create goes to the root that the client names, which passes it on to a child.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from sandbox.irods.catalogue import Catalogue
from sandbox.irods.errors import Code, IrodsError

LEAVES = {"unixfilesystem", "nonblocking"}
COORDINATING = {"replication", "random", "passthru", "compound", "deferred", "load_balanced", "round_robin"}
NO_HOST, NO_PATH = "EMPTY_RESC_HOST", "EMPTY_RESC_PATH"
HIGH, LOW, NONE = 1.0, 0.25, 0.0


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource; `parent` is the id of its parent or None."""

    id: int
    name: str
    type: str
    location: str
    vault: str
    parent: int | None
    parent_context: str
    status: str
    kind: str

    @property
    def leaf(self) -> bool:
        return self.type not in COORDINATING


class Resources:
    """All resources of the zone, kept in memory and read again after a change."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._lock = threading.Lock()
        self._ids: dict[int, Resource] = {}
        self._names: dict[str, Resource] = {}
        self._children: dict[int, list[Resource]] = {}
        self._hierarchies: dict[int, str] = {}
        catalogue.hierarchy = self.hierarchy

    def load(self) -> None:
        """Read the tree from the catalogue."""
        rows = self.catalogue.all("select * from resources order by resc_id")
        found = [self._of(row) for row in rows]
        with self._lock:
            self._ids = {each.id: each for each in found}
            self._names = {each.name: each for each in found}
            self._children = {}
            self._hierarchies = {}
            for each in found:
                if each.parent is not None:
                    self._children.setdefault(each.parent, []).append(each)

    @staticmethod
    def _of(row: sqlite3.Row) -> Resource:
        return Resource(
            row["resc_id"], row["name"], row["type"], row["location"], row["vault_path"],
            int(row["parent"]) if row["parent"] else None, row["parent_context"], row["status"], row["class"],
        )  # fmt: skip

    def named(self, name: str, missing: Code = Code.SYS_RESC_DOES_NOT_EXIST) -> Resource:
        """The resource of that name, or an error with code `missing`."""
        found = self._names.get(name)
        if found is None:
            raise IrodsError(missing)
        return found

    def of_id(self, resc_id: int) -> Resource:
        """The resource of that id, or SYS_RESC_DOES_NOT_EXIST."""
        found = self._ids.get(resc_id)
        if found is None:
            raise IrodsError(Code.SYS_RESC_DOES_NOT_EXIST)
        return found

    def children(self, resource: Resource) -> list[Resource]:
        """Those directly below it."""
        return self._children.get(resource.id, [])

    def hierarchy(self, resc_id: int) -> str:
        """`root;...;leaf` of a resource's id; empty for an unknown one."""
        known = self._hierarchies.get(resc_id)
        if known is not None:
            return known
        names: list[str] = []
        each = self._ids.get(resc_id)
        while each is not None:
            names.insert(0, each.name)
            each = self._ids.get(each.parent) if each.parent is not None else None
        self._hierarchies[resc_id] = ";".join(names)
        return self._hierarchies[resc_id]

    def root(self, resource: Resource) -> Resource:
        """The top of its tree."""
        while resource.parent is not None:
            resource = self.of_id(resource.parent)
        return resource

    def leaf_of(self, hierarchy: str) -> Resource:
        """The leaf at the end of a hierarchy that a client sent; HIERARCHY_ERROR if there is no such one."""
        leaf = self.named(hierarchy.rpartition(";")[2])
        if self.hierarchy(leaf.id) != hierarchy or not leaf.leaf:
            raise IrodsError(Code.HIERARCHY_ERROR)
        return leaf

    def addressed(self, keywords: dict[str, str]) -> Resource | None:
        """The root resource that a request names; DIRECT_CHILD_ACCESS for one below a root (recording resources)."""
        for key in ("rescName", "destRescName", "backupRescName"):
            if keywords.get(key):
                found = self.named(keywords[key])
                if found.parent is not None:
                    raise IrodsError(Code.DIRECT_CHILD_ACCESS)
                return found
        return None

    def leaves(self, resource: Resource) -> list[Resource]:
        """All leaves of a tree, in its order."""
        if resource.leaf:
            return [resource]
        return [leaf for child in self.children(resource) for leaf in self.leaves(child)]

    def leaf_for_create(self, resource: Resource) -> Resource:
        """The leaf that takes a new replica; HIERARCHY_ERROR when nothing below can."""
        if resource.status == "down":
            raise IrodsError(Code.HIERARCHY_ERROR)
        if resource.leaf:
            return resource
        below = [child for child in self.children(resource) if child.status != "down" and self.leaves(child)]
        if resource.type == "compound":
            below = [child for child in below if child.parent_context == "cache"]
        if not below:
            raise IrodsError(Code.HIERARCHY_ERROR)
        if resource.type in ("random", "load_balanced", "round_robin"):
            return self.leaf_for_create(random.choice(below))
        return self.leaf_for_create(below[0])

    def further_leaves(self, leaf: Resource) -> list[Resource]:
        """Where a replication resource above this leaf keeps further replicas of what is written to it."""
        found: list[Resource] = []
        child, above = leaf, leaf.parent
        while above is not None:
            parent = self.of_id(above)
            others = [other for other in self.children(parent) if other.id != child.id and other.status != "down"]
            if parent.type == "replication":
                found += [self.leaf_for_create(other) for other in others if self.leaves(other)]
            elif parent.type == "compound" and child.parent_context == "cache":
                found += [self.leaf_for_create(other) for other in others if other.parent_context == "archive"]
            child, above = parent, parent.parent
        return found

    def vault_path(self, leaf: Resource, logical_path: str) -> str:
        """Where a new replica's file goes: below the vault, the logical path without the zone."""
        return leaf.vault + "/" + logical_path.lstrip("/").partition("/")[2]

    def in_vault(self, leaf: Resource, path: str) -> bool:
        """Whether a file lies in the leaf's vault; what lies elsewhere is never removed, only unregistered."""
        return path.startswith(leaf.vault.rstrip("/") + "/")

    def in_any_vault(self, path: str) -> bool:
        """Whether a path lies in the vault of any resource."""
        return any(each.leaf and self.in_vault(each, path) for each in self._ids.values())


def make_folder(path: Path) -> None:
    """The folder of a new file, with all above it."""
    path.mkdir(parents=True, exist_ok=True)
