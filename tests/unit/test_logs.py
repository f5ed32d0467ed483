"""Logs are one object a line, whoever writes them, and never show what python-irodsclient sends."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from core import logs
from core.errors import UsageError
from core.settings import LogSettings

log = structlog.get_logger()


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logs.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_line_is_one_json_object_with_what_was_bound(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(), kind="loader")
    log.info("claimed", files=3)
    logs.bind(worker=7)
    log.warning("two\nlines", name="\udcff\n", path=b"\xff")
    first, second = _lines(capsys)
    assert {key: first[key] for key in ("level", "event", "kind", "files")} == {
        "level": "info",
        "event": "claimed",
        "kind": "loader",
        "files": 3,
    }
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["worker"], second["name"]) == ("two\nlines", 7, "\udcff\n")


def test_what_was_bound_is_there_in_every_thread() -> None:
    program = """
import threading, structlog
from core import logs
from core.errors import UsageError
from core.settings import LogSettings
logs.configure(LogSettings(), kind="loader", worker=7)
thread = threading.Thread(target=lambda: structlog.get_logger().info("from a thread"))
thread.start()
thread.join()
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(answer.stderr)["worker"] == 7


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(level="WARNING"))
    log.info("unseen")
    log.error("seen")
    assert [line["event"] for line in _lines(capsys)] == ["seen"]


def test_libraries_write_through_the_same_renderer_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(level="DEBUG"), kind="verifier")
    logging.getLogger("sqlalchemy.engine").info("unseen")
    logging.getLogger("sqlalchemy.pool").warning("lost %s", "a connection", extra={"pool": "small"})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = _lines(capsys)
    assert (first["event"], first["logger"], first["kind"]) == ("lost a connection", "sqlalchemy.pool", "verifier")
    assert first["pool"] == "small"
    assert second["logger"] == "py.warnings"


def test_the_irods_client_never_logs_its_packets(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(level="DEBUG"))
    packets = logging.getLogger("irods.message")
    packets.setLevel(logging.DEBUG)
    try:
        packets.debug("<RErrMsg_PI>secret</RErrMsg_PI>")
        packets.error("seen")
    finally:
        packets.setLevel(logging.NOTSET)
    assert [line["event"] for line in _lines(capsys)] == ["seen"]


def test_an_error_brings_its_traceback_in_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings())
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception("failed too")
    ours, theirs = _lines(capsys)
    assert "ValueError: why" in ours["exception"]
    assert "ValueError: why" in theirs["exception"]


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="text"), kind="loader")
    log.info("claimed", files=3)
    line = capsys.readouterr().err
    assert "[info" in line
    assert "claimed files=3 kind=loader" in line


def test_a_file_takes_all_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = LogSettings(filename=f"{tmp_path}/logs/{{kind}}-{{pod}}.log", when="D")
    logs.configure(settings, kind="loader", pod="loader-7")
    log.info("first %s", percent="100 %")
    logging.getLogger("library").warning("of a %s", "library")
    (file,) = (tmp_path / "logs").iterdir()
    assert file.name == "loader-loader-7.log"
    first, second = [json.loads(line) for line in file.read_text().splitlines()]
    assert (first["event"], first["percent"], first["pod"]) == ("first %s", "100 %", "loader-7")
    assert (second["event"], second["logger"]) == ("of a library", "library")
    assert capsys.readouterr().err == ""


def test_a_file_is_changed_by_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(filename=f"{tmp_path}/pod.log", when="S", interval=1, keep=2), kind="loader", pod="a")
    until = time.monotonic() + 20
    while len(list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < until
        log.info("again")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["{nobody}.log", "/proc/none/a.log"])
def test_a_file_that_cannot_be_written_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UsageError, match=r"log\.filename"):
        logs.configure(LogSettings(filename=name), kind="loader", pod="a")
