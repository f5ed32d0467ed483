"""The server as a process of its own: its start, its signals, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from irods.exception import NetworkException
from irods.session import iRODSSession

from sandbox.irods import SandboxServer
from tests.sandbox.calls import HOME, LEFT_BEHIND, connect, object_input, put

pytestmark = [pytest.mark.usefixtures("broken_connections"), pytest.mark.filterwarnings(LEFT_BEHIND)]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts `python -m sandbox.irods`; gives the process, with its port and zone."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "sandbox.irods", "--state", str(tmp_path / "state"), *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            return SimpleNamespace(process=process, port=0, zone="")
        return SimpleNamespace(process=process, port=int(line.rsplit(":", 1)[1]), zone="tempZone", ready=line)

    yield run
    for process in running:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=10)
    return process.returncode, errors


def test_it_starts_serves_and_ends(start: Callable[..., Any], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    server = start("--password-file", str(secret), "--admin", "boss")
    assert server.ready == f"ready 127.0.0.1:{server.port}\n"
    environment = json.loads((tmp_path / "state/irods_environment.json").read_text())
    assert (environment["irods_port"], environment["irods_user_name"]) == (server.port, "boss")
    with connect(server, "boss", "from a file") as session:
        assert session.collections.exists("/tempZone/home/boss")
        server.process.send_signal(signal.SIGTERM)
        code, errors = ended(server.process)
    assert code == 0 and "NOT for production" in errors and "from a file" not in errors
    assert json.loads((tmp_path / "state/calls.json").read_text())["702"] == 1


def test_it_says_why_it_cannot_start(start: Callable[..., Any], tmp_path: Path) -> None:
    server = start()
    code, errors = ended(start("--port", str(server.port)).process)
    assert code == 2 and errors.count("\n") == 1 and "in use" in errors
    (tmp_path / "file").write_text("")
    process = subprocess.run(
        [sys.executable, "-m", "sandbox.irods", "--state", str(tmp_path / "file" / "below")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 2 and process.stderr.count("\n") == 1


def test_it_is_steered_by_a_file(start: Callable[..., Any], tmp_path: Path) -> None:
    server = start()
    with connect(server) as session:
        put(session, f"{HOME}/a")
        (tmp_path / "state/faults.json").write_text('[{"kind": "drop_after", "api": 606, "count": 1}]')
        with pytest.raises(NetworkException):
            put(session, f"{HOME}/b")
        assert session.data_objects.exists(f"{HOME}/b")
    server.process.send_signal(signal.SIGUSR1)
    calls = tmp_path / "state/calls.json"
    assert server.process.stdout.readline() == f"calls {calls}\n"
    assert json.loads(calls.read_text())["606"] == 2


def test_a_kill_leaves_a_catalogue_that_opens(start: Callable[..., Any], tmp_path: Path) -> None:
    """Kill the server in the middle of puts, three times; the catalogue agrees with what was answered and with the vault."""
    answered: list[str] = []
    for round_ in range(3):
        server = start()
        enough = threading.Event()

        def load(number: int, running: Any = server, round_: int = round_, enough: threading.Event = enough) -> None:
            with connect(running) as session:
                for each in range(10_000):
                    name = f"r{round_}_{number}_{each}"
                    try:
                        put(session, f"{HOME}/{name}", name.encode(), regChksum="")
                    except (NetworkException, OSError):
                        return
                    answered.append(name)
                    if each == 20:
                        enough.set()

        clients = [threading.Thread(target=load, args=(number,)) for number in range(3)]
        for client in clients:
            client.start()
        assert enough.wait(30)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        for client in clients:
            client.join()
        with sqlite3.connect(tmp_path / "state/catalogue.sqlite") as db:
            assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    with SandboxServer(tmp_path / "state") as again, connect(again) as session:
        rows = again.sql("select name, status, size, path from replicas")
        assert {row[0] for row in rows if row[1] == 1} >= set(answered)
        assert all(os.stat(path).st_size == size == len(name) for name, status, size, path in rows if status == 1)
        assert sum(status != 1 for _, status, _, _ in rows) <= 9
        assert again.sql("select count(*) from replicas where data_id not in (select object_id from access)") == [(0,)]
        _can_be_repaired(again, session)
        put(session, f"{HOME}/after")


def _can_be_repaired(server: SandboxServer, session: iRODSSession) -> None:
    """What was being written is intermediate, and 622 frees it."""
    for (name,) in server.sql("select name from replicas where status <> 1"):
        session.data_objects.modDataObjMeta({"objPath": f"{HOME}/{name}"}, {"replStatus": 0})
        session.data_objects.unlink(f"{HOME}/{name}", force=True)


def test_a_write_that_a_kill_cuts_off_stays_intermediate(start: Callable[..., Any], tmp_path: Path) -> None:
    server = start()
    with connect(server) as session:
        file = session.data_objects.open(f"{HOME}/a", "w")
        file.raw.write(b"part")
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        with pytest.raises(NetworkException):
            file.close()
    with SandboxServer(tmp_path / "state") as again, connect(again) as session:
        assert again.sql("select status, size from replicas") == [(2, 0)]
        assert (again.vault / "home/rods/a").read_bytes() == b"part"
        session.data_objects.modDataObjMeta({"objPath": f"{HOME}/a"}, {"replStatus": 0})
        put(session, f"{HOME}/a", b"whole", forceFlag="")
        assert again.sql("select status, size from replicas") == [(1, 5)]


def test_a_large_sparse_object_in_bounded_memory(start: Callable[..., Any], tmp_path: Path) -> None:
    """5 GiB by open, seek, write, close: the bytes between are a hole, the server does not grow."""
    server = start()
    size = 5 << 30
    with connect(server) as session:
        with session.data_objects.open(f"{HOME}/a", "w") as file:
            file.raw.seek(size - (8 << 20))
            file.raw.write(bytes(8 << 20))
        found = session.data_objects.get(f"{HOME}/a")
        assert (found.size, found.replicas[0].status) == (size, "1")
        assert object_input("/x").objPath == "/x"
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) < 200_000
