"""The commands of README.md and docs/ in one shell, as a newcomer types them: nothing is prepared but the files they name."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, RUN_IN_ORDER, Block, blocks, is_run
from tests.e2e.world import PROJECT, QUICK
from tests.s3.service import running

PATIENCE = 600.0
START = "set -eE -o pipefail; trap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n"


def free_ports(number: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Adapted:
    """The text of blocks with the paths and ports of this run in the place of those that a machine has once."""

    def __init__(self, folder: Path) -> None:
        postgres, irods, page, other = free_ports(4)
        self.ports = (page, other)
        self._replaced = {
            "ingest sandbox postgres": f"ingest sandbox postgres --port {postgres}",
            "ingest sandbox up": f"ingest sandbox up --port {irods}",
            ":5432/": f":{postgres}/",
            ":8080/": f":{page}/",
            "8081": str(other),
            "serve &": f"serve --port {page} &",
            " /archive": f" {folder}/archive",
            " /data ": f" {folder}/data ",
            "--count 1000": "--count 100",
        }

    def __call__(self, text: str) -> str:
        for one, other in self._replaced.items():
            text = text.replace(one, other)
        return text

    def script(self, pages: list[list[Block]]) -> Iterator[str]:
        """All pages as one script; what a page has served, and pods of all but the first, end with it."""
        yield START
        for page in pages:
            last = max((block.line for block in page if block.info == ("python",)), default=None)
            for block in page:
                yield f'echo; echo "@@ {block.page}:{block.line} ($SECONDS s)"\n'
                if block.info == ("sh",):
                    yield self(block.text)
                    yield from (
                        f"curl -sS --retry 60 --retry-delay 1 --retry-connrefused http://127.0.0.1:{port}/livez\n"
                        for port in self.ports
                        if f" {port} " in self(block.text)
                    )
                elif len(block.info) > 1:
                    yield f"cat > {block.info[1]} <<'END-OF-BLOCK'\n{block.text}END-OF-BLOCK\n"
                elif block.line == last:  # the blocks of a page are one script
                    together = "".join(block.text for block in page if block.info == ("python",))
                    yield f"python -W error - <<'END-OF-BLOCK'\n{together}END-OF-BLOCK\n"
            yield "kill $(jobs -l | awk '/ingest serve/ {print $2}') 2>&- || true\n"
            yield 'kept="${kept:-$(jobs -p)}"; kill $(jobs -p | grep -vxF "$kept") 2>&- || true\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that the pages name."""
    for name in ("archive/run7/d/f", "archive/run8/f", "archive/run9/f", "archive/run10/f", "archive/night/f"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "data").mkdir()
    for name in ("a.dat", "b.dat"):
        (tmp_path / "data" / name).write_text(name)
    return tmp_path


@pytest.mark.timeout(PATIENCE + 60)
def test_all_commands_work_in_the_order_of_the_pages(folder: Path) -> None:
    adapted = Adapted(folder)
    pages = [[block for block in blocks(ROOT / page) if is_run(block)] for page in RUN_IN_ORDER]
    assert shutil.which("bash") and shutil.which("curl") and shutil.which("openssl")
    (folder / "home").mkdir()
    with running(folder) as s3:
        s3.client.create_bucket(Bucket="bucket")
        s3.client.put_object(Bucket="bucket", Key="some/prefix/key", Body=b"of an object")
        foreign = ("INGEST_", "INVENTORY_", "IRODS_", "AWS_", "KUBE", "WEB_", "PYTHON")
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(foreign)},
            **QUICK, **s3.environment(), "INGEST_WORKER__POLL_SECONDS": "0.3",
            "HOME": str(folder / "home"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT), "INGEST_LOADER__HANDLERS_FOLDER": str(folder / "try-ingest"),
        }  # fmt: skip
        output = (folder / "output").open("w+")
        with output:
            shell = subprocess.Popen(
                ["bash", "-c", "".join(adapted.script(pages))],
                env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            try:
                code = shell.wait(PATIENCE)
            finally:
                os.killpg(shell.pid, signal.SIGTERM)  # the servers and pods of the shell, which is their group
                _all_ended(shell.pid)
        told = (folder / "output").read_text()
    assert code == 0, told[-6000:]
    assert len(re.findall(r"^@@ ", told, re.M)) == sum(map(len, pages))
    assert "Traceback" not in told, told[-6000:]
    assert re.search(r"all counts agree", told)


def _all_ended(group: int) -> None:
    """Wait for a process group's end, so that no server writes into a folder that is being removed."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
