"""What becomes of the object of a file that is gone from the source."""

from __future__ import annotations

from pathlib import Path

import pytest
from irods.models import Collection, DataObject

from core.irods import Gateway
from tests.e2e.world import World, eventually, hashes_of


def in_trash(world: World) -> set[str]:
    """Names of the data objects in the user's trash that came from below the target."""
    irods = world.settings.irods
    trash = f"/{irods.zone}/trash/home/{irods.user}/{world.target.rsplit('/', 1)[1]}"
    with world.irods() as session:
        rows = session.query(Collection.name, DataObject.name)
        return {row[DataObject.name] for row in rows if f"{row[Collection.name]}/".startswith(f"{trash}/")}


def tree(source: Path) -> None:
    for name in ("stays/a", "goes/b", "goes/deeper/c", "keeps/d", ".git/x", "git/y"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        ("put_sync", "no_trash"),
        ("put_sync", "trash"),
        ("put_sync", "do_not_delete"),
        ("register_sync", "unregister"),
        ("register_sync", "do_not_delete"),
    ],
)
def test_objects_and_collections_follow_the_delete_mode(world: World, source: Path, operation: str, mode: str) -> None:
    tree(source)
    world.start_job(source, "--operation", operation, "--delete-mode", mode, "--rescan", "0.3")
    world.start("watcher", "loader", "verifier")
    eventually("all are verified", lambda: world.counts() == {"verified": 6})
    before = world.objects()
    physical = world.physical_path("goes/b")
    (source / "goes" / "b").rename(source / "goes" / "deeper" / "moved")  # a rename is one gone and one new
    (source / "goes" / "deeper" / "c").unlink()
    (source / "keeps" / "d").unlink()
    (source / "git" / "y").unlink()
    (source / "git").rmdir()
    (source / "goes" / "deeper" / "moved").unlink()
    (source / "goes" / "deeper").rmdir()
    (source / "goes").rmdir()
    gone = "vanished" if mode == "do_not_delete" else "deleted"
    ends = ({"verified": 2, gone: 4}, {"verified": 2, gone: 5})  # with or without a look at the file that was moved
    eventually(lambda: f"they are {gone}: {world.counts()}", lambda: world.counts() in ends, 30)
    if mode == "do_not_delete":
        assert world.objects() == before
    else:
        assert world.held_by_irods() == hashes_of(source)
        eventually("empty collections are gone", lambda: world.collections() == {"stays", "keeps", ".git"})
    # a directory that is there keeps its collection, and a file in place is never touched
    assert {"b", "c", "d", "y"} <= in_trash(world) if mode == "trash" else not in_trash(world)
    if operation == "put_sync":
        assert physical.exists() == (mode == "do_not_delete")
    world.stop()


def test_an_object_of_somebody_else_keeps_its_collection(world: World, source: Path) -> None:
    tree(source)
    world.start_job(source, "--delete-mode", "no_trash", "--rescan", "0.3")
    world.start("watcher", "loader", "verifier")
    eventually("all are verified", lambda: world.counts() == {"verified": 6})
    with Gateway(world.settings.irods) as gateway:
        gateway.make_collections(f"{world.target}/goes/theirs", set())
    for name in ("b", "deeper/c"):
        (source / "goes" / name).unlink()
    (source / "goes" / "deeper").rmdir()
    (source / "goes").rmdir()
    eventually("ours are gone", lambda: world.counts() == {"verified": 4, "deleted": 2})
    eventually("ours is gone", lambda: "goes/deeper" not in world.collections())
    assert {"goes", "goes/theirs"} <= world.collections()
    world.stop()


def test_nothing_is_deleted_while_the_source_is_away(world: World, source: Path) -> None:
    tree(source)
    world.start_job(source, "--delete-mode", "no_trash", "--rescan", "0.2")
    world.start("watcher", "loader", "verifier")
    eventually("all are verified", lambda: world.counts() == {"verified": 6})
    away = source.with_name(source.name + "-away")
    source.rename(away)
    source.mkdir()  # an empty mount point
    log = world.logs / "watcher-0.log"
    eventually("the watcher says so", lambda: "is it mounted" in log.read_text())
    assert world.counts() == {"verified": 6}
    source.rmdir()
    away.rename(source)
    (source / "new").write_bytes(b"new")
    eventually("it goes on", lambda: world.counts() == {"verified": 7})
    world.stop()
