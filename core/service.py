"""A pod's life: say hello, turn the loop, keep the lease, look after the house, stop in good order."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from core.errors import LeaseLost, Unavailable
from core.settings import WorkerSettings
from core.signals import Stop

log = structlog.get_logger()


class Lease(Protocol):
    """A live row in the inventory."""

    worker: int

    def beat(self) -> bool: ...

    def goodbye(self) -> None: ...


class Loop(Protocol):
    """What a pod does over and over."""

    def step(self) -> bool:
        """Do a little; False when there is nothing to do. Raises Unavailable when the inventory is away."""
        ...

    def drain(self, seconds: float) -> bool:
        """Stop in good order within so many seconds; False when that was not enough."""
        ...


class Heartbeat:
    """Keeps the lease from a thread of its own. A process whose lease is lost ends at once, before it can do more harm."""

    def __init__(self, lease: Lease, seconds: float, on_lost: Callable[[], None]) -> None:
        self._lease = lease
        self._seconds = seconds
        self._on_lost = on_lost
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                if not self._lease.beat() and not self._ended.is_set():
                    self._on_lost()
                    return
            except Unavailable as error:
                log.warning("heartbeat_failed", reason=str(error))


def lease_lost() -> None:
    """End this process: threads may be in the middle of writing what others own by now."""
    log.error("lease_lost", hint="the pod was silent for longer than worker.lease_seconds; it ends and starts anew")
    os._exit(LeaseLost.exit_code)


def serve(loop: Loop, lease: Lease, tidy: Callable[[], None], settings: WorkerSettings, stop: Stop) -> None:
    """Turn the loop until asked to stop, then drain and say goodbye."""
    heartbeat = Heartbeat(lease, settings.heartbeat_seconds, lease_lost)
    heartbeat.start()
    log.info("started", worker=lease.worker)
    tidy_at = time.monotonic()
    while not stop.is_set():
        try:
            busy = loop.step()
            if time.monotonic() >= tidy_at:
                tidy()
                # pods that were started together do not tidy together
                tidy_at = time.monotonic() + settings.housekeeping_seconds * random.uniform(0.8, 1.2)
        except Unavailable as error:
            log.warning("inventory_away", reason=str(error))
            busy = False
        if not busy:
            stop.wait(settings.poll_seconds)
    _end(loop, lease, heartbeat, settings.drain_seconds)


def _end(loop: Loop, lease: Lease, heartbeat: Heartbeat, seconds: float) -> None:
    log.info("stopping", worker=lease.worker)
    try:
        drained = loop.drain(seconds)
        heartbeat.end()
        lease.goodbye()
    except Unavailable as error:
        log.warning(
            "stopped_without_goodbye", reason=str(error), hint="what it held is taken over when the lease runs out"
        )
        drained = False
    log.info("stopped", worker=lease.worker, drained=drained)
    if not drained:
        # a thread is still at work; ending the process is what makes its file safe to give to others
        os._exit(0)
