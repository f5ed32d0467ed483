"""The resource trees of the zone, read once: which are roots, which are leaves, where their vaults lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import UsageError
from core.irods.queries import Column, select
from core.irods.session import Session

BUNDLE_RESOURCE = "bundleResc"
DIRECTORY_KINDS = frozenset({"unixfilesystem", "unix file system"})
"""Types whose vault is a directory of the server that serves them."""
_COLUMNS = (
    Column.RESC_ID,
    Column.RESC_NAME,
    Column.RESC_TYPE,
    Column.RESC_PARENT,
    Column.RESC_LOCATION,
    Column.RESC_VAULT_PATH,
)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the zone."""

    id: int
    name: str
    kind: str
    """Its type: unixfilesystem, s3, replication, …"""
    location: str
    """The host that serves it."""
    vault: str
    hierarchy: str
    """From its root to itself, separated by semicolons."""
    children: tuple[str, ...]

    @property
    def is_root(self) -> bool:
        """Whether it has no parent; standalone resources are roots and leaves."""
        return ";" not in self.hierarchy

    @property
    def is_leaf(self) -> bool:
        """Whether it holds replicas itself."""
        return not self.children


def read_resources(session: Session) -> dict[str, Resource]:
    """All resources by name. One round trip (702)."""
    rows = {int(row[0]): row for row in select(session, _COLUMNS)}

    def ancestry(row: tuple[str, ...]) -> str:
        # a parent is stored as its id; servers before 4.2 stored a name
        parent = rows.get(int(row[3])) if row[3].isdecimal() else None
        return f"{ancestry(parent)};{row[1]}" if parent is not None else row[1]

    children: dict[int, list[str]] = {}
    for row in rows.values():
        if row[3].isdecimal():
            children.setdefault(int(row[3]), []).append(row[1])
    return {
        row[1]: Resource(id, row[1], row[2], row[4], row[5], ancestry(row), tuple(sorted(children.get(id, ()))))
        for id, row in rows.items()
    }


def leaves(resources: Mapping[str, Resource], name: str) -> list[Resource]:
    """The leaves below a resource, or itself."""
    resource = resources[name]
    if resource.is_leaf:
        return [resource]
    return [leaf for child in resource.children for leaf in leaves(resources, child)]


def reachable(resources: Mapping[str, Resource], root: str | None) -> list[Resource]:
    """The leaves on one of which the server may put a new object: those below `root`, and without one, when the server chooses,
    all. None for a name that is not known."""
    if root is None:
        return [each for each in resources.values() if each.is_leaf and each.name != BUNDLE_RESOURCE]
    return leaves(resources, root) if root in resources else []


def find(resources: dict[str, Resource], name: str) -> Resource:
    """The resource of that name; `UsageError` naming the others."""
    try:
        return resources[name]
    except KeyError:
        known = ", ".join(sorted(set(resources) - {BUNDLE_RESOURCE}))
        raise UsageError(f"resource {name!r} does not exist", f"known resources: {known}") from None


def check(resources: dict[str, Resource], name: str, operation: str) -> None:
    """Whether `operation` can go to that resource: put to a root, registration to a leaf or a root, verifying anywhere."""
    resource = find(resources, name)
    if operation == "verify":
        return
    if operation.startswith("register"):
        if not resource.is_leaf and not resource.is_root:
            below = ", ".join(leaf.name for leaf in leaves(resources, name))
            raise UsageError(
                f"cannot register to {name!r}, in the middle of {resource.hierarchy!r}", f"name a leaf: {below}"
            )
    elif not resource.is_root:
        root = resource.hierarchy.partition(";")[0]
        raise UsageError(f"cannot {operation} to {name!r}, a child of {root!r}", f"name the root of its tree: {root}")
