"""`make demo`: it ends by itself, Ctrl-C ends it at any moment, a second run goes on, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import PATIENCE, PROJECT, eventually, hashes_of


class Demo:
    """A demo over a folder of this test's own."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source = source
        self.state = folder / "state"
        self.output = folder / "output"
        self.environment = {
            key: value for key, value in os.environ.items() if key not in ("INVENTORY_URL", "IRODS_ENVIRONMENT_FILE")
        } | {"PYTHONPATH": str(PROJECT), "INGEST_CONFIG": str(PROJECT / "config.yml")}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-m", "scripts.demo", "--source", str(self.source), "--state", str(self.state)]
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                [*arguments, *options],
                env=self.environment,
                cwd=PROJECT,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return self.process

    def text(self) -> str:
        return self.output.read_text()

    def processes(self) -> dict[int, str]:
        """All processes that carry this demo's folder in their environment or arguments, by their number."""
        mark = os.fsencode(self.state)
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                told = (entry / "cmdline").read_bytes()
                known = (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark in told or mark in known:
                found[int(entry.name)] = told.replace(b"\0", b" ").decode(errors="replace").strip()
        return found

    def pod(self, module: str) -> int | None:
        return next((number for number, told in self.processes().items() if f"-m {module}" in told), None)

    def vault(self) -> dict[str, str]:
        [folder] = (self.state / "irods" / "Vault" / "home" / "rods").glob("demo-*")
        return hashes_of(folder)

    def assert_nothing_is_left(self) -> None:
        eventually("its processes have ended", lambda: not self.processes(), 20)
        assert not (self.state / "postgres" / "server" / "data" / "postmaster.pid").exists()


@pytest.fixture
def demo(source: Path, tmp_path: Path) -> Iterator[Demo]:
    for number in range(400):
        folder = source / f"d{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(os.urandom(number * 17))
    made = Demo(source, tmp_path)
    yield made
    for number in made.processes():
        os.kill(number, signal.SIGKILL)
    # as root the database lies elsewhere; what was made for this test goes with it
    remove = [sys.executable, "-m", "sandbox.postgres", "--remove", "--folder", str(made.state / "postgres")]
    subprocess.run(remove, env=made.environment, cwd=PROJECT, capture_output=True, check=False)


def test_it_ends_by_itself_and_says_what_it_has_done(demo: Demo) -> None:
    assert demo.start().wait(PATIENCE) == 0, demo.text()
    text = demo.text()
    for words in ("all verified", "verified              400", "ten slowest", "load ", "files/s"):
        assert words in text
    assert demo.vault() == hashes_of(demo.source)
    demo.assert_nothing_is_left()


@pytest.mark.parametrize("words", ["starting PostgreSQL", "starting the sandbox", "files found"])
def test_ctrl_c_ends_all_within_seconds_and_a_second_run_goes_on(demo: Demo, words: str) -> None:
    process = demo.start()
    eventually(f"it says {words!r}", lambda: words in demo.text())
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130, demo.text()
    assert "Traceback" not in demo.text()
    demo.assert_nothing_is_left()
    before = hashes_of(demo.source)
    assert demo.start().wait(PATIENCE) == 0, demo.text()
    assert demo.vault() == hashes_of(demo.source) == before
    demo.assert_nothing_is_left()


def test_whatever_is_killed_is_started_again(demo: Demo) -> None:
    process = demo.start()
    for module in ("sandbox.irods", "watcher", "loader", "verifier"):
        number = eventually(f"{module} runs", lambda module=module: demo.pod(module) or process.poll() is not None)
        if process.poll() is None:
            os.kill(number, signal.SIGKILL)
    assert process.wait(PATIENCE) == 0, demo.text()
    assert "starting it again" in demo.text()
    assert demo.vault() == hashes_of(demo.source)
    demo.assert_nothing_is_left()


def test_nothing_outlives_a_killed_demo(demo: Demo) -> None:
    process = demo.start()
    eventually("it loads", lambda: "files found" in demo.text())
    process.kill()
    process.wait()
    demo.assert_nothing_is_left()
    assert demo.start().wait(PATIENCE) == 0, demo.text()
    assert demo.vault() == hashes_of(demo.source)


def test_a_failed_file_makes_it_fail(demo: Demo) -> None:
    deep = demo.source
    for _ in range(6):
        deep = deep / ("d" * 200)
        deep.mkdir()
    (deep / "far").write_bytes(b"far")
    assert demo.start().wait(PATIENCE) == 1
    assert "failed files:" in demo.text()
    assert "path_too_long" in demo.text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--source", "/nowhere/at/all"], "does not exist"),
        (["--operation", "fax"], "'fax' is not one of"),
    ],
)
def test_bad_input_is_told_in_one_line(demo: Demo, options: list[str], words: str) -> None:
    assert demo.start(*options).wait(PATIENCE) == 2
    assert len(demo.text().splitlines()) == 1
    assert words in demo.text()
