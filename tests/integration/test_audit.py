"""An audit finds what is wrong, and does not take work in flight for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from core.compare import Held
from core.handlers.names import CharacterMap
from core.outcome import Done
from core.sources.filesystem import FilesystemSource
from inventory import jobs
from inventory.audit import Audit, Finding
from inventory.claims import Result
from tests.integration.inventory_world import World

TARGET = "/tempZone/home/rods"


class Listings:
    """A catalogue of a few objects; `meanwhile` is done right after a collection was listed."""

    def __init__(self, objects: dict[str, int], meanwhile: Callable[[], None] = lambda: None) -> None:
        self.objects = objects
        self.meanwhile = meanwhile

    def collections_below(self, collection: str) -> Iterator[str]:
        known = {path.rpartition("/")[0] for path in self.objects} | {TARGET}
        yield from sorted(path for path in known if f"{path}/".startswith(f"{collection}/"))

    def objects_in(self, collection: str) -> Iterator[Held]:
        inside = {
            path.rpartition("/")[2]: size
            for path, size in self.objects.items()
            if path.rpartition("/")[0] == collection
        }
        self.meanwhile()
        yield from (Held(name, (size,), (), 1) for name, size in sorted(inside.items()))


def fill(world: World, source: Path, *names: str, size: int = 3) -> None:
    """Files at the source, scanned and loaded."""
    for name in names:
        (source / name).write_bytes(b"x" * size)
    world.scan(list(FilesystemSource(str(source)).scan("")))
    worker = world.worker()
    world.finish(worker, [Result(file, Done("sha2:x")) for file in world.claim(worker)])


def run(
    world: World, source: Path, catalogue: Listings, names: Callable[[str], str] | None = None
) -> tuple[list[Finding], Audit]:
    [job] = jobs.listed(world.database)
    job = replace(job, source_url=f"file://{source}")
    audit = Audit(world.database, job, FilesystemSource(str(source)), catalogue, names=names)
    return list(audit.findings()), audit


def kinds(findings: list[Finding]) -> dict[str, str]:
    return {finding.path: finding.kind for finding in findings}


def test_all_three_agree(world: World, tmp_path: Path) -> None:
    fill(world, tmp_path, "a", "b", "ü", "Z")
    findings, audit = run(world, tmp_path, Listings({f"{TARGET}/{name}": 3 for name in ("a", "b", "ü", "Z")}))
    assert findings == []
    assert (audit.totals.source_files, audit.totals.source_bytes, audit.totals.objects) == (4, 12, 4)
    assert dict(audit.totals.inventory) == {"loaded": 4}


def test_each_disagreement_has_its_name(world: World, tmp_path: Path) -> None:
    fill(world, tmp_path, "good", "missing", "short", "gone", "stale")
    (tmp_path / "gone").unlink()
    (tmp_path / "stale").write_bytes(b"longer than before")
    (tmp_path / "new").touch()
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "deep").touch()
    objects = dict.fromkeys(("good", "gone", "stale", "dark", "attic/old"), 3) | {"short": 2}
    findings, audit = run(world, tmp_path, Listings({f"{TARGET}/{name}": size for name, size in objects.items()}))
    assert kinds(findings) == {
        "missing": "missing", "short": "size_differs", "gone": "gone", "stale": "stale", "new": "missed", "newer/": "missed",
        "newer/deep": "missed", "dark": "dark", "attic/": "dark", "attic/old": "dark",
    }  # fmt: skip
    assert audit.totals.faults == 10


def test_mapped_names_are_those_of_the_objects(world: World, tmp_path: Path) -> None:
    """By a map that turns the order of the names around: what is at the source is paired with what it is called in iRODS."""
    names = CharacterMap({"a": "z", "z": "b", " ": "_"}).path
    (tmp_path / "a dir").mkdir()
    fill(world, tmp_path, "a", "m m", "z", "lost a")
    world.scan(list(FilesystemSource(str(tmp_path)).scan("a dir")), path="a dir")
    objects = {f"{TARGET}/{names(name)}": 3 for name in ("a", "m m", "z")}
    findings, audit = run(
        world, tmp_path, Listings(objects | {f"{TARGET}/a": 3, f"{TARGET}/{names('a dir')}/x": 3}), names
    )
    assert kinds(findings) == {"lost a": "missing", "a": "dark", "a dir/x": "dark"}
    assert (audit.totals.source_files, audit.totals.objects) == (4, 5)


def test_what_the_next_scan_sees_is_in_flight(worlds: Callable[..., World], tmp_path: Path) -> None:
    world = worlds(rescan_seconds=3600)
    fill(world, tmp_path, "gone", "stale")
    (tmp_path / "gone").unlink()
    (tmp_path / "stale").write_bytes(b"longer than before")
    (tmp_path / "new").touch()
    findings, audit = run(world, tmp_path, Listings({f"{TARGET}/{name}": 3 for name in ("gone", "stale")}))
    assert kinds(findings) == dict.fromkeys(("gone", "stale", "new"), "in_flight")
    assert audit.totals.faults == 0


def test_work_in_flight_is_no_false_alarm(world: World, tmp_path: Path) -> None:
    fill(world, tmp_path, "loaded", "deleted")
    (tmp_path / "fresh").touch()
    listings = Listings({f"{TARGET}/{name}": 3 for name in ("loaded", "deleted", "fresh")})
    del listings.objects[f"{TARGET}/loaded"]

    def meanwhile() -> None:
        # while source and iRODS are listed, a pod finds the fresh file, and others load and delete
        world.scan(list(FilesystemSource(str(tmp_path)).scan("")))
        world.execute("UPDATE inventory.file SET generation = generation + 1 WHERE name = 'loaded'")
        listings.meanwhile = lambda: None

    listings.meanwhile = meanwhile
    findings, audit = run(world, tmp_path, listings)
    assert kinds(findings) == {"loaded": "in_flight", "fresh": "in_flight"}
    assert audit.totals.faults == 0


def test_an_unreadable_directory_is_told_and_its_files_are_not_gone(world: World, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    fill(world, source, "a")
    (source / "a").unlink()
    source.rmdir()
    os.symlink(source.name, source)  # a circle: ELOOP
    findings, _ = run(world, source, Listings({}))
    assert kinds(findings) == {"/": "unreadable"}


def test_a_part_of_a_job(world: World, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    fill(world, tmp_path, "a")
    (tmp_path / "sub" / "b").touch()
    world.scan(list(FilesystemSource(str(tmp_path)).scan("sub")), path="sub")
    (tmp_path / "sub" / "b").unlink()
    [job] = jobs.listed(world.database)
    listings = Listings({f"{TARGET}/{name}": 1 for name in ("sub/dark", "dark")})
    audit = Audit(world.database, job, FilesystemSource(str(tmp_path)), listings, "sub")
    assert kinds(list(audit.findings())) == {"sub/b": "gone", "sub/dark": "dark"}
