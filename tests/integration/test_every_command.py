"""What holds for all commands: readers speak JSON, and what goes wrong is one line with a hint and another exit code than 0."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from core.errors import IngestError
from scripts import write_docs
from scripts.frame import run
from scripts.ingest import ingest

COMMANDS = {
    context.command_path.removeprefix("ingest "): context.command
    for context in write_docs.commands()
    if not isinstance(context.command, click.Group)
}
CHANGING = {
    "inventory init", "inventory upgrade", "job add", "job pause", "job resume", "job stop", "job cancel", "job set", "job rescan",
    "job retry", "job confirm-deletes", "job delete", "compute retry", "compute request",
}  # fmt: skip
"""Commands that tell what they have done in one line."""
NO_DATA = {
    "completion", "migrate automated-ingest", "migrate hsds-bucket-loader", "serve",
    "sandbox up", "sandbox postgres", "sandbox files",
}  # fmt: skip
"""Commands that print a program's text, or run servers."""
WITHOUT_INVENTORY = NO_DATA - {"serve"} | {"config check", "handler check", "compute rules check"}
"""Commands that answer without an inventory."""
VALUES = {
    "NAME": "nothing",
    "JOB": "nothing",
    "SOURCE": "/",
    "COLLECTION": "/tempZone/home/rods/x",
    "TASK": "1",
    "PATH": "nothing",
}
MORE = {
    "job cancel": ["nothing", "--yes"],
    "plan": ["/", "/tempZone/home/rods/x"],
    "job add": ["nothing", "list.csv"],
    "job set": ["nothing", "--priority", "1"],
    "job delete": ["nothing", "--yes"],
    "compute retry": ["1"],
    "compute request": ["--rule", "nothing"],
    "retry": ["--yes"],
    "serve": ["--port", "0"],
    "dump": ["--job", "nothing"],
    "failures": ["--job", "nothing"],
}
UNKNOWN_JOB = sorted(
    name for name, command in COMMANDS.items()
    if any(parameter.name == "job" or parameter.human_readable_name in ("NAME", "JOB") for parameter in command.params)
)  # fmt: skip


def arguments(name: str) -> list[str]:
    """Words with which a command would work, if all were well and there were a job `nothing`."""
    needed = [
        one.human_readable_name for one in COMMANDS[name].params if isinstance(one, click.Argument) and one.required
    ]
    return [*name.split(), *MORE.get(name, [VALUES.get(word, "nothing") for word in needed])]


def refused(words: Sequence[str], capsys: pytest.CaptureFixture[str], *codes: int) -> str:
    """The one line in which a command says what is wrong."""
    code = run(ingest, "ingest", words)
    told = capsys.readouterr()
    assert code in codes, (code, told)
    assert told.err.startswith("ingest: ") and told.err.count("\n") == 1, told.err
    assert "Traceback" not in told.err and "unexpected" not in told.err
    return told.err


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those that a test gives."""
    for key in list(os.environ):
        if key.startswith(("INGEST_", "INVENTORY_", "IRODS_", "KUBE", "WEB_")):
            monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text("path\nx\n")


def test_every_reader_has_json() -> None:
    readers = COMMANDS.keys() - CHANGING - NO_DATA
    assert COMMANDS.keys() >= CHANGING | NO_DATA
    assert [name for name in sorted(readers) if not any("--json" in one.opts for one in COMMANDS[name].params)] == []


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT_INVENTORY))
def test_an_inventory_that_is_away_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setenv("INVENTORY_URL", f"postgresql://nobody@127.0.0.1:{port}/none")
    if name == "doctor":  # which tells it as one check of many
        assert run(ingest, "ingest", ["doctor", "--only", "inventory"]) == 1
        assert "FAIL inventory answers" in capsys.readouterr().out
        return
    assert ";" in refused(arguments(name), capsys, 2, 4), "there is no hint"


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - NO_DATA - {"handler check"} | {"serve"}))
def test_bad_settings_are_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yml").write_text("irods:\n  no_such_key: 1\n")
    assert "no_such_key" in refused(["--config", "bad.yml", *arguments(name)], capsys, 2)


@pytest.mark.parametrize("name", UNKNOWN_JOB)
def test_an_unknown_job_is_one_line(
    name: str, inventory_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INVENTORY_URL", inventory_url)
    words = arguments(name)
    if "nothing" not in words:
        words += ["--job", "nothing"]
    if name in ("plan", "job start"):
        return  # the name of a new job
    assert "nothing" in refused(words, capsys, IngestError.exit_code + 1)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_unknown_option_says_where_to_look(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "migrate automated-ingest":
        return  # all words are those of another program
    assert f"see `ingest {name} --help`" in refused([*arguments(name), "--no-such-option"], capsys, 2)
