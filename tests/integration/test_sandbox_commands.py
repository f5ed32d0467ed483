"""`ingest sandbox postgres` and `files`, and waiting for the schema, as the pods of the sandbox do it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from inventory.engine import Database
from inventory.schema import head


def ingest(*arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.ingest", *arguments],
        env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_postgres_for_others_keeps_its_data_and_is_waited_for(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("of the sandbox\n")
    port = free_port()
    serve = ["sandbox", "postgres", "--state", str(tmp_path / "state"), "--host", "0.0.0.0", "--port", str(port)]
    url = f"postgresql+psycopg2://ingest@127.0.0.1:{port}/ingest"
    environ = {"INVENTORY_URL": url, "INVENTORY_PASSWORD": "of the sandbox"}
    # those that wait are there before it is, as in a cluster
    waiting = ingest("inventory", "check", "--wait", "90", **environ)
    upgrading = ingest("inventory", "upgrade", "--wait", "90", **environ)
    server = ingest(*serve, "--password-file", str(secret))
    try:
        assert upgrading.communicate(timeout=90) == (f"schema version {head()}\n", "")
        assert waiting.communicate(timeout=90) == (f"schema version {head()}\n", "")
        assert (upgrading.returncode, waiting.returncode) == (0, 0)
    finally:
        server.send_signal(signal.SIGTERM)
        out, error = server.communicate(timeout=60)
    assert server.returncode == 0, error
    assert out.startswith(f"ready on 0.0.0.0:{port}")
    again = ingest(*serve, "--password-file", str(secret))
    try:
        assert again.stdout is not None
        assert again.stdout.readline().startswith("ready")
        database = Database(url.replace("ingest@", "ingest:of%20the%20sandbox@"))
        assert int(database.version().split(".")[0]) >= 15
        database.close()
    finally:
        again.send_signal(signal.SIGTERM)
        again.communicate(timeout=60)


def test_waiting_ends(tmp_path: Path) -> None:
    nobody = f"postgresql+psycopg2://ingest@127.0.0.1:{free_port()}/ingest"
    check = ingest("inventory", "check", "--wait", "0.1", INVENTORY_URL=nobody, INVENTORY_PASSWORD="x")
    _, error = check.communicate(timeout=60)
    assert check.returncode == 4
    assert "does not answer" in error


def test_files_are_made_once(tmp_path: Path) -> None:
    def make() -> str:
        out, _ = ingest("sandbox", "files", str(tmp_path / "source"), "--count", "150", "--bytes", "10").communicate()
        return out

    assert make() == f"150 files made in {tmp_path / 'source'}, 0 were there\n"
    files = sorted(path for path in (tmp_path / "source").rglob("*") if path.is_file())
    assert len({path.read_bytes() for path in files}) == len(files) == 150
    files[3].write_bytes(b"half")
    assert make() == f"1 files made in {tmp_path / 'source'}, 149 were there\n"
    assert files[3].stat().st_size == 10
