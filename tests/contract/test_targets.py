"""Bad targets and resources are refused before anything is written, in one line with a hint."""

from __future__ import annotations

import hashlib
import os
from functools import partial

import pytest

from core.checksums import checksum_of
from core.errors import Permanent, UsageError
from core.irods import Gateway, SmallFile, targets
from core.irods.session import Session
from core.outcome import Done


def _refusal(error: pytest.ExceptionInfo[UsageError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert error.value.hint
    return text


def test_home_and_what_is_yet_to_be_made_below_it_are_fine(gateway: Gateway, home: str) -> None:
    gateway.check_target(home)
    gateway.check_target(f"{home}/a/b/c/d/e")
    assert gateway.replicas(f"{home}/a") == []


@pytest.mark.parametrize(
    "path", ["/", "", "relative/path", "/tempZone//home", "/tempZone/home/", "/tempZone/../home", "/tempZone/./x"]
)
def test_malformed_targets(gateway: Gateway, path: str) -> None:
    with pytest.raises(UsageError) as error:
        gateway.check_target(path)
    _refusal(error)


def test_only_exact_zone_names_are_zones(gateway: Gateway) -> None:
    zone = gateway.server().zone
    for wrong in (zone[:-1], zone + "More", zone.upper(), "noSuchZone"):
        with pytest.raises(UsageError) as error:
            gateway.check_target(f"/{wrong}/home/rods")
        assert f"'{wrong}'" in _refusal(error)
        assert zone in error.value.hint


def test_a_rodsadmin_has_no_bypass_on_collections(gateway: Gateway, home: str, other_home: str) -> None:
    with pytest.raises(UsageError) as error:
        gateway.check_target(f"{other_home}/below")
    assert other_home in _refusal(error)


def test_resources(gateway: Gateway, resource: str) -> None:
    for operation in ("put", "put_sync", "register_sync"):
        gateway.check_resource(resource, operation)
    with pytest.raises(UsageError) as error:
        gateway.check_resource("noSuchResource", "put")
    assert resource in _refusal(error)


def test_put_goes_to_roots_and_registration_to_leaves_or_roots(
    gateway: Gateway, tree: dict[str, str], home: str
) -> None:
    root, middle, leaf = tree["root"], tree["middle"], tree["leaf"]
    gateway.check_resource(root, "put_sync")
    gateway.check_resource(root, "register_sync")
    gateway.check_resource(leaf, "register_sync")
    for name in (middle, leaf):
        with pytest.raises(UsageError) as error:
            gateway.check_resource(name, "put")
        assert root in _refusal(error)
    with pytest.raises(UsageError) as error:
        gateway.check_resource(middle, "register_sync")
    assert leaf in error.value.hint


def test_work_on_trees(gateway: Gateway, tree: dict[str, str], home: str) -> None:
    data = b"to the root"
    gateway.put_bytes(f"{home}/put", data, checksum=checksum_of(data), resource=tree["root"], overwrite=False)
    (replica,) = gateway.replicas(f"{home}/put")
    assert replica.hierarchy == ";".join((tree["root"], tree["middle"], tree["leaf"]))
    assert replica.resource == tree["leaf"]
    assert replica.root == tree["root"]
    for name in (tree["middle"], tree["leaf"]):
        with pytest.raises(Permanent, match="DIRECT_CHILD_ACCESS"):
            gateway.put_bytes(f"{home}/child", data, checksum=checksum_of(data), resource=name, overwrite=False)
    for name in (tree["root"], tree["leaf"]):
        gateway.register(f"{home}/reg_{name}", "/etc/hostname", 5, 0, resource=name)
        (replica,) = gateway.replicas(f"{home}/reg_{name}")
        assert replica.resource == tree["leaf"]
    with pytest.raises(Permanent) as error:
        gateway.register(f"{home}/reg_middle", "/etc/hostname", 5, 0, resource=tree["middle"])
    assert error.value.error == "wrong_resource"


def test_a_resource_that_is_younger_than_the_connection(
    gateway: Gateway, home: str, request: pytest.FixtureRequest
) -> None:
    gateway.make_collections(f"{home}/connect")
    young: dict[str, str] = request.getfixturevalue("tree")
    gateway.put_bytes(f"{home}/f", b"x", checksum=checksum_of(b"x"), resource=young["root"], overwrite=False)
    assert gateway.replicas(f"{home}/f")[0].resource == young["leaf"]


def test_an_object_on_another_resource_is_not_overwritten_there(
    gateway: Gateway, tree: dict[str, str], resource: str, home: str
) -> None:
    data = hashlib.sha256(home.encode()).digest()
    gateway.put_bytes(f"{home}/f", data, checksum=checksum_of(data), resource=resource, overwrite=True)
    with pytest.raises(Permanent) as error:
        gateway.put_bytes(f"{home}/f", data, checksum=checksum_of(data), resource=tree["root"], overwrite=True)
    assert error.value.error == "wrong_resource"
    with pytest.raises(Permanent) as error:
        gateway.put_stream(f"{home}/f", lambda o, n: data[o : o + n], len(data), resource=tree["root"], overwrite=True)
    assert error.value.error == "wrong_resource"
    assert len(gateway.replicas(f"{home}/f")) == 1


def test_replicating_resources(gateway: Gateway, replicating: str, home: str) -> None:
    gateway.check_resource(replicating, "put_sync")
    for overwrite in (False, True):
        for name in ("bytes", "stream", "bundled"):
            data = os.urandom(1000)
            checksum, path = checksum_of(data), f"{home}/{name}"
            if name == "bytes":
                gateway.put_bytes(path, data, checksum=checksum, resource=replicating, overwrite=overwrite)
            elif name == "stream":
                view = partial(_part, data)
                gateway.put_stream(path, view, 1000, resource=replicating, overwrite=overwrite)
            else:
                files = [SmallFile(name, data, checksum), SmallFile("other", data, checksum)]
                assert (
                    gateway.put_bundle(home, files, resource=replicating, overwrite=overwrite) == [Done(checksum)] * 2
                )
            rows = gateway.replicas(path)
            assert [(row.good, row.size, row.checksum) for row in rows] == [(True, 1000, checksum)] * 2
            assert gateway.verify(path, size=1000, checksum=checksum).replicas == 2


def _part(data: bytes, offset: int, length: int) -> bytes:
    return data[offset : offset + length]


def test_a_user_without_rights(gateway: Gateway, alice: Session, home: str) -> None:
    with pytest.raises(UsageError) as error:
        targets.check_target(alice, f"{home}/x")
    assert "alice" in _refusal(error)
    assert not targets.is_admin(alice)
    targets.check_target(alice, f"/{alice.zone}/home/{alice.user}")
