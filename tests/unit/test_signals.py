"""Stopping in two phases, and dying when frozen, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from core.signals import FROZEN_EXIT_CODE, Stop

WATCHED = """
import time
from core.signals import die_if_frozen
die_if_frozen({seconds})
print("ready", flush=True)
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    print("alive", flush=True)
"""


def watched(seconds: float, *prefix: str) -> subprocess.Popen[bytes]:
    """A process that writes without end and is watched."""
    program = [*prefix, sys.executable, "-c", WATCHED.format(seconds=seconds)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()})


def test_a_process_that_wakes_too_late_writes_nothing() -> None:
    with watched(1.0) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        os.set_blocking(process.stdout.fileno(), False)
        while process.stdout.read(1 << 20):
            pass
        threading.Event().wait(1.2)
        process.send_signal(signal.SIGCONT)
        assert process.wait(10) == FROZEN_EXIT_CODE
        # a write that was under way may end
        assert len(process.stdout.read() or b"") <= len(b"alive\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a process number 1")
def test_the_first_process_of_a_container_dies_as_well() -> None:
    with watched(0.3, "unshare", "--pid", "--fork", "--kill-child") as process:
        assert process.stdout is not None
        while process.stdout.read(1 << 16):
            pass
        assert process.wait(10) == FROZEN_EXIT_CODE


def test_a_stop_is_seen_by_all_who_wait() -> None:
    stop = Stop()
    assert not stop.wait(0)
    seen: list[bool] = []
    waiting = [threading.Thread(target=lambda: seen.append(stop.wait())) for _ in range(3)]
    for thread in waiting:
        thread.start()
    before = time.monotonic()
    stop.set()
    stop.set()
    for thread in waiting:
        thread.join(10)
    assert seen == [True] * 3
    assert stop.asked_at is not None and stop.asked_at >= before
