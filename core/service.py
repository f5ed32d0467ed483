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
from core.signals import Stop, die_if_frozen

LAST_WORDS = 0.1
"""The part of worker.drain_seconds that is kept for writing down what is done and saying goodbye."""
AGAIN_SECONDS = 0.2
"""How soon a stopping pod asks the inventory again."""
DEATH_SECONDS = 2.0
"""A process that stops with threads at work is gone so long after its goodbye, with all its connections."""
log = structlog.get_logger()


class Lease(Protocol):
    """A live row in the inventory."""

    worker: int

    def beat(self) -> bool: ...

    def goodbye(self, in_seconds: float = 0) -> None: ...


class Loop(Protocol):
    """What a pod does over and over."""

    def step(self) -> bool:
        """Do a little; False when there is nothing to do. Raises Unavailable when the inventory is away."""
        ...

    def drain(self, seconds: float) -> bool:
        """Stop in good order within so many seconds; False when that was not enough."""
        ...


class Outage:
    """Tells the log of an outage of the inventory once when it begins and once when it is over."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._lock = threading.Lock()

    def failed(self, error: Unavailable) -> None:
        """The inventory did not answer."""
        with self._lock:
            if self._since is None:
                self._since = time.monotonic()
                log.warning("inventory_away", reason=str(error))

    def over(self) -> None:
        """The inventory has answered."""
        with self._lock:
            if self._since is not None:
                log.warning("inventory_back", away_seconds=round(time.monotonic() - self._since, 1))
                self._since = None


class Heartbeat:
    """Keeps the lease from a thread of its own. A process whose lease is lost ends at once, before it can do more harm."""

    def __init__(self, lease: Lease, settings: WorkerSettings, outage: Outage, on_lost: Callable[[], None]) -> None:
        self._lease = lease
        self._settings = settings
        self._outage = outage
        self._on_lost = on_lost
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
            threading.Thread(target=self._watch, name="freeze-watch", daemon=True),
        ]

    def start(self) -> None:
        die_if_frozen(self._settings.lease_seconds)
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=1)
        die_if_frozen(0)

    def _beat(self) -> None:
        while not self._ended.wait(self._settings.heartbeat_seconds):
            try:
                if not self._lease.beat() and not self._ended.is_set():
                    self._on_lost()
                    return
                self._outage.over()
            except Unavailable as error:
                self._outage.failed(error)
            except Exception as error:  # noqa: BLE001  # a heart that stops over a defect would look like a death
                log.error("heartbeat_failed", error=type(error).__name__, reason=str(error))

    def _watch(self) -> None:
        # apart from the heartbeat, which waits when the inventory is away; that is no reason to die
        while not self._ended.wait(self._settings.heartbeat_seconds):
            die_if_frozen(self._settings.lease_seconds)


def lease_lost() -> None:
    """End this process: threads may be in the middle of writing what others own by now."""
    log.error("lease_lost", hint="the pod was silent for longer than worker.lease_seconds; it ends and starts anew")
    os._exit(LeaseLost.exit_code)


def serve(loop: Loop, lease: Lease, tidy: Callable[[], None], settings: WorkerSettings, stop: Stop) -> None:
    """Turn the loop until asked to stop, then drain and say goodbye."""
    outage = Outage()
    heartbeat = Heartbeat(lease, settings, outage, lease_lost)
    heartbeat.start()
    threading.Thread(target=_end_in_time, args=(stop, settings.drain_seconds), name="deadline", daemon=True).start()
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
            outage.failed(error)
            busy = False
        if not busy:
            stop.wait(settings.poll_seconds)
    asked_at = stop.asked_at or time.monotonic()
    _end(loop, lease, heartbeat, asked_at + settings.drain_seconds * (1 - LAST_WORDS))


def _end_in_time(stop: Stop, seconds: float) -> None:
    """End the process when so many seconds have passed since it was asked to, whatever it is at.

    A step that scans a huge directory and a database that neither answers nor refuses would keep it for longer.
    """
    stop.wait()
    time.sleep(max(0.0, (stop.asked_at or 0.0) + seconds - time.monotonic()))
    log.warning("drain_cut_off", seconds=seconds, hint="what it held is taken over when the lease runs out")
    os._exit(0)


def _end(loop: Loop, lease: Lease, heartbeat: Heartbeat, until: float) -> None:
    log.info("stopping", worker=lease.worker)
    drained = said = False
    while not said:
        try:
            drained = loop.drain(max(0.0, until - time.monotonic()))
            heartbeat.end()
            # a thread that is still at work ends with the process, and only then its file is safe to give to others
            lease.goodbye(0 if drained else DEATH_SECONDS)
            said = True
        except Unavailable as error:
            if time.monotonic() >= until:
                hint = "what it held is taken over when the lease runs out"
                log.warning("stopped_without_goodbye", reason=str(error), hint=hint)
                break
            time.sleep(AGAIN_SECONDS)
    log.info("stopped", worker=lease.worker, drained=drained)
    if not drained or not said:
        os._exit(0)
