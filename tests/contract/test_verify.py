"""Verifying finds every kind of damage and says both values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from irods.access import iRODSAccess
from irods.session import iRODSSession

from core.checksums import SCHEMES, checksum_of
from core.errors import Mismatch, Permanent
from core.irods import Expected, Gateway, SmallFile, replicas
from core.irods.session import Session
from core.outcome import Done, Mismatched
from core.settings import IrodsSettings, VerifyLevel

DATA = b"these bytes are what the source has"
CHECKSUM = checksum_of(DATA)
LEVELS: tuple[VerifyLevel, ...] = ("catalog", "stat", "rehash")


@pytest.fixture
def path(gateway: Gateway, home: str, resource: str) -> str:
    """A data object with DATA."""
    gateway.put_bytes(f"{home}/f", DATA, checksum=CHECKSUM, resource=resource, overwrite=False)
    return f"{home}/f"


def _mismatch(gateway: Gateway, path: str, checksum: str = CHECKSUM, size: int = len(DATA)) -> Mismatch:
    with pytest.raises(Mismatch) as error:
        gateway.verify(path, size=size, checksum=checksum)
    assert path in str(error.value)
    assert "\n" not in str(error.value)
    return error.value


def test_good_bytes(gateway: Gateway, path: str) -> None:
    verified = gateway.verify(path, size=len(DATA), checksum=CHECKSUM)
    assert (verified.replicas, verified.size, verified.checksum) == (1, len(DATA), CHECKSUM)


def test_what_is_absent(gateway: Gateway, home: str) -> None:
    assert _mismatch(gateway, f"{home}/absent").error == "missing_object"
    assert _mismatch(gateway, f"{home}/absent/collection").error == "missing_object"


def test_another_size_or_checksum_in_the_catalogue(gateway: Gateway, path: str) -> None:
    error = _mismatch(gateway, path, size=1)
    assert error.error == "size_mismatch"
    assert str(len(DATA)) in str(error)
    assert " 1" in str(error)
    error = _mismatch(gateway, path, checksum=checksum_of(b"other"))
    assert error.error == "checksum_mismatch"
    assert CHECKSUM in str(error)
    assert checksum_of(b"other") in str(error)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_stored_checksum_of_another_scheme(
    gateway: Gateway, path: str, vault_file: Callable[[str], Path], scheme: str
) -> None:
    gateway.verify(path, size=len(DATA), checksum=checksum_of(DATA, scheme))
    assert _mismatch(gateway, path, checksum=checksum_of(b"other", scheme)).error == "checksum_mismatch"


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda file: file.write_bytes(DATA[:-1] + b"X"), "checksum_mismatch"),
        (lambda file: file.unlink(), "missing_file"),
    ],
    ids=["flipped", "gone"],
)
def test_damage_in_the_vault(
    gateway: Gateway,
    session: Session,
    path: str,
    vault_file: Callable[[str], Path],
    stored: bool,
    damage: Callable[[Path], object],
    error: str,
) -> None:
    if not stored:
        (replica,) = gateway.replicas(path)
        replicas.modify(session, path, replica, {"chksum": ""})
    damage(vault_file(path))
    assert _mismatch(gateway, path).error == error


@pytest.mark.parametrize("keep", [0, 5])
def test_a_truncated_file(gateway: Gateway, path: str, vault_file: Callable[[str], Path], keep: int) -> None:
    vault_file(path).write_bytes(DATA[:keep])
    assert _mismatch(gateway, path).error == "size_mismatch"


@pytest.mark.parametrize("status", [0, 2, 4])
def test_replicas_that_are_not_good(gateway: Gateway, session: Session, path: str, status: int) -> None:
    (replica,) = gateway.replicas(path)
    replicas.modify(session, path, replica, {"replStatus": str(status)})
    assert _mismatch(gateway, path).error == "replica_not_good"


def test_verifying_changes_nothing(gateway: Gateway, path: str) -> None:
    before = gateway.replicas(path)
    gateway.verify(path, size=len(DATA), checksum=CHECKSUM)
    assert gateway.replicas(path) == before


def test_a_replica_without_checksum_gets_one(gateway: Gateway, session: Session, path: str) -> None:
    (replica,) = gateway.replicas(path)
    replicas.modify(session, path, replica, {"chksum": ""})
    gateway.verify(path, size=len(DATA), checksum=CHECKSUM)
    assert gateway.replicas(path)[0].checksum == CHECKSUM


def _at(gateway: Gateway, path: str, level: VerifyLevel, checksum: str | None = CHECKSUM) -> str:
    """What verifying at a level finds: a class of mismatch, or nothing."""
    try:
        verified = gateway.verify(path, size=len(DATA), checksum=checksum, level=level)
    except Mismatch as problem:
        return problem.error if path in str(problem) else "another path"
    assert (verified.level, verified.replicas) == (level, 1)
    return ""


@pytest.mark.parametrize("checksum", [CHECKSUM, None])
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda file: None, ("", "", "")),
        (lambda file: file.write_bytes(DATA[:-1] + b"X"), ("", "", "checksum_mismatch")),
        (lambda file: file.write_bytes(DATA[:-1]), ("", "size_mismatch", "size_mismatch")),
        (lambda file: file.unlink(), ("", "missing_file", "missing_file")),
    ],
    ids=["good", "flipped", "short", "gone"],
)
def test_what_each_level_finds(
    gateway: Gateway,
    path: str,
    vault_file: Callable[[str], Path],
    damage: Callable[[Path], object],
    found: tuple[str, str, str],
    checksum: str | None,
) -> None:
    damage(vault_file(path))
    before = gateway.replicas(path)
    assert _at(gateway, path, "catalog", checksum) == found[0]
    assert _at(gateway, path, "stat", checksum) == found[1]
    assert _at(gateway, path, "rehash") == found[2]
    assert gateway.replicas(path) == before


@pytest.mark.parametrize("level", LEVELS)
def test_the_catalogue_is_compared_at_every_level(
    gateway: Gateway, session: Session, path: str, level: VerifyLevel
) -> None:
    assert _at(gateway, path + "x", level) == "missing_object"
    assert _at(gateway, path, level, checksum_of(b"other")) == "checksum_mismatch"
    (replica,) = gateway.replicas(path)
    replicas.modify(session, path, replica, {"dataSize": "7"})
    assert _at(gateway, path, level) == "size_mismatch"
    replicas.modify(session, path, replica, {"replStatus": "0"})
    assert _at(gateway, path, level) == "replica_not_good"


@pytest.mark.parametrize("level", LEVELS)
def test_without_a_stored_checksum(gateway: Gateway, session: Session, path: str, level: VerifyLevel) -> None:
    replicas.modify(session, path, gateway.replicas(path)[0], {"chksum": ""})
    assert _at(gateway, path, level) == ""
    assert gateway.replicas(path)[0].checksum == (CHECKSUM if level == "rehash" else None)


def test_bytes_cannot_be_compared_with_nothing(gateway: Gateway, path: str) -> None:
    for checksum in (None, "sha512:x"):
        with pytest.raises(Permanent):
            gateway.verify(path, size=len(DATA), checksum=checksum)


@pytest.mark.parametrize("level", LEVELS)
def test_the_place_is_proven_by_the_catalogue(
    irods_settings: IrodsSettings, path: str, resource: str, tree: dict[str, str], level: VerifyLevel
) -> None:
    with Gateway(irods_settings) as gateway:
        gateway.verify(path, size=len(DATA), checksum=CHECKSUM, level=level, resource=resource)
        for name in tree.values():
            with pytest.raises(Mismatch) as error:
                gateway.verify(path, size=len(DATA), checksum=CHECKSUM, level=level, resource=name)
            assert error.value.error == "wrong_resource"
        gateway.put_bytes(f"{path}2", DATA, checksum=CHECKSUM, resource=tree["root"], overwrite=False)
        for name in tree.values():
            gateway.verify(f"{path}2", size=len(DATA), checksum=CHECKSUM, level=level, resource=name)


@pytest.mark.parametrize("stored", [True, False])
def test_one_who_may_only_read(
    gateway: Gateway,
    session: Session,
    administrator: iRODSSession,
    alices_settings: IrodsSettings,
    home: str,
    resource: str,
    vault_file: Callable[[str], Path],
    stored: bool,
) -> None:
    files = [SmallFile(f"f{i}", bytes([i]) * 50, checksum_of(bytes([i]) * 50)) for i in range(12)]
    assert all(isinstance(done, Done) for done in gateway.put_bundle(home, files, resource=resource, overwrite=False))
    if not stored:
        for file in files:
            path = f"{home}/{file.relative}"
            replicas.modify(session, path, gateway.replicas(path)[0], {"chksum": ""})
    administrator.acls.set(iRODSAccess("read", home, alices_settings.user), recursive=True)
    vault_file(f"{home}/f3").write_bytes(b"X" * 50)
    vault_file(f"{home}/f4").write_bytes(b"X")
    expected = [Expected(file.relative, 50, file.checksum) for file in files]
    with Gateway(alices_settings) as alice:
        before = [alice.replicas(f"{home}/{file.relative}") for file in files]
        for level, bad in (("catalog", set[int]()), ("stat", {4}), ("rehash", {3, 4})):
            for number, file in enumerate(files):
                found = _mismatched(alice, f"{home}/{file.relative}", file.checksum, cast(VerifyLevel, level))
                assert found == (number in bad)
            outcomes = alice.verify_many(home, expected, level=cast(VerifyLevel, level))
            assert {i for i, each in enumerate(outcomes) if isinstance(each, Mismatched)} == bad
            assert {i for i, each in enumerate(outcomes) if isinstance(each, Done)} == set(range(12)) - bad
        assert before == [alice.replicas(f"{home}/{file.relative}") for file in files]


def _mismatched(gateway: Gateway, path: str, checksum: str, level: VerifyLevel) -> bool:
    try:
        gateway.verify(path, size=50, checksum=checksum, level=level)
    except Mismatch:
        return True
    return False


@pytest.mark.parametrize("level", LEVELS)
def test_a_rodsadmin_without_access(
    gateway: Gateway,
    alices_settings: IrodsSettings,
    session: Session,
    other_home: str,
    resource: str,
    level: VerifyLevel,
) -> None:
    names = [f"f{number}" for number in range(12)]
    with Gateway(alices_settings) as hers:
        for name in names:
            hers.put_bytes(f"{other_home}/{name}", DATA, checksum=CHECKSUM, resource=resource, overwrite=False)
        # she is no rodsadmin, and verifies as ever
        hers.verify(f"{other_home}/f0", size=len(DATA), checksum=CHECKSUM, level=level, as_admin=True)
    (row,) = gateway.replicas(f"{other_home}/f1")
    replicas.modify(session, f"{other_home}/f1", row, {"chksum": "", "irodsAdmin": ""})
    if level != "catalog":
        with pytest.raises(Permanent):
            gateway.verify(f"{other_home}/f0", size=len(DATA), checksum=CHECKSUM, level=level)
    gateway.verify(f"{other_home}/f0", size=len(DATA), checksum=CHECKSUM, level=level, as_admin=True)
    wanted = [Expected(name, len(DATA), CHECKSUM) for name in names]
    assert gateway.verify_many(other_home, wanted, level=level, as_admin=True) == [Done(CHECKSUM, level)] * 12
    wanted[3] = Expected("f3", len(DATA), checksum_of(b"other"))
    assert isinstance(gateway.verify_many(other_home, wanted, level=level, as_admin=True)[3], Mismatched)
