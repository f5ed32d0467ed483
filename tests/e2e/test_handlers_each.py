"""What event handlers say of each file, at work: limits, operations, resources, paths, users, names, metadata."""

from __future__ import annotations

import json
import os
import shutil
import textwrap
import uuid
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from irods.access import iRODSAccess
from PIL import Image

from core.checksums import checksum_of
from core.irods import Gateway
from tests.e2e.test_handlers import start
from tests.e2e.world import PROJECT, World, eventually, hashes_of

OTHERS = """
import os, re, time
from irods.meta import iRODSMeta
from irods.models import DataObject
from irods_capability_automated_ingest.core import Core
from irods_capability_automated_ingest.utils import DeleteMode, Operation

class event_handler(Core):
"""


def of_others(text: str) -> str:
    """A handler in the style of automated ingest, with these methods."""
    methods = textwrap.dedent(text).replace("\ndef ", "\n@staticmethod\ndef ")
    return OTHERS + textwrap.indent(methods, "    ")


def told(world: World, event: str, pods: str = "loader*") -> list[str]:
    """What a handler has written as `event:[…]`, sorted."""
    text = "".join(log.read_text() for log in world.logs.glob(f"{pods}.log"))
    return sorted(line.split("]")[0] for line in text.split(f"{event}:[")[1:])


@pytest.fixture
def tree(world: World, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Resources: random root; passthru middle; two unixfilesystem leaves. Gone after the world's target."""
    tag = uuid.uuid4().hex[:8]
    names = {name: f"{name}{tag}" for name in ("root", "middle", "one", "two")}
    with world.irods() as session:
        demo = session.resources.get("demoResc")
        for name, kind in (("root", "random"), ("middle", "passthru")):
            session.resources.create(names[name], kind)
        session.resources.add_child(names["root"], names["middle"])
        for name, parent in (("one", "middle"), ("two", "root")):
            vault = (
                f"{demo.vault_path}/vaults/{names[name]}"
                if "IRODS_ENVIRONMENT_FILE" in os.environ
                else str(tmp_path / names[name])
            )
            session.resources.create(names[name], "unixfilesystem", demo.location, vault)
            session.resources.add_child(names[parent], names[name])
    yield names
    for pod in world.pods.values():
        pod.kill()
        pod.wait()
    with Gateway(world.settings.irods) as gateway:
        gateway.remove_collection(world.target)
    with world.irods() as session:
        for name, parent in (("two", "root"), ("one", "middle"), ("middle", "root")):
            session.resources.remove_child(names[parent], names[name])
        for name in names.values():
            session.resources.remove(name)


def test_limits_of_an_attempt(world: World, source: Path, folder: Path, tmp_path: Path, tree: dict[str, str]) -> None:
    for name in ("hangs0", "hangs1", "fails0", "fails1", "flaky0", "flaky1", "leaf", "middle", "root", "good"):
        (source / name).write_bytes(name.encode())
    handler = """
    def operation(session, meta, **options):
        return Operation.PUT
    def to_resource(session, meta, **options):
        return TREE.get(os.path.basename(meta["path"]))
    def timeout(hdlr_mod, logger, meta):
        return 1 if "hangs" in meta["path"] else 60
    def max_retries(hdlr_mod, logger, meta):
        return 2 if "fails" not in meta["path"] and "hangs" not in meta["path"] else 0
    def delay(hdlr_mod, logger, meta, retries):
        return 1.5
    def pre_data_obj_create(hdlr_mod, logger, session, meta, **options):
        name = os.path.basename(meta["path"])
        with open(os.path.join(NOTES, name), "a+") as notes:
            notes.write(f"{time.time()}\\n")
            notes.seek(0)
            first = len(notes.readlines()) == 1
        if name.startswith("hangs"):
            time.sleep(100)
        if name.startswith("fails") or name.startswith("flaky") and first:
            raise LookupError("not to be had")
    def post_data_obj_create(hdlr_mod, logger, session, meta, **options):
        logger.info("made:[" + os.path.basename(meta["path"]) + "]")
    """
    notes = tmp_path / "notes"
    notes.mkdir()
    resources = {"leaf": tree["two"], "middle": tree["middle"], "root": tree["root"]}
    text = of_others(handler).replace("TREE", repr(resources)).replace("NOTES", repr(str(notes)))
    start(world, source, folder, text)
    world.start("watcher", "loader", "loader", "verifier")
    world.wait_finished()
    world.stop()
    lines = world.lines()
    states = {name: line.state for name, line in lines.items()}
    good = {"flaky0", "flaky1", "root", "good"}
    assert states == {name: "verified" if name in good else "dead" for name in lines}
    assert {name: line.error for name, line in lines.items() if name not in good} == {
        **dict.fromkeys(("hangs0", "hangs1"), "timeout"),
        **dict.fromkeys(("fails0", "fails1"), "LookupError"),
        **dict.fromkeys(("leaf", "middle"), "DIRECT_CHILD_ACCESS"),
    }
    attempts = {file.name: [float(line) for line in file.read_text().splitlines()] for file in notes.iterdir()}
    assert {name: len(times) for name, times in attempts.items()} == {
        name: 2 if name.startswith("flaky") else 1 for name in lines
    }
    for first, second in (attempts["flaky0"], attempts["flaky1"]):
        assert second - first >= 1.5
    assert told(world, "made") == sorted(good)
    assert world.objects() == good


def test_each_operation_tells_of_changes(world: World, source: Path, folder: Path, tree: dict[str, str]) -> None:
    operations = ("put", "put_sync", "put_append", "register_sync", "register_as_replica_sync", "no_op")
    for name in operations:
        (source / name).write_bytes(b"old")
    handler = """
    def operation(session, meta, **options):
        return getattr(Operation, os.path.basename(meta["path"]).upper(), Operation.PUT_SYNC)
    def to_resource(session, meta, **options):
        return TREE.get(os.path.basename(meta["path"]))
    def pre_data_obj_modify(hdlr_mod, logger, session, meta, **options):
        logger.info("pre_modify:[" + os.path.basename(meta["path"]) + "]")
    def post_data_obj_modify(hdlr_mod, logger, session, meta, **options):
        session.metadata.set(DataObject, meta["target"], iRODSMeta("hook", "modified"))
    def pre_data_obj_create(hdlr_mod, logger, session, meta, **options):
        logger.info("pre_create:[" + os.path.basename(meta["path"]) + "]")
    def post_data_obj_create(hdlr_mod, logger, session, meta, **options):
        if os.path.basename(meta["path"]) != "no_op":
            session.metadata.set(DataObject, meta["target"], iRODSMeta("hook", "made"))
    """
    with Gateway(world.settings.irods) as gateway:
        gateway.make_collections(world.target)
        path, data = f"{world.target}/put", b"of somebody else"
        gateway.put_bytes(path, data, checksum=checksum_of(data), resource=None, overwrite=False)
    resources = {"register_as_replica_sync": tree["two"], "put_append": tree["root"]}
    start(world, source, folder, of_others(handler).replace("TREE", repr(resources)))
    world.start("watcher", "loader", "loader", "verifier")
    world.wait_finished()

    def hooks() -> dict[str, str]:
        with world.irods() as session:
            return {
                name: avu.value
                for name in world.objects()
                for avu in session.data_objects.get(f"{world.target}/{name}").metadata.get_all("hook")
            }

    made = set(operations) - {"no_op", "put"}
    states = {name: "verified" if name in made else "skipped" for name in operations}
    assert {line.path: line.state for line in world.lines().values()} == states
    assert hooks() == dict.fromkeys(made, "made")
    assert told(world, "pre_create") == sorted({*made, "no_op"})
    assert told(world, "pre_modify") == []
    for name in made:
        (source / name).write_bytes(b"old and new")
    assert world.ingest("job", "rescan", "job").returncode == 0
    eventually("all changes are seen", lambda: all(world.lines()[name].generation == 2 for name in made))
    world.wait_finished()
    world.stop()
    assert {line.path: line.state for line in world.lines().values()} == states
    assert told(world, "pre_modify") == sorted(made)
    assert hooks() == dict.fromkeys(made, "modified")
    with Gateway(world.settings.irods) as gateway:
        rows = {name: gateway.replicas(f"{world.target}/{name}") for name in {*made, "put"}}
    assert {name: [row.size for row in each] for name, each in rows.items()} == {name: [11] for name in made} | {
        "put": [16]
    }


@pytest.fixture
def alice(world: World, tree: dict[str, str]) -> Iterator[str]:
    """A rodsuser who may write to the world's target; gone before the resources are."""
    name = f"alice{uuid.uuid4().hex[:8]}"
    with world.irods() as session:
        session.users.create(name, "rodsuser")
        session.collections.create(world.target)
        session.acls.set(iRODSAccess("write", world.target, name))
    yield name
    for pod in world.pods.values():
        pod.kill()
        pod.wait()
    with Gateway(world.settings.irods, as_user=(name, "")) as gateway:
        for collection in (gateway.staging, f"{world.target}/hers"):
            gateway.remove_collection(collection)
    with world.irods() as session:
        session.users.remove(name)


def test_each_file_has_its_user_resource_and_path(
    world: World, source: Path, folder: Path, alice: str, tree: dict[str, str]
) -> None:
    (source / "hers" / "deep").mkdir(parents=True)
    ours, hers = [f"f{number}" for number in range(10)], [f"hers/deep/f{number}" for number in range(10)]
    for name in [*ours, *hers, "hers/large"]:
        (source / name).write_bytes(name.encode())
    (source / "hers" / "large").write_bytes(os.urandom(3 << 20))
    (source / "placed").write_bytes(b"as the server sees it")
    handler = """
    def operation(session, meta, **options):
        return Operation.REGISTER_SYNC if meta["path"].endswith("placed") else Operation.PUT_SYNC
    def as_user(meta, **options):
        return (ZONE, ALICE) if "/hers" in meta["path"] else None
    def to_resource(session, meta, **options):
        return ROOT if meta["path"].endswith(("1", "3", "5", "large")) else "demoResc"
    def target_path(session, meta, **options):
        return ELSEWHERE + "/placed" if meta["path"].endswith("placed") else None
    """
    with TemporaryDirectory(prefix="e2e-elsewhere-") as elsewhere:
        Path(elsewhere).chmod(0o755)
        shutil.copy2(source / "placed", elsewhere)
        text = of_others(handler).replace("ZONE", repr(world.settings.irods.zone)).replace("ALICE", repr(alice))
        text = text.replace("ROOT", repr(tree["root"])).replace("ELSEWHERE", repr(elsewhere))
        start(world, source, folder, text, "--resource", "demoResc")
        world.start("watcher", "loader", "loader", "verifier")
        world.wait_finished()
        world.stop()
        assert world.counts() == {"verified": 22}, world.lines()
        assert world.physical_path("placed") == Path(elsewhere, "placed")
        # only the bytes are elsewhere: iRODS is compared as ever
        summary = json.loads(world.ingest("report", "job", "--json").stdout.splitlines()[-1])["summary"]
        assert [check["what"] for check in summary["checks"] if check["agrees"]][2:] == ["good replicas in iRODS"]
        audited = json.loads(world.ingest("audit", "job", "--json").stdout.splitlines()[-1])["summary"]
        assert (audited["irods_compared"], audited["objects"], audited["faults"]) == (True, 22, 0)
    with world.irods() as session:
        shown = {
            path: (found.owner_name, {replica.resc_hier.split(";")[0] for replica in found.replicas})
            for path in world.objects()
            for found in [session.data_objects.get(f"{world.target}/{path}")]
        }
    assert shown == {
        name: (
            alice if name.startswith("hers/") else world.settings.irods.user,
            {tree["root"] if name.endswith(("1", "3", "5", "large")) else "demoResc"},
        )
        for name in [*ours, *hers, "hers/large", "placed"]
    }


def test_mapped_names_and_the_shipped_metadata_examples(world: World, source: Path, folder: Path) -> None:
    for example in (PROJECT / "docs" / "examples").glob("*_metadata.py"):
        shutil.copy(example, folder)
    (source / "a folder").mkdir()
    odd = source / "a folder" / "odd: name!.txt"
    odd.write_bytes(b"odd")
    broken = os.fsencode(source) + b"/b\xff: \x01"
    Path(os.fsdecode(broken)).write_bytes(b"broken")
    picture = Image.new("RGB", (4, 3))
    exif = Image.Exif()
    exif[271] = "A Camera Maker"
    picture.save(source / "picture.jpg", exif=exif)
    (source / "plain.txt").write_bytes(b"no picture")
    (source / "plain.txt").chmod(0o640)
    handler = of_others("""
    def operation(session, meta, **options):
        return Operation.PUT_SYNC
    def character_map():
        return {re.compile("[^a-zA-Z0-9.]"): "_"}
    """)
    (folder / "mapping.py").write_text(handler)
    for name, options in (
        ("mapped", ("--event-handler", str(folder / "mapping.py"))),
        ("stat", ("--extract-metadata", "stat_metadata:extract")),
        ("exif", ("--extract-metadata", "exif_metadata:extract", "--operation", "put_sync")),
    ):
        done = world.ingest("job", "start", str(source), f"{world.target}/{name}", "--name", name, *options)
        assert done.returncode == 0, done.stderr
    world.start("watcher", "loader", "loader", "verifier")
    for name in ("mapped", "stat", "exif"):
        world.wait_finished(name)
        assert {line.state for line in world.lines(job=name).values()} == {"verified"}

    def metadata(path: str) -> dict[str, tuple[str, str | None]]:
        with world.irods() as session:
            found = session.data_objects.get(f"{world.target}/{path}").metadata.items()
            return {avu.name: (avu.value, avu.units) for avu in found}

    def mapped() -> list[str]:
        return [path for path in world.objects() if path.startswith("mapped/a_folder")]

    (path,) = mapped()
    assert path.split("/")[2].startswith("odd__name_.txt")
    unit = "python3.base64.b64encode(full_path_of_source_file)"
    as_mapped, as_escaped = (f"irods::automated_ingest::{why}" for why in ("character_map", "UnicodeEncodeError"))
    assert metadata(path) == {as_mapped: (b64encode(os.fsencode(odd)).decode(), unit)}
    kept = (b64encode(broken).decode(), unit)
    (both,) = [name for name in world.objects() if name.startswith("mapped/b")]
    assert both.startswith("mapped/b_FF___01")
    assert metadata(both) == {as_mapped: kept, as_escaped: kept}
    assert {as_escaped: kept}.items() <= metadata("stat/b%FF: %01").items()
    assert metadata("mapped/plain.txt") == {}
    stat = metadata("stat/plain.txt")
    assert stat["filesystem::mode"][0] == "0o640"
    assert stat["filesystem::uid"][0] == str(os.getuid())
    assert set(metadata("stat/a folder/odd: name!.txt")) == set(stat)
    assert metadata("exif/plain.txt") == {}
    assert {name: value for name, (value, _) in metadata("exif/picture.jpg").items()} == {
        "image::width": "4",
        "image::height": "3",
        "exif::Make": "A Camera Maker",
    }
    audited = world.ingest("audit", "mapped", "--json")
    assert audited.returncode == 0, audited.stdout
    assert json.loads(audited.stdout.splitlines()[-1])["summary"]["objects"] == len(hashes_of(source))
    assert json.loads(world.ingest("explain", str(odd), "--job", "mapped", "--json").stdout)["logical_path"].endswith(
        f"/{path}"
    )
    found = json.loads(world.ingest("explain", f"{world.target}/{path}", "--json").stdout)
    assert (found["source"], found["file"]["state"]) == (str(odd), "verified")
    odd.write_bytes(b"changed, and longer")
    assert world.ingest("job", "rescan", "mapped").returncode == 0
    eventually("it is loaded again", lambda: world.lines(job="mapped")["a folder/odd: name!.txt"].generation == 2)
    world.wait_finished("mapped")
    world.stop()
    assert mapped() == [path]
    assert world.held_by_irods()[path] == hashes_of(source)["a folder/odd: name!.txt"]
