"""The main job, end to end: whatever lies at the source is in iRODS with the same bytes, and the rows say so."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import socket
import urllib.request
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from core.irods import Gateway
from core.paths import unescape
from sandbox.irods import SandboxServer
from tests.e2e.world import World, eventually, hashes_of

ODD_NAMES = [
    b"plain",
    b"with space",
    b" leading and trailing ",
    b"new\nline",
    b"tab\there",
    b"quote'single",
    b'quote"double',
    b"back`quote",
    b"back\\slash",
    b"percent%41 100%.txt",
    b"percent%FF",
    b"\xff\xfe not UTF-8",
    b"control\x01\x02\x1f",
    b"carriage\rreturn",
    "ünïcödé 文字 🧬".encode(),
    b"-rf",
    b"*?[x]",
    b"x" * 255,
    b".hidden",
    b"semi;colon&<xml>",
]


def odd_tree(root: Path) -> None:
    """Files of odd names and sizes, and things that are no files."""
    generator = random.Random(7)
    for number, name in enumerate(ODD_NAMES):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(generator.randbytes(number * 37))
    deep = root
    for level in range(12):
        deep = deep / f"level {level}"
    deep.mkdir(parents=True)
    (deep / "leaf").write_bytes(b"leaf")
    odd = Path(os.fsdecode(os.fsencode(root) + b"/dir\xff"))
    odd.mkdir()
    (odd / "inside").write_bytes(b"inside")
    (root / "empty" / "deeper").mkdir(parents=True)
    (root / "zero").touch()
    (root / ".a").mkdir()
    (root / "a").mkdir()
    (root / ".a" / "one").write_bytes(b"1")
    (root / "a" / "one").write_bytes(b"2")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "cycle").symlink_to(".")
    os.mkfifo(root / "pipe")
    folder = os.open(root, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/socket")
    os.close(folder)


@pytest.mark.parametrize("operation", ["put_sync", "put", "put_append", "register_sync"])
def test_every_file_is_in_irods_with_its_bytes(world: World, source: Path, operation: str) -> None:
    odd_tree(source)
    delete_mode = "unregister" if operation == "register_sync" else "do_not_delete"
    world.start_job(source, "--operation", operation, "--delete-mode", delete_mode)
    world.start("watcher", "loader", "loader", "verifier")
    world.wait_finished()
    wanted = hashes_of(source)
    lines = world.lines()
    states = {path: line.state for path, line in lines.items() if line.kind == "f"}
    refused = {path for path, state in states.items() if state == "dead"}
    if operation == "register_sync":
        # a physical path that is no UTF-8 text cannot be registered, and the row says so
        assert {lines[path].error for path in refused} == {"bad_physical_path"}
        assert refused == {path for path in wanted if "%FF" in path and "percent" not in path} | {
            path for path in wanted if path.startswith(("control", "carriage"))
        }
    else:
        assert refused == set()
    assert {path for path, state in states.items() if state == "verified"} == set(wanted) - refused
    assert world.held_by_irods() == {path: digest for path, digest in wanted.items() if path not in refused}
    assert {"empty", "empty/deeper", ".a", "a", "dir%FF"} <= world.collections()
    escaped = {path for path in wanted if path.encode() != unescape(path) and path not in refused}
    assert any("%FF" in path for path in wanted)
    with Gateway(world.settings.irods) as gateway:
        for path in sorted(set(wanted) - refused):
            kept = [avu.value for avu in gateway.metadata(f"{world.target}/{path}")]
            assert kept == (
                [b64encode(os.fsencode(source) + b"/" + unescape(path)).decode()] if path in escaped else []
            )
    others = {path: line.kind for path, line in lines.items() if line.kind != "f"}
    assert others == {"dangling": "l", "loop": "l", "cycle": "l", "pipe": "p", "socket": "s"}
    assert {lines[path].state for path in others} == {"skipped"}
    for path in set(wanted) - refused:
        line = lines[path]
        assert line.load_pod and line.verify_pod and line.checksum
        assert line.load_attempts == line.verify_attempts == 1
        assert line.load_seconds is not None and line.load_seconds >= 0
    assert world.counts() == {"verified": len(wanted) - len(refused), "skipped": 5} | (
        {"dead": len(refused)} if refused else {}
    )
    if refused:
        with TemporaryDirectory(prefix="e2e-links-") as folder:
            Path(folder).chmod(0o755)
            check_links(world, source, Path(folder), refused)
    world.stop()


def check_links(world: World, source: Path, folder: Path, refused: set[str]) -> None:
    """What has a path that iRODS cannot hold is registered by a link, read through it, follows changes and goes with it."""
    assert world.ingest("job", "set", "job", "--link-folder", str(folder)).returncode == 0
    assert world.ingest("retry", "--error", "bad_physical_path", "--yes").returncode == 0
    world.wait_finished()
    assert world.held_by_irods() == hashes_of(source)
    paths = {path: os.fsencode(source) + b"/" + unescape(path) for path in refused}
    assert links_of(world, folder, refused) == paths
    gone, changed = (next(path for path in refused if path.startswith(start)) for start in ("control", "dir%FF/"))
    os.unlink(paths[gone])
    with open(paths[changed], "ab") as file:
        file.write(b" and more")
    assert world.ingest("job", "rescan", "job").returncode == 0
    world.wait_finished()
    assert world.held_by_irods() == hashes_of(source)
    assert links_of(world, folder, refused - {gone}) == {path: paths[path] for path in refused - {gone}}


def links_of(world: World, folder: Path, wanted: set[str]) -> dict[str, bytes]:
    """Where the links lead by which these files are registered, and no other ones are; each is kept with its object too."""
    led = {}
    with Gateway(world.settings.irods) as gateway:
        for path in wanted:
            [replica] = gateway.replicas(f"{world.target}/{path}")
            led[path] = os.readlink(os.fsencode(replica.physical_path))
            assert Path(replica.physical_path).parent == folder
            [avu] = gateway.metadata(f"{world.target}/{path}")
            assert avu.attribute == "irods::automated_ingest::UnicodeEncodeError" and b64decode(avu.value) == led[path]
    assert len(list(folder.iterdir())) == len(led)
    return led


def test_changed_and_new_files_follow_at_the_next_scan(world: World, source: Path) -> None:
    (source / "sub").mkdir()
    (source / "sub" / "a").write_bytes(b"first")
    (source / "b").write_bytes(b"stays")
    world.start_job(source, "--rescan", "0.3")
    world.start("watcher", "loader", "verifier")
    eventually("both are verified", lambda: world.counts() == {"verified": 2})
    (source / "sub" / "a").write_bytes(b"second, longer")
    (source / "sub" / "c").write_bytes(b"new")
    (source / "later").mkdir()
    (source / "later" / "d").write_bytes(b"in a new directory")
    eventually(
        "all are verified again",
        lambda: world.counts() == {"verified": 4} and world.lines()["sub/a"].generation == 2,
    )
    assert world.held_by_irods() == hashes_of(source)
    (source / "b").unlink()
    eventually("the missing one has vanished", lambda: world.counts() == {"verified": 3, "vanished": 1})
    world.stop()


def test_put_leaves_existing_objects_alone(world: World, source: Path) -> None:
    (source / "mine").write_bytes(b"mine")
    (source / "theirs").write_bytes(b"ours")
    with world.irods() as session:
        session.collections.create(world.target)
        with session.data_objects.open(f"{world.target}/theirs", "w") as file:
            file.write(b"theirs")
    world.start_job(source, "--operation", "put")
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    lines = world.lines()
    assert (lines["mine"].state, lines["theirs"].state) == ("verified", "skipped")
    assert "put_sync overwrites" in (lines["theirs"].message or "")
    with world.irods() as session, session.data_objects.open(f"{world.target}/theirs", "r") as file:
        assert file.read() == b"theirs"
    world.stop()


def test_put_append_sends_only_what_was_added(sandbox: SandboxServer, sandbox_world: World, source: Path) -> None:
    world = sandbox_world
    (source / "grows").write_bytes(os.urandom(10 << 20))
    (source / "small").write_bytes(b"line\n")
    world.start_job(source, "--operation", "put_append", "--rescan", "0.3")
    world.start("watcher", "loader", "verifier")
    eventually("both are verified", lambda: world.counts() == {"verified": 2})
    sent = sandbox.calls[676]
    for name in ("grows", "small"):
        with (source / name).open("ab") as file:
            file.write(b"added")
    eventually(
        "both are verified again",
        lambda: all((line.state, line.generation) == ("verified", 2) for line in world.lines().values()),
    )
    assert sandbox.calls[676] == sent + 1
    assert world.held_by_irods() == hashes_of(source)
    world.stop()


def test_an_unreadable_file_is_a_dead_letter_and_the_rest_is_loaded(world: World, source: Path) -> None:
    for number in range(50):
        (source / f"f{number}").write_bytes(b"x" * number)
    long = source
    for _ in range(6):  # a logical path of more than 1,023 bytes
        long = long / ("d" * 200)
        long.mkdir()
    (long / "far").write_bytes(b"far")
    world.start_job(source)
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"verified": 50, "dead": 1}
    [line] = world.lines(states=("dead",)).values()
    assert line.error == "path_too_long"
    world.stop()


def test_a_large_sparse_file_goes_through_in_bounded_memory(world: World, source: Path) -> None:
    size = (1 << 29) + 12345 if "IRODS_ENVIRONMENT_FILE" not in os.environ else (5 << 30) + 12345
    with (source / "sparse").open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(b"in the middle")
    world.start_job(source)
    [_, loader, _] = world.start("watcher", "loader", "verifier")
    world.wait_finished()
    status = Path(f"/proc/{world.pods[loader].pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 200 * 1024
    [line] = world.lines().values()
    assert (line.state, line.size) == ("verified", size)
    world.stop()


def test_a_dump_has_a_line_a_file_in_every_format(world: World, source: Path) -> None:
    odd_tree(source)
    world.start_job(source)
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    wanted = hashes_of(source)
    total = len(wanted) + 5
    table = world.ingest("dump")
    assert table.returncode == 0, table.stderr
    assert len(table.stdout.splitlines()) == total + 1
    rows = list(csv.DictReader(io.StringIO(world.ingest("dump", "--format", "csv", "--state", "verified").stdout)))
    assert len(rows) == len(wanted)
    assert {row["verify_result"] for row in rows} == {"PASSED"}
    objects = [json.loads(line) for line in world.ingest("dump", "--format", "jsonl").stdout.splitlines()]
    assert {row["path"] for row in objects if row["state"] == "verified"} == set(wanted)
    prefixed = world.ingest("dump", "--prefix", "level 0/", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["path"].rsplit("/", 1)[1] for line in prefixed] == ["leaf"]
    for typed in ("dir%FF/", "dir\udcff/"):  # as the dump writes it, and as it is at the source
        prefixed = world.ingest("dump", "--prefix", typed, "--format", "jsonl").stdout.splitlines()
        assert {json.loads(line)["path"] for line in prefixed} == {
            path for path in wanted if path.startswith("dir%FF/")
        }
        assert prefixed
    summary = world.ingest("--summary", module="scripts.dump_inventory")
    assert f"{total:>15}" in summary.stdout.splitlines()[-1], summary.stderr
    listed = json.loads(world.ingest("job", "list", "--json").stdout)
    assert listed["files"] == {"verified": len(wanted), "skipped": 5}
    world.stop()


def test_a_pod_tells_how_it_is(world: World, source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (source / "a").write_bytes(b"a")
    world.start_job(source)
    world.start("watcher", "verifier")
    world.environment["INGEST_METRICS__PORT"] = str(port)
    world.start("loader")
    world.wait_finished()

    def ask(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    assert ask("/livez") == ask("/readyz") == "ok\n"
    told = ask("/metrics")
    assert 'ingest_files_total{outcome="done",stage="load"} 1.0' in told
    assert "ingest_connections_granted" in told
    world.stop()


def test_put_leaves_alone_what_is_there_be_it_ours_or_not(world: World, source: Path) -> None:
    for name in ("ours", "others", "large", "lost"):
        (source / name).write_bytes(name.encode() * 10)
    (source / "large").write_bytes(b"l" * 2_000_000)  # too large for a bundle
    with world.irods() as session:
        session.collections.create(world.target)
        with session.data_objects.open(f"{world.target}/others", "w") as file:
            file.write(b"somebody else's")
    world.start_job(source, "--operation", "put", "--rescan", "0.5")
    world.start("watcher", "loader", "verifier")
    eventually("all is done", lambda: world.counts() == {"verified": 3, "skipped": 1})
    with world.irods() as session:
        session.data_objects.unlink(f"{world.target}/lost", force=True)
    before = world.held_by_irods()
    for name in ("ours", "others", "large", "lost"):
        (source / name).write_bytes(b"another version")
    eventually("the new versions are looked at", lambda: world.counts() == {"verified": 1, "skipped": 3})
    assert world.held_by_irods() == before | {"lost": hashes_of(source)["lost"]}
    # a person's retry changes nothing of that
    assert world.ingest("retry", "--state", "skipped", "--yes").returncode == 0
    eventually("they are left alone again", lambda: world.counts() == {"verified": 1, "skipped": 3})
    assert world.held_by_irods() == before | {"lost": hashes_of(source)["lost"]}
    world.stop()
