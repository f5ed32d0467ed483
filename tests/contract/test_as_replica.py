"""Registering files as further replicas: what is new is good, what is older is not taken for the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from irods.session import iRODSSession

from core.checksums import checksum_of
from core.errors import FileError, Permanent
from core.irods import Gateway, Registration, Status, replicas
from core.irods.session import Session
from core.outcome import Dead, Done
from core.settings import IrodsSettings
from tests.contract.conftest import vault_for

SECOND = 1_000_000
WHEN = 1_700_000_000 * SECOND
OLD, NEW = b"in the vault", b"in place, and other bytes"
COORDINATORS = ("leaf", "root")


@pytest.fixture
def source(served: Path) -> Path:
    """A file outside every vault that the server can read."""
    file = served / "source.dat"
    file.write_bytes(NEW)
    return file


@pytest.fixture
def path(irods_settings: IrodsSettings, home: str, resource: str) -> str:
    """A data object with OLD in the vault, put by a gateway that knows none of the resources made later."""
    with Gateway(irods_settings) as gateway:
        gateway.put_bytes(f"{home}/f", OLD, checksum=checksum_of(OLD), resource=resource, overwrite=False)
    return f"{home}/f"


def add(gateway: Gateway, path: str, file: Path, where: str, *, with_checksum: bool = True, when: int = WHEN) -> None:
    data = file.read_bytes()
    checksum = checksum_of(data) if with_checksum else None
    gateway.register_as_replica(path, str(file), len(data), when, resource=where, checksum=checksum)


@pytest.mark.parametrize("where", COORDINATORS)
@pytest.mark.parametrize("with_checksum", [True, False])
@pytest.mark.parametrize("stored", [True, False])
def test_a_second_replica(
    gateway: Gateway,
    session: Session,
    path: str,
    source: Path,
    tree: dict[str, str],
    where: str,
    with_checksum: bool,
    stored: bool,
) -> None:
    if not stored:
        replicas.modify(session, path, gateway.replicas(path)[0], {"chksum": ""})
    for _ in range(3):
        add(gateway, path, source, tree[where], with_checksum=with_checksum)
        old, new = gateway.replicas(path)
        assert (new.status, new.size, new.physical_path) == (Status.GOOD, len(NEW), str(source))
        assert (new.hierarchy, new.modified_at) == (";".join(tree.values()), WHEN)
        assert new.checksum == (checksum_of(NEW) if with_checksum or stored else None)
        assert (old.status, old.size, old.checksum) == (Status.STALE, len(OLD), checksum_of(OLD) if stored else None)
        assert Path(old.physical_path).read_bytes() == OLD
    verified = gateway.verify(path, size=len(NEW), checksum=checksum_of(NEW), resource=tree[where])
    assert verified.replicas == 1


def test_a_replica_of_the_same_bytes_leaves_the_older_one_good(
    gateway: Gateway, path: str, source: Path, tree: dict[str, str]
) -> None:
    source.write_bytes(OLD)
    for _ in range(2):
        add(gateway, path, source, tree["leaf"])
        assert [row.status for row in gateway.replicas(path)] == [Status.GOOD] * 2
    assert gateway.verify(path, size=len(OLD), checksum=checksum_of(OLD)).replicas == 2


def test_a_file_that_changed(gateway: Gateway, path: str, source: Path, tree: dict[str, str]) -> None:
    source.write_bytes(OLD)
    add(gateway, path, source, tree["leaf"])
    source.write_bytes(NEW)
    add(gateway, path, source, tree["leaf"], when=WHEN + SECOND)
    old, new = gateway.replicas(path)
    assert (old.status, new.status) == (Status.STALE, Status.GOOD)
    assert (new.size, new.checksum, new.modified_at) == (len(NEW), checksum_of(NEW), WHEN + SECOND)
    assert (old.size, old.checksum) == (len(OLD), checksum_of(OLD))


@pytest.mark.parametrize("where", COORDINATORS)
def test_an_absent_object_is_registered(
    gateway: Gateway, home: str, source: Path, tree: dict[str, str], where: str
) -> None:
    for _ in range(2):
        add(gateway, f"{home}/new", source, tree[where])
        (replica,) = gateway.replicas(f"{home}/new")
        assert (replica.good, replica.size, replica.resource) == (True, len(NEW), tree["leaf"])


@pytest.mark.parametrize("where", COORDINATORS)
def test_another_file_in_that_hierarchy(
    gateway: Gateway, path: str, source: Path, tree: dict[str, str], where: str
) -> None:
    add(gateway, path, source, tree["leaf"])
    other = source.with_name("other.dat")
    other.write_bytes(b"other")
    before = gateway.replicas(path)
    with pytest.raises(Permanent) as error:
        add(gateway, path, other, tree[where])
    assert error.value.error == "wrong_path"
    assert str(source) in str(error.value)
    assert gateway.replicas(path) == before


def test_mid_level_and_unknown_resources(gateway: Gateway, path: str, source: Path, tree: dict[str, str]) -> None:
    for where in (tree["middle"], "noSuchResource"):
        with pytest.raises(Permanent) as error:
            add(gateway, path, source, where)
        assert error.value.error == "wrong_resource"
    assert len(gateway.replicas(path)) == 1


@pytest.fixture
def two_leaves(administrator: iRODSSession, tmp_path: Path, home: str) -> Iterator[tuple[str, list[str]]]:
    """A random resource with two leaves, emptied before it goes."""
    tag = home[-8:]
    root, leaves = f"pair{tag}", [f"a{tag}", f"b{tag}"]
    administrator.resources.create(root, "random")
    for leaf in leaves:
        administrator.resources.create(leaf, "unixfilesystem", *vault_for(administrator, tmp_path, leaf))
        administrator.resources.add_child(root, leaf)
    yield root, leaves
    for name in [entry.path for entry in administrator.collections.get(home).data_objects]:
        administrator.data_objects.unlink(name, force=True)
    for leaf in leaves:
        administrator.resources.remove_child(root, leaf)
        administrator.resources.remove(leaf)
    administrator.resources.remove(root)


def test_a_root_with_several_leaves(
    gateway: Gateway, path: str, source: Path, two_leaves: tuple[str, list[str]]
) -> None:
    root, leaves = two_leaves
    for _ in range(4):
        add(gateway, path, source, root)
        old, new = gateway.replicas(path)
        assert new.resource in leaves
        assert (old.status, new.status) == (Status.STALE, Status.GOOD)
    (other,) = {*leaves} - {gateway.replicas(path)[1].resource}
    second = source.with_name("second.dat")
    second.write_bytes(b"a third replica")
    add(gateway, path, second, other)
    assert [row.status for row in gateway.replicas(path)] == [Status.STALE, Status.STALE, Status.GOOD]


def test_many(gateway: Gateway, home: str, resource: str, source: Path, tree: dict[str, str]) -> None:
    gateway.put_bytes(f"{home}/r1", OLD, checksum=checksum_of(OLD), resource=resource, overwrite=False)
    rows = [Registration(f"{home}/r{i}", str(source), len(NEW), WHEN, checksum_of(NEW)) for i in range(3)]
    rows.append(Registration(f"{home}//bad", str(source), 1, WHEN))
    outcomes = gateway.register_as_replica_many(rows, resource=tree["leaf"])
    assert outcomes[:3] == [Done(checksum_of(NEW))] * 3
    assert isinstance(outcomes[3], Dead)
    assert [len(gateway.replicas(f"{home}/r{i}")) for i in range(3)] == [1, 2, 1]


@pytest.mark.parametrize("where", COORDINATORS)
def test_many_leave_what_one_by_one_leaves(
    gateway: Gateway, session: Session, home: str, resource: str, served: Path, tree: dict[str, str], where: str
) -> None:
    same, new, other = served / "same", served / "new", served / "other"
    for file, data in ((same, OLD), (new, NEW), (other, NEW)):
        file.write_bytes(data)

    def row(name: str, file: Path, *, known: bool = True) -> Registration:
        data = file.read_bytes()
        return Registration(name, str(file), len(data), WHEN, checksum_of(data) if known else None)

    def brought(folder: str) -> list[Registration]:
        for name in ("same", "changed", "unknown", "bare", "taken", "twice"):
            path = f"{folder}_{name}"
            gateway.put_bytes(path, OLD, checksum=checksum_of(OLD), resource=resource, overwrite=False)
        replicas.modify(session, f"{folder}_bare", gateway.replicas(f"{folder}_bare")[0], {"chksum": ""})
        add(gateway, f"{folder}_taken", other, tree["leaf"])
        add(gateway, f"{folder}_twice", same, tree["leaf"])
        gateway.make_collections(f"{folder}_collection")
        gone = Registration(f"{folder}_same", str(served / "gone"), 3, WHEN, checksum_of(b"abc"))
        return [
            row(f"{folder}_absent", new),
            row(f"{folder}_same", same),
            row(f"{folder}_changed", new),
            row(f"{folder}_unknown", new, known=False),
            row(f"{folder}_bare", new, known=False),
            row(f"{folder}_taken", new),
            row(f"{folder}_twice", same),
            row(f"{folder}_collection", new),
            row(f"{folder}_//bad", new),
            replace(gone, path=f"{home}/none/{'x' * 8}"),
        ]

    def shown(folder: str) -> dict[str, list[tuple[object, ...]]]:
        return {
            path.removeprefix(folder): [(r.number, r.size, r.status, r.checksum, r.hierarchy) for r in rows]
            for path, rows in replicas.replicas_in(session, home).items()
            if path.startswith(f"{folder}_")
        }

    first, second = brought(f"{home}/a"), brought(f"{home}/b")
    for _ in range(2):
        one_by_one = [gateway.register_as_replica_many([each], resource=tree[where])[0] for each in first]
        together = gateway.register_as_replica_many(second, resource=tree[where])
        assert [(type(each), getattr(each, "error", None)) for each in together] == [
            (type(each), getattr(each, "error", None)) for each in one_by_one
        ]
        assert [isinstance(each, Done) for each in together] == [True] * 5 + [False, True] + [False] * 3
        assert shown(f"{home}/b") == shown(f"{home}/a")
    times = {rows[-1].modified_at for rows in replicas.replicas_in(session, home).values() if len(rows) > 1}
    assert times == {WHEN}


def test_a_missing_file_of_an_object_with_a_checksum(
    gateway: Gateway, path: str, source: Path, tree: dict[str, str]
) -> None:
    gone = source.with_name("gone.dat")
    with pytest.raises(FileError):
        gateway.register_as_replica(path, str(gone), 5, WHEN, resource=tree["leaf"], checksum=checksum_of(b"12345"))
    assert gateway.replicas(path)[0].good
