"""Event handlers round whole jobs: other pods' files, pass events whose pod dies, and deletions."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.test_delete import in_trash
from tests.e2e.test_handlers import start
from tests.e2e.test_handlers_each import of_others, told
from tests.e2e.world import HANDLERS_FOLDER, World, eventually

PASS_EVENTS = """
def operation(session, meta, **options):
    return Operation.PUT_SYNC
def pre_job(hdlr_mod, logger, meta):
    with open(os.path.join(NOTES, "pre"), "a+") as notes:
        notes.write("begun\\n")
        notes.seek(0)
        first = len(notes.readlines()) == 1
    if first:
        time.sleep(100)
def post_job(hdlr_mod, logger, meta):
    with open(os.path.join(NOTES, "post"), "a") as notes:
        notes.write("begun\\n")
"""


def test_another_handler_is_refused_and_a_killed_pre_job_run_again(
    world: World, source: Path, folder: Path, tmp_path: Path
) -> None:
    notes, other = tmp_path / "notes", tmp_path / "other"
    notes.mkdir()
    other.mkdir()
    for number in range(10):
        (source / f"f{number}").write_bytes(b"x" * number)
    text = of_others(PASS_EVENTS).replace("NOTES", repr(str(notes)))
    start(world.with_short_leases(), source, folder, text)
    (other / "job.py").write_text(text + "# another one\n")

    world.environment[HANDLERS_FOLDER] = str(other)
    (refusing,) = world.start("loader")
    eventually("it is refused", lambda: "handler_refused" in (world.logs / f"{refusing}.log").read_text())
    world.environment[HANDLERS_FOLDER] = str(folder)
    (killed,) = world.start("loader")
    world.start("watcher", "verifier")
    eventually("pre_job is under way", lambda: (notes / "pre").exists())
    world.kill(killed)
    assert "loaded" not in world.counts()
    (last,) = world.start("loader")
    world.wait_finished()
    eventually("post_job has been run", lambda: (notes / "post").exists())
    world.stop()
    assert world.counts() == {"verified": 10}
    assert {line.load_pod for line in world.lines().values()} == {last}
    assert (notes / "pre").read_text().count("begun") == 2
    assert (notes / "post").read_text().count("begun") == 1


DELETIONS = """
def operation(session, meta, **options):
    return Operation.PUT_SYNC
def delete_mode(meta):
    return DeleteMode.TRASH
def pre_data_obj_delete(hdlr_mod, session, meta, **options):
    print("pre_data_obj_delete:[" + meta["target"] + "]", flush=True)
    if meta["path"].endswith("kept"):
        raise PermissionError("not this one")
def post_data_obj_delete(hdlr_mod, session, meta, **options):
    print("post_data_obj_delete:[" + meta["target"] + "]", flush=True)
def pre_coll_delete(hdlr_mod, session, meta, **options):
    print("pre_coll_delete:[" + meta["target"] + "]", flush=True)
def post_coll_delete(hdlr_mod, session, meta, **options):
    print("post_coll_delete:[" + meta["target"] + "]", flush=True)
"""


def test_deletions_are_told(world: World, source: Path, folder: Path) -> None:
    (source / "goes" / "deep").mkdir(parents=True)
    for name in ("stays", "kept", "goes/a", "goes/deep/b"):
        (source / name).write_bytes(name.encode())
    start(world, source, folder, of_others(DELETIONS), "--rescan", "0.3")
    world.start("watcher", "loader", "verifier")
    eventually("all are verified", lambda: world.counts() == {"verified": 4})
    (source / "kept").unlink()
    (source / "goes" / "a").unlink()
    (source / "goes" / "deep" / "b").unlink()
    (source / "goes" / "deep").rmdir()
    (source / "goes").rmdir()
    ends = {"stays": "verified", "kept": "dead", "goes/a": "deleted", "goes/deep/b": "deleted"}
    eventually(
        lambda: f"they are deleted: {world.lines()}",
        lambda: {line.path: line.state for line in world.lines().values()} == ends,
        30,
    )
    eventually("empty collections are gone", lambda: world.collections() == set())
    world.stop()
    assert world.lines()["kept"].error == "PermissionError"
    assert world.objects() == {"stays", "kept"}
    assert {"a", "b"} <= in_trash(world)
    objects = sorted(f"{world.target}/{name}" for name in ("goes/a", "goes/deep/b"))
    assert told(world, "post_data_obj_delete") == objects
    assert set(told(world, "pre_data_obj_delete")) == {*objects, f"{world.target}/kept"}
    for when in ("pre", "post"):
        assert told(world, f"{when}_coll_delete") == sorted(f"{world.target}/{name}" for name in ("goes", "goes/deep"))
