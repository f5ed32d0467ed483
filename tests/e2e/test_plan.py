"""`ingest plan` tells what a job does, changes nothing, and the job then does it."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import text

from core.irods import Gateway
from inventory import jobs
from tests.e2e.world import World
from tests.s3.service import running

LONG = "n" * 250
TABLES = ("job", "file", "directory", "event", "pass")


def planned(world: World, *arguments: str, code: int = 0) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The lines of a plan by path, and its summary."""
    done = world.ingest(*arguments, "--output", "-")
    assert (done.returncode, done.stderr) == (code, ""), done.stderr
    *steps, last = map(json.loads, done.stdout.splitlines())
    return {step["path"]: step for step in steps}, last["summary"]


def actions(steps: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {path: (step["action"], step["why"]) for path, step in steps.items()}


def rows(world: World) -> list[int]:
    with world.database.begin() as connection:
        return [connection.execute(text(f"SELECT count(*) FROM inventory.{table}")).scalar_one() for table in TABLES]


def put(world: World, path: str, data: bytes) -> None:
    with world.irods() as session:
        session.collections.create(f"{world.target}/{path}".rpartition("/")[0])
        with session.data_objects.open(f"{world.target}/{path}", "w") as file:
            file.write(data)


def fill(source: Path) -> None:
    """New, equal, different, odd, filtered, unusual and impossible files; a directory and a file whose name is taken."""
    (source / "d").mkdir()
    for name, data in {"new": b"new", "same": b"same", "other": b"longer", "d/deep": b"deep", "skip.tmp": b"t"}.items():
        (source / name).write_bytes(data)
    (source / "link").symlink_to("new")
    with open(os.fsencode(source) + b"/bad\xff", "wb") as file:
        file.write(b"bad")
    (source / "taken").mkdir()
    (source / "taken" / "below").write_bytes(b"b")
    (source / "folder").write_bytes(b"f")
    (source / ".git").mkdir()
    (source / ".git" / "x").write_bytes(b"x")
    deep = source
    for _ in range(4):
        deep = deep / LONG
    deep.mkdir(parents=True)
    here = os.getcwd()
    os.chdir(deep)
    try:
        Path("f" * 200).write_bytes(b"far")
    finally:
        os.chdir(here)


def test_a_plan_is_what_the_job_then_does(world: World, source: Path) -> None:
    fill(source)
    put(world, "same", b"same")
    put(world, "other", b"other")
    put(world, "taken", b"an object")
    put(world, "folder/inside", b"i")
    put(world, "theirs", b"theirs")
    before, objects = rows(world), world.objects()
    job = (str(source), world.target, "--name", "job", "--exclude", "*.tmp", "--no-hidden")
    steps, summary = planned(world, "plan", *job, code=1)
    assert (rows(world), world.objects(), world.lines()) == (before, objects, {})
    far = "/".join([LONG] * 4)
    assert actions(steps) == {
        "new": ("put", "new"),
        "bad%FF": ("put", "new"),
        "d/deep": ("put", "new"),
        "same": ("put_again", "same_size"),
        "other": ("put_again", "grown"),
        "skip.tmp": ("skip", "excluded_by_name"),
        ".git/": ("skip", "excluded_by_name"),
        "link": ("skip", "not_regular"),
        "taken/": ("refuse", "is_object"),
        "taken/below": ("refuse", "below_object"),
        "folder": ("refuse", "is_collection"),
        f"{far}/": ("refuse", "path_too_long"),
        f"{far}/{'f' * 200}": ("refuse", "path_too_long"),
    }
    assert [path for path, step in steps.items() if step["escaped"]] == ["bad%FF"]
    assert steps["bad%FF"]["object"] == f"{world.target}/bad%FF"
    assert "symbolic link" in steps["link"]["detail"]
    assert summary["actions"]["put"] == {"files": 3, "directories": 0, "bytes": 10, "why": {"new": 3}}
    assert (summary["sent_bytes"], summary["escaped_names"], summary["new_collections"]) == (20, 1, 4)
    assert summary["only_in_irods"] == {"objects": 1, "bytes": 6, "other_collections": 1}

    assert json.loads(world.ingest("job", "start", *job, "--dry-run", "--json").stdout) == summary
    shown = world.ingest("plan", *job)
    assert "20 bytes are sent, 4 collections are made" in shown.stdout
    assert "no byte is read for a plan" in shown.stdout

    world.start_job(source, *job[4:])
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    lines = world.lines()
    fate = {"put": "verified", "put_again": "verified", "refuse": "dead", "skip": "skipped"}
    expected = {
        path: fate[step["action"]]
        for path, step in steps.items()
        if not path.endswith("/") and step["why"] != "excluded_by_name"
    }
    assert {path: line.state for path, line in lines.items()} == expected
    world.stop()


def test_operations_plan_by_what_irods_has(world: World, source: Path) -> None:
    large = b"x" * 1_200_000
    for name, data in {
        "new": b"n",
        "same": b"same",
        "small": b"small and grown",
        "large": large,
        "shrunk": b"s",
    }.items():
        (source / name).write_bytes(data)
    put(world, "same", b"same")
    put(world, "small", b"small")
    put(world, "large", large[:1_100_000])
    put(world, "shrunk", b"was larger")
    job = ("plan", str(source), world.target, "--name", "job")

    steps, summary = planned(world, *job, "--operation", "put")
    assert actions(steps) == {
        "new": ("put", "new"), "same": ("leave", "exists_same_size"), "small": ("leave", "exists_grown"),
        "large": ("leave", "exists_grown"), "shrunk": ("leave", "exists_size_differs"),
    }  # fmt: skip
    assert summary["sent_bytes"] == 1
    steps, summary = planned(world, *job, "--operation", "put_append")
    assert actions(steps) == {
        "new": ("put", "new"), "same": ("put_again", "same_size"), "small": ("put_again", "grown"),
        "large": ("append", "grown"), "shrunk": ("put_again", "size_differs"),
    }  # fmt: skip
    assert steps["large"]["bytes"] == 100_000
    steps, _ = planned(world, *job, "--operation", "verify", code=1)
    assert {path: step["action"] for path, step in steps.items()} == {
        "new": "refuse", "same": "verify", "small": "refuse", "large": "refuse", "shrunk": "refuse",
    }  # fmt: skip
    assert (steps["new"]["why"], steps["small"]["why"]) == ("missing_object", "size_mismatch")
    steps, summary = planned(world, *job, "--operation", "no_op")
    assert Counter(actions(steps).values()) == {("skip", "no_op"): 5}
    assert summary["sent_bytes"] == 0
    steps, _ = planned(world, *job, "--operation", "register_sync", code=1)
    assert actions(steps)["new"] == ("register", "new")
    assert {actions(steps)[name] for name in ("same", "small", "large", "shrunk")} == {("refuse", "wrong_path")}

    (source / "moved").write_bytes(b"moved")
    with Gateway(world.settings.irods) as gateway:
        for name in ("new", "moved"):
            at = (source / name).stat()
            gateway.register(
                f"{world.target}/{name}", f"{source}/{name}", at.st_size, at.st_mtime_ns // 1000, resource=None
            )
    os.utime(source / "moved", (1, 1))
    for operation, code in (("register_sync", 1), ("put_sync", 1)):
        steps, _ = planned(world, *job, "--operation", operation, code=code)
        if operation == "register_sync":
            assert actions(steps)["moved"] == ("register_again", "time_differs")
            assert actions(steps)["new"] == ("leave", "registered")
        else:
            assert actions(steps)["moved"] == ("refuse", "registered_in_place")


def test_the_next_pass_of_a_job_is_planned_with_its_inventory(world: World, source: Path) -> None:
    (source / "d").mkdir()
    (source / "out").mkdir()
    for name in ("keeps", "changes", "goes", "d/goes", "d/keeps", "turns", "out/kept"):
        (source / name).write_bytes(name.encode())
    world.start_job(source, "--delete-mode", "no_trash", "--max-deletes", "1")
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    world.stop()
    steps, summary = planned(world, "plan", "--job", "job")
    assert set(actions(steps).values()) == {("leave", "verified")}
    (source / "changes").write_bytes(b"more than before")
    (source / "late").write_bytes(b"late")
    (source / "goes").unlink()
    (source / "d" / "goes").unlink()
    (source / "turns").unlink()
    (source / "turns").mkdir()
    (source / "out" / "kept").unlink()
    assert world.ingest("job", "set", "job", "--exclude", "out/").returncode == 0
    put(world, "theirs", b"theirs")
    before = rows(world)
    steps, summary = planned(world, "plan", "--job", "job")
    assert actions(steps) == {
        "keeps": ("leave", "verified"), "d/keeps": ("leave", "verified"), "changes": ("put_again", "grown"),
        "late": ("put", "new"), "goes": ("delete", "no_trash"), "d/goes": ("delete", "no_trash"),
        "turns": ("delete", "no_trash"), "out/": ("skip", "excluded_by_name"),
    }  # fmt: skip
    assert (summary["deletes_held"], summary["sent_bytes"], summary["job"]) == (3, 20, "job")
    assert summary["only_in_irods"]["objects"] == 1
    assert rows(world) == before
    assert world.ingest("plan", "--job", "job", "--operation", "put").returncode == 2
    assert world.ingest("plan", "--job", "none").returncode == 2


def test_what_a_start_refuses_a_plan_refuses(world: World, source: Path, tmp_path: Path) -> None:
    good = (str(source), world.target)
    for arguments, words in (
        ((str(source / "nowhere"), world.target), "does not exist"),
        ((str(source), "/noZone/x"), "noZone"),
        ((*good, "--resource", "noSuchResc"), "noSuchResc"),
        ((*good, "--sentinel", "mounted"), "mounted"),
        ((str(source),), "COLLECTION"),
        ((*good, "--output", "/nowhere/plan"), "/nowhere/plan"),
    ):
        done = world.ingest("plan", *arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert words in done.stderr
    assert world.ingest("job", "start", *good, "--json").returncode == 2
    plan = tmp_path / "plan.jsonl"
    (source / "a").write_bytes(b"a")
    assert world.ingest("job", "start", *good, "--dry-run", "--output", str(plan)).returncode == 0
    first, last = map(json.loads, plan.read_text().splitlines())
    assert (first["action"], first["path"], last["summary"]["sent_bytes"]) == ("put", "a", 1)
    assert jobs.listed(world.database) == []
    world.start_job(source, name="taken")
    assert "exists already" in world.ingest("plan", *good, "--name", "taken").stderr


def test_a_bucket_is_planned_with_filters(world: World, tmp_path: Path) -> None:
    with running(tmp_path) as s3:
        world.environment |= s3.environment()
        bucket = s3.bucket("in/a", "in/deep/er/b", "in/deep//c", "in/d.tmp", "in/out/e", "in/same", "in/same/f", size=7)
        put(world, "a", b"a")
        steps, summary = planned(
            world,
            "plan",
            f"s3://{bucket}/in",
            world.target,
            "--name",
            "job",
            "--exclude",
            "*.tmp",
            "--exclude",
            "/out/",
        )
        assert actions(steps) == {
            "a": ("put_again", "grown"), "deep/er/b": ("put", "new"),
            "deep/%2F/c": ("put", "new"), "d.tmp": ("skip", "excluded_by_name"), "out/": ("skip", "excluded_by_name"),
            "same%2F": ("put", "new"), "same/f": ("put", "new"),
        }  # fmt: skip
        assert [path for path, step in steps.items() if step["escaped"]] == ["same%2F"]
        assert summary["sent_bytes"] == 5 * 7
        assert rows(world)[:2] == [0, 0]
        steps, _ = planned(
            world, "plan", f"s3://{bucket}/in", world.target, "--name", "job", "--operation", "register_sync", code=1
        )
        assert actions(steps)["deep/er/b"] == ("register", "new")
        assert actions(steps)["a"] == ("refuse", "wrong_path")


def test_a_plan_by_a_manifest_is_what_the_job_then_does(world: World, source: Path, tmp_path: Path) -> None:
    (source / "d").mkdir()
    (source / "here").write_bytes(b"here")
    for name, data in {"new": b"new", "d/deep": b"deep", "same": b"same", "skip.tmp": b"t", "unnamed": b"u"}.items():
        (source / name).write_bytes(data)
    (source / "link").symlink_to("new")
    put(world, "same", b"other bytes")
    put(world, "theirs", b"theirs")
    names = ("new", "./d/deep", f"{source}/same", "skip.tmp", "link", "gone", "empty")
    (source / "empty").mkdir()
    manifest = tmp_path / "list"
    manifest.write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names))
    job = (str(source), world.target, "--name", "job", "--exclude", "*.tmp", "--manifest", str(manifest))
    before = rows(world)
    steps, summary = planned(world, "plan", *job)
    assert rows(world) == before
    assert actions(steps) == {
        "new": ("put", "new"),
        "d/deep": ("put", "new"),
        "same": ("put_again", "size_differs"),
        "skip.tmp": ("skip", "excluded_by_name"),
        "link": ("skip", "not_regular"),
        "gone": ("skip", "missing"),
    }
    assert (summary["sent_bytes"], summary["only_in_irods"]["objects"], summary["elsewhere"]) == (11, 1, 0)
    assert (summary["new_collections"], summary["directories"]) == (2, 3)
    assert planned(world, "job", "start", *job, "--dry-run")[0] == steps
    assert world.ingest("job", "start", *job).returncode == 0
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    assert set(world.held_by_irods()) == {"new", "d/deep", "same", "theirs"}
    assert "empty" in world.collections()
    world.stop()
    manifest.write_bytes(b"unnamed\0same\0")
    assert world.ingest("job", "add", "job", str(manifest)).returncode == 0
    before = rows(world)
    steps, summary = planned(world, "plan", "--job", "job")
    assert rows(world) == before
    assert actions(steps) == {
        "new": ("leave", "verified"),
        "d/deep": ("leave", "verified"),
        "same": ("leave", "verified"),
        "link": ("skip", "not_regular"),
        "unnamed": ("put", "new"),
    }
    assert (summary["sent_bytes"], summary["only_in_irods"]["objects"]) == (1, 1)
    manifest.write_bytes(b"../outside\0")
    refused = world.ingest("plan", *(word for word in job if word != "job" and word != "--name"), "--name", "other")
    assert (refused.returncode, "path 1" in refused.stderr, "Traceback" in refused.stderr) == (2, True, False)


def test_a_plan_by_an_inventory_of_s3(world: World, tmp_path: Path) -> None:
    with running(tmp_path) as s3:
        bucket = s3.bucket("in/same", "in/same/b", "in//odd", "out")
        world.environment |= s3.environment()
        lines = [
            f"{bucket},{key},{size}" for key, size in (("in/same", 5), ("in/same/b", 7), ("in//odd", 1), ("out", 9))
        ]
        (tmp_path / "1.csv").write_text("\n".join(lines) + "\n")
        said = {
            "sourceBucket": bucket,
            "fileFormat": "CSV",
            "files": [{"key": "x/1.csv"}],
            "fileSchema": "Bucket, Key, Size",
        }
        (tmp_path / "manifest.json").write_text(json.dumps(said))
        words = ("plan", f"s3://{bucket}/in", world.target, "--manifest", str(tmp_path / "manifest.json"))
        steps, summary = planned(world, *words)
        assert {path: step["bytes"] for path, step in steps.items()} == {"same%2F": 5, "same/b": 7, "%2F/odd": 1}
        assert {step["action"] for step in steps.values()} == {"put"}
        assert summary["elsewhere"] == 1
        assert "1 lines of the manifest are of another bucket" in world.ingest(*words).stdout
