"""Registering files where they lie: the catalogue believes what it is told, so it must be told right."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.checksums import checksum_of
from core.errors import Mismatch, Permanent, Transient
from core.irods import Gateway, Registration
from core.irods import register as register_module
from core.irods.session import Session
from core.outcome import Done
from core.paths import checked_physical

SECOND = 1_000_000
WHEN = 1_700_000_000 * SECOND


@pytest.fixture
def source(served: Path) -> Path:
    """A file outside every vault."""
    file = served / "source.dat"
    file.write_bytes(b"registered bytes")
    return file


def test_size_time_path_and_checksum(gateway: Gateway, home: str, resource: str, source: Path) -> None:
    checksum = checksum_of(source.read_bytes())
    gateway.register(f"{home}/f", str(source), 16, WHEN + 5, resource=resource, checksum=checksum)
    gateway.register(f"{home}/g", str(source), 16, WHEN, resource=None)
    (f,), (g,) = gateway.replicas(f"{home}/f"), gateway.replicas(f"{home}/g")
    assert (f.size, f.physical_path, f.modified_at, f.checksum, f.good) == (16, str(source), WHEN, checksum, True)
    assert f.resource == f.hierarchy == resource
    assert (g.modified_at, g.checksum) == (WHEN, None)


def test_the_same_registration_again_changes_nothing(gateway: Gateway, home: str, resource: str, source: Path) -> None:
    rows = []
    for _ in range(2):
        gateway.register(f"{home}/f", str(source), 16, WHEN, resource=resource, checksum=checksum_of(b"x"))
        rows.append(gateway.replicas(f"{home}/f"))
    assert rows[0] == rows[1]


def test_a_file_that_grew_is_updated(gateway: Gateway, home: str, resource: str, source: Path) -> None:
    gateway.register(f"{home}/f", str(source), 16, WHEN, resource=resource, checksum=checksum_of(b"old"))
    gateway.register(f"{home}/f", str(source), 20, WHEN + 60 * SECOND, resource=resource, checksum=checksum_of(b"new"))
    (replica,) = gateway.replicas(f"{home}/f")
    assert (replica.size, replica.modified_at) == (20, WHEN + 60 * SECOND)
    assert (replica.checksum, replica.good) == (checksum_of(b"new"), True)


def test_a_changed_file_without_checksum_keeps_no_old_one(
    gateway: Gateway, home: str, resource: str, source: Path
) -> None:
    gateway.register(f"{home}/f", str(source), 16, WHEN, resource=resource, checksum=checksum_of(b"old"))
    gateway.register(f"{home}/f", str(source), 16, WHEN, resource=resource)
    assert gateway.replicas(f"{home}/f")[0].checksum == checksum_of(b"old")
    gateway.register(f"{home}/f", str(source), 17, WHEN, resource=resource)
    assert gateway.replicas(f"{home}/f")[0].checksum is None


def test_another_file_or_resource_is_permanent(
    gateway: Gateway, home: str, resource: str, source: Path, tree: dict[str, str]
) -> None:
    gateway.register(f"{home}/f", str(source), 16, WHEN, resource=resource)
    with pytest.raises(Permanent) as error:
        gateway.register(f"{home}/f", "/another/file", 16, WHEN, resource=resource)
    assert error.value.error == "wrong_path"
    assert str(source) in str(error.value)
    with pytest.raises(Permanent) as error:
        gateway.register(f"{home}/f", str(source), 16, WHEN, resource=tree["leaf"])
    assert error.value.error == "wrong_resource"
    assert tree["leaf"] in str(error.value)
    assert len(gateway.replicas(f"{home}/f")) == 1


def test_a_collection_of_that_name_is_permanent(gateway: Gateway, home: str, resource: str, source: Path) -> None:
    gateway.make_collections(f"{home}/f")
    with pytest.raises(Permanent):
        gateway.register(f"{home}/f", str(source), 16, WHEN, resource=resource)


def test_a_missing_collection_and_an_unknown_resource(gateway: Gateway, home: str, resource: str, source: Path) -> None:
    with pytest.raises(Transient) as error:
        gateway.register(f"{home}/absent/f", str(source), 16, WHEN, resource=resource)
    assert error.value.error == "CAT_UNKNOWN_COLLECTION"
    with pytest.raises(Permanent):
        gateway.register(f"{home}/f", str(source), 16, WHEN, resource="noSuchResource")


def test_others_than_rodsadmins_are_told_why(alice: Session, source: Path) -> None:
    row = register_module.Registration(f"/{alice.zone}/home/{alice.user}/f", str(source), 16, WHEN)
    with pytest.raises(Permanent) as error:
        register_module.register(alice, row, None)
    assert error.value.error == "PATH_REG_NOT_ALLOWED"
    assert "-129000" in str(error.value)
    assert "rodsadmin" in error.value.hint


def test_unregistering_and_removing_leave_the_file(gateway: Gateway, home: str, resource: str, source: Path) -> None:
    for name in ("f", "g"):
        gateway.register(f"{home}/{name}", str(source), 16, WHEN, resource=resource)
    gateway.unregister(f"{home}/f")
    gateway.unregister(f"{home}/f")
    gateway.remove(f"{home}/g", force=True)
    assert gateway.replicas(f"{home}/f") == gateway.replicas(f"{home}/g") == []
    assert source.read_bytes() == b"registered bytes"


def test_names_that_must_be_escaped_keep_their_physical_path(gateway: Gateway, home: str, resource: str) -> None:
    physical = "/data/it's `odd` & <strange> 'and' ünï\t.dat"
    gateway.register(f"{home}/f", physical, 1, WHEN, resource=resource)
    assert gateway.replicas(f"{home}/f")[0].physical_path == physical


def test_verifying_what_is_registered(gateway: Gateway, home: str, resource: str, source: Path) -> None:
    data = source.read_bytes()
    for name, checksum in (("with", checksum_of(data)), ("without", None)):
        gateway.register(f"{home}/{name}", str(source), len(data), WHEN, resource=resource, checksum=checksum)
        gateway.verify(f"{home}/{name}", size=len(data), checksum=checksum_of(data))
        with pytest.raises(Mismatch):
            gateway.verify(f"{home}/{name}", size=len(data), checksum=checksum_of(b"other"))
    source.write_bytes(data[:-1] + b"!")
    with pytest.raises(Mismatch) as error:
        gateway.verify(f"{home}/with", size=len(data), checksum=checksum_of(data))
    assert error.value.error == "checksum_mismatch"
    source.unlink()
    with pytest.raises(Mismatch) as error:
        gateway.verify(f"{home}/with", size=len(data), checksum=checksum_of(data))
    assert error.value.error == "missing_file"


KEYS = [
    "plain", "sp ace", "a//b", "//c", "/leading", "dots/./x", "dots/../y", "trailing/", "same//", "plus+and%20", "a%2Fb",
    "q'u\"o`te", "back\\slash", "é/文字 🧬", "e\u0301", "tab\there", "new\nline", "<&>;*?[x]", "k" * 900, "a\U0010ffff",
]  # fmt: skip


@pytest.mark.parametrize("many", [False, True])
def test_a_physical_path_is_kept_byte_for_byte(gateway: Gateway, home: str, resource: str, many: bool) -> None:
    # an S3 resource finds objects by it; it is no path in a filesystem, and nothing of it may be made plainer
    rows = [
        Registration(f"{home}/{number}", checked_physical(key, f"/bucket/{key}"), 7, WHEN, checksum_of(b"x"))
        for number, key in enumerate(KEYS)
    ]
    if many:
        assert [type(one) for one in gateway.register_many(rows, resource=resource)] == [Done] * len(rows)
    else:
        for row in rows:
            gateway.register(row.path, row.physical_path, 7, WHEN, resource=resource, checksum=row.checksum)
    assert [gateway.replicas(row.path)[0].physical_path for row in rows] == [row.physical_path for row in rows]
