"""A source that is away in any way, with deletion switched on: nothing of it is deleted, and it goes on when it is back."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.world import World, eventually, hashes_of


def test_a_flat_source_of_a_few_files_is_away_in_every_way(world: World, source: Path) -> None:
    """So few that the guard alone would let them go."""
    real = source / "real"
    real.mkdir()
    for number in range(5):
        (real / f"f{number}").write_bytes(b"%d" % number)
    before = hashes_of(real)
    root = source / "link"
    root.symlink_to(real)
    world.start_job(root, "--delete-mode", "no_trash", "--rescan", "0.2", "--max-delete-percent", "100")
    world.start("watcher", "loader", "verifier")
    eventually("all are verified", lambda: world.counts() == {"verified": 5})
    log = world.logs / "watcher-0.log"

    def told() -> int:
        return "".join(file.read_text() for file in (log, world.logs / "loader-1.log")).count("is it mounted")

    empty = source / "empty"
    empty.mkdir()
    file = source / "file"
    file.touch()
    for instead in (source / "nowhere", file, empty):
        at = told()
        root.unlink()
        root.symlink_to(instead)
        eventually(f"{instead.name} is told", lambda at=at: told() > at)  # type: ignore[misc]
        assert world.held_by_irods() == before
        root.unlink()
        root.symlink_to(real)
        eventually(lambda: f"all are back: {world.counts()}", lambda: world.counts() == {"verified": 5}, 30)
    assert world.held_by_irods() == before
    (real / "f0").unlink()
    eventually("one that is gone is deleted", lambda: world.counts() == {"verified": 4, "deleted": 1}, 30)
    world.stop()
