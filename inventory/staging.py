"""Removing the tars that dead pods left in iRODS: one pod at a time, for each user that jobs are run for."""

from __future__ import annotations

import threading
import time
from datetime import datetime

import structlog

from core.errors import FileError, UsageError
from core.irods import Gateway
from inventory import chores
from inventory.pod import Member

LOOK_SECONDS = 60.0
"""How often a pod asks whether it is its turn, at most."""
TURNS = 4
"""How often a staging collection is looked through in the time after which a tar is old."""
User = tuple[str, str] | None
Due = tuple[Gateway, datetime]
"""A gateway to look with, and the inventory's time when that was found due."""
log = structlog.get_logger()


class StagingSweep:
    """Looks through the staging collection of each user when it is time, in a thread and over a connection that the
    pod's others leave to it."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._age = member.settings.irods.staging_seconds
        self._look_at = float("-inf")
        self._due: list[Due] = []
        self._thread: threading.Thread | None = None

    @property
    def open(self) -> int:
        """Connections that a sweep may have open now: 1 or 0."""
        return int(self._thread is not None and self._thread.is_alive())

    @property
    def wants(self) -> int:
        """Connections that a sweep has or waits for: 1 or 0."""
        return int(bool(self._due) or self.open)

    def look(self) -> bool:
        """Whether a sweep waits for its connection, after asking, now and then, whether it is this pod's turn. Raises
        Unavailable."""
        if not self.wants and time.monotonic() >= self._look_at:
            every = self._age / TURNS
            self._look_at = time.monotonic() + min(LOOK_SECONDS, every)
            self._due = [
                (gateway, now) for gateway in self._gateways() if (now := self._turn(gateway, every)) is not None
            ]
        return bool(self._due)

    def begin(self) -> None:
        """Begin the sweep that waits, in a thread of its own."""
        due, self._due = self._due, []
        self._thread = threading.Thread(target=self._sweep, args=(due,), name="staging", daemon=True)
        self._thread.start()

    def _gateways(self) -> list[Gateway]:
        users: dict[User, None] = {None: None}
        users |= {job.settings.client: None for job in self._member.rota.running().values()}
        return [Gateway(self._member.settings.irods, as_user=user) for user in users]

    def _turn(self, gateway: Gateway, every: float) -> datetime | None:
        return chores.claim(self._member.database, f"sweep {gateway.staging}", every)

    def _sweep(self, due: list[Due]) -> None:
        for gateway, now in due:
            try:
                with gateway:
                    # the inventory's clock, for this machine's may be anywhere
                    removed = gateway.clean_staging(round((now.timestamp() - self._age) * 1_000_000))
                if removed:
                    log.info("staging_swept", collection=gateway.staging, removed=removed)
            except (FileError, UsageError) as error:
                log.warning("staging_not_swept", collection=gateway.staging, reason=str(error))
