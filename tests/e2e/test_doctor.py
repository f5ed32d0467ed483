"""The doctor looks at everything, changes nothing, and says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.world import World

Checks = dict[tuple[str, str], dict[str, Any]]


def checked(told: subprocess.CompletedProcess[str]) -> Checks:
    assert told.stderr == ""
    found = [json.loads(line) for line in told.stdout.splitlines()]
    return {(one["part"], one["name"]): one for one in found}


def test_all_parts_are_looked_at_and_nothing_is_left_behind(world: World, source: Path) -> None:
    (source / "file").write_bytes(b"x")
    os.utime(source / "file", (4_000_000_000, 4_000_000_000))
    world.start_job(source)
    told = world.ingest("doctor", "--job", "job", "--json")
    checks = checked(told)
    assert {part for part, _ in checks} == {"inventory", "irods", "source", "cluster"}
    failed = {key for key, one in checks.items() if one["verdict"] == "FAIL"}
    assert failed <= {("inventory", "fsync"), ("inventory", "full_page_writes")}  # the tests' server is fast, not safe
    assert told.returncode == (1 if failed else 0)
    for key in (
        ("irods", "round trip"),
        ("irods", "target"),
        ("irods", "clock"),
        ("inventory", "schema"),
        ("source", "readable"),
    ):
        assert checks[key]["verdict"] == "OK", checks[key]
    assert checks["source", "times"]["verdict"] == "WARN"
    assert all(one["hint"] for one in checks.values() if one["verdict"] != "OK")
    home = f"/{world.settings.irods.zone}/home/{world.settings.irods.user}"
    with world.irods() as session:
        names = {collection.name for collection in session.collections.get(home).subcollections}
    assert not {name for name in names if name.startswith(".ingest_doctor")}


def test_what_does_not_answer_fails_and_the_rest_is_looked_at(world: World, source: Path) -> None:
    world.environment |= {"INVENTORY_URL": "postgresql://nobody@127.0.0.1:9/none", "INGEST_JOB__RESOURCE": "noSuchResc"}
    told = world.ingest("doctor", str(source / "absent"), "--json")
    checks = checked(told)
    assert told.returncode == 1
    for key in (("inventory", "answers"), ("irods", "resource"), ("source", "answers")):
        assert checks[key]["verdict"] == "FAIL"
    assert "does not exist" in checks["source", "answers"]["message"]
    plain = world.ingest("doctor", "--only", "inventory").stdout
    assert plain.startswith("FAIL inventory answers: ")
    assert "\x1b" not in plain  # colours are for terminals


def test_bash_completes_commands(world: World) -> None:
    script = world.ingest("completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    world.environment |= {"_INGEST_COMPLETE": "bash_complete", "COMP_WORDS": "ingest fail", "COMP_CWORD": "1"}
    assert world.ingest().stdout.split() == ["plain,failures"]
