"""`timeout` ends a call however it is stuck; `max_retries` and `delay` say how often and when an attempt is made again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.many import Many, handler
from tests.e2e.world import World

STUCK = """
def pre_data_obj_create(hdlr_mod, logger, session, meta, **options):
    name = os.path.basename(meta["path"])
    if name == "sleeps":
        time.sleep(1000)
    if name == "spins":
        while True:
            pass
    if name == "swallows":
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                pass
    if name == "deaf":
        import signal
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(1000)
    if name == "child":
        subprocess.run(["sleep", "1000.25"])
    if name == "call":
        from irods.session import iRODSSession
        with iRODSSession(host="127.0.0.1", port=PORT, user="x", zone="x", password="x") as other:
            other.connection_timeout = None
            other.collections.get("/x")
    if name == "own":
        with session.pool.get_connection() as connection:
            connection.socket.settimeout(None)
            connection.recv()
"""


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            try:
                while True:
                    taken.append(server.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in taken:
            connection.close()


def test_a_stuck_call_is_ended_however_it_is_stuck(world: World, folder: Path, source: Path, silent: int) -> None:
    stuck = ("sleeps", "spins", "swallows", "deaf", "child", "call", "own")
    for name in (*stuck, "good0", "good1"):
        (source / name).write_bytes(name.encode())
    many = Many(world, folder)
    patient = f"1 if os.path.basename(meta['path']) in {stuck!r} else 60"
    many.begin("job", source, handler(STUCK.replace("PORT", str(silent)), operation="Operation.PUT", timeout=patient))
    world.start("watcher", "loader", "verifier")
    many.finished(["job"])
    world.stop()
    lines = many.lines("job")
    assert {path: line.error for path, line in lines.items()} == dict.fromkeys(stuck, "timeout") | {
        "good0": None,
        "good1": None,
    }
    for name in stuck:
        assert "not done after 1 s" in (lines[name].message or "")
        assert lines[name].load_attempts == 1
    assert world.objects() == {"job/good0", "job/good1"}
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(b"1000.25" in line for line in running)  # what a handler has started ends with it


REPEATED = """
def pre_data_obj_create(hdlr_mod, logger, session, meta, **options):
    name = os.path.basename(meta["path"])
    with open(os.path.join(NOTES, name), "a") as notes:
        notes.write(f"{time.time()}\\n")
    tries, fails = int(name.split("-")[0]), int(name.split("-")[1])
    with open(os.path.join(NOTES, name)) as notes:
        if len(notes.readlines()) <= fails:
            if name.endswith("hangs"):
                time.sleep(1000)
            raise LookupError("not yet")
def max_retries(hdlr_mod, logger, meta):
    return int(os.path.basename(meta["path"]).split("-")[0])
def delay(hdlr_mod, logger, meta, retries):
    return 0.5 * retries
"""


def test_attempts_are_as_many_and_as_far_apart_as_the_handler_says(
    world: World, folder: Path, source: Path, tmp_path: Path
) -> None:
    """Names are: how often it may be tried again, and how often it fails."""
    names = ("0-0", "0-1", "1-1", "2-1", "2-2", "2-3", "3-9", "1-1-hangs", "1-9-hangs")
    for name in names:
        (source / name).write_bytes(name.encode())
    notes = tmp_path / "notes"
    notes.mkdir()
    many = Many(world, folder)
    text = handler(REPEATED.replace("NOTES", repr(str(notes))), operation="Operation.PUT_SYNC", timeout="2")
    many.begin("job", source, text, max_attempts=2)  # the handler's word goes before the job's
    world.start("watcher", "loader", "verifier")
    many.finished(["job"])
    world.stop()
    lines = many.lines("job")
    for name in names:
        retries, fails = (int(word) for word in name.split("-")[:2])
        times = [float(line) for line in (notes / name).read_text().splitlines()]
        assert len(times) == min(retries, fails) + 1, (name, times)
        assert lines[name].state == ("verified" if fails <= retries else "dead"), name
        assert lines[name].error == (None if fails <= retries else "timeout" if "hangs" in name else "LookupError")
        for number, (first, second) in enumerate(pairwise(times), start=1):
            assert second - first >= 0.5 * number, (name, times)
