"""`ingest` as a process of its own: what is in force, one-line errors, exit codes, the inventory's commands."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
import yaml

from sandbox.databases import PostgresServer
from scripts.ingest import ingest as command

ROOT = Path(__file__).resolve().parents[2]

Answer = subprocess.CompletedProcess[str]
Run = Callable[..., Answer]


@pytest.fixture
def ingest(tmp_path: Path) -> Run:
    """Run `ingest …` in an empty folder, with no settings in the environment but those given."""
    clean = {name: value for name, value in os.environ.items() if not re.match("INGEST_|INVENTORY_|IRODS_", name)}

    def run(*arguments: str, module: str = "scripts.ingest", **environ: str) -> Answer:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            env=clean | {"PYTHONPATH": str(ROOT)} | environ,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def _one_line(answer: Answer, exit_code: int) -> str:
    assert answer.returncode == exit_code
    assert answer.stdout == ""
    assert answer.stderr.count("\n") == 1
    return answer.stderr


def test_config_check_prints_what_is_in_force_and_where_it_comes_from(ingest: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("irods:\n  port: 1300\n")
    answer = ingest("config", "check", IRODS_PASSWORD="very secret", INGEST_LOG__LEVEL="DEBUG")
    assert answer.returncode == 0
    in_force = yaml.safe_load(answer.stdout)
    assert (in_force["irods"]["port"], in_force["log"]["level"]) == (1300, "DEBUG")
    assert re.search(r"^  port: 1300 +# config.yml:2$", answer.stdout, re.MULTILINE)
    assert re.search(r"^  level: DEBUG +# INGEST_LOG__LEVEL$", answer.stdout, re.MULTILINE)
    assert re.search(r"^  zone: tempZone +# default$", answer.stdout, re.MULTILINE)
    assert in_force["irods"]["password"] == "********"
    assert "very secret" not in answer.stdout + answer.stderr


def test_config_check_as_json(ingest: Run) -> None:
    answer = ingest("config", "check", "--json", INVENTORY_URL="postgres://u:very-secret@h/db")
    in_force = json.loads(answer.stdout)
    assert in_force["inventory.url"] == {
        "value": "postgresql+psycopg2://u@h/db",
        "source": "environment",
        "place": "INVENTORY_URL",
    }
    assert in_force["inventory.password"]["value"] == "********"
    assert "very-secret" not in answer.stdout


def test_bad_settings_are_one_line_and_exit_code_2(ingest: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("irods:\n  prot: 1300\n")
    line = _one_line(ingest("config", "check"), 2)
    assert line == "ingest: config.yml:2: there is no setting irods.prot; did you mean irods.port?\n"


def test_bad_usage_is_one_line_and_exit_code_2(ingest: Run) -> None:
    line = _one_line(ingest("config", "chekc"), 2)
    assert line.startswith("ingest: no such command 'chekc'")
    assert line.endswith("; see `ingest config --help`\n")
    assert "--jsn" in _one_line(ingest("config", "check", "--jsn"), 2)


def test_debug_shows_the_traceback(ingest: Run) -> None:
    answer = ingest("--debug", "--config", "none", "config", "check")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr


def test_without_a_command_the_help_fits_a_screen(ingest: Run) -> None:
    answer = ingest()
    assert answer.returncode == 2
    assert "Set up:" in answer.stderr
    helped = ingest("--help")
    assert helped.returncode == 0
    lines = helped.stdout.splitlines()
    assert len(lines) <= 23 and max(map(len, lines)) <= 80, helped.stdout  # and the next prompt
    assert [name for name in command.commands if not re.search(rf"^.{{7}} {name} +\S", helped.stdout, re.M)] == []
    options = [name for option in command.params for name in option.opts] + ["-h", "--help"]
    assert [name for name in options if f" {name}" not in lines[-2]] == []


def test_version(ingest: Run) -> None:
    assert re.fullmatch(r"ingest \S.*\n", ingest("--version").stdout)


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    # the pipe's reading end is closed before anything is written
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "scripts.ingest", "config", "check"]
    answer = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (answer.returncode, answer.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full, of Linux")
def test_a_full_disk_is_one_line_and_a_closed_output_none() -> None:
    command = f"'{sys.executable}' -m scripts.ingest config check"
    full, closed = (
        subprocess.run(["sh", "-c", f"{command} {place}"], cwd=ROOT, capture_output=True, text=True, check=False)
        for place in (">/dev/full", ">&-")
    )
    assert (full.returncode, full.stderr) == (
        1,
        "ingest: cannot write: No space left on device; make room, or write elsewhere\n",
    )
    assert (closed.returncode, closed.stderr) == (0, "")


def test_ctrl_c_ends_with_130_and_no_traceback(postgres: PostgresServer, empty_database_url: str) -> None:
    # the migration waits for a lock of ours, so the command is surely at work when it is interrupted
    engine = sqlalchemy.create_engine(empty_database_url)
    with engine.connect() as other:
        other.execute(sqlalchemy.text("CREATE SCHEMA inventory"))
        environ = os.environ | {"INVENTORY_URL": empty_database_url, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "scripts.ingest", "inventory", "init"]
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with engine.connect() as observer:
            while not observer.execute(sqlalchemy.text(waiting)).scalar():
                assert process.poll() is None
                observer.rollback()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        other.rollback()
    engine.dispose()
    assert (process.returncode, errors) == (130, "")


def test_the_inventory_is_created_once_checked_and_upgraded(ingest: Run, empty_database_url: str) -> None:
    missing = _one_line(ingest("inventory", "check", INVENTORY_URL=empty_database_url), 3)
    assert missing.startswith("ingest: ")
    assert ingest("inventory", "init", INVENTORY_URL=empty_database_url).stdout.startswith("created, schema version ")
    again = _one_line(ingest("inventory", "init", INVENTORY_URL=empty_database_url), 2)
    assert "ingest inventory upgrade" in again
    upgraded = ingest("inventory", "upgrade", INVENTORY_URL=empty_database_url)
    checked = ingest("inventory", "check", INVENTORY_URL=empty_database_url)
    assert (upgraded.returncode, checked.returncode) == (0, 0)
    assert upgraded.stdout == checked.stdout


def test_make_inventory_creates_it_and_fails_when_it_exists(ingest: Run, empty_database_url: str) -> None:
    created = ingest(module="scripts.make_inventory", INVENTORY_URL=empty_database_url)
    assert created.returncode == 0
    assert created.stdout.startswith("Created the inventory in postgresql+psycopg2://")
    password = sqlalchemy.make_url(empty_database_url).password
    assert f":{password}@" not in created.stdout
    again = _one_line(ingest(module="scripts.make_inventory", INVENTORY_URL=empty_database_url), 2)
    assert again.startswith("make_inventory: ")


@pytest.mark.parametrize("command", ["init", "upgrade", "check"])
def test_an_inventory_that_does_not_answer_is_one_line_and_exit_code_4(
    ingest: Run, strict_postgres: PostgresServer, command: str
) -> None:
    nowhere = strict_postgres.url("no_such_database")
    line = _one_line(ingest("inventory", command, INVENTORY_URL=nowhere), 4)
    assert "no_such_database" in line
    wrong = sqlalchemy.make_url(nowhere).set(password="guess").render_as_string(hide_password=False)
    line = _one_line(ingest("inventory", command, INVENTORY_URL=wrong), 4)
    assert "password" in line
    assert "guess" not in line


def test_sandbox_up_says_how_to_connect_and_ends_on_a_signal(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "scripts.ingest",
        "sandbox",
        "up",
        "--port",
        "0",
        "--state",
        str(tmp_path / "state"),
    ]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stdout
            said = ""
            for line in process.stdout:
                said += line
                if line.startswith("Ctrl-C ends it"):
                    break
            else:
                pytest.fail(f"it ended with {process.wait()}: {said}{process.communicate()[1]}")
            assert "NOT FOR PRODUCTION" in said
            environment = json.loads((tmp_path / "state" / "irods_environment.json").read_text())
            assert f"ready on 127.0.0.1:{environment['irods_port']}" in said
            password = tmp_path / "state" / "password"
            assert password.stat().st_mode & 0o777 == 0o600
            process.send_signal(number)
            _, errors = process.communicate()
            assert process.returncode == 0
            assert "Traceback" not in errors
        finally:
            process.kill()
            process.communicate()


def test_sandbox_up_refuses_a_port_in_use(ingest: Run, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        line = _one_line(ingest("sandbox", "up", "--port", str(other.getsockname()[1])), 4)
    assert "the sandbox iRODS cannot start" in line
