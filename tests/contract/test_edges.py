"""What hardly ever happens, and then must be right: long paths by every verb, objects that shrink, two writers at once, the
trash, registered files that change."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest

from core import paths
from core.checksums import checksum_of
from core.errors import FileError, Mismatch
from core.irods import Expected, Gateway, Registration, SmallFile, Status, replicas
from core.irods.stream import BUFFER_BYTES
from core.outcome import Done, Mismatched
from core.settings import IrodsSettings, VerifyLevel

WHEN = 1_700_000_000 * 1_000_000


def put_stream(gateway: Gateway, path: str, data: bytes, resource: str | None = None, streams: int = 1) -> None:
    gateway.put_stream(
        path, lambda o, n: data[o : o + n], len(data), resource=resource, overwrite=True, streams=streams
    )


def check_good(gateway: Gateway, path: str, data: bytes) -> None:
    (replica,) = gateway.replicas(path)
    assert (replica.status, replica.size, replica.checksum) == (Status.GOOD, len(data), checksum_of(data))
    gateway.verify(path, size=len(data), checksum=checksum_of(data))


@pytest.mark.parametrize("streams", [1, 3])
def test_a_large_object_that_shrinks_and_grows(
    gateway: Gateway, home: str, resource: str, vault_file: Callable[[str], Path], streams: int
) -> None:
    for size in (5 * BUFFER_BYTES, 2 * BUFFER_BYTES + 1, 0, 3 * BUFFER_BYTES, 1):
        data = os.urandom(size)
        put_stream(gateway, f"{home}/f", data, resource, streams)
        check_good(gateway, f"{home}/f", data)
        assert vault_file(f"{home}/f").stat().st_size == size


def longest(home: str) -> str:
    """A path of exactly as many bytes as are allowed, some of them of two-byte characters."""
    path = home
    while len(path.encode()) < paths.MAX_PATH_BYTES - 250:
        path += "/" + "ü" * 100
    return path + "/" + "n" * (paths.MAX_PATH_BYTES - 1 - len(path.encode()))


def test_the_longest_path_by_every_verb(gateway: Gateway, home: str, resource: str) -> None:
    path = longest(home)
    assert len(path.encode()) == paths.MAX_PATH_BYTES
    collection, name = paths.split(path)
    gateway.make_collections(collection)
    data = os.urandom(1000)
    checksum = checksum_of(data)

    def bundle() -> None:
        assert gateway.put_bundle(
            collection, [SmallFile(name, data, checksum)], resource=resource, overwrite=False
        ) == [Done(checksum)]

    def register() -> None:
        row = Registration(path, "/data/f", 1000, WHEN, checksum)
        assert gateway.register_many([row], resource=resource) == [Done(checksum)]

    for way in (
        lambda: gateway.put_bytes(path, data, checksum=checksum, resource=resource, overwrite=False),
        lambda: put_stream(gateway, path, data, resource),
        lambda: gateway.append(path, lambda o, n: data[o : o + n], 1000, resource=resource),
        bundle,
    ):
        way()
        check_good(gateway, path, data)
        assert gateway.verify_many(collection, [Expected(name, 1000, checksum)]) == [Done(checksum, "rehash")]
        gateway.remove(path, force=True)
    for way in (register, lambda: gateway.register(path, "/data/f", 1000, WHEN, resource=resource, checksum=checksum)):
        way()
        (replica,) = gateway.replicas(path)
        assert (replica.size, replica.checksum, replica.modified_at) == (1000, checksum, WHEN)
        gateway.unregister(path)
        assert gateway.replicas(path) == []


@pytest.mark.parametrize("size", [1000, 2 * BUFFER_BYTES])
def test_two_writers_at_once(irods_settings: IrodsSettings, home: str, resource: str, size: int) -> None:
    """As when a pod is taken for dead, and goes on: whatever comes of it, one more attempt leaves one good replica."""
    contents = [os.urandom(size), os.urandom(size // 2)]
    together = Barrier(2)

    def write(data: bytes) -> None:
        with Gateway(irods_settings) as own:
            own.server()
            together.wait(30)
            with suppress(FileError):
                if size > 1000:
                    put_stream(own, f"{home}/f", data, resource)
                else:
                    own.put_bytes(f"{home}/f", data, checksum=checksum_of(data), resource=resource, overwrite=True)

    with ThreadPoolExecutor(2) as writers:
        list(writers.map(write, contents))
    with Gateway(irods_settings) as gateway:
        put_stream(gateway, f"{home}/f", contents[0], resource)
        check_good(gateway, f"{home}/f", contents[0])


def test_two_bundles_of_the_same_files_at_once(irods_settings: IrodsSettings, home: str, resource: str) -> None:
    files = [SmallFile(f"d/f{n}", b"%d" % n, checksum_of(b"%d" % n)) for n in range(60)]
    together = Barrier(3)

    def write(_: int) -> None:
        with Gateway(irods_settings) as own:
            own.server()
            together.wait(30)
            own.put_bundle(home, files, resource=resource, overwrite=False)

    with ThreadPoolExecutor(3) as writers:
        list(writers.map(write, range(3)))
    with Gateway(irods_settings) as gateway:
        assert gateway.put_bundle(home, files, resource=resource, overwrite=False) == [Done(f.checksum) for f in files]
        wanted = [Expected(file.relative, len(file.data), file.checksum) for file in files]
        assert gateway.verify_many(home, wanted) == [Done(file.checksum, "rehash") for file in files]
        assert {len(rows) for rows in replicas.replicas_in(gateway._session, f"{home}/d").values()} == {1}


def in_trash(gateway: Gateway, path: str) -> dict[str, list[replicas.Replica]]:
    """What lies in the trash where an object of that path, removed, does; its name may have got a suffix."""
    _, zone, rest = path.split("/", 2)
    collection = paths.split(f"/{zone}/trash/{rest}")[0]
    return replicas.replicas_in(gateway._session, collection)


def test_the_trash_keeps_the_bytes_of_each_removal(
    gateway: Gateway, home: str, resource: str, vault_file: Callable[[str], Path]
) -> None:
    path = f"{home}/f"
    for data in (b"first", b"second, longer"):
        gateway.put_bytes(path, data, checksum=checksum_of(data), resource=resource, overwrite=False)
        gateway.remove(path, force=False)
        assert gateway.replicas(path) == []
        gateway.remove(path, force=False)
    kept = in_trash(gateway, path)
    assert sorted(rows[0].size for rows in kept.values()) == [5, 14]
    for kept_path in kept:
        gateway.verify(kept_path, size=kept[kept_path][0].size, checksum=kept[kept_path][0].checksum)
        gateway.remove(kept_path, force=True)


def test_a_registered_file_stays_where_it_is_in_the_trash_too(
    gateway: Gateway, home: str, resource: str, served: Path
) -> None:
    file = served / "registered"
    file.write_bytes(b"in place")
    gateway.register(f"{home}/r", str(file), 8, WHEN, resource=resource)
    gateway.remove(f"{home}/r", force=False)
    assert gateway.replicas(f"{home}/r") == []
    assert file.read_bytes() == b"in place"
    for path, rows in in_trash(gateway, f"{home}/r").items():
        assert [row.physical_path for row in rows] == [str(file)]
        gateway.remove(path, force=True)
    assert file.read_bytes() == b"in place"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (b"as longEr", {"rehash": "checksum_mismatch"}),
        (b"grown, longer", {"stat": "size_mismatch", "rehash": "size_mismatch"}),
        (b"cut", {"stat": "size_mismatch", "rehash": "size_mismatch"}),
        (None, {"stat": "missing_file", "rehash": "missing_file"}),
    ],
)
@pytest.mark.parametrize("level", ["catalog", "stat", "rehash"])
def test_a_registered_file_that_changed(
    gateway: Gateway,
    home: str,
    resource: str,
    served: Path,
    change: bytes | None,
    found: dict[str, str],
    level: VerifyLevel,
) -> None:
    before = b"as longer"
    rows = []
    for number in range(3):
        file = served / f"f{number}"
        file.write_bytes(before)
        rows.append(Registration(f"{home}/f{number}", str(file), len(before), WHEN, checksum_of(before)))
    assert gateway.register_many(rows, resource=resource) == [Done(checksum_of(before))] * 3
    changed = served / "f1"
    if change is None:
        changed.unlink()
    else:
        changed.write_bytes(change)
    wanted = [Expected(f"f{number}", len(before), checksum_of(before)) for number in range(3)]
    good, other, last = gateway.verify_many(home, wanted, level=level)
    assert good == last == Done(checksum_of(before), level)
    assert (other.error if isinstance(other, Mismatched) else None) == found.get(level)
    if level in found:
        with pytest.raises(Mismatch) as error:
            gateway.verify(f"{home}/f1", size=len(before), checksum=checksum_of(before), level=level)
        assert error.value.error == found[level]
