"""A pod is ready only while iRODS answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from core.irods.pulse import Pulse
from core.metrics import Probes
from core.settings import IrodsSettings
from sandbox.irods.server import SandboxServer


def until(question: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not question():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_ready_follows_irods(tmp_path: Path) -> None:
    probes = Probes(1.0)
    with SandboxServer(tmp_path / "irods") as server:
        settings = IrodsSettings(host=server.host, port=server.port, password="rods", timeout_seconds=5)  # type: ignore[arg-type]
        pulse = Pulse(settings, probes, 1.0)
        assert probes.ready() == "starting"
        pulse.start()
        until(lambda: probes.ready() is None)
        server.stop()
        until(lambda: probes.ready() == "irods away")
        port = server.port
    with SandboxServer(tmp_path / "irods", port=port):
        until(lambda: probes.ready() is None)
        pulse.end()
