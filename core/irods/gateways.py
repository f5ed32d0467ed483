"""The gateways of one process: one for each thread and user it works for."""

from __future__ import annotations

import threading

from core.irods.gateway import Gateway
from core.irods.streams import ExtraStreams
from core.settings import IrodsSettings

User = tuple[str, str] | None
"""Name and zone of the user to act for; None for the one of the settings."""


class Gateways:
    """Gateways by thread and user, made when first needed. Of those of a thread only one is connected at a time, so
    that a thread is one connection whatever the number of users."""

    def __init__(self, settings: IrodsSettings, extra: ExtraStreams | None = None) -> None:
        self.settings = settings
        self.extra = extra or ExtraStreams()
        """Lent to large files, beyond a connection for each thread."""
        self._threads = threading.local()

    def of(self, user: User = None) -> Gateway:
        """This thread's gateway for a user."""
        mine: dict[User, Gateway] | None = getattr(self._threads, "gateways", None)
        if mine is None:
            mine = self._threads.gateways = {}
        if user not in mine:
            mine[user] = Gateway(self.settings, as_user=user, extra=self.extra)
        for other, gateway in mine.items():
            if other != user:
                gateway.close()
        return mine[user]

    def close(self) -> None:
        """Close what this thread has open; it connects again when it is used again."""
        for gateway in getattr(self._threads, "gateways", {}).values():
            gateway.close()
