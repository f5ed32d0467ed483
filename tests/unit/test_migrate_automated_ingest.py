"""Command lines of automated ingest in our words."""

from __future__ import annotations

import pytest

from core.errors import UsageError
from scripts.migrate_automated_ingest import translated


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
