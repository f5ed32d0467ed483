"""Every operation with every delete mode, as an event handler answers them: refused at the start, or done to the end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from irods.column import Like
from irods.models import Collection, DataObject

from core.errors import UsageError
from core.irods import Gateway
from inventory import jobs
from tests.e2e.many import Many, handler
from tests.e2e.world import World

ALLOWED = {
    "no_op": ("do_not_delete",),
    "put": ("do_not_delete",),
    "register_sync": ("do_not_delete", "unregister"),
    "register_as_replica_sync": ("do_not_delete", "unregister"),
    "put_sync": ("do_not_delete", "trash", "no_trash"),
    "put_append": ("do_not_delete", "trash", "no_trash"),
}
MODES = ("do_not_delete", "unregister", "trash", "no_trash")
REFUSED = [(operation, mode) for operation in ALLOWED for mode in MODES if mode not in ALLOWED[operation]]
TREE = (
    "stays/a", "emptied/b", "emptied/c", "some/d", "some/e", "gone/f", "gone/deep/er/g", ".git/x", "git/y", ".hid/z", "top", "left",
)  # fmt: skip
KEPT = {"stays/a", "some/d", ".git/x", "left"}


@pytest.fixture
def many(world: World, folder: Path) -> Many:
    return Many(world, folder)


def says(operation: str, mode: str, copies: Path | None = None) -> str:
    return handler(
        operation=f"Operation.{operation.upper()}",
        delete_mode=f"DeleteMode.{mode.upper()}",
        to_resource="'demoResc'" if operation == "register_as_replica_sync" else None,
        target_path=f"meta['path'].replace({str(copies.parent)!r}, {str(copies)!r})" if copies else None,
    )


def trashed(world: World) -> set[str]:
    """What lies in the user's trash of the world's target, by its path below that."""
    irods = world.settings.irods
    trash = f"/{irods.zone}/trash/home/{irods.user}/{world.target.rsplit('/', 1)[1]}/"
    with world.irods() as session:
        rows = session.query(Collection.name, DataObject.name).filter(Like(Collection.name, f"{trash}%"))
        return {f"{row[Collection.name]}/{row[DataObject.name]}".removeprefix(trash) for row in rows}


def test_what_does_not_go_together_is_refused_before_anything_is_made(many: Many, source: Path) -> None:
    (source / "a").touch()
    assert len(REFUSED) == 12
    for operation, mode in REFUSED:
        with pytest.raises(UsageError, match=f"wants operation {operation} with delete mode {mode}"):
            many.begin(f"{operation}-{mode}", source, says(operation, mode))
    assert jobs.listed(many.world.database) == []
    with Gateway(many.world.settings.irods) as gateway:
        assert not gateway.has_collection(many.world.target)


def test_what_is_gone_from_the_source_follows_the_mode(many: Many, source: Path) -> None:
    names = [f"{operation}-{mode}" for operation, modes in ALLOWED.items() for mode in modes]
    registered = [name for name in names if name.startswith("register")]
    for name in names:
        for path in TREE:
            file = source / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"{name}/{path}".encode())
        copies = source / "copies" if name in registered else None
        many.begin(name, source / name, says(*name.split("-"), copies), max_delete_percent=100)
    for name in registered:  # so that it is seen what becomes of the registered bytes
        shutil.copytree(source / name, source / "copies" / name)
    many.world.start("watcher", "loader", "verifier")
    many.finished(names)
    with_objects = [name for name in names if not name.startswith("no_op-")]
    assert many.states(with_objects) == {name: {"verified": len(TREE)} for name in with_objects}
    before = many.world.objects()
    assert before == {f"{name}/{path}" for name in with_objects for path in TREE}
    vault = many.world.physical_path("put_sync-no_trash/gone/f")
    for name in names:
        for path in set(TREE) - KEPT:
            (source / name / path).unlink()
        for path in ("gone", "git", ".hid"):
            shutil.rmtree(source / name / path)
    many.rescan(names)
    objects, collections = many.world.objects(), many.world.collections()
    every = {parent for path in TREE for parent in (path.rpartition("/")[0], path.split("/")[0]) if "/" in path}
    every |= {"gone/deep"}
    for name in with_objects:
        stays = "do_not_delete" in name
        gone = "vanished" if stays else "deleted"
        assert many.states([name]) == {name: {"verified": len(KEPT), gone: len(TREE) - len(KEPT)}}
        assert {path for path in objects if path.startswith(f"{name}/")} == {
            f"{name}/{path}" for path in (TREE if stays else KEPT)
        }
        # what is still a directory keeps its collection, however empty
        here = {path.removeprefix(f"{name}/") for path in collections if path.startswith(f"{name}/")}
        assert here == (every if stays else {"stays", "emptied", "some", ".git"}), name
    assert trashed(many.world) == {
        f"{name}/{path}" for name in names if name.endswith("-trash") for path in set(TREE) - KEPT
    }
    assert not vault.exists()
    for name in registered:
        for path in TREE:
            assert (source / "copies" / name / path).read_bytes() == f"{name}/{path}".encode()
    many.world.stop()
