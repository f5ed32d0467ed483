"""What has its file where a new object's would be keeps it: somebody registered a file that lies in the vault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from irods.session import iRODSSession

from core import paths
from core.checksums import checksum_of
from core.errors import FileError, Permanent
from core.irods import Expected, Gateway, SmallFile
from core.irods.compute import ComputeGateway
from core.outcome import Dead, Done, Outcome
from core.settings import IrodsSettings
from tests.contract.conftest import vault_for

OLD = b"somebody's, for years"
NEW = b"what is put"
Put = Callable[[Gateway, str, str], None]


def by_606(gateway: Gateway, path: str, resource: str) -> None:
    gateway.put_bytes(path, NEW, checksum=checksum_of(NEW), resource=resource, overwrite=False)


def by_606_over_all(gateway: Gateway, path: str, resource: str) -> None:
    gateway.put_bytes(path, NEW, checksum=checksum_of(NEW), resource=resource, overwrite=True)


def by_stream(gateway: Gateway, path: str, resource: str) -> None:
    gateway.put_stream(
        path, lambda offset, length: NEW[offset : offset + length], len(NEW), resource=resource, overwrite=True
    )


def without_resource(gateway: Gateway, path: str, resource: str) -> None:
    gateway.put_bytes(path, NEW, checksum=checksum_of(NEW), resource=None, overwrite=False)


@pytest.fixture
def other(gateway: Gateway, home: str, resource: str) -> str:
    """An object whose file lies in the vault at the place of `{home}/it's new`."""
    place = f"{home}/it's new"
    gateway.put_bytes(place, OLD, checksum=checksum_of(OLD), resource=resource, overwrite=False)
    (row,) = gateway.replicas(place)
    gateway.unregister(place)
    gateway.register(
        f"{home}/other", row.physical_path, len(OLD), row.modified_at, resource=resource, checksum=checksum_of(OLD)
    )
    return f"{home}/other"


def untouched(gateway: Gateway, other: str) -> None:
    """Whether the other object has its bytes still."""
    collection, name = paths.split(other)
    (outcome,) = gateway.verify_many(collection, [Expected(name, len(OLD), checksum_of(OLD))], level="rehash")
    assert isinstance(outcome, Done), outcome


@pytest.mark.parametrize("put", [by_606, by_606_over_all, by_stream, without_resource])
def test_a_put_takes_no_file_of_another_object(
    gateway: Gateway, home: str, resource: str, other: str, put: Put
) -> None:
    with pytest.raises(Permanent, match=f"which is that of {other}") as refused:
        put(gateway, f"{home}/it's new", resource)
    assert refused.value.error == "place_taken"
    assert gateway.replicas(f"{home}/it's new") == []
    untouched(gateway, other)


@pytest.mark.parametrize("written", [True, False])
def test_nor_does_a_bundle(
    irods_settings: IrodsSettings, gateway: Gateway, home: str, resource: str, other: str, written: bool
) -> None:
    files = [SmallFile(name, NEW, checksum_of(NEW)) for name in ("a", "b", "it's new", "c", "d")]
    with Gateway(irods_settings.model_copy(update={"vault_writes": written})) as bundling:
        bundling.make_collections(bundling.staging)
        outcomes = bundling.put_bundle(home, files, resource=resource, overwrite=False)
    assert [error_of(outcome) for outcome in outcomes] == [None, None, "place_taken", None, None]
    untouched(gateway, other)


def error_of(outcome: Outcome) -> str | None:
    return outcome.error if isinstance(outcome, Dead) else None


def test_an_object_that_lies_elsewhere_is_overwritten_there(
    gateway: Gateway, home: str, resource: str, other: str
) -> None:
    gateway.put_bytes(f"{home}/elsewhere", OLD, checksum=checksum_of(OLD), resource=resource, overwrite=False)
    (row,) = gateway.replicas(f"{home}/elsewhere")
    gateway.unregister(f"{home}/elsewhere")
    path = f"{home}/it's new"
    gateway.register(path, row.physical_path, len(OLD), row.modified_at, resource=resource)
    by_606_over_all(gateway, path, resource)
    (now,) = gateway.replicas(path)
    assert (now.physical_path, now.size) == (row.physical_path, len(NEW))
    untouched(gateway, other)


def test_a_further_replica_takes_no_file_of_another_object(
    irods_settings: IrodsSettings, gateway: Gateway, home: str, resource: str, second: str
) -> None:
    with ExitStack() as at_end, ComputeGateway(irods_settings) as computing:
        by_606(gateway, f"{home}/a", second)
        (row,) = gateway.replicas(f"{home}/a")
        gateway.unregister(f"{home}/a")
        gateway.register(f"{home}/other", row.physical_path, len(NEW), row.modified_at, resource=second)
        at_end.callback(gateway.remove, f"{home}/other", force=True)
        by_606(gateway, f"{home}/a", resource)
        with pytest.raises(FileError) as refused:
            computing.replicate(f"{home}/a", second)
        assert refused.value.error == "place_taken"
        assert [each.root for each in gateway.replicas(f"{home}/a")] == [resource]


@pytest.fixture
def second(administrator: iRODSSession, tmp_path: Path, home: str) -> Iterator[str]:
    """Another standalone resource."""
    name = f"second_{home.rpartition('_')[2]}"
    administrator.resources.create(name, "unixfilesystem", *vault_for(administrator, tmp_path, name))
    yield name
    administrator.resources.remove(name)


def test_the_same_path_on_another_host_is_another_place(
    administrator: iRODSSession,
    irods_settings: IrodsSettings,
    gateway: Gateway,
    home: str,
    resource: str,
    other: str,
) -> None:
    """Most zones have the same vault path on all their hosts."""
    demo = administrator.resources.get(resource)
    name = f"far_{home.rpartition('_')[2]}"
    administrator.resources.create(name, "unixfilesystem", "127.0.0.1", demo.vault_path)
    try:
        path = f"{home}/it's new"
        (row,) = gateway.replicas(other)
        gateway.unregister(other)
        with Gateway(irods_settings) as knowing:
            knowing.register(other, row.physical_path, len(OLD), row.modified_at, resource=name)
            by_606(knowing, path, resource)
            assert [each.root for each in knowing.replicas(path)] == [resource]
            knowing.unregister(other)
    finally:
        administrator.resources.remove(name)
