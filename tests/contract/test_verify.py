"""Verifying finds every kind of damage and says both values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.checksums import SCHEMES, checksum_of
from core.errors import Mismatch
from core.irods import Gateway, replicas
from core.irods.session import Session

DATA = b"these bytes are what the source has"
CHECKSUM = checksum_of(DATA)


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
