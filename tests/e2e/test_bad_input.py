"""Bad input is told in one line with an exit code that is not 0, at the start of a job where it can be; nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from sqlalchemy import text

from inventory import jobs, queries
from inventory.engine import Database
from tests.e2e.world import World, eventually


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode != 0, done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/", "zone"),
        ("/tempZ/home/x", "tempZ"),
        ("/tempZoneMore/home/x", "tempZoneMore"),
        ("/otherZone/home/x", "otherZone"),
        ("relative/path", "relative/path"),
        ("/tempZone//home", "/tempZone//home"),
        ("/tempZone/home/../x", ".."),
        ("/tempZone/home/", "/tempZone/home/"),
        ("/tempZone/" + "x" * 1100, "1023"),
    ],
)
def test_a_target_that_cannot_work_is_refused_at_the_start(world: World, source: Path, target: str, words: str) -> None:
    zone = world.settings.irods.zone
    target = target.replace("tempZone/", f"{zone}/")
    done = world.ingest("job", "start", str(source), target)
    assert words in told(done)
    assert done.returncode == 2
    assert jobs.listed(world.database) == []


def test_a_source_that_cannot_work_is_refused_at_the_start(world: World, source: Path) -> None:
    (source / "file").touch()
    assert "does not exist" in told(world.ingest("job", "start", str(source / "nowhere"), world.target))
    assert "not a directory" in told(world.ingest("job", "start", str(source / "file"), world.target))
    assert "gopher" in told(world.ingest("job", "start", "gopher://x/y", world.target))
    assert jobs.listed(world.database) == []


def test_a_resource_that_does_not_exist_is_refused_at_the_start(world: World, source: Path) -> None:
    assert "noSuchResc" in told(world.ingest("job", "start", str(source), world.target, "--resource", "noSuchResc"))


def test_a_name_in_use_or_unusable_is_refused(world: World, source: Path) -> None:
    world.start_job(source, name="run7")
    again = world.ingest("job", "start", str(source), world.target, "--name", "run7")
    assert "run7" in told(again)
    assert again.returncode == 2
    assert "--name" in told(world.ingest("job", "start", str(source), world.target, "--name", "no way"))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("IRODS_PORT", "1", "irods.port"),
        ("IRODS_PASSWORD", "wrong", "password"),
        ("IRODS_ZONE_NAME", "noZone", "noZone"),
        ("IRODS_USER_NAME", "nobodyatall", "nobodyatall"),
        ("INVENTORY_URL", "postgresql://ingest:x@127.0.0.1:1/ingest", "is Postgres running"),
        ("INGEST_IRODS__PORT", "many", "irods.port"),
        ("INGEST_IRODS__PROT", "1247", "INGEST_IRODS__PORT"),
    ],
)
def test_a_service_that_cannot_be_reached_is_told_at_the_start(
    world: World, source: Path, variable: str, value: str, words: str
) -> None:
    world.environment[variable] = value
    assert words in told(world.ingest("job", "start", str(source), world.target))


def test_a_malformed_config_is_refused_with_its_line(world: World, tmp_path: Path) -> None:
    config = tmp_path / "broken.yml"
    config.write_text("irods:\n  port: [1247\n")
    world.environment["INGEST_CONFIG"] = str(config)
    assert "broken.yml" in told(world.ingest("config", "check"))


@pytest.mark.parametrize("pod", ["watcher", "loader", "verifier"])
@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        ("missing", 3, "ingest inventory init"),
        ("newer", 3, "newer than this program"),
        ("away", 4, "is Postgres running"),
        ("settings", 2, "INGEST_LOADER__BATCH"),
    ],
)
def test_pods_refuse_to_start_and_say_why(world: World, pod: str, spoil: str, code: int, words: str) -> None:
    with world.database.begin() as connection:
        if spoil == "missing":
            connection.execute(text("DROP SCHEMA inventory CASCADE"))
        elif spoil == "newer":
            connection.execute(text("UPDATE inventory.alembic_version SET version_num = '9999'"))
    if spoil == "away":
        world.environment["INVENTORY_URL"] = "postgresql://ingest:x@127.0.0.1:1/ingest"
    elif spoil == "settings":
        world.environment["INGEST_LOADER__BATCH"] = "-1"
    done = world.ingest(module=pod)
    assert done.returncode == code
    assert words in told(done)


def test_pods_wait_for_irods_and_say_so(world: World, source: Path) -> None:
    (source / "a").write_bytes(b"a")
    world.start_job(source)
    port = world.environment.pop("IRODS_PORT", None)
    world.environment["IRODS_PORT"] = "1"
    world.start("watcher", "loader")
    log = world.logs / "loader-1.log"
    eventually("the loader says that iRODS is away", lambda: "service_away" in log.read_text())
    eventually("the file is found", lambda: world.counts() == {"discovered": 1})
    world.stop()
    assert world.counts() == {"discovered": 1}
    if port is None:
        del world.environment["IRODS_PORT"]
    world.start("loader", "verifier")
    world.wait_finished()
    assert world.counts() == {"verified": 1}
    world.stop()


def test_an_unreadable_file_and_directory_wait_for_a_person(world: World, source: Path) -> None:
    (source / "open").write_bytes(b"open")
    (source / "closed").write_bytes(b"closed")
    (source / "closed").chmod(0)
    (source / "shut").mkdir()
    (source / "shut").chmod(0)
    world.start_job(source, "--delete-mode", "no_trash", "--max-delete-percent", "100")
    # root may read everything, unless it is told not to
    plain = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    world.start("watcher", "loader", "verifier", prefix=plain)
    world.wait_finished()
    assert [d.path for d in queries.failed_directories(world.database, "job")] == ["shut"]
    assert {path: line.error for path, line in world.lines().items()} == {"open": None, "closed": "EACCES"}
    (source / "closed").chmod(0o644)
    (source / "shut").chmod(0o755)
    for path in ("shut/in", "shut/below/x", "listed/y", "gone"):
        (source / path).parent.mkdir(exist_ok=True)
        (source / path).write_bytes(path.encode())
    assert world.ingest("job", "retry", "job").returncode == 0
    assert world.ingest("job", "rescan", "job").returncode == 0
    world.wait_finished()
    assert world.counts() == {"verified": 6}

    # of what is below directories that nobody can look into nothing is taken for gone
    before = world.objects()
    for path in ("gone", "shut/in"):
        (source / path).unlink()
    (source / "shut").chmod(0)
    (source / "listed").chmod(0o644)  # its names can be read, what they are cannot
    assert world.ingest("job", "rescan", "job").returncode == 0
    world.wait_finished()
    assert {d.path for d in queries.failed_directories(world.database, "job")} == {"shut", "shut/below", "listed"}
    assert world.counts() == {"verified": 5, "deleted": 1}
    assert world.objects() == before - {"gone"}
    (source / "shut").chmod(0o755)
    (source / "listed").chmod(0o755)
    assert world.ingest("job", "retry", "job").returncode == 0
    world.wait_finished()
    assert world.objects() == before - {"gone", "shut/in"}
    world.stop()


def test_no_secret_is_in_rows_logs_or_dumps(world: World, source: Path) -> None:
    (source / "a").write_bytes(b"a")
    world.start_job(source)
    world.start("watcher", "loader", "verifier")
    world.wait_finished()
    secrets = [os.environ.get("IRODS_PASSWORD", ""), world.database.engine.url.password or ""]
    shown = world.log_tails() + "".join(
        world.ingest(*c).stdout for c in (("dump",), ("config", "check"), ("job", "list"))
    )
    database = Database(world.environment["INVENTORY_URL"])
    with database.begin() as connection:
        for table in ("job", "worker", "event", "failure"):
            shown += str(connection.execute(text(f"SELECT * FROM inventory.{table}")).all())
    database.close()
    for secret in secrets:
        assert not secret or secret not in shown
    world.stop()


def test_what_is_connected_to_is_shown_with_its_fast_calls(world: World) -> None:
    done = world.ingest("config", "check", "--connect", "--json")
    assert done.returncode == 0, done.stderr
    connected = json.loads(done.stdout)["connected"]
    assert connected["inventory"]["server"].startswith("PostgreSQL ")
    irods = connected["irods"]
    assert (irods["zone"], irods["rodsadmin"]) == (world.settings.irods.zone, True)
    assert irods["server"].startswith("iRODS ")
    assert irods["features"]["bundle"] == "available"
    world.environment["INGEST_IRODS__BUNDLES"] = "false"
    done = world.ingest("config", "check", "--connect")
    assert yaml.safe_load(done.stdout)["connected"]["irods"]["features"]["pack"] == "forbidden by the settings"


def test_one_service_that_is_away_does_not_hide_the_other(world: World) -> None:
    world.environment["INGEST_IRODS__PORT"] = "1"
    done = world.ingest("config", "check", "--connect")
    assert "irods.port" in told(done)
    assert done.returncode == 4
    connected = yaml.safe_load(done.stdout)["connected"]
    assert connected["inventory"]["schema"]
    assert "irods.port" in connected["irods"]["error"]
