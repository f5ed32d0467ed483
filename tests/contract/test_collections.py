"""Collections are made level by level, also in a race."""

from __future__ import annotations

import threading

import pytest

from core.checksums import checksum_of
from core.errors import FileError, Permanent
from core.irods import Gateway, collections
from core.irods.session import Session
from core.settings import IrodsSettings


def _exists(gateway: Gateway, path: str) -> bool:
    return collections.exists(gateway._session, path)


def test_all_levels_are_made_and_known(gateway: Gateway, home: str) -> None:
    known: set[str] = set()
    gateway.make_collections(f"{home}/a/b/c", known)
    assert {f"{home}/a", f"{home}/a/b", f"{home}/a/b/c"} <= known
    assert all(_exists(gateway, path) for path in known)


def test_what_exists_already_is_fine(gateway: Gateway, home: str) -> None:
    for _ in range(2):
        gateway.make_collections(f"{home}/a/b")
    gateway.make_collections(home)
    server = gateway.server()
    gateway.make_collections(f"/{server.zone}/home/{server.user}")
    gateway.make_collections(f"/{server.zone}/home")
    gateway.make_collections(f"/{server.zone}")


def test_known_levels_cost_nothing(gateway: Gateway, home: str) -> None:
    known = {home, f"{home}/never_made"}
    gateway.make_collections(f"{home}/never_made", known)
    assert not _exists(gateway, f"{home}/never_made")


@pytest.mark.parametrize(
    "name", ["it's", "a b", "ünï", "new\nline", "tab\t", '"&<>`', "100%", "%0D", "-x", "~", "\\", ";", "*"]
)
def test_awkward_names(gateway: Gateway, home: str, name: str) -> None:
    gateway.make_collections(f"{home}/{name}/{name}")
    assert _exists(gateway, f"{home}/{name}/{name}")


def test_siblings_made_in_a_race_are_all_there(irods_settings: IrodsSettings, home: str) -> None:
    barrier, problems = threading.Barrier(6), []

    def make(index: int) -> None:
        try:
            with Gateway(irods_settings) as gateway:
                gateway.replicas(f"{home}/connect")
                barrier.wait()
                gateway.make_collections(f"{home}/r/a/b/c/d{index}")
        except FileError as problem:
            problems.append(problem)

    threads = [threading.Thread(target=make, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with Gateway(irods_settings) as gateway:
        assert all(_exists(gateway, f"{home}/r/a/b/c/d{index}") for index in range(6))


def test_a_data_object_of_that_name_is_permanent(gateway: Gateway, home: str, resource: str) -> None:
    gateway.put_bytes(f"{home}/taken", b"x", checksum=checksum_of(b"x"), resource=resource, overwrite=False)
    for path in (f"{home}/taken", f"{home}/taken/below"):
        with pytest.raises(Permanent) as error:
            gateway.make_collections(path)
        assert f"{home}/taken" in str(error.value)


def test_unknown_zones_and_foreign_collections_are_permanent(gateway: Gateway, other_home: str) -> None:
    with pytest.raises(Permanent):
        gateway.make_collections("/noSuchZone/home/x")
    with pytest.raises(Permanent) as error:
        gateway.make_collections(f"{other_home}/below")
    assert error.value.error == "CAT_NO_ACCESS_PERMISSION"


def test_a_path_that_iRODS_would_take_literally_is_refused(gateway: Gateway, home: str) -> None:
    for path in (f"{home}//x", f"{home}/./x", f"{home}/../x", f"{home}/x/"):
        with pytest.raises(Permanent) as error:
            gateway.make_collections(path)
        assert error.value.error == "bad_path"


def test_removing(gateway: Gateway, session: Session, home: str, resource: str) -> None:
    gateway.make_collections(f"{home}/x/y")
    for index in range(12):
        gateway.put_bytes(f"{home}/x/{index}", b"", checksum=checksum_of(b""), resource=resource, overwrite=False)
    gateway.remove_collection(f"{home}/x")
    gateway.remove_collection(f"{home}/x")
    assert not _exists(gateway, f"{home}/x")
