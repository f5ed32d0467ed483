"""Command lines of automated ingest in our words."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from core.errors import UsageError
from scripts.migrate import group
from scripts.migrate_automated_ingest import of_file, translated


def test_a_start_becomes_a_start() -> None:
    given = "start /data/src /tempZone/home/rods/x -i 60 --job_name j --event_handler /h/eh.py --synchronous --files_per_task 5"
    command, *notes = translated(
        [*given.split(), "--exclude_file_type", "link,socket", "--log_level", "info"]
    ).splitlines()
    assert command == (
        "ingest job start /data/src /tempZone/home/rods/x --name j --event-handler eh.py --rescan 60 --wait"
        " --exclude-type link --exclude-type socket"
    )
    assert any("--files_per_task" in note for note in notes)
    assert "#     handlers_folder: /h" in notes
    assert "#     level: INFO" in notes


def test_a_pattern_of_the_source_s_own_path_begins_below_it() -> None:
    patterns = [r"/data/src/tmp.*", r"^/data/src/old/", r"(\S+)\.hidden", "/data/src/a|/data/src/b"]
    command = translated(["start", "/data/src/", "/z/x", "--exclude_file_name", *patterns]).splitlines()[0]
    assert shlex.split(command)[-8:][1::2] == [r"^tmp.*", r"^old/", r"(\S+)\.hidden", "/data/src/a|/data/src/b"]


def test_a_bucket_becomes_a_source_of_its_own() -> None:
    text = translated(["start", "/bucket/a b", "/z/x", "--s3_keypair", "/k", "--s3_endpoint_domain", "minio:9000"])
    assert text.startswith("ingest job start 's3://bucket/a b' /z/x --operation register_sync")
    assert "endpoint_url: https://minio:9000" in text
    assert "key_pair_file: /k" in text


@pytest.mark.parametrize("words", [["stop", "j"], ["watch", "j"], ["list"]])
def test_the_other_commands_have_the_same_names(words: list[str]) -> None:
    assert translated(words) == " ".join(["ingest", "job", *words])


@pytest.mark.parametrize("words", [["start", "/a"], ["start", "/a", "/z", "--no_such", "1"], ["run"]])
def test_what_is_no_command_line_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        translated(words)


SCRIPT = """#!/bin/bash
# irods_capability_automated_ingest start /not /this
SRC="/data/in put"
export ZONE=tempZone
TARGET=/$ZONE/home/rods/x
irods_capability_automated_ingest start "$SRC" ${TARGET} \\
    --job_name one -i 60 > /tmp/log 2>&1 && echo done
python3 -m irods_capability_automated_ingest.irods_sync start /b $OTHER --synchronous; irods_capability_automated_ingest list
"""
CRONTAB = "MAILTO=ops\n*/5 * * * * root /opt/venv/bin/irods_capability_automated_ingest start /c /z/c --job_name c >/dev/null\n"
COMPOSE = """
services:
  redis: {image: redis}
  start:
    entrypoint: [python, -m, irods_capability_automated_ingest.irods_sync]
    command: start /d /z/d --ignore_cache
"""
KUBERNETES = """
apiVersion: batch/v1
kind: CronJob
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
          - name: a
            command: [irods_capability_automated_ingest]
            args: ["start", "/e", "/z/e", "--job_name", "e"]
          - name: b
            command: ["sh", "-c", "sleep 1; irods_capability_automated_ingest start /f /z/f --job_name f"]
---
kind: ConfigMap
data:
  run.sh: |
    irods_capability_automated_ingest stop e
"""


@pytest.mark.parametrize(
    ("name", "text", "commands"),
    [
        (
            "run.sh",
            SCRIPT,
            [
                "ingest job start '/data/in put' /tempZone/home/rods/x --name one --operation register_sync --rescan 60",
                "ingest job start /b '$OTHER' --operation register_sync --wait",
                "ingest job list",
            ],
        ),
        ("crontab", CRONTAB, ["ingest job start /c /z/c --name c --operation register_sync"]),
        ("compose.yaml", COMPOSE, ["ingest job start /d /z/d --operation register_sync"]),
        (
            "cron.yml",
            KUBERNETES,
            [
                "ingest job start /e /z/e --name e --operation register_sync",
                "ingest job start /f /z/f --name f --operation register_sync",
                "ingest job stop e",
            ],
        ),
    ],
)
def test_commands_are_found_in_files(tmp_path: Path, name: str, text: str, commands: list[str]) -> None:
    (tmp_path / name).write_text(text)
    lines = of_file(tmp_path / name).splitlines()
    assert [line for line in lines if not line.startswith("#")] == commands
    assert ("# put values in the place of $OTHER" in lines) == ("$OTHER" in text)


HANDLER = """
from irods_capability_automated_ingest.core import Core
from irods_capability_automated_ingest.utils import DeleteMode, Operation
KIND = Operation.PUT_SYNC
class event_handler(Core):
    @staticmethod
    def operation(session, meta, **options):
        "What is done."
        return KIND
    @staticmethod
    def delete_mode(meta):
        return DeleteMode.TRASH
    @staticmethod
    def to_resource(session, meta, **options):
        return "a" if meta["size"] else "b"
    @staticmethod
    def max_retries(hdlr_mod, logger, meta):
        return 3
    @staticmethod
    def delay(hdlr_mod, logger, meta, retries):
        return retries * 2
    @staticmethod
    def timeout(hdlr_mod, logger, meta):
        return 60
"""


def test_a_handler_beside_its_command_tells_what_it_always_answers(tmp_path: Path) -> None:
    handler, script = tmp_path / "eh.py", tmp_path / "run.sh"
    handler.write_text(HANDLER)
    script.write_text(f"irods_capability_automated_ingest start /a /z/a --event_handler {handler}\n")
    for file in (handler, script):
        done = CliRunner().invoke(group, ["automated-ingest", "--file", str(file)])
        assert done.exit_code == 0, done.output
        assert "# always answers operation put_sync, delete_mode trash, timeout 60, max_retries 3\n" in done.output
    handler.write_text(HANDLER.replace("PUT_SYNC", "PUT"))
    with pytest.raises(UsageError, match="operation put with delete mode trash"):
        of_file(script)
    handler.write_text(HANDLER.replace("return 60", "return -1"))
    with pytest.raises(UsageError, match="timeout returned -1"):
        of_file(handler)


def test_a_file_without_a_command_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("echo irods_sync\n")
    with pytest.raises(UsageError, match="runs no"):
        of_file(tmp_path / "run.sh")
    (tmp_path / "chart.yaml").write_text("{{ .Values.x }}: {")
    with pytest.raises(UsageError, match="no YAML"):
        of_file(tmp_path / "chart.yaml")
