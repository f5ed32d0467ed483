"""What is forked is like what is executed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import forked
from tests.e2e.world import PROJECT

pytestmark = pytest.mark.skipif(not forked.possible(), reason="all is executed here")


@pytest.mark.parametrize("arguments", [["config", "check"], ["job", "nonsense"]], ids=" ".join)
def test_a_forked_command_says_what_an_executed_one_says(tmp_path: Path, arguments: list[str]) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "INGEST_IRODS__HOST": "an.irods",
        "INGEST_CONFIG": "here.yml",
    }
    (tmp_path / "here.yml").write_text("irods:\n  port: 1300\n")
    command = [sys.executable, "-m", "scripts.ingest", *arguments]
    executed = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    nursery = forked.nursery("scripts.ingest", environment)
    assert nursery is not None
    forked_one = nursery.run(arguments, environment, tmp_path, 60)
    assert (forked_one.returncode, forked_one.stdout, forked_one.stderr) == (
        executed.returncode,
        executed.stdout,
        executed.stderr,
    )


def test_a_forked_process_is_a_child_that_can_be_killed(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "INVENTORY_URL": "postgresql://ingest:x@127.0.0.1:1/nowhere",
    }
    nursery = forked.nursery("scripts.ingest", environment)
    assert nursery is not None
    with (tmp_path / "output").open("w+b") as output:
        process = nursery.fork(["inventory", "check", "--wait", "60"], environment, tmp_path, output, output)
    assert f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{process.pid}/status").read_text()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    process.kill()
    assert process.wait(60) == process.poll() == -signal.SIGKILL


def test_another_python_environment_is_executed() -> None:
    assert forked.nursery("scripts.ingest", {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "7"}) is None
    assert forked.nursery("k8s", dict(os.environ)) is None
