"""Every operation with every place in a tree of resources, as an event handler names it: made, changed, touched, repeated.

The tables say what automated ingest's own tests ask of it, those among them that are empty or left out there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from irods import keywords
from irods.models import Collection, DataObject

from tests.e2e.many import Many, contents, fill, handler
from tests.e2e.test_handlers_each import tree
from tests.e2e.world import World

__all__ = ["tree"]

REGISTERING = ("register_sync", "register_as_replica_sync")
PUTTING = ("put", "put_sync", "put_append")
FILES = 5
PLACES = ("default", "leaf", "middle", "root")
REFUSED = {
    **{f"{operation}-leaf": "DIRECT_CHILD_ACCESS" for operation in PUTTING},
    **{f"{operation}-middle": "DIRECT_CHILD_ACCESS" for operation in PUTTING},
    **{f"{operation}-middle": "wrong_resource" for operation in REGISTERING},
    "register_as_replica_sync-default": "no_resource",
}
"""By job what all of its files fail with; nothing is made of them."""
ALL = tuple(f"{operation}-{place}" for operation in (*REGISTERING, *PUTTING) for place in PLACES)


@pytest.fixture
def many(world: World, folder: Path) -> Many:
    return Many(world, folder)


def on(tree: dict[str, str], operation: str, place: str) -> str:
    """The handler that names an operation and a place."""
    resource = {"leaf": tree["one"], "middle": tree["middle"], "root": tree["root"]}.get(place)
    return handler(operation=f"Operation.{operation.upper()}", to_resource=repr(resource) if resource else None)


class Replica(NamedTuple):
    """A replica as the catalogue has it; times in whole seconds."""

    status: str
    size: int
    hierarchy: str
    path: str
    modified_at: int


def replicas(many: Many, name: str) -> dict[str, list[Replica]]:
    """The replicas of each object of a job, by number."""
    columns = (
        DataObject.name, DataObject.replica_number, DataObject.replica_status, DataObject.size, DataObject.resc_hier,
        DataObject.path, DataObject.modify_time,
    )  # fmt: skip
    found: dict[str, list[Replica]] = {}
    with many.world.irods() as session:
        rows = session.query(*columns).filter(Collection.name == many.target(name))
        for row in sorted(rows, key=lambda row: int(row[DataObject.replica_number])):
            path, _, status, size, hierarchy, physical, modified_at = (row[column] for column in columns)
            made = Replica(status, int(size), hierarchy, physical, int(modified_at.timestamp()))
            found.setdefault(path, []).append(made)
    return found


def held(many: Many, name: str, resource: str | None = None) -> dict[str, bytes]:
    """The bytes that iRODS delivers of the objects of a job: from this resource, else from where it likes."""
    options = {keywords.RESC_NAME_KW: resource} if resource else {}
    found = {}
    with many.world.irods() as session:
        for path in replicas(many, name):
            with session.data_objects.open(f"{many.target(name)}/{path}", "r", **options) as file:
                found[path] = file.read()
    return found


def check(many: Many, source: Path, name: str, wanted: dict[str, bytes], tree: dict[str, str]) -> None:
    """Bytes, sizes, places and times of the one replica of each object."""
    operation, _, place = name.partition("-")
    assert held(many, name) == wanted, name
    for path, [replica] in replicas(many, name).items():
        assert (replica.status, replica.size) == ("1", len(wanted[path])), (name, path)
        assert (replica.hierarchy.split(";")[0] == tree["root"]) == (place in ("leaf", "root")), (name, replica)
        assert place != "leaf" or replica.hierarchy.endswith(tree["one"])
        file = source / name / path
        registered = operation in REGISTERING
        assert (replica.path == str(file)) == registered, (name, replica)
        if registered:
            assert replica.modified_at == int(file.stat().st_mtime), (name, path)


def test_every_operation_at_every_place(many: Many, source: Path, tree: dict[str, str]) -> None:
    for name in ALL:
        fill(source / name, files=FILES)
        many.begin(name, source / name, on(tree, *name.split("-")))
    many.world.start("watcher", "loader", "verifier")
    many.finished(ALL)
    assert many.states(ALL) == {
        name: {f"dead: {REFUSED[name]}" if name in REFUSED else "verified": FILES} for name in ALL
    }
    assert {path.split("/")[0] for path in many.world.objects()} == set(ALL) - set(REFUSED)
    assert {line.load_attempts for name in REFUSED for line in many.lines(name).values()} == {1}
    taken = [name for name in ALL if name not in REFUSED]
    old = {name: dict(contents(source / name)) for name in taken}
    for name in taken:
        check(many, source, name, old[name], tree)

    for name in taken:
        fill(source / name, b"grown", FILES)
    many.rescan(taken)
    for name in taken:
        left_alone = name.startswith("put-")
        assert many.states([name]) == {name: {"skipped" if left_alone else "verified": FILES}}
        check(many, source, name, old[name] if left_alone else dict(contents(source / name)), tree)

    # what chmod changes is no change; a new time alone is one, and the bytes stay what they are
    synced = [name for name in taken if not name.startswith("put-")]
    before = {name: replicas(many, name) for name in synced}
    for name in synced:
        for file in (source / name).iterdir():
            file.chmod(0o744)
    many.rescan(synced)
    for name in synced:
        assert {line.generation for line in many.lines(name).values()} == {2}
        assert replicas(many, name) == before[name]
        for file in (source / name).iterdir():
            os.utime(file, (1_600_000_000, 1_600_000_000))
    many.rescan(synced)
    for name in synced:
        assert {line.generation for line in many.lines(name).values()} == {3}
        assert many.states([name]) == {name: {"verified": FILES}}
        check(many, source, name, dict(contents(source / name)), tree)
    many.world.stop()


def test_replicas_beside_those_of_others(many: Many, source: Path, tree: dict[str, str], tmp_path: Path) -> None:
    """An object is in the vault first, in some cases with a replica of another file below the same root as well."""
    cases = [f"{kind}-{place}" for kind in ("vault", "hierarchy") for place in ("leaf", "middle", "root")]
    elsewhere = source / "elsewhere"
    fill(elsewhere, b"another file", FILES)
    with many.world.irods() as session:
        for name in cases:
            fill(source / name, b"of the source", FILES)
            session.collections.create(many.target(name))
            for number in range(FILES):
                path = f"{many.target(name)}/f{number}"
                with session.data_objects.open(path, "w", **{keywords.RESC_NAME_KW: "demoResc"}) as file:
                    file.write(b"in the vault %d" % number)
                if name.startswith("hierarchy"):
                    options = {keywords.DEST_RESC_NAME_KW: tree["one"], keywords.REG_REPL_KW: ""}
                    session.data_objects.register(str(elsewhere / f"f{number}"), path, **options)
    for name in cases:
        many.begin(name, source / name, on(tree, "register_as_replica_sync", name.split("-")[1]))
    many.world.start("watcher", "loader", "verifier")
    many.finished(cases)
    good = ("vault-leaf", "vault-root")
    assert many.states(cases) == {
        "vault-leaf": {"verified": FILES},
        "vault-root": {"verified": FILES},
        "vault-middle": {"dead: wrong_resource": FILES},
        "hierarchy-leaf": {"dead: wrong_path": FILES},
        "hierarchy-root": {"dead: wrong_path": FILES},
        "hierarchy-middle": {"dead: wrong_resource": FILES},
    }

    def shown(name: str) -> dict[str, list[tuple[str, str, int]]]:
        return {
            path: [(row.hierarchy.split(";")[0], row.status, row.size) for row in rows]
            for path, rows in replicas(many, name).items()
        }

    def wanted() -> dict[str, list[tuple[str, str, int]]]:
        return {f"f{n}": [("demoResc", "0", 14), (tree["root"], "1", len(b"of the source") + n)] for n in range(FILES)}

    for name in good:
        assert shown(name) == wanted()
        assert held(many, name, tree["root"]) == contents(source / name)
    for name in ("hierarchy-leaf", "hierarchy-root"):
        sizes = {path: [row.size for row in rows] for path, rows in replicas(many, name).items()}
        assert sizes == {f"f{n}": [14, len(b"another file") + n] for n in range(FILES)}
    # once more, by another job: the same replicas, no failure
    again = {f"again-{name}": name for name in good}
    for job, name in again.items():
        place = name.split("-")[1]
        many.begin(job, source / name, on(tree, "register_as_replica_sync", place), target=many.target(name))
    many.finished(again)
    assert many.states(again) == {job: {"verified": FILES} for job in again}
    for name in good:
        assert shown(name) == wanted()
        assert held(many, name, tree["root"]) == contents(source / name)
    many.world.stop()
