"""Hears from the cluster which Jobs have changed, in a thread of its own. It only brings looks forward: what is missed is
looked at anyway, a little later."""

from __future__ import annotations

import threading

import structlog

from core.errors import Outage
from k8s.cluster import Cluster

LONGEST_SECONDS = 30.0
log = structlog.get_logger()


class Watcher:
    """Names of changed Jobs, gathered until somebody asks."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._changed: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="jobs-watch", daemon=True).start()

    def take(self) -> set[str]:
        """The names gathered since the last time."""
        with self._lock:
            taken, self._changed = self._changed, set()
        return taken

    def end(self) -> None:
        """Gather no more."""
        self._ended.set()

    def _watch(self) -> None:
        wait = 1.0
        while not self._ended.is_set():
            try:
                for name in self._cluster.changes():
                    wait = 1.0
                    if self._ended.is_set():
                        return
                    with self._lock:
                        self._changed.add(name)
            except Outage as error:
                log.warning("watch_broken", reason=str(error), again_in_seconds=wait)
            except Exception as error:  # noqa: BLE001  # the pod works without this thread, only later
                log.error("watch_failed", error=type(error).__name__, reason=str(error))
            self._ended.wait(wait)
            wait = min(LONGEST_SECONDS, wait * 2)
