"""Unmounted sources and mass deletions over real pods: what must never be deleted, and what a person may let go."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.e2e.world import World, eventually, hashes_of

FILES = 60


def fill(source: Path) -> None:
    for number in range(FILES):
        file = source / f"volume{number % 3}" / f"d{number % 5}" / f"f{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number)
    (source / "beside").write_bytes(b"on the mount point's own disk")


def passes(world: World) -> int:
    with world.database.begin() as connection:
        return int(
            connection.exec_driver_sql("SELECT count(*) FROM inventory.pass WHERE finished_at IS NOT NULL").scalar_one()
        )


def test_a_volume_that_is_unmounted_deletes_nothing(world: World, source: Path) -> None:
    """The source itself is not empty without it; nor does a scan that is under way take its files for gone."""
    fill(source)
    before = hashes_of(source)
    world.start_job(source, "--delete-mode", "no_trash", "--rescan", "0.2")
    world.start("watcher", "loader", "verifier")
    eventually("all are verified", lambda: world.counts() == {"verified": FILES + 1})
    away = source.with_name(source.name + "-away")
    away.mkdir()
    try:
        for name in ("volume0", "volume1"):
            (source / name).rename(away / name)
            (source / name).mkdir()  # the empty mount point
        (source / "volume2").rename(away / "volume2")  # one that is gone altogether
        gone = lambda: world.counts().get("vanished") == FILES  # noqa: E731
        eventually(lambda: f"they have vanished: {world.counts()}", gone, 30)
        at = passes(world)
        eventually("more passes go by", lambda: passes(world) >= at + 3, 30)
        assert world.held_by_irods() == before
        assert {"volume0/d0", "volume1/d1", "volume2/d2"} <= world.collections()
        shown = json.loads(world.ingest("job", "show", "job", "--json").stdout)
        assert shown["held_deletes"] == FILES
        for name in ("volume0", "volume1", "volume2"):
            shutil.rmtree(source / name, ignore_errors=True)
            (away / name).rename(source / name)
    finally:
        shutil.rmtree(away)
    eventually(lambda: f"all are back: {world.counts()}", lambda: world.counts() == {"verified": FILES + 1}, 60)
    assert world.held_by_irods() == before
    world.stop()


def test_what_is_held_back_goes_when_a_person_confirms_it(world: World, source: Path) -> None:
    fill(source)
    world.start_job(source, "--delete-mode", "no_trash")
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    for name in ("volume0", "volume1"):
        shutil.rmtree(source / name)
    assert world.ingest("job", "rescan", "job").returncode == 0
    world.wait_finished()
    shown = world.ingest("job", "show", "job").stdout
    assert "40 held back" in shown
    assert len(world.objects()) == FILES + 1
    assert world.ingest("job", "confirm-deletes", "job").returncode == 2  # nobody to ask
    assert world.ingest("job", "confirm-deletes", "job", "--yes").returncode == 0
    eventually(lambda: f"they are deleted: {world.counts()}", lambda: world.counts().get("deleted") == 40, 30)
    world.wait_finished()
    assert world.held_by_irods() == hashes_of(source)
    assert not any(name.startswith(("volume0", "volume1")) for name in world.collections())
    assert world.ingest("job", "confirm-deletes", "job", "--yes").returncode == 2
    world.stop()


def test_grace_sentinel_and_reverification_are_changed_while_a_job_runs(world: World, source: Path) -> None:
    fill(source)
    settings = ("--delete-mode", "no_trash", "--rescan", "0.3", "--max-delete-percent", "100")
    world.start_job(source, *settings, "--delete-after", "3600")
    world.start("watcher", "loader", "verifier")
    eventually("all are verified", lambda: world.counts() == {"verified": FILES + 1})
    for options, words in (
        (("--sentinel", "nowhere"), "no nowhere"),
        (("--sentinel", "../beside"), "../beside"),
        (("--delete-after", "-1"), "delete_after_seconds"),
        (("--delete-after", "inf"), "delete_after_seconds"),
        (("--reverify-days", "-1"), "reverify_days"),
    ):
        refused = world.ingest("job", "set", "job", *options)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
        assert words in refused.stderr
    shutil.rmtree(source / "volume0")
    eventually("they have vanished", lambda: world.counts().get("vanished") == 20)
    # the sentinel first: with it gone, nothing is deleted whatever the time of grace
    assert world.ingest("job", "set", "job", "--sentinel", "beside").returncode == 0
    (source / "beside").rename(source / "aside")
    assert world.ingest("job", "set", "job", "--delete-after", "0").returncode == 0
    log = world.logs / "watcher-0.log"
    eventually("the watcher misses the sentinel", lambda: "sentinel_missing" in log.read_text())
    assert len(world.objects() - {"aside"}) == FILES + 1  # a listing under way may have found that one
    (source / "aside").rename(source / "beside")
    eventually(lambda: f"they are deleted: {world.counts()}", lambda: world.counts().get("deleted", 0) >= 20, 30)
    # one that a listing under way had found may still be going
    eventually("iRODS has what the source has", lambda: world.objects() == set(hashes_of(source)))
    assert world.held_by_irods() == hashes_of(source)
    done = world.ingest("job", "set", "job", "--sentinel", "", "--reverify-days", "0.00001", "--reverify-level", "stat")
    assert done.stdout.strip() == "job job: sentinel none, reverify_days 1e-05, reverify_level stat"
    eventually("all are verified again", lambda: at_level(world, "s") == FILES - 19)
    world.stop()


def at_level(world: World, level: str) -> int:
    with world.database.begin() as connection:
        counted = "SELECT count(*) FROM inventory.file WHERE state = 'verified' AND verify_level = %s"
        return int(connection.exec_driver_sql(counted, (level,)).scalar_one())


def test_excluded_files_keep_their_objects(world: World, source: Path) -> None:
    """Also those that are gone, and those that had been cleared for deletion before they were excluded."""
    fill(source)
    world.start_job(source, "--delete-mode", "no_trash", "--exclude", "volume2/", "--max-delete-percent", "100")
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    assert len(world.objects()) == 41
    assert world.ingest("job", "set", "job", "--exclude", "volume1/", "--exclude", "volume2/").returncode == 0
    shutil.rmtree(source / "volume0" / "d0")
    shutil.rmtree(source / "volume1")
    assert world.ingest("job", "rescan", "job").returncode == 0
    world.wait_finished()
    kept = world.objects()
    assert not any(path.startswith("volume0/d0/") for path in kept)
    assert len([path for path in kept if path.startswith("volume1/")]) == 20
    world.stop()
