"""Event handlers at work: real pods, real helper processes, and handlers that do what handlers of people do."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.world import World, eventually


def start(world: World, source: Path, folder: Path, text: str, *options: str, name: str = "job") -> None:
    (folder / f"{name}.py").write_text(text)
    world.start_job(source, "--event-handler", str(folder / f"{name}.py"), *options, name=name)


PEPS = """
from irods_capability_automated_ingest.core import Core
from irods_capability_automated_ingest.utils import Operation

class event_handler(Core):
    @staticmethod
    def operation(session, meta, **options):
        return Operation.PUT_SYNC
"""
for _event in ("data_obj_create", "data_obj_modify", "coll_create", "coll_modify"):
    for _when in ("pre", "post"):
        PEPS += f"""
    @staticmethod
    def {_when}_{_event}(hdlr_mod, logger, session, meta, *args, **options):
        logger.info("{_when}_{_event}:[" + meta["target"] + "]")
"""


def test_each_event_comes_once(world: World, source: Path, folder: Path) -> None:
    (source / "empty").mkdir()
    (source / "sub" / "deep").mkdir(parents=True)
    (source / "a").write_bytes(b"a")
    (source / "sub" / "deep" / "b").write_bytes(b"b")
    start(world, source, folder, PEPS)
    world.start("watcher", "loader", "loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"verified": 2}

    def told(event: str) -> list[str]:
        text = "".join(log.read_text() for log in world.logs.glob("loader*.log"))
        return sorted(line.split("]")[0] for line in text.split(f"{event}:[")[1:])

    files = sorted(f"{world.target}/{path}" for path in ("a", "sub/deep/b"))
    collections = sorted([world.target, *(f"{world.target}/{path}" for path in ("empty", "sub", "sub/deep"))])
    for when in ("pre", "post"):
        assert told(f"{when}_data_obj_create") == files
        assert told(f"{when}_coll_create") == collections
        assert told(f"{when}_data_obj_modify") == told(f"{when}_coll_modify") == []
    (source / "a").write_bytes(b"longer")
    assert world.ingest("job", "rescan", "job").returncode == 0
    eventually("it is verified again", lambda: world.lines()["a"].generation == 2 and world.counts() == {"verified": 2})
    world.wait_finished()
    for when in ("pre", "post"):
        assert told(f"{when}_data_obj_create") == files
        assert told(f"{when}_data_obj_modify") == [f"{world.target}/a"]
        assert told(f"{when}_coll_modify") == collections
    world.stop()
