"""Filters and sentinel over a real tree: what is left out is neither brought in nor taken for gone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import Outage, Vanished
from core.settings import JobSettings
from core.sources.base import EXCLUDED
from core.sources.filesystem import FilesystemSource
from core.sources.selection import selected
from inventory import jobs
from tests.integration.inventory_world import World
from tests.integration.test_watching import Watched


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/one.txt", "a/two.tmp", "b/c/three.txt", "b/c/four.tmp", ".git/five", "six.txt"):
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * len(name))
    return tmp_path / "tree"


def names(world: World) -> list[str]:
    return sorted(name for name, state in world.rows() if state != "vanished")


def change(watched: Watched, **settings: Any) -> None:
    """Change the filters of a running job, and have it look anew."""
    changes = JobSettings.model_validate(settings).model_dump(mode="json")
    jobs.set_settings(watched.world.database, watched.job.id, {key: changes[key] for key in settings})
    jobs.rescan(watched.world.database, watched.job.id)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"exclude": ["*.tmp"]}, ["five", "one.txt", "six.txt", "three.txt"]),
        ({"exclude": ["b/"], "hidden_files": False}, ["one.txt", "six.txt", "two.tmp"]),
        ({"include": ["*.txt"]}, ["one.txt", "six.txt", "three.txt"]),
        ({"max_bytes": 9}, ["five", "one.txt", "six.txt", "two.tmp"]),
    ],
)
def test_only_what_is_taken_is_found(world: World, tree: Path, settings: dict[str, Any], found: list[str]) -> None:
    watched = Watched(world, FilesystemSource(str(tree)), **settings)
    watched.turn(watched.watcher())
    assert names(world) == found


def test_an_excluded_directory_is_not_descended_into(world: World, tree: Path) -> None:
    listed: list[str] = []

    class Noting(FilesystemSource):
        def scan(self, directory: str) -> Any:
            listed.append(directory)
            return super().scan(directory)

    watched = Watched(world, Noting(str(tree)), exclude=["b/"])
    watched.turn(watched.watcher())
    assert sorted(listed) == ["", ".git", "a"]


@pytest.mark.parametrize("rows", [20_000, 2])
@pytest.mark.parametrize(
    "settings",
    [{"exclude": ["*.tmp", "c/"]}, {"exclude_regex": ["one|c|two"]}, {"max_bytes": 1}, {"include": ["nothing"]},
     {"hidden_files": False}, {"max_age_seconds": 1}, {"exclude_types": ["regular"]}, {"exclude_types": ["directory"]}],
)  # fmt: skip
def test_what_has_become_excluded_does_not_vanish(
    world: World, tree: Path, settings: dict[str, Any], rows: int
) -> None:
    """Neither what is still there nor, where its name says so, what is gone."""
    for path in tree.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    watched = Watched(world, FilesystemSource(str(tree)))
    watcher = watched.watcher(rows=rows)
    watched.turn(watcher)
    before = world.rows("name, state, generation")
    change(watched, **settings)
    (tree / "new.bin").write_bytes(b"x" * 100)  # or the listing is the last one, and nothing is compared
    watched.again(watched.watcher(rows=rows))
    assert [row for row in world.rows("name, state, generation") if row[0] != "new.bin"] == before


def test_what_is_excluded_by_name_does_not_vanish_when_it_is_gone(world: World, tree: Path) -> None:
    watched = Watched(world, FilesystemSource(str(tree)))
    watched.turn(watched.watcher())
    change(watched, exclude=["*.tmp", "c/"])
    (tree / "a/two.tmp").unlink()
    (tree / "a/one.txt").unlink()
    for file in (tree / "b/c").iterdir():
        file.unlink()
    (tree / "b/c").rmdir()
    watched.again(watched.watcher())
    assert [name for name, state in world.rows() if state == "vanished"] == ["one.txt"]


def test_filters_that_are_lifted_find_what_they_had_left_out(world: World, tree: Path) -> None:
    watched = Watched(world, FilesystemSource(str(tree)), exclude=["b/", "*.tmp"])
    watched.turn(watched.watcher())
    change(watched, exclude=[])
    watched.again(watched.watcher())
    assert names(world) == ["five", "four.tmp", "one.txt", "six.txt", "three.txt", "two.tmp"]


def test_nothing_vanishes_without_the_sentinel(world: World, tree: Path) -> None:
    (tree / ".mounted").touch()
    watched = Watched(world, FilesystemSource(str(tree)), sentinel=".mounted")
    watched.turn(watched.watcher())
    (tree / ".mounted").unlink()  # as on a mount point that has files of its own
    (tree / "a/one.txt").unlink()
    for file in (tree / "b/c").iterdir():
        file.unlink()
    (tree / "b/c").rmdir()
    watched.again(watched.watcher())
    assert "vanished" not in world.counts()
    assert world.one("SELECT count(*) FROM inventory.failure WHERE error = 'sentinel_missing'") >= 1
    (tree / ".mounted").touch()
    jobs.rescan(world.database, watched.job.id)
    watched.again(watched.watcher())
    assert world.counts()["vanished"] == 3


def test_a_file_that_is_gone_with_the_sentinel_is_an_outage(tree: Path) -> None:
    source = selected(FilesystemSource(str(tree)), JobSettings(sentinel="six.txt"))
    with pytest.raises(Vanished):
        source.open("none")
    (tree / "six.txt").unlink()
    with pytest.raises(Outage, match=r"six\.txt"):
        source.open("none")
    with pytest.raises(Outage, match=r"six\.txt"):
        list(source.scan("none"))


def swap(tree: Path) -> None:
    tree.rename(tree.with_name("away"))
    tree.mkdir()


def cover(tree: Path) -> None:
    (tree / "a").rename(tree / "covered")
    (tree / "a").mkdir()


@pytest.mark.parametrize("unmount", [swap, cover])
def test_a_listing_is_of_the_directory_that_was_opened(tree: Path, unmount: Callable[[Path], None]) -> None:
    """By path all names would be gone by now, and the directory would seem to be empty."""
    entries = FilesystemSource(str(tree)).scan("a")
    first = next(entries)
    unmount(tree)
    assert {first.name, *(entry.name for entry in entries)} == {"one.txt", "two.tmp"}


def test_a_directory_that_has_become_a_link_is_gone(tree: Path) -> None:
    (tree / "a").rename(tree.with_name("outside"))
    (tree / "a").symlink_to(tree.with_name("outside"))
    with pytest.raises(Vanished):
        list(FilesystemSource(str(tree)).scan("a"))


def test_links_are_followed_inside_of_the_source_and_never_in_a_circle(world: World, tree: Path) -> None:
    outside = tree.with_name("outside")
    outside.mkdir()
    (outside / "secret").touch()
    (tree / "to_file").symlink_to(tree / "six.txt")
    (tree / "to_dir").symlink_to("b")
    (tree / "b/c/up").symlink_to("..")
    (tree / "a/across").symlink_to("../b")
    (tree / "b/back").symlink_to("../a")
    (tree / "root").symlink_to(tree)
    (tree / "out").symlink_to(outside)
    (tree / "out_file").symlink_to(outside / "secret")
    (tree / "dangling").symlink_to("nowhere")
    watched = Watched(world, FilesystemSource(str(tree)), symlinks="follow")
    watched.turn(watched.watcher())
    kinds = {
        f"{path}/{name}" if path else name: kind
        for path, name, kind in _all(world)
    }  # fmt: skip
    assert (kinds["to_file"], kinds["to_dir/c/three.txt"], kinds["a/across/c/three.txt"]) == ("f", "f", "f")
    assert {kinds[name] for name in ("b/c/up", "root", "out", "out_file", "dangling", "a/across/back")} == {"l"}
    assert not any("secret" in path for path in kinds)
    source = selected(FilesystemSource(str(tree)), watched.job.settings)
    opened = source.open("to_file")
    assert opened.read_at(0, 10) == b"x" * 7
    assert opened.stat().size == 7
    opened.close()
    with pytest.raises(Vanished, match="leads out"):
        source.open("out_file")


def _all(world: World) -> list[tuple[str, str, str]]:
    with world.database.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT d.path, f.name, f.kind FROM inventory.file f JOIN inventory.directory d ON d.id = f.directory_id"
        )
        return [tuple(row) for row in rows]


def test_links_that_are_skipped_leave_no_row(world: World, tree: Path) -> None:
    (tree / "link").symlink_to("six.txt")
    watched = Watched(world, FilesystemSource(str(tree)), symlinks="skip")
    watched.turn(watched.watcher())
    assert "link" not in names(world)


def test_excluded_names_are_told_from_others(tree: Path) -> None:
    source = selected(FilesystemSource(str(tree)), JobSettings(exclude=("*.txt",)))
    assert {entry.name: entry.kind for entry in source.scan("")}["six.txt"] == EXCLUDED
